"""The paper reproduced: many experiments in one folder, judged together."""

from collections.abc import Collection, Mapping
import json
import os
import pathlib
import traceback
from typing import Any

import jax
import ml_collections
import pandas as pd

from bayes_prompting import errors
from bayes_prompting import settings
from bayes_prompting.claims import tables
from bayes_prompting.dynamics import study
from bayes_prompting.experiment import build
from bayes_prompting.experiment import fingerprint
from bayes_prompting.experiment import memory
from bayes_prompting.experiment import run as experiment
from bayes_prompting.reporting import page
from bayes_prompting.reporting import page_claims
from bayes_prompting.results import runs
from bayes_prompting.results import summary
from bayes_prompting.settings import plain
from bayes_prompting.storage import workdir
from bayes_prompting.studies.paper import claims as paper_claims
from bayes_prompting.studies.paper import figures as paper_figures
from bayes_prompting.studies.paper import promptability as paper_promptability
from bayes_prompting.system import compilation
from bayes_prompting.system import console
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

  A finished experiment is not run again. An experiment that fails does not stop
  the others.

  Args:
    configs: The configuration of each experiment, by its name, which is also
      the name of its folder. The claims look for the names of
      `configs/paper.py`.
    folder: Where the experiments are kept, and all that is made of them.
    inside: Names of experiments that are also looked into, see `dynamics`.
    common: Plain values that all experiments in the folder must share, such as
      their size. The first run decides.

  Returns:
    The claims table, see `claims.judge`, and the experiments that failed.

  Raises:
    UserError: If a configuration or a folder will not do, or if there are other
      processes. Nothing has run by then, and nothing was written.
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
    console.say(f'\n[{number}/{len(configs)}] {name}')
    try:
      experiment.run(config, folder / name)
      if name in inside:
        study.ensure(folder / name)
    except errors.UserError as error:
      console.say(f'error: {name}: {error}', error=True)
      failed.append(name)
    except Exception:
      traceback.print_exc()
      failed.append(name)
    jax.clear_caches()  # The next experiment has programs of its own.
  return failed


def _check(configs, folder, common):
  """Checks all configurations and folders, then writes what they share."""
  for name, config in configs.items():
    settings.validate(config)
    record = fingerprint.record(plain.of(config))
    workdir.check(folder / name, record)
  path = folder / _RECORD
  held = files.read_json(path, 'workdir') if path.is_file() else common
  difference = plain.difference(held, dict(common))
  if difference:
    raise errors.UserError(
      f'workdir: {str(folder)!r} holds experiments of another kind (there and '
      f'here, {difference}); choose another folder'
    )
  files.make_folder(folder, 'workdir')
  files.check_writable(folder, 'workdir')
  files.write_text(path, json.dumps(common, indent=2) + '\n', 'workdir')


def collect(folder: str | os.PathLike[str]) -> pd.DataFrame:
  """Writes tables, figures and the report of all finished runs in a folder.

  Returns:
    The claims table.
  """
  folder = pathlib.Path(folder)
  table = paper_claims.judge(lambda name: runs.load(folder, name))
  tables.save(table, folder)
  if runs.runs(folder):
    summary.save(runs.summaries(folder), folder / 'summary.csv')
    with console.optional('figures'):
      paper_figures.make_all(folder, folder / 'figures')
    with console.optional('figures of promptability'):
      paper_promptability.make_all(folder, folder / 'figures')
    with console.optional('the report'):
      page.write(folder)
  return table


def check_sizes(configs: Mapping[str, ml_collections.ConfigDict]) -> None:
  """Builds all experiments, and compares each with the machine's memory.

  Raises:
    UserError: If one needs more memory than there is. Its name is in the line.
  """
  for name, config in configs.items():
    try:
      memory.check(build.build(config))
    except errors.UserError as error:
      raise errors.UserError(f'{name}: {error}') from None


def text(table: pd.DataFrame, folder: str | os.PathLike[str]) -> str:
  """Returns the claims table as text, and where its runs are not the paper's.

  Args:
    table: The claims table of `collect`.
    folder: The folder that holds the runs.
  """
  lines = [tables.text(table)]
  smaller = page_claims.smaller(
    workdir.read_config(run.path) for run in runs.runs(folder).values()
  )
  if smaller:
    lines.append(
      f"Not at the paper's settings, which bounds are made for: {smaller}."
    )
  return '\n'.join(lines)
