"""Many experiments in one folder, and what they say together."""

from collections.abc import Collection, Mapping
import json
import os
import pathlib
import sys
import traceback
from typing import Any

import jax
import ml_collections
import pandas as pd

from bayes_prompting import errors
from bayes_prompting import settings
from bayes_prompting.claims import tables
from bayes_prompting.dynamics import study
from bayes_prompting.experiment import fingerprint
from bayes_prompting.experiment import run as run_lib
from bayes_prompting.reporting import page
from bayes_prompting.results import runs
from bayes_prompting.results import summary
from bayes_prompting.settings import plain
from bayes_prompting.storage import workdir
from bayes_prompting.studies.paper import claims as paper_claims
from bayes_prompting.studies.paper import figures as paper_figures
from bayes_prompting.studies.paper import promptability as paper_promptability
from bayes_prompting.system import compilation
from bayes_prompting.system import distributed
from bayes_prompting.system import files
from bayes_prompting.system import locks

_RECORD = 'paper.json'  # What all experiments of a folder have in common.


def run(
  configs: Mapping[str, ml_collections.ConfigDict],
  folder: str | os.PathLike[str],
  inside: Collection[str] = (),
  common: Mapping[str, Any] | None = None,
) -> tuple[pd.DataFrame, list[str]]:
  """Runs experiments one after another, then judges the paper's claims.

  What is finished is not run again. An experiment that fails does not stop the
  others.

  Args:
    configs: Of each experiment, by its name, that of its folder. `paper_claims`
      looks for the names of `configs/paper.py`.
    folder: Where all of them are kept, and what is made of all of them.
    inside: Names of those that are also looked into, see `dynamics`.
    common: What all experiments that will ever be in the folder must share,
      such as their size; plain values. The first run decides.

  Returns:
    The claims table, see `claims.judge`, and the experiments that failed.

  Raises:
    UserError: If a configuration or a folder will not do, or there are other
      processes; before anything runs or is written.
  """
  if not distributed.alone():
    raise errors.UserError(
      'many experiments are run by a single process; run one of them with '
      'launch.experiment on several, or let launch.sweep submit them'
    )
  compilation.use_cache()
  folder = pathlib.Path(folder)
  _check(configs, folder, common or {})
  with locks.lock(folder):
    failed = _run_all(configs, folder, inside)
    return collect(folder), failed


def _run_all(configs, folder, inside):
  """Runs all experiments; returns the names of those that failed."""
  failed = []
  for number, (name, config) in enumerate(configs.items(), 1):
    print(f'\n[{number}/{len(configs)}] {name}', flush=True)
    try:
      run_lib.run(config, folder / name)
      if name in inside:
        study.ensure(folder / name)
    except errors.UserError as error:
      print(f'error: {name}: {error}', file=sys.stderr)
      failed.append(name)
    except Exception:
      traceback.print_exc()
      failed.append(name)
    jax.clear_caches()  # The next has programs of its own.
  return failed


def _check(configs, folder, common):
  """Checks all configurations and folders, then writes what is common."""
  for name, config in configs.items():
    settings.validate(config)
    record = fingerprint.record(plain.of(config))
    workdir.check(folder / name, record)
  path = folder / _RECORD
  held = files.read_json(path, 'workdir') if path.is_file() else common
  found = plain.difference(held, dict(common))
  if found:
    raise errors.UserError(
      f'workdir: {str(folder)!r} holds experiments of another kind (there and '
      f'here, {found}); choose another folder'
    )
  files.make_folder(folder, 'workdir')
  files.check_writable(folder, 'workdir')
  files.write_text(path, json.dumps(common, indent=2) + '\n', 'workdir')


def collect(folder: str | os.PathLike[str]) -> pd.DataFrame:
  """Writes tables, figures and the report of all that is finished in a folder.

  Returns:
    The claims table.
  """
  folder = pathlib.Path(folder)
  table = paper_claims.judge(lambda name: runs.load(folder, name))
  tables.save(table, folder)
  if runs.runs(folder):
    summary.save(runs.summaries(folder), folder / 'summary.csv')
    paper_figures.make_all(folder, folder / 'figures')
    paper_promptability.make_all(folder, folder / 'figures')
    page.write(folder)
  return table
