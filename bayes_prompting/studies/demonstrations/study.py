"""The study of demonstrations, judged and drawn from a table of evidence."""

import functools

import pandas as pd

from bayes_prompting.claims import judge as judging
from bayes_prompting.reporting import style
from bayes_prompting.studies import common
from bayes_prompting.studies import study
from bayes_prompting.studies.demonstrations import claims as study_claims
from bayes_prompting.studies.demonstrations import curves
from bayes_prompting.studies.demonstrations import figures
from bayes_prompting.studies.demonstrations import page
from bayes_prompting.system import console
from bayes_prompting.system import files


def _judge(table: pd.DataFrame) -> list[judging.Judged]:
  networks = dict.fromkeys([*curves.TORSOS, *curves.networks(table)])
  return judging.judge(study_claims.claims(networks), table)


def _draw(folder, table, judged, configs):
  del configs
  networks = curves.networks(table)
  points = curves.points(table, networks)
  text = page.render(points, judged, networks)
  files.write_text(folder.parent / 'README.md', text, 'results')
  draw = functools.partial(figures.shown, points, networks)
  with console.optional('figures'):
    style.write_all({'shown': draw}, folder)


STUDY = study.Study(
  command='bayes-prompting demonstrations',
  title='Demonstrations, prompts and weights',
  about='Small networks of width 64, shown 0 to 64 demonstrations',
  judge=_judge,
  draw=_draw,
  titles=common.TITLES,
)
