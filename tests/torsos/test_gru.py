"""GRUs, held to their equations."""

import numpy as np

from tests.torsos import by_hand


def gru_by_hand(params, x):
  """One step at a time."""
  h, hidden = np.zeros(len(params['hn']['bias'])), []
  for row in x:
    of = {
      gate: row @ params[f'i{gate}']['kernel'] + params[f'i{gate}']['bias']
      for gate in 'rzn'
    }
    to = {gate: h @ params[f'h{gate}']['kernel'] for gate in 'rzn'}
    r, z = (by_hand.sigmoid(of[gate] + to[gate]) for gate in 'rz')
    n = np.tanh(of['n'] + r * (to['n'] + params['hn']['bias']))
    h = (1 - z) * n + z * h
    hidden.append(h)
  return np.stack(hidden)


def test_against_the_equations():
  y, state, params = by_hand.outputs('gru', width=4, num_layers=2)
  first = gru_by_hand(params['layer_0'], by_hand.X)
  second = gru_by_hand(params['layer_1'], first)
  np.testing.assert_allclose(y, second, atol=1e-5)
  for found, expected in zip(state, (first, second), strict=True):
    np.testing.assert_allclose(found, expected[-1], atol=1e-5)
