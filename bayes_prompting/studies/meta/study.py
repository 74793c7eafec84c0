"""The study of learned starts and made tasks, judged and drawn from a table."""

import pandas as pd

from bayes_prompting.claims import judge as judging
from bayes_prompting.studies import study
from bayes_prompting.studies.frontier import figures as frontier_figures
from bayes_prompting.studies.meta import claims as study_claims
from bayes_prompting.studies.meta import figures
from bayes_prompting.system import console

# Of torsos that the study has networks of.
TITLES = {
  name: frontier_figures.TITLES[name] for name in ('lstm', 'transformer_deep')
}


def _judge(table: pd.DataFrame) -> list[judging.Judged]:
  return judging.judge(study_claims.claims(TITLES), table)


def _draw(folder, table, judged, configs):
  del judged, configs
  with console.optional('figures'):
    figures.draw(table, folder)


STUDY = study.Study(
  command='bayes-prompting meta',
  title='Starts learned over many targets, and networks without a prior',
  about='Small networks of width 64',
  judge=_judge,
  draw=_draw,
  titles={'lstm': 'LSTM', 'transformer': 'Transformer'},
)
