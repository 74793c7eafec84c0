"""What prompts cost exact Bayes: the gap of every prompt, computed once.

A prompt conditions Bayes under a prior, and so chooses one of its posteriors.
The *gap* of a prompt is the KL from Bayes under the target's own prior to Bayes
under the prior with this prompt, in nats over the N tokens of a sequence.
"""

import collections
from collections.abc import Sequence

import numpy as np

from bayes_prompting import checks
from bayes_prompting import errors
from bayes_prompting import types
from bayes_prompting.theory import expectation as expectations

# How many sums, each for other labels, are kept. One takes up to hundreds of
# megabytes.
KEPT = 8


class Gaps:
  """The gaps of all prompts, for one prior, target and length N.

  A prompt is given by its value [D]: the statistic of the prior after it.

  Attributes:
    prior: The prior that a prompt conditions.
    target: Where the sequences come from.
    length: N.
    start: float64 [D], the value before any prompt.
    is_count: bool [D], which entries of a value are counts; the others are
      labels.
    histories: S, the number of histories in the sum without a prompt.
    target_regret: What Bayes of the target loses to the oracle, in nats over N.
    conjugate: float64 [D], where both are Dirichlets with the same statistic:
      the counts that lead from the concentrations of the prior to those of the
      target; negative where these are smaller, NaN where a token occurs in one
      of the two alone. None for other pairs.
  """

  def __init__(
    self, prior: types.TaskPrior, target: types.TaskPrior, length: int
  ):
    """Checks the two priors.

    Raises:
      UserError: If one is no task prior or has no statistic, their
        vocabularies differ, or there are too many histories to sum over.
    """
    expectations.check_pair(prior, target)
    self.length = checks.integer('length', length, 1)
    for name, task_prior in (('prior', prior), ('target', target)):
      if task_prior.statistic is None:
        raise errors.UserError(
          f'{name}: has no sufficient statistic of a fixed, small size, which '
          'exact answers need'
        )
    self.prior, self.target = prior, target
    self.start = np.asarray(prior.statistic.start, np.float64)
    self.is_count = np.asarray(prior.statistic.counts)
    self._kept, self._known = collections.OrderedDict(), {}
    sums = self.expectation(self.start)
    self.conjugate = _conjugate(prior.statistic, target.statistic)
    self.histories = len(sums.values)
    self.target_regret = sums.target_regret()

  def labels(self, values: np.ndarray) -> np.ndarray:
    """Returns values [..., D] with their counts put back to the start."""
    return np.where(self.is_count, self.start, values)

  def expectation(self, value: np.ndarray) -> expectations.Expectation:
    """Returns the sum for the labels of a value [D]; the last few are kept."""
    start = self.labels(value)
    key = tuple(start)
    if key not in self._kept:
      sums = expectations.expectation(
        self.prior, self.target, self.length, start
      )
      if sums is None:
        raise errors.UserError(
          f'length: too many histories to sum over at {self.length}; a shorter '
          'one has fewer'
        )
      self._kept[key] = sums
      if len(self._kept) > KEPT:
        self._kept.popitem(last=False)
    self._kept.move_to_end(key)
    return self._kept[key]

  def added(self, value: np.ndarray) -> np.ndarray:
    """Returns the counts [D] of a value beyond those of the start."""
    return np.where(self.is_count, value - self.start, 0.0)

  def after(self, prefix: Sequence[int]) -> np.ndarray:
    """Returns the value [D] of a hard prefix."""
    return expectations.after(self.prior.statistic, prefix).astype(np.float64)

  def steps(self, value: np.ndarray) -> np.ndarray:
    """Returns the gap at each step [N] for a value [D]."""
    return self.expectation(value).gaps(self.added(value))

  def gap(self, value: np.ndarray) -> float:
    """Returns the gap over all steps, computed once for each value."""
    key = tuple(value)
    if key not in self._known:
      self._known[key] = float(self.steps(value).sum())
    return self._known[key]

  def each(self, values: np.ndarray) -> np.ndarray:
    """Returns the gap [P] of each of several values [P, D].

    Values with the same labels follow each other, so that no sum is made twice.
    """
    gaps = np.empty(len(values))
    for i in np.lexsort(self.labels(values).T):
      gaps[i] = self.gap(values[i])
    return gaps

  def deviation(self, value: np.ndarray) -> float:
    """Returns the largest difference of predictions, see `Expectation`."""
    return self.expectation(value).deviation(self.added(value))


def _conjugate(prior, target):
  """Returns `Gaps.conjugate`."""
  if prior.concentration is None or target.concentration is None:
    return None
  if prior.counts != target.counts or prior.start != target.start:
    return None
  alpha, beta = np.array(prior.concentration), np.array(target.concentration)
  added = np.where((alpha > 0) == (beta > 0), beta - alpha, np.nan)
  # What is left of rounding, as in 0.1 + 0.2 - 0.3.
  return np.where(np.abs(added) <= 1e-12 * beta, 0.0, added)


def rounded(gaps: types.Array) -> np.ndarray:
  """Makes gaps equal that differ only by the order of a sum."""
  return np.round(gaps, 9)
