"""LSTM of one or more layers (Hochreiter and Schmidhuber, 1997)."""

from flax import linen as nn
import jax
import jax.numpy as jnp

from bayes_prompting import checks
from bayes_prompting import types

# Raise it when numbers change: networks and results depend on it.
NUMERICS = 1

EXAMPLES = ({'width': 6}, {'width': 4, 'num_layers': 2})

_GATES = 'ifgo'


class LSTM(nn.Module):
  """A stack of LSTM layers with Flax's default initialisers.

  Those are LeCun-normal input kernels, orthogonal recurrent kernels and zero
  biases, the forget gate's included.

  Attributes:
    width: Cells in each layer.
    num_layers: Number of layers.
  """

  width: int
  num_layers: int

  def empty_state(self, width: int) -> types.State:
    """Returns zeros: a (cell, hidden) pair of [width] arrays for each layer."""
    del width
    zeros = jnp.zeros(self.width, jnp.float32)
    return tuple((zeros, zeros) for _ in range(self.num_layers))

  def memory(self, state: types.State) -> types.Array:
    """Returns the cells of all layers, [num_layers * width]."""
    return jnp.concatenate([cell for cell, _ in state])

  @nn.compact
  def __call__(self, x: types.Array, state: types.State):
    """Runs over [N, E] from a state; returns [N, width] and the new state."""
    carries = []
    for i in range(self.num_layers):
      cell = nn.OptimizedLSTMCell(self.width, name=f'layer_{i}')
      carry, x = nn.RNN(cell, return_carry=True)(x, initial_carry=state[i])
      carries.append(carry)
    return x, tuple(carries)

  def prepare(self, rows: types.Array, state: types.State, length: int):
    """Projects every token to the first layer's gates; see `torsos`."""
    del length
    layers = []
    for i in range(self.num_layers):
      cell = self.variables['params'][f'layer_{i}']
      layers.append(
        {
          'input': _joined(cell, 'i', 'kernel'),
          'recurrent': _joined(cell, 'h', 'kernel'),
          'bias': _joined(cell, 'h', 'bias'),
          'start': state[i],
        }
      )
    first = layers[0]
    rows = rows @ first['input'] + first['bias'][None]
    return {'rows': rows, 'layers': layers}

  def read(self, table: types.PyTree, tokens: types.Array) -> types.Array:
    """Runs over tokens [B, N]; returns [B, N, width]."""
    if not tokens.size:
      return jnp.zeros((*tokens.shape, self.width), jnp.float32)
    index, rows = tokens.T, table['rows']
    hidden = None
    for layer in table['layers']:
      if hidden is not None:
        # Later layers have a row for each position of each sequence.
        bias = layer['bias'][None, None]
        rows = (hidden @ layer['input'] + bias).reshape(-1, rows.shape[-1])
        index = jnp.arange(tokens.size, dtype=jnp.int32).reshape(index.shape)
      start = (
        jnp.broadcast_to(part, (len(tokens), self.width))
        for part in layer['start']
      )
      hidden = _recur(rows, layer['recurrent'], *start, index)
    return jnp.swapaxes(hidden, 0, 1)

  def sequence_block(self, length: int, width: int) -> int:
    """Returns how many sequences make the product of a step efficient."""
    del length, width
    return max(32, 2**15 // self.width)


def _joined(cell, kind, name):
  return jnp.concatenate([cell[kind + g][name] for g in _GATES], axis=-1)


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
  return LSTM(
    checks.integer('width', width, 1, checks.MOST_CHANNELS),
    checks.integer('num_layers', num_layers, 1, checks.MOST_LAYERS),
  )
