"""Short convolutions, held to their sum."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bayes_prompting.torsos import _convolution


@pytest.mark.parametrize('width', [1, 4])
def test_convolution_is_its_sum_whole_and_in_parts(width):
  rng = np.random.default_rng(0)
  draw = lambda *shape: rng.normal(size=shape).astype(np.float32)
  # The parts are none, shorter than the kernel, and longer.
  cuts = (0, 2, 7)
  x, kernel, bias = draw(cuts[-1], 3), draw(width, 3), draw(3)
  start = draw(width - 1, 3)

  @jax.jit
  def run(x, kernel, state, bias):
    parts = []
    for first, last in zip((0, *cuts), cuts, strict=False):
      y, state = _convolution.convolve(x[first:last], kernel, state, bias)
      parts.append(y)
    return parts, state

  parts, end = run(x, kernel, start, bias)
  inputs = np.concatenate([start, x])
  expected = [
    bias + sum(kernel[k] * inputs[t + k] for k in range(width))
    for t in range(len(x))
  ]
  np.testing.assert_allclose(np.concatenate(parts), expected, atol=1e-5)
  np.testing.assert_array_equal(end, inputs[len(x) :])


@pytest.mark.parametrize('width', [1, 3])
def test_weights_are_within_one_over_the_root_of_the_width(width):
  module = _convolution.Convolution(width, use_bias=True)
  state = np.zeros((width - 1, 200), np.float32)
  x = np.zeros((2, 200), np.float32)
  params = jax.jit(module.init)(jax.random.key(0), x, state)['params']
  # Flat: what has two axes is a matrix.
  assert params['kernel'].shape == (width * 200,)
  assert params['kernel'].dtype == jnp.float32
  bound = width**-0.5
  assert 0.9 * bound < np.abs(params['kernel']).max() <= bound
  assert not np.any(params['bias'])
