"""The mLSTM of xLSTM: an LSTM whose cell is a matrix (arXiv 2405.04517).

Beck et al., eqs. 19 to 27. For each head, with keys over sqrt(D),

    C_t = f_t C_{t-1} + i_t k_t v_t^T,  n_t = f_t n_{t-1} + i_t k_t,
    h_t = C_t^T q_t / max(|n_t^T q_t|, 1),

where i = exp(.), and f = sigmoid(.) or exp(.), of the input. Both may be huge,
so the state holds C and n times exp(-m), with the stabiliser (eqs. 15 to 17)

    m_t = max(log f_t + m_{t-1}, log i_t).

What h is does not depend on m, at the start neither, where it is 0. A norm of
each head, and the output gate sigmoid(.), stand before the last projection, as
in xLSTM 7B (arXiv 2503.13427). The paper's convolution before queries and keys,
and its projection to more channels, are left out.
"""

import math

from flax import linen as nn
import jax
import jax.numpy as jnp

from bayes_prompting import checks
from bayes_prompting import types
from bayes_prompting.torsos import _chunks
from bayes_prompting.torsos import _layers
from bayes_prompting.torsos import _stack

# Raise it when numbers change: networks and results depend on it.
NUMERICS = 2

FORGETS = ('sigmoid', 'exponential')
EXAMPLES = (
  {'num_heads': 2, 'num_layers': 2, 'mlp_dim': 5, 'chunk': 2},
  {'num_heads': 1, 'chunk': 4},
  {'num_heads': 2, 'forget': 'exponential', 'chunk': 2},
)

# Biases of the forget gates, from the first head to the last, as in what the
# authors published: heads forget at several rates.
_FORGET_BIASES = (3.0, 6.0)
# Exponents of which a float32, and its square in a derivative, are no zero, and
# of which a float32 is not infinite.
_EXPONENTS = -40.0, 80.0


def _forget_bias(key, shape, dtype=jnp.float32):
  del key
  return jnp.linspace(*_FORGET_BIASES, shape[0], dtype=dtype)


class _Projection(nn.Module):
  """Queries, keys, values and gates."""

  num_heads: int
  forget: str

  @nn.compact
  def __call__(self, x: types.Array) -> types.PyTree:
    """Maps [..., E] to [..., F] each."""
    width = x.shape[-1]
    zeros = nn.initializers.zeros
    bias = _forget_bias if self.forget == 'sigmoid' else zeros
    projected = {
      name: _layers.dense(width, name)(x) for name in ('query', 'key', 'value')
    }
    projected['output_gate'] = nn.Dense(width, name='output_gate')(x)
    projected['input_gate'] = nn.Dense(self.num_heads, name='input_gate')(x)
    projected['forget_gate'] = nn.Dense(
      self.num_heads, bias_init=bias, name='forget_gate'
    )(x)
    return projected


class _Mixing(nn.Module):
  """What the heads remember, and what they say."""

  num_heads: int
  forget: str
  chunk: int

  def empty_state(self, width: int) -> types.State:
    """Returns zeros: C [H, D, D], n [H, D] and m [H]."""
    size = _layers.head_size(self.num_heads, width)
    shapes = {'memory': (size, size), 'normaliser': (size,), 'stabiliser': ()}
    return {
      name: jnp.zeros((self.num_heads, *shape), jnp.float32)
      for name, shape in shapes.items()
    }

  def empty_offset(self, width: int) -> types.Offset:
    """Returns zeros, C [H, D, D]."""
    return self.empty_state(width)['memory']

  @nn.compact
  def __call__(self, projected: types.PyTree, state: types.State, fast: bool):
    """Maps [..., N, F] to [..., N, E]."""
    query, key, value = (
      _chunks.split(projected[name], self.num_heads)
      for name in ('query', 'key', 'value')
    )
    log_input, log_forget = (
      jnp.swapaxes(projected[name], -1, -2)
      for name in ('input_gate', 'forget_gate')
    )
    if self.forget == 'sigmoid':
      log_forget = jax.nn.log_sigmoid(log_forget)
    y, state = cell(
      query, key, value, log_input, log_forget, state, fast, self.chunk
    )
    y = _layers.HeadNorm('layer', name='head_norm')(_chunks.heads_last(y))
    y = _chunks.join(y) * jax.nn.sigmoid(projected['output_gate'])
    return _layers.dense(y.shape[-1], 'output', fast)(y), state


def cell(
  query: types.Array,
  key: types.Array,
  value: types.Array,
  log_input: types.Array,
  log_forget: types.Array,
  state: types.State,
  fast: bool,
  chunk: int,
) -> tuple[types.Array, types.State]:
  """Runs the heads over sequences, from the same state.

  Args:
    query: [..., H, N, D].
    key: [..., H, N, D].
    value: [..., H, N, D].
    log_input: log i, [..., H, N].
    log_forget: log f, [..., H, N].
    state: As `_Mixing.empty_state`.
    fast: In chunks, or by steps.
    chunk: The most positions of a chunk.

  Returns:
    h [..., H, N, D], and the state.
  """
  # Nothing depends on m but what it was at first, and that only as the scale of
  # the past: it cancels, gradient and all.
  begin, logs_i, logs_f = jax.lax.stop_gradient(
    (state['stabiliser'], log_input, log_forget)
  )

  def step(before, logs):
    log_i, log_f = logs
    kept = before + log_f
    now = jnp.maximum(kept, log_i)
    # By how much i outweighs what is kept. Not by m, which with exponential
    # gates grows so large that differences of it have few digits.
    return now, (now, log_i - kept)

  last, (stabilisers, excess) = jax.lax.scan(
    step,
    jnp.broadcast_to(begin, log_input.shape[:-1]),
    (jnp.moveaxis(logs_i, -1, 0), jnp.moveaxis(logs_f, -1, 0)),
  )
  stabilisers = jnp.moveaxis(stabilisers, 0, -1)
  excess = jnp.moveaxis(excess, 0, -1)

  weights = jnp.exp(jnp.minimum(excess, 0) + (log_input - logs_i))
  weights = weights / math.sqrt(key.shape[-1])
  inputs = _chunks.Inputs(
    query,
    weights[..., None] * key,
    # n is what C would have of a value that is always 1.
    jnp.concatenate([value, jnp.ones_like(value[..., :1])], axis=-1),
    -jnp.maximum(excess, 0) + (log_forget - logs_f),
  )
  start = jnp.concatenate(
    [state['memory'], state['normaliser'][..., None]], axis=-1
  )
  scale = jnp.exp(state['stabiliser'] - begin)
  start = jnp.broadcast_to(scale[:, None, None], start.shape) * start
  outputs, end = _chunks.run(inputs, start, fast, chunk)
  # The 1 of the maximum, by the same scale.
  least = jnp.exp(jnp.clip(-stabilisers, *_EXPONENTS))
  divisor = jnp.maximum(jnp.abs(outputs[..., -1]), least)
  weighted = outputs[..., :-1]
  if 'offset' in state:
    # Of C itself, and so by the scale of the 1.
    offset = _chunks.read(query, state['offset'])
    weighted = weighted + least[..., None] * offset
  return weighted / divisor[..., None], {
    'memory': end[..., :-1],
    'normaliser': end[..., -1],
    'stabiliser': last,
  }


ELSEWHERE = _stack.ELSEWHERE


def make(
  num_heads: int = 4,
  num_layers: int = 1,
  forget: str = 'sigmoid',
  mlp_dim: int = 0,
  chunk: int = 32,
) -> _stack.Stack:
  """Builds mLSTM layers, as wide as the embedding.

  Args:
    num_heads: H; must divide the embedding width.
    num_layers: Number of layers.
    forget: 'sigmoid' or 'exponential', of the forget gates.
    mlp_dim: Width of the hidden layer of each layer's MLP; 0 for none.
    chunk: The most positions that are computed at once.
  """
  num_heads = checks.integer('num_heads', num_heads, 1, checks.MOST_CHANNELS)
  forget = checks.one_of('forget', forget, FORGETS)
  chunk = checks.integer('chunk', chunk, 1, _chunks.MOST_POSITIONS)
  mixer = _stack.Halves(
    _Projection(num_heads, forget), _Mixing(num_heads, forget, chunk)
  )
  return _stack.repeat(mixer, num_layers, mlp_dim)
