"""The paper reproduced from a table of evidence: claims, figures, a page."""

from collections.abc import Mapping
import os
import pathlib

import ml_collections

from bayes_prompting import errors
from bayes_prompting.claims import judge as judging
from bayes_prompting.claims import page
from bayes_prompting.claims import tables
from bayes_prompting.dynamics import study
from bayes_prompting.experiment import run as experiment
from bayes_prompting.results import evidence
from bayes_prompting.results import losses
from bayes_prompting.storage import workdir
from bayes_prompting.studies import common
from bayes_prompting.studies.paper import claims as paper_claims
from bayes_prompting.studies.paper import figures as paper_figures
from bayes_prompting.studies.paper import promptability as paper_promptability
from bayes_prompting.system import console
from bayes_prompting.system import files

_COMMAND = 'bayes-prompting paper'


def write(
  into: str | os.PathLike[str],
  configs: Mapping[str, ml_collections.ConfigDict],
) -> list[judging.Judged]:
  """Judges the claims by the rows in a folder, and writes what is made of them.

  Args:
    into: The folder of the table of evidence. Claims and figures are written
      beside it.
    configs: The configuration of each experiment, by name.

  Returns:
    The judged claims.

  Raises:
    UserError: If there is no row, or if a file cannot be read or written.
  """
  into = pathlib.Path(into)
  table = evidence.read(into)
  if table.empty:
    raise errors.UserError(
      f'results: {str(into / evidence.NAME)!r} has no row to judge by; run '
      'something first'
    )
  current, others = evidence.current(table)
  judged = paper_claims.judge(current)
  tables.save(judging.table(judged), into)
  seeds = current.pretrain_seed.nunique()
  about = (
    f'Genewein et al. (arXiv 2505.17010), at the settings of its presets: '
    f'{seeds} pretraining seeds, {len(current)} numbers.'
  )
  if len(others):
    about += (
      f' {len(others)} numbers of other settings or versions are in the table '
      'of evidence, and are not counted here.'
    )
  page.write(
    judged,
    into,
    "The paper's claims, judged",
    about,
    [
      ('Ten more networks of each kind:', f'{_COMMAND} --seeds=20:30'),
      ('The same from the rows that are there:', f'{_COMMAND} --judge_only'),
      ('Rows of another machine:', f'{_COMMAND} --merge=other/networks.csv'),
    ],
    len(current),
    common.TITLES,
  )
  runs = {
    name: paper_promptability.Run(config, lost)
    for name, config in configs.items()
    if (lost := _lost(current, name, config)).tuning
  }
  files.make_folder(into / 'figures', 'results')
  with console.optional('the figure of claims'):
    paper_figures.draw_claims(judged, into / 'figures')
  with console.optional('figures'):
    paper_figures.draw(
      {name: run.lost for name, run in runs.items()}, into / 'figures'
    )
  with console.optional('figures of promptability'):
    paper_promptability.draw(runs, into / 'figures')
  return judged


def _lost(table, name, config):
  """Returns what the tuners of an experiment lose."""
  steps = config.tuning.length, config.evaluation.length
  return losses.of_evidence(table, name, config.tuning.target, steps)


def look_inside(
  configs: Mapping[str, ml_collections.ConfigDict],
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
    study.ensure(place)
    for path in workdir.Workdir(place).figures.glob('dynamics_*.png'):
      files.copy(path, into / 'figures' / f'{name}-{path.name}', 'results')


def text(judged: list[judging.Judged]) -> str:
  """Returns the claims for a terminal."""
  return tables.text(judging.table(judged))
