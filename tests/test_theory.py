"""Exact expected regrets, against known values and enumeration."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bayes_prompting import theory
from tests import testing

STEPS = [49, 99, 199]


def cumulative(*args, **kwargs):
  return theory.expected_regret(*args, **kwargs).cumsum()


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
  found = theory.expected_losses(prior, target, length)
  np.testing.assert_allclose(found.bayes, loss, atol=1e-5)


def test_infinite_where_the_prior_rules_out_what_occurs():
  prior = testing.task_prior('categorical', probabilities=(1.0, 0.0))
  found = theory.expected_regret(prior, testing.single_coin(), 3)
  assert np.isposinf(found).all()


def test_hard_prefixes_of_the_coin():
  args = testing.random_coins(), testing.single_coin(), 50
  (none,) = theory.hard_prefix_regrets(*args, 0).values()
  assert none == pytest.approx(1.4772, abs=1e-4)
  found = theory.hard_prefix_regrets(*args, 6)
  assert len(found) == 7  # One for each count of ones.
  best = min(found, key=found.get)
  assert best == (0, 1, 1, 1, 1, 1)
  assert found[best] == pytest.approx(0.5711, abs=1e-4)


def test_no_hard_prefix_helps_on_a_mixture_of_two_coins():
  args = testing.random_coins(), testing.two_coins(), 50
  (none,) = theory.hard_prefix_regrets(*args, 0).values()
  # By symmetry both coins of the mixture cost as much as the single one.
  assert none == pytest.approx(1.4772, abs=1e-4)
  found = theory.hard_prefix_regrets(*args, 6)
  assert min(found.values()) > none
  mirrored = {tuple(sorted(1 - v for v in p)): x for p, x in found.items()}
  assert found == pytest.approx(mirrored, abs=1e-5)


def test_says_nothing_where_it_is_not_cheap():
  dice = testing.task_prior('dirichlet_categorical', concentration=(1,) * 6)
  assert theory.expected_regret(dice, dice, 200) is None
  assert theory.hard_prefix_regrets(dice, dice, 200, 1) is None
