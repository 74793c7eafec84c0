"""Intervals for functions of mean regrets, by a nested bootstrap.

A regret is an average over pretrained networks, over repetitions of tuning on
each, and over evaluation sequences, which all of them share. All three are
resampled with replacement (Efron and Tibshirani, An Introduction to the
Bootstrap, 1993, ch. 8 and 13): networks, then repetitions within each network
that was drawn, and sequences across all. What shares networks or sequences is
resampled together, so that a comparison on the same ones is a paired one.

With few networks the interval is coarse: of three, the mean of a resample has
ten values, and a percentile interval reaches to the worst and the best network
but not beyond. With one network it says nothing of networks.
"""

from collections.abc import Callable, Mapping
import functools
from typing import NamedTuple
import zlib

import numpy as np

# Values beyond it count as infinite; sums of so large ones stay finite.
_HUGE = 1e30


class Sample(NamedTuple):
  """Regrets that a quantity is computed from.

  Attributes:
    values: float64 [P, R, S], of P networks, R repetitions, S sequences, in
      nats. Infinite ones are allowed. P or R is 1 for a predictor that is the
      same for all networks, or repetitions.
    networks: Samples of one name here share their networks.
    sequences: Samples of one name here share their sequences.
  """

  values: np.ndarray
  networks: str
  sequences: str


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
  """Returns a function of means, with its percentile interval.

  Args:
    samples: By name.
    quantity: Takes the mean of each sample, [...], and returns [...]. It may be
      any function; NumPy's operations act on all draws at once.
    draws: Resamples; the same ones for the same networks and sequences.
    level: Of the interval.
  """
  values = {
    key: np.clip(np.nan_to_num(x.values, nan=np.inf), -_HUGE, _HUGE)
    for key, x in samples.items()
  }
  whole = {key: np.asarray(x.mean()) for key, x in values.items()}
  resampled = _resample(samples, values, draws)
  with np.errstate(invalid='ignore', divide='ignore', over='ignore'):
    value = float(quantity(_infinite(whole)))
    found = np.asarray(quantity(_infinite(resampled)), np.float64)
  tail = ((1 - level) / 2, (1 + level) / 2)
  if np.isnan(value) or np.isnan(found).any():
    low = high = np.nan  # Of two infinities nothing is known.
  else:
    finite = np.isfinite(found).all()
    low, high = np.quantile(
      found, tail, method='linear' if finite else 'nearest'
    )
  return Estimate(value, float(low), float(high), *_sizes(samples))


def _sizes(samples):
  """Returns the least networks, repetitions and sequences of what varies."""
  shapes = np.array([x.values.shape for x in samples.values()])
  # A predictor without networks or repetitions limits nothing.
  return tuple(
    int(min([n for n in column if n > 1], default=1)) for column in shapes.T
  )


def _infinite(means):
  return {
    key: np.where(np.abs(x) > _HUGE / 1e6, np.sign(x) * np.inf, x)
    for key, x in means.items()
  }


@functools.lru_cache(maxsize=8)
def _sequence_weights(name, num, draws):
  """Returns how often each sequence is in each resample, [draws, S]."""
  rng = np.random.default_rng(zlib.crc32(f'sequences {name}'.encode()))
  return rng.multinomial(num, np.full(num, 1 / num), draws) / num


def _draw_runs(name, networks, repetitions, draws):
  """Returns indices of networks, and of the repetitions on each."""
  rng = np.random.default_rng(zlib.crc32(f'networks {name}'.encode()))
  shape = (draws, networks, repetitions)
  return (
    rng.integers(networks, size=(*shape[:2], 1)),
    rng.integers(repetitions, size=shape),
  )


def _resample(samples, values, draws):
  """Returns the means [draws] of resamples of each sample."""
  means = {}
  for key, (_, networks, sequences) in samples.items():
    shared = [values[k] for k, x in samples.items() if x.networks == networks]
    network, repetition = _draw_runs(
      networks,
      max(x.shape[0] for x in shared),
      max(x.shape[1] for x in shared),
      draws,
    )
    weights = _sequence_weights(sequences, values[key].shape[2], draws)
    by_run = np.tensordot(weights, values[key], (1, 2))
    # What there is one of is the same whichever is drawn.
    network = np.minimum(network, by_run.shape[1] - 1)
    repetition = np.minimum(repetition, by_run.shape[2] - 1)
    drawn = by_run[np.arange(draws)[:, None, None], network, repetition]
    means[key] = drawn.mean((1, 2))
  return means
