"""With 64 bits switched on, everything is still computed in 32."""

import jax
import pytest

from bayes_prompting import experiment
from configs import prompts
from tests import test_configs_small
from tests import testing


@pytest.fixture
def config():
  config = test_configs_small.tiny(prompts.get_config('coins,lstm,quick'))
  config.pretraining.num_seeds = 1
  config.tuning.num_sequences = 8  # A fixed sample draws numbers too.
  config.tuning.methods = ('PreBayesPT', 'SoftPT', 'LoRAWT')
  return config


@pytest.mark.slow
def test_a_run_is_the_same_with_64_bits_within_rounding(config):
  with jax.enable_x64(False):
    one = experiment.run(config)
  with jax.enable_x64(True):
    other = experiment.run(config)
  for name, values in one.data_vars.items():
    assert other[name].dtype == values.dtype, name
  testing.assert_results_agree(one, other)
