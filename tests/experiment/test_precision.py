"""With 64 bits switched on, everything is still computed in 32."""

import jax
import pytest

from bayes_prompting.experiment import run
from configs import prompts
from tests import testing
from tests.configs import test_configs_small


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
    one = run.run(config)
  with jax.enable_x64(True):
    other = run.run(config)
  for name, values in one.data_vars.items():
    assert other[name].dtype == values.dtype, name
  testing.assert_results_agree(one, other)
