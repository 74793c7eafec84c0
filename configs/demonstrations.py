"""Demonstrations before what is scored: alone, with prompts, with weights.

    bayes-prompting run --config=demonstrations:TORSO,CASE,SHOWN \
        --workdir=runs/small/TORSO-CASE-SHOWN

TORSO is one of `TORSOS`, width 64. CASE says what is predicted:
  own         a random coin, after tosses of this very coin,
  tails       a coin with heads 0.2, after tosses of it; the task `other` is a
              coin with heads 0.8, after tosses of that,
  heads, stays, alternates
              a coin with heads 0.8, and two chains, each by itself,
  prior       one of these four, after tokens of it,
  pool        actions of one of 16 policies, after steps of it,
  policy      actions of the first of them, after steps of it.
SHOWN is n0, n1, n2, n4, n8, n16, n32 or n64, how many tosses, tokens or
steps. `quick` may follow: everything is small, another, cheaper experiment.

Networks are pretrained on random coins, or on the pool of policies, without
anything shown apart: what stands before the scored window is the beginning of
an ordinary sequence to them. Those of coins are the networks of the study of
architectures.

`bayes-prompting demonstrations` runs what `plan` says and judges the study's
claims. `docs/experiments/demonstrations.md` says more.

How long it takes was estimated from one network of each torso, on cores that
others used as well, in minutes of a core for five networks:

  torso        pretraining  tails  prior  policy  all else
  lstm                  11     17     19       7        12
  transformer           57     58     67      20        27

That makes 5 hours of a core. Networks of coins that the study of architectures
has trained save 24 minutes of them.
"""

from collections.abc import Callable, Mapping
import functools
from typing import Any, NamedTuple

from bayes_prompting import settings
from bayes_prompting.configs import architectures
from bayes_prompting.settings import arguments as preset_arguments
from bayes_prompting.settings import plans

# Who acts on a state, or follows a chain, has to look up the token before.
TORSOS = ('lstm', f'transformer{architectures.DEEP}')
SIZES = (0, 1, 2, 4, 8, 16, 32, 64)
# Where much is tuned.
FEW_SIZES = (0, 1, 4, 16, 64)
NETWORKS = 5
# Prompts of one network, where their spread is asked for.
REPETITIONS = 10

Tasks = Mapping[str, Mapping[str, Any]]


class World(NamedTuple):
  """What a network is pretrained on.

  Attributes:
    prior: Its spec.
    length: Scored tokens of a sequence of pretraining. What is shown, a prompt
      of six rows, and the window together are no longer.
    window: Scored tokens of tuning and evaluation.
  """

  prior: Mapping[str, Any]
  length: int
  window: int


class Case(NamedTuple):
  """What is predicted.

  Attributes:
    world: The name of the network's.
    tasks: Returns the tasks that are evaluated, by name, given how many
      demonstrations there are. The first is the target.
    methods: What adapts a network.
    sizes: How many demonstrations are tried.
    updates: Of tuning.
  """

  world: str
  tasks: Callable[[int], Tasks]
  methods: tuple[str, ...]
  sizes: tuple[int, ...] = SIZES
  updates: int = 400


POOL = {
  'name': 'imitation',
  'num_states': 4,
  'num_actions': 3,
  'num_policies': 16,
  'concentration': 0.3,
}
WORLDS = {
  'coins': World(architectures.WORLDS['coins'], 100, 30),
  'pool': World(POOL, 80, 10),
}
TARGETS = {
  'tails': {'name': 'categorical', 'probabilities': (0.2, 0.8)},
  'heads': {'name': 'categorical', 'probabilities': (0.8, 0.2)},
  'stays': {
    'name': 'markov_mixture',
    'weights': (1.0,),
    'tables': (((0.9, 0.1), (0.1, 0.9)),),
  },
  'alternates': {
    'name': 'markov_mixture',
    'weights': (1.0,),
    'tables': (((0.1, 0.9), (0.9, 0.1)),),
  },
}
_POLICY = {**POOL, 'weights': (1.0,) + (0.0,) * (POOL['num_policies'] - 1)}


def _shown(task, num):
  """Returns a task after so many of its own source's tokens."""
  return {
    'name': 'demonstrations',
    'task': task,
    'num': num,
    'length': 1,
    'of': 'source',
  }


def _prior(num):
  tasks = {name: _shown(task, num) for name, task in TARGETS.items()}
  weight = 1 / len(tasks)
  components = {name: {**x, 'weight': weight} for name, x in tasks.items()}
  return {'target': {'name': 'union', 'components': components}, **tasks}


def _alone(name):
  return Case(
    'coins', lambda num: {'target': _shown(TARGETS[name], num)}, ('SoftPT',)
  )


CASES = {
  'own': Case(
    'coins',
    lambda num: {'target': _shown(WORLDS['coins'].prior, num)},
    ('PreBayes', 'NoTuning'),
  ),
  'tails': Case(
    'coins',
    lambda num: {
      'target': _shown(TARGETS['tails'], num),
      'other': _shown(TARGETS['heads'], num),
    },
    ('PreBayes', 'NoTuning', 'SoftPT'),
    FEW_SIZES,
  ),
  **{name: _alone(name) for name in TARGETS if name != 'tails'},
  # A network of coins has to learn chains.
  'prior': Case(
    'coins',
    _prior,
    ('PreBayes', 'NoTuning', 'SoftPT', 'FullWT'),
    FEW_SIZES,
    updates=1000,
  ),
  'pool': Case(
    'pool',
    lambda num: {'target': _shown(POOL, num)},
    ('PreBayes', 'NoTuning'),
  ),
  'policy': Case(
    'pool',
    lambda num: {'target': _shown(_POLICY, num)},
    ('PreBayes', 'NoTuning', 'SoftPT'),
  ),
}
_SHOWN = {f'n{size}': size for size in SIZES}


def get_config(arguments: str = 'lstm,own,n16'):
  """Returns the configuration for `TORSO,CASE,SHOWN` and what may follow."""
  parts = {'TORSO': TORSOS, 'CASE': CASES, 'SHOWN': _SHOWN}
  (torso, name, shown), options = preset_arguments.split(
    'demonstrations.py', arguments, parts, ('quick',)
  )
  case = CASES[name]
  world, tasks = WORLDS[case.world], case.tasks(_SHOWN[shown])
  config = settings.base_config()
  architectures.set_network(config, torso)
  with config.unlocked():
    config.tasks = {'world': world.prior, **tasks}
  tuning, evaluation = config.tuning, config.evaluation
  config.pretraining.length = world.length
  tuning.target = next(iter(tasks))
  tuning.num_steps = case.updates
  tuning.batch_size = 32
  tuning.schedule = 'cosine'
  tuning.learning_rate = 1e-2
  tuning.num_repetitions = 1
  tuning.methods = case.methods
  tuning.length = evaluation.length = world.window
  evaluation.tasks = tuple(tasks)
  evaluation.num_sequences = 1024
  if 'quick' in options:
    architectures.make_quick(config)
  return config


def plan() -> tuple[plans.Planned, ...]:
  """Returns what is run."""
  planned = functools.partial(plans.Planned, get_config, networks=NETWORKS)

  def of(torso, case, size, methods=None, **kwargs):
    return planned(
      f'{torso},{case},n{size}',
      methods=methods or CASES[case].methods,
      **kwargs,
    )

  return tuple(
    x
    for torso in TORSOS
    for x in (
      *(of(torso, 'own', size) for size in SIZES),
      *(
        of(torso, 'tails', size, repetitions=REPETITIONS) for size in FEW_SIZES
      ),
      # One prompt for each target, as often as all others.
      *(of(torso, name, 0, ('SoftPT',)) for name in TARGETS),
      *(of(torso, 'prior', size) for size in FEW_SIZES),
      *(of(torso, 'pool', size) for size in SIZES),
      *(of(torso, 'policy', size) for size in SIZES),
    )
  )
