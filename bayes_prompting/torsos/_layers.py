"""Layers that torsos share: norms, MLPs, decays, and codings of positions.

What has weights is a function that a `nn.compact` method calls, or a module. A
function's layers are the calling module's own, by the names that are given or
said here.

There is no `NUMERICS`: what a layer computes is a part of the torsos that use
it. Whoever changes numbers here raises the version of each of these.
"""

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from bayes_prompting import checks
from bayes_prompting import errors
from bayes_prompting import types
from bayes_prompting.torsos import _fast

NORMS = ('layer', 'rms')
MLPS = ('gelu', 'swiglu', 'geglu')
# Flax's.
EPSILON = 1e-6
# How Mamba-2 starts: the smallest and the largest step, and exp(decay).
_STEPS = (1e-3, 1e-1)
_RATES = (1.0, 16.0)


def dense(features: int, name: str, fast: bool = False) -> nn.Module:
  """Returns a dense layer without a bias.

  Args:
    features: Its outputs.
    name: That of its weights.
    fast: With derivatives of its own, see `_fast.dot_general`.
  """
  product = _fast.dot_general if fast else None
  return nn.Dense(features, use_bias=False, dot_general=product, name=name)


def norm(
  kind: str, name: str | None, epsilon: float = EPSILON, use_bias: bool = True
) -> nn.Module:
  """Returns a norm over the last axis, with a scale.

  Args:
    kind: `layer`, x less its mean over its standard deviation (Ba et al., arXiv
      1607.06450), or `rms`, x over its root mean square (Zhang and Sennrich,
      arXiv 1910.07467).
    name: That of its weights; None for that of an attribute, in `setup`.
    epsilon: Added to the variance, or to the mean square.
    use_bias: Whether `layer` has a bias; `rms` has none.
  """
  if kind == 'rms':
    return nn.RMSNorm(epsilon=epsilon, name=name)
  return nn.LayerNorm(epsilon=epsilon, use_bias=use_bias, name=name)


def head_size(
  num_heads: int,
  width: int,
  name: str = 'embedding width',
  pairs: str | None = None,
) -> int:
  """Returns the channels of each head.

  Args:
    num_heads: H.
    width: Of all heads together.
    name: What has that width.
    pairs: What turns pairs of a head's channels, if there is such a thing.

  Raises:
    UserError: If the heads do not divide it, or a channel has no other.
  """
  if width % num_heads:
    raise errors.UserError(
      f'num_heads: must divide the {name} {width}, got {num_heads}'
    )
  size = width // num_heads
  if pairs and size % 2:
    raise errors.UserError(
      f'num_heads: {pairs} turns pairs of channels, but {num_heads} heads of '
      f'the {name} {width} have {size} each, which is odd'
    )
  return size


def num_kv_heads(number: int | None, num_heads: int) -> int:
  """Returns G, heads of keys and values that those of queries share.

  Args:
    number: G; None for H.
    num_heads: H.

  Raises:
    UserError: If G does not divide H.
  """
  if number is None:
    return num_heads
  number = checks.integer('num_kv_heads', number, 1, checks.MOST_CHANNELS)
  if num_heads % number:
    raise errors.UserError(
      f'num_kv_heads: must divide num_heads={num_heads}, got {number}'
    )
  return number


def mlp(
  x: types.Array, kind: str, hidden: int, fast: bool = False
) -> types.Array:
  """Maps [..., E] to [..., E] by layers `mlp_in` and `mlp_out`, no biases.

  Args:
    x: [..., E].
    kind: `gelu`, of `mlp_in`; or `swiglu` or `geglu`, SiLU or GELU of
      `mlp_gate` times `mlp_in` (Shazeer, arXiv 2002.05202), which have half as
      many weights again.
    hidden: Width of what is between them.
    fast: With derivatives of its own, see `_fast`.
  """
  gelu = _fast.gelu if fast else nn.gelu
  y = dense(hidden, 'mlp_in', fast)(x)
  if kind == 'gelu':
    y = gelu(y)
  else:
    activation = {'swiglu': jax.nn.silu, 'geglu': gelu}[kind]
    y = activation(dense(hidden, 'mlp_gate', fast)(x)) * y
  return dense(x.shape[-1], 'mlp_out', fast)(y)


def rotations(
  start: int, length: int, size: int, base: float = 1e4
) -> np.ndarray:
  """Returns how rotary embeddings turn positions (Su et al., arXiv 2104.09864).

  Args:
    start: The first position.
    length: N.
    size: D, of a head; even.
    base: Pair i turns by base^(-2 i / D) from one position to the next.

  Returns:
    float32 [N, D], the cosines of D / 2 angles, then their sines.
  """
  frequencies = base ** (-np.arange(0, size, 2) / size)
  angles = np.arange(start, start + length)[:, None] * frequencies
  return np.concatenate([np.cos(angles), np.sin(angles)], -1).astype(np.float32)


def rotate(x: types.Array, turns: types.Array) -> types.Array:
  """Turns pairs of channels by the angles of their positions.

  A pair is channels i and i + D / 2, as in Llama's published code; the paper
  pairs 2 i and 2 i + 1, which is the same up to the order of channels.

  Args:
    x: [..., D], queries or keys.
    turns: [..., D], of as many axes, see `rotations`.
  """
  first, second = jnp.split(x, 2, axis=-1)
  cos, sin = jnp.split(turns, 2, axis=-1)
  turned = first * cos - second * sin, second * cos + first * sin
  return jnp.concatenate(turned, axis=-1)


def slopes(num_heads: int) -> np.ndarray:
  """Returns ALiBi's slopes (Press et al., arXiv 2108.12409), float32 [H].

  They are 2^(-8 h / H) for h = 1 to H. A score loses its head's slope for each
  position that a key is behind the query.
  """
  powers = np.arange(1, num_heads + 1) / num_heads
  return np.exp2(-8 * powers).astype(np.float32)


class HeadNorm(nn.Module):
  """A norm of each head for itself: over D, of [..., H, D].

  A `layer` norm is also known as a group norm, the heads being the groups. Its
  weights are a scale [H D], and of `layer` a bias: no matrices, see `torsos`.

  Attributes:
    kind: As of `norm`.
    epsilon: As of `norm`.
  """

  kind: str
  epsilon: float = EPSILON

  @nn.compact
  def __call__(self, x: types.Array) -> types.Array:
    """Maps [..., H, D] to [..., H, D]."""
    size = x.shape[-2] * x.shape[-1]
    if self.kind == 'layer':
      x = x - x.mean(-1, keepdims=True)
    square = (x * x).mean(-1, keepdims=True)
    x = x * jax.lax.rsqrt(square + self.epsilon)

    def of_each(name, initialiser):
      vector = self.param(name, initialiser, (size,), jnp.float32)
      return jnp.broadcast_to(vector.reshape(x.shape[-2:]), x.shape)

    x = x * of_each('scale', nn.initializers.ones)
    if self.kind == 'layer':
      x = x + of_each('bias', nn.initializers.zeros)
    return x


def unit(x: types.Array) -> types.Array:
  """Returns x over its length, over the last axis; zeros stay zeros."""
  # Inside the root: at zero the length alone has no derivative.
  return x * jax.lax.rsqrt((x * x).sum(-1, keepdims=True) + EPSILON)


def _step_bias(key, shape):
  """Returns biases whose softplus is uniform on the logarithms of steps."""
  low, high = np.log(_STEPS)
  steps = jnp.exp(jax.random.uniform(key, shape, jnp.float32, low, high))
  return steps + jnp.log(-jnp.expm1(-steps))


def _log_rates(key, shape):
  """Returns logarithms of uniform numbers."""
  return jnp.log(jax.random.uniform(key, shape, jnp.float32, *_RATES))


class LogDecay(nn.Module):
  """Mamba-2's decay of each head: exp(-exp(decay) d), d a step (2405.21060)."""

  @nn.compact
  def __call__(self, x: types.Array) -> tuple[types.Array, types.Array]:
    """Maps [..., N, H] to [..., H, N] twice: log decays, and steps."""
    size = x.shape[-1:]
    bias = self.param('step_bias', _step_bias, size)
    rate = jnp.exp(self.param('decay', _log_rates, size))
    steps = jax.nn.softplus(x + jnp.broadcast_to(bias, x.shape))
    logs = -jnp.broadcast_to(rate, x.shape) * steps
    return jnp.swapaxes(logs, -1, -2), jnp.swapaxes(steps, -1, -2)
