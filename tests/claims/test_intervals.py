"""Intervals hold the truth as often as they say, from both sides."""

import numpy as np
import pytest
from scipy import stats

from bayes_prompting.claims import intervals

DRAWS = 2000
# Coverage of 2000 draws has a standard error of half a percent.
COVERAGE = (0.93, 0.97)


def draws(rng, shape, repetitions, skewed):
  """Values of networks, means over repetitions; networks differ the most."""
  networks = rng.normal(size=(*shape, 1))
  tunings = 0.5 * rng.normal(size=(*shape, repetitions))
  values = networks + tunings
  return (np.exp(values) if skewed else values + 3).mean(-1)


@pytest.mark.parametrize('repetitions', [1, 10])
@pytest.mark.parametrize('networks', [5, 10, 20])
@pytest.mark.parametrize('scale', ['linear', 'log'])
def test_an_interval_covers_the_truth(scale, networks, repetitions):
  rng = np.random.default_rng(networks)
  skewed = scale == 'log'
  many = draws(rng, (400_000,), repetitions, skewed)
  truth = np.exp(np.log(many).mean()) if skewed else many.mean()
  values = draws(rng, (DRAWS, networks), repetitions, skewed)
  inside = 0
  for one in values:
    found = intervals.over_networks(one, scale)
    assert found.low < found.value < found.high
    inside += found.low <= truth <= found.high
  assert COVERAGE[0] <= inside / DRAWS <= COVERAGE[1]


def test_student_s_interval_is_that_of_scipy():
  values = [0.3, 0.5, 0.9, 0.2]
  found = intervals.over_networks(values)
  low, high = stats.ttest_1samp(values, 0).confidence_interval(0.95)
  np.testing.assert_allclose((found.low, found.high), (low, high))
  assert found.value == found.arithmetic == pytest.approx(np.mean(values))
  assert found.networks == 4


def test_on_logarithms_the_mean_is_geometric():
  found = intervals.over_networks([0.01, 0.1, 1.0], 'log')
  assert found.value == pytest.approx(0.1)
  assert found.arithmetic == pytest.approx(0.37)
  assert found.low > 0
  # It is an interval of ratios.
  assert found.high / found.value == pytest.approx(found.value / found.low)


def test_one_network_says_nothing_of_others():
  for scale in intervals.SCALES:
    found = intervals.over_networks([0.5], scale)
    assert found.value == pytest.approx(0.5) and found.networks == 1
    assert np.isnan(found.low) and np.isnan(found.high)
  assert np.isnan(intervals.over_networks([]).value)


def test_an_infinite_regret_is_no_number():
  found = intervals.over_networks([0.1, np.inf])
  assert found.value == np.inf
  assert (found.low, found.high) == (-np.inf, np.inf)
  assert np.isnan(intervals.over_networks([0.1, np.nan]).low)


def test_a_ratio_is_where_a_difference_cannot_be_told_from_zero():
  one, other = np.array([0.5, 0.8, 0.6]), np.array([2.0, 1.4, 1.9, 2.2])
  found = intervals.ratio_of_groups(one, other)
  assert found.value == pytest.approx(one.mean() / other.mean())
  # At the ends, Welch's interval of one - r other begins or ends at zero, up
  # to its degrees of freedom, which are those at the ratio itself.
  freedom = stats.ttest_ind(one, found.value * other, equal_var=False).df
  for ratio in (found.low, found.high):
    error = np.hypot(stats.sem(one), ratio * stats.sem(other))
    distance = abs(one.mean() - ratio * other.mean())
    assert distance / error == pytest.approx(stats.t.isf(0.025, freedom))


def test_a_ratio_of_groups_is_covered():
  rng = np.random.default_rng(0)
  inside = 0
  for _ in range(DRAWS):
    one = rng.normal(0.5, 0.3, 10)
    other = rng.normal(2.0, 0.8, 6)
    found = intervals.ratio_of_groups(one, other)
    inside += found.low <= 0.25 <= found.high
  assert COVERAGE[0] <= inside / DRAWS <= COVERAGE[1]


def test_a_ratio_to_what_may_be_zero_is_unbounded():
  found = intervals.ratio_of_groups([0.5, 0.6], [-1.0, 1.2])
  assert (found.low, found.high) == (-np.inf, np.inf)


def test_a_ratio_of_variances_is_that_of_fisher():
  once = np.array([0.1, -0.4, 0.9, 0.3, -0.8])
  several = np.array([[0.1, 0.2, 0.35, 0.2], [1.0, 1.3, 0.9, 1.1]])
  found = intervals.ratio_of_variances(np.exp(once), np.exp(several))
  ratio = once.var(ddof=1) / several.var(axis=1, ddof=1).mean()
  f = stats.f(4, 6)  # The degrees of freedom differ, so that their order shows.
  expected = np.array([ratio, ratio / f.isf(0.025), ratio / f.ppf(0.025)]) - 1
  np.testing.assert_allclose(found[:3], np.maximum(expected, 0))
  assert found.low > 0 and found.networks == 5


def test_variances_between_and_within_are_told_apart():
  rng = np.random.default_rng(1)
  between, within = 0.9, 0.3
  inside = 0
  for _ in range(DRAWS):
    once = rng.normal(0, np.hypot(between, within), 18)
    several = rng.normal(0, 1, (2, 1)) + rng.normal(0, within, (2, 10))
    found = intervals.ratio_of_variances(np.exp(once), np.exp(several))
    inside += found.low <= (between / within) ** 2 <= found.high
  assert COVERAGE[0] <= inside / DRAWS <= COVERAGE[1]


def test_how_many_networks_would_decide():
  values = np.array([0.02, 0.05, 0.09, 0.04])
  networks = intervals.networks_to_decide(values, 0.07)
  spread = values.std(ddof=1)

  def half(count):
    return stats.t.isf(0.025, count - 1) * spread / np.sqrt(count)

  distance = abs(values.mean() - 0.07)
  assert half(networks) < distance <= half(networks - 1)
  assert intervals.networks_to_decide(values, values.mean()) is None
  assert intervals.networks_to_decide([0.1], 0.2) is None
  # From the other side, and on logarithms.
  assert intervals.networks_to_decide(-values, -0.07) == networks
  logs = intervals.networks_to_decide(np.exp(values), np.exp(0.07), 'log')
  assert logs == networks
