"""The study of all tuners, judged and drawn from a table of evidence."""

import functools

import pandas as pd

from bayes_prompting.claims import judge as judging
from bayes_prompting.reporting import style
from bayes_prompting.studies import study
from bayes_prompting.studies.frontier import claims as study_claims
from bayes_prompting.studies.frontier import figures
from bayes_prompting.studies.frontier import page
from bayes_prompting.studies.frontier import table as study_table
from bayes_prompting.system import console
from bayes_prompting.system import files


def _judge(table: pd.DataFrame) -> list[judging.Judged]:
  names = map(study_table.parse, dict.fromkeys(table.experiment))
  ran = (name.torso for name in names if name is not None)
  networks = dict.fromkeys([*figures.TITLES, *ran])
  return judging.judge(study_claims.claims(networks), table)


def _draw(folder, table, judged, configs):
  del judged, configs
  cells = study_table.cells(table)
  if cells.empty:
    return
  sections = study_table.of_torsos(cells)
  if sections.empty:  # Untuned networks alone.
    return
  marks = ['torso', 'target', 'tuner', 'rank', 'undominated']
  every = cells.merge(sections[marks], how='left')
  text = every.to_csv(index=False, float_format='%.4g', lineterminator='\n')
  files.write_text(folder.parent / 'frontier.csv', text, 'results')
  devices = sorted({*table[table.seconds.notna()].device})
  text = page.render(cells, sections, devices)
  files.write_text(folder.parent / 'README.md', text, 'results')
  draw = functools.partial(figures.frontier, study_table.overall(sections))
  with console.optional('figures'):
    style.write_all({'frontier': draw}, folder)


STUDY = study.Study(
  command='bayes-prompting frontier',
  title='Every way to adapt, on one scale',
  about='Small networks of width 64, adapted by all tuners to nine targets',
  judge=_judge,
  draw=_draw,
  titles={'lstm': 'LSTM', 'transformer': 'Transformer'}
  | {'selective_ssm': figures.TITLES['selective_ssm']},
)
