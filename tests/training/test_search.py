"""The search over all hard prefixes, against theory."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bayes_prompting import keys
from bayes_prompting import predictors
from bayes_prompting import regret
from bayes_prompting.theory import expectation
from bayes_prompting.training import fit
from bayes_prompting.training import search as search_lib
from tests import testing

pytestmark = pytest.mark.keys  # See conftest.py.

# Made anew for every use: no key is used twice.
root_key = functools.partial(jax.random.key, 2)


def search(
  predictor,
  params,
  target,
  length=6,
  repetitions=1,
  prefix_length=2,
  num_draws=512,
  **kwargs,
):
  own = {
    name: kwargs.pop(name)
    for name in ('num_sequences', 'sequence_block')
    if name in kwargs
  }
  problem = fit.Problem(
    predictor,
    testing.tuner('hard_prefix', length=prefix_length),
    target,
    fit.Settings(num_steps=0, batch_size=1, length=length, **own),
  )
  return search_lib.search(
    root_key(), problem, params, repetitions, num_draws=num_draws, **kwargs
  )


class Reports(fit.Recorder):
  def __init__(self):
    self.seen = []

  def report(self, done, losses):
    self.seen.append((done, losses.shape))


def test_best_prefix_of_bayes_for_the_coin_has_one_minority_token():
  bayes = predictors.bayesian(testing.random_coins())
  ranking = search(bayes, {}, testing.single_coin(), length=50, prefix_length=6)
  assert np.asarray(ranking.tunable[0]).sum() == 5
  # All its orders are equal to Bayes; a loss is the expected one within noise.
  tokens = testing.all_sequences(2, 6)
  target = testing.single_coin()
  expected = [
    expectation.expected_losses(testing.random_coins(), target, 50, row).bayes
    for row in ([0, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1], [0, 0, 0, 0, 0, 0])
  ]
  for row, curve in zip((0b011111, 0b111111, 0), expected, strict=True):
    assert (
      abs(ranking.losses[0, row] - curve.sum()) < 0.7
    )  # Noise common to all.
  gap = ranking.losses[0, 0b111111] - ranking.losses[0, 0b011111]
  np.testing.assert_allclose(
    gap, expected[1].sum() - expected[0].sum(), atol=0.1
  )
  for count in range(7):
    same = ranking.losses[0][tokens.sum(-1) == count]
    np.testing.assert_allclose(same, same[0], rtol=1e-5)


def test_a_fixed_sample_is_that_of_fits():
  predictor, params = testing.network('lstm')
  target = testing.single_coin()
  found = search(predictor, params, target, num_draws=50, num_sequences=3)
  numbers = keys.sample(root_key(), 0, jnp.arange(3))
  draws = jnp.stack([target.sample(k, 6).tokens for k in numbers])
  tuner = testing.tuner('hard_prefix', length=2)
  for row, loss in zip(
    tuner.candidates(predictor), found.losses[0], strict=True
  ):
    bound, state = tuner.bind(predictor, params, row)
    log_probs = predictor.predict(bound, state, draws)
    wanted = regret.log_loss(log_probs, draws).mean()
    np.testing.assert_allclose(loss, wanted, rtol=1e-5)


def test_losses_are_means_on_common_draws():
  predictor, params = testing.network('lstm')
  target = testing.single_coin()
  found = search(predictor, params, target, num_draws=50, sequence_block=16)
  draws = search_lib._draw(root_key(), target, 50, 6, jnp.arange(1))[0]
  assert len(np.unique(np.asarray(draws), axis=0)) > 10  # Independent draws.
  tuner = testing.tuner('hard_prefix', length=2)
  for candidate, loss in zip(
    tuner.candidates(predictor), found.losses[0], strict=True
  ):
    bound, state = tuner.bind(predictor, params, candidate)
    log_probs = predictor.predict(bound, state, draws)
    expected = regret.log_loss(log_probs, draws).mean()
    np.testing.assert_allclose(loss, expected, rtol=1e-5)


def test_blocks_make_no_difference():
  predictor, params = testing.network('lstm')
  args = (predictor, params, testing.single_coin())
  whole = search(*args)
  parts = search(*args, candidate_block=3, sequence_block=7)
  np.testing.assert_allclose(whole.losses, parts.losses, rtol=1e-5)


def test_repetitions_draw_on_their_own():
  predictor, params = testing.network('lstm')
  args = (predictor, params, testing.single_coin())
  three = search(*args, repetitions=3)
  alone = search(*args, repetitions=1)
  assert three.losses.shape == (3, 4)
  assert three.tunable.shape == (3, 2)
  np.testing.assert_allclose(three.losses[0], alone.losses[0], rtol=1e-5)
  assert not np.allclose(three.losses[0], three.losses[1])
  best = testing.all_sequences(2, 2)[three.losses.argmin(-1)]
  np.testing.assert_array_equal(three.tunable, best)


def test_an_impossible_prefix_ranks_last():
  prior = testing.task_prior(
    'categorical_mixture',
    weights=(0.5, 0.5),
    probabilities=((0.5, 0.5, 0.0), (0.4, 0.6, 0.0)),
  )
  target = testing.task_prior('categorical', probabilities=(0.5, 0.5, 0.0))
  found = search(predictors.bayesian(prior), {}, target)
  impossible = (testing.all_sequences(3, 2) == 2).any(-1)
  assert np.isposinf(found.losses[0, impossible]).all()
  assert np.isfinite(found.losses[0, ~impossible]).all()


def test_what_gives_nan_ranks_last():
  predictor, params = testing.network('lstm')
  tuner = testing.tuner('hard_prefix', length=2)
  outputs = [
    tuner.bind(predictor, params, candidate)[1]['output'][0]
    for candidate in tuner.candidates(predictor)
  ]
  middle = jnp.median(jnp.stack(outputs))

  def read(context, tokens):
    broken = context['output'][0] > middle
    return jnp.where(broken, jnp.nan, predictor.read(context, tokens))

  broken = dataclasses.replace(predictor, read=read)
  found = search(broken, params, testing.single_coin())
  assert np.isnan(found.losses).any() and not np.isnan(found.losses).all()
  best = testing.all_sequences(2, 2).tolist().index(found.tunable[0].tolist())
  assert found.losses[0, best] == np.nanmin(found.losses[0])


def test_reports_progress():
  predictor, params = testing.network('linear')
  recorder = Reports()
  search(
    predictor,
    params,
    testing.single_coin(),
    candidate_block=3,
    recorder=recorder,
  )
  assert recorder.seen == [(3, (3, 1)), (4, (1, 1))]
