"""The best pseudo-counts for exact Bayes, which tokens alone need not reach.

The *posterior family* of a prior holds its posteriors after any real numbers of
tokens: Beta(1, 1) has Beta(1.25, 1.25), for example. As long as the predictor
stays Bayesian, no prompt reaches anything else, not even a soft one.
"""

from typing import NamedTuple

import numpy as np
from scipy import optimize

from bayes_prompting.theory import gaps as prompt_gaps
from bayes_prompting.theory import hard_prefixes

# The largest pseudo-count. A predictor with such counts is within 1e-9 nats,
# over 50 tokens, of one that learns nothing.
MAX_COUNT = 1e6
# The most histories, and entries of a value, with which there is a search: it
# takes hundreds of sums over them.
_MAX_HISTORIES, _MAX_ENTRIES = 200_000, 12
# A search descends from so many of the best starts, and from the best start
# with each of so many labels.
_SEARCHES, _LABEL_SEARCHES = 4, 8
# Further starts have these totals, in the proportions that the target shows.
_TOTALS = (0.3, 3.0, 30.0, 300.0)
# Nats. A smaller gap is not improved upon.
_NOTHING = 1e-8


class Pseudo(NamedTuple):
  """The best of the posterior family.

  Attributes:
    counts: float64 [D], what is added to the counts of the prior's statistic;
      zero where the statistic has labels.
    is_count: bool [D], where the statistic has counts.
    value: float64 [D], the statistic with these counts, and with the labels of
      some prefix.
    gap: What Bayes then loses to Bayes of the target, in nats over N tokens.
    at_bound: Whether a count is at `MAX_COUNT`, so that the best is a limit.
  """

  counts: np.ndarray
  is_count: np.ndarray
  value: np.ndarray
  gap: float
  at_bound: bool


def best(
  gaps: prompt_gaps.Gaps, max_prefix_length: int | None = None
) -> Pseudo | None:
  """Searches the posterior family for the posterior that loses the least.

  Args:
    gaps: The gaps for a prior, a target and a length.
    max_prefix_length: The longest prefixes whose labels are searched; by
      default as in `hard_prefixes.gap_curve`. The values of these prefixes are
      starts of the search, too.

  Returns:
    The best of several searches; of equal ones that with the smallest counts.
    None where there is no search. That is if no entry is a count, as in a union
    whose components count apart, or if there are too many histories or entries.
  """
  entries = gaps.is_count.sum()
  if not entries or entries > _MAX_ENTRIES or gaps.histories > _MAX_HISTORIES:
    return None
  starts = _starts(gaps, max_prefix_length)
  gaps.each(np.array(starts))  # Every gap is known from here on.
  starts = [start for start in starts if np.isfinite(gaps.gap(start))]

  def rank(value):
    return prompt_gaps.rounded(gaps.gap(value)), gaps.added(value).sum()

  ends = []
  for start in _choose(gaps, sorted(starts, key=rank)) or [gaps.start]:
    ends.append(_descend(gaps, start))
    if gaps.gap(ends[-1]) <= _NOTHING:
      break
  value = min(ends, key=rank)
  at_bound = bool(gaps.added(value).max() > 0.999 * MAX_COUNT)
  if gaps.gap(value) <= _NOTHING and not at_bound:
    # All its digits are needed to say whether it is exact.
    value = _descend(gaps, value, jac='3-point', ftol=0.0, maxiter=20)
  counts = gaps.added(value)
  return Pseudo(counts, gaps.is_count, value, gaps.gap(value), at_bound)


def _starts(gaps, max_prefix_length):
  """Returns values of prefixes, and values in the target's proportions."""
  if max_prefix_length is None:
    max_prefix_length = hard_prefixes.LONGEST
  prefixes = hard_prefixes.scorable(gaps, max_prefix_length, required=False)
  values = np.concatenate([candidates.values for candidates in prefixes])
  values = values.astype(np.float64)
  starts = [*values]
  for labels in np.unique(gaps.labels(values), axis=0):
    sums = gaps.expectation(labels)
    weight = sums.joint.sum(-1)
    shown = gaps.added(weight @ sums.values / weight.sum())
    if shown.sum() > 0:
      divisors = [shown.sum() / total for total in _TOTALS]
      divisors.append(shown.max() / MAX_COUNT)
      starts += [labels + shown / divisor for divisor in divisors]
  return starts


def _choose(gaps, starts):
  """Returns the first few starts, and the first with each label."""
  by_label = {}
  for i, start in enumerate(starts):
    by_label.setdefault(tuple(start[~gaps.is_count]), i)
  chosen = {*range(_SEARCHES), *list(by_label.values())[:_LABEL_SEARCHES]}
  return [start for i, start in enumerate(starts) if i in chosen]


def _descend(gaps, start, jac='2-point', ftol=1e-15, maxiter=200):
  """Returns a local minimum near a value [D], with the labels of that value.

  Gradients are finite differences, since the exact gradient of a predictive in
  which something is impossible is NaN. The search steps in log(1 + count), so
  that large counts are as near as small ones, and zero can be reached.
  """
  free = gaps.is_count.copy()
  zero = free & (start == gaps.start)
  for entry in np.flatnonzero(zero):
    # If the least count already rules out sources, this count stays at zero.
    least = start + 1e-12 * (np.arange(len(start)) == entry)
    free[entry] = abs(gaps.gap(least) - gaps.gap(start)) < 1e-6
  if not free.any() or gaps.gap(start) <= 1e-20:
    return start

  def value(x):
    moved = start.copy()
    moved[free] = gaps.start[free] + np.expm1(x)
    return moved

  def lost(x):
    return np.nan_to_num(gaps.steps(value(x)).sum(), posinf=1e9)

  most = np.log1p(MAX_COUNT)
  bounds = [(0.0 if at_zero else 1e-9, most) for at_zero in zero[free]]
  minimum = optimize.minimize(
    lost,
    np.log1p(gaps.added(start)[free]),
    method='L-BFGS-B',
    jac=jac,
    bounds=bounds,
    options={'ftol': ftol, 'gtol': 1e-14, 'maxiter': maxiter},
  )
  end = value(minimum.x)
  # A count that is nearly zero may have to be zero.
  none = np.where(gaps.is_count & (gaps.added(end) < 1e-6), gaps.start, end)
  return min(start, end, none, key=gaps.gap)
