"""The figure of unknown targets shows the numbers of its runs."""

import numpy as np
import pytest

from bayes_prompting.experiment import run as run_lib
from bayes_prompting.results import losses as method_losses
from bayes_prompting.studies.novel import figure as novel_figure
from configs import novel
from tests.configs import test_configs_small


def run(tuning, verdict='limit', family=0.0):
  """Made-up losses, {method: values of networks}."""
  tuning = {m: np.asarray(x, float) for m, x in tuning.items()}
  losses = method_losses.Losses(tuning, tuning, (50, 100))
  return novel_figure.CaseRun(
    losses, novel_figure.Exact(verdict, 2.0, 0.5, family)
  )


RUNS = {
  'chain-lstm': run(
    {'PreBayes': [2.0], 'SoftPT': [0.3, 0.1], 'FullWT': [0.2, 1e-5]},
    'out_of_support',
    0.25,
  ),
  'chain-transformer': run({'SoftPT': [0.4]}, 'out_of_support', 0.25),
  'coin_known-lstm': run({'NoTuning': [1.5]}),
}


def dots(ax):
  return [line for line in ax.lines if line.get_marker() == 'o']


def test_the_overview_has_a_dot_for_each_network():
  figure = novel_figure.overview(RUNS)
  chain, coin = figure.axes
  assert [x.get_text() for x in chain.get_yticklabels()] == [
    'NoTuning',
    'SoftPT',
    'FullWT',
  ]
  found = {
    (round(line.get_ydata()[0]), line.get_mfc() == 'white'): [*line.get_xdata()]
    for line in dots(chain)
  }
  assert found == {
    (1, False): [0.3, 0.1],
    (2, False): [0.2, 1e-4],  # No further left.
    (1, True): [0.4],
  }
  assert [[*line.get_xdata()] for line in dots(coin)] == [[1.5]]
  assert 'outside' in chain.get_title() and 'limit' in coin.get_title()


def test_the_overview_marks_what_is_exact():
  figure = novel_figure.overview(RUNS)
  levels = [
    [line.get_xdata()[0] for line in ax.lines if line.get_marker() != 'o']
    for ax in figure.axes
  ]
  assert levels == [[2.0, 0.5, 0.25], [2.0, 0.5]]
  assert len(figure.axes[0].patches) == 1
  assert not figure.axes[1].patches  # Prompts reach it: nothing is ruled out.
  assert len(figure.legends[0].get_texts()) == 6


@pytest.mark.slow
def test_an_experiment_is_read_and_drawn(tmp_path):
  config = test_configs_small.tiny(novel.get_config('coin,lstm,quick'))
  run_lib.run(config, tmp_path / 'novel-coin-lstm')
  (tmp_path / 'novel-chain-lstm').mkdir()  # Not finished.
  written = novel_figure.make_all(tmp_path, tmp_path / 'figures')
  assert [path.name for path in written] == ['novel.png', 'novel.pdf']
  dataset = run_lib.results.load(tmp_path / 'novel-coin-lstm')
  found = novel_figure.read(dataset)
  assert found.exact.verdict == 'out_of_support'
  assert found.exact.none > found.exact.prefix > found.exact.family > 0
  # The exact sum agrees with what was measured, on few sequences.
  measured = found.losses.tuning['PreBayes'].item()
  assert measured == pytest.approx(found.exact.none, rel=0.2)


def test_without_runs_there_is_no_figure(tmp_path):
  assert novel_figure.make_all(tmp_path, tmp_path / 'figures') == []
