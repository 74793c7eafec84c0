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

# The largest pseudo-count, in units of the prior's own. A predictor with such
# counts is within 1e-9 nats, over 50 tokens, of one that learns nothing.
MAX_COUNT = 1e6
# If the gap still falls there, the search goes on with so many times the
# counts, but not beyond the last number, where evidences lose their digits.
_FURTHER, _LARGEST = 1e3, 1e12
# How much of the gap may fall by tenfold counts, as a share, if it does not.
_FLAT = 1e-2
# The cosine between what is left and what a step could change, where a search
# has converged.
_ORTHOGONAL = 1e-2
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
    bound: The largest count that was tried.
    at_bound: Whether a count is at this bound, so that the best is a limit.
    converged: Whether no step to first order makes the gap smaller. If a count
      is at the bound, tenfold counts do not, either.
  """

  counts: np.ndarray
  is_count: np.ndarray
  value: np.ndarray
  gap: float
  bound: float
  at_bound: bool
  converged: bool


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
  if is_conjugate(gaps):
    value = gaps.start + gaps.conjugate
    gap, most = gaps.gap(value), gaps.conjugate.max()
    return Pseudo(gaps.conjugate, gaps.is_count, value, gap, most, False, True)
  entries = gaps.is_count.sum()
  if not entries or entries > _MAX_ENTRIES or gaps.histories > _MAX_HISTORIES:
    return None
  bound = MAX_COUNT * max(1.0, sum(gaps.prior.statistic.concentration or ()))
  starts = _starts(gaps, max_prefix_length, bound)
  gaps.each(np.array(starts))  # Every gap is known from here on.
  starts = [start for start in starts if np.isfinite(gaps.gap(start))]

  def rank(value):
    return prompt_gaps.rounded(gaps.gap(value)), gaps.added(value).sum()

  ends = []
  for start in _choose(gaps, sorted(starts, key=rank)) or [gaps.start]:
    ends.append(_descend(gaps, start, bound))
    if gaps.gap(ends[-1]) <= _NOTHING:
      break
  value, converged = min(ends, key=rank), True
  # At the bound nothing is left to gain.
  if not (_is_at(gaps, value, bound) and gaps.gap(value) <= _NOTHING):
    value, converged = _polish(gaps, value, bound)
  while (
    bound < _LARGEST
    and gaps.gap(value) > _NOTHING
    and _is_at(gaps, value, bound)
    and _falls(gaps, value)
  ):
    bound *= _FURTHER
    more = gaps.labels(value) + np.minimum(_FURTHER * gaps.added(value), bound)
    more = np.where(gaps.is_count, more, value)
    value, converged = _polish(gaps, min(value, more, key=gaps.gap), bound)
  at_bound = _is_at(gaps, value, bound)
  if gaps.gap(value) <= _NOTHING and not at_bound:
    # All its digits are needed to say whether it is exact.
    value = _descend(gaps, value, bound, jac='3-point', ftol=0.0, maxiter=20)
  converged &= not (at_bound and _falls(gaps, value))
  counts, gap = gaps.added(value), gaps.gap(value)
  return Pseudo(
    counts, gaps.is_count, value, gap, bound, at_bound, bool(converged)
  )


def is_conjugate(gaps: prompt_gaps.Gaps) -> bool:
  """Returns whether counts lead to the target's concentrations."""
  return gaps.conjugate is not None and bool(np.all(gaps.conjugate >= 0))


def _is_at(gaps, value, bound):
  return bool(gaps.added(value).max() > 0.999 * bound)


def with_fewer(gaps: prompt_gaps.Gaps, value: np.ndarray) -> np.ndarray:
  """Returns a value [D] with a tenth of its counts, where these are above 1."""
  added = gaps.added(value)
  return value - np.where(added > 1, 0.9 * added, 0.0)


def _falls(gaps, value):
  """Returns whether the gap still falls as counts grow."""
  gap = gaps.gap(value)
  return gap > 0 and gaps.gap(with_fewer(gaps, value)) > (1 + _FLAT) * gap


def _starts(gaps, max_prefix_length, bound):
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
      divisors.append(shown.max() / bound)
      starts += [labels + shown / divisor for divisor in divisors]
  return starts


def _choose(gaps, starts):
  """Returns the first few starts, and the first with each label."""
  by_label = {}
  for i, start in enumerate(starts):
    by_label.setdefault(tuple(start[~gaps.is_count]), i)
  chosen = {*range(_SEARCHES), *list(by_label.values())[:_LABEL_SEARCHES]}
  return [start for i, start in enumerate(starts) if i in chosen]


def _descend(gaps, start, bound, jac='2-point', ftol=1e-15, maxiter=200):
  """Returns a local minimum near a value [D], with the labels of that value.

  Gradients are finite differences, since the exact gradient of a predictive in
  which something is impossible is NaN. The search steps in log(1 + count), so
  that large counts are as near as small ones, and zero can be reached.
  """
  free, zero = _free(gaps, start)
  if not free.any() or gaps.gap(start) <= 1e-20:
    return start

  def value(x):
    moved = start.copy()
    moved[free] = gaps.start[free] + np.expm1(x)
    return moved

  def lost(x):
    return np.nan_to_num(gaps.steps(value(x)).sum(), posinf=1e9)

  most = np.log1p(bound)
  bounds = [(0.0 if at_zero else 1e-9, most) for at_zero in zero[free]]
  minimum = optimize.minimize(
    lost,
    np.log1p(gaps.added(start)[free]),
    method='L-BFGS-B',
    jac=jac,
    bounds=bounds,
    options={'ftol': ftol, 'gtol': 1e-14, 'maxiter': maxiter},
  )
  return _best_of(gaps, start, value(minimum.x))


def _free(gaps, start):
  """Returns which entries [D] a search may move, and which of them are zero."""
  free = gaps.is_count.copy()
  zero = free & (start == gaps.start)
  for entry in np.flatnonzero(zero):
    # If the least count already rules out sources, this count stays at zero.
    least = start + 1e-12 * (np.arange(len(start)) == entry)
    free[entry] = abs(gaps.gap(least) - gaps.gap(start)) < 1e-6
  return free, zero


def _best_of(gaps, start, end):
  # A count that is nearly zero may have to be zero.
  none = np.where(gaps.is_count & (gaps.added(end) < 1e-6), gaps.start, end)
  return min(start, end, none, key=gaps.gap)


def _polish(gaps, start, bound):
  """Returns a minimum near a value [D], and whether it is one to first order.

  The gap is half a sum of squares. Near a posterior that is the target's prior
  all of them vanish, so that Gauss and Newton's step is exact there, however
  flat the gap is: it barely tells large concentrations apart, and a descent
  ends far from its minimum. What is left after convergence is orthogonal to all
  that a step could change.
  """
  free, zero = _free(gaps, start)
  if gaps.gap(start) <= 1e-20:
    return start, True
  if not free.any() or not np.isfinite(gaps.gap(start)):
    return start, False
  sums = gaps.expectation(start)

  def value(x):
    moved = start.copy()
    moved[free] = gaps.start[free] + np.expm1(x)
    return moved

  def residuals(x):
    return np.nan_to_num(sums.residuals(gaps.added(value(x))), posinf=1e6)

  least = np.where(zero[free], 0.0, 1e-9)
  most = np.log1p(bound)
  x = np.clip(np.log1p(gaps.added(start)[free]), least, most)
  minimum = optimize.least_squares(
    residuals,
    x,
    bounds=(least, most),
    x_scale='jac',
    ftol=1e-15,
    xtol=1e-15,
    gtol=1e-15,
    max_nfev=60,
  )
  end = _best_of(gaps, start, value(minimum.x))
  if gaps.gap(end) <= 1e-20:
    return end, True
  # At the end, with its bounds: a count there may only move inside.
  x = np.clip(np.log1p(gaps.added(end)[free]), 0.0, most)
  left, slopes = residuals(x), []
  for i in range(len(x)):
    step = np.where(np.arange(len(x)) == i, 1e-7, 0.0)
    step = -step if x[i] + 1e-7 > most else step
    slope = (residuals(x + step) - left) / step[i]
    downhill = -np.sign(slope @ left)
    blocked = (x[i] < 1e-6 and downhill < 0) or (
      x[i] > most - 1e-3 and downhill > 0
    )
    if not blocked and slope.any():
      slopes.append(slope / np.linalg.norm(slope))
  if not slopes:
    return end, True
  fitted, *_ = np.linalg.lstsq(np.stack(slopes, -1), left)
  could = np.linalg.norm(np.stack(slopes, -1) @ fitted)
  return end, could <= _ORTHOGONAL * np.linalg.norm(left)
