"""Worlds beyond single coins: a network meta-trained on each, against Bayes.

    bayes-prompting run --config=worlds:WORLD,NETWORK \
        --workdir=runs/worlds/WORLD-NETWORK

WORLD is one of `WORLDS`. NETWORK is lstm, transformer (one layer, as in the
paper) or transformer_deep (two layers, which can look up what followed a token
before). With `,small` behind it the network has half the width and learns in
minutes; with `,quick` it learns less, in seconds. The row NoTuning of the table
is what the network loses to the exact predictor of its world (reference
`bayes`). `docs/task_priors.md` says how near networks get.
"""

from bayes_prompting import errors
from bayes_prompting import settings
from bayes_prompting.configs import paper
from bayes_prompting.settings import arguments as preset_arguments

_COINS = {'name': 'dirichlet_categorical', 'concentration': (1.0, 1.0)}
_CHAINS = {'name': 'dirichlet_markov', 'order': 1, 'concentration': (1.0, 1.0)}

_DEEP = paper.TORSOS['transformer'].copy_and_resolve_references()
_DEEP.num_layers = 2
NETWORKS = {**paper.TORSOS, 'transformer_deep': _DEEP}

# One world for each family of task priors.
WORLDS = {
  # Coins that are loaded, in one of two directions.
  'dirichlet_mixture': {
    'name': 'dirichlet_mixture',
    'weights': (0.5, 0.5),
    'concentrations': ((8.0, 2.0), (2.0, 8.0)),
  },
  'dirichlet_markov': _CHAINS,
  # Chains that stay, that change, and that forget.
  'markov_mixture': {
    'name': 'markov_mixture',
    'weights': (0.4, 0.4, 0.2),
    'tables': (
      ((0.9, 0.1), (0.1, 0.9)),
      ((0.1, 0.9), (0.9, 0.1)),
      ((0.5, 0.5), (0.5, 0.5)),
    ),
  },
  # Coins that are replaced every twenty tosses or so.
  'switching': {
    'name': 'switching',
    'hazard': 0.05,
    'concentration': (1.0, 1.0),
  },
  # Two hidden states each: slow ones, and ones that take turns.
  'hmm_mixture': {
    'name': 'hmm_mixture',
    'weights': (0.5, 0.5),
    'initial': ((0.5, 0.5), (0.5, 0.5)),
    'transitions': (((0.95, 0.05), (0.05, 0.95)), ((0.1, 0.9), (0.9, 0.1))),
    'emissions': (((0.9, 0.1), (0.1, 0.9)), ((0.9, 0.1), (0.1, 0.9))),
  },
  'context_tree': {'name': 'context_tree', 'vocab_size': 2, 'depth': 3},
  'finite_pool': {'name': 'finite_pool', 'base': _COINS, 'size': 16},
  # Half coins, half chains.
  'union': {
    'name': 'union',
    'components': {
      'coins': {'weight': 0.5, **_COINS},
      'chains': {'weight': 0.5, **_CHAINS},
    },
  },
}
# Twice the paper's updates, where its own leave more to learn.
_UPDATES = {'dirichlet_markov': 2000, 'switching': 2000}
_SIZES = {'quick': (300, 64, 32), 'small': (1500, 128, 64)}


def get_config(arguments: str = 'switching,lstm'):
  """Returns the configuration for `WORLD,NETWORK` and what may follow."""
  parts = {'WORLD': WORLDS, 'NETWORK': NETWORKS}
  (world, network), options = preset_arguments.split(
    'worlds.py', arguments, parts, _SIZES
  )
  if len(options) > 1:
    raise errors.UserError(
      f'worlds.py:WORLD,NETWORK,...: one of {", ".join(_SIZES)}, not both'
    )
  config = settings.base_config()
  with config.unlocked():
    config.tasks = {'world': WORLDS[world]}
  config.network.torso = NETWORKS[network].copy_and_resolve_references()
  torso = config.network.torso.name
  paper.set_lora_patterns(config, torso)
  pretraining, tuning, evaluation = (
    config.pretraining,
    config.tuning,
    config.evaluation,
  )
  pretraining.task = tuning.target = 'world'
  pretraining.num_steps = _UPDATES.get(world, 1000)
  pretraining.learning_rate = 2e-3
  pretraining.schedule = 'cosine'
  tuning.methods = ('PreBayes', 'NoTuning')
  evaluation.tasks = ('world',)
  evaluation.length = pretraining.length
  if options:
    # Updates, batch and width; a network of a quarter, or half, of the paper's.
    updates, batch_size, width = _SIZES[options[0]]
    paper.set_width(config, width)
    pretraining.num_steps = updates
    pretraining.batch_size = batch_size
    pretraining.learning_rate = 5e-3
  if 'quick' in options:
    evaluation.num_sequences = 256
  return config
