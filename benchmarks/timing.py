"""Timing: warm-up, the device's work waited for, medians."""

from collections.abc import Callable
import dataclasses
import statistics
import time

import jax
import jax.numpy as jnp

_CUBE = 2048
_FLOATS = 2**26


@dataclasses.dataclass(frozen=True)
class Timing:
  """How long something took.

  Attributes:
    seconds: Median of the runs.
    spread: Largest over smallest.
  """

  seconds: float
  spread: float


def measure(fn: Callable[[], object], runs: int, times: int = 1) -> Timing:
  """Times `fn`, which has run before, so that it is compiled.

  Args:
    fn: Returns arrays, which are waited for.
    runs: How often.
    times: What each run does many of; the result is for one.
  """
  found = []
  for _ in range(runs):
    started = time.perf_counter()
    jax.block_until_ready(fn())
    found.append((time.perf_counter() - started) / times)
  return Timing(statistics.median(found), max(found) / min(found))


def product_rate(runs: int = 5) -> float:
  """Returns this machine's float32 matrix-product rate: operations a second.

  Of 2048 cubed, in full float32 on every backend.
  """
  side = jnp.ones((_CUBE, _CUBE), jnp.float32)
  product = jax.jit(
    lambda a, b: jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST)
  )
  jax.block_until_ready(product(side, side))
  return 2 * _CUBE**3 / measure(lambda: product(side, side), runs).seconds


def memory_rate(runs: int = 5) -> float:
  """Returns how many bytes a second this machine reads and writes, together.

  Of a copy of 256 MB with one added.
  """
  floats = jnp.ones(_FLOATS, jnp.float32)
  copy = jax.jit(lambda x: x + 1)
  jax.block_until_ready(copy(floats))
  return 2 * floats.nbytes / measure(lambda: copy(floats), runs).seconds
