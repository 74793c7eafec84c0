"""Rankings, against what a hand computes from the same rows."""

import json

import numpy as np
import pytest

from bayes_prompting import results
from bayes_prompting.results import ranking as ranking_lib
from tests.results import test_dataset

# Student's t at 97.5%, from a table, by degrees of freedom.
T = {1: 12.7062, 2: 4.30265, 3: 3.18245}
STEP = 5


def made_up(by_tuner, tuned, universal=()):
  """Results of a task, `home`.

  Args:
    by_tuner: {tuner: (has a network, regrets [P, R, S])}.
    tuned: Tuners that followed a gradient.
    universal: The universal predictors of a task that was recorded.
  """
  networks, repetitions, sequences = np.max(
    [np.shape(values) for _, values in by_tuner.values()], axis=0
  )
  coords = test_dataset.coords(
    tuner=[*by_tuner],
    pretrain_seed=range(networks),
    repetition=range(repetitions),
    eval_task=['home'],
    reference=universal or ('oracle', 'bayes'),
    sequence=range(sequences),
  )
  builder = results.Builder(coords)
  for tuner, (has_network, values) in by_tuner.items():
    for network, runs in enumerate(np.asarray(values, float)):
      seed = network if has_network else None
      at = {'tuner': tuner, 'pretrain_seed': seed, 'eval_task': 'home'}
      regret = runs[None, None, :, None, None, None]
      axes = ('reference', 'estimator', 'report_step', 'sequence')
      shape = (1, 1, len(runs), *(len(coords[x]) for x in axes))
      builder.put('sequence_regret', np.broadcast_to(regret, shape), **at)
      builder.put('judged', np.ones((1, 1, len(runs))), **at)
      if tuner in tuned:
        del at['eval_task']
        loss = np.ones((1, 1, len(runs), len(coords['tuning_step'])))
        builder.put('tuning_loss', loss, **at)
  methods = {
    tuner: {'predictor': 'network' if has_network else 'bayes'}
    for tuner, (has_network, _) in by_tuner.items()
  }
  attributes = {
    'config': json.dumps({'methods': methods}),
    'target': 'home',
    'universal': json.dumps({'home': universal} if universal else {}),
  }
  return builder.build(attributes)


def ranked(dataset):
  chosen = results.selection.choose(dataset)
  return ranking_lib.rank(chosen, 'home', STEP)


def constant(*values):
  """The same regret on all of four sequences, for each network."""
  return np.repeat(np.array(values)[:, None, None], 4, axis=2)


def check(difference, mean, half, over):
  assert difference.over == over
  assert difference.difference == pytest.approx(mean, abs=1e-5)
  assert difference.low == pytest.approx(mean - half, abs=1e-4)
  assert difference.high == pytest.approx(mean + half, abs=1e-4)


def test_the_best_is_told_from_others_over_networks():
  dataset = made_up(
    {
      'Soft': (True, constant(1.0, 2.0, 3.0)),
      'Full': (True, constant(0.5, 1.5, 2.2)),
      'Near': (True, constant(0.4, 1.6, 2.3)),
      'NoTuning': (True, constant(4.0, 4.1, 4.2)),
      'TargetBayes': (False, constant(1.0)),
      'Oracle': (False, constant(-9.0)),
    },
    tuned=('Soft', 'Full', 'Near'),
  )
  ranking = ranked(dataset)
  assert [x.tuner for x in ranking.standings] == [
    *('Oracle', 'TargetBayes', 'Full', 'Near', 'Soft', 'NoTuning'),
  ]
  assert [x.rank for x in ranking.standings] == [None, None, 1, 2, 3, None]
  assert [x.networks for x in ranking.standings] == [0, 0, 3, 3, 3, 3]
  by_name = {x.tuner: x for x in ranking.standings}
  # Variance of 0.5, 1.5, 2.2: (0.81 + 0.01 + 0.64) / 2.
  half = T[2] * np.sqrt(0.73 / 3)
  check(by_name['Full'].regret, 1.4, half, 'networks')
  # Of 0.5, 0.5, 0.8: (0.01 + 0.01 + 0.04) / 2 = 0.03, its error 0.1.
  check(by_name['Soft'].behind, 0.6, T[2] * 0.1, 'networks')
  assert ranking_lib.apart(by_name['Soft'].behind) is True
  # Of -0.1, 0.1, 0.1: mean 1/30, variance 0.04/3, error 1/15.
  check(by_name['Near'].behind, 1 / 30, T[2] / 15, 'networks')
  assert ranking_lib.apart(by_name['Near'].behind) is False
  assert by_name['Full'].behind is None
  # Of -0.5, 0.5, 1.2 with the other sign: exact Bayes is no better for sure.
  check(by_name['TargetBayes'].behind, -0.4, half, 'networks')
  assert ranking_lib.apart(by_name['TargetBayes'].behind) is False
  assert ranking_lib.apart(by_name['Oracle'].behind) is True
  assert ranking.of('EvalBayes', 'TargetBayes').tuner == 'TargetBayes'
  assert ranking.above == ''


def test_luck_with_sequences_counts_where_repetitions_agree():
  # Both repetitions lose 0.1 more, but on four sequences alone.
  worse = np.array([-1.0, 0.0, 0.2, 1.2])
  dataset = made_up(
    {
      'One': (True, np.zeros((1, 2, 4))),
      'Other': (True, np.tile(worse, (1, 2, 1))),
    },
    tuned=('One', 'Other'),
  )
  behind = ranked(dataset).standings[1].behind
  # Deviations from 0.1: 1.1, 0.1, 0.1, 1.1; variance 2.44 / 3.
  check(behind, 0.1, T[3] * np.sqrt(2.44 / 3 / 4), 'sequences')
  assert ranking_lib.apart(behind) is False
  # And luck with repetitions counts where sequences agree: 0 and 0.2.
  dataset = made_up(
    {
      'One': (True, np.zeros((1, 2, 4))),
      'Other': (True, np.repeat([[[0.0], [0.2]]], 4, axis=2)),
    },
    tuned=('One', 'Other'),
  )
  check(ranked(dataset).standings[1].behind, 0.1, T[1] * 0.1, 'repetitions')


def test_one_tuning_of_one_network_leaves_sequences():
  dataset = made_up(
    {
      'One': (True, [[[1.0, 2.0, 3.0]]]),
      'Other': (True, [[[1.5, 2.5, 3.5]]]),
    },
    tuned=('One', 'Other'),
  )
  first, second = ranked(dataset).standings
  check(first.regret, 2.0, T[2] * np.sqrt(1 / 3), 'sequences')
  check(second.behind, 0.5, 0.0, 'sequences')
  assert ranking_lib.apart(second.behind) is True
  assert (first.networks, first.repetitions) == (1, 1)


def test_what_is_infinite_or_no_number_or_stopped_comes_last():
  dataset = made_up(
    {
      'Wrong': (True, constant(1.0, np.nan)),
      'Stopped': (True, constant(0.0, 0.0)),
      'Infinite': (True, constant(1.0, np.inf)),
      'Negative': (True, constant(-1.0, -2.0)),
      'Plain': (True, constant(1.0, 2.0)),
    },
    tuned=('Wrong', 'Stopped', 'Infinite', 'Negative', 'Plain'),
  )
  dataset.stopped.loc[{'tuner': 'Stopped'}] = 1.0
  ranking = ranked(dataset)
  assert [x.tuner for x in ranking.standings] == [
    *('Negative', 'Plain', 'Infinite', 'Wrong', 'Stopped'),
  ]
  assert [x.rank for x in ranking.standings] == [1, 2, 3, 4, None]
  negative, _, infinite, wrong, stopped = ranking.standings
  check(negative.regret, -1.5, T[1] * 0.5, 'networks')
  assert infinite.behind.difference == np.inf
  assert ranking_lib.apart(infinite.behind) is None
  assert np.isnan(wrong.behind.difference)
  assert (stopped.regret, stopped.behind, stopped.networks) == (None, None, 0)
  assert ranking.of('Stopped') is None


def test_two_are_compared_on_the_networks_that_both_have():
  dataset = made_up(
    {
      'One': (True, constant(0.0, 0.0, 0.0)),
      'Other': (True, constant(0.3, 0.5, 9.0)),
    },
    tuned=('One', 'Other'),
  )
  dataset.stopped.loc[{'tuner': 'Other', 'pretrain_seed': 2}] = 1.0
  other = ranked(dataset).standings[1]
  check(other.behind, 0.4, T[1] * 0.1, 'networks')
  assert other.networks == 2


def test_the_first_may_be_behind_on_the_networks_that_both_have():
  dataset = made_up(
    {
      'Few': (True, constant(0.9, 3.0, 3.0)),
      'All': (True, constant(0.5, 2.0, 2.1)),
    },
    tuned=('Few', 'All'),
  )
  few = {'tuner': 'Few', 'pretrain_seed': [1, 2]}
  dataset.stopped.loc[few] = 1.0
  first, second = ranked(dataset).standings
  assert (first.tuner, first.networks) == ('Few', 1)
  check(second.behind, -0.4, 0.0, 'sequences')
  assert ranking_lib.apart(second.behind) is True


def test_a_recorded_task_is_ranked_above_its_universal_predictor():
  dataset = made_up(
    {
      'CTW': (False, constant(0.0)),
      'Soft': (True, constant(-1.0, -3.0)),
    },
    tuned=('Soft',),
    universal=('CTW',),
  )
  ranking = ranked(dataset)
  assert ranking.above == 'CTW'
  soft, ctw = ranking.standings
  assert (soft.rank, ctw.rank) == (1, None)
  check(soft.regret, -2.0, T[1], 'networks')
  check(ctw.behind, 2.0, T[1], 'networks')


def test_where_nothing_was_tuned_nothing_is_best():
  dataset = made_up({'NoTuning': (True, constant(1.0))}, tuned=())
  ranking = ranked(dataset)
  assert ranking.ranked == ()
  assert ranking.standings[0].behind is None
