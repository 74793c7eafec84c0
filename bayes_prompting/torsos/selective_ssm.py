"""A selective state space model: Mamba-2's (Dao and Gu, arXiv 2405.21060).

The state of each of H heads is a matrix, which decays by a number that depends
on the input. With steps d_t = softplus(. + bias), x, B and C from a short
convolution of the input and a SiLU,

    S_t = exp(-exp(decay) d_t) S_{t-1} + d_t B_t x_t^T,
    y_t = S_t^T C_t + skip x_t

(eq. 2 there, discretised as in its section 7), where B and C are shared by all
heads. A gate SiLU(z_t) is multiplied with y, and an RMSNorm of all channels
stands before the last projection (section 7.1).
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
  {'num_heads': 2, 'state_dim': 3, 'num_layers': 2, 'chunk': 2},
  {
    'num_heads': 4,
    'state_dim': 2,
    'convolution': 0,
    'expand': 1,
    'mlp_dim': 5,
    'chunk': 4,
  },
)

# A wider one, in embedding widths, is a mistake.
_MOST_EXPAND = 64


class _Projection(nn.Module):
  """What the convolution, the gate and the steps are made of."""

  num_heads: int
  state_dim: int
  expand: int

  @nn.compact
  def __call__(self, x: types.Array) -> types.PyTree:
    """Maps [..., E] to [..., F] each."""
    inner = self.expand * x.shape[-1]
    sizes = {
      'gate': inner,
      'input': inner + 2 * self.state_dim,
      'steps': self.num_heads,
    }
    return {name: _layers.dense(size, name)(x) for name, size in sizes.items()}


class _Mixing(nn.Module):
  """What the heads remember, and what they say."""

  num_heads: int
  state_dim: int
  expand: int
  convolution: int
  chunk: int

  def empty_state(self, width: int) -> types.State:
    """Returns zeros: S [H, D, P], and the last inputs of the convolution."""
    inner = self.expand * width
    size = _layers.head_size(self.num_heads, inner, 'inner width')
    shape = (self.num_heads, self.state_dim, size)
    state = {'memory': jnp.zeros(shape, jnp.float32)}
    if self.convolution:
      shape = (self.convolution - 1, inner + 2 * self.state_dim)
      state['inputs'] = jnp.zeros(shape, jnp.float32)
    return state

  def empty_offset(self, width: int) -> types.Offset:
    """Returns zeros, S [H, D, P]."""
    return self.empty_state(width)['memory']

  @nn.compact
  def __call__(self, projected: types.PyTree, state: types.State, fast: bool):
    """Maps [..., N, F] to [..., N, E]."""
    x, gate, state = projected['input'], projected['gate'], dict(state)
    inner = gate.shape[-1]
    if self.convolution:
      convolve = _convolution.Convolution(
        self.convolution, use_bias=True, name='convolution'
      )
      x, state['inputs'] = convolve(x, state['inputs'])
    x, keys, queries = jnp.split(
      jax.nn.silu(x), [inner, inner + self.state_dim], axis=-1
    )
    x = _chunks.split(x, self.num_heads)
    log_decay, steps = _layers.LogDecay(name='rates')(projected['steps'])
    inputs = _chunks.Inputs(
      jnp.expand_dims(queries, -3),
      jnp.expand_dims(keys, -3),
      steps[..., None] * x,
      log_decay,
    )
    y, state['memory'] = _chunks.run(inputs, state['memory'], fast, self.chunk)
    if 'offset' in state:
      y = y + _chunks.read(inputs.query, state['offset'])
    skip = self.param(
      'skip', nn.initializers.ones, (self.num_heads,), jnp.float32
    )
    y = _chunks.heads_last(
      y + jnp.broadcast_to(skip[:, None, None], x.shape) * x
    )
    y = _chunks.join(y) * jax.nn.silu(gate)
    y = _layers.norm('rms', 'inner_norm')(y)
    return _layers.dense(inner // self.expand, 'output', fast)(y), state


ELSEWHERE = _stack.ELSEWHERE


def make(
  num_heads: int = 4,
  state_dim: int = 64,
  num_layers: int = 1,
  expand: int = 2,
  convolution: int = 4,
  mlp_dim: int = 0,
  chunk: int = 32,
) -> _stack.Stack:
  """Builds Mamba-2's layers, as wide as the embedding.

  Args:
    num_heads: H; must divide the inner width.
    state_dim: D, rows of each head's state.
    num_layers: Number of layers.
    expand: The inner width, in embedding widths.
    convolution: How many positions the convolution sees; 0 leaves it out.
    mlp_dim: Width of the hidden layer of each layer's MLP; 0 for none, as in
      the paper.
    chunk: The most positions that are computed at once.
  """
  num_heads = checks.integer('num_heads', num_heads, 1, checks.MOST_CHANNELS)
  state_dim = checks.integer('state_dim', state_dim, 1, checks.MOST_CHANNELS)
  expand = checks.integer('expand', expand, 1, _MOST_EXPAND)
  convolution = checks.integer(
    'convolution', convolution, 0, _convolution.MOST_POSITIONS
  )
  chunk = checks.integer('chunk', chunk, 1, _chunks.MOST_POSITIONS)
  sizes = num_heads, state_dim, expand
  mixer = _stack.Halves(
    _Projection(*sizes), _Mixing(*sizes, convolution, chunk)
  )
  return _stack.repeat(mixer, num_layers, mlp_dim)
