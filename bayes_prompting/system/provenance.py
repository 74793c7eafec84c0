"""What computed a run: versions, flags and the device."""

import importlib.metadata
import os
import platform
from typing import Any

import jax

import bayes_prompting

# What numbers depend on, beside the configuration.
_NUMERICAL = ('jax', 'jaxlib', 'flax', 'optax')
_FLAGS = (
  'jax_default_prng_impl',
  'jax_enable_x64',
  'jax_threefry_partitionable',
)
_OTHERS = ('chex', 'orbax-checkpoint', 'numpy', 'scipy', 'xarray')


def provenance() -> dict[str, Any]:
  """Returns versions and device: the part that numbers depend on, and more."""
  device = jax.devices()[0]
  version = importlib.metadata.version
  return {
    'numerical': {
      'backend': device.platform,
      'device': device.device_kind,
      **{name: getattr(jax.config, name) for name in _FLAGS},
      **{name: version(name) for name in _NUMERICAL},
    },
    'other': {
      'bayes_prompting': bayes_prompting.__version__,
      'python': platform.python_version(),
      'device_count': jax.device_count(),
      'process_count': jax.process_count(),
      'cores': os.cpu_count(),
      **{name: version(name) for name in _OTHERS},
    },
  }
