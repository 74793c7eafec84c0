"""A folder of runs: which runs are in it, and which of them are finished."""

from collections.abc import Iterable
import os
import pathlib
import re

import xarray as xr

from bayes_prompting import errors
from bayes_prompting import results
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
