r"""How many sequences of the target does a tuner need?

    python -m launch.experiment --config=configs/data.py:SIZE,NETWORK \
        --workdir=runs/data/SIZE-NETWORK

A network that was pretrained on random coins is tuned to a single coin with a
fixed sample of SIZE sequences of it (0: fresh ones at every update), and judged
on others. NETWORK is lstm or transformer; `,quick` behind it makes everything
smaller still. Each repetition has a sample of its own, on which hard prefixes
are scored, too (on 2048 of it at most).

`docs/experiments/data.md` has what was found. Expect minutes.
"""

from bayes_prompting import settings
from bayes_prompting.settings import arguments as arguments_lib
from configs import diversity
from configs import paper

# Tuning draws 32000 in all: a larger sample is like fresh ones.
SIZES = (1, 4, 16, 64, 256, 1024, 4096, 16384, 0)
METHODS = ('PreBayesPT', 'NoTuning', 'HardPT', 'SoftPT', 'LoRAWT', 'FullWT')


def get_config(arguments: str = '256,lstm'):
  """Returns the configuration for `SIZE,NETWORK` and what may follow."""
  parts = {'SIZE': (), 'NETWORK': paper.TORSOS}
  (size, network), options = arguments_lib.split(
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
