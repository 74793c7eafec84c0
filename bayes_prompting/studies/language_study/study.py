"""The study of a language model, judged and drawn from a table of evidence."""

import pandas as pd

from bayes_prompting.claims import judge as judging
from bayes_prompting.studies import study
from bayes_prompting.studies.language_study import claims as study_claims
from bayes_prompting.studies.language_study import figures


def _judge(table: pd.DataFrame) -> list[judging.Judged]:
  return judging.judge(study_claims.claims(), table)


STUDY = study.Study(
  command='bayes-prompting language-study',
  title='A real language model beside a known optimum',
  about='SmolLM2-135M and textgenrnn, one model each; seeds are tunings',
  judge=_judge,
  draw=study.of_rows(figures.draw),
  titles={
    study_claims.MODEL: 'SmolLM2-135M',
    study_claims.SMALL: 'textgenrnn',
  },
)
