"""What torsos share to be fast: the same mathematics, cheaper derivatives.

`docs/performance.md` has what each of these gains.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np

from bayes_prompting import types

# Raise it when numbers change: networks and results depend on it.
NUMERICS = 1


def dot_general(lhs, rhs, dimension_numbers, precision=None, **kwargs):
  """Returns `x [..., D] @ w [D, F]`; for `nn.Dense(dot_general=...)`.

  No other product, and of the precision and type that its arguments have.

  The weight's gradient is taken as x^T g, of matrices that are in memory as
  they are used. Left to itself XLA transposes the larger one inside of whatever
  computes it, which on a CPU takes longer than the product.
  """
  assert dimension_numbers == (((lhs.ndim - 1,), (0,)), ((), ()))
  del kwargs  # Flax's preferred element type: that of the arguments.

  @jax.custom_vjp
  def product(x, w):
    return jnp.matmul(x, w, precision=precision)

  def forward(x, w):
    return product(x, w), (x, w)

  def backward(saved, g):
    x, w = saved
    g = jax.lax.optimization_barrier(g)
    to_x = jnp.matmul(g, w.T, precision=precision)
    rows, of_rows = (y.reshape(-1, y.shape[-1]) for y in (x, g))
    over_rows = (((0,), (0,)), ((), ()))
    to_w = jax.lax.dot_general(rows, of_rows, over_rows, precision=precision)
    return to_x, to_w

  product.defvjp(forward, backward)
  return product(lhs, rhs)


_SLOPE = math.sqrt(2 / math.pi)
_CUBIC = 0.044715


@jax.custom_jvp
def gelu(x: types.Array) -> types.Array:
  """GELU in its tanh form (Hendrycks and Gimpel, arXiv 1606.08415), as Flax's.

  Elementwise, of any shape.

  Its derivative is made where the value is, from the same tanh: one array is
  kept for the backward pass, and no second pass over memory made.
  """
  return _gelu_and_slope(x)[0]


def _gelu_and_slope(x):
  t = jnp.tanh(_SLOPE * (x + _CUBIC * x**3))
  inner = _SLOPE * (1 + 3 * _CUBIC * x**2)
  return 0.5 * x * (1 + t), 0.5 * (1 + t) + 0.5 * x * (1 - t**2) * inner


@gelu.defjvp
def _gelu_jvp(primals, tangents):
  value, slope = _gelu_and_slope(*primals)
  return value, slope * tangents[0]


def select(
  table: types.Array, tokens: types.Array, axis: int = 0
) -> types.Array:
  """Returns the rows of a table that sequences of tokens have.

  Args:
    table: [..., L, V, ...], a row for every token at every position.
    tokens: int32 [B, N], N <= L.
    axis: The one of L, from the left.

  Returns:
    [..., B, N, ...].
  """
  before, (length, vocab_size) = table.shape[:axis], table.shape[axis:][:2]
  table = table.reshape(*before, length * vocab_size, *table.shape[axis + 2 :])
  positions = np.arange(tokens.shape[-1], dtype=np.int32)
  rows = positions[None] * vocab_size + tokens
  return table[(slice(None),) * axis + (rows,)]
