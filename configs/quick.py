"""The whole experiment in small: an LSTM, random coins, a single coin.

    bayes-prompting run --config=quick --workdir=runs/demo

Every method of the paper on a network of 32 cells, within four minutes on two
CPU cores (`make demo` runs it). Expect the paper's order: at step 50 SoftPT and
FullWT come close to the target's Bayes predictor (0), the best hard prefix does
not (about 0.6), no tuning loses about 1.5 nats.
"""

from bayes_prompting import settings


def get_config():
  """Returns the configuration."""
  config = settings.base_config()
  config.network.embedding_dim = 32
  config.network.torso.width = 32
  config.pretraining.batch_size = 128
  config.pretraining.learning_rate = 3e-3
  config.pretraining.schedule = 'cosine'
  config.tuning.num_steps = 600
  config.tuning.batch_size = 128
  config.tuning.num_repetitions = 3
  return config
