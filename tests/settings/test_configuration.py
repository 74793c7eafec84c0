"""A configuration takes what a user means, and stays one wherever it goes."""

import copy
import json
import pickle

import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest
import yaml

import bayes_prompting as bp
from bayes_prompting import errors
from bayes_prompting import settings
from bayes_prompting.settings import plain


def resolved(config):
  return plain.resolved(plain.of(config))


# Ways that a configuration travels.

WAYS = {
  'file': lambda c: plain.to_config(json.loads(json.dumps(plain.of(c)))),
  'json': lambda c: settings.Configuration(json.loads(c.to_json())),
  'json and a plain ConfigDict': lambda c: ml_collections.ConfigDict(
    json.loads(c.to_json())
  ),
  'yaml': lambda c: yaml.unsafe_load(c.to_yaml()),
  'pickle': lambda c: pickle.loads(pickle.dumps(c)),
  'deep copy': copy.deepcopy,
  'a plain ConfigDict': ml_collections.ConfigDict,
  'one of ours': settings.Configuration,
  'frozen': lambda c: ml_collections.ConfigDict(
    ml_collections.FrozenConfigDict(c)
  ),
  'resolved copy': lambda c: c.copy_and_resolve_references(),
}


@pytest.mark.parametrize('way', WAYS)
def test_what_follows_a_field_follows_it_wherever_the_configuration_goes(way):
  config = WAYS[way](settings.base_config())
  config.tuning.prefix_length = 4
  config.tuning.lora_rank = 2
  config.tuning.prefix_init = ('zeros',)
  settings.validate(config)
  specs = resolved(config)['methods']
  assert specs['SoftPT']['length'] == specs['HardPT']['length'] == 4
  assert specs['LoRAWT']['rank'] == 2
  assert specs['RealPT']['init'] == ['zeros']


OURS = [way for way in WAYS if way != 'json and a plain ConfigDict']


@pytest.mark.parametrize('way', OURS)
def test_one_value_is_a_tuple_of_one_wherever_the_configuration_goes(way):
  config = WAYS[way](settings.base_config())
  config.tuning.learning_rate = 1e-2
  config.tuning.methods = 'SoftPT'
  config.methods.SoftPT.length = 25
  settings.validate(config)
  assert config.tuning.learning_rate == (1e-2,)
  assert config.tuning.methods == ('SoftPT',)
  assert resolved(config)['methods']['SoftPT']['length'] == 25


def test_a_copy_is_equal_and_apart():
  config = settings.base_config()
  copied = pickle.loads(pickle.dumps(config))
  assert copied == config == copy.deepcopy(config)
  copied.tuning.num_steps = 3
  assert copied != config
  assert config.tuning.num_steps == 1000


def test_any_argument_of_a_spec_may_follow_any_field():
  config = settings.base_config()
  with config.unlocked():
    config.tasks.pool = bp.spec(
      'finite_pool', base='@tasks.random_coins', size=3, seed='@seed'
    )
  config.seed = 7
  pool = resolved(config)['tasks']['pool']
  assert pool['seed'] == 7
  assert pool['base'] == resolved(config)['tasks']['random_coins']
  settings.validate(config)


def test_a_name_in_braces_stands_for_the_value_of_that_field():
  config = settings.base_config()
  config.tuning.target = 'two_coin_mixture'
  config = WAYS['json'](config)
  tasks = resolved(config)['tasks']
  prefilled = resolved(config)['methods']['PrefilledPT']
  assert prefilled['tokens'] == tasks['two_coin_mixture']


@pytest.mark.parametrize(
  'value, said',
  [
    ('@tuning.prefix_lenght', 'prefix_length'),
    ('@nowhere.at_all', 'follows no field'),
    ('@tuning.prefix_length.more', 'follows no field'),
    ('@methods.SoftPT.length', 'follows itself'),
    ('@tasks.{tuning.targt}', 'follows no field'),
    ('@tasks.{tuning.prefix_init}', 'follows no field'),
    ('@', 'names no field'),
    ('@tuning..prefix_length', 'names no field'),
    ('@tasks.{tuning.target', 'names no field'),
    ('@tasks{tuning.target}', 'names no field'),
    ('@tasks.{tuning.target}}', 'names no field'),
    ('@tasks.{tasks.{tuning.target}}', 'names no field'),
  ],
)
def test_what_follows_nothing_is_refused(value, said):
  config = settings.base_config()
  config.methods.SoftPT.length = value
  with pytest.raises(errors.UserError, match=said) as caught:
    settings.validate(config)
  assert str(caught.value).startswith('methods.SoftPT.length: ')
  assert value in str(caught.value)


# Numbers of other libraries.


@pytest.mark.parametrize(
  'field, value, wanted',
  [
    ('tuning.num_steps', np.int64(3), 3),
    ('tuning.num_steps', np.array(3), 3),
    ('tuning.num_steps', jnp.int32(3), 3),
    ('seed', np.uint8(3), 3),
    ('pretraining.learning_rate', np.float32(0.5), 0.5),
    ('pretraining.learning_rate', jnp.float32(0.5), 0.5),
    ('pretraining.schedule', np.str_('cosine'), 'cosine'),
    ('debug.nans', np.bool_(True), True),
    ('tuning.learning_rate', jnp.array([0.25, 0.5]), (0.25, 0.5)),
    ('tuning.learning_rate', [np.float32(0.25), 0.5], (0.25, 0.5)),
    ('tasks.single_coin.probabilities', np.array([0.25, 0.75]), (0.25, 0.75)),
    ('methods.SoftPT.length', np.int64(3), 3),
  ],
)
@pytest.mark.parametrize('way', ['ours', 'a plain ConfigDict'])
def test_numbers_of_numpy_and_jax_are_numbers(field, value, wanted, way):
  config = settings.base_config()
  if way != 'ours':
    config = ml_collections.ConfigDict(config.to_dict())
  *sections, name = field.split('.')
  at = config
  for section in sections:
    at = at[section]
  with at.ignore_type():
    at[name] = value
  settings.validate(config)
  held = plain.of(config)
  for part in field.split('.'):
    held = held[part]
  assert held == (list(wanted) if isinstance(wanted, tuple) else wanted)
  if way == 'ours':
    assert at[name] == wanted
    assert type(at[name]) is type(wanted)


# Mistakes, in one line.


@pytest.mark.parametrize(
  'mistake, wanted',
  [
    (
      lambda c: setattr(c.tuning, 'num_stps', 3),
      ['tuning.num_stps: ', 'did you mean num_steps', 'config.unlocked()'],
    ),
    (
      lambda c: c.tuning.num_stps,
      ['tuning.num_stps: ', 'did you mean num_steps', 'config.unlocked()'],
    ),
    (lambda c: c['tunning'], ['tunning: ', 'did you mean tuning']),
    (
      lambda c: setattr(c.tasks, 'mine', settings.spec('categorical')),
      ['tasks.mine: ', 'single_coin', 'config.unlocked()'],
    ),
    (
      lambda c: setattr(c.methods.SoftPT, 'lenght', 3),
      ['methods.SoftPT.lenght: ', 'did you mean length'],
    ),
    (
      lambda c: setattr(c.methods.SoftPT, 'init_scale', 3),
      ['methods.SoftPT.init_scale: ', "'prefix' has such an argument"],
    ),
    (lambda c: delattr(c.tuning, 'num_steps'), ['config.unlocked()']),
    (
      lambda c: setattr(c.tuning, 'num_steps', 1e3),
      ['tuning.num_steps: ', 'int', '1000.0'],
    ),
    (
      lambda c: setattr(c.pretraining, 'task', 3),
      ['pretraining.task: ', 'str', '3'],
    ),
    (lambda c: setattr(c, 'tuning', 3), ['tuning: ', 'section', '3']),
    (
      lambda c: c.unlock().methods.__setitem__('my.PT', {}),
      ['methods.my.PT: ', "no dot, got 'my.PT'"],
    ),
  ],
)
def test_a_mistake_gets_one_line_with_field_and_nearest(mistake, wanted):
  with pytest.raises(errors.UserError) as caught:
    mistake(settings.base_config())
  message = str(caught.value)
  assert '\n' not in message
  assert len(message) < 300
  for text in wanted:
    assert text in message


def test_mistakes_are_what_python_expects_them_to_be():
  config = settings.base_config()
  assert not hasattr(config.tuning, 'num_stps')
  assert config.tuning.get('num_stps', 3) == 3
  with pytest.raises(KeyError):
    config['tunning']
  with pytest.raises(TypeError):
    config.tuning.num_steps = 'many'


def test_a_transformer_says_where_its_width_is_set():
  config = settings.base_config()
  config.network.torso = settings.spec('transformer')
  with pytest.raises(errors.UserError, match=r'network\.embedding_dim'):
    config.network.torso.width = 64
  with pytest.raises(errors.UserError, match=r'network\.embedding_dim'):
    bp.torso('transformer', width=64)
