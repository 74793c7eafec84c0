"""Recurrences of a matrix: a state that keys write to and queries read.

    S_t = w_t * S_{t-1} + b_t (a_t^T S_{t-1}) + k_t v_t^T,  o_t = S_t^T q_t

with S [Dk, Dv]. The decay w is a number, or one for each row of S, as its
logarithm. What b and a change (the delta rule) may be left out.

In chunks, with P_t the product of the decays of a chunk up to t, and s <= t,

    S_t = P_t S_0 + sum over s of (P_t / P_s) (b_s u_s^T + k_s v_s^T)

where u_t = S_{t-1}^T a_t. All u of a chunk solve one triangular system (Yang et
al., arXiv 2406.06484), and the rest are products of matrices.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bayes_prompting import types
from bayes_prompting.torsos import _stack

# Raise it when numbers change: networks and results depend on it.
NUMERICS = 1

# Longer chunks have triangles of more numbers than anybody has memory for.
MOST_POSITIONS = 4096
# How small the sum of a chunk's log decays may be, where each row of S has its
# own: from its middle a float32 reaches half as far in both directions.
LEAST_LOG_DECAY = -160.0


class Inputs(NamedTuple):
  """What a recurrence is given at each position.

  Attributes:
    query: q, [N, Dk].
    key: k, [N, Dk].
    value: v, [N, Dv].
    log_decay: log w, [N] or [N, Dk]; None for a w of 1.
    probe: a, [N, Dk], what is asked of the state before; None for no answer.
    change: b, [N, Dk], where the answer goes; None if there is none.
  """

  query: types.Array
  key: types.Array
  value: types.Array
  log_decay: types.Array | None = None
  probe: types.Array | None = None
  change: types.Array | None = None


def by_steps(
  inputs: Inputs, start: types.Array
) -> tuple[types.Array, types.Array]:
  """Returns o [N, Dv] and the last S, one position after the other.

  Args:
    inputs: Of N positions; N may be 0.
    start: S_0, [Dk, Dv].
  """

  def step(state, now):
    new = state + 0
    if now.log_decay is not None:
      decay = jnp.exp(now.log_decay)
      new = (decay[:, None] if decay.ndim else decay) * new
    if now.probe is not None:
      new = new + jnp.outer(now.change, now.probe @ state)
    new = new + jnp.outer(now.key, now.value)
    return new, now.query @ new

  end, outputs = jax.lax.scan(step, start, inputs)
  return outputs, end


def in_chunks(
  inputs: Inputs, start: types.Array, chunk: int
) -> tuple[types.Array, types.Array]:
  """As `by_steps`, many positions at once.

  For the derivative the first state of each chunk is kept, and all else of it
  is computed again.

  Args:
    inputs: Of N positions; N may be 0.
    start: S_0, [Dk, Dv].
    chunk: The most positions of a chunk. If each row of S has its own decay,
      the log decays of a chunk must sum to `LEAST_LOG_DECAY` or more.
  """
  length = len(inputs.key)
  if not length:
    return jnp.zeros((0, start.shape[1]), start.dtype), start
  # Chunks of one size, to pad as little as possible.
  number = -(-length // chunk)
  size = -(-length // number)

  def cut(x):
    # Zeros write nothing, and do not decay.
    padding = ((0, number * size - length), *((0, 0) for _ in x.shape[1:]))
    return jnp.pad(x, padding).reshape(number, size, *x.shape[1:])

  run = jax.checkpoint(_run_chunk, prevent_cse=False)
  end, outputs = jax.lax.scan(run, start, jax.tree.map(cut, inputs))
  return outputs.reshape(number * size, -1)[:length], end


def _run_chunk(state, now):
  if now.log_decay is not None and now.log_decay.ndim == 2:
    products, past, future = _decays_of_rows(now.log_decay)
  else:
    products, past, future = _decays(now.log_decay, len(now.key))
  outputs = (now.query * past[1:]) @ state
  outputs = outputs + products(now.query, now.key) @ now.value
  end = past[-1][:, None] * state + (now.key * future).T @ now.value
  if now.probe is not None:
    answers = (now.probe * past[:-1]) @ state
    answers = answers + products(now.probe, now.key, before=True) @ now.value
    # Not by powers of the matrix: with keys that are alike they are huge.
    answers = jax.scipy.linalg.solve_triangular(
      -products(now.probe, now.change, before=True),
      answers,
      lower=True,
      unit_diagonal=True,
    )
    outputs = outputs + products(now.query, now.change) @ answers
    end = end + (now.change * future).T @ answers
  return end, outputs


def _decays(log_decay, size):
  """Returns what decays do to a chunk of C positions.

  Args:
    log_decay: [C]; None for no decay.
    size: C.

  Returns:
    A function of x [C, D] and y [C, D], which returns [C, C], (P_t / P_s) x_t^T
    y_s for s <= t, and 0 otherwise; with `before` it is P_{t-1} and s < t. And
    P_t for t = 0 to C, and P_C / P_t for t = 1 to C, [..., 1].
  """
  ratios = np.tri(size + 1, dtype=np.float32)
  if log_decay is not None:
    # P_t / P_s for all s <= t. Each logarithm is a sum of its own: the
    # difference of two sums has lost its digits behind a strong decay.
    is_until = np.tri(size + 1, size, -1, dtype=np.float32)
    is_after = np.tri(size, size + 1, dtype=np.float32)
    logs = jnp.matmul(
      is_until, log_decay[:, None] * is_after, precision='highest'
    )
    ratios = jnp.exp(jnp.where(ratios > 0, logs, -jnp.inf))

  def products(x, y, before=False):
    return (x @ y.T) * (ratios[:-1, 1:] if before else ratios[1:, 1:])

  return products, ratios[:, :1], ratios[-1, 1:, None]


def _decays_of_rows(log_decay):
  """As `_decays`, of [C, D], which returns P [C + 1, D] and P_C / P_t."""
  size = len(log_decay)
  logs = jnp.matmul(
    np.tri(size + 1, size, -1, dtype=np.float32), log_decay, precision='highest'
  )
  # Seen from the middle, decays are as far from 1 as they must be.
  middle = logs[(size + 1) // 2][None]
  later, earlier = jnp.exp(logs - middle), jnp.exp(middle - logs[1:])

  def products(x, y, before=False):
    x = x * (later[:-1] if before else later[1:])
    seen = np.tri(size, k=-1 if before else 0, dtype=bool)
    return jnp.where(seen, x @ (y * earlier).T, 0)

  return products, jnp.exp(logs), jnp.exp(logs[-1:] - logs[1:])


def run(
  inputs: Inputs,
  start: types.Array,
  fast: bool,
  chunk: int,
  shared_decay: types.Array | None = None,
) -> tuple[types.Array, types.Array]:
  """Runs over sequences, of several heads each, from the same state.

  Args:
    inputs: [..., H, N, D], with the batch's axes in front. What has one head
      alone is shared by all.
    start: [H, Dk, Dv].
    fast: In chunks, or by steps.
    chunk: The most positions of a chunk.
    shared_decay: The logarithms of decays [H, N] that all sequences share, in
      place of those of `inputs`.

  Returns:
    o [..., H, N, Dv] and S [..., H, Dk, Dv].
  """
  recur = functools.partial(in_chunks, chunk=chunk) if fast else by_steps

  def of_sequence(inputs, start, shared_decay):
    if shared_decay is not None:
      inputs = inputs._replace(log_decay=shared_decay)
    heads = len(start)
    of_each = [x is not None and len(x) == heads for x in inputs]
    inputs = Inputs(
      *(
        x if each or x is None else x[0]
        for x, each in zip(inputs, of_each, strict=True)
      )
    )
    axes = Inputs(*(0 if each else None for each in of_each))
    return jax.vmap(recur, in_axes=(axes, 0))(inputs, start)

  num_axes = inputs.value.ndim - 3
  return _stack.over_batch(of_sequence, inputs, num_axes, start, shared_decay)


def read(query: types.Array, memory: types.Array) -> types.Array:
  """Returns S^T q, [..., H, N, Dv], of one S for all positions.

  Args:
    query: q, [..., H, N, Dk], or of one head that all share.
    memory: S, [H, Dk, Dv].
  """
  if query.shape[-3] == len(memory):
    return jnp.einsum('...hnk,hkv->...hnv', query, memory)
  return jnp.einsum('...nk,hkv->...hnv', query[..., 0, :, :], memory)


def split(x: types.Array, num_heads: int) -> types.Array:
  """Maps [..., N, H D] to [..., H, N, D]."""
  x = x.reshape(*x.shape[:-1], num_heads, x.shape[-1] // num_heads)
  return jnp.moveaxis(x, -2, -3)


def heads_last(x: types.Array) -> types.Array:
  """Maps [..., H, N, D] to [..., N, H, D]."""
  return jnp.moveaxis(x, -3, -2)


def join(x: types.Array) -> types.Array:
  """Maps [..., N, H, D] to [..., N, H D]."""
  return x.reshape(*x.shape[:-2], x.shape[-2] * x.shape[-1])
