"""What a fit is told: its streams, its runs and their starts, in order."""

import types

import jax
import numpy as np
import pytest

from bayes_prompting import keys
from bayes_prompting import trees
from bayes_prompting.experiment import build
from bayes_prompting.experiment import tuning
from bayes_prompting.training import fit
from tests.experiment import test_run

RATES, INITS, REPETITIONS = (0.3, 0.1, 0.2), ('normal', 'zeros'), 4


def lab_of(**overrides):
  return build.build(
    test_run.tiny(
      **{
        'tuning.methods': ('SoftPT', 'HardPT'),
        'tuning.num_repetitions': REPETITIONS,
        'tuning.learning_rate': RATES,
        'tuning.prefix_init': INITS,
        **overrides,
      }
    )
  )


def same(key, wanted):
  return np.array_equal(*map(jax.random.key_data, (key, wanted)))


@pytest.fixture
def told(monkeypatch):
  """Calls of `fit.fit`, which does nothing; a start is what it was told."""
  calls = []

  def fitted(key, problem, params, runs, state=None, **kwargs):
    calls.append((key, problem, runs, state))
    tunable = {x: np.asarray(y)[None] for x, y in trees.by_path(params).items()}
    return types.SimpleNamespace(tunable=tunable, validation=None), np.zeros(
      (0, 1)
    )

  monkeypatch.setattr(fit, 'start', lambda *args: args)
  monkeypatch.setattr(fit, 'concatenate', list)
  monkeypatch.setattr(fit, 'fit', fitted)
  return calls


@pytest.mark.parametrize('seed', [0, 3])
def test_a_grid_is_fitted_rate_by_rate_start_by_start(told, seed):
  lab = lab_of()
  method = lab.methods['SoftPT']
  tuning.tune(lab, method, seed, {})
  ((key, problem, runs, starts),) = told
  wanted = keys.stream(lab.root, 'tuning', seed)
  assert same(key, wanted)
  assert problem.task_prior is lab.priors['single_coin']
  shape = len(RATES), len(INITS), REPETITIONS
  rates = np.asarray(runs.learning_rates).reshape(shape)
  repetitions = np.asarray(runs.repetitions).reshape(shape)
  assert (rates == np.float32(RATES)[:, None, None]).all()
  assert (repetitions == np.arange(REPETITIONS)).all()
  # At every rate the same starts, from the streams of the fit.
  assert [x[1].tuner for x in starts] == [*method.tuners] * len(RATES)
  for start_key, *_, indices in starts:
    assert same(start_key, wanted) and [*indices] == [*range(REPETITIONS)]


@pytest.mark.parametrize('seed', [0, 3])
def test_a_network_is_the_repetition_of_its_seed(told, seed):
  lab = lab_of(**{'pretraining.learning_rate': 0.25})
  network = tuning.meta_train(lab, seed)
  ((key, problem, runs, state),) = told
  assert same(key, keys.stream(lab.root, 'pretraining')) and state is None
  assert problem.task_prior is lab.priors['random_coins']
  assert np.asarray(runs.repetitions).tolist() == [seed]
  assert np.asarray(runs.learning_rates).tolist() == [0.25]
  shapes = jax.tree.map(np.shape, build.network_shapes(lab))
  assert jax.tree.map(np.shape, network['params']) == shapes
