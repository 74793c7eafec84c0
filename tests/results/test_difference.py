"""Differences of two tuners, and what their intervals are over."""

import json

import numpy as np
import pytest
from scipy import stats

import bayes_prompting as bp
from bayes_prompting import errors
from bayes_prompting import results
from bayes_prompting.results import difference
from bayes_prompting.results import summary
from tests.results import test_dataset

SEQUENCES = 40
RNG = np.random.default_rng(0)
# All tuners lose more on some sequences: a paired difference does not see it.
COMMON = RNG.normal(0, 5, SEQUENCES)


def made_up(by_tuner, stopped=()):
  """Results with the regret of every run, the same at every step.

  Args:
    by_tuner: {tuner: (has a network, means [P, R])}.
    stopped: (tuner, network, repetition) of runs that were stopped.
  """
  networks = max(len(means) for _, means in by_tuner.values())
  repetitions = max(np.shape(means)[1] for _, means in by_tuner.values())
  builder = results.Builder(
    test_dataset.coords(
      tuner=list(by_tuner),
      pretrain_seed=range(networks),
      repetition=range(repetitions),
      eval_task=['home'],
    )
  )
  for tuner, (has_network, means) in by_tuner.items():
    for network, values in enumerate(means):
      at = {
        'tuner': tuner,
        'pretrain_seed': network if has_network else None,
        'eval_task': 'home',
      }
      shape = (1, 1, len(values), 2, 3, 2, SEQUENCES)
      noise = RNG.normal(0, 0.1, (len(values), SEQUENCES))
      noise -= noise.mean(1, keepdims=True)
      regret = np.asarray(values)[:, None] + noise + COMMON
      regret = np.broadcast_to(regret[None, None, :, None, None, None], shape)
      builder.put('sequence_regret', regret, **at)
      builder.put('judged', np.ones((1, 1, len(values))), **at)
  methods = {
    tuner: {'predictor': 'network' if has_network else 'bayes'}
    for tuner, (has_network, _) in by_tuner.items()
  }
  dataset = builder.build({'config': json.dumps({'methods': methods})})
  for tuner, network, repetition in stopped:
    dataset.stopped.loc[
      {'tuner': tuner, 'pretrain_seed': network, 'repetition': repetition}
    ] = 1.0
  return dataset


def student(values):
  """The interval of a mean that SciPy has."""
  return stats.t.interval(
    0.95, len(values) - 1, np.mean(values), stats.sem(values)
  )


def compared(dataset, first, second, **kwargs):
  return difference.compare(dataset, first, second, 'home', 5, **kwargs)


SOFT = np.array([[1.0, 2.0, 3.0], [2.0, 2.5, 3.0], [0.0, 0.5, 4.0]])
UNTUNED = np.array([[4.0], [5.0], [6.0]])


def test_with_several_networks_the_interval_is_over_networks():
  dataset = made_up({'SoftPT': (True, SOFT), 'NoTuning': (True, UNTUNED)})
  found = compared(dataset, 'SoftPT', 'NoTuning')
  differences = SOFT.mean(1) - UNTUNED[:, 0]
  assert found.over == 'networks'
  assert (found.networks, found.repetitions) == (3, 3)
  np.testing.assert_allclose(found.difference, differences.mean(), rtol=1e-5)
  np.testing.assert_allclose(
    (found.low, found.high), student(differences), rtol=1e-5
  )
  assert 'over 3 networks, each tuned 3 times' in str(found)
  # Another way to ask the same.
  assert bp.compare(dataset, 'SoftPT', 'NoTuning', 'home', step=5) == found


def test_repetitions_of_an_untuned_method_are_no_evidence():
  # Tuned ten times or once: what varies is the network.
  often = np.repeat(SOFT[:, :1], 10, axis=1)
  many = made_up({'SoftPT': (True, often), 'NoTuning': (True, UNTUNED)})
  few = made_up({'SoftPT': (True, often[:, :1]), 'NoTuning': (True, UNTUNED)})
  one, other = (compared(x, 'SoftPT', 'NoTuning') for x in (many, few))
  np.testing.assert_allclose(one[:4], other[:4], rtol=1e-5)
  # And two methods without repetitions have one on each network.
  both = made_up(
    {
      'SoftPT': (True, SOFT),
      'NoTuning': (True, UNTUNED),
      'PreBayes': (False, [[1.0]]),
    }
  )
  found = compared(both, 'NoTuning', 'PreBayes')
  assert (found.over, found.networks, found.repetitions) == ('networks', 3, 1)
  np.testing.assert_allclose(
    (found.low, found.high), student(UNTUNED[:, 0] - 1), rtol=1e-5
  )


def test_with_one_network_the_interval_is_over_repetitions_and_says_so():
  # The spread over sequences is a hundredth of that over repetitions.
  values = [[0.010, 0.041, -0.006]]
  dataset = made_up({'SoftPT': (True, values), 'NoTuning': (True, [[0.0]])})
  found = compared(dataset, 'SoftPT', 'NoTuning')
  assert found.over == 'repetitions'
  np.testing.assert_allclose(found.difference, 0.015, atol=1e-5)
  np.testing.assert_allclose(
    (found.low, found.high), student(values[0]), atol=1e-5
  )
  assert found.low < 0 < found.high
  assert '3 repetitions of one network' in str(found)
  assert 'nothing of others' in str(found)


def test_one_run_has_an_interval_over_sequences_and_says_so():
  dataset = made_up({'SoftPT': (True, [[2.0]]), 'FullWT': (True, [[1.5]])})
  found = compared(dataset, 'SoftPT', 'FullWT')
  first, second = (
    results.sequence_regret(dataset, name, 'home', 5)[0]
    for name in ('SoftPT', 'FullWT')
  )
  assert (found.over, found.sequences) == ('sequences', SEQUENCES)
  np.testing.assert_allclose(
    (found.low, found.high), student(first - second), rtol=1e-5
  )
  assert '40 sequences on one network' in str(found)


def test_sequences_on_request():
  dataset = made_up({'SoftPT': (True, SOFT), 'NoTuning': (True, UNTUNED)})
  found = compared(dataset, 'SoftPT', 'NoTuning', over='sequences')
  by_sequence = [
    results.sequence_regret(dataset, name, 'home', 5).mean(0)
    for name in ('SoftPT', 'NoTuning')
  ]
  np.testing.assert_allclose(
    (found.low, found.high),
    student(by_sequence[0] - by_sequence[1]),
    rtol=1e-5,
  )
  assert 'on these 3 networks' in str(found)
  with pytest.raises(errors.UserError, match='over: .*runs.*sequences'):
    compared(dataset, 'SoftPT', 'NoTuning', over='networks')


def test_exact_bayes_has_repetitions_without_a_network():
  dataset = made_up(
    {
      'PreBayesPT': (False, [[1.0, 1.5, 3.0]]),
      'TargetBayes': (False, [[0.5]]),
      'SoftPT': (True, SOFT),
    }
  )
  found = compared(dataset, 'PreBayesPT', 'TargetBayes')
  assert (found.over, found.networks) == ('repetitions', 0)
  np.testing.assert_allclose(
    (found.low, found.high), student([0.5, 1.0, 2.5]), rtol=1e-5
  )
  assert '3 repetitions of exact Bayes' in str(found)
  # Against networks it has the same repetitions on each.
  found = compared(dataset, 'SoftPT', 'PreBayesPT')
  differences = (SOFT - [1.0, 1.5, 3.0]).mean(1)
  np.testing.assert_allclose(
    (found.low, found.high), student(differences), rtol=1e-5
  )


def test_runs_that_were_stopped_are_no_part_of_a_difference():
  stopped = [('SoftPT', 0, 1), *(('SoftPT', 2, r) for r in range(3))]
  dataset = made_up(
    {'SoftPT': (True, SOFT), 'NoTuning': (True, UNTUNED)}, stopped
  )
  found = compared(dataset, 'SoftPT', 'NoTuning')
  assert (found.networks, found.repetitions) == (2, 2)
  np.testing.assert_allclose(
    (found.low, found.high), student([2.0 - 4.0, 2.5 - 5.0]), atol=1e-5
  )
  # Repetitions are paired: one that counts for one of two has no partner.
  first = [('SoftPT', 0, 0), ('FullWT', 0, 1), ('FullWT', 0, 2)]
  pair = {'SoftPT': (True, SOFT[:1]), 'FullWT': (True, SOFT[:1])}
  with pytest.raises(errors.UserError, match='no run in common'):
    compared(made_up(pair, first), 'SoftPT', 'FullWT')
  none = difference.regrets(dataset, 'SoftPT', 'home', 5)
  none = none._replace(counted=np.zeros_like(none.counted))
  with pytest.raises(errors.UserError, match='tuner: SoftPT has no run that'):
    difference.between(none)


def test_an_infinite_regret_has_no_interval():
  values = SOFT.copy()
  values[0, 0] = np.inf
  dataset = made_up({'SoftPT': (True, values), 'NoTuning': (True, UNTUNED)})
  found = compared(dataset, 'SoftPT', 'NoTuning')
  assert np.isposinf(found.difference) and np.isnan(found.low)


@pytest.mark.parametrize(
  ('means', 'said'),
  [
    (SOFT, 'over 3 repetitions on 3 networks'),
    (SOFT[:, :1], 'over 3 networks'),
    (SOFT[:1], 'over 3 repetitions on one network'),
    (SOFT[:1, :1], 'One network, tuned once'),
  ],
)
def test_the_table_says_what_it_is_over(means, said):
  dataset = made_up({'SoftPT': (True, means), 'PreBayes': (False, [[1.0]])})
  text = ' '.join(summary.table(dataset, 5).split())
  assert said in text
