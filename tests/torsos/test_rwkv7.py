"""RWKV-7, held to its equations."""

import numpy as np
import pytest

from bayes_prompting import errors
from bayes_prompting.torsos import _chunks
from bayes_prompting.torsos import rwkv7
from tests.torsos import by_hand

HEADS = 2
SIZE = by_hand.WIDTH // HEADS


def mixture(u, shift):
  before = np.concatenate([np.zeros_like(u[:1]), u[:-1]])
  return u + shift * (before - u)


def time_mix_by_hand(params, u, offset=by_hand.NO_OFFSET):
  """Section 4.1 of arXiv 2503.14456, as it stands there: S is [Dv, Dk]."""

  def of(name):
    return mixture(u, params[f'{name}_shift'])

  def low_rank(name, middle):
    down, up = (params[f'{name}_{part}']['kernel'] for part in ('down', 'up'))
    return middle(of(name) @ down) @ up

  r, k, v = (
    of(name) @ params[name]['kernel'] for name in ('receptance', 'key', 'value')
  )
  d = params['decay_bias'] + low_rank('decay', np.tanh)
  w = np.exp(-np.exp(-0.5) * by_hand.sigmoid(d))
  a = by_hand.sigmoid(params['rate_bias'] + low_rank('rate', lambda x: x))
  g = low_rank('gate', by_hand.sigmoid)
  kappa = k * params['removal']
  k = k * (1 - params['replacement'] + params['replacement'] * a)
  outputs, states = [], []
  for head in range(HEADS):
    part = slice(head * SIZE, (head + 1) * SIZE)
    s, y, bonus = np.zeros((SIZE, SIZE)), [], []
    for t in range(len(u)):
      removal = by_hand.unit(kappa[t, part])
      s = s @ (
        np.diag(w[t, part]) - np.outer(removal, a[t, part] * removal)
      ) + np.outer(v[t, part], k[t, part])
      y.append((s + offset[head].T) @ r[t, part])
      weight = (r[t, part] * params['bonus'][part] * k[t, part]).sum()
      bonus.append(weight * v[t, part])
    y = by_hand.head_norm(np.stack(y), params['head_norm'], head, 64e-5)
    outputs.append(y + np.stack(bonus))
    states.append(s.T)
  return (g * np.concatenate(outputs, 1)) @ params['output']['kernel'], states


def channel_mix_by_hand(params, u):
  """Section 4.2 there."""
  k = mixture(u, params['shift']) @ params['key']['kernel']
  return np.maximum(k, 0) ** 2 @ params['value']['kernel']


@pytest.mark.parametrize('widening', [0, 2])
def test_against_the_equations(widening):
  y, (state,), params = by_hand.outputs(
    'rwkv7', num_heads=HEADS, rank=3, widening=widening
  )
  expected = by_hand.stack(
    params,
    by_hand.X,
    lambda *args: time_mix_by_hand(*args)[0],
    mlp_mixer=channel_mix_by_hand if widening else None,
  )
  np.testing.assert_allclose(y, expected, atol=1e-4)
  layer = params['layer_0']
  u = by_hand.rms_norm(by_hand.X, **layer['mixer_norm'])
  time_mix_state = state[0] if widening else state
  y, states = time_mix_by_hand(layer['mixer'], u)
  np.testing.assert_allclose(time_mix_state['memory'], states, atol=1e-5)
  np.testing.assert_allclose(time_mix_state['last'], u[-1], atol=1e-5)
  if widening:
    u = by_hand.rms_norm(by_hand.X + y, **layer['mlp_norm'])
    np.testing.assert_allclose(state[1]['last'], u[-1], atol=1e-5)


def test_the_longest_chunk_bears_the_strongest_decays():
  longest = _chunks.LEAST_LOG_DECAY / rwkv7.LEAST_LOG_DECAY
  with pytest.raises(errors.UserError, match=f'chunk.*{int(longest)}'):
    rwkv7.make(chunk=int(longest) + 1)
  rwkv7.make(chunk=int(longest))
