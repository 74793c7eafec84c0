"""Both kinds of predictor speak the same four functions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bayes_prompting import errors
from bayes_prompting import predictors
from tests import testing


def test_input_is_a_zero_row_then_the_prefix_then_the_tokens():
  # With the linear torso, prediction n depends on input n alone.
  predictor, params = testing.network('linear')
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
  rows = jnp.array([[0.2, 0.3, 0.5], [1.0, -2.0, 0.0]])
  expected = (
    rows @ params['embedding']['kernel'] + params['embedding']['bias'][None]
  )
  np.testing.assert_allclose(predictor.embed(params, rows), expected, atol=1e-6)


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
