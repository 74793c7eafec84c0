"""The study of learned starts and made tasks, judged and drawn from a table."""

import pandas as pd

from bayes_prompting.claims import judge as judging
from bayes_prompting.studies import study
from bayes_prompting.studies.frontier import figures as frontier_figures
from bayes_prompting.studies.meta import claims as study_claims
from bayes_prompting.studies.meta import figures

# Of torsos that the study has networks of.
TITLES = {
  name: frontier_figures.TITLES[name] for name in ('lstm', 'transformer_deep')
}


def _judge(table: pd.DataFrame) -> list[judging.Judged]:
  return judging.judge(study_claims.claims(TITLES), table)


STUDY = study.Study(
  command='bayes-prompting meta',
  title='Starts learned over many targets, and networks without a prior',
  about='Small networks of width 64',
  judge=_judge,
  draw=study.of_rows(figures.draw),
  titles={'lstm': 'LSTM', 'transformer': 'Transformer'},
)
