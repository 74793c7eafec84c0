"""Networks' prompts are placed where their results say, beside exact ones."""

import numpy as np
import pytest

from bayes_prompting import errors
from bayes_prompting.experiment import run as run_lib
from bayes_prompting.results import losses as method_losses
from bayes_prompting.studies.paper import figures as paper_figures
from bayes_prompting.studies.paper import promptability as paper_promptability
from bayes_prompting.theory import hard_prefixes
from tests import testing
from tests.experiment import test_run

read = paper_promptability.read
METHODS = ('NoTuning', 'HardPT', 'SoftPT')


@pytest.fixture(scope='module')
def run():
  overrides = {
    'tuning.methods': METHODS,
    'tuning.num_repetitions': 1,
    'pretraining.num_seeds': 2,
    'evaluation.tasks': ('single_coin',),
  }
  return run_lib.run(test_run.tiny(**overrides))


def test_prompts_of_networks_are_those_of_the_results(run):
  panel = paper_promptability.panel({'Linear': [read(run)]})
  lost = method_losses.losses(run).tuning
  assert set(panel.networks) == {'Linear HardPT', 'Linear SoftPT'}
  for name, by_length in panel.networks.items():
    (rows,) = by_length
    assert rows == 2  # See `test_run.tiny`.
    np.testing.assert_array_equal(by_length[rows], lost[name.split()[-1]])
    assert len(by_length[rows]) == 2
  assert panel.length == 4


def test_exact_prompts_are_those_of_the_tasks(run):
  panel = paper_promptability.panel({'Linear': [read(run)]})
  curve = hard_prefixes.gap_curve(
    testing.random_coins(), testing.single_coin(), 4, 8
  )
  np.testing.assert_allclose(panel.gaps, curve.gaps)
  assert panel.prefix_lengths == curve.lengths.tolist()
  assert panel.family == pytest.approx(0, abs=1e-6)  # A coin is a limit.
  prior, target = paper_promptability.tasks(read(run))
  assert prior.support.covers(target.support.points[0])
  paper_promptability.gap({'single coin': panel})


def test_runs_of_other_tasks_are_refused(run):
  other = run_lib.run(
    test_run.tiny(
      **{
        'tuning.target': 'two_coin_mixture',
        'tuning.methods': ('NoTuning',),
        'evaluation.tasks': ('two_coin_mixture',),
      }
    )
  )
  run, other = read(run), read(other)
  for runs in ({'a': [run], 'b': [other]}, {'a': [run, other]}, {}, {'a': []}):
    with pytest.raises(errors.UserError, match='runs: must be one or more'):
      paper_promptability.panel(runs)


def test_a_curve_is_drawn_as_far_as_is_cheap(run, monkeypatch):
  # Of 10 values before one of 4 tokens: those of 3 prefixes.
  monkeypatch.setattr(hard_prefixes, '_MAX_PREDICTIONS', 3 * 10)
  assert paper_promptability.panel({'Linear': [read(run)]}).prefix_lengths == [
    0,
    1,
  ]


def test_a_panel_that_cannot_be_drawn_is_left_out(
  run, monkeypatch, tmp_path, capsys
):
  def panel(runs):
    raise errors.UserError('length: too many histories')

  monkeypatch.setattr(paper_promptability, 'panel', panel)
  runs = {f'lstm{target}': read(run) for target in paper_figures.TARGETS}
  assert paper_promptability.draw(runs, tmp_path / 'figures') == []
  lines = capsys.readouterr().out.splitlines()
  assert len(lines) == len(paper_figures.TARGETS)
  assert all('too many histories' in line for line in lines)


def test_nothing_is_drawn_of_nothing(tmp_path):
  assert paper_promptability.draw({}, tmp_path / 'figures') == []
  assert not (tmp_path / 'figures').exists()
