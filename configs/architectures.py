"""Does what the paper says of LSTMs and Transformers hold for other torsos?

    bayes-prompting run --config=architectures:TORSO,WORLD \
        --workdir=runs/small/TORSO-WORLD

TORSO is one of `TORSOS`, with `_deep` behind it for two layers in place of one,
or a module of your own whose `make` takes `num_layers`, such as `my_lab.mine`.
WORLD is coins, chains or switching. Options may follow, with commas between:
  mixture    the target is a mixture of two coins, not one coin (world coins),
  untrained  the network stays as it was initialised (world coins),
  after100   pretraining ends after 100 updates, of a schedule of its own,
  after300   or after 300,
  quick      everything is small: another, cheaper experiment.

All torsos stand between embeddings of width 64, have about 33,000 weights a
layer, and get the same updates of the same batches, at the rate in `TORSOS`
that was best of three for them on coins, on a network that is not in the study.

`bayes-prompting architectures` runs what `plan` says and judges the study's
claims. `docs/experiments/architectures.md` says what was found.
"""

import functools

from bayes_prompting import checks
from bayes_prompting import errors
from bayes_prompting import registry
from bayes_prompting import settings
from bayes_prompting.settings import arguments as preset_arguments
from bayes_prompting.settings import plans

WIDTH = 64
# What `make` takes, and the learning rate of pretraining.
TORSOS = {
  'lstm': (settings.spec('lstm', width=64), 5e-3),
  'gru': (settings.spec('gru', width=77), 5e-3),
  'transformer': (settings.spec('transformer', widening=2), 5e-3),
  'linear_recurrence': (
    settings.spec('linear_recurrence', state_dim=64, mlp_dim=64),
    5e-3,
  ),
  'selective_ssm': (settings.spec('selective_ssm', state_dim=48), 5e-3),
  'selective_ssm_plain': (
    settings.spec('selective_ssm', state_dim=54, convolution=0),
    5e-3,
  ),
  'linear_attention': (settings.spec('linear_attention', mlp_dim=86), 5e-3),
  'retention': (
    settings.spec('linear_attention', decay='fixed', mlp_dim=64),
    5e-3,
  ),
  'gated_delta': (settings.spec('gated_delta', mlp_dim=58), 5e-3),
  'mlstm': (settings.spec('mlstm', mlp_dim=60), 5e-3),
  'rwkv7': (settings.spec('rwkv7', rank=20, widening=1), 5e-3),
  'hybrid': (
    settings.spec(
      'hybrid', blocks=('recurrent', 'attention'), state_dim=32, mlp_dim=36
    ),
    5e-3,
  ),
}
DEEP = '_deep'
WORLDS = {
  'coins': {'name': 'dirichlet_categorical', 'concentration': (1.0, 1.0)},
  'chains': {
    'name': 'dirichlet_markov',
    'order': 1,
    'concentration': (1.0, 1.0),
  },
  # Coins that are replaced every twenty tosses or so.
  'switching': {
    'name': 'switching',
    'hazard': 0.05,
    'concentration': (1.0, 1.0),
  },
}
_COIN = {'name': 'categorical', 'probabilities': (0.2, 0.8)}
_MIXTURE = {
  'name': 'categorical_mixture',
  'weights': (0.5, 0.5),
  'probabilities': ((0.2, 0.8), (0.8, 0.2)),
}
UPDATES = 1000
EARLIER = (100, 300)  # Curves over updates have these points, too.
# How far a prompt is followed, at which steps beside the lengths of training.
LENGTH = 500
STEPS = (75, 150, 200, 300)
OPTIONS = ('mixture', 'untrained', *(f'after{x}' for x in EARLIER), 'quick')


def get_config(arguments: str = 'lstm,coins'):
  """Returns the configuration for `TORSO,WORLD` and what may follow."""
  parts = {'TORSO': (), 'WORLD': WORLDS}
  (torso, world), options = preset_arguments.split(
    'architectures.py', arguments, parts, OPTIONS
  )
  for option in ('mixture', 'untrained'):
    if option in options and world != 'coins':
      raise errors.UserError(
        f'architectures.py:TORSO,WORLD,...: {option!r} goes with coins alone, '
        f'got {world!r}'
      )
  config = settings.base_config()
  set_network(config, torso)
  tasks = {'world': WORLDS[world]}
  if world == 'coins':
    tasks['target'] = _MIXTURE if 'mixture' in options else _COIN
  with config.unlocked():
    config.tasks = tasks
  pretraining, tuning, evaluation = (
    config.pretraining,
    config.tuning,
    config.evaluation,
  )
  tuning.batch_size = 64
  tuning.schedule = 'cosine'
  tuning.target = 'target' if 'target' in tasks else 'world'
  tuning.num_steps = 500
  tuning.learning_rate = 1e-2
  tuning.num_repetitions = 1
  tuning.search_draws = 1024
  tuning.methods = ('PreBayes', 'NoTuning')
  evaluation.tasks = tuple(tasks)
  evaluation.num_sequences = 512
  evaluation.length = pretraining.length
  if 'target' in tasks:
    tuning.methods += ('HardPT', 'SoftPT', 'StatePT', 'LoRAWT', 'FullWT')
    evaluation.length = LENGTH
    evaluation.report_steps = STEPS
    evaluation.reorderings = ('world',)
  for updates in EARLIER:
    if f'after{updates}' in options:
      pretraining.num_steps = updates
  if 'untrained' in options:
    pretraining.num_steps = 0
  if 'quick' in options:
    make_quick(config)
  return config


def set_network(config, name: str) -> None:
  """Sets the network, and how it is pretrained on the task `world`.

  Args:
    config: To change.
    name: One of `TORSOS`, or a module of somebody's own; two layers with `DEEP`
      behind it.
  """
  deep = name.endswith(DEEP)
  torso = name.removesuffix(DEEP)
  if registry.is_own(torso):
    spec, rate = settings.spec(torso), 5e-3
  else:
    checks.one_of('architectures.py:TORSO,WORLD: TORSO', torso, TORSOS)
    spec, rate = TORSOS[torso]
    spec = spec.copy_and_resolve_references()
  with spec.unlocked():
    spec.num_layers = 1 + deep
  with config.unlocked():
    config.network.torso = spec
  config.network.embedding_dim = WIDTH
  pretraining = config.pretraining
  pretraining.task = 'world'
  pretraining.num_steps = UPDATES
  pretraining.batch_size = 64
  pretraining.learning_rate = rate
  pretraining.schedule = 'cosine'


def make_quick(config) -> None:
  """Makes everything small: a first look, most of it compiling."""
  config.network.embedding_dim = 16
  pretraining, tuning = config.pretraining, config.tuning
  pretraining.num_steps = min(pretraining.num_steps, 200)
  tuning.num_steps = 50
  for section in (pretraining, tuning):
    section.batch_size = 32
  tuning.search_draws = 128
  config.evaluation.num_sequences = 64


def plan(torsos=tuple(TORSOS)) -> tuple[plans.Planned, ...]:
  """Returns what is run of some torsos, each with one and with two layers."""
  planned = functools.partial(plans.Planned, get_config)
  return tuple(
    x
    for torso in torsos
    for network in (torso, torso + DEEP)
    for x in (
      planned(
        f'{network},coins', 5, ('NoTuning', 'HardPT', 'SoftPT', 'StatePT')
      ),
      planned(f'{network},coins,mixture', 5, ('SoftPT', 'LoRAWT', 'FullWT')),
      planned(f'{network},coins,untrained', 5, ('NoTuning', 'SoftPT')),
      planned(f'{network},chains', 5, ('NoTuning',)),
      planned(f'{network},switching', 5, ('NoTuning',)),
      *(
        # A picture, on which no claim rests.
        planned(f'{network},{world},after{updates}', 2, ('NoTuning',), few=True)
        for world in WORLDS
        for updates in EARLIER
      ),
    )
  )
