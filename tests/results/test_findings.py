"""Two sentences say what a run found, and nothing that it did not."""

import json

import numpy as np
import pytest

from bayes_prompting.results import dataset as dataset_lib
from bayes_prompting.results import summary

# Regret on the target and on two other tasks; what was tuned has a loss.
REGRETS = {
  'TargetBayes': (0.5, np.nan, np.nan),
  'EvalBayes': (np.nan, 0.25, 0.25),
  'PreBayesPT': (0.5, 0.5, 0.5),
  'NoTuning': (2.0, 0.25, 0.5),
  'HardPT': (1.0, 3.0, 1.0),
  'SoftPT': (0.75, 2.25, 1.0),
  'FullWT': (0.5625, 8.25, 1.25),
}
TUNED = ('SoftPT', 'FullWT')
TASKS = ('home', 'away', 'near')


def made_up(tuners, tasks=TASKS):
  builder = dataset_lib.Builder(
    {
      'tuner': tuners,
      'pretrain_seed': [0],
      'learning_rate': [1e-3],
      'prefix_init': ['normal'],
      'repetition': [0],
      'eval_task': tasks,
      'reference': ('oracle', 'bayes'),
      'estimator': ('sampled', 'exact', 'paired'),
      'step': [1, 2],
      'report_step': [1, 2],
      'sequence': range(2),
      'pretraining_step': [1],
      'tuning_step': [1],
      'candidate': ['0', '1'],
    }
  )
  for tuner in tuners:
    at = {'tuner': tuner, 'pretrain_seed': 0}
    settings = {'learning_rate': 1e-3, 'prefix_init': 'normal'}
    for task, value in zip(TASKS, REGRETS[tuner], strict=True):
      if task in tasks and not np.isnan(value):
        where = at | settings | {'eval_task': task}
        steps = np.broadcast_to(value * np.array([1.0, 2.0]), (1, 2, 3, 2))
        builder.put('instantaneous_regret', steps, **where)
        builder.put('cumulative_regret', steps, **where)
        builder.put(
          'sequence_regret', np.stack([steps, steps], axis=-1), **where
        )
        builder.put('judged', np.ones(1), **where)
    if tuner in TUNED:
      builder.put('tuning_loss', np.ones((1, 1)), **at, **settings)
    if tuner in ('HardPT', 'PreBayesPT'):
      builder.put('candidate_loss', np.ones((1, 2)), **at, candidate=['0', '1'])
  methods = {
    tuner: {'predictor': 'bayes' if tuner == 'PreBayesPT' else 'network'}
    for tuner in tuners
  }
  return builder.build(
    {'target': 'home', 'config': json.dumps({'methods': methods})}
  )


def test_the_best_on_the_target_and_what_it_costs():
  first, second = summary.findings(made_up([*REGRETS]))
  assert first == (
    'On home, the target, FullWT comes closest to exact Bayes: after 1 steps '
    'it loses 0.062 nats a sequence more, where the untuned network loses 1.5 '
    'more.'
  )
  assert second == (
    'On away, which it was not tuned to, FullWT loses 8 nats a sequence more, '
    'where the untuned network loses 0.00 more.'
  )
  first, _ = summary.findings(made_up([*REGRETS]), step=2)
  assert 'after 2 steps it loses 0.12 nats' in first


@pytest.mark.parametrize(
  ('left_out', 'said'),
  [
    (('FullWT',), 'SoftPT comes closest'),
    (('FullWT', 'SoftPT'), 'HardPT comes closest'),
    (('NoTuning',), 'loses 0.062 nats a sequence more.'),
  ],
)
def test_only_what_ran_is_spoken_of(left_out, said):
  ran = [tuner for tuner in REGRETS if tuner not in left_out]
  first, _ = summary.findings(made_up(ran))
  assert said in first


def test_without_a_tuned_network_or_a_target_nothing_is_said():
  assert not summary.findings(made_up(['TargetBayes', 'PreBayesPT']))
  assert not summary.findings(made_up([*REGRETS], tasks=('away',)))
  assert len(summary.findings(made_up([*REGRETS], tasks=('home',)))) == 1
