"""LSTM of one or more layers (Hochreiter and Schmidhuber, 1997)."""

from flax import linen as nn
import jax.numpy as jnp

from bayes_prompting import checks
from bayes_prompting import types

EXAMPLES = ({'width': 6}, {'width': 4, 'num_layers': 2})


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

  @nn.compact
  def __call__(self, x: types.Array, state: types.State):
    """Runs over [N, E] from a state; returns [N, width] and the new state."""
    carries = []
    for i in range(self.num_layers):
      cell = nn.OptimizedLSTMCell(self.width, name=f'layer_{i}')
      carry, x = nn.RNN(cell, return_carry=True)(x, initial_carry=state[i])
      carries.append(carry)
    return x, tuple(carries)


def make(width: int = 128, num_layers: int = 1) -> LSTM:
  """Builds an LSTM torso.

  Args:
    width: Cells in each layer.
    num_layers: Number of layers.
  """
  return LSTM(
    checks.integer('width', width, 1),
    checks.integer('num_layers', num_layers, 1),
  )
