"""Short convolutions over positions, each channel for itself."""

import jax.numpy as jnp

from bayes_prompting import types

# Raise it when numbers change: networks and results depend on it.
NUMERICS = 1


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
