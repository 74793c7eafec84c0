"""The study of architectures, judged and drawn from a table of evidence."""

import pandas as pd

from bayes_prompting.claims import judge as judging
from bayes_prompting.studies import study
from bayes_prompting.studies.architectures import claims as study_claims
from bayes_prompting.studies.architectures import figures
from bayes_prompting.system import console


def _judge(table: pd.DataFrame) -> list[judging.Judged]:
  torsos = dict.fromkeys([*figures.TITLES, *study_claims.torsos_of(table)])
  return judging.judge(study_claims.claims(torsos), table)


def _draw(folder, table, judged, configs):
  with console.optional('figures'):
    figures.draw(table, judged, folder, configs)


STUDY = study.Study(
  command='bayes-prompting architectures',
  title="Do the paper's findings hold for other architectures?",
  about='Small networks of about 33,000 weights a layer',
  judge=_judge,
  draw=_draw,
  titles=figures.TITLES,
)
