"""A linear map of the present token alone: a trivial torso, for tests."""

from flax import linen as nn

from bayes_prompting import checks
from bayes_prompting import types

# Raise it when numbers change: networks and results depend on it.
NUMERICS = 1

EXAMPLES = ({'width': 5},)


class Linear(nn.Module):
  """Maps each embedding on its own; remembers nothing."""

  width: int

  def empty_state(self, width: int) -> types.State:
    """Returns the empty state: there is nothing to remember."""
    del width
    return ()

  @nn.compact
  def __call__(self, x: types.Array, state: types.State):
    """Maps [N, E] to [N, width]."""
    return nn.Dense(self.width, name='dense')(x), state


def make(width: int = 128) -> Linear:
  """Builds a linear torso.

  Args:
    width: D, the width of its activations.
  """
  return Linear(checks.integer('width', width, 1, checks.MOST_CHANNELS))
