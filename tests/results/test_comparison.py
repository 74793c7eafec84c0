"""Runs side by side: what differs, what came out, and where rates end."""

import numpy as np
import pandas as pd

from bayes_prompting import results
from bayes_prompting.results import comparison
from tests.results import test_selection


def folder_of(path, names):
  """Makes folders of runs, of which the winner's rate is at the edge."""
  losses = test_selection.LOSSES | {'SoftPT': [[1.0], [3.0], [2.0]]}
  for name in names:
    (path / name).mkdir()
    dataset = test_selection.made_up(losses)
    dataset = dataset.assign_attrs(tuning_length=2, pretraining_length=4)
    results.save(dataset, path / name / 'results.nc')
  return path


def test_a_row_for_each_run_and_a_column_for_each_method(tmp_path):
  folder = folder_of(tmp_path, ['a-1', 'b-2'])
  settings = {
    'a-1': {'config': 'a.py', 'seed': '0', 'x': '1'},
    'gone': {'config': 'a.py', 'seed': '0', 'x': '2'},
    'b-2': {'config': 'a.py', 'seed': '1', 'x': '1'},
  }
  compared = comparison.read(folder, settings)
  assert compared.run.drop_duplicates().tolist() == ['a-1', 'b-2']
  assert set(compared.step) == {2}
  soft = compared[compared.tuner == 'SoftPT']
  # 7 less the final loss at the best position, see `made_up`.
  np.testing.assert_allclose(soft['mean'], 6.0)
  assert set(soft.edge) == {'highest'}
  text = comparison.text(compared, ['config', 'seed', 'x'])
  header, *rows = [line.split() for line in text.splitlines() if '  ' in line]
  assert header[0] == 'seed'  # The others are the same for all.
  assert set(test_selection.METHODS) <= set(header)
  assert [row[:2] for row in rows] == [['a-1', '0'], ['b-2', '1']]
  assert '(edge)' in text
  assert 'tuning.learning_rate' in text


def test_nothing_finished_is_said(tmp_path):
  compared = comparison.read(tmp_path, {'a': {'seed': '0'}})
  assert len(compared) == 0
  assert comparison.text(compared, ['seed']) == 'No run has results yet.'


def test_what_is_written_is_what_was_compared(tmp_path):
  compared = comparison.read(folder_of(tmp_path, ['a']), {'a': {'seed': '0'}})
  comparison.save(compared, tmp_path / 'comparison.csv')
  held = pd.read_csv(tmp_path / 'comparison.csv', keep_default_na=True)
  assert held.columns.tolist() == compared.columns.tolist()
  np.testing.assert_allclose(held['mean'], compared['mean'], rtol=1e-5)
