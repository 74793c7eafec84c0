"""A study: experiments run network by network, claims judged by their rows.

The table of evidence (`results.evidence`) is all that a study needs of what was
run. Claims, figures and the page are written beside it.
"""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import os
import pathlib

import ml_collections
import pandas as pd

from bayes_prompting import errors
from bayes_prompting.claims import judge as judging
from bayes_prompting.claims import page
from bayes_prompting.claims import tables
from bayes_prompting.results import evidence
from bayes_prompting.system import console
from bayes_prompting.system import files

Configs = Mapping[str, ml_collections.ConfigDict]
Draw = Callable[
  [pathlib.Path, pd.DataFrame, Sequence[judging.Judged], Configs], None
]


@dataclasses.dataclass(frozen=True)
class Study:
  """What a study claims, and how it is shown.

  Attributes:
    command: The command that runs it.
    title: Of its page.
    about: What was run, without the counts, as a part of a sentence.
    judge: Judges all claims by a table of evidence.
    draw: Draws figures into a folder, given the evidence, the judged claims,
      and the configuration of each experiment by name.
    titles: Of torsos whose names are no titles, such as `lstm`.
  """

  command: str
  title: str
  about: str
  judge: Callable[[pd.DataFrame], list[judging.Judged]]
  draw: Draw
  titles: Mapping[str, str] = dataclasses.field(default_factory=dict)


def of_rows(
  draw: Callable[[pd.DataFrame, pathlib.Path], None],
) -> Draw:
  """Returns a study's `draw` for figures that need the evidence alone."""

  def drawn(folder, table, judged, configs):
    del judged, configs
    with console.optional('figures'):
      draw(table, folder)

  return drawn


def write(
  study: Study,
  into: str | os.PathLike[str],
  configs: Configs,
  note: str = '',
) -> list[judging.Judged]:
  """Judges the claims by the rows in a folder, and writes what is made of them.

  Args:
    study: What is claimed.
    into: The folder of the table of evidence. Claims and figures are written
      beside it.
    configs: The configuration of each experiment, by name.
    note: What the page says beside, such as that these are other settings.

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
  judged = study.judge(current)
  tables.save(judging.table(judged), into)
  seeds = current.pretrain_seed.nunique()
  most = max(current.pretrain_seed.dropna(), default=-1) + 1
  about = f'{study.about}: {seeds} pretraining seeds, {len(current)} numbers.'
  if note:
    about += f' {note}'
  if len(others):
    about += (
      f' {len(others)} numbers of other settings or versions are in the table '
      'of evidence, and are not counted here.'
    )
  page.write(
    judged,
    into,
    study.title,
    about,
    [
      (
        'Ten more networks of each kind:',
        f'{study.command} --seeds={most}:{most + 10}',
      ),
      (
        'The same from the rows that are there:',
        f'{study.command} --judge_only',
      ),
      (
        'Rows of another machine:',
        f'{study.command} --merge=other/networks.csv',
      ),
    ],
    len(current),
    study.titles,
  )
  files.make_folder(into / 'figures', 'results')
  study.draw(into / 'figures', current, judged, configs)
  return judged


def text(judged: list[judging.Judged]) -> str:
  """Returns the claims for a terminal."""
  return tables.text(judging.table(judged))
