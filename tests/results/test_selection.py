"""The best of a grid is what its tuning losses say, and nothing else."""

import json

import numpy as np
import pytest

from bayes_prompting import errors
from bayes_prompting import regret
from bayes_prompting import results
from bayes_prompting.reporting import tuning_grid
from bayes_prompting.results import difference
from bayes_prompting.results import selection
from bayes_prompting.results import summary

RATES, INITS = (1e-1, 1e-3, 1e-2), ('normal', 'zeros')
SEEDS, RUNS, UPDATES, LENGTH = 2, 3, 20, 4
METHODS = ('NoTuning', 'SoftPT', 'FullWT', 'StatePT')


def made_up(losses, methods=METHODS, own_init='uniform'):
  """A Dataset with these final losses [L, P] of methods, others above them.

  Regret is best at the position where the loss is worst.
  """
  builder = results.Builder(
    {
      'tuner': methods,
      'pretrain_seed': range(SEEDS),
      'learning_rate': RATES,
      'prefix_init': INITS,
      'repetition': range(RUNS),
      'eval_task': ['home', 'away'],
      'reference': regret.REFERENCES,
      'estimator': regret.ESTIMATORS,
      'step': range(1, LENGTH + 1),
      'report_step': (2, LENGTH),
      'sequence': range(5),
      'pretraining_step': [],
      'tuning_step': range(1, UPDATES + 1),
      'candidate': [],
    }
  )
  for method in methods:
    final = np.asarray(losses.get(method, [[0.0]]))
    runs = np.linspace(-1, 1, RUNS) if method in losses else np.zeros(1)
    # Early updates say the contrary of the last two.
    curve = np.where(np.arange(UPDATES) < UPDATES - 2, -100.0, 1.0)
    for seed in range(SEEDS):
      at = {'tuner': method, 'pretrain_seed': seed}
      each = final[..., None] + runs
      if method in losses:
        builder.put('tuning_loss', each[..., None] * curve, **at)
      for task in ('home', 'away'):
        _put(builder, 7.0 - each, eval_task=task, **at)
  methods = {'StatePT': {'init': [own_init]}, 'SoftPT': {'init': INITS}}
  config = json.dumps({'methods': methods})
  return builder.build({'target': 'home', 'config': config})


def _put(builder, value, **at):
  builder.put('judged', np.ones(value.shape), **at)
  for name, tail in (
    ('cumulative_regret', (2, 3, LENGTH)),
    ('sequence_regret', (2, 3, 2, 5)),
  ):
    values = value.reshape(value.shape + (1,) * len(tail)) * np.ones(tail)
    builder.put(name, values, **at)


LOSSES = {
  'SoftPT': [[3.0, 2.5], [2.0, 1.5], [1.0, 1.75]],
  'FullWT': [[0.5], [0.25], [0.75]],
  'StatePT': [[0.5], [0.5], [0.75]],
}


def test_the_best_has_the_smallest_final_tuning_loss_of_all_runs():
  found = selection.best(made_up(LOSSES))
  assert found['SoftPT'] == selection.Choice(1e-2, 'normal', (2, 0))
  assert found['FullWT'] == selection.Choice(1e-3, '', (1, 0))
  # Of equals the first; and its initialisation is its own.
  assert found['StatePT'] == selection.Choice(1e-1, 'uniform', (0, 0))
  assert np.isnan(found['NoTuning'].learning_rate)
  assert found['NoTuning'].prefix_init == ''


@pytest.mark.parametrize('lost', [np.nan, np.inf, -np.inf])
def test_one_run_that_diverged_ranks_its_settings_last(lost):
  dataset = made_up(LOSSES)
  at = {'tuner': 'SoftPT', 'learning_rate': 1e-2, 'prefix_init': 'normal'}
  at |= {'pretrain_seed': 1, 'repetition': 2, 'tuning_step': UPDATES}
  dataset.tuning_loss.loc[at] = lost
  assert selection.best(dataset)['SoftPT'].index == (1, 1)
  # Where all have, the first is taken, but never what was not run.
  dataset.tuning_loss[:] = lost
  assert selection.best(dataset)['SoftPT'].index == (0, 0)
  dataset.judged.loc[{'learning_rate': 1e-1}] = np.nan
  assert selection.best(dataset)['SoftPT'].index == (1, 0)


def test_labels_restrict_the_choice():
  dataset = made_up(LOSSES)
  assert selection.position(dataset, 'SoftPT', learning_rate=1e-3) == (1, 1)
  assert selection.position(dataset, 'SoftPT', prefix_init='zeros') == (1, 1)
  assert selection.position(dataset, 'SoftPT', 1e-1, 'zeros') == (0, 1)
  with pytest.raises(errors.UserError, match='learning_rate.*0.1, .*got 0.5'):
    selection.position(dataset, 'SoftPT', 0.5)
  with pytest.raises(errors.UserError, match="prefix_init.*got 'zeros'"):
    selection.position(dataset, 'FullWT', prefix_init='zeros')


def test_a_report_shows_the_chosen_though_others_have_less_regret():
  dataset = made_up(LOSSES)
  chosen = selection.choose(dataset)
  assert not set(selection.AXES) & set(chosen.dims)
  assert selection.choose(chosen) is chosen
  assert chosen.learning_rate.sel(tuner='SoftPT') == 1e-2
  table = summary.summarize(dataset)
  assert table.equals(summary.summarize(chosen))
  rows = table.set_index('tuner')
  for method, loss, rate, init in (
    ('SoftPT', 1.0, 1e-2, 'normal'),
    ('FullWT', 0.25, 1e-3, ''),
    ('StatePT', 0.5, 1e-1, 'uniform'),
  ):
    np.testing.assert_allclose(rows.loc[method, 'median'], 7 - loss)
    assert (rows.loc[method, 'learning_rate'] == rate).all()
    assert (rows.loc[method, 'prefix_init'] == init).all()
    runs = results.sequence_regret(dataset, method, 'home', 2)
    np.testing.assert_allclose(runs.mean(), 7 - loss)
  found = difference.compare(dataset, 'SoftPT', 'FullWT', 'home', 2)
  np.testing.assert_allclose(found.difference, -0.75)
  text = summary.table(dataset)
  assert 'by the tuning loss' in text and '0.01      normal' in text
  one = dataset.isel(dict.fromkeys(selection.AXES, [0]))
  assert 'learning_rate' not in summary.table(one)


def test_settings_of_choice_can_be_asked_for():
  dataset = made_up(LOSSES)
  args = (dataset, 'SoftPT', 'home', 2, 'oracle', 'paired')
  runs = results.sequence_regret(*args, learning_rate=1e-1)
  np.testing.assert_allclose(runs.mean(), 7 - 2.5)
  runs = results.sequence_regret(*args, 1e-1, 'normal')
  np.testing.assert_allclose(runs.mean(), 7 - 3.0)


def test_a_part_of_the_grid_is_a_grid():
  dataset = made_up(LOSSES)
  part = dataset.sel(learning_rate=1e-1)  # No axis any more.
  assert selection.best(selection.whole(part))['SoftPT'].index == (0, 1)
  runs = results.sequence_regret(part, 'SoftPT', 'home', 2)
  np.testing.assert_allclose(runs.mean(), 7 - 2.5)
  rows = summary.summarize(part).set_index('tuner')
  assert (rows.loc['SoftPT', 'learning_rate'] == 1e-1).all()
  assert (rows.loc['SoftPT', 'prefix_init'] == 'zeros').all()
  # What was chosen has no others to ask for.
  with pytest.raises(errors.UserError, match='selection.choose'):
    chosen = selection.choose(dataset)
    results.sequence_regret(chosen, 'SoftPT', 'home', 2, learning_rate=1e-1)


def _lines(ax):
  """What is drawn with a line: (positions, heights), rings and levels aside."""
  lines = [x for x in ax.lines if x.get_linestyle() != 'None']
  return [(x.get_xdata(), x.get_ydata()) for x in lines if len(x.get_xdata())]


def test_the_figure_holds_means_of_losses_and_medians_of_regrets():
  dataset = made_up(LOSSES)
  figure = tuning_grid.tuning_grid(dataset)
  upper, zeros, lower, _ = figure.axes
  drawn = {tuple(y) for x, y in _lines(upper) if len(x) == len(RATES)}
  assert drawn == {(2, 1, 3), (0.25, 0.75, 0.5), (0.5, 0.75, 0.5)}
  assert all((np.diff(x) > 0).all() for x, _ in _lines(upper))
  ((x, y),) = _lines(zeros)
  np.testing.assert_allclose(x, sorted(RATES))
  np.testing.assert_allclose(y, [1.5, 1.75, 2.5])
  heights = [tuple(y) for _, y in _lines(lower)]
  assert (5, 6, 4) in heights and (7, 7) in heights  # And NoTuning's level.
  rings = [x for x in upper.lines if x.get_markerfacecolor() == 'none']
  assert {(*r.get_xdata(), *r.get_ydata()) for r in rings} == {
    (1e-2, 1.0),
    (1e-3, 0.25),
    (1e-1, 0.5),
  }


def test_the_figure_of_initialisations_alone(tmp_path):
  dataset = made_up(LOSSES).isel(learning_rate=[0])
  dataset = dataset.assign_attrs(target_bayes_loss=2.75)
  upper, lower = tuning_grid.tuning_grid(dataset).axes
  ticks = [text.get_text() for text in lower.get_xticklabels()]
  assert ticks == list(INITS)
  assert (0.25, -0.25) in [tuple(y) for _, y in _lines(upper)]


def test_no_grid_is_no_figure():
  dataset = made_up(LOSSES).isel(dict.fromkeys(selection.AXES, [0]))
  assert not tuning_grid.has_grid(dataset)
  with pytest.raises(errors.UserError, match='no grid'):
    tuning_grid.tuning_grid(dataset)


# A winner at the edge of its grid. The rates are 0.1, 0.001 and 0.01.


def test_a_winner_at_the_edge_of_the_rates_is_named_and_said_under_the_table():
  highest = [[1.0, 2.0], [3.0, 3.0], [2.0, 2.0]]
  losses = LOSSES | {'SoftPT': highest, 'StatePT': [[3.0], [2.0], [1.0]]}
  dataset = made_up(losses)
  assert selection.at_edge(dataset) == {'SoftPT': 'highest', 'FullWT': 'lowest'}
  table = summary.table(dataset)
  rows = {line.split()[0]: line for line in table.splitlines() if line.strip()}
  assert '0.1 (edge)' in rows['SoftPT']
  assert '0.001 (edge)' in rows['FullWT']
  assert 'edge' not in rows['StatePT'] + rows['NoTuning']
  (note,) = summary.edge_notes(dataset)
  assert note in table
  assert 'FullWT at the lowest, 0.001; SoftPT at the highest, 0.1' in note
  assert 'tuning.learning_rate' in note


def test_a_winner_inside_its_grid_is_not_warned_of():
  inside = [[3.0], [2.0], [1.0]]
  dataset = made_up(dict.fromkeys(('SoftPT', 'FullWT', 'StatePT'), inside))
  assert selection.at_edge(dataset) == {}
  assert 'edge' not in summary.table(dataset)


def test_one_rate_has_no_edge():
  dataset = made_up(LOSSES)
  for one in (dataset.isel(learning_rate=[0]), dataset.isel(learning_rate=0)):
    assert selection.at_edge(one) == {}
    assert summary.edge_notes(one) == []


def test_a_method_that_ran_at_one_rate_has_no_edge():
  # NoTuning follows no gradient, and has the first rate of the grid alone.
  assert 'NoTuning' not in selection.at_edge(made_up(LOSSES))
