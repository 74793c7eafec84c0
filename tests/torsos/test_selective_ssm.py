"""Mamba-2's layers, held to their equations."""

import numpy as np
import pytest

from tests.torsos import by_hand

HEADS, STATE = 2, 3


def scan_by_hand(params, u, expand, offset=by_hand.NO_OFFSET):
  """Equation 2 of arXiv 2405.21060 in the block of its section 7.1."""
  inner = expand * by_hand.WIDTH
  gate, x, steps = (
    u @ params[name]['kernel'] for name in ('gate', 'input', 'steps')
  )
  before = x
  if 'convolution' in params:
    x = by_hand.convolve(x, **params['convolution'])
  x, b, c = np.split(by_hand.silu(x), [inner, inner + STATE], axis=1)
  steps = by_hand.softplus(steps + params['rates']['step_bias'])
  outputs, states = [], []
  for head, values in enumerate(np.split(x, HEADS, axis=1)):
    h, y = np.zeros((STATE, inner // HEADS)), []
    for t in range(len(u)):
      step = steps[t, head]
      decay = np.exp(-np.exp(params['rates']['decay'][head]) * step)
      h = decay * h + step * np.outer(b[t], values[t])
      y.append(c[t] @ (h + offset[head]) + params['skip'][head] * values[t])
    outputs.append(np.stack(y))
    states.append(h)
  y = np.concatenate(outputs, 1) * by_hand.silu(gate)
  y = by_hand.rms_norm(y, **params['inner_norm'])
  return y @ params['output']['kernel'], states, before


@pytest.mark.parametrize(('convolution', 'expand'), [(4, 2), (0, 1)])
def test_against_the_equations(convolution, expand):
  y, (state,), params = by_hand.outputs(
    'selective_ssm',
    num_heads=HEADS,
    state_dim=STATE,
    convolution=convolution,
    expand=expand,
  )
  expected = by_hand.stack(
    params, by_hand.X, lambda *args: scan_by_hand(*args, expand)[0]
  )
  np.testing.assert_allclose(y, expected, atol=1e-4)
  layer = params['layer_0']
  u = by_hand.rms_norm(by_hand.X, **layer['mixer_norm'])
  _, states, inputs = scan_by_hand(layer['mixer'], u, expand)
  np.testing.assert_allclose(state['memory'], states, atol=1e-5)
  # What the convolution will see again is a part of the state.
  assert ('inputs' in state) == bool(convolution)
  if convolution:
    np.testing.assert_allclose(
      state['inputs'], inputs[1 - convolution :], atol=1e-5
    )


def test_starts_of_steps_and_decays():
  _, _, params = by_hand.outputs('selective_ssm', num_heads=8, state_dim=1)
  rates = params['layer_0']['mixer']['rates']
  # Weights are moved by 0.1 at most, as in all of these tests.
  steps = by_hand.softplus(rates['step_bias'])
  assert ((steps > 0.8e-3) & (steps < 0.12)).all()
  decays = np.exp(rates['decay'])
  assert ((decays > 0.9) & (decays < 18)).all()
