"""RWKV-7 (Peng et al., arXiv 2503.14456): a generalised delta rule.

Section 4 there, for each head, S transposed, with * elementwise:

    S_t = diag(w_t) S_{t-1} - (a_t * c_t) (c_t^T S_{t-1}) + k'_t v_t^T,
    o_t = norm(S_t^T r_t) + (r_t^T (bonus * k'_t)) v_t

where c is the removal key, k * removal at length 1, and k' is k * (1 + (a - 1)
* replacement). The decays are w = exp(-exp(-1/2) sigmoid(.)), the learning
rates a = sigmoid(.), both for each row of S, and the gate g is multiplied with
o before the last projection. All are made of the input and the one before,
each by its own mixture (the token shift).

In place of an MLP there is a channel mix: a squared ReLU, after a token shift.

Left out is the value residual, by which later layers mix in the first one's
values: layers share nothing but the stream here, and the first has none.
Matrices start as everywhere in this package; vectors, and the low-rank parts,
as those of a first layer in what the authors published.
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

EXAMPLES = (
  {'num_heads': 2, 'num_layers': 2, 'rank': 3, 'widening': 1, 'chunk': 2},
  {'num_heads': 1, 'rank': 2, 'widening': 0, 'chunk': 4},
)

# The logarithm of the strongest decay.
LEAST_LOG_DECAY = -math.exp(-0.5)
# As many of them multiply to what is still a number.
_MOST_POSITIONS = int(_chunks.LEAST_LOG_DECAY / LEAST_LOG_DECAY)
# A wider channel mix, in embedding widths, is a mistake.
_MOST_WIDENING = 1024
# Of the norm of each head.
_EPSILON = 64e-5
# Mixtures of the present and the position before it: the power to which a
# channel's place, from 0 to 1, is raised.
_SHIFTS = {
  'receptance': 0.2,
  'decay': 0.9,
  'key': 0.7,
  'value': 0.7,
  'rate': 0.9,
  'gate': 0.2,
}


def _shift(power):
  """Returns the initialiser of how much is from the position before."""
  return lambda key, shape: jnp.asarray(
    1 - (np.arange(shape[0]) / shape[0]) ** power, jnp.float32
  )


def _decay_bias(key, shape, dtype):
  place = np.arange(shape[0]) / max(shape[0] - 1, 1)
  return jnp.asarray(-6.5 + 5 * place**0.85, dtype)


class ChannelMix(nn.Module):
  """A squared ReLU after a token shift; by the contract of `_stack`.

  Attributes:
    widening: Width of its hidden layer, in embedding widths.
  """

  widening: int

  def empty_state(self, width: int) -> types.State:
    """Returns zeros: the last input."""
    return {'last': jnp.zeros(width, jnp.float32)}

  def project(self, x: types.Array) -> types.PyTree:
    """Leaves all to `mix`: what is projected is a mixture of positions."""
    return x

  @nn.compact
  def mix(self, projected: types.PyTree, state: types.State, fast: bool):
    """Maps [..., N, E] to [..., N, E]."""
    x = projected
    width = x.shape[-1]
    before, end = _before(x, state['last'])
    key = _mixture(self.param('shift', _shift(1.0), (width,)), x, before)
    hidden = _layers.dense(self.widening * width, 'key', fast)(key)
    hidden = jnp.square(jax.nn.relu(hidden))
    return _layers.dense(width, 'value', fast)(hidden), {'last': end}


def _before(x, start):
  """Returns the position before each of [..., N, E], and the last one."""
  first = jnp.broadcast_to(start, (*x.shape[:-2], 1, x.shape[-1]))
  joined = jnp.concatenate([first, x], axis=-2)
  return joined[..., :-1, :], joined[..., -1, :]


def _mixture(shift, x, before):
  return x + jnp.broadcast_to(shift, x.shape) * (before - x)


class Mixer(nn.Module):
  """The time mix; by the contract of `_stack`.

  Attributes:
    num_heads: H.
    rank: Of what makes decays, learning rates and the gate.
    chunk: The most positions that are computed at once.
  """

  num_heads: int
  rank: int
  chunk: int

  def empty_state(self, width: int) -> types.State:
    """Returns zeros: S [H, D, D], and the last input."""
    size = _layers.head_size(self.num_heads, width)
    return {
      'memory': jnp.zeros((self.num_heads, size, size), jnp.float32),
      'last': jnp.zeros(width, jnp.float32),
    }

  def empty_offset(self, width: int) -> types.Offset:
    """Returns zeros, S [H, D, D]."""
    return self.empty_state(width)['memory']

  def project(self, x: types.Array) -> types.PyTree:
    """Leaves all to `mix`: what is projected are mixtures of positions."""
    return x

  @nn.compact
  def mix(self, projected: types.PyTree, state: types.State, fast: bool):
    """Maps [..., N, E] to [..., N, E]."""
    x = projected
    width = x.shape[-1]
    before, last = _before(x, state['last'])
    mixtures = {
      name: _mixture(
        self.param(f'{name}_shift', _shift(power), (width,)), x, before
      )
      for name, power in _SHIFTS.items()
    }
    receptance, key, value = (
      _layers.dense(width, name, fast)(mixtures[name])
      for name in ('receptance', 'key', 'value')
    )
    decay = self._low_rank('decay', jnp.tanh, mixtures)
    decay = decay + self._vector('decay_bias', _decay_bias, x)
    rate = self._low_rank('rate', lambda y: y, mixtures)
    rate = rate + self._vector('rate_bias', nn.initializers.zeros, x)
    gate = self._low_rank('gate', jax.nn.sigmoid, mixtures)
    rate = jax.nn.sigmoid(rate)
    removal = key * self._vector('removal', nn.initializers.constant(0.85), x)
    ones = nn.initializers.ones
    key = key * (1 + (rate - 1) * self._vector('replacement', ones, x))
    bonus = key * self._vector('bonus', nn.initializers.zeros, x)

    heads = {
      name: _chunks.split(y, self.num_heads)
      for name, y in {
        'query': receptance,
        'key': key,
        'value': value,
        'log_decay': LEAST_LOG_DECAY * jax.nn.sigmoid(decay),
        'probe': removal,
        'change': rate,
      }.items()
    }
    probe = _layers.unit(heads['probe'])
    inputs = _chunks.Inputs(
      **heads | {'probe': probe, 'change': -heads['change'] * probe}
    )
    y, memory = _chunks.run(inputs, state['memory'], fast, self.chunk)
    if 'offset' in state:
      y = y + _chunks.read(inputs.query, state['offset'])
    y = _layers.HeadNorm('layer', _EPSILON, name='head_norm')(
      _chunks.heads_last(y)
    )
    bonus = heads['query'] * _chunks.split(bonus, self.num_heads)
    bonus = bonus.sum(-1, keepdims=True) * heads['value']
    y = _chunks.join(y + _chunks.heads_last(bonus)) * gate
    y = _layers.dense(width, 'output', fast)(y)
    return y, {'memory': memory, 'last': last}

  def _vector(self, name, initialiser, x):
    """Returns a number for each channel, for all positions."""
    vector = self.param(name, initialiser, x.shape[-1:], jnp.float32)
    return jnp.broadcast_to(vector, x.shape)

  def _low_rank(self, name, activation, mixtures):
    """Maps [..., E] to [..., E] by few channels; it starts as a constant."""
    x = mixtures[name]
    first = nn.Dense(
      self.rank,
      use_bias=False,
      kernel_init=nn.initializers.zeros,
      name=f'{name}_down',
    )
    last = nn.Dense(
      x.shape[-1],
      use_bias=False,
      kernel_init=nn.initializers.orthogonal(0.1),
      name=f'{name}_up',
    )
    return last(activation(first(x)))


# Arguments that others have, and what to set here.
ELSEWHERE = {
  **_stack.ELSEWHERE,
  'mlp_dim': 'there is a channel mix in place of an MLP: set widening',
}


def make(
  num_heads: int = 4,
  num_layers: int = 1,
  rank: int = 32,
  widening: int = 4,
  chunk: int = 32,
) -> _stack.Stack:
  """Builds RWKV-7 layers, as wide as the embedding.

  Args:
    num_heads: H; must divide the embedding width.
    num_layers: Number of layers.
    rank: Of the low-rank parts: decays, learning rates and the gate.
    widening: Width of the channel mix's hidden layer, in embedding widths; 0
      for no channel mix.
    chunk: The most positions that are computed at once.
  """
  num_heads = checks.integer('num_heads', num_heads, 1, checks.MOST_CHANNELS)
  rank = checks.integer('rank', rank, 1, checks.MOST_CHANNELS)
  widening = checks.integer('widening', widening, 0, _MOST_WIDENING)
  chunk = checks.integer('chunk', chunk, 1, _MOST_POSITIONS)
  channel_mix = ChannelMix(widening) if widening else None
  mixer = Mixer(num_heads, rank, chunk)
  return _stack.repeat(mixer, num_layers, mlp_dim=0, mlp_mixer=channel_mix)
