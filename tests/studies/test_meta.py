"""The study of learned starts and made tasks: plan, claims, figures."""

import numpy as np
import pytest

from bayes_prompting import errors
from bayes_prompting import settings
from bayes_prompting.claims import judge
from bayes_prompting.experiment import build
from bayes_prompting.results import evidence
from bayes_prompting.settings import plain
from bayes_prompting.studies import study as studies
from bayes_prompting.studies.meta import claims as study_claims
from bayes_prompting.studies.meta import study
from configs import frontier
from configs import meta
from tests.claims import test_judge

SEEDS = np.linspace(0.95, 1.05, 5)
# What a network loses on its world without a prompt, and after some.
WORLD = {'NoTuning': 0.1, 'SoftPT': 9.1, 'NearPT': 5, 'MetaPlainPT': 7}
WORLD |= {'MetaPT': 2.1}


def rows(**target):
  """Rows of all experiments, in which methods lose so much on the target."""
  made = []
  for what in ('near-n16', 'near', 'far-n16'):
    for tuner, forgotten in WORLD.items():
      name = f'lstm-coins-{what}'
      losses = target.get(tuner, 0.3) * SEEDS
      made += test_judge.rows(name, tuner, 'target', 50, losses)
      made += test_judge.rows(name, tuner, 'world', 100, forgotten * SEEDS)
  for what, beyond in (('true', 0.0), ('pseudo4', 0.8), ('pseudo256', 0.01)):
    name = f'lstm-coins-{what}'
    for tuner, loss in (('NoTuning', 0.1), ('PreBayes', 0.01)):
      made += test_judge.rows(name, tuner, 'world', 100, beyond + loss * SEEDS)
      made += test_judge.rows(name, tuner, 'pool', 100, 0.02 * SEEDS)
    made += test_judge.rows(name, 'SoftPT', 'target', 50, 0.01 * SEEDS)
  return test_judge.table(made)


def verdicts(table):
  judged = judge.judge(study_claims.claims(['lstm']), table)
  return {x.claim.name: x.verdict for x in judged}


def test_claims_are_about_what_they_say():
  better = verdicts(rows(MetaPT=0.1, NearPT=0.35, MetaPlainPT=0.4))
  of_chains = {x for x in better if x.endswith('chains')}
  assert len(of_chains) == 4
  assert {better.pop(x) for x in of_chains} == {judge.NOT_RUN}
  assert set(better.values()) == {judge.HOLDS}
  worse = verdicts(rows(MetaPT=0.5, NearPT=0.35, MetaPlainPT=0.4))
  failed = {x for x, verdict in worse.items() if verdict == judge.FAILS}
  assert failed == {
    'few_want_a_learned_start',
    'many_do_not_mind',
    'far_is_no_worse',
    'regulariser_helps_far',
    'start_matters',
  }


def test_the_study_draws_what_there_is(tmp_path):
  evidence.append(tmp_path, rows().to_dict('records'))
  studies.write(study.STUDY, tmp_path, {})
  for name in ('starts', 'made'):
    assert (tmp_path / 'figures' / f'{name}.png').stat().st_size > 10_000


def test_the_plan_says_what_claims_are_about():
  plan = {x.name: x for x in meta.plan()}
  assert len(plan) == 2 * (2 * 5 + 2 * 5)
  for claim in study_claims.claims(['lstm', 'transformer_deep']):
    for network in claim.networks:
      for mean in claim.means.values():
        planned = plan[mean.of(network).experiment]
        assert mean.tuner in planned.methods
  # Networks are those of the study of all tuners, and shared with it.
  ours = plain.of(plan['lstm-coins-near-n64'].config())
  theirs = plain.of(frontier.get_config('lstm,coins,source,n64'))
  for section in ('network', 'pretraining', 'seed'):
    assert ours[section] == theirs[section]
  assert ours['tuning']['num_sequences'] == 64


@pytest.mark.parametrize('what', ['coins,near,n16', 'chains,pseudo4'])
def test_what_is_planned_can_be_built(what):
  config = meta.get_config(f'lstm,{what},quick')
  settings.validate(config)
  lab = build.build(config)
  if 'near' in what:
    assert lab.methods['MetaPT'].tuner.penalty is not None
    assert lab.methods['MetaPlainPT'].tuner.penalty is None
  else:
    assert lab.pretraining_task == 'pool'


@pytest.mark.parametrize(
  ('text', 'message'),
  [
    ('lstm,chains,near', "'near' goes with coins"),
    ('lstm,coins,true,n16', 'with near or far, got true'),
    ('lstm,coins,far,n16,n64', 'got far and n16 and n64'),
  ],
)
def test_mistakes_in_the_text_are_said(text, message):
  with pytest.raises(errors.UserError, match=message):
    meta.get_config(text)
