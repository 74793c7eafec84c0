"""The histories that two statistics tell apart, and functions of them.

In NumPy and in float64: what exact sums (`theory`) are made of.
"""

from collections.abc import Callable
import functools

import jax
import jax.numpy as jnp
import numpy as np

from bayes_prompting import types

# Raise it when numbers change: networks and results depend on it.
NUMERICS = 1

# More values than these, over all steps, are not summed over. To enumerate the
# 3e5 of binary chains of order 1 over 100 tokens took 0.15 s of one core.
_MAX_VALUES = 3_000_000
# Nor values of more numbers than these in all: some hundred megabytes.
_MAX_NUMBERS = 40_000_000
# Values whose predictions are computed at once: one compiled program.
_BLOCK = 8192


def reachable(
  statistic: types.Statistic,
  start: np.ndarray,
  other: types.Statistic,
  length: int,
) -> list[tuple[np.ndarray, np.ndarray]] | None:
  """Returns the pairs of values before each of N tokens, and what follows them.

  Args:
    statistic: Of one prior.
    start: int64 [1, D], what it starts from.
    other: The statistic of another prior, after the same tokens.
    length: N.

  Returns:
    For each step values [S, D] and indices [S, V] of those of the next step;
    None if there are too many.
  """
  vocab_size = len(other.log_predictive(np.array(other.start, np.float32)))
  split = start.shape[-1]
  level = np.concatenate([start, [other.start]], axis=-1)
  levels, total = [], 0
  limit = min(_MAX_VALUES, _MAX_NUMBERS // level.shape[-1])
  for n in range(length):
    # Later steps have no fewer values: that there are too many shows early.
    if total + len(level) * max(1 + vocab_size, length - n) > limit:
      return None
    total += len(level)
    values = np.repeat(level, vocab_size, axis=0)
    tokens = np.tile(np.arange(vocab_size), len(level))
    after = np.concatenate(
      [
        statistic.update(values[:, :split], tokens),
        other.update(values[:, split:], tokens),
      ],
      axis=-1,
    )
    distinct, index = _distinct(after)
    levels.append((level, index.reshape(-1, vocab_size)))
    level = distinct
  return levels


def _distinct(values):
  """Returns the distinct rows of whole numbers [S, D], and which each was."""
  least = values.min(0)
  span = values.max(0) - least + 1
  if np.log2(span).sum() < 62:  # The product may be beyond any float.
    # Numbers in a mixed base sort much faster than rows.
    keys = (values - least) @ np.cumprod([1, *span[:-1]])
  else:
    keys = np.ascontiguousarray(values).view(f'V{values[0].nbytes}').ravel()
  _, first, index = np.unique(keys, return_index=True, return_inverse=True)
  return values[first], index.ravel()


# Another wrapper of the same function would find its program, but slowly.
_compiled = functools.lru_cache(maxsize=64)(jax.jit)


def evaluate(
  function: Callable[[types.Array], types.Array], values: np.ndarray
) -> np.ndarray:
  """Returns a function of a statistic at values [S, D], in float64."""
  count = len(values)
  block = min(_BLOCK, 1 << (count - 1).bit_length())
  values = np.asarray(values, np.float64)
  padded = np.pad(values, ((0, -count % block), (0, 0)), mode='edge')
  with jax.enable_x64(True):
    compute = _compiled(function)
    found = [
      np.asarray(compute(jnp.asarray(padded[i : i + block])))
      for i in range(0, count, block)
    ]
  return np.concatenate(found)[:count]
