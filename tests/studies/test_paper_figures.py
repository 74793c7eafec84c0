"""Figures of many runs show the numbers of each, in the right panel."""

import numpy as np
import pytest

from bayes_prompting import results
from bayes_prompting.results import losses as method_losses
from bayes_prompting.studies.paper import figures as paper_figures

TASKS = ('home', 'away')
METHODS = ('TargetBayes', 'NoTuning', 'SoftPT', 'FullWT')


def run(*, tuning, last):
  """Made-up losses, {method: values of networks}."""
  return method_losses.Losses(
    {method: np.asarray(x, float) for method, x in tuning.items()},
    {method: np.asarray(x, float) for method, x in last.items()},
    (50, 200),
  )


ONE = run(
  tuning={'TargetBayes': [0.0], 'NoTuning': [1.0, 2.0], 'SoftPT': [0.03, 0.0]},
  last={'TargetBayes': [0.0], 'NoTuning': [3.0, 4.0], 'SoftPT': [0.3, np.inf]},
)
OTHER = run(tuning={'FullWT': [0.5]}, last={'FullWT': [0.6]})


def dots(ax, filled):
  """Returns {row: heights} of the dots of one kind in a panel."""
  found = {}
  for line in ax.lines:
    if line.get_marker() == 'o' and (line.get_mfc() != 'white') == filled:
      x, y = line.get_data()
      found[int(y[0])] = np.asarray(x).tolist()
  return found


def test_the_overview_has_a_dot_for_each_network_and_length():
  runs = {'lstm-single_coin': ONE, 'transformer-two_coin_mixture': OTHER}
  figure = paper_figures.overview(runs)
  rows = [label.get_text() for label in figure.axes[0].get_yticklabels()]
  assert rows == ['NoTuning', 'SoftPT', 'FullWT']
  titles = [ax.get_title() for ax in figure.axes]
  assert titles == [
    'LSTM, single coin',
    'LSTM, two-coin mixture',
    'Transformer, single coin',
    'Transformer, two-coin mixture',
  ]
  assert dots(figure.axes[0], True) == {0: [1, 2], 1: [0.03, 1e-4]}
  assert dots(figure.axes[0], False) == {0: [3, 4], 1: [0.3, np.inf]}
  assert dots(figure.axes[3], True) == {2: [0.5]}
  for ax in figure.axes[1:3]:
    assert 'not run' in [text.get_text() for text in ax.texts]


def test_prefix_lengths_are_drawn_against_their_length():
  lengths = (1, 6, 25)
  values = {f'SoftPT-{k}': [1 / k, 3 / k] for k in lengths}
  later = {f'SoftPT-{k}': [2 / k, 4 / k] for k in lengths}
  sweep = run(tuning=values | {'NoTuning': [2.0, 4.0]}, last=later)
  figure = paper_figures.prefix_lengths(
    {
      'transformer-single_coin-prefix_lengths': sweep,
      'transformer-single_coin': OTHER,
    }
  )
  (ax,) = figure.axes
  now, then = (line for line in ax.lines if line.get_marker() == 'o')
  np.testing.assert_allclose(now.get_data(), [lengths, [2, 1 / 3, 0.08]])
  np.testing.assert_allclose(then.get_ydata(), [3, 0.5, 0.12])
  labels = [text.get_text() for text in figure.legends[0].get_texts()]
  assert labels == [
    'SoftPT, after 50 steps',
    'SoftPT, after 200 steps',
    'NoTuning, after 50 steps',
    'FullWT, after 50 steps',
  ]


@pytest.fixture
def dataset():
  coords = {
    'tuner': METHODS,
    'pretrain_seed': range(2),
    'learning_rate': [1e-3],
    'prefix_init': ['normal'],
    'repetition': range(2),
    'eval_task': TASKS,
    'reference': ('oracle', 'bayes'),
    'estimator': ('sampled', 'exact', 'paired'),
    'step': range(1, 4),
    'report_step': (2, 3),
    'sequence': range(2),
    'pretraining_step': (),
    'tuning_step': (),
    'candidate': (),
  }
  builder = results.Builder(coords)
  for method, seeds, runs in (('TargetBayes', 1, 1), ('SoftPT', 2, 2)):
    for seed in range(seeds):
      at = {'tuner': method, 'pretrain_seed': seed, 'eval_task': 'home'}
      at |= {'learning_rate': 1e-3, 'prefix_init': 'normal'}
      values = np.full((runs, 2, 3, 3), 99.0)
      found = np.array([[1, 2, 3], [1, 4, np.nan]])[:runs] * (1 + seed)
      values[:, 1, 1] = found
      builder.put('cumulative_regret', values, **at)
      builder.put('judged', np.ones(runs), **at)
  attributes = {'target': 'home', 'tuning_length': 2, 'config': '{}'}
  return builder.build(attributes)


def test_losses_are_means_over_repetitions_of_the_exact_regret(dataset):
  found = method_losses.losses(dataset)
  assert found.steps == (2, 3)
  assert set(found.tuning) == {'TargetBayes', 'SoftPT'}
  assert found.tuning['TargetBayes'].tolist() == [2]
  assert found.tuning['SoftPT'].tolist() == [3, 6]
  # A run that went wrong is infinite.
  assert found.last['SoftPT'].tolist() == [np.inf, np.inf]
