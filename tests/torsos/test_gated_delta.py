"""The gated delta rule, held to its equations and to what it is made for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bayes_prompting.torsos import _chunks
from bayes_prompting.torsos import gated_delta
from tests.torsos import by_hand

HEADS = 2
SIZE = by_hand.WIDTH // HEADS


def write_by_hand(params, u, offset=by_hand.NO_OFFSET):
  """Equation 10 of arXiv 2412.06464, as it stands there: S is [Dv, Dk]."""
  x = np.concatenate(
    [u @ params[name]['kernel'] for name in ('query', 'key', 'value')], 1
  )
  before = x
  if 'convolution' in params:
    x = by_hand.convolve(x, **params['convolution'])
  query, key, value = (
    np.split(part, HEADS, axis=1)
    for part in np.split(by_hand.silu(x), 3, axis=1)
  )
  gate, steps, strength = (
    u @ params[name]['kernel'] for name in ('gate', 'steps', 'strength')
  )
  steps = by_hand.softplus(steps + params['rates']['step_bias'])
  alpha = np.exp(-np.exp(params['rates']['decay']) * steps)
  beta = by_hand.sigmoid(strength)
  outputs, states = [], []
  for head in range(HEADS):
    q, k = by_hand.unit(query[head]), by_hand.unit(key[head])
    s, y = np.zeros((SIZE, SIZE)), []
    for t in range(len(u)):
      a, b = alpha[t, head], beta[t, head]
      s = s @ (a * (np.eye(SIZE) - b * np.outer(k[t], k[t])))
      s = s + b * np.outer(value[head][t], k[t])
      y.append((s + offset[head].T) @ q[t])
    channels = slice(head * SIZE, (head + 1) * SIZE)
    scale = params['head_norm']['scale'][channels]
    y = by_hand.rms_norm(np.stack(y), scale)
    outputs.append(y)
    states.append(s.T)
  y = np.concatenate(outputs, 1) * by_hand.silu(gate)
  return y @ params['output']['kernel'], states, before


@pytest.mark.parametrize('convolution', [4, 0])
def test_against_the_equations(convolution):
  y, (state,), params = by_hand.outputs(
    'gated_delta', num_heads=HEADS, convolution=convolution
  )
  expected = by_hand.stack(
    params, by_hand.X, lambda *args: write_by_hand(*args)[0]
  )
  np.testing.assert_allclose(y, expected, atol=1e-4)
  layer = params['layer_0']
  u = by_hand.rms_norm(by_hand.X, **layer['mixer_norm'])
  _, states, inputs = write_by_hand(layer['mixer'], u)
  np.testing.assert_allclose(state['memory'], states, atol=1e-5)
  assert ('inputs' in state) == bool(convolution)
  if convolution:
    np.testing.assert_allclose(
      state['inputs'], inputs[1 - convolution :], atol=1e-5
    )


@pytest.mark.parametrize('fast', [False, True])
def test_what_is_written_last_is_read_exactly(fast):
  # Keys that are orthogonal, full strength and no decay: each key has the value
  # that was written last under it, whatever was there before.
  rng = np.random.default_rng(0)
  keys, _ = np.linalg.qr(rng.normal(size=(SIZE, SIZE)))
  order = [0, 1, 2, 1, 3, 0, 1]
  values = rng.normal(size=(len(order), SIZE))
  expected = np.stack([values[5], values[6], values[2], values[4]])

  @jax.jit
  def write(key, value):
    inputs = gated_delta.delta_rule(
      key, key, value, jnp.ones(key.shape[:-1]), jnp.zeros(key.shape[:-1])
    )
    start = jnp.ones((1, SIZE, SIZE), jnp.float32)
    return _chunks.run(inputs, start, fast, chunk=3)[1]

  memory = write(*(x[None].astype(np.float32) for x in (keys[order], values)))
  np.testing.assert_allclose(keys @ memory[0], expected, atol=1e-5)
