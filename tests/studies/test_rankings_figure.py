"""The figures of rankings show the numbers of their runs."""

import numpy as np
import pytest

from bayes_prompting.experiment import run as run_lib
from bayes_prompting.studies.prompts import figure as rankings_figure
from bayes_prompting.studies.prompts import rankings
from configs import prompts
from tests.configs import test_configs_small
from tests.studies import test_rankings


@pytest.fixture(scope='module')
def runs():
  dataset = test_rankings.dataset()
  finite = dataset.copy(deep=True)
  finite.candidate_loss[3, 1, 1, 3] = 23.0
  return {
    'coins-lstm': rankings.read(finite),
    'coins-transformer': rankings.read(finite),
    'faster-lstm': rankings.read(dataset),
  }


def titled(figure):
  return {ax.get_title().partition('\n')[0]: ax for ax in figure.axes}


def test_ranks_have_a_marker_for_each_network_and_prefix(runs):
  axes = titled(rankings_figure.ranks(runs))
  ax = axes['coins → 0.8, LSTM']
  found = [np.asarray(x.get_offsets()) for x in ax.collections]
  run = runs['coins-lstm']
  assert len(found) == 2
  for points, network in zip(found, run.networks, strict=True):
    np.testing.assert_allclose(points[:, 0], run.bayes.mean)
    np.testing.assert_allclose(points[:, 1], network.mean)
  assert '0.00 (-0.95 to 0.95)\nties allow at most 0.95' in ax.get_title()
  missing = axes['switching → faster, Transformer']
  assert [text.get_text() for text in missing.texts] == ['not run']


def test_demonstrations_have_a_row_for_each_predictor(runs):
  axes = titled(rankings_figure.demonstrations(runs))
  ax = axes['coins → 0.8']
  rows = [text.get_text() for text in ax.get_yticklabels()]
  assert rows == [
    'exact Bayes',
    *('LSTM 1', 'LSTM 2'),
    *('Transformer 1', 'Transformer 2'),
  ]
  drawn = [
    (int(line.get_ydata()[0]), line.get_xdata()[0])
    for line in ax.lines
    if line.get_marker() == 'd'
  ]
  expected = rankings.shown(runs['coins-lstm']).expected.tolist()
  expected += expected[1:]
  assert drawn == [(i, pytest.approx(x)) for i, x in enumerate(expected)]
  assert len(axes['switching → faster'].get_yticklabels()) == 3


def test_tokens_are_those_of_the_best_and_of_what_is_drawn(runs):
  axes = titled(rankings_figure.tokens(runs))
  ax = axes['coins → 0.8']
  texts = [text.get_text() for text in ax.texts]
  # Four by exact Bayes, the best of four networks, six that are drawn: one each
  # of 01 and 10, and four of 11.
  losses = [float(text) for text in texts if text[0] in '0123456789']
  best, networks, drawn = losses[:4], losses[4:8], losses[8:]
  assert best == [0, 1, 1, 3]
  assert networks == [0, 3, 0, 3]
  assert drawn == [1, 1, 0, 0, 0, 0]
  assert len(ax.patches) == 2 * len(losses)


@pytest.mark.slow
def test_an_experiment_is_read_and_drawn(tmp_path):
  config = test_configs_small.tiny(prompts.get_config('coins,lstm,quick'))
  run_lib.run(config, tmp_path / 'prompts-coins-lstm')
  (tmp_path / 'prompts-markov-lstm').mkdir()  # Not finished.
  written = rankings_figure.make_all(tmp_path, tmp_path / 'figures')
  names = {path.stem for path in written}
  assert names == {
    'prompts_ranks',
    'prompts_demonstrations',
    'prompts_tokens',
  }
  run = rankings.read(run_lib.results.load(tmp_path / 'prompts-coins-lstm'))
  assert run.bayes.regrets.shape == (2, 4) and len(run.networks) == 2
  assert run.shares.sum() == pytest.approx(1)
  # Of coins the order does not matter to exact Bayes.
  one, other = run.bayes.mean[[1, 2]]
  assert one == pytest.approx(other, abs=rankings.TIE)


def test_without_runs_there_are_no_figures(tmp_path):
  assert rankings_figure.make_all(tmp_path, tmp_path / 'figures') == []
