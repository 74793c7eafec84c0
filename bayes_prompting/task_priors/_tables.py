"""Sources as tables of probabilities: what all priors over such sources share.

A table [V^k, V] has a row for each context of the last k tokens, read as a
number in base V with the most recent token last. The first k tokens of a
sequence have no such context: they are uniform, whatever the source.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from bayes_prompting import keys
from bayes_prompting import types
from bayes_prompting.task_priors import _draws

# Raise it when numbers change: networks and results depend on it.
NUMERICS = 1

# How far the probabilities of one source may be apart in two priors.
_TOLERANCE = 1e-7


def order(table: types.Array) -> int:
  """Returns k of a table [V^k, V]."""
  rows, vocab_size = table.shape
  k = round(np.log(rows) / np.log(vocab_size))
  assert rows == vocab_size**k, table.shape
  return k


def lift(table: types.Array, k: int) -> types.Array:
  """Returns the same source as a table of order k, at least its own."""
  repeats = table.shape[-1] ** (k - order(table))
  # The older tokens, which make no difference, are the leading digits.
  tile = jnp.tile if isinstance(table, jax.Array) else np.tile
  return tile(table, (repeats, 1))


def same(one: np.ndarray, other: np.ndarray) -> bool:
  """Returns whether two tables, of whatever order, are one source."""
  k = max(order(one), order(other))
  return np.allclose(lift(one, k), lift(other, k), rtol=0, atol=_TOLERANCE)


def is_of_order(table: np.ndarray, k: int) -> bool:
  """Returns whether the last k tokens are all that a source depends on."""
  if order(table) <= k:
    return True
  return same(table, table[: table.shape[-1] ** k])


def distinct(tables: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
  """Returns tables, of whatever orders, without those that are one source.

  By rounding, so that thousands take no time.
  """
  k = max(map(order, tables))
  rows = [(lift(table, k) / _TOLERANCE).round().ravel() for table in tables]
  _, first = np.unique(rows, axis=0, return_index=True)
  return tuple(tables[i] for i in np.sort(first))


def finite_support(tables: np.ndarray, weights: np.ndarray) -> types.Support:
  """Returns the support of finitely many sources.

  Args:
    tables: float64 [M, V^k, V].
    weights: [M]; a source of weight zero is not in the support.
  """
  points = distinct(np.asarray(tables, np.float64)[np.asarray(weights) > 0])
  stacked, k = np.stack(points), order(points[0])

  def covers(table):  # All at once: one by one a large pool takes seconds.
    if not is_of_order(table, k):
      return False
    one = lift(table[: len(stacked[0])], k)
    apart = np.abs(stacked - one).max((1, 2))
    return bool(apart.min() <= _TOLERANCE)

  return types.Support(points=points, finite=True, covers=covers)


def generic(occurs: np.ndarray) -> np.ndarray:
  """Returns a table in general position.

  Args:
    occurs: bool [V^k, V], the tokens that are possible in each context.

  Returns:
    float64 [V^k, V], no two rows and no two of their entries alike.
  """
  golden = (1 + np.sqrt(5)) / 2
  numbers = 1 + np.arange(1, occurs.size + 1) * golden % 1
  numbers = np.where(occurs, numbers.reshape(occurs.shape), 0.0)
  return numbers / numbers.sum(-1, keepdims=True)


def episode(
  key: types.Key, log_table: types.Array, length: int
) -> types.Episode:
  """Returns an episode from one source.

  Args:
    key: Consumed.
    log_table: float32 [V^k, V]; -inf for a token that never occurs.
    length: N.
  """
  rows, vocab_size = log_table.shape
  if rows == 1:
    oracle = jnp.broadcast_to(log_table[0], (length, vocab_size))
    return types.Episode(_draws.draw(key, log_table[0], (length,)), oracle)
  k = order(log_table)
  uniform = jnp.full(vocab_size, -np.log(vocab_size), jnp.float32)

  def step(context, at):
    position, key = at
    key = keys.of_step(key)
    log_probs = jnp.where(position < k, uniform, log_table[context])
    token = _draws.draw(key, log_probs)
    return (context * vocab_size + token) % rows, (token, log_probs)

  positions = jnp.arange(length, dtype=jnp.int32)
  steps = positions, jax.random.split(key, length)
  _, (tokens, oracle) = jax.lax.scan(step, jnp.int32(0), steps)
  return types.Episode(tokens, oracle)
