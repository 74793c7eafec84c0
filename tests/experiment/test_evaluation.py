"""Evaluation of predictors, against enumeration and theory."""

import functools
import types as python_types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from bayes_prompting import keys
from bayes_prompting import predictors
from bayes_prompting import regret
from bayes_prompting.experiment import evaluation
from bayes_prompting.theory import expectation
from tests import testing

pytestmark = pytest.mark.keys  # See conftest.py.

# Made anew for every use: no key is used twice.
root_key = functools.partial(jax.random.key, 7)
STEPS = (3, 8)
REFERENCE, ESTIMATOR = regret.REFERENCES.index, regret.ESTIMATORS.index


def task(prior, num=400, length=8):
  return evaluation.make_task(root_key(), prior, num, length)


def judge_bayes(prior, of, num=400, length=8):
  predictor = predictors.bayesian(prior)
  return evaluation.evaluate(
    predictor, {}, testing.tuner('none'), {}, task(of, num, length), STEPS
  )


@pytest.mark.parametrize(
  'target', [testing.single_coin, testing.two_coins, testing.random_coins]
)
def test_every_estimator_agrees_with_theory(target):
  prior, target = testing.random_coins(), target()
  found = judge_bayes(prior, target, num=4000)
  expected = expectation.expected_regret(prior, target, 8)
  for estimator in range(3):
    mean = found.cumulative[0, REFERENCE('oracle'), estimator]
    sem = found.cumulative_sem[0, REFERENCE('oracle'), estimator]
    assert np.all(np.abs(mean - expected.cumsum()) <= 4 * sem + 1e-5)
  own = expectation.expected_regret(target, target, 8)
  for estimator in range(3):
    mean = found.cumulative[0, REFERENCE('bayes'), estimator]
    sem = found.cumulative_sem[0, REFERENCE('bayes'), estimator]
    wanted = (expected - own).cumsum()
    assert np.all(np.abs(mean - wanted) <= 4 * sem + 1e-5)


def test_bayes_is_paired_with_itself_without_noise():
  prior = testing.random_coins()
  found = judge_bayes(prior, prior)
  paired = found.cumulative[0, REFERENCE('oracle'), ESTIMATOR('paired')]
  expected = expectation.expected_regret(prior, prior, 8).cumsum()
  np.testing.assert_allclose(paired, expected, atol=1e-5)
  sem = found.cumulative_sem[0, REFERENCE('oracle'), ESTIMATOR('paired')]
  np.testing.assert_allclose(sem, 0, atol=1e-6)
  assert not np.any(found.cumulative[0, REFERENCE('bayes')])


def test_without_a_closed_form_the_pair_is_sampled(monkeypatch):
  monkeypatch.setattr(expectation, 'expected_regret', lambda *args: None)
  prior = testing.random_coins()
  found = judge_bayes(prior, prior)
  oracle = found.cumulative[0, REFERENCE('oracle')]
  np.testing.assert_allclose(
    oracle[ESTIMATOR('paired')], oracle[ESTIMATOR('sampled')], atol=1e-5
  )


def test_summaries_are_those_of_the_sequences():
  found = judge_bayes(testing.random_coins(), testing.single_coin(), num=50)
  cumulative = np.cumsum(found.instantaneous, axis=-1)
  np.testing.assert_allclose(found.cumulative, cumulative, atol=1e-4)
  for i, step in enumerate(STEPS):
    sequences = np.asarray(found.sequences[..., i, :])
    assert sequences.shape == (1, 2, 3, 50)
    np.testing.assert_allclose(
      sequences.mean(-1), found.cumulative[..., step - 1], atol=1e-4
    )
    np.testing.assert_allclose(
      stats.sem(sequences, axis=-1),
      found.cumulative_sem[..., step - 1],
      rtol=1e-3,
      atol=1e-6,
    )


@pytest.mark.parametrize(
  ('torso', 'tuner', 'kwargs'),
  [
    ('lstm', 'prefix', {'length': 2}),
    # Each repetition has weights of its own.
    ('linear', 'weights', {'start': 'random'}),
  ],
)
def test_every_repetition_is_judged_and_blocks_make_no_difference(
  torso, tuner, kwargs
):
  predictor, params = testing.network(torso)
  tuner = testing.tuner(tuner, **kwargs)
  tunables = jax.vmap(lambda k: tuner.init(k, predictor, params))(
    jax.random.split(root_key(), 3)
  )
  common = task(testing.single_coin(), num=10)
  args = (predictor, params, tuner)
  together = evaluation.evaluate(*args, tunables, common, STEPS)
  assert together.cumulative.shape == (3, 2, 3, 8)
  for r in range(3):
    alone = evaluation.evaluate(
      *args,
      jax.tree.map(lambda x, r=r: x[r : r + 1], tunables),
      common,
      STEPS,
      block=3,
    )
    np.testing.assert_allclose(
      together.cumulative[r], alone.cumulative[0], atol=1e-4
    )
    log_probs = predictor.predict(
      *tuner.bind(
        predictor, params, jax.tree.map(lambda x, r=r: x[r], tunables)
      ),
      common.tokens,
    )
    loss = regret.log_loss(log_probs, common.tokens)
    oracle = regret.log_loss(common.oracle_log_probs, common.tokens)
    np.testing.assert_allclose(
      together.sequences[r, 0, 0, -1], loss - oracle, atol=1e-4
    )


def test_the_oracle_has_no_regret():
  common = task(testing.random_coins())
  found = evaluation.evaluate_oracle(common, STEPS)
  assert found.cumulative.shape == (1, 2, 3, 8)
  assert not np.any(found.cumulative[0, REFERENCE('oracle')])
  assert np.all(found.cumulative[0, REFERENCE('bayes'), 1:, -1] < 0)


def test_tasks_of_another_name_draw_on_their_own():
  prior = testing.random_coins()
  draws = [
    evaluation.make_task(
      keys.stream(root_key(), 'evaluation', name), prior, 20, 8
    ).tokens
    for name in ('one', 'other', 'one')
  ]
  np.testing.assert_array_equal(draws[0], draws[2])
  assert not np.array_equal(draws[0], draws[1])


def test_a_run_draws_each_task_by_a_key_of_its_own(monkeypatch):
  drawn = []
  monkeypatch.setattr(
    evaluation, 'make_task', lambda key, *args: drawn.append((key, *args))
  )
  lab = python_types.SimpleNamespace(
    config={'evaluation': {'num_sequences': 3, 'length': 4}},
    root=root_key(),
    priors={'one': 'a', 'other': 'b'},
    row_mesh=lambda: None,
  )
  for name in ('one', 'other'):
    evaluation.task_of(lab, name)
  one, other = drawn
  assert one[1:] == ('a', 3, 4, None) and other[1:] == ('b', 3, 4, None)
  for key, name in ((one[0], 'one'), (other[0], 'other')):
    wanted = keys.stream(root_key(), 'evaluation', name)
    np.testing.assert_array_equal(*map(jax.random.key_data, (key, wanted)))


def test_infinite_regret_is_shown_as_such():
  prior = testing.task_prior('categorical', probabilities=(0.0, 1.0))
  found = judge_bayes(prior, testing.single_coin(), num=50)
  cumulative = np.asarray(found.cumulative)
  assert np.isposinf(cumulative[..., -1]).all()
  assert not np.isnan(cumulative).any()
  assert jnp.isposinf(found.sequences[0, 0, 1]).all()


def test_tiny_concentrations_give_no_nan():
  # Sources whose rarer token has a log probability of hundreds of nats.
  prior = testing.task_prior(
    'dirichlet_categorical', concentration=(0.01, 0.01)
  )
  found = judge_bayes(prior, prior, num=2000)
  for leaf in jax.tree.leaves(found):
    assert np.isfinite(leaf).all()
