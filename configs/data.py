r"""How many sequences of the target does a tuner need?

    bayes-prompting run --config=data:SIZE,NETWORK \
        --workdir=runs/data/SIZE-NETWORK

A network is pretrained on random coins. It is then tuned to a single coin with
a fixed sample of SIZE sequences (0: fresh ones at every update), and judged on
other sequences. NETWORK is lstm or transformer; `,quick` behind it makes
everything smaller still. Each repetition has a sample of its own. Hard prefixes
are scored on this sample, too, on at most 2048 sequences of it.

`docs/experiments/data.md` says what was found. Expect minutes.
"""

from bayes_prompting import settings
from bayes_prompting.configs import diversity
from bayes_prompting.configs import paper
from bayes_prompting.settings import arguments as preset_arguments

# Tuning draws 32000 in all: a larger sample is like fresh ones.
SIZES = (1, 4, 16, 64, 256, 1024, 4096, 16384, 0)
METHODS = ('PreBayesPT', 'NoTuning', 'HardPT', 'SoftPT', 'LoRAWT', 'FullWT')


def get_config(arguments: str = '256,lstm'):
  """Returns the configuration for `SIZE,NETWORK` and what may follow."""
  parts = {'SIZE': (), 'NETWORK': paper.TORSOS}
  (size, network), options = preset_arguments.split(
    'data.py', arguments, parts, ('quick',)
  )
  size = diversity.number('data.py:SIZE,NETWORK: SIZE', size, 0)
  config = settings.base_config()
  diversity.small(config, network)
  tuning = config.tuning
  tuning.methods = METHODS
  tuning.num_sequences = size
  tuning.search_draws = min(size or 2048, 2048)
  tuning.num_steps = 500
  tuning.batch_size = 64
  tuning.num_repetitions = 3
  config.evaluation.tasks = ('single_coin',)
  config.evaluation.num_sequences = 512
  config.evaluation.length = tuning.length
  if 'quick' in options:
    diversity.quick(config)
    tuning.num_repetitions = 2
  return config
