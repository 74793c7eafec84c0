"""Linear attention and retention, held to their equations."""

import jax
import numpy as np
import pytest

from bayes_prompting import errors
from bayes_prompting import registry
from bayes_prompting.torsos import _layers
from bayes_prompting.torsos import linear_attention
from tests import testing
from tests.torsos import by_hand

HEADS = 2
SIZE = by_hand.WIDTH // HEADS


def features(x):
  return np.where(x > 0, x + 1, np.exp(np.minimum(x, 0)))


def attend_by_hand(params, u, offset=by_hand.NO_OFFSET):
  """Equations 16 to 20 of arXiv 2006.16236, head by head."""
  query, key, value = (
    np.split(u @ params[name]['kernel'], HEADS, axis=1)
    for name in ('query', 'key', 'value')
  )
  outputs, states = [], []
  for q, k, v, more in zip(query, key, value, offset, strict=True):
    s, z, y = np.zeros((SIZE, SIZE)), np.zeros(SIZE), []
    for t in range(len(u)):
      s = s + np.outer(features(k[t]), v[t])
      z = z + features(k[t])
      y.append(features(q[t]) @ (s + more) / (features(q[t]) @ z))
    outputs.append(np.stack(y))
    states.append((s, z))
  return np.concatenate(outputs, 1) @ params['output']['kernel'], states


def retain_by_hand(params, u, offset=by_hand.NO_OFFSET):
  """Equations 6 and 8 of arXiv 2307.08621, head by head."""
  query, key, value = (
    np.split(u @ params[name]['kernel'], HEADS, axis=1)
    for name in ('query', 'key', 'value')
  )
  outputs, states = [], []
  # Pairs of rows as complex numbers, each turned by its own angle.
  turn = np.exp(-1j * 1e4 ** (-2 * np.arange(SIZE // 2) / SIZE))[:, None]
  for head in range(HEADS):
    s, y = np.zeros((SIZE, SIZE)), []
    for t in range(len(u)):
      pairs = turn * (s[: SIZE // 2] + 1j * s[SIZE // 2 :])
      s = np.concatenate([pairs.real, pairs.imag])
      s = (1 - 2.0 ** (-5 - head)) * s
      s = s + np.outer(key[head][t] / np.sqrt(SIZE), value[head][t])
      y.append(query[head][t] @ (s + offset[head]))
    outputs.append(by_hand.head_norm(np.stack(y), params['head_norm'], head))
    states.append((s, None))
  gate = by_hand.silu(u @ params['gate']['kernel'])
  y = gate * np.concatenate(outputs, 1)
  return y @ params['output']['kernel'], states


@pytest.mark.parametrize(
  ('decay', 'mixer'), [('none', attend_by_hand), ('fixed', retain_by_hand)]
)
def test_against_the_equations(decay, mixer):
  y, (state, *_), params = by_hand.outputs(
    'linear_attention', num_heads=HEADS, decay=decay, num_layers=2, mlp_dim=4
  )
  expected = by_hand.stack(params, by_hand.X, lambda *args: mixer(*args)[0])
  np.testing.assert_allclose(y, expected, atol=1e-4)
  layer = params['layer_0']
  u = by_hand.rms_norm(by_hand.X, **layer['mixer_norm'])
  for head, (s, z) in enumerate(mixer(layer['mixer'], u)[1]):
    np.testing.assert_allclose(state['memory'][head], s, atol=1e-5)
    if z is not None:
      np.testing.assert_allclose(state['normaliser'][head], z, atol=1e-5)


def test_decays_are_those_of_retnet():
  np.testing.assert_allclose(
    np.exp(linear_attention.log_decays(3)), [31 / 32, 63 / 64, 127 / 128]
  )


def test_without_decay_the_past_has_no_order():
  torso = registry.make(
    'torsos', 'test', {'name': 'linear_attention', 'num_heads': HEADS}
  )
  empty = torso.empty_state(by_hand.WIDTH)

  @jax.jit
  def states(key, *pasts):
    variables = torso.init(key, by_hand.X, empty)
    return [torso.apply(variables, x, empty)[1] for x in pasts]

  first, second = states(jax.random.key(0), by_hand.X, by_hand.X[::-1])
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), first, second
  )


@pytest.mark.parametrize('fast', [False, True])
def test_a_normaliser_below_zero_counts_as_none(fast):
  # It would make what is divided by cross zero, and S of any size with it.
  mixing = linear_attention._Mixing(HEADS, 'none', chunk=2)
  rng = np.random.default_rng(0)
  projected = {name: by_hand.X for name in ('query', 'key', 'value')}
  shapes = mixing.empty_state(by_hand.WIDTH)
  state = {n: rng.normal(size=x.shape).astype('f4') for n, x in shapes.items()}
  floored = {**state, 'normaliser': np.maximum(state['normaliser'], 0)}

  @jax.jit
  def run(key, *states):
    params = mixing.init(key, projected, shapes, fast)
    apply = lambda state: mixing.apply(params, projected, state, fast)
    slope = jax.grad(lambda state: (apply(state)[0] ** 2).sum())
    return [apply(x) for x in states], slope(shapes)['normaliser']

  (found, expected), slope = run(jax.random.key(0), state, floored)
  jax.tree.map(np.testing.assert_array_equal, found, expected)
  assert (found[1]['normaliser'] > 0).all()
  # From the empty state it can grow.
  assert np.asarray(slope).all()


def test_retention_is_of_distances_alone():
  # As rotary embeddings have it: the scores of two positions, anywhere.
  rng = np.random.default_rng(0)
  size, length = 4, 5
  query, key, value = rng.normal(size=(3, length, size)).astype(np.float32)
  mixing = linear_attention._Mixing(1, 'fixed', chunk=2)
  empty = mixing.empty_state(size)
  heads = {'query': query, 'key': key, 'value': value, 'gate': value}
  start = jax.jit(lambda x: mixing.init_with_output(x, heads, empty, True))
  (_, state), _ = start(jax.random.key(0))
  turns = [_layers.rotations(n, 1, size)[0] for n in range(length)]

  def turned(x, n):
    half = size // 2
    pairs = x[:half] + 1j * x[half:]
    pairs = pairs * (turns[n][:half] + 1j * turns[n][half:])
    return np.concatenate([pairs.real, pairs.imag])

  last = length - 1
  scores = [
    turned(query[last], last)
    @ turned(key[n], n)
    * (31 / 32) ** (last - n)
    / np.sqrt(size)
    for n in range(length)
  ]
  np.testing.assert_allclose(
    query[last] @ state['memory'][0], scores @ value, rtol=1e-4
  )


def test_retention_needs_pairs_of_channels():
  with pytest.raises(errors.UserError, match='have 3 each, which is odd'):
    testing.network(
      'linear_attention', embedding_dim=6, num_heads=2, decay='fixed'
    )
