"""Exact expected regrets, against known values and enumeration."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bayes_prompting import errors
from bayes_prompting.theory import expectation
from tests import testing

STEPS = [49, 99, 199]


def cumulative(*args, **kwargs):
  return expectation.expected_regret(*args, **kwargs).cumsum()


def test_uniform_prior_on_the_coin():
  found = cumulative(testing.random_coins(), testing.single_coin(), 200)
  np.testing.assert_allclose(found[STEPS], [1.4772, 1.8118, 2.1525], atol=1e-4)


def test_uniform_prior_after_the_best_prefix_of_six():
  prefix = (0, 1, 1, 1, 1, 1)
  found = cumulative(testing.random_coins(), testing.single_coin(), 200, prefix)
  np.testing.assert_allclose(found[STEPS], [0.5711, 0.8552, 1.1686], atol=1e-4)


def test_uniform_prior_on_its_own_coins():
  prior = testing.random_coins()
  found = cumulative(prior, prior, 200)
  np.testing.assert_allclose(found[STEPS], [1.568, 1.900, 2.239], atol=5e-4)


def test_two_coins_cost_one_bit():
  prior = testing.two_coins()
  found = cumulative(prior, prior, 200)
  np.testing.assert_allclose(found[STEPS], np.log(2), atol=1e-4)


def test_a_known_source_costs_nothing():
  prior = testing.single_coin()
  np.testing.assert_allclose(cumulative(prior, prior, 50), 0, atol=1e-5)


@pytest.mark.parametrize(
  ('prior', 'target'),
  [
    (
      testing.task_prior('dirichlet_categorical', concentration=(1, 2, 3)),
      testing.task_prior('categorical', probabilities=(0.5, 0.0, 0.5)),
    ),
    (
      testing.task_prior('dirichlet_categorical', concentration=(1, 1, 1)),
      testing.task_prior(
        'categorical_mixture',
        weights=(0.3, 0.7),
        probabilities=((0.1, 0.2, 0.7), (0.0, 0.5, 0.5)),
      ),
    ),
    (testing.two_coins(), testing.random_coins()),
  ],
)
def test_agrees_with_enumeration_of_all_sequences(prior, target):
  length = 4
  tokens = testing.all_sequences(target.vocab_size, length)
  none = jnp.zeros((0, target.vocab_size))

  def losses(of):
    predict = jax.vmap(of.predict, in_axes=(None, 0))
    log_probs = np.asarray(predict(of.prefill(none), tokens), np.float64)
    return -np.take_along_axis(log_probs, tokens[..., None], -1)[..., 0]

  weight = np.exp(-losses(target).sum(-1))[:, None]
  possible = np.broadcast_to(weight > 0, tokens.shape)
  loss = np.sum(weight * losses(prior), axis=0, where=possible)
  found = expectation.expected_losses(prior, target, length)
  np.testing.assert_allclose(found.bayes, loss, atol=1e-5)


def test_infinite_where_the_prior_rules_out_what_occurs():
  prior = testing.task_prior('categorical', probabilities=(1.0, 0.0))
  found = expectation.expected_regret(prior, testing.single_coin(), 3)
  assert np.isposinf(found).all()


def test_gaps_are_the_losses_above_bayes_of_the_target():
  prior, target = testing.random_coins(), testing.two_coins()
  found = expectation.expectation(prior, target, 50)
  own = expectation.expected_losses(target, target, 50).bayes
  assert found.target_regret() == pytest.approx(np.log(2), abs=1e-4)
  for added in ([0.0, 0.0], [0.25, 0.25], [5.0, 1.0]):
    lost = expectation.expected_losses(
      prior, target, 50, pseudo_counts=added
    ).bayes
    np.testing.assert_allclose(found.gaps(added), lost - own, atol=1e-12)


def test_the_smallest_gaps_have_all_their_digits():
  prior = testing.random_coins()
  found = expectation.expectation(prior, prior, 50)
  assert found.gaps().sum() == found.deviation() == 0
  small, smaller = (found.gaps([x, 0.0]).sum() for x in (1e-7, 1e-9))
  assert small < 1e-14
  assert small / smaller == pytest.approx(1e4, rel=1e-3)  # It is quadratic.


def test_deviation_is_of_all_that_may_happen():
  # Bayes knows the coin after some hundred tokens, unless fifty say otherwise.
  found = expectation.expectation(
    testing.two_coins(), testing.single_coin(), 50
  )
  assert found.gaps([0.0, 20.0]).sum() < 1e-11
  assert found.deviation([0.0, 20.0]) == pytest.approx(0.6, abs=1e-6)
  assert found.deviation([0.0, 200.0]) < 1e-12


def test_where_the_target_never_shows_a_token_its_mass_is_lost():
  prior = testing.task_prior('dirichlet_categorical', concentration=(1, 1, 1))
  target = testing.task_prior('categorical', probabilities=(0.5, 0.0, 0.5))
  (first,) = expectation.expectation(prior, target, 1).gaps()
  assert first == pytest.approx(np.log(3) - np.log(2), abs=1e-12)


def test_says_nothing_where_it_is_not_cheap():
  dice = testing.task_prior('dirichlet_categorical', concentration=(1,) * 6)
  assert expectation.expected_regret(dice, dice, 200) is None


@pytest.mark.parametrize(
  ('kwargs', 'message'),
  [
    ({'prefix': (-1,)}, 'prefix: must be tokens, .* 0 to 1, got'),
    ({'prefix': (0, 5)}, 'prefix: '),
    ({'prefix': (0.5,)}, 'prefix: '),
    ({'pseudo_counts': (1.0,)}, 'pseudo_counts: must be 2 '),
    ({'pseudo_counts': (1.0, -1.0)}, 'pseudo_counts: '),
    ({'pseudo_counts': (1.0, np.inf)}, 'pseudo_counts: '),
    ({'pseudo_counts': ('a', 'b')}, 'pseudo_counts: '),
  ],
)
def test_refuses_wrong_prompts(kwargs, message):
  args = testing.random_coins(), testing.two_coins(), 3
  for of in (expectation.expected_regret, expectation.expected_losses):
    with pytest.raises(errors.UserError, match=message) as error:
      of(*args, **kwargs)
    assert '\n' not in str(error.value)


def test_refuses_what_does_not_fit_the_statistic():
  coins = testing.random_coins()
  dice = testing.task_prior('dirichlet_categorical', concentration=(1, 1, 1))
  chains = testing.task_prior('dirichlet_markov', order=1, concentration=(1, 1))
  with pytest.raises(errors.UserError, match='pseudo_counts: .* labels'):
    expectation.expected_losses(chains, coins, 3, pseudo_counts=(0, 0, 0, 0, 1))
  with pytest.raises(errors.UserError, match='target: has 3 tokens'):
    expectation.expectation(coins, dice, 3)
  for start in ((0.5, 1), (1, 2, 3), (np.inf, 0)):
    with pytest.raises(errors.UserError, match='start: must be 2 whole'):
      expectation.expectation(coins, coins, 3, start)


@pytest.mark.parametrize(
  ('prior', 'target', 'rows'),
  [
    (
      testing.random_coins(),
      testing.two_coins(),
      ((0.25, 0.75), (1.5, 0.0)),
    ),
    (testing.two_coins(), testing.random_coins(), ((0.3, 0.7),)),
    (testing.single_coin(), testing.two_coins(), ((0.3, 0.7),)),
    (
      testing.task_prior('dirichlet_markov', order=1, concentration=(1.0, 2.0)),
      testing.two_coins(),
      ((1.0, 0.0), (0.0, 1.0)),
    ),
  ],
)
def test_regret_in_a_state_agrees_with_enumeration(prior, target, rows):
  length = 5
  tokens = testing.all_sequences(2, length)
  state = prior.prefill(jnp.array(rows))
  none = target.prefill(jnp.zeros((0, 2)))

  def losses(of, state):
    predict = jax.jit(jax.vmap(of.predict, in_axes=(None, 0)))
    log_probs = np.asarray(predict(state, tokens), np.float64)
    return -np.take_along_axis(log_probs, tokens[..., None], -1)[..., 0]

  weight = np.exp(-losses(target, none).sum(-1))
  apart = losses(prior, state) - losses(target, none)
  own = expectation.expected_regret(target, target, length)
  found = expectation.regret_of_state(prior, target, length, state)
  np.testing.assert_allclose(found, weight @ apart + own, atol=1e-5)


def test_regret_in_a_state_is_that_of_its_prefix():
  prior = testing.random_coins()
  found = expectation.regret_of_state(
    prior, testing.single_coin(), 200, (1, 5)
  ).cumsum()
  np.testing.assert_allclose(found[STEPS], [0.5711, 0.8552, 1.1686], atol=1e-4)
  for state in ((1, 2, 3), (-1, 2), (np.nan, 1)):
    with pytest.raises(errors.UserError, match='state|pseudo_counts'):
      expectation.regret_of_state(prior, testing.single_coin(), 5, state)
