"""Evidence: a table of regrets with a row for each network, which only grows.

An experiment ends; evidence adds up. Each row is a number of one network: most
often the mean regret of one tuner on one task after so many steps. Exact Bayes
has no network. Where its regret is a closed sum, its row says *exact* and has
no error. Rows are appended as networks end, from several processes, sessions
and machines. What is known of a claim is computed from this table alone (see
`claims.judge`).

A row has a key, and two rows of one key are the same measurement. `settings`
and `numerics` are part of the key: a number that was computed otherwise is
another row, never a better one.
"""

from collections.abc import Iterable
import csv
import io
import os
import pathlib

import numpy as np
import pandas as pd
import xarray as xr

from bayes_prompting import errors
from bayes_prompting.results import dataset as dataset_lib
from bayes_prompting.results import selection
from bayes_prompting.results import stopped
from bayes_prompting.system import files
from bayes_prompting.system import locks

NAME = 'networks.csv'
# What a row is about.
KEY = (
  'experiment',
  'pretrain_seed',  # Which network; empty for exact Bayes, which has none.
  'tuner',
  'task',
  'step',
  'reference',
  'estimator',
  'settings',  # A hash of the configuration, as far as the row depends on it.
  'numerics',  # Versions of the mathematics, see `registry.numerics`.
)
# What was measured, in nats: over repetitions, and over sequences.
MEASURED = (
  'mean',
  'sem_sequences',  # Of the mean over repetitions; 0 where a sum is exact.
  'values',  # Of single repetitions, with spaces between; empty for one.
  'repetitions',  # That count.
  'stopped',  # Repetitions that are left out, see `results.stopped`.
)
# How it came about.
ORIGIN = ('learning_rate', 'prefix_init', 'packages', 'device', 'date')
# What it took (`experiment.cost`). Machines differ in seconds, so these are no
# part of a measurement; they are empty where nobody looked.
COST = (
  'tuned_numbers',
  'updates',  # Or candidates that were scored.
  'multiply_adds',  # Of one of them, by shapes.
  'seconds',  # Of one of them, on the row's device, without compiling.
)
COLUMNS = (*KEY, *MEASURED, *ORIGIN, *COST)

_WHOLE = ('step', 'repetitions', 'stopped')
_FLOATS = ('mean', 'sem_sequences', 'learning_rate', *COST)
_FORMAT = '%.6g'
# Two machines agree on an exact number but for rounding: a unit of the last
# digit that is kept, or what float32 makes of a zero.
_SAME = {'rtol': 2e-5, 'atol': 1e-9}


def read(folder: str | os.PathLike[str]) -> pd.DataFrame:
  """Returns the rows of a folder, with `COLUMNS`; none if it has no table.

  `pretrain_seed` is a whole number or missing; numbers are float64; all else is
  text.

  Raises:
    UserError: If the table cannot be read, or is no table of evidence.
  """
  path = pathlib.Path(folder) / NAME
  return read_file(path) if path.exists() else _table([])


def read_file(path: str | os.PathLike[str]) -> pd.DataFrame:
  """Returns the rows of a file, see `read`; of equal ones the first.

  Raises:
    UserError: See `read`; and if it has two numbers of one measurement.
  """
  text = files.read_text(path, 'evidence').removeprefix('\ufeff')
  header, *lines = [*csv.reader(io.StringIO(text))] or [[]]
  missing = [
    name for name in COLUMNS if name not in header and name not in COST
  ]
  if missing:
    raise errors.UserError(
      f'evidence: {str(path)!r} is no table of evidence (no column '
      f'{missing[0]!r})'
    )
  unknown = [name for name in header if name not in COLUMNS]
  if unknown:  # They would be lost by the next row that is added.
    raise errors.UserError(
      f'evidence: {str(path)!r} has a column {unknown[0]!r} that is not known'
    )
  wrong = [i for i, x in enumerate(lines, 2) if len(x) != len(header)]
  if wrong or not text.endswith('\n'):
    raise errors.UserError(
      f'evidence: {str(path)!r} is cut off, or damaged, in line '
      f'{wrong[0] if wrong else len(lines) + 1}'
    )
  try:
    table = pd.DataFrame(lines, columns=header)
    table = _typed(table.reindex(columns=list(COLUMNS), fill_value=''))
  except ValueError as error:
    raise errors.UserError(
      f'evidence: {str(path)!r} holds what is no number ({files.why(error)})'
    ) from None
  # Two branches that were merged by hand may both have a measurement, and it
  # would count as one more network.
  return _new(table.iloc[:0], table, path)


def _typed(table):
  """Gives columns their types; raises ValueError where a value is of none."""
  table = table.copy()
  table['pretrain_seed'] = pd.array(
    [int(x) if x != '' else None for x in table.pretrain_seed], 'Int64'
  )
  for name in _WHOLE:
    table[name] = [int(x) for x in table[name]]
  for name in _FLOATS:
    table[name] = [float(x) if x != '' else np.nan for x in table[name]]
  return table


def _table(rows: Iterable[dict]) -> pd.DataFrame:
  """Returns rows as a table, in the digits that a file keeps."""
  table = pd.DataFrame(list(rows), columns=list(COLUMNS))
  table['pretrain_seed'] = table.pretrain_seed.astype('Int64')
  _, *lines = csv.reader(io.StringIO(_text(table)))
  return _typed(pd.DataFrame(lines, columns=list(COLUMNS)))


def _text(table):
  return table.to_csv(index=False, float_format=_FORMAT, lineterminator='\n')


def append(
  folder: str | os.PathLike[str], rows: Iterable[dict] | pd.DataFrame
) -> int:
  """Adds rows to the table of a folder, which is whole at every moment.

  Several processes may append at once. A row that is there already, with the
  same numbers, is not added again.

  Args:
    folder: It is made if it is not there.
    rows: With `COLUMNS`.

  Returns:
    How many rows are new.

  Raises:
    UserError: If a row is there with other numbers, which both are shown; or if
      the table cannot be read or written. It is as it was then.
  """
  folder = pathlib.Path(folder)
  if not isinstance(rows, pd.DataFrame):
    rows = _table(rows)
  files.make_folder(folder, 'evidence')
  with locks.lock(folder, wait=True):
    held = read(folder)
    new = _new(held, rows, folder / NAME)
    if len(new):
      table = pd.concat([held, new]) if len(held) else new
      table = table.sort_values(list(KEY), kind='stable', na_position='first')
      files.write_text(folder / NAME, _text(table), 'evidence')
  return len(new)


def merge(folder: str | os.PathLike[str], other: str | os.PathLike[str]) -> int:
  """Adds the rows of another machine's file, see `append`."""
  return append(folder, read_file(other))


def _new(held, rows, path):
  """Returns the rows whose key is not held, nor that of a row before them."""
  rows = rows.drop_duplicates()
  known = {_key(row): row for row in held.itertuples(index=False)}
  kept = []
  for row in rows.itertuples(index=False):
    key, before = _key(row), known.get(_key(row))
    if before is None:
      known[key] = row
      kept.append(row)
      continue
    for name in MEASURED:
      there, here = getattr(before, name), getattr(row, name)
      if not _is_same(there, here, _is_exact(before) and _is_exact(row)):
        about = ' '.join(str(x) for x in key[:7])
        raise errors.UserError(
          f'evidence: {str(path)!r} has another {name} of the same '
          f'measurement ({about}): {there} there, of {before.date} on '
          f'{before.device}, and {here} here, of {row.date} on {row.device}'
        )
  if len(kept) == len(rows):
    return rows
  return rows.iloc[:0] if not kept else _same_types(kept, rows)


def _is_exact(row):
  return pd.isna(row.pretrain_seed) and row.sem_sequences == 0


def _is_same(there, here, exact):
  """Returns whether two cells are the same, within rounding if exact."""
  if there == here or (pd.isna(there) and pd.isna(here)):
    return True
  if not exact:
    return False
  sides = [np.array(str(x).split(), np.float64) for x in (there, here)]
  return sides[0].shape == sides[1].shape and np.allclose(*sides, **_SAME)


def _same_types(rows, like):
  return pd.DataFrame(rows, columns=list(COLUMNS)).astype(like.dtypes.to_dict())


def _key(row):
  return tuple(
    None if pd.isna(getattr(row, name)) else getattr(row, name) for name in KEY
  )


def at(table: pd.DataFrame, **where) -> pd.DataFrame:
  """Returns the rows with these values of columns; None is an empty cell."""
  chosen = np.ones(len(table), bool)
  for name, value in where.items():
    if value is None:
      chosen &= table[name].isna().to_numpy()
      continue
    chosen &= (table[name] == value).fillna(False).to_numpy(bool)
  return table[chosen]


def of_results(dataset: xr.Dataset, experiment: str) -> pd.DataFrame:
  """Returns the rows of a results file, at the best settings of its grid.

  Claims of one's own are judged by these. They say nothing of versions, so they
  are not for a table that grows. Exact Bayes has no `pretrain_seed`; where its
  regret is a closed sum, there is one row in place of one for each estimator.

  Args:
    dataset: As loaded.
    experiment: The name that the rows have.
  """
  dataset = selection.choose(dataset)
  counted = stopped.counted(dataset)
  has_network = stopped.uses_network(dataset)
  exact, made = dataset_lib.exact(dataset), []
  sums = dataset_lib.exact_sums(dataset)
  for task in dataset.eval_task.values.tolist():
    for tuner in dataset.tuner.values.tolist():
      at = {'eval_task': task, 'tuner': tuner}
      runs = dataset.judged.sel(at).transpose('pretrain_seed', 'repetition')
      which = counted.sel(at).transpose('pretrain_seed', 'repetition').values
      regrets = dataset.sequence_regret.sel(at).transpose(
        'report_step', 'reference', 'estimator', *runs.dims, 'sequence'
      )
      known = sums.sel(at).transpose(*regrets.dims[:-1]).values
      is_exact = exact.sel(at).values
      uses_network = bool(has_network.sel(tuner=tuner))
      for i in np.flatnonzero((runs.values == 1).any(1)):
        ran = int((runs.values[i] == 1).sum())
        seed = int(dataset.pretrain_seed.values[i]) if uses_network else None
        for j, k, m in np.ndindex(regrets.shape[:3]):
          labels = dict(
            step=int(dataset.report_step.values[j]),
            reference=dataset.reference.values[k].item(),
            estimator=dataset.estimator.values[m].item(),
          )
          if not is_exact[k]:
            values = regrets.values[j, k, m, i].astype(np.float64)
            numbers = measured(values[which[i]])
          elif m == 0:  # All estimators have the same numbers.
            labels['estimator'] = 'exact'
            numbers = measured_exactly(known[j, k, m, i][which[i]])
          else:
            continue
          made.append(
            {
              'experiment': experiment,
              'pretrain_seed': seed,
              'tuner': tuner,
              'task': task,
              **labels,
              **numbers,
              'stopped': ran - int(which[i].sum()),
            }
          )
  return _table(made)


def measured_exactly(regrets: np.ndarray) -> dict[str, float | int | str]:
  """Returns what a row says of exact regrets [R] of the runs that count."""
  regrets = np.asarray(regrets, np.float64)[:, None]  # Without sequences.
  return measured(regrets) | {'sem_sequences': 0.0 if len(regrets) else np.nan}


def measured(regrets: np.ndarray) -> dict[str, float | int | str]:
  """Returns what a row says of regrets [R, S] of the runs that count, in nats.

  It is `mean`, `sem_sequences`, `values` and `repetitions`, see `MEASURED`.
  """
  count = len(regrets)
  mean = sem = np.nan
  if count:
    mean = regrets.mean()
    of_sequences = regrets.mean(0)
    with np.errstate(invalid='ignore'):  # Of an infinite mean.
      if len(of_sequences) > 1:
        sem = of_sequences.std(ddof=1) / np.sqrt(len(of_sequences))
  single = [f'{x:.6g}' for x in regrets.mean(-1)]
  return {
    'mean': mean,
    'sem_sequences': sem,
    'values': ' '.join(single) if count > 1 else '',
    'repetitions': count,
  }


def current(table: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
  """Splits rows into those of the newest settings and numerics, and all others.

  What may stand in one interval was computed in one way. Of an experiment's
  tuner on a task, the way of the latest date counts.

  Returns:
    The current rows, and the rest.
  """
  way = ['settings', 'numerics']
  newest = table.groupby(
    ['experiment', 'tuner', 'task', *way], as_index=False, sort=False
  ).date.max()
  newest = newest.sort_values('date', kind='stable').drop_duplicates(
    ['experiment', 'tuner', 'task'], keep='last'
  )
  keys = ['experiment', 'tuner', 'task', *way]
  ways = set(newest[keys].itertuples(index=False, name=None))
  counts = np.array(
    [x in ways for x in table[keys].itertuples(index=False, name=None)], bool
  )
  return table[counts], table[~counts]
