"""Many experiments in one folder, and what they say together."""

from collections.abc import Collection, Mapping
import os
import pathlib
import traceback

import jax
import ml_collections
import pandas as pd

from bayes_prompting import claim_tables
from bayes_prompting import collection
from bayes_prompting import compilation
from bayes_prompting import dynamics
from bayes_prompting import errors
from bayes_prompting import experiment
from bayes_prompting import paper_claims
from bayes_prompting import paper_figures
from bayes_prompting import report
from bayes_prompting import settings
from bayes_prompting import summary
from bayes_prompting import workdir


def run(
  configs: Mapping[str, ml_collections.ConfigDict],
  folder: str | os.PathLike[str],
  inside: Collection[str] = (),
) -> tuple[pd.DataFrame, list[str]]:
  """Runs experiments one after another, then judges the paper's claims.

  What is finished is not run again. An experiment that ends in an exception
  does not stop the others.

  Args:
    configs: Of each experiment, by its name, that of its folder. `paper_claims`
      looks for the names of `configs/paper.py`.
    folder: Where all of them are kept, and what is made of all of them.
    inside: Names of those that are also looked into, see `dynamics`.

  Returns:
    The claims table, see `claims.judge`, and the experiments that failed.

  Raises:
    UserError: If a configuration or a folder will not do; before anything runs.
  """
  compilation.use_cache()
  folder = pathlib.Path(folder)
  for name, config in configs.items():
    settings.validate(config)
    workdir.claim(folder / name, workdir.record(settings.plain(config)))
  failed = []
  for number, (name, config) in enumerate(configs.items(), 1):
    print(f'\n[{number}/{len(configs)}] {name}', flush=True)
    try:
      experiment.run(config, folder / name)
      if name in inside:
        dynamics.ensure(folder / name)
    except errors.UserError:
      raise
    except Exception:
      traceback.print_exc()
      failed.append(name)
    jax.clear_caches()  # The next has programs of its own.
  return collect(folder), failed


def collect(folder: str | os.PathLike[str]) -> pd.DataFrame:
  """Writes tables, figures and the report of all that is finished in a folder.

  Returns:
    The claims table.
  """
  folder = pathlib.Path(folder)
  table = paper_claims.judge(lambda name: collection.load(folder, name))
  claim_tables.save(table, folder)
  summary.save(collection.summaries(folder), folder / 'summary.csv')
  paper_figures.make_all(folder, folder / 'figures')
  report.write(folder)
  return table
