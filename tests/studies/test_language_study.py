"""The study of a language model: plan, claims, figures. No model is needed."""

import numpy as np
import pytest

from bayes_prompting import errors
from bayes_prompting import settings
from bayes_prompting.claims import judge
from bayes_prompting.results import evidence
from bayes_prompting.studies import study as studies
from bayes_prompting.studies.language_study import claims as study_claims
from bayes_prompting.studies.language_study import study
from configs import language_model
from tests.claims import test_judge

SEEDS = np.array([0.95, 1.0, 1.05])
# What is lost in 50 tokens, where nothing else is said.
LOSSES = {
  'PreBayes': 1.1,
  'NoTuning': 8.0,
  'HardPT': 2.0,
  'SoftPT': 0.2,
  'DeepPT': 0.2,
  'LoRAWT': 0.3,
  'SoftPT+LoRAWT': 0.2,
  'FullWT': 0.1,
}
OTHERWISE = {
  ('two_coins', 'SoftPT'): 3.0,
  ('coin-k1', 'SoftPT'): 1.5,
  ('coin-textgenrnn', 'SoftPT'): 9.0,
  ('coin-n16', 'SoftPT'): 0.5,
  ('coin-n16', 'LoRAWT'): 4.0,
}


def rows(**losses):
  """Rows of all that is planned, in which methods lose so much on the coin."""
  made = []
  for planned in language_model.plan():
    task = planned.name.partition('-')[0]
    for method in planned.methods:
      loss = OTHERWISE.get((planned.name, method), LOSSES[method])
      if planned.name == 'coin':
        loss = losses.get(method, loss)
      for step in (50, 100):
        values = loss * SEEDS * step / 50
        made += test_judge.rows(planned.name, method, task, step, values)
  return test_judge.table(made)


def verdicts(table):
  judged = judge.judge(study_claims.claims(), table)
  return {x.claim.name: x.verdict for x in judged}


def test_claims_are_about_what_they_say():
  assert set(verdicts(rows()).values()) == {judge.HOLDS}
  worse = verdicts(rows(SoftPT=9.0, NoTuning=1.0))
  failed = {x for x, verdict in worse.items() if verdict == judge.FAILS}
  assert failed == {
    'untuned_is_no_bayesian',
    'prompt_reaches_coin',
    'soft_beats_hard',
    'deep_is_no_better',
  }


def test_the_best_instruction_is_what_counts():
  table = rows()
  of_one = (table.experiment == 'coin-said3') & (table.tuner == 'NoTuning')
  table.loc[of_one, 'mean'] = 1.2
  judged = verdicts(table)
  assert judged['said_is_not_enough'] == judge.FAILS
  assert judged['search_beats_instructions'] == judge.FAILS


def test_the_study_draws_what_there_is(tmp_path):
  evidence.append(tmp_path, rows().to_dict('records'))
  studies.write(study.STUDY, tmp_path, {})
  for name in ('regret', 'size'):
    assert (tmp_path / 'figures' / f'{name}.png').stat().st_size > 10_000


def test_the_plan_says_what_claims_are_about():
  plan = {x.name: x for x in language_model.plan()}
  assert len(plan) == len(language_model.plan())
  for claim in study_claims.claims():
    for mean in claim.means.values():
      planned = plan[mean.experiment]
      assert mean.tuner in planned.methods
      config = planned.config()
      assert mean.task == config.tuning.target
      assert mean.step in (config.tuning.length, config.evaluation.length)
  config = plan['coin'].config()
  updates = config.tuning.num_steps * config.tuning.batch_size
  assert updates == study_claims.MOST


def test_what_may_follow_a_target_is_what_it_says():
  config = language_model.get_config('coin,said3,shown16,k20,n64')
  settings.validate(config)
  assert '0.2' in config.network.language_model.context
  assert config.tasks.coin.num == 16
  assert config.tuning.prefix_length == 20
  assert config.tuning.num_sequences == 64


@pytest.mark.parametrize(
  ('text', 'message'),
  [
    ('coin,k1,k20', 'at most one of k1, k20, got k1 and k20'),
    ('die,said1', "'said1' tells of the coin, got 'die'"),
    ('coin,said1,textgenrnn', "'textgenrnn' knows no token"),
    ('cone', 'cone'),
  ],
)
def test_mistakes_in_the_text_are_said(text, message):
  with pytest.raises(errors.UserError, match=message):
    language_model.get_config(text)
