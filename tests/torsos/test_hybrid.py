"""Griffin's blocks, held to their equations."""

import jax
import numpy as np
import pytest

from bayes_prompting import errors
from bayes_prompting import registry
from bayes_prompting.torsos import hybrid
from tests.torsos import by_hand

WINDOW = 3


def recurrent_by_hand(params, u, offset=0):
  """The recurrent block, one step at a time."""
  gate = by_hand.gelu(u @ params['gate']['kernel'])
  inputs = u @ params['input']['kernel']
  h, hidden = np.zeros(inputs.shape[1]), []
  a = by_hand.sigmoid(params['decay'])
  for x in by_hand.convolve(inputs, **params['convolution']):
    r, i = (
      by_hand.sigmoid(x @ params[name]['kernel'] + params[name]['bias'])
      for name in ('recurrence_gate', 'input_gate')
    )
    now = a ** (8 * r)
    h = now * h + np.sqrt(1 - now**2) * i * x
    hidden.append(h)
  hidden = np.stack(hidden)
  return ((hidden + offset) * gate) @ params['output']['kernel'], h, inputs


def turned(x, position):
  """A head's channels as complex numbers, each turned by its own angle."""
  half = len(x) // 2
  angles = position * 1e4 ** (-np.arange(half) / half)
  z = (x[:half] + 1j * x[half:]) * np.exp(1j * angles)
  return np.concatenate([z.real, z.imag])


def attend_by_hand(params, u, num_heads, num_kv_heads):
  """Local attention, position by position and head by head."""
  q, k, v = (u @ params[name]['kernel'] for name in ('query', 'key', 'value'))
  size = u.shape[1] // num_heads
  attended = np.zeros_like(u)
  for n in range(len(u)):
    first = max(0, n + 1 - WINDOW)
    for head in range(num_heads):
      of_query = slice(head * size, (head + 1) * size)
      shared = head * num_kv_heads // num_heads
      of_key = slice(shared * size, (shared + 1) * size)
      scores = np.array(
        [
          turned(k[m, of_key], m) @ turned(q[n, of_query], n)
          for m in range(first, n + 1)
        ]
      ) / np.sqrt(size)
      weights = np.exp(scores - scores.max())
      weights /= weights.sum()
      attended[n, of_query] = weights @ v[first : n + 1, of_key]
  return attended @ params['output']['kernel'], k


def test_recurrent_blocks_against_the_equations():
  y, (state,), params = by_hand.outputs(
    'hybrid', blocks=('recurrent',), state_dim=3, mlp_dim=4
  )
  expected = by_hand.stack(
    params,
    by_hand.X,
    lambda *args: recurrent_by_hand(*args)[0],
    by_hand.gelu,
  )
  np.testing.assert_allclose(y, expected, atol=1e-5)
  layer = params['layer_0']
  u = by_hand.rms_norm(by_hand.X, **layer['mixer_norm'])
  _, h, inputs = recurrent_by_hand(layer['mixer'], u)
  np.testing.assert_allclose(state['hidden'], h, atol=1e-5)
  np.testing.assert_allclose(state['inputs'], inputs[-3:], atol=1e-5)


@pytest.mark.parametrize('num_kv_heads', [1, 2, 4])
def test_attention_against_its_equations(num_kv_heads):
  y, (state,), params = by_hand.outputs(
    'hybrid',
    blocks=('attention',),
    window=WINDOW,
    num_heads=4,
    num_kv_heads=num_kv_heads,
    mlp_dim=0,
  )
  expected = by_hand.stack(
    params,
    by_hand.X,
    lambda *args: attend_by_hand(*args, 4, num_kv_heads)[0],
  )
  np.testing.assert_allclose(y, expected, atol=1e-5)
  layer = params['layer_0']
  u = by_hand.rms_norm(by_hand.X, **layer['mixer_norm'])
  _, k = attend_by_hand(layer['mixer'], u, 4, num_kv_heads)
  last = k[1 - WINDOW :].reshape(WINDOW - 1, num_kv_heads, -1)
  np.testing.assert_allclose(state['key'], last, atol=1e-5)
  np.testing.assert_array_equal(state['filled'], 1)


def heads(length, rng, scale=1.0):
  shapes = {'query': (2, 3, 4), 'key': (2, 4), 'value': (2, 4)}
  return {
    name: scale * rng.normal(size=(length, *shape)).astype(np.float32)
    for name, shape in shapes.items()
  }


@pytest.mark.parametrize('scale', [1.0, 30.0])
def test_blocks_of_queries_are_steps(scale, monkeypatch):
  # Three blocks, the last one of a single query; a state that is part filled,
  # and what is not has keys, too. Scores up to thousands.
  monkeypatch.setattr(hybrid, '_QUERIES', 3)
  rng = np.random.default_rng(0)
  before = heads(WINDOW - 1, rng, scale)
  filled = np.array([0, 0.5], np.float32)
  state = {'key': before['key'], 'value': before['value'], 'filled': filled}
  args = heads(7, rng, scale), state
  weights = rng.normal(size=args[0]['query'].shape).astype(np.float32)

  @jax.jit
  def both(args):
    def loss(args, attend):
      y, end = attend(*args)
      return (weights * y).sum(), (y, end)

    return [
      jax.grad(lambda args, f=f: loss(args, f), has_aux=True)(args)
      for f in (hybrid._in_blocks, hybrid._by_steps)
    ]

  actual, expected = both(args)

  def near(a, b):
    size = np.abs(b).max(initial=1e-3)
    np.testing.assert_allclose(a / size, b / size, atol=1e-4)

  jax.tree.map(near, actual, expected)
  # What counts for nothing is not attended to; that it could is its gradient.
  to_heads, to_state = actual[0]
  np.testing.assert_array_equal(to_state['key'][0], 0)
  assert np.isfinite(to_state['filled']).all() and to_state['filled'].all()


def test_an_order_is_repeated():
  blocks = ('recurrent', 'attention')
  once, twice = (
    registry.make('torsos', 'test', {'name': 'hybrid', 'blocks': x, **more})
    for x, more in ((blocks * 2, {}), (list(blocks), {'num_layers': 2}))
  )
  assert once == twice and len(once.mixers) == 4


def test_starts_of_the_decays():
  decay = np.asarray(
    jax.jit(lambda key: hybrid._decay(key, (200,)))(jax.random.key(0)), 'f8'
  )
  a = by_hand.sigmoid(decay) ** 8
  assert 0.9 <= a.min() < 0.91 and 0.99 < a.max() <= 0.999 + 1e-6
  assert abs(a.mean() - 0.9495) < 0.01


@pytest.mark.parametrize(
  ('field', 'value', 'message'),
  [
    ('blocks', ('recurrent', 'mamba'), 'mamba.*attention, recurrent'),
    ('blocks', (), 'a tuple of 1 to 64 of recurrent, attention'),
    ('blocks', 'recurrent', 'a tuple of 1 to 64 of recurrent, attention'),
    ('state_dim', 0, 'at least 1'),
    ('convolution', 0, 'at least 1'),
    ('convolution', 1025, 'at most 1024'),
    ('window', 0, 'at least 1'),
    ('num_heads', 0, 'at least 1'),
    ('num_kv_heads', 3, 'must divide num_heads=4'),
    ('num_kv_heads', 8, 'must divide num_heads=4, got 8'),
    ('mlp_dim', -1, 'at least 0'),
    ('num_layers', 0, 'at least 1'),
    ('num_layers', 22, 'at most 21'),
    ('width', 4, 'embedding_dim'),
  ],
)
def test_refuses(field, value, message):
  with pytest.raises(errors.UserError, match=f'{field}.*{message}'):
    registry.make('torsos', 'test', {'name': 'hybrid', field: value})


@pytest.mark.parametrize('width', [6, 4])
def test_heads_must_divide_the_embedding(width):
  torso = registry.make('torsos', 'test', {'name': 'hybrid', 'num_heads': 4})
  with pytest.raises(errors.UserError, match=f'num_heads.*width {width}'):
    torso.empty_state(width)
