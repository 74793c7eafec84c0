"""Every torso is held to its contract, and each to its mathematics."""

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bayes_prompting import errors
from bayes_prompting import predictors
from bayes_prompting import registry
from bayes_prompting import regret
from bayes_prompting.torsos import _fast
from bayes_prompting.torsos import transformer
from tests import testing

WIDTH = 8
LENGTH = 5


@pytest.fixture
def torso(torsos_spec):
  return registry.make('torsos', 'test', torsos_spec)


@pytest.fixture
def x():
  return jax.random.normal(jax.random.key(1), (LENGTH, WIDTH), jnp.float32)


def initialised(torso, x):
  """Returns a jitted (x, state) -> (y, state), and the empty state."""
  empty = torso.empty_state(WIDTH)
  params = torso.init(jax.random.key(0), x, empty)
  return jax.jit(lambda x, state: torso.apply(params, x, state)), empty


def test_running_in_two_parts_is_running_once(torso, x):
  run, empty = initialised(torso, x)
  whole, end = run(x, empty)
  for cut in (0, 1, 3, LENGTH):
    first, middle = run(x[:cut], empty)
    second, last = run(x[cut:], middle)
    np.testing.assert_allclose(
      np.concatenate([first, second]), whole, atol=1e-5
    )
    jax.tree.map(
      lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), last, end
    )


def test_is_causal(torso, x):
  run, empty = initialised(torso, x)
  before, _ = run(x, empty)
  # Not by a constant: LayerNorm does not see one.
  after, _ = run(x.at[3].add(jnp.arange(WIDTH) % 3), empty)
  np.testing.assert_allclose(after[:3], before[:3], atol=1e-6)
  assert not np.allclose(after[3], before[3])


def test_state_is_float_arrays(torso, x):
  run, empty = initialised(torso, x)
  _, state = run(x, empty)
  for leaf in jax.tree.leaves((empty, state)):
    assert leaf.dtype == jnp.float32


def test_whole_predictor_is_causal(torso):
  # Changing token t leaves predictions up to and including t unchanged.
  predictor = predictors.network(torso, 3, WIDTH)
  params = predictor.init(jax.random.key(0))
  predict = jax.jit(predictor.predict)
  state = predictor.start(params)
  tokens = np.array([[0, 1, 2, 0, 1]])
  changed = tokens.copy()
  changed[0, 2] = 0
  before = predict(params, state, tokens)[0]
  after = predict(params, state, changed)[0]
  np.testing.assert_allclose(after[:3], before[:3], atol=1e-6)
  assert not np.allclose(after[3], before[3])


def test_prefill_then_predict_is_one_pass_over_both(torso):
  predictor = predictors.network(torso, 3, WIDTH)
  params = predictor.init(jax.random.key(0))
  tokens = np.array([[0, 1, 2, 2, 1, 0]])

  @jax.jit
  def both(params):
    whole = predictor.predict(params, predictor.start(params), tokens)[0]
    rows = jax.nn.one_hot(tokens[0, :4], 3)
    state = predictor.prefill(params, predictor.embed(params, rows))
    return whole, predictor.predict(params, state, tokens[:, 4:])[0]

  whole, split = both(params)
  np.testing.assert_allclose(split, whole[4:], atol=1e-5)


def predictions_and_gradients(predictor, params, prefix, tokens):
  """Log probabilities, and the loss's gradient to weights and prefix."""

  def loss(params, prefix):
    state = predictor.prefill(params, prefix)
    log_probs = predictor.predict(params, state, tokens)
    return regret.log_loss(log_probs, tokens).mean(), log_probs

  return jax.jit(jax.grad(loss, argnums=(0, 1), has_aux=True))(params, prefix)


def assert_fast_is_plain(torso, vocab_size, length, prefix_length):
  fast = predictors.network(torso, vocab_size, WIDTH)
  plain = predictors.network(torso, vocab_size, WIDTH, plain=True)
  params = fast.init(jax.random.key(0))
  # Scales and biases away from one and zero, so that leaving one out shows.
  params = jax.tree.map(lambda p: p + 0.1 * jnp.cos(p * 50), params)
  prefix = jax.random.normal(jax.random.key(1), (prefix_length, WIDTH))
  tokens = jax.random.randint(jax.random.key(2), (3, length), 0, vocab_size)
  args = params, prefix, tokens
  found = predictions_and_gradients(fast, *args)
  expected = predictions_and_gradients(plain, *args)
  for one, other in zip(
    jax.tree.leaves(found), jax.tree.leaves(expected), strict=True
  ):
    scale = np.abs(other).max(initial=1e-3)
    np.testing.assert_allclose(one / scale, other / scale, atol=1e-5)


def test_fast_path_is_the_plain_one(torso):
  assert_fast_is_plain(torso, vocab_size=3, length=LENGTH, prefix_length=2)


def test_fast_path_of_one_token_which_is_never_fed(torso):
  assert_fast_is_plain(torso, vocab_size=2, length=1, prefix_length=0)


@pytest.mark.parametrize(('vocab_size', 'length'), [(2, 70), (70, 4)])
def test_fast_path_of_a_transformer_in_other_worlds(vocab_size, length):
  # More than attend in one group; more tokens than are put into a table.
  torso = registry.make('torsos', 'test', {'name': 'transformer'})
  assert_fast_is_plain(torso, vocab_size, length, prefix_length=1)


def test_fast_path_reads_less_than_was_prepared(torso):
  if not hasattr(torso, 'prepare'):
    pytest.skip('has no fast path, which is optional')
  variables = torso.init(
    jax.random.key(0),
    jnp.zeros((2, WIDTH), jnp.float32),
    torso.empty_state(WIDTH),
  )
  rows = jax.random.normal(jax.random.key(1), (2, WIDTH), jnp.float32)
  state = torso.empty_state(WIDTH)

  @jax.jit
  def both(tokens):
    table = torso.apply(variables, rows, state, 6, method='prepare')
    found = torso.apply(variables, table, tokens, method='read')
    one = lambda sequence: torso.apply(variables, rows[sequence], state)[0]
    return found, jax.vmap(one)(tokens)

  for length in (1, 2, 6):
    tokens = jnp.tile(jnp.array([[0, 1], [1, 1], [1, 0]]), 3)[:, :length]
    np.testing.assert_allclose(*both(tokens), atol=1e-5)


def test_fast_derivatives_are_jax_s_own():
  x = jax.random.normal(jax.random.key(0), (3, 4, 5)) * 3
  w = jax.random.normal(jax.random.key(1), (5, 6))
  weights = jnp.cos(jnp.arange(72.0)).reshape(3, 4, 6)
  dims = (((2,), (0,)), ((), ()))

  def value_and_gradients(product, gelu):
    def fn(x, w):
      return (gelu(product(x, w, dims)) * weights).sum()

    return jax.value_and_grad(fn, argnums=(0, 1))(x, w)

  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
    value_and_gradients(_fast.dot_general, _fast.gelu),
    value_and_gradients(jax.lax.dot_general, nn.gelu),
  )


def test_the_plain_path_has_forward_derivatives(torso):
  predictor = predictors.network(torso, 2, WIDTH, plain=True)
  params = predictor.init(jax.random.key(0))
  tokens = jnp.array([[0, 1, 1]])

  def predict(params):
    return predictor.predict(params, predictor.start(params), tokens)

  ones = jax.tree.map(jnp.ones_like, params)
  tangent = jax.jit(lambda: jax.jvp(predict, (params,), (ones,))[1])()
  assert np.isfinite(tangent).all()


def test_attention_survives_scores_of_any_size():
  # The past outweighs the present by far, or the present the past: the
  # softmax that is put together of both neither overflows nor loses either.
  torso = registry.make('torsos', 'test', {'name': 'transformer'})
  fast = predictors.network(torso, 2, WIDTH)
  plain = predictors.network(torso, 2, WIDTH, plain=True)
  params = fast.init(jax.random.key(0))
  tokens = jnp.array([[0, 1, 1, 0]])
  state = fast.start(params)
  for scale in (-1e4, 1e4):
    ((past),) = state['torso']
    far = {**state, 'torso': ({**past, 'key': scale * past['key']},)}
    found = fast.predict(params, far, tokens)
    np.testing.assert_allclose(
      found, plain.predict(params, far, tokens), atol=1e-5
    )
    assert np.isfinite(found).all()


def lstm_by_hand(params, x):
  """The equations of Hochreiter and Schmidhuber, one step at a time."""
  width = params['hi']['bias'].shape[0]
  c = h = np.zeros(width)
  outputs = []
  for row in np.asarray(x, np.float64):
    gates = {
      g: row @ params[f'i{g}']['kernel']
      + h @ params[f'h{g}']['kernel']
      + params[f'h{g}']['bias']
      for g in 'ifgo'
    }
    sigmoid = {g: 1 / (1 + np.exp(-gates[g])) for g in 'ifo'}
    c = sigmoid['f'] * c + sigmoid['i'] * np.tanh(gates['g'])
    h = sigmoid['o'] * np.tanh(c)
    outputs.append(h)
  return np.stack(outputs), c


def test_lstm_against_its_equations(x):
  torso = registry.make('torsos', 'test', {'name': 'lstm', 'width': 6})
  empty = torso.empty_state(WIDTH)
  variables = torso.init(jax.random.key(0), x, empty)
  found, ((cell, _),) = torso.apply(variables, x, empty)
  params = jax.tree.map(
    lambda leaf: np.asarray(leaf, np.float64), variables['params']['layer_0']
  )
  expected, expected_cell = lstm_by_hand(params, x)
  np.testing.assert_allclose(found, expected, atol=1e-5)
  np.testing.assert_allclose(cell, expected_cell, atol=1e-5)


def norm(x, scale=1.0, bias=0.0):
  centred = x - x.mean(-1, keepdims=True)
  variance = (centred**2).mean(-1, keepdims=True)
  return centred / np.sqrt(variance + 1e-6) * scale + bias


def block_by_hand(params, x, num_heads):
  """One block, position by position and head by head."""

  def dense(name, y):
    return y @ params[name]['kernel']

  y = norm(x, **params['attention_norm'])
  query = norm(dense('query', y), **params['query_norm'])
  key = norm(dense('key', y), **params['key_norm'])
  value = dense('value', y)
  size = x.shape[1] // num_heads
  attended = np.zeros_like(x)
  for n in range(len(x)):
    for head in range(num_heads):
      part = slice(head * size, (head + 1) * size)
      scores = key[: n + 1, part] @ query[n, part] / np.sqrt(size)
      weights = np.exp(scores - scores.max())
      attended[n, part] = weights / weights.sum() @ value[: n + 1, part]
  x = x + dense('attention_output', attended)
  y = dense('mlp_in', norm(x, **params['mlp_norm']))
  x = x + dense('mlp_out', np.asarray(nn.gelu(y)))
  return norm(x, **params['output_norm'])


def test_transformer_against_its_equations(x):
  torso = registry.make(
    'torsos', 'test', {'name': 'transformer', 'num_heads': 2}
  )
  empty = torso.empty_state(WIDTH)
  variables = torso.init(jax.random.key(0), x, empty)
  # Scales and biases away from one and zero, so that leaving one out shows.
  variables = jax.tree.map(lambda p: p + 0.1 * jnp.cos(p * 50), variables)
  found, _ = torso.apply(variables, x, empty)
  params = jax.tree.map(
    lambda leaf: np.asarray(leaf, np.float64), variables['params']['layer_0']
  )
  start = np.asarray(x) + transformer.sinusoids(0, LENGTH, WIDTH)
  np.testing.assert_allclose(found, block_by_hand(params, start, 2), atol=1e-4)


def test_sinusoids_have_sines_first_then_cosines():
  waves = transformer.sinusoids(3, 4, 6)
  for n, row in enumerate(waves, 3):
    angles = [n, n / 1e4 ** (1 / 3), n / 1e4 ** (2 / 3)]
    np.testing.assert_allclose(row[:3], np.sin(angles), atol=1e-6)
    np.testing.assert_allclose(row[3:], np.cos(angles), atol=1e-6)


def test_positions_go_on_after_a_prefix():
  np.testing.assert_array_equal(
    transformer.sinusoids(0, 7, 6)[4:], transformer.sinusoids(4, 3, 6)
  )


def test_default_initialisers():
  # Flax's: the claims on untrained networks depend on them.
  _, params = testing.network('lstm', embedding_dim=64, width=64)
  cell = params['torso']['layer_0']
  recurrent = np.asarray(cell['hi']['kernel'], np.float64)
  np.testing.assert_allclose(recurrent @ recurrent.T, np.eye(64), atol=1e-5)
  for bias in ('hi', 'hf', 'hg', 'ho'):
    assert not np.any(cell[bias]['bias'])
  # LeCun normal: variance 1 / fan_in, truncated at two standard deviations.
  kernel = np.asarray(cell['ii']['kernel'])
  assert abs(kernel.std() * 8 - 1) < 0.05
  assert not np.any(params['unembedding']['bias'])


@pytest.mark.parametrize(
  ('name', 'kwargs', 'field'),
  [
    ('lstm', {'width': 0}, 'width'),
    ('lstm', {'num_layers': 0}, 'num_layers'),
    ('transformer', {'num_heads': 1.5}, 'num_heads'),
    ('transformer', {'widening': True}, 'widening'),
    ('linear', {'width': -1}, 'width'),
  ],
)
def test_refuses_sizes_that_make_no_sense(name, kwargs, field):
  with pytest.raises(errors.UserError, match=field):
    registry.make('torsos', 'test', {'name': name, **kwargs})


def test_heads_must_divide_the_embedding():
  with pytest.raises(errors.UserError, match='divide the embedding width 7'):
    testing.network('transformer', embedding_dim=7, num_heads=2)
