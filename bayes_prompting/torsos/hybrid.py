"""Recurrent blocks and local attention in a given order: Griffin and Hawk.

By De et al., arXiv 2402.19427. Of the recurrent block (section 2.3) one branch
is a linear layer and GELU. The other is a linear layer, a short convolution and
an RG-LRU; the product of both goes through a linear layer. With x_t what the
convolution gives, and * elsewhere than in matrix products elementwise, the
RG-LRU is (section 2.4)

    r_t = sigmoid(W_a x_t + b_a),  i_t = sigmoid(W_x x_t + b_x),
    a_t = a^(8 r_t),  h_t = a_t * h_{t-1} + sqrt(1 - a_t^2) * (i_t * x_t),

with a = sigmoid(L) for weights L. Attention is to a window of the latest
positions, with rotary embeddings, and keys and values that queries' heads
share. Each block has a gated MLP (GeGLU) behind it, and RMSNorms before both.

The paper's gates have block-diagonal matrices, for its many devices; ours are
full.
"""

from collections.abc import Sequence
import math

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from bayes_prompting import checks
from bayes_prompting import errors
from bayes_prompting import types
from bayes_prompting.torsos import _convolution
from bayes_prompting.torsos import _diagonal
from bayes_prompting.torsos import _fast
from bayes_prompting.torsos import _layers
from bayes_prompting.torsos import _stack

# Raise it when numbers change: networks and results depend on it.
NUMERICS = 2

BLOCKS = ('recurrent', 'attention')
EXAMPLES = (
  {
    'blocks': ('recurrent', 'attention'),
    'state_dim': 3,
    'window': 3,
    'num_heads': 2,
    'mlp_dim': 5,
  },
  {
    'blocks': ('attention',),
    'window': 2,
    'num_heads': 2,
    'num_kv_heads': 2,
    'mlp_dim': 0,
  },
)

# What r_t is scaled by, and a to that power at the start: uniform in between.
_POWER = 8.0
_DECAYS = (0.9, 0.999)
# Of 1 - a_t^2, below which the root's slope would be too steep.
_LEAST = 1e-12
# Queries that attend together on the fast path, or a window's if that is more.
_QUERIES = 32
# A wider window is a mistake: its keys are kept of each sequence.
_WIDEST = 2**16


def _decay(key, shape):
  """Returns L, see above."""
  low, high = _DECAYS
  log_a = jnp.log(jax.random.uniform(key, shape, jnp.float32, low, high))
  return -jnp.log(jnp.expm1(-log_a / _POWER))


class _RecurrentProjection(nn.Module):
  """Both branches' first layers, and GELU."""

  state_dim: int

  @nn.compact
  def __call__(self, x: types.Array) -> types.PyTree:
    """Maps [..., E] to [..., D] each; the output's width is that of x."""
    return {
      'gate': nn.gelu(_layers.dense(self.state_dim, 'gate')(x)),
      'input': _layers.dense(self.state_dim, 'input')(x),
      'x': x,
    }


class _RecurrentMixing(nn.Module):
  """The convolution, the RG-LRU, and the last layer.

  Attributes:
    state_dim: D, channels of the RG-LRU.
    convolution: Positions that the convolution sees.
  """

  state_dim: int
  convolution: int

  def empty_state(self, width: int) -> types.State:
    """Returns zeros: inputs of the convolution, and h."""
    del width
    return {
      'inputs': jnp.zeros((self.convolution - 1, self.state_dim), jnp.float32),
      'hidden': jnp.zeros(self.state_dim, jnp.float32),
    }

  def empty_offset(self, width: int) -> types.Offset:
    """Returns zeros, h [D]."""
    return self.empty_state(width)['hidden']

  @nn.compact
  def __call__(self, projected: types.PyTree, state: types.State, fast: bool):
    """Maps [..., N, D] to [..., N, E]."""
    num_axes = projected['x'].ndim - 2
    convolve = _convolution.Convolution(
      self.convolution, use_bias=True, name='convolution'
    )
    x, inputs = convolve(projected['input'], state['inputs'])

    def gate(name):
      product = _fast.dot_general if fast else None
      dense = nn.Dense(self.state_dim, dot_general=product, name=name)
      return nn.sigmoid(dense(x))

    decay = self.param('decay', _decay, (self.state_dim,))
    rates = -_POWER * nn.softplus(-decay)
    log_a = jnp.broadcast_to(rates, x.shape) * gate('recurrence_gate')
    scale = jnp.sqrt(jnp.maximum(-jnp.expm1(2 * log_a), _LEAST))
    run = _diagonal.recurrence if fast else _diagonal.by_steps
    (hidden,) = _stack.over_batch(
      lambda x, start: run(*x, start),
      ((jnp.exp(log_a),), (scale * gate('input_gate') * x,)),
      num_axes,
      (state['hidden'],),
    )
    end = _stack.last(state['hidden'], hidden, num_axes)
    if 'offset' in state:
      hidden = hidden + jnp.broadcast_to(state['offset'], hidden.shape)
    width = projected['x'].shape[-1]
    y = _layers.dense(width, 'output', fast)(hidden * projected['gate'])
    return y, {'inputs': inputs, 'hidden': end}


class _AttentionProjection(nn.Module):
  """Queries, keys and values, which are not turned yet."""

  num_heads: int
  num_kv_heads: int

  @nn.compact
  def __call__(self, x: types.Array) -> types.PyTree:
    """Maps [..., E] to [..., H D] of queries and [..., G D] of the others."""
    size = _layers.head_size(self.num_heads, x.shape[-1], pairs='attention')
    sizes = {
      'query': self.num_heads * size,
      'key': self.num_kv_heads * size,
      'value': self.num_kv_heads * size,
    }
    return {name: _layers.dense(y, name)(x) for name, y in sizes.items()}


class _AttentionMixing(nn.Module):
  """Attention to a window, and the last layer.

  Attributes:
    num_heads: H, of queries.
    num_kv_heads: G, of keys and values.
    window: Positions that a query sees, its own among them.
  """

  num_heads: int
  num_kv_heads: int
  window: int

  def empty_state(self, width: int) -> types.State:
    """Returns keys and values [W - 1, G, D], the latest one last, and `filled`.

    That is, for each of them, 1 if there was such a position, and 0 if not.
    Anything between is a weight on its share of the attention, so that a state
    that is tuned may fill more. Scores depend on distances alone; so keys are
    kept as they are, and turned by where they lie in the window.
    """
    size = _layers.head_size(self.num_heads, width, pairs='attention')
    none = jnp.zeros((self.window - 1, self.num_kv_heads, size), jnp.float32)
    return {'key': none, 'value': none, 'filled': none[:, 0, 0]}

  @nn.compact
  def __call__(self, projected: types.PyTree, state: types.State, fast: bool):
    """Maps [..., N, E] to [..., N, E]."""
    *shape, length, width = projected['query'].shape
    groups, shared = self.num_kv_heads, self.num_heads // self.num_kv_heads
    size = _state_size(state)
    shapes = {'query': (groups, shared, size)}
    shapes['key'] = shapes['value'] = groups, size
    heads = {
      name: projected[name].reshape(*shape, length, *of_position)
      for name, of_position in shapes.items()
    }
    y, state = _stack.over_batch(
      _in_blocks if fast else _by_steps, heads, len(shape), state
    )
    y = y.reshape(*shape, length, width)
    return _layers.dense(width, 'output', fast)(y), state


def _state_size(state: types.State) -> int:
  """Returns D of a state's keys."""
  return state['key'].shape[-1]


def _joined(state, heads):
  """Returns the state's keys, values and `filled`, and those of N positions."""
  filled = jnp.ones(len(heads['key']), jnp.float32)
  new = {'key': heads['key'], 'value': heads['value'], 'filled': filled}
  return jax.tree.map(lambda *x: jnp.concatenate(x), state, new)


def _shares(scores, counts):
  """Returns the softmax over the last axis, of positions that count so much.

  Args:
    scores: [..., K].
    counts: [..., K], of the same shape, above 0 somewhere.
  """
  counts = jnp.where(counts < 0, 0, counts)
  # The maximum only keeps exp in range: it cancels, gradient and all. What does
  # not count may be larger.
  maximum = jnp.where(counts > 0, scores, -jnp.inf).max(-1, keepdims=True)
  maximum = jax.lax.stop_gradient(maximum)
  scores = jnp.where(scores > maximum, maximum, scores)
  weights = counts * jnp.exp(scores - maximum)
  return weights / weights.sum(-1, keepdims=True)


def _by_steps(heads, state):
  """Attends from N positions, one after the other.

  Args:
    heads: Queries [N, G, H / G, D], keys and values [N, G, D].
    state: What came before.

  Returns:
    [N, G, H / G, D], and the state behind them.
  """
  window = len(state['key']) + 1
  size = _state_size(state)
  turns = _layers.rotations(0, window, size)

  def step(state, now):
    seen = _joined(state, jax.tree.map(lambda x: x[None], now))
    key = _layers.rotate(seen['key'], turns[:, None])
    query = _layers.rotate(now['query'], turns[-1][None, None])
    scores = jnp.einsum('grd,wgd->grw', query / math.sqrt(size), key)
    counts = jnp.broadcast_to(seen['filled'], scores.shape)
    shares = _shares(scores, counts)
    y = jnp.einsum('grw,wgd->grd', shares, seen['value'])
    return jax.tree.map(lambda x: x[1:], seen), y

  state, y = jax.lax.scan(step, state, heads)
  return y, state


def _in_blocks(heads, state):
  """As `_by_steps`, blocks of positions at once."""
  length, groups, shared, size = heads['query'].shape
  past = len(state['key'])
  seen = _joined(state, heads)
  end = jax.tree.map(lambda x: x[length:], seen)
  if not length:
    return heads['query'], end
  num_blocks = -(-length // max(past + 1, _QUERIES))
  block = -(-length // num_blocks)
  more = num_blocks * block - length
  turns = _layers.rotations(0, past + length, size)
  key = _layers.rotate(seen['key'], turns[:, None])
  query = _layers.rotate(heads['query'], turns[past:, None, None])
  # What is added at the end is seen from there alone, and counts there.
  query, key, value = (
    jnp.pad(x, ((0, more),) + ((0, 0),) * (x.ndim - 1))
    for x in (query / math.sqrt(size), key, seen['value'])
  )
  filled = jnp.pad(seen['filled'], (0, more), constant_values=1)
  # A block sees a window before its first position, too. Heads and blocks come
  # first, so that products are of matrices as they lie in memory.
  slots = block * np.arange(num_blocks)[:, None] + np.arange(past + block)
  key, value = (x.transpose(1, 0, 2)[:, slots] for x in (key, value))
  query = query.reshape(num_blocks, block, groups, shared, size)
  query = query.transpose(2, 0, 3, 1, 4)
  rows = query.reshape(groups, num_blocks, shared * block, size)
  scores = (rows @ key.swapaxes(-1, -2)).reshape(*query.shape[:-1], -1)
  behind = np.arange(past + block) - np.arange(block)[:, None]
  band = ((behind >= 0) & (behind <= past)).astype(np.float32)
  counts = band[None] * filled[slots][:, None]
  shares = _shares(
    scores, jnp.broadcast_to(counts[None, :, None], scores.shape)
  )
  y = shares.reshape(*rows.shape[:-1], -1) @ value
  y = y.reshape(query.shape).transpose(1, 3, 0, 2, 4)
  return y.reshape(-1, *heads['query'].shape[1:])[:length], end


ELSEWHERE = _stack.ELSEWHERE


def make(
  blocks: Sequence[str] = ('recurrent', 'recurrent', 'attention'),
  num_layers: int = 1,
  state_dim: int = 128,
  convolution: int = 4,
  window: int = 32,
  num_heads: int = 4,
  num_kv_heads: int = 1,
  mlp_dim: int = 384,
) -> _stack.Stack:
  """Builds recurrent blocks and local attention, as wide as the embedding.

  Args:
    blocks: 'recurrent' or 'attention' for each block of a layer, from the
      first. The default is Griffin's order; Hawk has recurrent blocks alone.
    num_layers: How often all of these stand one after the other.
    state_dim: Channels of each RG-LRU.
    convolution: Positions that the convolution before it sees, its own among
      them.
    window: Positions that attention sees, its own among them.
    num_heads: H, of queries; twice as many must divide the embedding width.
    num_kv_heads: G, of keys and values; must divide `num_heads`.
    mlp_dim: Width of the hidden layer of each block's MLP; 0 for none. The
      paper has three embedding widths.
  """
  if (
    not isinstance(blocks, tuple | list)
    or not 1 <= len(blocks) <= checks.MOST_LAYERS
  ):
    raise errors.UserError(
      f'blocks: must be a tuple of 1 to {checks.MOST_LAYERS} of '
      f'{", ".join(BLOCKS)}, got {checks.show(blocks)}'
    )
  for block in blocks:
    checks.one_of('blocks', block, BLOCKS)
  most = checks.MOST_LAYERS // len(blocks)
  num_layers = checks.integer('num_layers', num_layers, 1, most)
  state_dim = checks.integer('state_dim', state_dim, 1, checks.MOST_CHANNELS)
  convolution = checks.integer(
    'convolution', convolution, 1, _convolution.MOST_POSITIONS
  )
  window = checks.integer('window', window, 1, _WIDEST)
  num_heads = checks.integer('num_heads', num_heads, 1, checks.MOST_CHANNELS)
  num_kv_heads = _layers.num_kv_heads(num_kv_heads, num_heads)
  mlp_dim = checks.integer('mlp_dim', mlp_dim, 0, checks.MOST_CHANNELS)
  mixers = {
    'recurrent': _stack.Halves(
      _RecurrentProjection(state_dim), _RecurrentMixing(state_dim, convolution)
    ),
    'attention': _stack.Halves(
      _AttentionProjection(num_heads, num_kv_heads),
      _AttentionMixing(num_heads, num_kv_heads, window),
    ),
  }
  order = tuple(mixers[block] for block in blocks)
  return _stack.Stack(order * num_layers, mlp_dim, 'geglu')
