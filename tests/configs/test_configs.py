"""The configurations that come with the package can be built."""

import itertools

import jax
import numpy as np
import pytest

from bayes_prompting import errors
from bayes_prompting import settings
from bayes_prompting.experiment import build
from bayes_prompting.settings import plain
from configs import data
from configs import diversity
from configs import novel
from configs import paper
from configs import prompts
from configs import quick
from configs import worlds

TASKS = ('single_coin', 'two_coin_mixture', 'random_coins')
TORSOS = ('lstm', 'transformer', 'lstm_untrained', 'transformer_untrained')
PAIRS = list(itertools.product(TORSOS, TASKS))


@pytest.mark.parametrize('torso, target', PAIRS)
def test_every_paper_configuration_can_be_built(torso, target):
  config = paper.get_config(f'{torso},{target}')
  if target != TASKS[0]:
    # A few of the methods: what they trace does not depend on the target.
    config.tuning.methods = ('PreBayesPT', 'SoftPT', 'FullWT')
  built = build.build(config)
  assert tuple(built.methods) == config.tuning.methods
  assert built.target == target
  assert built.pretraining_task == 'random_coins'
  assert built.config['evaluation']['tasks'] == list(TASKS)
  assert built.report_steps == (50, 100, 200)
  assert built.num_repetitions == 10
  assert (built.tuning.num_steps, built.tuning.length) == (1000, 50)


@pytest.mark.parametrize('torso, target', PAIRS)
def test_a_paper_configuration_differs_in_what_it_says(torso, target):
  found = plain.of(paper.get_config(f'{torso},{target}'))
  wanted = plain.of(settings.base_config())
  wanted['tuning']['target'] = target
  if torso.endswith('_untrained'):
    wanted['pretraining']['num_steps'] = 0
    wanted['tuning']['methods'] = found['tuning']['methods']
    assert {'NoTuning', 'SoftPT', 'FullWT'} <= {*wanted['tuning']['methods']}
  if torso.startswith('transformer'):
    wanted['network']['torso'] = {
      'name': 'transformer',
      'num_layers': 1,
      'num_heads': 4,
      'widening': 4,
    }
    # As the paper's published code has it: attention alone, not the MLP.
    methods = wanted['methods']
    for spec in (
      *(methods[name] for name in ('LoRAWT', 'DoRAWT', 'VeRAWT')),
      methods['SoftPT+LoRAWT']['tuners']['LoRAWT'],
    ):
      spec['patterns'] = ['query', 'key', 'value', 'attention_output']
  assert plain.difference(found, wanted) is None


def test_lora_of_a_transformer_has_the_papers_weights():
  config = paper.get_config('transformer,single_coin')
  config.tuning.methods = ('LoRAWT',)
  built = build.build(config)
  factors = build.tuned_shapes(built, built.methods['LoRAWT'])['tunable']
  names = ('query', 'key', 'value', 'attention_output')
  assert set(factors) == {f'torso/layer_0/{x}/kernel' for x in names}
  # Rank 4: two factors of 128 x 4 for each of four matrices, ten repetitions.
  count = sum(leaf.size for leaf in jax.tree.leaves(factors))
  assert count == 10 * 4 * 2 * 128 * 4 == 10 * 4096


PRESETS = (
  (paper.get_config, 'transformer_large,two_coin_mixture'),
  (data.get_config, '16,transformer'),
  (novel.get_config, 'chain,transformer'),
  (diversity.get_config, '16,transformer'),
  (prompts.get_config, 'coins,transformer'),
  (worlds.get_config, 'switching,transformer_deep'),
)


@pytest.mark.parametrize('get_config, arguments', PRESETS)
def test_a_method_is_the_same_in_every_preset(get_config, arguments):
  for options in ('', ',quick'):
    config = get_config(arguments + options)
    assert config.tuning.prefix_init == ('one_hot',)
    lora = config.methods.LoRAWT.patterns
    assert lora == paper.LORA_PATTERNS['transformer']


@pytest.mark.parametrize('torso', ['lstm', 'transformer'])
def test_other_networks_differ_in_what_their_name_says(torso):
  base = plain.of(paper.get_config(f'{torso},single_coin'))
  narrow, large = (
    plain.of(paper.get_config(f'{torso}_{kind},single_coin'))
    for kind in ('narrow', 'large')
  )
  for config in (narrow, large):
    config['tuning']['methods'] = base['tuning']['methods']
  assert narrow['network']['embedding_dim'] == 4
  assert large['network']['embedding_dim'] == 256
  assert large['network']['torso']['num_layers'] == 2
  built = build.build(plain.to_config(large))
  leaves = jax.tree.leaves(build.network_shapes(built))
  assert max(max(leaf.shape) for leaf in leaves) >= 256
  for config in (narrow, large):
    config['network'] = base['network']
    assert plain.difference(config, base) is None


def test_prefix_lengths_are_methods_of_their_own():
  built = build.build(paper.get_config('lstm,single_coin,prefix_lengths'))
  tuned = [
    method for method in built.methods.values() if method.tuner.trainable
  ]
  lengths = [
    build.tuned_shapes(built, method)['tunable'].shape for method in tuned
  ]
  assert lengths == [(10, k, 128) for k in (1, 2, 4, 6, 12, 25)]


def test_every_experiment_of_the_paper_can_be_built_in_small():
  for planned in (*paper.PLAN, *paper.PLAN_LARGE):
    arguments = planned.arguments
    full, small = planned.config(), planned.config(quick=True)
    assert {*planned.methods} <= {*full.methods}
    assert full.tuning.num_repetitions == planned.repetitions
    settings.validate(full)
    settings.validate(small)
    assert {*small.tuning.methods} <= {*full.tuning.methods}
    assert small.tasks == full.tasks
    assert small.tuning.num_steps < full.tuning.num_steps
    assert small.tuning.length == full.tuning.length
    untrained = '_untrained' in arguments
    assert (small.pretraining.num_steps == 0) == untrained


def test_every_method_of_the_configuration_can_be_built():
  config = settings.base_config()
  # An LSTM has no norms.
  config.tuning.methods = ('NormWT',)
  with pytest.raises(errors.UserError, match="NormWT.patterns: .*norm.*'"):
    build.build(config)
  config.tuning.methods = ('NormWT', 'SoftPT')
  (why,) = build.refused(config).items()
  assert why[0] == 'NormWT' and "'*norm*' matches no weight" in why[1]
  # A mistake is none of the network's.
  config.methods.SoftPT.form = 'sotf'
  with pytest.raises(errors.UserError, match='methods.SoftPT.form'):
    build.refused(config)
  config.methods.SoftPT.form = 'soft'
  # Others of which it has nothing, and torsos that have it.
  needs = {
    'transformer': {'DeepPT', 'DeepMLPPT', 'PrefilledPT'},
    'selective_ssm': {'OffsetPT'},
  }
  others = {*config.methods} - {'NormWT'}.union(*needs.values())
  for torso, methods in needs.items():
    config.tuning.methods = tuple(methods)
    assert {*build.refused(config)} == methods
    other = settings.base_config()
    other.network.torso = settings.spec(torso)
    other.tuning.methods = tuple(methods)
    assert {*build.build(other).methods} == methods
  config.tuning.methods = tuple(sorted(others))
  config.tuning.prefix_init = ('one_hot', 'zeros')
  lab = build.build(config)
  assert {*lab.methods} == others
  # A start that follows the grid does so inside of a composition, too.
  for name in ('SoftPT', 'SoftPT+LoRAWT'):
    assert len(lab.methods[name].tuners) == 2
  config.tuning.prefix_init = ('zeros',)
  (tuner,) = build.build(config).methods['SoftPT+LoRAWT'].tuners

  @jax.jit
  def start(key):
    of_network, of_tuner = jax.random.split(key)
    return tuner.init(of_tuner, lab.network, lab.network.init(of_network))

  assert not np.any(start(jax.random.key(0))['SoftPT'])


def test_paper_without_argument_is_an_lstm_on_a_single_coin():
  found = plain.of(paper.get_config())
  wanted = plain.of(paper.get_config('lstm,single_coin'))
  assert found == wanted


def test_quick_can_be_built():
  built = build.build(quick.get_config())
  base = settings.base_config()
  assert tuple(built.methods) == base.tuning.methods
  assert built.config['evaluation']['tasks'] == list(TASKS)
  assert built.report_steps == (50, 100, 200)


@pytest.mark.parametrize('get_config', [paper.get_config, quick.get_config])
def test_an_override_does_not_reach_the_next_configuration(get_config):
  before = plain.of(get_config())
  config = get_config()
  config.network.torso.width = 3
  config.tuning.prefix_length = 2
  config.tasks.single_coin.probabilities = (0.5, 0.5)
  assert plain.of(get_config()) == before


@pytest.mark.parametrize('get_config', [paper.get_config, quick.get_config])
def test_configurations_are_locked(get_config):
  with pytest.raises(AttributeError):
    get_config().tuning.nun_steps = 3


@pytest.mark.parametrize(
  'argument, bad, hint',
  [
    ('lst,single_coin', "'lst'", 'lstm'),
    ('lstm,single_con', "'single_con'", 'single_coin'),
    ('lstm', 'TARGET is missing', 'two_coin_mixture'),
    ('', "''", 'transformer'),
    (',single_coin', 'NETWORK is missing', 'transformer'),
    ('single_coin,lstm', "'single_coin'", 'transformer'),
    ('lstm, single_coin', "' single_coin'", 'single_coin'),
    ('lstm,single_coin,3', "'3'", 'quick'),
    ('lstm,single_coin,', "''", 'prefix_lengths'),
    ('lstm_narow,single_coin', "'lstm_narow'", 'lstm_narrow'),
    ('untrained,single_coin', "'untrained'", 'lstm_untrained'),
    ('linear,single_coin', "'linear'", ''),
  ],
)
def test_a_bad_argument_is_refused(argument, bad, hint):
  with pytest.raises(errors.UserError) as caught:
    paper.get_config(argument)
  message = str(caught.value)
  assert '\n' not in message
  assert bad in message
  assert hint in message
