"""Every way to adapt, on one scale: regret against what it costs.

    bayes-prompting run --config=frontier:TORSO,WORLD,TARGET \
        --workdir=runs/small/TORSO-WORLD-TARGET

TORSO is one of `TORSOS`, the networks of the study of architectures: width 64,
one layer; two of the Transformer, which needs them to look up what followed a
token before. WORLD is coins, chains or switching. TARGET is
  source   one source of this world,
  mixture  one of two such sources,
  novel    what this world never shows.
Options may follow, with commas between:
  n16, n64, n256, n1024  tuning has so many sequences of the target, no more,
  quick                  everything is small: another, cheaper experiment.

Without such a number, tuning passes once over 10,000 sequences: 400 updates of
25. Every method has the same updates and the same rate, so that a table of them
says what a method does when nobody has searched its settings.

`bayes-prompting frontier` runs what `plan` says, in `METHODS`: all of the base
configuration's that adapt a network. A method that a torso refuses, such as
norms of an LSTM, is left out there. `docs/experiments/frontier.md` says more.

How long it takes was estimated from 150 updates of three methods, a search and
an evaluation of each torso at these sizes. The process had about two thirds of
one CPU core, so these are two thirds of what its clock showed:

  torso          an update  a tuning  tunings  pretraining  core-hours
  lstm                8 ms       6 s    1,785         50 s           3
  transformer        20 ms      12 s    2,205        110 s           8
  selective_ssm      35 ms      17 s    1,995        250 s          10

A tuning is its updates and some 3 s for evaluation and files. Programs compile
for half an hour in each process. That makes 22 core-hours, and 11 hours with a
process on each of two cores that have nothing else to do.
"""

import functools

from bayes_prompting import errors
from bayes_prompting import settings
from bayes_prompting.configs import architectures
from bayes_prompting.settings import arguments as preset_arguments
from bayes_prompting.settings import plans

TORSOS = ('lstm', f'transformer{architectures.DEEP}', 'selective_ssm')
# All that adapts a network, and what does nothing to it, to compare with.
METHODS = tuple(
  name
  for name, spec in settings.base_config().methods.items()
  if spec.predictor == 'network'
)
# A quick run has these, as a run of this preset alone does.
_FEW = ('NoTuning', 'SoftPT', 'StatePT', 'LoRAWT', 'FullWT')

_ALTERNATING = {
  'name': 'markov_mixture',
  'weights': (1.0,),
  'tables': (((0.1, 0.9), (0.9, 0.1)),),
}
_COIN = {'name': 'categorical', 'probabilities': (0.2, 0.8)}
TARGETS = {
  'coins': {
    'source': _COIN,
    'mixture': {
      'name': 'categorical_mixture',
      'weights': (0.5, 0.5),
      'probabilities': ((0.2, 0.8), (0.8, 0.2)),
    },
    'novel': _ALTERNATING,
  },
  'chains': {
    'source': {
      'name': 'markov_mixture',
      'weights': (1.0,),
      'tables': (((0.9, 0.1), (0.3, 0.7)),),
    },
    'mixture': {
      'name': 'markov_mixture',
      'weights': (0.5, 0.5),
      'tables': (((0.9, 0.1), (0.1, 0.9)), ((0.1, 0.9), (0.9, 0.1))),
    },
    # Mostly the last token but one: of order two.
    'novel': {
      'name': 'markov_mixture',
      'weights': (1.0,),
      'tables': (((0.9, 0.1), (0.9, 0.1), (0.1, 0.9), (0.1, 0.9)),),
    },
  },
  # Segments as long as this world's, of coins that are drawn from one, and from
  # two. With one coin nothing switches.
  'switching': {
    'source': _COIN,
    'mixture': {
      'name': 'hmm_mixture',
      'weights': (1.0,),
      'initial': ((0.5, 0.5),),
      'transitions': (((0.975, 0.025), (0.025, 0.975)),),
      'emissions': (((0.2, 0.8), (0.8, 0.2)),),
    },
    'novel': _ALTERNATING,
  },
}
KINDS = tuple(TARGETS['coins'])
# How many sequences of a target there are. The last is a single pass.
SIZES = (16, 64, 256, 1024, 10_000)
DATA_WORLDS = ('coins',)  # Where all of them are tried.
_BATCH = 25
_OPTIONS = {f'n{size}': size for size in SIZES[:-1]}
NETWORKS = 5


def get_config(
  arguments: str = 'lstm,coins,source', tuners: tuple[str, ...] = ()
):
  """Returns the configuration for `TORSO,WORLD,TARGET` and what may follow.

  Args:
    arguments: The text.
    tuners: Modules of somebody's own, which are methods beside the others, see
      `names`.
  """
  parts = {'TORSO': TORSOS, 'WORLD': TARGETS, 'TARGET': KINDS}
  (torso, world, target), options = preset_arguments.split(
    'frontier.py', arguments, parts, (*_OPTIONS, 'quick')
  )
  sizes = [_OPTIONS[x] for x in options if x in _OPTIONS]
  if len(sizes) > 1:
    raise errors.UserError(
      f'frontier.py:TORSO,WORLD,TARGET,...: one of {", ".join(_OPTIONS)}, got '
      f'{" and ".join(options)}'
    )
  config = settings.base_config()
  # The networks of the study of architectures.
  architectures.set_network(config, torso)
  with config.unlocked():
    config.tasks = {
      'world': architectures.WORLDS[world],
      'target': TARGETS[world][target],
    }
    for name, module in names(tuners).items():
      config.methods[name] = settings.spec(module, predictor='network')
  pretraining, tuning, evaluation = (
    config.pretraining,
    config.tuning,
    config.evaluation,
  )
  tuning.schedule = 'cosine'
  tuning.target = 'target'
  tuning.batch_size = _BATCH
  tuning.num_steps = SIZES[-1] // _BATCH
  tuning.learning_rate = 1e-2
  tuning.num_repetitions = 1
  tuning.search_draws = 512
  tuning.methods = (*_FEW, *names(tuners))
  evaluation.tasks = ('target', 'world')
  evaluation.num_sequences = 256
  for size in sizes:
    tuning.num_sequences = size
    # Of these no more is asked than the regret at the tuning length.
    evaluation.tasks = ('target',)
    evaluation.length = tuning.length
  if 'quick' in options:
    config.network.embedding_dim = 16
    pretraining.num_steps = 200
    tuning.num_steps = 40
    pretraining.batch_size = 32
    tuning.search_draws = 128
    evaluation.num_sequences = 64
  return config


def names(tuners: tuple[str, ...]) -> dict[str, str]:
  """Returns modules of somebody's own by the names of their methods.

  `my_lab.mine` is the method `mine`.

  Raises:
    UserError: If one is no dotted path, or has the name of another method.
  """
  modules = {}
  for module in dict.fromkeys(tuners):
    parts = module.split('.')
    if len(parts) < 2 or not all(map(str.isidentifier, parts)):
      raise errors.UserError(
        'tuners: must be modules of your own, such as my_lab.mine, got '
        f'{module!r}; there are without it {", ".join(METHODS)}'
      )
    if parts[-1] in (*settings.base_config().methods, *modules):
      raise errors.UserError(
        f'tuners: there is a method {parts[-1]!r} without {module!r}; give the '
        'module another name'
      )
    modules[parts[-1]] = module
  return modules


def plan(tuners: tuple[str, ...] = ()) -> tuple[plans.Planned, ...]:
  """Returns what is run: all on all of the data, then on little of it."""
  planned = functools.partial(
    plans.Planned,
    functools.partial(get_config, tuners=tuners),
    networks=NETWORKS,
    methods=(*METHODS, *names(tuners)),
    where_allowed=True,
  )
  cells = [
    (torso, world, target)
    for torso in TORSOS
    for world in TARGETS
    for target in KINDS
  ]
  return (
    *(planned(arguments=','.join(cell)) for cell in cells),
    *(
      planned(arguments=','.join((*cell, size)))
      for cell in cells
      if cell[1] in DATA_WORLDS
      for size in _OPTIONS
    ),
  )
