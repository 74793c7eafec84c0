"""Gated recurrent units of one or more layers (Cho et al., arXiv 1406.1078).

With inputs x and hidden units h before, and * elementwise,

    r = sigmoid(W_r x + U_r h + b_r),  z = sigmoid(W_z x + U_z h + b_z),
    n = tanh(W_n x + b_n + r * (U_n h + c)),  h' = (1 - z) * n + z * h.

The paper has U_n (r * h) in n, and no biases. The reset after the product is
that of cuDNN and of `flax.linen.GRUCell`, with which weights are shared.
"""

from flax import linen as nn
import jax
import jax.numpy as jnp

from bayes_prompting import types
from bayes_prompting.torsos import _cells

# Raise it when numbers change: networks and results depend on it.
NUMERICS = 1

EXAMPLES = ({'width': 6}, {'width': 4, 'num_layers': 2})

_GATES = 'rzn'


class GRU(_cells.Layers):
  """A stack of GRU layers with Flax's default initialisers.

  Those are LeCun-normal input kernels, orthogonal recurrent kernels and zero
  biases.
  """

  def cell(self, name):
    """Returns Flax's cell."""
    return nn.GRUCell(self.width, name=name)

  def empty(self):
    """Returns hidden units, zeros."""
    return jnp.zeros(self.width, jnp.float32)

  def memory(self, state: types.State) -> types.Array:
    """Returns the hidden units of all layers, [num_layers * width]."""
    return jnp.concatenate(state)

  def weights(self, cell):
    """Returns those of all gates, side by side."""
    return {
      'input': _cells.joined(cell, 'i', _GATES, 'kernel'),
      'bias': _cells.joined(cell, 'i', _GATES, 'bias'),
      'recurrent': _cells.joined(cell, 'h', _GATES, 'kernel'),
      'hidden_bias': cell['hn']['bias'],
    }

  def recur(self, rows, layer, start, index):
    """Runs one layer over rows of a table."""
    recurrent, bias = layer['recurrent'], layer['hidden_bias']
    return _recur(rows, recurrent, bias, start, index)


def _gates(row, product, bias):
  """Returns r, z, n, and what r lets through to n.

  Args:
    row: [B, 3 D], of the input.
    product: [B, 3 D], of the hidden units.
    bias: [D], c.
  """
  of_r, of_z, of_n = jnp.split(row, 3, axis=-1)
  to_r, to_z, to_n = jnp.split(product, 3, axis=-1)
  r, z = jax.nn.sigmoid(of_r + to_r), jax.nn.sigmoid(of_z + to_z)
  inner = to_n + bias[None]
  return r, z, jnp.tanh(of_n + r * inner), inner


@jax.custom_vjp
def _recur(rows, recurrent, bias, hidden, index):
  """Runs one layer over sequences whose input projections are rows of a table.

  Args:
    rows: [M, 3 D], projections to r, z and n, biases included.
    recurrent: [D, 3 D].
    bias: [D], c.
    hidden: [B, D], at the start.
    index: int32 [N, B], the row of each step of each sequence.

  Returns:
    [N, B, D], the hidden units after each step.
  """
  return _recur_forward(rows, recurrent, bias, hidden, index)[0]


def _recur_forward(rows, recurrent, bias, hidden, index):
  def step(hidden, now):
    _, z, n, _ = _gates(rows[now], hidden @ recurrent, bias)
    hidden = (1 - z) * n + z * hidden
    return hidden, hidden

  _, outputs = jax.lax.scan(step, hidden, index)
  return outputs, (rows, recurrent, bias, hidden, outputs, index)


def _recur_backward(saved, to_outputs):
  """Goes back through time, with the gates computed a second time.

  As for the LSTM that is cheaper than to keep them, and the memory is that of
  the outputs alone.
  """
  rows, recurrent, bias, start, outputs, index = saved
  before = jnp.concatenate([start[None], outputs])[: len(outputs)]

  def step(carry, now):
    to_rows, to_recurrent, to_bias, to_hidden = carry
    hidden, row, to_output = now
    r, z, n, inner = _gates(rows[row], hidden @ recurrent, bias)
    to_hidden = to_hidden + to_output
    to_n = to_hidden * (1 - z) * (1 - n**2)
    to_z = to_hidden * (hidden - n) * z * (1 - z)
    to_r = to_n * inner * r * (1 - r)
    # Of the row, and of the product with the hidden units: they differ in n.
    to_row = jnp.concatenate([to_r, to_z, to_n], axis=-1)
    to_product = jnp.concatenate([to_r, to_z, to_n * r], axis=-1)
    # Arrays in memory, for all that is made of them.
    to_row, to_product = jax.lax.optimization_barrier((to_row, to_product))
    over_batch = (((0,), (0,)), ((), ()))
    carry = (
      to_rows.at[row].add(to_row),
      to_recurrent + jax.lax.dot_general(hidden, to_product, over_batch),
      to_bias + to_product[:, 2 * len(bias) :].sum(0),
      to_hidden * z + to_product @ recurrent.T,
    )
    return carry, None

  zeros = jax.tree.map(jnp.zeros_like, (rows, recurrent, bias, start))
  carry, _ = jax.lax.scan(
    step, zeros, (before, index, to_outputs), reverse=True
  )
  return (*carry, None)


_recur.defvjp(_recur_forward, _recur_backward)


def make(width: int = 128, num_layers: int = 1) -> GRU:
  """Builds a GRU torso.

  Args:
    width: Hidden units in each layer.
    num_layers: Number of layers.
  """
  return _cells.make(GRU, width, num_layers)
