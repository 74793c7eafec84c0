"""Early stopping: what did best is kept, and nothing else depends on it."""

import dataclasses
import functools

import jax
import numpy as np
import pytest

from bayes_prompting import regret
from bayes_prompting.results import stopped
from bayes_prompting.training import fit as fit_lib
from bayes_prompting.training import validation
from tests import testing

root_key = functools.partial(jax.random.key, 5)
# Two sequences to learn from: soon they are learnt by heart.
PLAIN = fit_lib.Settings(
  num_steps=30, batch_size=2, length=3, num_sequences=2, chunk_size=5
)
SETTINGS = dataclasses.replace(
  PLAIN, patience=2, validate_every=4, num_validation=16
)
TUNER = testing.tuner('weights', patterns=('unembedding',))


class Keeps(fit_lib.Recorder):
  """Keeps the state after some steps, and gives it back; counts validations."""

  def __init__(self, step=None, kept=None):
    self.step, self.kept, self.heard = step, kept, []
    self.every = 3  # Chunks that do not fit between validations.

  def restore(self, template):
    if self.kept is None:
      return None
    step, tree = self.kept
    shapes = jax.tree.map(lambda x: (np.shape(x), x.dtype), tree)
    expected = jax.tree.map(lambda x: (x.shape, x.dtype), template(step))
    assert shapes == expected
    return step, tree

  def due(self, done):
    return done == self.step

  def keep(self, done, tree):
    self.kept = done, jax.tree.map(np.array, tree)

  def validated(self, done, losses, ended):
    self.heard.append((done, losses.tolist(), ended.tolist()))


def fit(repetitions=2, settings=SETTINGS, rates=0.3, **kwargs):
  predictor, params = testing.network('linear')
  problem = fit_lib.Problem(predictor, TUNER, testing.single_coin(), settings)
  runs = fit_lib.runs(repetitions, rates)
  return fit_lib.fit(root_key(), problem, params, runs, **kwargs)


@pytest.fixture(scope='module')
def whole():
  recorder = Keeps()
  return *fit(recorder=recorder), recorder


def same(one, other):
  jax.tree.map(np.testing.assert_array_equal, one, other)


def test_the_best_by_validation_is_kept(whole):
  state, losses, recorder = whole
  found = state.validation
  predictor, params = testing.network('linear')
  tokens = validation.draw(root_key(), testing.single_coin(), 16, 3)
  for run, best in enumerate(found.best_step.tolist()):
    # Just as many updates, without validation, give the same tunable.
    plain, _ = fit(settings=PLAIN, stop=best)
    for kept, one in zip(
      jax.tree.leaves(state.tunable),
      jax.tree.leaves(plain.tunable),
      strict=True,
    ):
      np.testing.assert_array_equal(kept[run], one[run])
    tunable = jax.tree.map(lambda x, r=run: x[r], state.tunable)
    bound, start = TUNER.bind(predictor, params, tunable)
    loss = regret.log_loss(predictor.predict(bound, start, tokens), tokens)
    least = np.nanmin(found.losses[:, run])
    np.testing.assert_allclose(loss.mean(), least, rtol=1e-5)
    # It ends two validations later.
    assert found.ended[run] == best + 8 < SETTINGS.num_steps
    assert np.isfinite(losses[: found.ended[run], run]).all()
    assert (losses[found.ended[run] :, run] == validation.ENDED).all()
  assert stopped.ENDED == validation.ENDED
  assert np.isnan(stopped.stopped_step(losses.T)).all()  # None went wrong.
  heard = np.array([row for _, row, _ in recorder.heard])
  np.testing.assert_array_equal(heard, found.losses)
  assert [step for step, *_ in recorder.heard] == [
    *range(0, 4 * len(found.losses), 4)
  ]


@pytest.mark.parametrize('step', [3, 8])
def test_stopped_and_resumed_is_uninterrupted_bit_for_bit(whole, step):
  recorder = Keeps(step=step)
  fit(stop=step, recorder=recorder)
  again = Keeps(kept=recorder.kept)
  state, losses = fit(recorder=again)
  same((state.tunable, state.validation, losses), (*_of(whole), whole[1]))
  assert again.heard == whole[2].heard


def _of(whole):
  return whole[0].tunable, whole[0].validation


def test_a_run_does_not_depend_on_others(whole):
  state, losses = fit(repetitions=[1, 0], rates=[0.3, 0.001])
  np.testing.assert_array_equal(losses[:, 0], whole[1][:, 1])
  for mine, other in zip(*map(_leaves, (state, whole[0])), strict=True):
    np.testing.assert_array_equal(mine[0], other[1])
  # One that still improves goes on to the end.
  assert state.validation.ended[1] == 0
  assert np.isfinite(losses[:, 1]).all()


def _leaves(state):
  found = state.validation
  return *jax.tree.leaves(found.best), found.best_step, found.ended


def test_steps_of_validation():
  assert validation.steps(10, 4) == (0, 4, 8, 10)
  assert validation.steps(8, 4) == (0, 4, 8)
  assert validation.steps(3, 50) == (0, 3)


def test_held_out_windows_come_once():
  words = tuple((n, n, n) for n in range(30))
  prior = testing.task_prior('sequences', tokens=words)
  tokens = validation.draw(root_key(), prior, 100, 3)
  assert len(tokens) == prior.recorded.count('validation', 3) == 3
  assert len(np.unique(np.asarray(tokens))) == 3
