"""A target that the prior never shows: prompts fail, weights need not.

    bayes-prompting run --config=novel:CASE,NETWORK \
        --workdir=runs/small/novel-CASE-NETWORK

CASE is a world that a network is pretrained on, and a target:
  chain        coins of all kinds, and a chain that mostly repeats itself,
  chain_known  chains of all kinds, and the same chain,
  coin         two coins, of 0.5 and 0.7, and a coin of 0.9,
  coin_known   coins of all kinds, and the same coin.
The first case of each pair has its target outside of the prior's support, and
the second is its control. NETWORK is lstm or transformer; `,quick` behind it
makes everything smaller still.

These networks have width 32, not the paper's 128, so a case takes minutes on
two CPU cores. `docs/experiments/novel.md` says what to expect.
"""

from bayes_prompting import settings
from bayes_prompting.configs import paper
from bayes_prompting.settings import arguments as preset_arguments

_COINS = {'name': 'dirichlet_categorical', 'concentration': (1.0, 1.0)}
_CHAINS = {'name': 'dirichlet_markov', 'order': 1, 'concentration': (1.0, 1.0)}
_TWO_COINS = {
  'name': 'categorical_mixture',
  'weights': (0.5, 0.5),
  'probabilities': ((0.5, 0.5), (0.3, 0.7)),
}
_STICKY = {
  'name': 'markov_mixture',
  'weights': (1.0,),
  'tables': (((0.9, 0.1), (0.1, 0.9)),),
}
_COIN = {'name': 'categorical', 'probabilities': (0.1, 0.9)}

# What a network is pretrained on, and what it is then tuned to.
CASES = {
  'chain': (_COINS, _STICKY),
  'chain_known': (_CHAINS, _STICKY),
  'coin': (_TWO_COINS, _COIN),
  'coin_known': (_COINS, _COIN),
}


def get_config(arguments: str = 'chain,lstm'):
  """Returns the configuration for `CASE,NETWORK` and what may follow."""
  case, network, is_quick = split('novel.py', 'CASE', arguments, CASES)
  world, target = CASES[case]
  config = settings.base_config()
  small(config, network, world, target)
  config.tuning.methods = (
    'PreBayes',
    'PreBayesPT',
    'NoTuning',
    'HardPT',
    'RealPT',
    'SoftPT',
    'StatePT',
    'LoRAWT',
    'FullWT',
  )
  if is_quick:
    quick(config)
  return config


def split(file: str, name: str, arguments: str, cases) -> tuple[str, str, bool]:
  """Returns case, network, and whether `quick` follows them.

  Raises:
    UserError: If one is missing or unknown.
  """
  parts = {name: cases, 'NETWORK': paper.TORSOS}
  (case, network), options = preset_arguments.split(
    file, arguments, parts, ('quick',)
  )
  return case, network, bool(options)


def small(config, network, world, target):
  """Makes it an experiment of small networks on a world and a target."""
  with config.unlocked():
    config.tasks = {'world': world, 'target': target}
  paper.set_torso(config, network, 32)
  pretraining, tuning, evaluation = (
    config.pretraining,
    config.tuning,
    config.evaluation,
  )
  pretraining.task, tuning.target = 'world', 'target'
  evaluation.tasks = ('target', 'world')
  evaluation.length = pretraining.length
  evaluation.num_sequences = 1024
  pretraining.num_seeds = 3
  pretraining.num_steps = 1000
  pretraining.batch_size = 64
  pretraining.learning_rate = 5e-3
  tuning.num_steps = 500
  tuning.batch_size = 64
  tuning.learning_rate = 1e-2
  pretraining.schedule = tuning.schedule = 'cosine'
  tuning.num_repetitions = 1
  tuning.search_draws = 1024


def quick(config):
  """Makes it smaller still: a first look, most of it compiling."""
  paper.set_width(config, 16)
  config.pretraining.num_seeds = 2
  config.pretraining.num_steps = 300
  config.pretraining.batch_size = 32
  config.tuning.num_steps = 100
  config.tuning.batch_size = 32
  config.tuning.search_draws = 128
  config.evaluation.num_sequences = 128
