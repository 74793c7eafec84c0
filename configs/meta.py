"""Starts that are learned over many targets, and networks without a prior.

    bayes-prompting run --config=meta:TORSO,WORLD,WHAT \
        --workdir=runs/small/TORSO-WORLD-WHAT

TORSO is one of `TORSOS`, as in the study of all tuners. WORLD is coins or
chains. WHAT is
  near       MetaPT learns a prompt's start over random coins that mostly fall
             on 0, and finishes it for one like them (world coins),
  far        and for a coin that mostly falls on 1 (world coins),
  true       the network is trained on this world,
  pseudo4, pseudo16, pseudo64, pseudo256
             it is trained on tasks made of so many unlabelled sequences of the
             world (the prior `pseudo_tasks`), and nothing else.
Options may follow, with commas between:
  n16, n64, n256, n1024  tuning has so many sequences of the target (near, far),
  quick                  everything is small: another, cheaper experiment.

Without such a number, tuning passes once over 10,000 sequences.

`bayes-prompting meta` runs what `plan` says. `docs/experiments/meta.md` says
more, and what it takes.
"""

import functools

from bayes_prompting import errors
from bayes_prompting import settings
from bayes_prompting.configs import architectures
from bayes_prompting.configs import frontier
from bayes_prompting.settings import arguments as preset_arguments
from bayes_prompting.settings import plans

TORSOS = frontier.TORSOS[:2]
WORLDS = ('coins', 'chains')
NETWORKS = 5
# Learned over many targets, and parts of it: without the regulariser and mixed
# targets; the regulariser alone, from where a prompt begins otherwise.
TUNERS = ('NoTuning', 'SoftPT', 'MetaPT', 'MetaPlainPT', 'NearPT')
PRETRAINED = ('PreBayes', 'NoTuning', 'SoftPT', 'LoRAWT')
TARGETS = {
  'near': frontier.TARGETS['coins']['source'],
  'far': {'name': 'categorical', 'probabilities': (0.8, 0.2)},
}
# What starts are learned over: heads 0.2 is typical of them, 0.8 is not.
OVER = {'name': 'dirichlet_categorical', 'concentration': (3.0, 9.0)}
SEQUENCES = (4, 16, 64, 256)
PSEUDO = tuple(f'pseudo{size}' for size in SEQUENCES)
_SOURCES = 256  # Of a pool that is made of them.
_SIZES = {f'n{size}': size for size in frontier.SIZES[:-1]}


def get_config(arguments: str = 'lstm,coins,near'):
  """Returns the configuration for `TORSO,WORLD,WHAT` and what may follow."""
  parts = {
    'TORSO': TORSOS,
    'WORLD': WORLDS,
    'WHAT': (*TARGETS, 'true', *PSEUDO),
  }
  (torso, world, what), options = preset_arguments.split(
    'meta.py', arguments, parts, (*_SIZES, 'quick')
  )
  sizes = [x for x in options if x in _SIZES]
  if len(sizes) > 1 or (sizes and what not in TARGETS):
    raise errors.UserError(
      f'meta.py:TORSO,WORLD,WHAT,...: one of {", ".join(_SIZES)}, with near or '
      f'far, got {what} and {" and ".join(sizes)}'
    )
  if what in TARGETS and world != 'coins':
    raise errors.UserError(
      f'meta.py:TORSO,WORLD,WHAT: {what!r} goes with coins, got {world!r}'
    )
  quick = ',quick' * ('quick' in options)
  data = ''.join(f',{x}' for x in sizes)
  # The networks, updates and rates of the study of all tuners.
  config = frontier.get_config(f'{torso},{world},source{data}{quick}')
  if what in TARGETS:
    _learn_starts(config, what, bool(quick))
  else:
    _make_tasks(config, world, what)
  return config


def _learn_starts(config, target, quick):
  """Learns a start over many targets, and finishes it for one."""
  prefix = {
    'name': 'prefix',
    'form': 'soft',
    'length': '@tuning.prefix_length',
    'init': '@tuning.prefix_init',
  }

  def method(**kwargs):
    return settings.spec(
      'meta',
      predictor='network',
      tuner=prefix,
      targets='@tasks.targets',
      sequence_length='@tuning.length',
      tasks=2,
      sequences=8,
      inner_steps=4,
      **{'meta_steps': 10 if quick else 150} | kwargs,
    )

  with config.unlocked():
    config.tasks.target = TARGETS[target]
    config.tasks.targets = OVER
    config.methods.MetaPT = method()
    config.methods.MetaPlainPT = method(weight=0.0, mix=0.0)
    config.methods.NearPT = method(meta_steps=0)
  config.tuning.methods = TUNERS
  # What is forgotten is asked of all sizes of data.
  config.evaluation.tasks = ('target', 'world')
  config.evaluation.length = config.pretraining.length


def _make_tasks(config, world, what):
  """Trains on tasks made of sequences, or on the world itself."""
  config.tuning.methods = PRETRAINED
  config.evaluation.length = config.pretraining.length
  if what == 'true':
    config.evaluation.tasks = ('target', 'world')
    return
  with config.unlocked():
    config.tasks.pool = {
      'name': 'pseudo_tasks',
      'base': architectures.WORLDS[world],
      'num_sequences': int(what.removeprefix('pseudo')),
      'length': 100,
      'size': _SOURCES,
      'order': 1 if world == 'chains' else 0,
    }
  config.pretraining.task = 'pool'
  config.evaluation.tasks = ('target', 'world', 'pool')


def plan() -> tuple[plans.Planned, ...]:
  """Returns what is run."""
  planned = functools.partial(plans.Planned, get_config, networks=NETWORKS)
  return (
    *(
      planned(f'{torso},{world},{what}', methods=PRETRAINED)
      for torso in TORSOS
      for world in WORLDS
      for what in ('true', *PSEUDO)
    ),
    *(
      planned(','.join((torso, 'coins', target, *size)), methods=TUNERS)
      for torso in TORSOS
      for target in TARGETS
      for size in ((), *((x,) for x in _SIZES))
    ),
  )
