"""Intervals over networks: what a number of some networks says of all.

A pretrained network is the unit. It is trained and tuned by itself, so that
networks are independent, while its repetitions and sequences are not: they say
how well *this* network is known, and nothing of the next. So every quantity is
first computed for each network, from means over its repetitions, and the
interval is Student's t over these values.

Positive regrets are skewed: of three networks one lost 0.0007 nats, one 0.004,
one 0.054. Student's interval of such values is far too short on one side. On
the scale of logarithms they are nearly normal, and the interval is about the
typical network, the geometric mean, with the arithmetic mean beside it.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

SCALES = ('linear', 'log')
LEVEL = 0.95
# A regret below it, in nats, is one of rounding: of no size that logarithms
# should tell apart.
LEAST = 1e-6


class Estimate(NamedTuple):
  """A quantity with its interval.

  Attributes:
    value: The mean over networks, or the geometric mean on the scale `log`.
    low: The lower end of the interval; NaN for fewer than two networks.
    high: The upper end.
    arithmetic: The mean over networks, whatever the scale.
    networks: How many there are; 0 for an exact number.
  """

  value: float
  low: float
  high: float
  arithmetic: float
  networks: int


def exact(value: float) -> Estimate:
  """Returns a number without noise."""
  return Estimate(value, value, value, value, 0)


def over_networks(values: Sequence[float], scale: str = 'linear') -> Estimate:
  """Returns Student's interval of a mean over networks.

  Args:
    values: One for each network. An infinite one makes the mean infinite, and
      the interval reach from the least of what is finite to infinity.
    scale: `linear`; or `log` for positive values, where the mean is geometric.
  """
  values = np.asarray(values, np.float64)
  if not len(values):
    return Estimate(np.nan, np.nan, np.nan, np.nan, 0)
  arithmetic = float(values.mean())
  if np.isnan(values).any():
    return Estimate(np.nan, np.nan, np.nan, arithmetic, len(values))
  if np.isinf(values).any():
    return Estimate(arithmetic, -np.inf, np.inf, arithmetic, len(values))
  if scale == 'log':
    logs = np.log(np.maximum(values, LEAST))
    mean, half = _student(logs)
    ends = np.exp((mean, mean - half, mean + half))
  else:
    mean, half = _student(values)
    ends = (mean, mean - half, mean + half)
  return Estimate(*map(float, ends), arithmetic, len(values))


def _student(values):
  """Returns a mean and half its interval; NaN for one value."""
  if len(values) < 2:
    return values.mean(), np.nan
  error = values.std(ddof=1) / np.sqrt(len(values))
  return values.mean(), stats.t.isf((1 - LEVEL) / 2, len(values) - 1) * error


def _welch(*groups):
  """Returns variances of two means, and the freedom of their difference."""
  parts = np.array([x.var(ddof=1) / len(x) for x in groups])
  freedoms = np.array([len(x) - 1 for x in groups])
  if not parts.sum():
    return parts, freedoms.sum()
  return parts, parts.sum() ** 2 / (parts**2 / freedoms).sum()


def ratio_of_groups(
  values: Sequence[float], others: Sequence[float]
) -> Estimate:
  """Returns Fieller's interval of a ratio of means of two groups of networks.

  It holds every ratio r for which `mean(values) - r mean(others)` cannot be
  told from zero (Fieller, Journal of the Royal Statistical Society B 16, 1954),
  with Welch's degrees of freedom. It is unbounded where the denominator cannot
  be told from zero.
  """
  groups = [np.asarray(x, np.float64) for x in (values, others)]
  networks = min(map(len, groups))
  if not networks:
    return Estimate(np.nan, np.nan, np.nan, np.nan, 0)
  means = [x.mean() for x in groups]
  with np.errstate(divide='ignore', invalid='ignore'):
    ratio = float(np.divide(*means))
  if networks < 2:
    return Estimate(ratio, np.nan, np.nan, ratio, networks)
  parts, _ = _welch(*groups)
  _, freedom = _welch(groups[0], ratio * groups[1])
  square = stats.t.isf((1 - LEVEL) / 2, freedom) ** 2
  # Where (means[0] - r means[1])^2 = square (parts[0] + r^2 parts[1]).
  leading = means[1] ** 2 - square * parts[1]
  middle = means[0] * means[1]
  last = means[0] ** 2 - square * parts[0]
  if leading <= 0:
    return Estimate(ratio, -np.inf, np.inf, ratio, networks)
  root = np.sqrt(max(middle**2 - leading * last, 0.0))
  low, high = (middle - root) / leading, (middle + root) / leading
  return Estimate(ratio, float(low), float(high), ratio, networks)


def ratio_of_variances(
  values: Sequence[float], repetitions: Sequence[Sequence[float]]
) -> Estimate:
  """Returns how much more networks differ than the tunings of one of them.

  The variance over networks that were tuned once is that between networks plus
  that between tunings. Its ratio to the latter has Fisher's F distribution
  where logarithms of values are normal; minus one, it is the variance between
  networks, in units of that between tunings.

  Args:
    values: Positive, one of each network, tuned once.
    repetitions: Positive, of several tunings of a network, for each of some
      networks, which are not among the first.
  """
  groups = [np.log(np.maximum(x, LEAST)) for x in repetitions if len(x) > 1]
  freedom = sum(len(x) - 1 for x in groups)
  if len(values) < 2 or not freedom:
    return Estimate(np.nan, np.nan, np.nan, np.nan, 0)
  within = sum(((x - x.mean()) ** 2).sum() for x in groups) / freedom
  ratio = np.var(np.log(np.maximum(values, LEAST)), ddof=1) / within
  tail, of = (1 - LEVEL) / 2, (len(values) - 1, freedom)
  low, high = ratio / stats.f.isf(tail, *of), ratio / stats.f.ppf(tail, *of)
  value, low, high = np.maximum(np.array((ratio, low, high)) - 1, 0.0).tolist()
  return Estimate(value, low, high, value, len(values))


def networks_to_decide(
  values: Sequence[float], bound: float, scale: str = 'linear', most: int = 1000
) -> int | None:
  """Returns how many networks would decide on which side of a bound a mean is.

  It takes mean and spread as they are seen, and asks how many networks make an
  interval that leaves the bound outside.

  Returns:
    The number; None if even `most` would not do, since the value lies at the
    bound, or if there are too few values to know a spread.
  """
  values = np.asarray(values, np.float64)
  if len(values) < 2 or not np.isfinite(values).all():
    return None
  if scale == 'log':
    values = np.log(np.maximum(values, LEAST))
    bound = np.log(max(bound, LEAST))
  counts = np.arange(2, most + 1)
  halves = stats.t.isf((1 - LEVEL) / 2, counts - 1) / np.sqrt(counts)
  decided = halves * values.std(ddof=1) < abs(values.mean() - bound)
  return int(counts[decided.argmax()]) if decided.any() else None
