"""Layers of recurrent cells with a matrix of their own: LSTM and GRU.

There is no `NUMERICS`: what is computed here is a part of the torsos that use
it. Whoever changes numbers here raises the version of each of these.
"""

from collections.abc import Callable, Mapping

from flax import linen as nn
import jax
import jax.numpy as jnp

from bayes_prompting import checks
from bayes_prompting import types


class Layers(nn.Module):
  """A stack of cells, one layer after the other.

  What is special to a cell is said by `cell`, `empty`, `weights` and `recur`.

  Attributes:
    width: Units in each layer.
    num_layers: Number of layers.
  """

  width: int
  num_layers: int

  def cell(self, name: str) -> nn.RNNCellBase:
    """Returns Flax's cell of one layer, by the name of its weights."""
    raise NotImplementedError

  def empty(self) -> types.State:
    """Returns the empty state of one layer, arrays [width]."""
    raise NotImplementedError

  def weights(self, cell: Mapping[str, types.PyTree]) -> types.PyTree:
    """Returns the weights of one layer, for `recur`, from those of its cell.

    Among them are `input` [E, F] and `bias` [F], which project inputs to rows.
    """
    raise NotImplementedError

  def recur(
    self,
    rows: types.Array,
    layer: types.PyTree,
    start: types.State,
    index: types.Array,
  ) -> types.Array:
    """Runs one layer over sequences whose projected inputs are table rows.

    Args:
      rows: [M, F].
      layer: What `weights` returned.
      start: Of one layer, [B, width] each.
      index: int32 [N, B], the row of each step of each sequence; N >= 1.

    Returns:
      [N, B, width], the activations after each step.
    """
    raise NotImplementedError

  def empty_state(self, width: int) -> types.State:
    """Returns the empty state of each layer."""
    del width
    return tuple(self.empty() for _ in range(self.num_layers))

  @nn.compact
  def __call__(self, x: types.Array, state: types.State):
    """Runs over [N, E] from a state; returns [N, width] and the new state."""
    carries = []
    for i in range(self.num_layers):
      cell = self.cell(f'layer_{i}')
      carry, x = nn.RNN(cell, return_carry=True)(x, initial_carry=state[i])
      carries.append(carry)
    return x, tuple(carries)

  def prepare(self, rows: types.Array, state: types.State, length: int):
    """Projects every token to the first layer's gates; see `torsos`."""
    del length
    layers = [
      self.weights(self.variables['params'][f'layer_{i}'])
      for i in range(self.num_layers)
    ]
    first = layers[0]
    rows = rows @ first['input'] + first['bias'][None]
    return {'rows': rows, 'layers': layers, 'starts': state}

  def read(self, table: types.PyTree, tokens: types.Array) -> types.Array:
    """Runs over tokens [B, N]; returns [B, N, width]."""
    if not tokens.size:
      return jnp.zeros((*tokens.shape, self.width), jnp.float32)
    index, rows = tokens.T, table['rows']
    hidden = None
    for layer, start in zip(table['layers'], table['starts'], strict=True):
      if hidden is not None:
        # Later layers have a row for each position of each sequence.
        bias = layer['bias'][None, None]
        rows = (hidden @ layer['input'] + bias).reshape(-1, rows.shape[-1])
        index = jnp.arange(tokens.size, dtype=jnp.int32).reshape(index.shape)
      start = jax.tree.map(
        lambda x: jnp.broadcast_to(x, (len(tokens), self.width)), start
      )
      hidden = self.recur(rows, layer, start, index)
    return jnp.swapaxes(hidden, 0, 1)

  def sequence_block(self, length: int, width: int) -> int:
    """Returns how many sequences make the product of a step efficient."""
    del length, width
    return max(32, 2**15 // self.width)


def joined(
  cell: Mapping[str, types.PyTree], kind: str, gates: str, name: str
) -> types.Array:
  """Returns weights of Flax's cell of several gates, side by side.

  Args:
    cell: The cell's weights.
    kind: `i` of the input, `h` of the hidden units.
    gates: A letter each.
    name: `kernel` or `bias`.
  """
  return jnp.concatenate([cell[kind + gate][name] for gate in gates], axis=-1)


def make(layers: Callable[[int, int], Layers], width: int, num_layers: int):
  """Returns a stack of layers, once the sizes are checked."""
  return layers(
    checks.integer('width', width, 1, checks.MOST_CHANNELS),
    checks.integer('num_layers', num_layers, 1, checks.MOST_LAYERS),
  )
