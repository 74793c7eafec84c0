"""A folder of runs: which runs are finished, and their summaries joined."""

from collections.abc import Iterable
import io
import os
import pathlib
import re

import pandas as pd
import xarray as xr

from bayes_prompting import errors
from bayes_prompting import results
from bayes_prompting.results import summary
from bayes_prompting.storage import workdir
from bayes_prompting.system import files

# The name of a run that was moved aside, see `workdir.claim`.
_ASIDE = re.compile(r'.*\.\d{4}-\d{2}-\d{2}-\d{6}-\d+')


def folders(folder: str | os.PathLike[str]) -> list[pathlib.Path]:
  """Returns the folders of all runs in a folder, sorted, finished or not.

  Raises:
    UserError: If the folder cannot be read.
  """
  folder = pathlib.Path(folder)
  try:
    paths = [*folder.iterdir()]
  except OSError as error:
    raise errors.UserError(
      f'workdir: cannot read the folder {str(folder)!r} ({files.why(error)}); '
      'give that of a run, or of several'
    ) from None
  return sorted(
    path
    for path in paths
    if (path / 'config.json').is_file() and not _ASIDE.fullmatch(path.name)
  )


def runs(folder: str | os.PathLike[str]) -> dict[str, workdir.Workdir]:
  """Returns the finished runs in a folder, by name, sorted."""
  every = [workdir.Workdir(path.absolute()) for path in folders(folder)]
  return {run.path.name: run for run in every if run.results.is_file()}


def load(folder: str | os.PathLike[str], name: str) -> xr.Dataset | None:
  """Returns the results of one run; None if it is not finished.

  Raises:
    UserError: If there is no such folder of runs, or if the results cannot be
      read.
  """
  if not pathlib.Path(folder).is_dir():
    raise errors.UserError(f'workdir: there is no folder {str(folder)!r}')
  path = pathlib.Path(folder) / name / 'results.nc'
  return results.load(path) if path.is_file() else None


def load_kind(
  folder: str | os.PathLike[str],
  kind: str,
  cases: Iterable[str],
  torsos: Iterable[str],
) -> dict[str, xr.Dataset]:
  """Returns the finished runs `KIND-CASE-TORSO` in a folder, by CASE-TORSO."""
  names = {
    f'{kind}-{case}-{torso}': f'{case}-{torso}'
    for case in cases
    for torso in torsos
  }
  return {names[x]: load(folder, x) for x in runs(folder) if x in names}


def summaries(folder: str | os.PathLike[str]) -> pd.DataFrame:
  """Returns the summaries of all finished runs, with the run's name in front.

  Raises:
    UserError: If one cannot be read.
  """
  tables = [
    _summary(run.summary).assign(run=name)
    for name, run in runs(folder).items()
    if run.summary.is_file()
  ]
  if not tables:
    return pd.DataFrame(columns=['run', *summary.COLUMNS])
  joined = pd.concat(tables, ignore_index=True)
  return joined[['run', *(name for name in joined if name != 'run')]]


def _summary(path):
  """Reads a summary."""
  text = io.StringIO(files.read_text(path, 'summary'))
  try:
    table = pd.read_csv(text, keep_default_na=False, na_values=[''])
  except ValueError as error:  # pandas' own errors are ValueErrors, too.
    raise errors.UserError(
      f'summary: cannot read {str(path)!r} ({files.why(error)}); delete it and '
      'run the same command again, which makes it anew'
    ) from None
  missing = [column for column in summary.COLUMNS if column not in table]
  if missing:
    raise errors.UserError(
      f'summary: {str(path)!r} is not a summary of this package (no column '
      f'{missing[0]})'
    )
  return table
