"""Regret, its references and its estimators, against enumeration."""

from hypothesis import given
from hypothesis import strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from bayes_prompting import regret
from tests import testing

LOGITS = st.lists(st.floats(-1000, 1000, width=32), min_size=3, max_size=3)


@given(LOGITS, LOGITS)
def test_kl_is_never_negative_and_agrees_with_scipy(first, second):
  log_p = jax.nn.log_softmax(jnp.asarray(first, jnp.float32))
  log_q = jax.nn.log_softmax(jnp.asarray(second, jnp.float32))
  found = float(regret.kl(log_p, log_q))
  p = np.exp(np.float64(log_p))
  log_ratio = np.where(p > 0, np.float64(log_p) - np.float64(log_q), 0.0)
  assert found >= 0
  expected = np.sum(p * log_ratio)
  np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_kl_of_near_equals_keeps_its_digits():
  p = np.array([0.3, 0.7])
  q = p + np.array([1e-4, -1e-4])
  found = regret.kl(
    jnp.log(p.astype(np.float32)), jnp.log(q.astype(np.float32))
  )
  np.testing.assert_allclose(found, stats.entropy(p, q), rtol=2e-2)


def test_kl_at_the_edges():
  half = jnp.log(jnp.array([0.5, 0.5]))
  sure = jnp.array([0.0, -jnp.inf])
  nothing = jnp.full(2, -jnp.inf)
  assert regret.kl(sure, sure) == 0
  np.testing.assert_allclose(regret.kl(sure, half), np.log(2), rtol=1e-6)
  assert regret.kl(half, sure) == jnp.inf
  assert regret.kl(half, nothing) == jnp.inf
  assert regret.kl(sure, nothing) == jnp.inf


def test_log_loss_sums_over_positions():
  log_probs = jnp.log(jnp.array([[0.25, 0.75], [0.5, 0.5]]))
  found = regret.log_loss(log_probs, jnp.array([1, 0]))
  np.testing.assert_allclose(found, -np.log(0.75) - np.log(0.5), rtol=1e-6)


def everything(length=4):
  """All sequences of a mixture of two sources, weighted by both."""
  sources = np.array([[0.2, 0.8], [0.8, 0.2]])
  prior = testing.two_coins()
  tokens = testing.all_sequences(2, length)
  counts = jnp.zeros(2)
  bayes = jax.vmap(prior.predict, in_axes=(None, 0))(counts, tokens)
  judged = jax.vmap(testing.random_coins().predict, in_axes=(None, 0))(
    counts, tokens
  )
  for source in sources:
    weight = 0.5 * np.prod(source[tokens], axis=-1)
    oracle = np.broadcast_to(np.log(source), bayes.shape).astype(np.float32)
    yield weight, tokens, oracle, bayes, judged


def test_all_estimators_have_the_same_expectation():
  # Exact expectations over every sequence and source: no sampling noise.
  total = own = 0.0
  for weight, tokens, oracle, bayes, judged in everything():
    own_sampled = regret.token_log_probs(oracle, tokens)
    own_sampled = own_sampled - regret.token_log_probs(bayes, tokens)
    own = own + np.einsum('s,sn->n', weight, np.float64(own_sampled))
    found = regret.regrets(judged, tokens, oracle, bayes, own_sampled)
    total = total + np.einsum('s,resn->ren', weight, np.float64(found))
  for reference in total:
    for estimator in reference:
      np.testing.assert_allclose(estimator, reference[0], atol=1e-5)
  # And the two references differ by what Bayes loses to the oracle.
  np.testing.assert_allclose(total[0, 0] - total[1, 0], own, atol=1e-5)
  # The first prediction is one half under both; then they part.
  assert np.all(total[1, :, 1:] > 1e-4)


def test_oracle_regrets_have_the_same_expectation():
  total = own = 0.0
  for weight, tokens, oracle, bayes, _ in everything():
    found = regret.oracle_regrets(tokens, oracle, bayes)
    total = total + np.einsum('s,resn->ren', weight, np.float64(found))
    own = own + np.einsum('s,sn->n', weight, regret.kl(oracle, bayes))
  assert not total[0].any()
  for estimator in total[1]:
    np.testing.assert_allclose(estimator, -own, atol=1e-5)


def test_bayes_has_no_regret_against_itself():
  for _, tokens, oracle, bayes, _ in everything():
    found = regret.regrets(bayes, tokens, oracle, bayes, jnp.zeros(4))
    assert not np.any(found[1])


def test_standard_error_is_that_of_scipy():
  samples = np.random.default_rng(0).normal(size=(3, 50)).astype(np.float32)
  np.testing.assert_allclose(
    regret.standard_error(samples, axis=1), stats.sem(samples, axis=1), 1e-5
  )


def test_infinite_regret_is_infinite_and_not_nan():
  tokens = jnp.array([[0, 1]])
  half = jnp.full((1, 2, 2), jnp.log(0.5))
  judged = half.at[0, 0].set(jnp.array([0.0, -jnp.inf]))
  judged = judged.at[0, 1].set(-jnp.inf)
  found = np.asarray(regret.regrets(judged, tokens, half, half, jnp.zeros(2)))
  assert not np.isnan(found).any()
  assert np.isinf(found[:, 1:, 0]).all()  # The KL knows at the first step.
  assert np.isfinite(found[:, 0, 0, 0]).all()  # The sampled token was likely.
  assert np.isinf(found[..., 1]).all()


@pytest.mark.parametrize('shape', [(), (3,), (2, 3)])
def test_shapes(shape):
  log_probs = jax.nn.log_softmax(jnp.zeros((*shape, 5, 2)))
  tokens = jnp.zeros((*shape, 5), jnp.int32)
  found = regret.regrets(log_probs, tokens, log_probs, log_probs, jnp.zeros(5))
  assert found.shape == (2, 3, *shape, 5)
