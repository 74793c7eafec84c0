"""A folder of runs: which are finished, and their tables as one."""

import os
import pathlib

import pandas as pd
import xarray as xr

from bayes_prompting import results
from bayes_prompting import workdir


def runs(folder: str | os.PathLike[str]) -> dict[str, workdir.Workdir]:
  """Returns the finished runs in a folder, by name, sorted."""
  folder = pathlib.Path(folder)
  found = {}
  for path in sorted(folder.iterdir()) if folder.is_dir() else ():
    run = workdir.Workdir(path.absolute())
    if (path / 'config.json').is_file() and run.results.is_file():
      found[path.name] = run
  return found


def load(folder: str | os.PathLike[str], name: str) -> xr.Dataset | None:
  """Returns the results of one run; None if it is not finished."""
  path = pathlib.Path(folder) / name / 'results.nc'
  return results.load(path) if path.is_file() else None


def summaries(folder: str | os.PathLike[str]) -> pd.DataFrame:
  """Returns the summaries of all finished runs, with their name in front."""
  tables = [
    pd.read_csv(run.summary, keep_default_na=False, na_values=['']).assign(
      run=name
    )
    for name, run in runs(folder).items()
    if run.summary.is_file()
  ]
  if not tables:
    return pd.DataFrame()
  joined = pd.concat(tables, ignore_index=True)
  return joined[['run', *(name for name in joined if name != 'run')]]
