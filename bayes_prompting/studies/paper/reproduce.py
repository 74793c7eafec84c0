"""The paper reproduced from a table of evidence: claims, figures, a page."""

import os
import pathlib

import pandas as pd

from bayes_prompting.dynamics import study as dynamics_study
from bayes_prompting.experiment import run as experiment
from bayes_prompting.results import losses
from bayes_prompting.storage import workdir
from bayes_prompting.studies import common
from bayes_prompting.studies import study
from bayes_prompting.studies.paper import claims as paper_claims
from bayes_prompting.studies.paper import fidelity
from bayes_prompting.studies.paper import figures as paper_figures
from bayes_prompting.studies.paper import promptability as paper_promptability
from bayes_prompting.system import console
from bayes_prompting.system import files


def _draw(folder, table, judged, configs):
  ablations = fidelity.table(table)
  if ablations:
    files.write_text(folder.parent / 'fidelity.md', ablations, 'results')
  runs = runs_of(table, configs)
  with console.optional('the figure of claims'):
    paper_figures.draw_claims(judged, folder)
  with console.optional('figures'):
    paper_figures.draw({name: run.lost for name, run in runs.items()}, folder)
  with console.optional('figures of promptability'):
    paper_promptability.draw(runs, folder)


def runs_of(
  table: pd.DataFrame, configs: study.Configs
) -> dict[str, paper_promptability.Run]:
  """Returns the experiments that have rows, as the paper's figures take them.

  Args:
    table: Rows of one version of everything, see `evidence.current`.
    configs: The configuration of each experiment, by name.
  """
  runs = {}
  for name, config in configs.items():
    steps = config.tuning.length, config.evaluation.length
    lost = losses.of_evidence(table, name, config.tuning.target, steps)
    if lost.tuning:
      runs[name] = paper_promptability.Run(config, lost)
  return runs


STUDY = study.Study(
  command='bayes-prompting paper',
  title="The paper's claims, judged",
  about=('Genewein et al. (arXiv 2505.17010), at the settings of its presets'),
  judge=paper_claims.judge,
  draw=_draw,
  titles=common.TITLES,
)


def look_inside(
  configs: study.Configs,
  folder: str | os.PathLike[str],
  into: str | os.PathLike[str],
) -> None:
  """Runs experiments with one network each, and draws what prompts do inside.

  Args:
    configs: The configuration of each experiment, by name.
    folder: Of the work; pretrained networks that it holds are used.
    into: A folder, whose `figures` get the figures, see `dynamics.study`.
  """
  into = pathlib.Path(into)
  files.make_folder(into / 'figures', 'results')
  for name, config in configs.items():
    config = config.copy_and_resolve_references()
    config.pretraining.num_seeds = config.tuning.num_repetitions = 1
    place = pathlib.Path(folder) / f'{name}-dynamics'
    experiment.run(config, place)
    dynamics_study.ensure(place)
    for path in workdir.Workdir(place).figures.glob('dynamics_*.png'):
      files.copy(path, into / 'figures' / f'{name}-{path.name}', 'results')
