"""Intervals for functions of mean regrets, by a nested bootstrap.

A regret is an average over pretrained networks, over repetitions of tuning on
each network, and over evaluation sequences, which all networks share. All three
are resampled with replacement (Efron and Tibshirani, An Introduction to the
Bootstrap, 1993, ch. 8 and 13): networks, then repetitions within each drawn
network, and sequences across all. Samples that share networks or sequences are
resampled together, so that a comparison on the same ones is a paired one. Every
network has the same weight, however many of its repetitions count.

Percentiles of resamples are too narrow for few networks. With three networks
they reach from the worst to the best, which holds the truth in seven of ten
cases. So an interval has a least width, put together in quadrature from two
parts. One is Student's interval with P - 1 degrees of freedom for the spread
between P networks (variance P / (P - 1) times that of resamples). The other is
the normal interval for the spread between sequences. A single network says
nothing of others: its interval is about its own repetitions and sequences.
"""

from collections.abc import Callable, Mapping
import functools
import itertools
from typing import NamedTuple
import zlib

import chex
import numpy as np
from scipy import stats


class Sample(NamedTuple):
  """Regrets that a quantity is computed from.

  Attributes:
    values: float64 [P, R, S], in nats, for P networks, R repetitions and S
      sequences. NaN counts as infinite. P or R is 1 for a predictor that is the
      same for all networks, or repetitions.
    networks: A name. Samples with the same name share their networks, in order.
      It is '' for a predictor without a network.
    sequences: A name. Samples with the same name share their sequences.
    counted: bool [P, R], the runs that count, at least one on each network; all
      of them by default. Other runs are treated as absent.
  """

  values: np.ndarray
  networks: str
  sequences: str
  counted: np.ndarray | None = None

  def which(self) -> np.ndarray:
    """Returns which runs count, bool [P, R]."""
    if self.counted is None:
      return np.ones(self.values.shape[:2], bool)
    return np.asarray(self.counted, bool)


class Estimate(NamedTuple):
  """A quantity with its interval, and what it was computed from."""

  value: float
  low: float
  high: float
  num_networks: int
  num_repetitions: int
  num_sequences: int


def estimate(
  samples: Mapping[str, Sample],
  quantity: Callable[[Mapping[str, np.ndarray]], np.ndarray],
  draws: int = 2000,
  level: float = 0.95,
) -> Estimate:
  """Returns a function of means, with its interval.

  Args:
    samples: By name.
    quantity: Takes the mean of each sample, [...], and returns [...]. It may be
      any function; NumPy's operations act on all draws at once.
    draws: How many resamples. The same networks and sequences always have the
      same resamples.
    level: The level of the interval.
  """
  _check(samples)
  values = {key: np.asarray(x.values, np.float64) for key, x in samples.items()}
  values = {k: np.where(np.isfinite(x), x, np.inf) for k, x in values.items()}
  whole = {
    key: x.mean()
    if (which := samples[key].which()).all()
    # Every network has the same weight, as in resamples.
    else _mean_of_runs(x.mean(-1)[None], which, which.sum(1)[None])[0]
    for key, x in values.items()
  }
  with np.errstate(invalid='ignore', divide='ignore', over='ignore'):
    value = float(quantity(whole))
    both, by_network, by_sequence = (
      np.asarray(quantity(_resample(samples, values, draws, *what)), np.float64)
      for what in ((True, True), (True, False), (False, True))
    )
  sizes = _sizes(samples)
  tail = (1 - level) / 2
  if np.isnan(value) or np.isnan(both).any():
    low = high = np.nan  # A difference of infinities is unknown.
  elif not np.isfinite(both).all():
    low, high = np.quantile(both, (tail, 1 - tail), method='nearest')
  else:
    low, high = np.quantile(both, (tail, 1 - tail))
    half = _half_width(by_network, by_sequence, sizes[0], tail)
    low, high = min(low, value - half), max(high, value + half)
  return Estimate(value, float(low), float(high), *sizes)


def _half_width(by_network, by_sequence, num_networks, tail):
  """Returns half the least width: Student's and the normal one together."""
  width = stats.norm.isf(tail) * by_sequence.std()
  # With one network, this is the spread between its repetitions.
  spread = by_network.std()
  freedom = num_networks - 1
  if freedom > 0:
    spread *= stats.t.isf(tail, freedom) * np.sqrt(num_networks / freedom)
  else:
    spread *= stats.norm.isf(tail)
  return np.hypot(width, spread)


def _check(samples):
  """Checks what only a caller's code can get wrong."""
  for sample, other in itertools.combinations(samples.values(), 2):
    if sample.networks == other.networks != '':
      chex.assert_equal(len(sample.values), len(other.values))
    if sample.sequences == other.sequences:
      chex.assert_equal(sample.values.shape[2], other.values.shape[2])


def _sizes(samples):
  """Returns the least numbers of networks, repetitions and sequences.

  A predictor without a network does not limit the number of networks. A method
  that uses no randomness, and so has one repetition, does not limit the number
  of repetitions.
  """
  tuned = [x.which() for x in samples.values() if x.networks]
  random = [which.sum(1).min() for which in tuned if which.shape[1] > 1]
  return (
    min(map(len, tuned), default=0),
    int(min(random, default=min(len(tuned), 1))),
    min(x.values.shape[2] for x in samples.values()),
  )


@functools.lru_cache(maxsize=8)
def _sequence_weights(name, num, draws):
  """Returns how often each sequence is in each resample, [draws, S]."""
  rng = np.random.default_rng(zlib.crc32(f'sequences {name}'.encode()))
  return rng.multinomial(num, np.full(num, 1 / num), draws) / num


def _draw_runs(name, networks, repetitions, draws):
  """Returns indices of networks and of their repetitions, and spare numbers.

  Spares are uniform in [0, 1). They choose another repetition in place of one
  that does not count.
  """
  rng = np.random.default_rng(zlib.crc32(f'networks {name}'.encode()))
  shape = (draws, networks, repetitions)
  return (
    rng.integers(networks, size=(*shape[:2], 1)),
    rng.integers(repetitions, size=shape),
    rng.random(shape),
  )


def _those_that_count(which, network, repetition, spare):
  """Returns repetitions that all count, each as likely as any other.

  Args:
    which: bool [P, R], the runs that count.
    network: [D, P, 1], the networks that were drawn.
    repetition: [D, P, K], the repetitions that were drawn, of at least R. One
      that counts stays, so that samples that share networks are resampled
      together.
    spare: [D, P, K], numbers that choose another repetition for the rest.
  """
  inside = np.minimum(repetition, which.shape[1] - 1)
  stays = (inside == repetition) & which[network, inside]
  first = np.argsort(~which, axis=1, kind='stable')  # Those that count.
  other = (spare * which.sum(1)[network]).astype(int)
  return np.where(stays, repetition, first[network, other])


def _mean_of_runs(by_run, which, sizes):
  """Returns means over networks of means over repetitions, [D].

  Args:
    by_run: [D, P, R].
    which: bool, of the same shape or one that broadcasts: what is averaged.
    sizes: [D or 1, P], how many that are on each network.
  """
  return (np.where(which, by_run, 0.0).sum(2) / sizes).mean(1)


def _resample(samples, values, draws, of_runs, of_sequences):
  """Returns the means [draws] of resamples of each sample.

  Args:
    samples: By name.
    values: [P, R, S], by name.
    draws: How many.
    of_runs: Whether networks and repetitions are resampled; all are taken
      otherwise.
    of_sequences: Whether sequences are resampled.
  """
  means = {}
  for key, sample in samples.items():
    networks, which = sample.networks, sample.which()
    shared = [values[k] for k, x in samples.items() if x.networks == networks]
    num = values[key].shape[2]
    if of_sequences:
      weights = _sequence_weights(sample.sequences, num, draws)
    else:
      weights = np.full((1, num), 1 / num)
    by_run = _weighted(weights, values[key])
    if not of_runs:
      means[key] = (
        by_run.mean((1, 2))
        if which.all()
        else _mean_of_runs(by_run, which, which.sum(1)[None])
      )
      continue
    most = max(x.shape[1] for x in shared)
    network, repetition, spare = _draw_runs(networks, len(which), most, draws)
    draw = np.arange(draws)[:, None, None] % len(by_run)
    if which.all() and which.shape[1] == most:
      means[key] = by_run[draw, network, repetition].mean((1, 2))
      continue
    repetition = _those_that_count(which, network, repetition, spare)
    # A network has as many drawn repetitions as it has ones that count.
    sizes = which.sum(1)[network]
    drawn = np.arange(most) < sizes
    resampled = by_run[draw, network, repetition]
    means[key] = _mean_of_runs(resampled, drawn, sizes[..., 0])
  return means


def _weighted(weights, values):
  """Returns means [D, P, R] of [P, R, S] with weights [D, S]."""
  finite = np.isfinite(values)
  means = np.tensordot(weights, np.where(finite, values, 0.0), (1, 2))
  if finite.all():
    return means
  # An infinite value with weight zero adds nothing; 0 * inf would be NaN.
  touched = np.tensordot(weights, ~finite * 1.0, (1, 2)) > 0
  return np.where(touched, np.inf, means)
