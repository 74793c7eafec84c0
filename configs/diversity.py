r"""How many coins must a network see before it learns coins, not these coins?

    bayes-prompting run --config=diversity:M,NETWORK \
        --workdir=runs/diversity/M-NETWORK

A network is pretrained on a pool of M coins, drawn once from the uniform prior
(after Raventos et al., 2023, arXiv 2306.15063). It is then prompted to a coin
that is not in the pool. NETWORK is lstm or transformer; `,quick` behind it
makes everything smaller still. The field `seed` draws the pool and the network,
so that `bayes-prompting sweep --set=seed=0,1,2` makes three of each. The
methods PreBayes and PriorBayes are exact Bayes for the pool and for the prior.

`docs/experiments/diversity.md` says what was found. With M=16 expect minutes.
"""

from bayes_prompting import checks
from bayes_prompting import errors
from bayes_prompting import settings
from bayes_prompting.configs import paper
from bayes_prompting.settings import arguments as preset_arguments

_MOST_DIGITS = 18
SIZES = tuple(2**k for k in range(1, 11))
METHODS = (
  'PreBayes',
  'PriorBayes',
  'PreBayesPT',
  'NoTuning',
  'HardPT',
  'SoftPT',
)


def number(field: str, text: str, least: int) -> int:
  """Reads a whole number of an argument.

  Raises:
    UserError: If it is none, or too small.
  """
  if not text.isascii() or not text.isdecimal() or len(text) > _MOST_DIGITS:
    raise errors.UserError(
      f'{field}: must be a whole number, got {checks.show(text)}'
    )
  return checks.integer(field, int(text), least)


def small(config, network: str) -> None:
  """Makes the network and its fits small, so that a CPU will do."""
  paper.set_torso(config, network, 32)
  for section in (config.pretraining, config.tuning):
    section.batch_size = 128
    section.schedule = 'cosine'
  config.pretraining.learning_rate = 3e-3


def quick(config) -> None:
  """Makes a configuration smaller still; its numbers are others."""
  paper.set_width(config, 16)
  for section in (config.pretraining, config.tuning):
    section.num_steps = 200
    section.batch_size = 32
  config.tuning.num_repetitions = 1
  config.tuning.learning_rate = 2e-2
  config.tuning.search_draws = min(config.tuning.search_draws, 64)
  config.evaluation.num_sequences = 128


def get_config(arguments: str = '16,lstm'):
  """Returns the configuration for `M,NETWORK` and what may follow."""
  parts = {'M': (), 'NETWORK': paper.TORSOS}
  (size, network), options = preset_arguments.split(
    'diversity.py', arguments, parts, ('quick',)
  )
  size = number('diversity.py:M,NETWORK: M', size, 1)
  config = settings.base_config()
  small(config, network)
  with config.unlocked():
    config.tasks.pool = settings.spec(
      'finite_pool',
      base='@tasks.random_coins',
      size=size,
      seed='@seed',
    )
    # Exact Bayes for where the pool came from.
    config.methods.PriorBayes = settings.spec(
      'none', predictor='bayes', task='random_coins'
    )
  config.pretraining.task = 'pool'
  config.tuning.methods = METHODS
  config.tuning.num_steps = 500
  config.tuning.num_repetitions = 1
  # The pool's exact predictor costs M for each token.
  config.tuning.search_draws = 512
  config.evaluation.tasks = ('single_coin', 'pool', 'random_coins')
  config.evaluation.num_sequences = 512
  config.evaluation.length = config.pretraining.length
  if 'quick' in options:
    quick(config)
  return config
