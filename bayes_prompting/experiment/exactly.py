"""What exact Bayes loses: closed sums in place of means over sequences.

A mean over sampled sequences has noise. Of exact Bayes none of it is needed
wherever its prior and the evaluated task have a statistic of a fixed size, see
`theory.expectation`. What has no closed sum, or one that costs too much, stays
sampled.

Networks have no part in this: their numbers do not depend on this module, and
so its version is none of theirs (`fingerprint.numerics`). The paired regret of
a network already has the closed sum of Bayes in it (`evaluation.make_task`).
"""

import functools
from typing import Any

import jax
import numpy as np
import xarray as xr

from bayes_prompting import predictors
from bayes_prompting import regret
from bayes_prompting import results
from bayes_prompting import types
from bayes_prompting.experiment import build
from bayes_prompting.experiment import evaluation
from bayes_prompting.theory import expectation

# Raise it when numbers change: results depend on it.
NUMERICS = 1

# The most values of a statistic that are summed over for one method on one
# task, each prompt with its own sum: about two seconds of one core.
_MOST_VALUES = 3_000_000


def put(
  dataset: xr.Dataset,
  lab: build.Lab,
  tuned: dict[tuple[str, int], dict[str, Any]],
) -> None:
  """Puts the closed sums there are into results, marked as exact.

  What the oracle loses to itself, and Bayes to Bayes, is zero for any task.

  Args:
    dataset: What `evaluation.judge` returns; it is changed.
    lab: What was done.
    tuned: What `run.tune` returns.
  """
  length = lab.config['evaluation']['length']
  for task in lab.config['evaluation']['tasks']:
    if task in lab.universal:
      continue  # Nothing is known of what it was drawn from.
    sums, bayes = (
      Sums(lab.priors[task], length),
      evaluation.reference(lab, task),
    )
    known = {
      ('Oracle', 'oracle'): np.zeros(length),
      (bayes, 'bayes'): np.zeros(length),
    }
    if sums.own is not None:
      known['Oracle', 'bayes'], known[bayes, 'oracle'] = -sums.own, sums.own
    for method in lab.methods.values():
      for seed in method.seeds if method.is_bayes else ():
        tunable = tuned[method.name, seed]['tunable']
        regrets = sums.of_runs(method.prior, method.tuner, tunable)
        if regrets is not None:
          regrets = regrets.reshape(*method.shape, *regrets.shape[1:])
          for i, reference in enumerate(regret.REFERENCES):
            known[method.name, reference] = regrets[..., i, :]
    for (tuner, reference), regrets in known.items():
      results.put_exact(dataset, tuner, task, reference, regrets)


class Sums:
  """The closed sums of one task, whose histories are listed once.

  Attributes:
    own: float64 [N], what Bayes of the task loses to its oracle, in nats a
      step; None where it has no closed sum, and nothing has one.
  """

  def __init__(self, target: types.TaskPrior, length: int):
    """Sums up what Bayes of the task itself loses.

    Args:
      target: The task that is evaluated.
      length: N.
    """
    self._target, self._length, self._histories = target, length, {}
    own = expectation.expected_regret(target, target, length)
    self.own = None if own is None else np.maximum(own, 0.0)

  def of_runs(
    self, prior: types.TaskPrior, tuner: types.Tuner, tunable: types.Tunable
  ) -> np.ndarray | None:
    """Returns what each run of exact Bayes loses, in nats a step.

    Args:
      prior: Whose exact Bayesian predictor it is.
      tuner: What adapts it.
      tunable: Leading axis [R], its runs.

    Returns:
      float64 [R, 2, N], against the oracle and against Bayes of the task; None
      where a run has no closed sum, or all of them cost too much.
    """
    if self.own is None or prior.statistic is None:
      return None
    values = _values(prior, tuner, tunable)
    return None if values is None else self.of_values(prior, values)

  def of_values(
    self, prior: types.TaskPrior, values: np.ndarray
  ) -> np.ndarray | None:
    """Returns the same of a prior, for values [R, D] of its statistic."""
    is_count = np.asarray(prior.statistic.counts)
    starts = np.where(is_count, prior.statistic.start, values)
    if (
      not np.all(np.isfinite(values))
      or np.any(starts != np.round(starts))
      or np.any(values < starts)
    ):
      return None  # A prompt of any numbers may leave what no tokens leave.
    distinct, first, run = np.unique(
      values, axis=0, return_index=True, return_inverse=True
    )
    gaps, total = [], 0
    for value, start in zip(distinct, starts[first], strict=True):
      histories = self._of_start(prior, start)
      if histories is None:
        return None
      total += len(histories.values)
      if total > _MOST_VALUES:
        return None
      gaps.append(histories.gaps(value - start))
    gaps = np.stack(gaps)[run.ravel()]
    return np.stack([self.own + gaps, gaps], axis=1)

  def _of_start(self, prior, start):
    """Returns all histories, for labels and counts that a prior starts from."""
    key = prior, start.tobytes()
    if key not in self._histories:
      self._histories[key] = expectation.expectation(
        prior, self._target, self._length, start
      )
    return self._histories[key]


def _values(prior, tuner, tunable):
  """Returns the values [R, D] of a statistic that runs start from, or None."""
  predictor, statistic = predictors.bayesian(prior), prior.statistic
  if tuner.rows is not None:
    rows = np.asarray(_rows(predictor, tuner.rows, tunable))
    if np.all((rows == 0) | (rows == 1)) and np.all(rows.sum(-1) == 1):
      tokens = rows.argmax(-1).tolist()
      return np.stack([expectation.after(statistic, x) for x in tokens])
  states, untuned = _states(predictor, tuner.bind, tunable)
  same = [
    np.array_equal(state, np.broadcast_to(start, np.shape(state)))
    for state, start in zip(
      *map(jax.tree.leaves, (states, untuned)), strict=True
    )
  ]
  if all(same):
    (runs, *_) = {len(x) for x in jax.tree.leaves(states)}
    return np.tile(np.asarray(statistic.start), (runs, 1))
  return np.asarray(states, np.float64) if _is_state(prior) else None


@functools.partial(jax.jit, static_argnames=('predictor', 'rows'))
def _rows(predictor, rows, tunables):
  """Returns the prefix [R, K, V] of every run."""
  return _each(lambda x: rows(predictor, {}, x), tunables)


@functools.partial(jax.jit, static_argnames=('predictor', 'bind'))
def _states(predictor, bind, tunables):
  """Returns the state of every run, [R, ...], and that after no prefix."""
  states = _each(lambda x: bind(predictor, {}, x)[1], tunables)
  return states, predictor.start({})


def _each(function, tunables):
  """Maps over the runs; an empty tunable is that of a single run."""
  if jax.tree.leaves(tunables):
    return jax.vmap(function)(tunables)
  return jax.tree.map(lambda x: x[None], function(tunables))


@functools.lru_cache(maxsize=64)
def _is_state(prior):
  """Returns whether the value of a prior's statistic is its state.

  Then soft prompts, which show it what is no token, have closed sums too.
  """
  every = np.eye(prior.vocab_size, dtype=np.float32)
  state = jax.jit(prior.prefill)(every)
  value = expectation.after(prior.statistic, range(prior.vocab_size))
  return isinstance(state, jax.Array) and np.array_equal(state, value)
