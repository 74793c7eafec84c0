"""Intervals, held to what theory says of their width and coverage."""

import numpy as np
import pytest
from scipy import stats

from bayes_prompting.claims import bootstrap


def sample(values, networks='n', sequences='s'):
  return bootstrap.Sample(np.asarray(values, np.float64), networks, sequences)


def of(values, **kwargs):
  return bootstrap.estimate({'it': sample(values)}, lambda m: m['it'], **kwargs)


def half_width(found):
  return (found.high - found.low) / 2


def test_sequences_alone_give_the_standard_error_of_a_mean():
  values = np.random.default_rng(0).normal(2, 3, (1, 1, 2000))
  found = of(values)
  assert found.value == pytest.approx(values.mean())
  expected = 1.96 * values.std() / np.sqrt(2000)
  assert half_width(found) == pytest.approx(expected, rel=0.1)
  assert found[3:] == (1, 1, 2000)


def test_networks_and_repetitions_add_their_variances():
  rng = np.random.default_rng(1)
  num, repetitions = 40, 5
  values = (
    rng.normal(0, 1, (num, 1, 1))
    + rng.normal(0, 2, (num, repetitions, 1))
    + np.zeros((1, 1, 3))
  )
  by_network = values.mean((1, 2))
  within = values[..., 0].var(1).mean()
  # Of a nested resample: networks as they were found, and repetitions again.
  variance = by_network.var() / num + within / (num * repetitions)
  expected = 1.96 * np.sqrt(variance)
  assert half_width(of(values)) == pytest.approx(expected, rel=0.1)


def test_of_few_networks_the_interval_is_student_s():
  values = np.array([1.0, 2.0, 6.0])
  found = of(values[:, None, None] * np.ones((3, 4, 5)), draws=20_000)
  expected = stats.t.interval(0.95, 2, 3.0, stats.sem(values))
  assert found.value == 3.0
  assert (found.low, found.high) == pytest.approx(expected, rel=0.03)


def test_of_one_network_the_interval_is_about_its_sequences():
  rng = np.random.default_rng(5)
  values = rng.normal(0, 1, (1, 1, 400))
  found = of(values)
  assert half_width(found) == pytest.approx(1.96 / 20, rel=0.15)


@pytest.mark.parametrize(
  'shape', [(2, 1), (3, 1), (3, 4), (5, 2), (25, 2)], ids=str
)
def test_the_interval_covers_the_truth_as_often_as_it_says(shape):
  num, repetitions = shape
  rng = np.random.default_rng(2)
  covered = 0
  for _ in range(300):
    values = (
      rng.normal(0, 1, (num, 1, 1))
      + rng.normal(0, 1, (num, repetitions, 1))
      + rng.normal(0, 2, (1, 1, 60))
    )
    found = of(values, draws=200)
    covered += found.low <= 0 <= found.high
  # Three standard errors below 0.95; how wide it is, other tests say.
  assert covered / 300 >= 0.913


def test_what_shares_networks_and_sequences_is_compared_on_the_same_ones():
  rng = np.random.default_rng(3)
  one = rng.normal(0, 1, (3, 2, 50))
  pair = {'a': sample(one + 1), 'b': sample(one)}
  found = bootstrap.estimate(pair, lambda m: m['a'] - m['b'])
  assert half_width(found) == pytest.approx(0, abs=1e-12)
  assert found.value == pytest.approx(1)
  for other in (sample(one, networks='m'), sample(one, sequences='t')):
    apart = {'a': pair['a'], 'b': other}
    found = bootstrap.estimate(apart, lambda m: m['a'] - m['b'])
    assert half_width(found) > 0.01


def test_what_there_is_one_of_is_the_same_for_all_networks():
  bayes = sample(np.full((1, 1, 4), 5.0), networks='')
  network = sample(np.arange(3.0)[:, None, None] + np.zeros((3, 2, 4)))
  found = bootstrap.estimate(
    {'bayes': bayes, 'network': network}, lambda m: m['network'] - m['bayes']
  )
  assert found.value == -4
  alone = of(network.values)
  assert half_width(found) == pytest.approx(half_width(alone))
  assert found[3:] == (3, 2, 4)


def test_infinite_regrets_stay_infinite():
  values = np.ones((3, 1, 4))
  values[1] = np.inf
  found = of(values)
  assert found.value == np.inf
  assert (found.low, found.high) == (1, np.inf)  # Some resamples miss it.
  both = {'a': sample(values), 'b': sample(values)}
  found = bootstrap.estimate(both, lambda m: m['a'] - m['b'])
  assert np.isnan([found.value, found.low, found.high]).all()


def test_the_least_of_several_is_taken_in_every_resample():
  first, second = np.zeros((2, 1, 1)), np.zeros((2, 1, 1))
  first[0], second[1] = 1, 1
  found = bootstrap.estimate(
    {'a': sample(first), 'b': sample(second)},
    lambda m: np.minimum(m['a'], m['b']),
  )
  # At most 0.5, and 0 where one network was drawn twice.
  assert found.value == 0.5
  assert found.low < 0


def test_the_same_samples_have_the_same_interval():
  values = np.random.default_rng(4).normal(size=(3, 2, 20))
  assert of(values) == of(values.copy())


def test_one_infinite_regret_among_many_is_not_lost():
  values = np.ones((2, 1, 3000))
  values[0, 0, 0] = np.inf
  found = of(values, draws=100)
  assert found.value == found.high == np.inf


def test_what_shares_networks_must_have_equally_many():
  pair = {'a': sample(np.ones((3, 1, 4))), 'b': sample(np.ones((5, 1, 4)))}
  with pytest.raises(AssertionError):
    bootstrap.estimate(pair, lambda m: m['a'] - m['b'])
