"""Short convolutions over positions, each channel for itself."""

from flax import linen as nn
import jax
import jax.numpy as jnp

from bayes_prompting import types
from bayes_prompting.torsos import _stack

# Raise it when numbers change: networks and results depend on it.
NUMERICS = 2

# A convolution over more is no short one.
MOST_POSITIONS = 1024


def convolve(
  x: types.Array,
  kernel: types.Array,
  state: types.Array,
  bias: types.Array | None = None,
) -> tuple[types.Array, types.Array]:
  """Returns y_t = bias + sum over k of kernel_k * x_{t - (W - 1) + k}.

  The kernel's last row is for the present. Inputs of W - 1 positions are all
  that the past leaves, zeros before there was any.

  Args:
    x: [N, D]; N may be 0.
    kernel: [W, D], W at least 1.
    state: [W - 1, D], the inputs before x, the latest one last.
    bias: [D], or None.

  Returns:
    [N, D], and the state after x.
  """
  length = len(x)
  inputs = jnp.concatenate([state, x])
  rows = [inputs[k : k + length] * kernel[k][None] for k in range(len(kernel))]
  y = sum(rows[1:], start=rows[0])
  if bias is not None:
    y = y + bias[None]
  return y, inputs[length:]


class Convolution(nn.Module):
  """`convolve` with weights, of sequences that start from the same state.

  The kernel is kept flat, [W D]: it is no matrix, see `torsos`.

  Attributes:
    width: W.
    use_bias: Whether it has a bias.
  """

  width: int
  use_bias: bool

  @nn.compact
  def __call__(
    self, x: types.Array, state: types.Array
  ) -> tuple[types.Array, types.Array]:
    """Maps [..., N, D] and [W - 1, D] to [..., N, D] and the new states."""
    channels = x.shape[-1]
    # Within 1 / sqrt(W) of zero, as those of what the papers ran.
    kernel = self.param(
      'kernel', _uniform, (self.width * channels,), self.width**-0.5
    ).reshape(self.width, channels)
    bias = None
    if self.use_bias:
      bias = self.param('bias', nn.initializers.zeros, (channels,), jnp.float32)
    return _stack.over_batch(convolve, x, x.ndim - 2, kernel, state, bias)


def _uniform(key, shape, bound):
  return jax.random.uniform(key, shape, jnp.float32, -bound, bound)
