"""How tokens are drawn: of few by a number for each, of many by one number."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from bayes_prompting import types

# Raise it when numbers change: networks and results depend on it.
NUMERICS = 1

# With more tokens than this, a number for each of them takes longer to draw
# than the rest of an update.
_MOST_GUMBELS = 64
# The numbers that JAX draws are multiples of twice this, below 1.
_HALF_STEP = np.float32(2.0**-24)


def draw(
  key: types.Key, log_probs: types.Array, shape: Sequence[int] = ()
) -> types.Array:
  """Returns tokens int32 [*shape, ...], so many of each distribution.

  Args:
    key: Consumed.
    log_probs: float32 [..., V]; a token with -inf is never drawn.
    shape: How many.
  """
  whole = (*shape, *log_probs.shape[:-1])
  if log_probs.shape[-1] <= _MOST_GUMBELS:
    return jax.random.categorical(key, log_probs, shape=whole).astype(jnp.int32)
  weights = jnp.expand_dims(jnp.exp(log_probs), tuple(range(len(shape))))
  return at(weights, numbers(key, whole))


def numbers(key: types.Key, shape: Sequence[int]) -> types.Array:
  """Returns uniform numbers, float32, neither 0 nor 1.

  Args:
    key: Consumed.
    shape: Of the numbers.
  """
  return jax.random.uniform(key, shape, jnp.float32) + _HALF_STEP


def at(weights: types.Array, where: types.Array) -> types.Array:
  """Returns the tokens int32 [...] at these shares of all the weight.

  Args:
    weights: float32 [..., V], not negative, of any sum above 0; a token without
      weight is never returned.
    where: [...], see `numbers`.
  """
  # Sums in parallel are rounded each in its own way: they may shrink from one
  # token to the next, and grow where there is no weight.
  sums = jnp.where(weights > 0, jnp.cumsum(weights, axis=-1), -jnp.inf)
  # Less than the largest sum, also when rounded.
  points = where * sums.max(-1)
  return jnp.argmax(sums > points[..., None], axis=-1).astype(jnp.int32)
