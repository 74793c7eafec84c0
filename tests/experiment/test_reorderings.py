"""How far expectations depend on order, of predictors whose answer is known."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bayes_prompting import predictors
from bayes_prompting.experiment import reorderings
from tests import testing

pytestmark = pytest.mark.keys  # See conftest.py.


def last_token_repeater(share):
  """Returns a predictor that expects the last token, of such a probability."""

  def read(context, tokens):
    del context
    before = jnp.pad(tokens[:, :-1], ((0, 0), (1, 0)))
    likely = jax.nn.one_hot(before, 2, dtype=jnp.float32)
    return jnp.log(share * likely + (1 - share) * (1 - likely))

  exact = predictors.bayesian(testing.random_coins())
  return dataclasses.replace(exact, read=read)


def test_exact_bayes_of_coins_goes_by_counts_alone():
  coins = predictors.bayesian(testing.random_coins())
  histories = np.random.default_rng(0).integers(0, 2, (5, 9), np.int32)
  found = reorderings.spread(
    coins, {}, coins.start({}), histories, jax.random.key(0)
  )
  np.testing.assert_allclose(found, 0.0, atol=1e-6)


def test_what_repeats_the_last_token_goes_by_order():
  share = 0.9
  predictor = last_token_repeater(share)
  # Half of each history: over all orders the last token is either, evenly.
  histories = np.array([[0, 0, 1, 1], [0, 0, 0, 0]], np.int32)
  found = reorderings.spread(
    predictor, {}, predictor.start({}), histories, jax.random.key(0), 2000
  )
  half = np.log(2) + share * np.log(share) + (1 - share) * np.log(1 - share)
  np.testing.assert_allclose(found, [half, 0.0], atol=2e-3)


def test_a_chain_s_bayes_against_all_orders():
  chain = predictors.bayesian(
    testing.task_prior('dirichlet_markov', order=1, concentration=(1.0, 1.0))
  )
  history = np.array([[0, 1, 1, 0, 1]], np.int32)
  log_probs = np.stack(
    [
      predictors.next_token(chain, {}, chain.start({}), np.array(x, np.int32))
      for x in itertools.permutations(history[0])
    ]
  ).astype(np.float64)
  average = np.log(np.exp(log_probs).mean(0))
  expected = (np.exp(log_probs) * (log_probs - average)).sum(-1).mean()
  found = reorderings.spread(
    chain, {}, chain.start({}), history, jax.random.key(1), 4000
  )
  assert expected > 0.005
  np.testing.assert_allclose(found[0], expected, rtol=0.1)


def test_runs_are_those_of_one_after_the_other():
  coins = predictors.bayesian(testing.random_coins())
  tuner = testing.tuner('prefix', form='simplex', length=2)
  histories = np.random.default_rng(0).integers(0, 2, (3, 5), np.int32)
  tunables = np.random.default_rng(1).normal(size=(2, 2, 2)).astype(np.float32)
  chain = predictors.bayesian(
    testing.task_prior('dirichlet_markov', order=1, concentration=(1.0, 1.0))
  )
  none = testing.tuner('none')
  of_coins = reorderings.of_runs(
    coins, tuner.bind, {}, tunables, histories, jax.random.key(0)
  )
  assert of_coins.shape == (2, 3)
  np.testing.assert_allclose(of_coins, 0.0, atol=1e-6)
  untuned = reorderings.of_runs(
    chain, none.bind, {}, {}, histories, jax.random.key(0)
  )
  alone = reorderings.spread(
    chain, {}, chain.start({}), histories, jax.random.key(0)
  )
  np.testing.assert_allclose(untuned, alone[None], atol=1e-7)
  assert untuned.max() > 1e-3
