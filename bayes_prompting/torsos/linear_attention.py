"""Linear attention, and RetNet's, which forgets at a fixed rate.

Linear attention is by Katharopoulos et al., arXiv 2006.16236: with the features
phi(x) = elu(x) + 1 (eq. 7), each head has (eqs. 16 to 20)

    S_t = S_{t-1} + phi(k_t) v_t^T,  z_t = z_{t-1} + phi(k_t),
    o_t = S_t^T phi(q_t) / (z_t^T phi(q_t)).

With fixed decays it is the retention of Sun et al., arXiv 2307.08621: head h of
H, from 0, has (eqs. 6 and 8)

    S_t = (1 - 2^(-5-h)) R^-1 S_{t-1} + k_t v_t^T / sqrt(D),  o_t = S_t^T q_t,

then a group norm, the heads being the groups, and a gate swish(x W_G). There
are no features, and no z. R turns pairs of channels as rotary embeddings do
from one position to the next, so that a query sees a key turned by their
distance. The state is seen from the latest position, which is why a prompt
needs no place of its own. The length of queries and keys does not depend on
the position, as it does with xPos.
"""

import math

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from bayes_prompting import checks
from bayes_prompting import types
from bayes_prompting.torsos import _chunks
from bayes_prompting.torsos import _layers
from bayes_prompting.torsos import _stack

# Raise it when numbers change: networks and results depend on it.
NUMERICS = 2

DECAYS = ('none', 'fixed')
EXAMPLES = (
  {'num_heads': 2, 'num_layers': 2, 'mlp_dim': 5, 'chunk': 2},
  {'num_heads': 2, 'decay': 'fixed', 'chunk': 4},
)

# Added to what is divided by, as in the published code: features may be zero.
_EPSILON = 1e-6


def log_decays(num_heads: int) -> np.ndarray:
  """Returns the logarithms of RetNet's decays, float32 [H] (eq. 8)."""
  return np.log1p(-np.exp2(-5.0 - np.arange(num_heads))).astype(np.float32)


def _features(x):
  return nn.elu(x) + 1


class _Projection(nn.Module):
  """Queries, keys, values, and the gate where there is one."""

  decay: str

  @nn.compact
  def __call__(self, x: types.Array) -> types.PyTree:
    """Maps [..., E] to [..., E] each."""
    names = ['query', 'key', 'value']
    if self.decay == 'fixed':
      names.append('gate')
    return {name: _layers.dense(x.shape[-1], name)(x) for name in names}


class _Mixing(nn.Module):
  """What the heads remember, and what they say."""

  num_heads: int
  decay: str
  chunk: int

  def empty_state(self, width: int) -> types.State:
    """Returns zeros: S [H, D, D], and z [H, D] where there is one."""
    pairs = "decay='fixed'" if self.decay == 'fixed' else None
    size = _layers.head_size(self.num_heads, width, pairs=pairs)
    state = {'memory': jnp.zeros((self.num_heads, size, size), jnp.float32)}
    if self.decay == 'none':
      state['normaliser'] = jnp.zeros((self.num_heads, size), jnp.float32)
    return state

  def empty_offset(self, width: int) -> types.Offset:
    """Returns zeros, S [H, D, D]."""
    return self.empty_state(width)['memory']

  @nn.compact
  def __call__(self, projected: types.PyTree, state: types.State, fast: bool):
    """Maps [..., N, E] to [..., N, E]."""
    width = projected['value'].shape[-1]
    heads = {
      name: _chunks.split(x, self.num_heads) for name, x in projected.items()
    }
    attend = self._normalised if self.decay == 'none' else self._retained
    y, state = attend(heads, state, fast)
    return _layers.dense(width, 'output', fast)(y), state

  def _normalised(self, heads, state, fast):
    # z is what S would have of a value that is always 1. A sum of features has
    # no entry below 0, but a state that is tuned may: there it counts as 0, or
    # what is divided by would cross zero. At 0 it has its slope.
    normaliser = state['normaliser']
    normaliser = jnp.where(normaliser < 0, 0, normaliser)
    value = heads['value']
    inputs = _chunks.Inputs(
      _features(heads['query']),
      _features(heads['key']),
      jnp.concatenate([value, jnp.ones_like(value[..., :1])], axis=-1),
    )
    start = jnp.concatenate([state['memory'], normaliser[..., None]], axis=-1)
    outputs, end = _chunks.run(inputs, start, fast, self.chunk)
    weighted = outputs[..., :-1]
    if 'offset' in state:
      weighted = weighted + _chunks.read(inputs.query, state['offset'])
    y = weighted / (outputs[..., -1:] + _EPSILON)
    return _chunks.join(_chunks.heads_last(y)), {
      'memory': end[..., :-1],
      'normaliser': end[..., -1],
    }

  def _retained(self, heads, state, fast):
    *_, length, size = heads['value'].shape
    # Seen from the position before the first, R^t S_t decays and does not turn.
    turns = _layers.rotations(1, length, size)
    turns = turns.reshape(*(1,) * (heads['value'].ndim - 2), length, size)
    inputs = _chunks.Inputs(
      _layers.rotate(heads['query'], turns),
      _layers.rotate(heads['key'], turns) / math.sqrt(size),
      heads['value'],
    )
    decays = np.tile(log_decays(self.num_heads)[:, None], length)
    outputs, memory = _chunks.run(
      inputs, state['memory'], fast, self.chunk, shared_decay=decays
    )
    back = _layers.rotations(-length, 1, size)
    back = back.reshape(*(1,) * (memory.ndim - 1), size)
    memory = jnp.swapaxes(memory, -1, -2)
    memory = jnp.swapaxes(_layers.rotate(memory, back), -1, -2)
    if 'offset' in state:
      # As the state is: seen from each position, where nothing is turned.
      outputs = outputs + _chunks.read(heads['query'], state['offset'])
    y = _layers.HeadNorm('layer', name='head_norm')(_chunks.heads_last(outputs))
    y = jax.nn.silu(_chunks.heads_last(heads['gate'])) * y
    return _chunks.join(y), {'memory': memory}


ELSEWHERE = _stack.ELSEWHERE


def make(
  num_heads: int = 4,
  num_layers: int = 1,
  decay: str = 'none',
  mlp_dim: int = 0,
  chunk: int = 32,
) -> _stack.Stack:
  """Builds linear attention, as wide as the embedding.

  Args:
    num_heads: H; must divide the embedding width, RetNet's into an even number
      of channels each.
    num_layers: Number of layers.
    decay: 'none', or 'fixed' for RetNet's.
    mlp_dim: Width of the hidden layer of each layer's MLP; 0 for none.
    chunk: The most positions that are computed at once.
  """
  num_heads = checks.integer('num_heads', num_heads, 1, checks.MOST_CHANNELS)
  decay = checks.one_of('decay', decay, DECAYS)
  chunk = checks.integer('chunk', chunk, 1, _chunks.MOST_POSITIONS)
  mixer = _stack.Halves(_Projection(decay), _Mixing(num_heads, decay, chunk))
  return _stack.repeat(mixer, num_layers, mlp_dim)
