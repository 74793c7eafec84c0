"""Evidence adds up, row by row, and is never mixed or overwritten."""

import multiprocessing

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from bayes_prompting import errors
from bayes_prompting.results import evidence
from bayes_prompting.results import losses


def row(seed=0, mean=0.5, **change):
  return {
    'experiment': 'lstm-coin',
    'pretrain_seed': seed,
    'tuner': 'SoftPT',
    'task': 'coin',
    'step': 50,
    'reference': 'bayes',
    'estimator': 'exact',
    'settings': 'a',
    'numerics': '1',
    'mean': mean,
    'sem_sequences': 0.01,
    'values': '',
    'repetitions': 1,
    'stopped': 0,
    'learning_rate': 0.005,
    'prefix_init': 'one_hot',
    'packages': 'jax 1',
    'device': 'cpu',
    'date': '2026-01-01',
    **change,
  }


def test_rows_add_up_and_are_read_as_they_were(tmp_path):
  assert evidence.read(tmp_path).empty
  assert evidence.append(tmp_path / 'new', [row(3), row(1)]) == 2
  exact = row(None, sem_sequences=0.0, learning_rate=np.nan)
  assert evidence.append(tmp_path / 'new', [row(2, 1 / 3), exact]) == 2
  table = evidence.read(tmp_path / 'new')
  assert tuple(table) == evidence.COLUMNS
  # Sorted, so that few lines of the file change.
  assert table.pretrain_seed.tolist() == [pd.NA, 1, 2, 3]
  assert table['mean'].tolist() == [0.5, 0.5, 0.333333, 0.5]
  about = table[['packages', 'device', 'date']].values[0].tolist()
  assert about == ['jax 1', 'cpu', '2026-01-01']


def test_what_it_took_is_no_part_of_a_measurement(tmp_path):
  took = {'tuned_numbers': 384, 'updates': 400, 'multiply_adds': 1.25e6}
  evidence.append(tmp_path, [row(0, **took, seconds=0.02), row(1)])
  table = evidence.read(tmp_path)
  first, second = table[list(evidence.COST)].values
  assert first.tolist() == [*took.values(), 0.02]
  assert np.isnan(second).all()
  # Another machine is slower; a table may be older than the columns.
  assert evidence.append(tmp_path, [row(0, **took, seconds=0.5)]) == 0
  old = tmp_path / 'old.csv'
  old.write_text(table.drop(columns=list(evidence.COST)).to_csv(index=False))
  read = evidence.read_file(old)
  assert tuple(read) == evidence.COLUMNS
  assert evidence.append(tmp_path, read) == 0
  assert evidence.read(tmp_path).equals(table)


def test_the_same_row_is_not_added_again(tmp_path):
  evidence.append(tmp_path, [row(0), row(1)])
  before = (tmp_path / evidence.NAME).read_bytes()
  again = row(1, device='gpu', date='2027-01-01')
  assert evidence.append(tmp_path, [again, row(0)]) == 0
  assert (tmp_path / evidence.NAME).read_bytes() == before


@pytest.mark.parametrize(
  'change', [{'mean': 0.6}, {'repetitions': 2}, {'stopped': 1}]
)
def test_another_number_of_the_same_measurement_is_refused(tmp_path, change):
  evidence.append(tmp_path, [row(0)])
  before = (tmp_path / evidence.NAME).read_bytes()
  with pytest.raises(errors.UserError) as caught:
    evidence.append(tmp_path, [row(1), row(0, **change, device='gpu')])
  ((name, value),) = change.items()
  for part in (name, str(value), str(row()[name]), 'SoftPT', 'gpu', 'cpu'):
    assert part in str(caught.value)
  assert (tmp_path / evidence.NAME).read_bytes() == before


@pytest.mark.parametrize('name', evidence.KEY)
def test_every_part_of_a_key_makes_another_row(tmp_path, name):
  other = row()[name] + (1 if isinstance(row()[name], int) else 'x')
  evidence.append(tmp_path, [row()])
  assert evidence.append(tmp_path, [row(**{name: other}, mean=0.9)]) == 1


def test_rows_of_two_machines_merge(tmp_path):
  here, there = tmp_path / 'here', tmp_path / 'there'
  evidence.append(here, [row(0), row(1)])
  evidence.append(there, [row(1), row(2)])
  assert evidence.merge(here, there / evidence.NAME) == 1
  assert evidence.read(here).pretrain_seed.tolist() == [0, 1, 2]
  evidence.append(there, [row(3), row(4, 0.1)])
  evidence.append(here, [row(4, 0.2)])
  with pytest.raises(errors.UserError, match='0.2 there.*0.1 here'):
    evidence.merge(here, there / evidence.NAME)
  assert evidence.read(here).pretrain_seed.tolist() == [0, 1, 2, 4]


def _append(folder, first):
  for seed in range(first, first + 10):
    evidence.append(folder, [row(seed)])


def test_a_measurement_counts_once_in_a_table_that_was_merged_by_hand(tmp_path):
  path = tmp_path / evidence.NAME
  evidence.append(tmp_path, [row(0), row(1)])
  whole = path.read_text('utf-8')
  *_, last = whole.splitlines()
  path.write_text(f'{whole}{last.replace("2026-", "2027-")}\n', 'utf-8')
  assert evidence.read(tmp_path).date.tolist() == ['2026-01-01'] * 2
  path.write_text(f'{whole}{last.replace(",0.5,", ",0.7,")}\n', 'utf-8')
  with pytest.raises(errors.UserError, match=r'another mean .*0\.5 .*0\.7'):
    evidence.read(tmp_path)


def test_processes_append_at_once(tmp_path):
  context = multiprocessing.get_context('spawn')
  processes = [
    context.Process(target=_append, args=(tmp_path, first)) for first in (0, 10)
  ]
  for process in processes:
    process.start()
  for process in processes:
    process.join()
    assert process.exitcode == 0
  assert evidence.read(tmp_path).pretrain_seed.tolist() == list(range(20))


def test_a_byte_order_mark_is_no_part_of_a_name(tmp_path):
  path = tmp_path / 'networks.csv'
  path.write_text('\ufeff' + ','.join(evidence.COLUMNS) + '\n', 'utf-8')
  assert list(evidence.read_file(path).columns) == [*evidence.COLUMNS]


@pytest.mark.parametrize(
  'text, why',
  [
    ('a,b\n1,2\n', "no column 'experiment'"),
    (','.join(evidence.COLUMNS) + '\n' + 'x,' * 40 + '\n', 'cut off.*line 2'),
    (
      ','.join(evidence.COLUMNS)
      + '\n'
      + ','.join('x' * len(evidence.COLUMNS))
      + '\n',
      'no number',
    ),
    (
      ','.join(evidence.COLUMNS) + '\n' + ','.join('1' * len(evidence.COLUMNS)),
      'cut off',
    ),
    ('', "no column 'experiment'"),
    (','.join((*evidence.COLUMNS, 'mood')) + '\n', "column 'mood'.*not known"),
  ],
)
def test_what_is_no_table_is_refused(tmp_path, text, why):
  (tmp_path / evidence.NAME).write_text(text)
  for call in (evidence.read, lambda x: evidence.append(x, [row()])):
    with pytest.raises(errors.UserError, match=why):
      call(tmp_path)
  assert (tmp_path / evidence.NAME).read_text() == text


def test_what_was_computed_otherwise_is_never_mixed(tmp_path):
  rows = [
    row(0, date='2026-01-01'),
    row(1, date='2026-01-02'),
    row(0, 0.7, numerics='fit=2', date='2026-01-03'),
    row(1, 0.7, numerics='fit=2', date='2025-12-31'),  # The latest counts.
    row(0, 0.7, tuner='FullWT', date='2025-01-01'),
    row(0, 0.8, tuner='FullWT', settings='b', date='2024-01-01'),
  ]
  evidence.append(tmp_path, rows)
  current, others = evidence.current(evidence.read(tmp_path))
  assert sorted(current['mean']) == [0.7, 0.7, 0.7]
  assert sorted(others['mean']) == [0.5, 0.5, 0.8]


def test_what_is_measured_is_over_repetitions_then_sequences():
  regrets = np.array([[0.5, 1.5, 1.0, 3.0], [0.1, 0.3, 0.2, 0.2]])
  found = evidence.measured(regrets)
  assert found['mean'] == pytest.approx(regrets.mean())
  of_sequences = stats.sem(regrets.mean(0))
  assert found['sem_sequences'] == pytest.approx(of_sequences)
  assert (found['values'], found['repetitions']) == ('1.5 0.2', 2)
  once = evidence.measured(regrets[:1])
  assert (once['values'], once['repetitions']) == ('', 1)
  none = evidence.measured(regrets[:0])
  assert np.isnan(none['mean']) and none['repetitions'] == 0


def test_losses_are_those_of_the_networks(tmp_path):
  stopped = row(2, np.nan, repetitions=0, stopped=1)
  noise = [
    row(9, 9.0, experiment='other'),
    row(9, 9.0, task='other'),
    row(9, 9.0, reference='oracle'),
  ]
  rows = [row(0, 0.1), row(1, 0.2), stopped, row(0, 0.9, step=200), *noise]
  evidence.append(tmp_path, rows)
  found = losses.of_evidence(
    evidence.read(tmp_path), 'lstm-coin', 'coin', (50, 200)
  )
  assert found.tuning['SoftPT'].tolist() == [0.1, 0.2]
  assert found.last['SoftPT'].tolist() == [0.9]
  assert {x: str(y) for x, y in found.left_out.items()} == {'SoftPT': '1 of 3'}
