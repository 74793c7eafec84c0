"""The configuration holds the paper's values, and refuses what cannot be."""

import math

import hypothesis
import ml_collections
import numpy as np
import pytest

from bayes_prompting import errors
from bayes_prompting import settings
from bayes_prompting.settings import plain

quickly = hypothesis.settings(deadline=None, max_examples=100, database=None)


def refusal(config):
  """The one line with which a configuration is refused."""
  with pytest.raises(errors.UserError) as caught:
    settings.validate(config)
  message = str(caught.value)
  assert '\n' not in message
  return message


def with_field(field, value):
  """The base configuration with one field set to whatever it is."""
  config = settings.base_config()
  *sections, name = field.split('.')
  at = config
  for section in sections:
    at = at[section]
  with config.unlocked(), config.ignore_type():
    at[name] = value
  return config


def resolved(config):
  """Plain values, with those of fields for what follows them."""
  return plain.resolved(plain.of(config))


def leaves(values, path=()):
  """All (path, value) of nested dicts."""
  for name, value in values.items():
    if isinstance(value, dict):
      yield from leaves(value, (*path, name))
    else:
      yield (*path, name), value


def scalars(kind):
  """The fields of a type in the sections that settings itself checks."""
  found = []
  for path, value in leaves(plain.of(settings.base_config())):
    described = path[0] in ('tasks', 'methods') or path[:2] == (
      'network',
      'torso',
    )
    if type(value) is kind and not described:
      found.append('.'.join(path))
  return found


INTS, FLOATS = scalars(int), scalars(float)
MAY_BE_ZERO = {
  'seed',
  'pretraining.num_steps',
  'tuning.num_steps',
  'tuning.num_sequences',
  'tuning.early_stopping.patience',
  # 0 is automatic.
  'compute.sequence_block',
  'compute.run_block',
  'compute.repetition_devices',
  'compute.data_devices',
  'compute.cpu_devices',
  # 0 is only what is finished.
  'checkpoints.every',
}


# The paper's settings.


@pytest.mark.parametrize(
  'section, wanted',
  [
    (
      'pretraining',
      {
        'task': 'random_coins',
        'num_steps': 1000,
        'batch_size': 256,
        'length': 100,
        'learning_rate': 1e-3,
        'schedule': 'constant',
      },
    ),
    (
      'tuning',
      {
        'target': 'single_coin',
        'num_steps': 1000,
        'batch_size': 256,
        'length': 50,
        'learning_rate': [5e-3],
        'prefix_init': ['one_hot'],
        'schedule': 'constant',
        'num_repetitions': 10,
        'prefix_length': 6,
        'search_draws': 2048,
      },
    ),
    (
      'evaluation',
      {
        'tasks': ['single_coin', 'two_coin_mixture', 'random_coins'],
        'num_sequences': 2048,
        'length': 200,
      },
    ),
    (
      'network',
      {
        'embedding_dim': 128,
        'torso': {'name': 'lstm', 'width': 128, 'num_layers': 1},
      },
    ),
    (
      'tasks',
      {
        'random_coins': {
          'name': 'dirichlet_categorical',
          'concentration': [1.0, 1.0],
        },
        'single_coin': {'name': 'categorical', 'probabilities': [0.2, 0.8]},
        'two_coin_mixture': {
          'name': 'categorical_mixture',
          'weights': [0.5, 0.5],
          'probabilities': [[0.2, 0.8], [0.8, 0.2]],
        },
      },
    ),
  ],
)
def test_base_has_the_values_of_the_paper(section, wanted):
  found = plain.of(settings.base_config())[section]
  assert {name: found[name] for name in wanted} == wanted


def test_base_runs_the_methods_of_the_paper():
  paper = {'PreBayes', 'PreBayesPT', 'NoTuning', 'RandomPF', 'HardPT'}
  paper |= {'SimplexPT', 'RealPT', 'SoftPT'}
  paper |= {'EmbedWT', 'UnembedWT', 'Un+EmbedWT', 'LoRAWT', 'FullWT'}
  config = settings.base_config()
  assert paper <= set(config.tuning.methods)
  beyond = {'OffsetPT', 'DeepPT', 'DeepMLPPT', 'PrefilledPT', 'SoftPT+LoRAWT'}
  beyond |= {'BitFitWT', 'NormWT', 'IA3WT', 'DoRAWT', 'VeRAWT'}
  assert set(config.methods) - set(config.tuning.methods) == beyond
  bayes = {n for n, m in config.methods.items() if m.predictor == 'bayes'}
  assert bayes == {'PreBayes', 'PreBayesPT'}


def test_base_is_valid_locked_and_new_each_time():
  config = settings.base_config()
  settings.validate(config)
  assert config.is_locked
  config.network.torso.width = 3
  config.tuning.prefix_length = 2
  assert settings.base_config().network.torso.width == 128
  assert settings.base_config().tuning.prefix_length == 6


# What is refused.


def test_there_are_scalars_to_check():
  assert {'seed', 'network.embedding_dim', 'tuning.lora_rank'} <= set(INTS)
  assert FLOATS == ['pretraining.learning_rate']


@pytest.mark.parametrize(
  'value', [-1, 0, True, 'x', 1.5, 2.0, math.nan, None, (3,), {'a': 1}], ids=str
)
@pytest.mark.parametrize('field', INTS)
def test_whole_numbers_are_refused_by_field_and_value(field, value):
  config = with_field(field, value)
  if value == 0 and field in MAY_BE_ZERO:
    settings.validate(config)
    return
  message = refusal(config)
  assert field in message
  if not isinstance(value, dict):
    assert repr(value) in message


@pytest.mark.parametrize(
  'value',
  # True is missing: ConfigDict makes it 1.0 before anyone sees it.
  [-1, 0, 0.0, -1e-3, 'x', math.nan, math.inf, -math.inf, None],
  ids=str,
)
@pytest.mark.parametrize('field', [*FLOATS, 'tuning.learning_rate'])
def test_learning_rates_are_refused_by_field_and_value(field, value):
  message = refusal(with_field(field, value))
  assert field in message
  assert repr(value) in message


def test_pretraining_has_one_learning_rate():
  message = refusal(with_field('pretraining.learning_rate', (1.0,)))
  assert message.startswith('pretraining.learning_rate: ')
  assert '(1.0,)' in message


@pytest.mark.parametrize('field', [*FLOATS, 'tuning.learning_rate'])
def test_a_whole_learning_rate_is_legal(field):
  settings.validate(with_field(field, 1))


@pytest.mark.parametrize('value', [0, 2**32, 2**63 - 1])
def test_seeds_up_to_63_bits_are_legal(value):
  settings.validate(with_field('seed', value))


def test_a_larger_seed_is_refused():
  assert str(2**63) in refusal(with_field('seed', 2**63))


def test_a_standard_error_needs_two_sequences():
  assert 'evaluation.num_sequences' in refusal(
    with_field('evaluation.num_sequences', 1)
  )
  settings.validate(with_field('evaluation.num_sequences', 2))


def test_evaluation_reaches_the_length_of_tuning():
  settings.validate(with_field('evaluation.length', 50))
  message = refusal(with_field('evaluation.length', 49))
  assert message.startswith('evaluation.length: ')
  assert '49' in message
  assert '50' in message


@pytest.mark.parametrize(
  'field, value, hint',
  [
    ('pretraining.schedule', 'cosin', 'cosine'),
    ('tuning.schedule', 'zzz', 'constant'),
    ('pretraining.task', 'random_coin', 'random_coins'),
    ('tuning.target', 'single_con', 'single_coin'),
    ('evaluation.tasks', ('random_coins', 'single_con'), 'single_coin'),
    ('tuning.methods', ('FullWT', 'SofPT'), 'SoftPT'),
    ('methods.SoftPT.predictor', 'bays', 'bayes'),
    ('compute.matmul_precision', 'float16', 'bfloat16'),
  ],
)
def test_an_unknown_name_gets_field_and_nearest(field, value, hint):
  message = refusal(with_field(field, value))
  assert message.startswith(field)
  assert repr(value if isinstance(value, str) else value[-1]) in message
  assert hint in message


@pytest.mark.parametrize(
  'field',
  ['pretraining.schedule', 'tuning.schedule', 'pretraining.task']
  + ['tuning.target', 'evaluation.tasks', 'tuning.methods']
  + ['compute.matmul_precision'],
)
@pytest.mark.parametrize('value', [None, 3, True, '', (), 'x', ('x', 3)])
def test_what_is_no_name_is_refused(field, value):
  message = refusal(with_field(field, value))
  assert message.startswith(field)
  assert repr(value) in message or repr('x') in message


@pytest.mark.parametrize('field', ['evaluation.tasks', 'tuning.methods'])
def test_a_bare_name_is_no_tuple_of_names_where_nothing_made_it_one(field):
  section, name = field.split('.')
  config = ml_collections.ConfigDict(settings.base_config().to_dict())
  config[section] = {**config[section], name: config[section][name][0]}
  message = refusal(config)
  assert message.startswith(field)
  assert 'tuple' in message


@pytest.mark.parametrize('field', ['evaluation.tasks', 'tuning.methods'])
def test_a_name_twice_is_refused(field):
  names = settings.base_config()
  for part in field.split('.'):
    names = names[part]
  assert field in refusal(with_field(field, (names[0], *names)))


@pytest.mark.parametrize('name', ['Oracle', 'TargetBayes', 'EvalBayes'])
def test_references_are_no_methods(name):
  assert name in refusal(with_field('tuning.methods', ('SoftPT', name)))
  assert name in refusal(with_field(f'methods.{name}', {'name': 'none'}))


@pytest.mark.parametrize('name', ['a/b', 'a\\b', '/tmp', 'up/'])
def test_a_method_is_named_as_a_file_can_be(name):
  config = settings.base_config()
  with config.unlocked():
    config.methods[name] = settings.spec('none')
  assert repr(name) in refusal(config)


@pytest.mark.parametrize('name', ['pretrained', 'pretraining'])
def test_a_method_does_not_take_the_files_of_pretraining(name):
  # `checkpoints/pretrained-seed0`, `curves/pretraining-seed0.jsonl`.
  assert name in refusal(with_field(f'methods.{name}', {'name': 'none'}))


def test_a_method_of_ones_own_is_legal():
  config = with_field('methods.Wide-SoftPT', {'name': 'prefix', 'length': 25})
  config.tuning.methods = ('SoftPT', 'Wide-SoftPT')
  settings.validate(config)


@pytest.mark.parametrize(
  'field, hint',
  [
    ('tunning', 'tuning'),
    ('tuning.nun_steps', 'num_steps'),
    ('pretraining.batchsize', 'batch_size'),
    ('evaluation.task', 'tasks'),
    ('network.embeding_dim', 'embedding_dim'),
  ],
)
def test_an_unknown_field_gets_section_and_nearest(field, hint):
  message = refusal(with_field(field, 3))
  section, _, name = field.rpartition('.')
  assert message.startswith(section or 'configuration')
  assert repr(name) in message
  assert hint in message


@pytest.mark.parametrize(
  'field',
  ['seed', 'tasks', 'methods', 'tuning', 'network.torso']
  + ['tuning.num_steps', 'evaluation.length', 'pretraining.task'],
)
def test_a_missing_field_is_named(field):
  config = settings.base_config()
  *sections, name = field.split('.')
  at = config
  for section in sections:
    at = at[section]
  with config.unlocked():
    del at[name]
  assert refusal(config).startswith(f'{field}: missing')


@pytest.mark.parametrize(
  'field',
  ['tasks', 'methods', 'tuning', 'network', 'network.torso']
  + ['tasks.single_coin', 'methods.SoftPT'],
)
@pytest.mark.parametrize('value', [3, 'lstm', None, ('a',)])
def test_a_section_is_no_value(field, value):
  message = refusal(with_field(field, value))
  assert message.startswith(f'{field}: ')
  assert repr(value) in message


@pytest.mark.parametrize(
  'value',
  [np.array([0.2, math.nan]), {1, 2}, object(), math.nan, (0.2, math.nan), len],
  ids=lambda value: type(value).__name__,
)
def test_what_json_cannot_hold_is_refused_by_field(value):
  message = refusal(with_field('tasks.single_coin.probabilities', value))
  assert 'tasks.single_coin.probabilities' in message


# Fields that several methods share.


def test_one_prefix_length_reaches_all_prefix_methods():
  config = settings.base_config()
  config.tuning.prefix_length = 3
  lengths = {
    name: method['length']
    for name, method in resolved(config)['methods'].items()
    if 'length' in method
  }
  prefixes = {'PreBayesPT', 'RandomPF', 'HardPT', 'SimplexPT', 'RealPT'}
  prefixes |= {'SoftPT', 'StatePT', 'DeepPT', 'DeepMLPPT', 'PrefilledPT'}
  assert lengths == dict.fromkeys(prefixes, 3)
  assert config.methods.SoftPT.length == '@tuning.prefix_length'


@pytest.mark.parametrize(
  'shared, argument, value, methods',
  [
    (
      'prefix_init',
      'init',
      ['zeros'],
      {'SimplexPT', 'RealPT', 'SoftPT', 'StatePT', 'DeepPT', 'DeepMLPPT'},
    ),
    ('lora_rank', 'rank', 2, {'LoRAWT', 'DoRAWT'}),
    (
      'max_candidates',
      'max_candidates',
      9,
      {'PreBayesPT', 'RandomPF', 'HardPT'},
    ),
  ],
)
def test_shared_fields_reach_their_methods(shared, argument, value, methods):
  config = settings.base_config()
  config.tuning[shared] = value
  specs = resolved(config)['methods']
  found = {n for n, m in specs.items() if m.get(argument) == value}
  assert found == methods


def test_shared_fields_reach_a_composition():
  config = settings.base_config()
  config.tuning.lora_rank, config.tuning.prefix_length = 7, 9
  inside = resolved(config)['methods']['SoftPT+LoRAWT']['tuners']
  assert inside['LoRAWT']['rank'] == 7 and inside['SoftPT']['length'] == 9


@pytest.mark.parametrize(
  'init, names',
  [('zeros', [('zeros',)]), (['a', 'b'], [('a', 'b')]), (3, []), ([], [])],
)
def test_initialisations_are_found_inside_a_composition(init, names):
  prompt = {'name': 'prefix', 'init': init}
  other = {'name': 'lora', 'rank': 2}
  composed = {'name': 'compose', 'tuners': {'p': prompt, 'o': other}}
  for spec in (prompt, composed):
    assert plain.inits(spec) == names
    *_, at_last = plain.each_init(spec)
    wanted = names[0][-1] if names else init
    assert at_last.get('tuners', {'p': at_last})['p']['init'] == wanted
  assert at_last['tuners']['o'] == other


def test_a_methods_own_length_changes_that_method_only():
  before = resolved(settings.base_config())
  config = settings.base_config()
  config.methods.SoftPT.length = 25
  after = resolved(config)
  assert after['methods']['SoftPT'].pop('length') == 25
  assert before['methods']['SoftPT'].pop('length') == 6
  assert after == before
  # Nor does the shared field come back to it.
  config.tuning.prefix_length = 3
  after = resolved(config)['methods']
  assert after['SoftPT']['length'] == 25
  assert after['RealPT']['length'] == 3
  # Until it is told to follow it again.
  config.methods.SoftPT.length = config.tuning.get_oneway_ref('prefix_length')
  assert resolved(config)['methods']['SoftPT']['length'] == 3


# Fields of one value or several.


@pytest.mark.parametrize(
  ('field', 'value', 'found'),
  [
    ('learning_rate', np.float32(0.5), (0.5,)),
    ('learning_rate', np.array([0.25, 0.5]), (0.25, 0.5)),
    ('learning_rate', 1, (1,)),
    ('learning_rate', 1e-2, (1e-2,)),
    ('learning_rate', (1e-3, 5e-3), (1e-3, 5e-3)),
    ('learning_rate', [1e-3, 5e-3], (1e-3, 5e-3)),
    ('prefix_init', 'zeros', ('zeros',)),
    ('prefix_init', ('zeros', 'normal'), ('zeros', 'normal')),
  ],
)
def test_one_setting_or_a_grid_of_them(field, value, found):
  config = settings.base_config()
  config.tuning[field] = value
  assert config.tuning[field] == found
  settings.validate(config)
  assert plain.of(config)['tuning'][field] == list(found)


@pytest.mark.parametrize(
  ('field', 'value'),
  [
    ('learning_rate', ()),
    ('learning_rate', (1e-3, 0.001)),
    ('learning_rate', (1e-3, -1e-3)),
    ('learning_rate', (1e-3, True)),
    ('prefix_init', ()),
    ('prefix_init', ('zeros', 'zeros')),
    ('prefix_init', ('zeros', 3)),
    ('prefix_init', 3),
  ],
)
def test_what_is_no_grid_is_refused(field, value):
  config = settings.base_config()
  config.tuning[field] = value
  assert refusal(config).startswith(f'tuning.{field}: ')


def test_a_methods_own_init_is_one_and_changes_that_method_only():
  config = settings.base_config()
  config.methods.SoftPT.init = 'zeros'
  config.tuning.prefix_init = ('normal', 'uniform')
  specs = resolved(config)['methods']
  assert specs['SoftPT']['init'] == 'zeros'
  assert specs['RealPT']['init'] == ['normal', 'uniform']
  assert config.tuning.prefix_init == ('normal', 'uniform')


def test_spec_is_name_and_arguments():
  made = settings.spec('my_lab.bursty', rate=0.5)
  assert isinstance(made, ml_collections.ConfigDict)
  assert made.to_dict() == {'name': 'my_lab.bursty', 'rate': 0.5}


# Steps of the summary.


@pytest.mark.parametrize(
  'tuning, pretraining, evaluation, wanted',
  [
    (50, 100, 200, (50, 100, 200)),
    (50, 300, 200, (50, 200)),
    (50, 200, 200, (50, 200)),
    (50, 50, 200, (50, 200)),
    (50, 20, 200, (50, 20, 200)),
    (50, 100, 50, (50,)),
    (1, 1, 1, (1,)),
  ],
)
def test_report_steps(tuning, pretraining, evaluation, wanted):
  config = settings.base_config()
  config.tuning.length = tuning
  config.pretraining.length = pretraining
  config.evaluation.length = evaluation
  assert settings.report_steps(config) == wanted
