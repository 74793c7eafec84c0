"""LSTM layers that read the last tokens anew for every prediction.

After each token the last W of them go through the LSTM layers, from zeros. The
embeddings x_i of the window and the outputs h_i^l of all layers, side by side,
are averaged with weights softmax_i(a . [x_i, h_i^1, ..., h_i^L]).

The average is that of Felbo et al., arXiv 1708.00524 (DeepMoji); with a window
this is the network of textgenrnn 2.0.0 (github.com/minimaxir/textgenrnn), whose
weights `bayes_prompting.language` reads. The state is the window itself, rows
of zeros at first: nothing older is remembered.
"""

from flax import linen as nn
import jax
import jax.numpy as jnp

from bayes_prompting import checks
from bayes_prompting import types
from bayes_prompting.torsos import _cells
from bayes_prompting.torsos import lstm

# Raise it when numbers change: networks and results depend on it.
NUMERICS = 1

EXAMPLES = (
  {'width': 6, 'window': 3},
  {'width': 4, 'num_layers': 2, 'window': 5},
)

_ROWS = 256  # Windows that are read at once, about.


class WindowedLSTM(lstm.LSTM):
  """A stack of LSTM layers over a window, with an average over the window.

  Attributes:
    window: W, how many tokens are read.
  """

  window: int

  def empty_state(self, width: int) -> types.State:
    """Returns a window of zeros, [W, E]."""
    return jnp.zeros((self.window, width), jnp.float32)

  def memory(self, state: types.State) -> types.Array:
    """Returns the rows of the window, oldest first, [W * E]."""
    return state.reshape(-1)

  def _average(self, features, attention):
    """Returns weighted means [..., F] of features [..., W, F]."""
    weights = jax.nn.softmax(features @ attention, axis=-1)
    return jnp.einsum('...w,...wf->...f', weights, features)

  @nn.compact
  def __call__(self, x: types.Array, state: types.State):
    """Runs over [N, E] from a window.

    Returns:
      Averages [N, E + num_layers * width], and the last window.
    """
    rows = jnp.concatenate([state, x])
    last = jnp.arange(1, len(x) + 1)[:, None] + jnp.arange(self.window)[None]
    inputs = rows[last]  # [N, W, E]
    features = [inputs]
    for i in range(self.num_layers):
      inputs = nn.RNN(self.cell(f'layer_{i}'))(inputs)
      features.append(inputs)
    features = jnp.concatenate(features, axis=-1)
    # Flat, as the one row of a matrix.
    attention = self.param(
      'attention',
      nn.initializers.normal(features.shape[-1] ** -0.5),
      features.shape[-1:],
      jnp.float32,
    )
    return self._average(features, attention), rows[len(x) :]

  def prepare(self, rows: types.Array, state: types.State, length: int):
    """Projects every token to the first layer's gates; see `torsos`."""
    # The window's rows stand behind the vocabulary's.
    every = jnp.concatenate([rows, state])
    table = super().prepare(every, (), length)
    return {
      'embedded': every,
      'attention': self.variables['params']['attention'],
      **table,
    }

  def read(self, table: types.PyTree, tokens: types.Array) -> types.Array:
    """Runs over tokens [B, N]; returns [B, N, E + num_layers * width]."""
    batch, length = tokens.shape
    before = len(table['embedded']) - self.window + jnp.arange(self.window)
    before = jnp.broadcast_to(before.astype(tokens.dtype), (batch, self.window))
    last = jnp.arange(1, length + 1)[:, None] + jnp.arange(self.window)[None]
    index = jnp.concatenate([before, tokens], axis=1)[:, last]
    index = index.reshape(batch * length, self.window)
    features = [table['embedded'][index]]
    empty = jnp.zeros((batch * length, self.width), jnp.float32)
    rows, index = table['rows'], index.T
    for i, layer in enumerate(table['layers']):
      if i:
        # Later layers have a row for each position of each window.
        x = features[-1].swapaxes(0, 1) @ layer['input']
        rows = (x + layer['bias'][None, None]).reshape(-1, rows.shape[-1])
        index = jnp.arange(index.size, dtype=jnp.int32).reshape(index.shape)
      hidden = self.recur(rows, layer, (empty, empty), index)
      features.append(hidden.swapaxes(0, 1))
    features = jnp.concatenate(features, axis=-1)
    y = self._average(features, table['attention'])
    return y.reshape(batch, length, y.shape[-1])

  def sequence_block(self, length: int, width: int) -> int:
    """Returns how many sequences make the product of a step efficient."""
    del width
    return max(1, _ROWS // max(1, length))


def make(
  width: int = 128, num_layers: int = 2, window: int = 40
) -> WindowedLSTM:
  """Builds a torso of LSTM layers over a window.

  Args:
    width: Cells in each layer.
    num_layers: Number of layers.
    window: Tokens that are read before each prediction; older ones are
      forgotten.
  """
  window = checks.integer('window', window, 1, checks.MOST_CHANNELS)

  def layers(width, num_layers):
    return WindowedLSTM(width, num_layers, window)

  return _cells.make(layers, width, num_layers)
