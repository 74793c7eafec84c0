"""LSTM of one or more layers (Hochreiter and Schmidhuber, 1997)."""

from flax import linen as nn
import jax
import jax.numpy as jnp

from bayes_prompting import types
from bayes_prompting.torsos import _cells

# Raise it when numbers change: networks and results depend on it.
NUMERICS = 1

EXAMPLES = ({'width': 6}, {'width': 4, 'num_layers': 2})

_GATES = 'ifgo'


class LSTM(_cells.Layers):
  """A stack of LSTM layers with Flax's default initialisers.

  Those are LeCun-normal input kernels, orthogonal recurrent kernels and zero
  biases, the forget gate's included.
  """

  def cell(self, name):
    """Returns Flax's cell."""
    return nn.OptimizedLSTMCell(self.width, name=name)

  def empty(self):
    """Returns zeros, (cell, hidden)."""
    zeros = jnp.zeros(self.width, jnp.float32)
    return zeros, zeros

  def memory(self, state: types.State) -> types.Array:
    """Returns the cells of all layers, [num_layers * width]."""
    return jnp.concatenate([cell for cell, _ in state])

  def weights(self, cell):
    """Returns those of all gates, side by side."""
    return {
      'input': _cells.joined(cell, 'i', _GATES, 'kernel'),
      'recurrent': _cells.joined(cell, 'h', _GATES, 'kernel'),
      'bias': _cells.joined(cell, 'h', _GATES, 'bias'),
    }

  def recur(self, rows, layer, start, index):
    """Runs one layer over rows of a table."""
    return _recur(rows, layer['recurrent'], *start, index)


def _gates(z):
  i, f, g, o = jnp.split(z, 4, axis=-1)
  return (*map(jax.nn.sigmoid, (i, f)), jnp.tanh(g), jax.nn.sigmoid(o))


@jax.custom_vjp
def _recur(rows, recurrent, cell, hidden, index):
  """Runs one layer over sequences whose input projections are rows of a table.

  Args:
    rows: [M, 4 D], projections to the gates i, f, g, o.
    recurrent: [D, 4 D].
    cell: [B, D], at the start.
    hidden: [B, D], at the start.
    index: int32 [N, B], the row of each step of each sequence.

  Returns:
    [N, B, D], the hidden state after each step.
  """
  return _recur_forward(rows, recurrent, cell, hidden, index)[0]


def _recur_forward(rows, recurrent, cell, hidden, index):
  def step(carry, now):
    cell, hidden = carry
    i, f, g, o = _gates(rows[now] + hidden @ recurrent)
    cell = f * cell + i * g
    hidden = o * jnp.tanh(cell)
    return (cell, hidden), (carry[0], hidden)

  _, (cells, outputs) = jax.lax.scan(step, (cell, hidden), index)
  return outputs, (rows, recurrent, hidden, cells, outputs, index)


def _recur_backward(saved, to_outputs):
  """Goes back through time, with the gates computed a second time.

  That is cheaper than to keep them: four arrays of [N, B, D] leave the cache.
  """
  rows, recurrent, start, cells, outputs, index = saved
  before = jnp.concatenate([start[None], outputs])[: len(outputs)]

  def step(carry, now):
    to_rows, to_recurrent, to_cell, to_hidden = carry
    cell, hidden, row, to_output = now
    i, f, g, o = _gates(rows[row] + hidden @ recurrent)
    t = jnp.tanh(f * cell + i * g)
    to_hidden = to_hidden + to_output
    to_cell = to_cell + to_hidden * o * (1 - t**2)
    to_gates = jnp.concatenate(
      [
        to_cell * g * i * (1 - i),
        to_cell * cell * f * (1 - f),
        to_cell * i * (1 - g**2),
        to_hidden * t * o * (1 - o),
      ],
      axis=-1,
    )
    # One array in memory, for the three that are made of it.
    to_gates = jax.lax.optimization_barrier(to_gates)
    over_batch = (((0,), (0,)), ((), ()))
    carry = (
      to_rows.at[row].add(to_gates),
      to_recurrent + jax.lax.dot_general(hidden, to_gates, over_batch),
      to_cell * f,
      to_gates @ recurrent.T,
    )
    return carry, None

  zeros = jax.tree.map(jnp.zeros_like, (rows, recurrent, start, start))
  carry, _ = jax.lax.scan(
    step, zeros, (cells, before, index, to_outputs), reverse=True
  )
  return (*carry, None)


_recur.defvjp(_recur_forward, _recur_backward)


def make(width: int = 128, num_layers: int = 1) -> LSTM:
  """Builds an LSTM torso.

  Args:
    width: Cells in each layer.
    num_layers: Number of layers.
  """
  return _cells.make(LSTM, width, num_layers)
