"""A folder of runs: which are finished, and their tables as one."""

from collections.abc import Iterable
import json
import os
import pathlib
import re
import shutil

import pandas as pd
import xarray as xr

from bayes_prompting import errors
from bayes_prompting import plain
from bayes_prompting import results
from bayes_prompting import workdir

# An older run that was moved aside, see `workdir.claim`.
_ASIDE = re.compile(r'.*\.\d{4}-\d{2}-\d{2}-\d{6}-\d+')


def folders(folder: str | os.PathLike[str]) -> list[pathlib.Path]:
  """Returns the folders of all runs in a folder, finished or not, sorted.

  Raises:
    OSError: If the folder cannot be read.
  """
  return sorted(
    path
    for path in pathlib.Path(folder).iterdir()
    if (path / 'config.json').is_file() and not _ASIDE.fullmatch(path.name)
  )


def runs(folder: str | os.PathLike[str]) -> dict[str, workdir.Workdir]:
  """Returns the finished runs in a folder, by name, sorted."""
  found = [workdir.Workdir(path.absolute()) for path in folders(folder)]
  return {run.path.name: run for run in found if run.results.is_file()}


def load(folder: str | os.PathLike[str], name: str) -> xr.Dataset | None:
  """Returns the results of one run; None if it is not finished."""
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


def export(
  folder: str | os.PathLike[str], into: str | os.PathLike[str]
) -> pathlib.Path:
  """Copies what is small of a folder of runs, to travel with a repository.

  That is all tables and figures (PNG) of the folder itself, figures of runs
  that were looked into (`dynamics`), of the joined summary the two estimates
  that are reported (paired against the oracle, exact against Bayes), and
  `runs.json`: each run's size, versions and device.
  """
  folder, into = pathlib.Path(folder), prepare_export(into)
  for path in (*folder.glob('claims.*'), *folder.glob('figures/*.png')):
    shutil.copyfile(path, into / path.relative_to(folder))
  for name, run in runs(folder).items():
    for path in run.figures.glob('dynamics_*.png'):
      shutil.copyfile(path, into / 'figures' / f'{name}-{path.name}')
  summary = summaries(folder)
  reported = (summary.reference == 'oracle') & (summary.estimator == 'paired')
  reported |= (summary.reference == 'bayes') & (summary.estimator == 'exact')
  summary[reported].to_csv(
    into / 'summary.csv', index=False, float_format='%.5g'
  )
  records = {name: _record(run) for name, run in runs(folder).items()}
  (into / 'runs.json').write_text(json.dumps(records, indent=1) + '\n')
  return into


def prepare_export(into: str | os.PathLike[str]) -> pathlib.Path:
  """Makes the folder that `export` writes to.

  Raises:
    UserError: If it cannot be made, or written to.
  """
  into = pathlib.Path(into).expanduser()
  try:
    (into / 'figures').mkdir(parents=True, exist_ok=True)
    (into / 'runs.json').touch()
  except OSError as error:
    raise errors.UserError(
      f'export: cannot write {str(into)!r} ({error.strerror or error})'
    ) from None
  return into


def _record(run):
  """Returns what says how large a run was, and what it was made with."""
  record = workdir.read_record(run.path)
  config = record['config']
  return {
    'networks': config['pretraining']['num_seeds'],
    'repetitions': config['tuning']['num_repetitions'],
    'pretraining_updates': config['pretraining']['num_steps'],
    'tuning_updates': config['tuning']['num_steps'],
    'evaluation_sequences': config['evaluation']['num_sequences'],
    'config': plain.fingerprint(config),
    **record['numerical'],
    **record['other'],
  }
