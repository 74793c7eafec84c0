"""The gated delta rule (Yang, Kautz and Hatamizadeh, arXiv 2412.06464).

Each head writes by the delta rule, what it knows of a key being replaced, and
forgets at a rate that depends on the input (eq. 10 there, S transposed):

    S_t = a_t (I - b_t k_t k_t^T) S_{t-1} + b_t k_t v_t^T,  o_t = S_t^T q_t

where keys and queries have length 1, a_t is the decay of Mamba-2
(`selective_ssm`), and b_t = sigmoid(.). Queries, keys and values come from a
short convolution and a SiLU. An RMSNorm of each head and a gate SiLU(.) stand
before the last projection (section 3.4).
"""

from flax import linen as nn
import jax
import jax.numpy as jnp

from bayes_prompting import checks
from bayes_prompting import types
from bayes_prompting.torsos import _chunks
from bayes_prompting.torsos import _convolution
from bayes_prompting.torsos import _layers
from bayes_prompting.torsos import _stack

# Raise it when numbers change: networks and results depend on it.
NUMERICS = 2

EXAMPLES = (
  {'num_heads': 2, 'num_layers': 2, 'chunk': 2},
  {'num_heads': 1, 'convolution': 0, 'mlp_dim': 5, 'chunk': 4},
)


class _Projection(nn.Module):
  """Queries, keys, values, gate, steps and strengths."""

  num_heads: int

  @nn.compact
  def __call__(self, x: types.Array) -> types.PyTree:
    """Maps [..., E] to [..., F] each."""
    width = x.shape[-1]
    names = 'query', 'key', 'value'
    joined = [_layers.dense(width, name)(x) for name in names]
    return {
      'input': jnp.concatenate(joined, axis=-1),
      'gate': _layers.dense(width, 'gate')(x),
      'steps': _layers.dense(self.num_heads, 'steps')(x),
      'strength': _layers.dense(self.num_heads, 'strength')(x),
    }


class _Mixing(nn.Module):
  """What the heads remember, and what they say."""

  num_heads: int
  convolution: int
  chunk: int

  def empty_state(self, width: int) -> types.State:
    """Returns zeros: S [H, D, D], and the last inputs of the convolution."""
    size = _layers.head_size(self.num_heads, width)
    state = {'memory': jnp.zeros((self.num_heads, size, size), jnp.float32)}
    if self.convolution:
      shape = (self.convolution - 1, 3 * width)
      state['inputs'] = jnp.zeros(shape, jnp.float32)
    return state

  def empty_offset(self, width: int) -> types.Offset:
    """Returns zeros, S [H, D, D]."""
    return self.empty_state(width)['memory']

  @nn.compact
  def __call__(self, projected: types.PyTree, state: types.State, fast: bool):
    """Maps [..., N, F] to [..., N, E]."""
    x, gate, state = projected['input'], projected['gate'], dict(state)
    if self.convolution:
      convolve = _convolution.Convolution(
        self.convolution, use_bias=False, name='convolution'
      )
      x, state['inputs'] = convolve(x, state['inputs'])
    query, key, value = (
      _chunks.split(part, self.num_heads)
      for part in jnp.split(jax.nn.silu(x), 3, axis=-1)
    )
    log_decay, _ = _layers.LogDecay(name='rates')(projected['steps'])
    strength = jax.nn.sigmoid(jnp.swapaxes(projected['strength'], -1, -2))
    inputs = delta_rule(
      _layers.unit(query), _layers.unit(key), value, strength, log_decay
    )
    y, state['memory'] = _chunks.run(inputs, state['memory'], fast, self.chunk)
    if 'offset' in state:
      y = y + _chunks.read(inputs.query, state['offset'])
    y = _layers.HeadNorm('rms', name='head_norm')(_chunks.heads_last(y))
    y = _chunks.join(y) * jax.nn.silu(gate)
    return _layers.dense(gate.shape[-1], 'output', fast)(y), state


def delta_rule(
  query: types.Array,
  key: types.Array,
  value: types.Array,
  strength: types.Array,
  log_decay: types.Array,
) -> _chunks.Inputs:
  """Returns what the recurrence is given, from [..., N, D] and [..., N]."""
  written = strength[..., None] * key
  change = -jnp.exp(log_decay)[..., None] * written
  return _chunks.Inputs(query, written, value, log_decay, key, change)


ELSEWHERE = _stack.ELSEWHERE


def make(
  num_heads: int = 4,
  num_layers: int = 1,
  convolution: int = 4,
  mlp_dim: int = 0,
  chunk: int = 32,
) -> _stack.Stack:
  """Builds layers with the gated delta rule, as wide as the embedding.

  Args:
    num_heads: H; must divide the embedding width.
    num_layers: Number of layers.
    convolution: How many positions the convolution sees; 0 leaves it out.
    mlp_dim: Width of the hidden layer of each layer's MLP; 0 for none.
    chunk: The most positions that are computed at once.
  """
  num_heads = checks.integer('num_heads', num_heads, 1, checks.MOST_CHANNELS)
  convolution = checks.integer(
    'convolution', convolution, 0, _convolution.MOST_POSITIONS
  )
  chunk = checks.integer('chunk', chunk, 1, _chunks.MOST_POSITIONS)
  mixer = _stack.Halves(
    _Projection(num_heads), _Mixing(num_heads, convolution, chunk)
  )
  return _stack.repeat(mixer, num_layers, mlp_dim)
