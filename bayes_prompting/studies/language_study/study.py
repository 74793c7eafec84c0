"""The study of a language model, judged and drawn from a table of evidence."""

import pandas as pd

from bayes_prompting.claims import judge as judging
from bayes_prompting.studies import study
from bayes_prompting.studies.language_study import claims as study_claims
from bayes_prompting.studies.language_study import figures
from bayes_prompting.system import console


def _judge(table: pd.DataFrame) -> list[judging.Judged]:
  return judging.judge(study_claims.claims(), table)


def _draw(folder, table, judged, configs):
  del judged, configs
  with console.optional('figures'):
    figures.draw(table, folder)


STUDY = study.Study(
  command='bayes-prompting language-study',
  title='A real language model beside a known optimum',
  about='SmolLM2-135M, one model; seeds are tunings of it',
  judge=_judge,
  draw=_draw,
  titles={study_claims.MODEL: 'SmolLM2-135M'},
)
