"""The best pseudo-counts for exact Bayes: what is reached by no tokens.

The *posterior family* of a prior has the posteriors after any real numbers of
tokens, as Beta(1.25, 1.25) from Beta(1, 1): all that a prompt could reach, soft
ones too, as long as the predictor stays Bayesian.
"""

from typing import NamedTuple

import numpy as np
from scipy import optimize

from bayes_prompting.theory import hard_prefixes

# Pseudo-counts that are searched. The limit of a predictor that learns nothing
# is reached within 1e-9 nats over 50 tokens.
MAX_COUNT = 1e6
# Histories, and entries, with which there is a search: it takes hundreds of
# sums over them.
_MAX_HISTORIES, _MAX_ENTRIES = 200_000, 12
# Starts that a search descends from: the best of many, and the best with each
# label (of that many).
_SEARCHES, _LABEL_SEARCHES = 4, 8
# Totals of pseudo-counts, in the proportions of what the target shows, that
# are starts.
_STRENGTHS = (0.3, 3.0, 30.0, 300.0)
# Nats; what loses no more is not improved upon.
_NOTHING = 1e-8


class Pseudo(NamedTuple):
  """The best of the posterior family.

  Attributes:
    counts: float64 [D], added to the counts of the prior's statistic; zero
      where it has labels.
    is_count: bool [D], where it has counts.
    value: float64 [D], the statistic then: its labels are those of a prefix.
    gap: What Bayes then loses to Bayes of the target, in nats over N tokens.
    at_bound: Whether a count is at `MAX_COUNT`: the best is a limit.
  """

  counts: np.ndarray
  is_count: np.ndarray
  value: np.ndarray
  gap: float
  at_bound: bool


def best(
  gaps: hard_prefixes.Gaps, max_prefix_length: int | None = None
) -> Pseudo | None:
  """Searches the posterior family for the posterior that loses the least.

  Args:
    gaps: For a prior, a target and a length.
    max_prefix_length: Labels are those after prefixes up to this long, which
      are starts of the search too; see `optimal_prompts.gap_curve`.

  Returns:
    The best of several searches; of equals that with the smallest counts. None
    where there is no search: no entry is a count, as in a union whose parts
    count apart, or there are too many histories, or entries.
  """
  entries = gaps.is_count.sum()
  if not entries or entries > _MAX_ENTRIES or gaps.histories > _MAX_HISTORIES:
    return None
  starts = _starts(gaps, max_prefix_length)
  gaps.each(np.array(starts))  # Known from here on.
  starts = [start for start in starts if np.isfinite(gaps.gap(start))]

  def rank(value):
    return hard_prefixes.rounded(gaps.gap(value)), gaps.added(value).sum()

  found = []
  for start in _choose(gaps, sorted(starts, key=rank)) or [gaps.start]:
    found.append(_descend(gaps, start))
    if gaps.gap(found[-1]) <= _NOTHING:
      break
  value = min(found, key=rank)
  at_bound = bool(gaps.added(value).max() > 0.999 * MAX_COUNT)
  if gaps.gap(value) <= _NOTHING and not at_bound:
    # To all its digits, which say whether it is exact.
    value = _descend(gaps, value, jac='3-point', ftol=0.0, maxiter=20)
  counts = gaps.added(value)
  return Pseudo(counts, gaps.is_count, value, gaps.gap(value), at_bound)


def _starts(gaps, max_prefix_length):
  """Returns what prefixes reach, and the proportions of what is shown."""
  if max_prefix_length is None:
    max_prefix_length = hard_prefixes.LONGEST
  prefixes = hard_prefixes.scorable(gaps, max_prefix_length, required=False)
  values = np.concatenate([found.values for found in prefixes])
  values = values.astype(np.float64)
  starts = [*values]
  for labels in np.unique(gaps.labels(values), axis=0):
    sums = gaps.expectation(labels)
    weight = sums.joint.sum(-1)
    shown = gaps.added(weight @ sums.values / weight.sum())
    if shown.sum() > 0:
      totals = [shown.sum() / strength for strength in _STRENGTHS]
      totals.append(shown.max() / MAX_COUNT)
      starts += [labels + shown / total for total in totals]
  return starts


def _choose(gaps, starts):
  """Returns the first few, and the first with each label."""
  by_label = {}
  for i, start in enumerate(starts):
    by_label.setdefault(tuple(start[~gaps.is_count]), i)
  chosen = {*range(_SEARCHES), *list(by_label.values())[:_LABEL_SEARCHES]}
  return [start for i, start in enumerate(starts) if i in chosen]


def _descend(gaps, start, jac='2-point', ftol=1e-15, maxiter=200):
  """Returns a local minimum near a value [D], its labels kept.

  Gradients are finite differences: those of a predictive in which something is
  impossible are NaN. Since steps are of log(1 + count), large counts are as
  near as small ones, and zero is reached.
  """
  free = gaps.is_count.copy()
  zero = free & (start == gaps.start)
  for entry in np.flatnonzero(zero):
    # Where the least count rules out sources, zero is another case.
    least = start + 1e-12 * (np.arange(len(start)) == entry)
    free[entry] = abs(gaps.gap(least) - gaps.gap(start)) < 1e-6
  if not free.any() or gaps.gap(start) <= 1e-20:
    return start

  def value(x):
    found = start.copy()
    found[free] = gaps.start[free] + np.expm1(x)
    return found

  def lost(x):
    return np.nan_to_num(gaps.steps(value(x)).sum(), posinf=1e9)

  most = np.log1p(MAX_COUNT)
  bounds = [(0.0 if at_zero else 1e-9, most) for at_zero in zero[free]]
  found = optimize.minimize(
    lost,
    np.log1p(gaps.added(start)[free]),
    method='L-BFGS-B',
    jac=jac,
    bounds=bounds,
    options={'ftol': ftol, 'gtol': 1e-14, 'maxiter': maxiter},
  )
  end = value(found.x)
  # Nearly none may be none at all.
  none = np.where(gaps.is_count & (gaps.added(end) < 1e-6), gaps.start, end)
  return min(start, end, none, key=gaps.gap)
