"""Both kinds of predictor speak the same four functions."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bayes_prompting import errors
from bayes_prompting import predictors
from bayes_prompting import registry
from bayes_prompting import types
from tests import testing


def away_from_zero(params):
  """Biases are zero at the start, where one that is left out cannot show."""
  return jax.tree.map(
    lambda x: np.asarray(x + 0.3 * np.cos(np.arange(x.size).reshape(x.shape))),
    jax.device_get(params),
  )


def test_input_is_a_zero_row_then_the_prefix_then_the_tokens():
  # With the linear torso, prediction n depends on input n alone.
  predictor, params = testing.network('linear')
  params = away_from_zero(params)
  exact = jax.tree.map(lambda x: np.asarray(x, np.float64), params)
  table = {name: exact[name]['kernel'] for name in ('embedding', 'unembedding')}
  bias = {name: exact[name]['bias'] for name in table}
  dense = exact['torso']['dense']
  row = np.array([[0.3, -1.0]], np.float32)
  prefix = predictor.embed(params, row)
  state = predictor.prefill(params, prefix)
  found = predictor.predict(params, state, jnp.array([[1, 0, 1]]))[0]
  inputs = np.array([[0.3, -1.0], [0, 1], [1, 0]])  # The last is never fed.
  hidden = inputs @ table['embedding'] + bias['embedding']
  logits = (hidden @ dense['kernel'] + dense['bias']) @ table['unembedding']
  expected = jax.nn.log_softmax(logits + bias['unembedding'])
  np.testing.assert_allclose(found, expected, atol=1e-5)
  # Without a prefix, the first prediction sees the zero row: the bias.
  start = predictor.predict(params, predictor.start(params), jnp.array([[0]]))
  hidden = bias['embedding']
  logits = (hidden @ dense['kernel'] + dense['bias']) @ table['unembedding']
  expected = jax.nn.log_softmax(logits + bias['unembedding'])
  np.testing.assert_allclose(start[0, 0], expected, atol=1e-5)


def tied(torso, vocab_size=3, embedding_dim=8, **kwargs):
  module = registry.make('torsos', 'test', {'name': torso, **kwargs})
  return predictors.network(
    module, vocab_size, embedding_dim, tied_unembedding=True
  )


def test_a_tied_unembedding_is_the_embedding_transposed():
  predictor = tied('linear', vocab_size=3, embedding_dim=8, width=8)
  params = away_from_zero(jax.jit(predictor.init)(jax.random.key(0)))
  assert set(params) == {'embedding', 'torso'}
  exact = jax.tree.map(lambda x: np.asarray(x, np.float64), params)
  embedding, dense = exact['embedding'], exact['torso']['dense']
  tokens = np.array([1, 0, 2, 1])

  @jax.jit
  def predict(params):
    start = predictor.start(params)
    carry, first = predictor.begin(params, start, tokens[:2], 2)
    _, second = predictor.step(params, carry, tokens[2])
    whole = predictor.predict(params, start, tokens[None])[0]
    return whole, jnp.stack([first, second])

  inputs = np.concatenate([np.zeros((1, 3)), np.eye(3)[tokens[:-1]]])
  hidden = inputs @ embedding['kernel'] + embedding['bias']
  logits = (hidden @ dense['kernel'] + dense['bias']) @ embedding['kernel'].T
  expected = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
  whole, steps = predict(params)
  np.testing.assert_allclose(whole, expected, atol=1e-5)
  np.testing.assert_allclose(steps, expected[2:], atol=1e-5)


def test_untrained_logits_are_of_the_same_size_if_tied():
  # Of activations of variance one, as norms leave them: variance about one.
  predictor = tied('linear', vocab_size=50, embedding_dim=400, width=400)
  params = jax.jit(predictor.init)(jax.random.key(0))
  assert abs(np.std(params['embedding']['kernel']) * 20 - 1) < 0.02


def test_a_tied_unembedding_needs_a_torso_as_wide():
  predictor = tied('lstm', width=7)
  with pytest.raises(errors.UserError, match=r'width.*embedding, 8.*got 7'):
    jax.eval_shape(predictor.init, jax.random.key(0))


@pytest.mark.parametrize('torso', ['lstm', 'transformer', 'linear'])
def test_predictions_are_normalised(torso):
  predictor, params = testing.network(torso, vocab_size=3)
  tokens = testing.all_sequences(3, 2)
  found = predictor.predict(params, predictor.start(params), tokens)
  assert found.shape == (9, 2, 3)
  assert found.dtype == jnp.float32
  np.testing.assert_allclose(np.exp(found).sum(-1), 1.0, atol=1e-5)


def test_embed_is_affine_in_the_rows():
  predictor, params = testing.network('lstm', vocab_size=3)
  params = away_from_zero(params)
  rows = jnp.array([[0.2, 0.3, 0.5], [1.0, -2.0, 0.0]])
  expected = (
    rows @ params['embedding']['kernel'] + params['embedding']['bias'][None]
  )
  np.testing.assert_allclose(predictor.embed(params, rows), expected, atol=1e-6)


def test_bayes_of_what_is_no_prior_is_refused():
  with pytest.raises(errors.UserError, match="task_prior: .*'coins'"):
    predictors.bayesian('coins')


def test_bayesian_predictor_conditions_on_a_prefix():
  predictor = predictors.bayesian(testing.random_coins())
  rows = predictor.embed({}, jnp.eye(2)[jnp.array([1, 1, 0])])
  state = predictor.prefill({}, rows)
  found = np.exp(predictor.predict({}, state, jnp.array([[1, 0]]))[0])
  # Laplace's rule: Beta(1, 1) after one 0 and two 1s, then another 1.
  np.testing.assert_allclose(found, [[2 / 5, 3 / 5], [2 / 6, 4 / 6]], rtol=1e-5)
  assert predictor.init(jax.random.key(0)) == {}


def test_bayesian_predictor_takes_fractional_counts():
  predictor = predictors.bayesian(testing.random_coins())
  state = predictor.prefill({}, jnp.array([[0.5, 1.5]]))
  found = np.exp(predictor.predict({}, state, jnp.array([[0]]))[0, 0])
  np.testing.assert_allclose(found, [1.5 / 4, 2.5 / 4], rtol=1e-5)


@pytest.mark.parametrize('shape', [(2, 3), (4,), (1, 2, 4)])
def test_network_refuses_a_prefix_of_another_width(shape):
  predictor, params = testing.network('lstm', embedding_dim=4)
  with pytest.raises(errors.UserError, match=r'\[K, 4\]') as info:
    predictor.prefill(params, jnp.zeros(shape))
  assert str(list(shape)) in str(info.value)


def test_bayes_refuses_a_prefix_of_another_width():
  predictor = predictors.bayesian(testing.random_coins())
  with pytest.raises(errors.UserError, match=r'\[K, 2\].*got \[3, 5\]'):
    predictor.prefill({}, jnp.zeros((3, 5)))


@pytest.mark.parametrize('torso', ['lstm', 'transformer', 'linear', None])
def test_rows_of_64_bits_are_as_those_of_32(torso):
  if torso is None:
    predictor, params = predictors.bayesian(testing.random_coins()), {}
  else:
    predictor, params = testing.network(torso)
  rows = np.array([[0.3, 0.7], [1, 0], [0, 1]], np.float64)

  def run(rows):
    state = predictor.prefill(params, predictor.embed(params, rows))
    return state, predictor.predict(params, state, np.array([[0, 1]], np.int32))

  one = run(rows.astype(np.float32))
  with jax.enable_x64(True):
    other = run(jnp.asarray(rows))
  for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
    assert a.dtype == b.dtype
    np.testing.assert_allclose(a, b, atol=1e-6)


@functools.cache
def entries():
  """All ways to have tokens predicted, as functions of sequences [B, N]."""
  prior = testing.random_coins()
  network, params = testing.network('linear')
  bayes = predictors.bayesian(prior)
  none = prior.prefill(np.zeros((0, 2)))
  start = network.start(params)
  context = network.prepare(params, start, 3)
  return {
    'network': lambda x: network.predict(params, start, x),
    'its read': lambda x: network.read(context, x),
    'bayes': lambda x: bayes.predict({}, none, x),
    'its read ': lambda x: bayes.read(none, x),
    'prior': lambda x: prior.predict(none, x)[None],
  }


ENTRIES = ('network', 'its read', 'bayes', 'its read ', 'prior')


def one_or_many(entry, sequences):
  """Returns what an entry takes: a task prior predicts one sequence."""
  return sequences[0] if entry == 'prior' else sequences


@pytest.mark.parametrize('entry', ENTRIES)
def test_tokens_of_any_whole_numbers_are_taken(entry):
  predict = entries()[entry]
  wanted = predict(jnp.array(one_or_many(entry, [[1, 0, 1]]), jnp.int32))
  for kind in (list, np.uint8, np.int64, jnp.int32):
    tokens = one_or_many(entry, [[1, 0, 1]])
    tokens = tokens if kind is list else np.asarray(tokens, kind)
    np.testing.assert_array_equal(predict(tokens), wanted)


@pytest.mark.parametrize('entry', ENTRIES)
@pytest.mark.parametrize(
  'sequence',
  [[5, 5, 0], [-1, 0, 0], [0, 1, 2], [0.0, 1.0, 1.0], [True, False, True]],
)
def test_what_is_no_token_is_one_line(entry, sequence):
  for kind in (list, np.asarray, jnp.asarray):
    tokens = kind(one_or_many(entry, [sequence]))
    with pytest.raises(
      errors.UserError, match='tokens: .* 0 to 1.*got'
    ) as info:
      entries()[entry](tokens)
    assert '\n' not in str(info.value)


@pytest.mark.parametrize('entry', ENTRIES)
@pytest.mark.parametrize(
  'tokens', [[[[0, 1]]], [[0, 1], [0]], 'ab', None, 3, [[None]], [[2**70]]]
)
def test_what_are_no_sequences_is_one_line(entry, tokens):
  with pytest.raises(errors.UserError, match='tokens: must be') as info:
    entries()[entry](tokens)
  assert '\n' not in str(info.value)


@pytest.mark.parametrize('entry', ENTRIES[:-1])
def test_one_sequence_is_no_batch(entry):
  for tokens in ([0, 1, 1], np.array([0, 1]), [], [[]]):
    with pytest.raises(errors.UserError, match=r'\[B, N\].*list for each'):
      entries()[entry](tokens)


def test_a_batch_is_no_sequence_for_a_prior():
  with pytest.raises(errors.UserError, match='tokens'):
    entries()['prior']([[0, 1, 1]])


def test_tokens_of_a_narrow_type_are_counted_in_a_wide_one():
  # Behind 120 tokens are the rows of the window, which int8 cannot count.
  predictor, params = testing.network(
    'windowed_lstm', vocab_size=120, width=2, window=10
  )
  state = predictor.start(params)
  tokens = np.array([[119, 0, 7, 119]])
  expected = predictor.predict(params, state, tokens)
  found = jax.jit(predictor.predict)(params, state, tokens.astype(np.int8))
  np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize('entry', ENTRIES)
def test_what_is_traced_passes_and_costs_nothing(entry):
  predict = entries()[entry]
  tokens = np.array(one_or_many(entry, [[1, 0, 1]]), np.int32)
  program = jax.make_jaxpr(predict)(tokens)
  # The values are not looked at: those of no token pass as well.
  assert str(program) == str(jax.make_jaxpr(predict)(tokens + 5))
  np.testing.assert_allclose(
    jax.jit(predict)(tokens), predict(tokens), rtol=1e-5
  )
  for wrong in (tokens.astype(np.float32), tokens[None, None]):
    with pytest.raises(errors.UserError, match='tokens: must be whole numbers'):
      jax.eval_shape(predict, wrong)


@pytest.mark.parametrize('rows', [[1, 0], [[1, 0, 0]], [[[1, 0]]], 1, 'ab'])
def test_rows_are_one_for_each_token_of_a_prefix(rows):
  network, params = testing.network('linear')
  prior = testing.random_coins()
  for take in (
    lambda: network.embed(params, rows),
    lambda: predictors.bayesian(prior).embed({}, rows),
    lambda: prior.prefill(rows),
  ):
    with pytest.raises(errors.UserError, match=r'rows: .*\[K, 2\]'):
      take()


def test_rows_may_be_lists():
  network, params = testing.network('linear')
  rows = [[1, 0], [0.5, 0.5]]
  np.testing.assert_array_equal(
    network.embed(params, rows), network.embed(params, np.array(rows))
  )
  assert testing.random_coins().prefill(rows).tolist() == [1.5, 0.5]


def test_a_prior_of_ones_own_is_checked_too():
  prior = types.TaskPrior(
    2, None, lambda rows: rows.sum(0), lambda state, tokens: tokens
  )
  with pytest.raises(errors.UserError, match='tokens'):
    prior.predict(None, [2])
