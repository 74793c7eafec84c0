"""The study of architectures: plan, claims with known verdicts, figures."""

import numpy as np
import pytest

from bayes_prompting import errors
from bayes_prompting import settings
from bayes_prompting import trees
from bayes_prompting.claims import judge
from bayes_prompting.experiment import build
from bayes_prompting.results import evidence
from bayes_prompting.studies.architectures import claims as study_claims
from bayes_prompting.studies.architectures import figures
from bayes_prompting.studies.architectures import study
from bayes_prompting.theory import expectation
from configs import architectures
from tests import testing
from tests.claims import test_judge

OWN = 'my_lab.mine'


def world(network):
  """Regrets {(experiment, tuner, task, step): typical value}: all hold."""
  coins, untrained = f'{network}-coins', f'{network}-coins-untrained'
  made = {
    (coins, 'NoTuning', 'world', 100): 0.02,
    (f'{network}-chains', 'NoTuning', 'world', 100): 0.04,
    (f'{network}-switching', 'NoTuning', 'world', 100): 0.1,
    (coins, 'HardPT', 'target', 50): 0.5,
    (coins, 'StatePT', 'target', 50): 0.01,
  }
  for tuner, experiment, values in (
    ('SoftPT', coins, (0.02, 0.1)),
    ('NoTuning', coins, (1.5, 3.0)),
    ('SoftPT', untrained, (0.1, 0.2)),
  ):
    for step, value in zip((50, 500), values, strict=True):
      made[experiment, tuner, 'target', step] = value
  for tuner, value in (('SoftPT', 0.4), ('LoRAWT', 0.02), ('FullWT', 0.01)):
    made[f'{coins}-mixture', tuner, 'target', 50] = value
  for world, step in (('coins', 300), ('chains', 100)):
    name = f'{network}-{world}-after{step}'
    made[name, 'NoTuning', 'world', 100] = 0.2
  return made


def evidence_of(made, spread=1e-4):
  networks = np.exp(0.1 * np.random.default_rng(0).normal(size=8))
  rows = [
    row
    for key, value in made.items()
    for row in test_judge.rows(*key, value * networks)
  ]
  of_order = {'reference': 'reorderings', 'estimator': 'spread'}
  for network in {key[0].split('-')[0] for key in made}:
    at = f'{network}-coins', 'NoTuning', 'world', 50
    rows += test_judge.rows(*at, spread * networks, **of_order)
  return test_judge.table(rows)


def judged(made, network='lstm', **kwargs):
  every = study.STUDY.judge(evidence_of(made, **kwargs))
  return {x.claim.name: x for x in every if x.network == network}


def test_there_is_a_world_in_which_all_claims_hold():
  verdicts = {name: x.verdict for name, x in judged(world('lstm')).items()}
  assert set(verdicts.values()) == {judge.HOLDS}
  assert set(verdicts) == set(figures._HEADS)


@pytest.mark.parametrize(
  'change, name',
  [
    ({('lstm-coins', 'NoTuning', 'world', 100): 0.06}, 'is_bayes_coins'),
    ({('lstm-chains', 'NoTuning', 'world', 100): 0.11}, 'is_bayes_chains'),
    ({('lstm-switching', 'NoTuning', 'world', 100): 0.3}, 'is_bayes_switching'),
    ({('lstm-coins', 'HardPT', 'target', 50): 0.05}, 'soft_beats_hard'),
    (
      {
        ('lstm-coins', 'SoftPT', 'target', 50): 0.06,
        ('lstm-coins', 'SoftPT', 'target', 500): 0.14,
        ('lstm-coins', 'StatePT', 'target', 50): 0.02,
      },
      'soft_reaches',
    ),
    ({('lstm-coins', 'StatePT', 'target', 50): -0.09}, 'state_gains_little'),
    ({('lstm-coins', 'SoftPT', 'target', 500): 0.5}, 'soft_lasts'),
    (
      {('lstm-coins-mixture', 'SoftPT', 'target', 50): 0.04},
      'soft_does_not_reach',
    ),
    ({('lstm-coins-mixture', 'LoRAWT', 'target', 50): 0.06}, 'lorawt_reaches'),
    ({('lstm-coins-mixture', 'FullWT', 'target', 50): 0.06}, 'fullwt_reaches'),
    (
      {
        ('lstm-coins-untrained', 'SoftPT', 'target', 50): 0.2,
        ('lstm-coins-untrained', 'SoftPT', 'target', 500): 0.3,
      },
      'untrained_is_close',
    ),
    (
      {('lstm-coins-untrained', 'SoftPT', 'target', 500): 0.5},
      'untrained_lasts',
    ),
  ],
)
def test_each_claim_fails_by_its_own_number(change, name):
  assert set(change) <= set(world('lstm'))
  verdicts = judged(world('lstm') | change)
  failed = [x for x, one in verdicts.items() if one.verdict != judge.HOLDS]
  assert failed == [name]
  assert verdicts[name].verdict == judge.FAILS


def test_order_counts_where_predictions_spread():
  verdicts = judged(world('lstm'), spread=1e-3)
  failed = [x for x, one in verdicts.items() if one.verdict != judge.HOLDS]
  assert failed == ['exchangeable']


def test_bounds_are_parts_of_what_exact_bayes_loses():
  coins = testing.random_coins()
  chains = testing.task_prior(
    'dirichlet_markov', order=1, concentration=(1.0, 1.0)
  )
  for world, prior in (('coins', coins), ('chains', chains)):
    lost = expectation.expected_regret(prior, prior, 100).sum()
    assert study_claims.IS_BAYES[world] == pytest.approx(0.03 * lost, rel=0.15)
  lost = expectation.expected_regret(coins, testing.single_coin(), 500)
  assert study_claims.LASTS == pytest.approx(lost[50:].sum() / 4, rel=0.02)


def test_claims_are_about_what_is_planned():
  torsos = ('lstm', OWN)
  planned = {
    (x.name, method, task): x.config()
    for x in architectures.plan(torsos)
    for method in x.methods
    for task in x.config().evaluation.tasks
  }
  for claim in study_claims.claims(torsos):
    for network in claim.networks:
      for mean in (x.of(network) for x in claim.means.values()):
        config = planned[mean.experiment, mean.tuner, mean.task]
        assert mean.step in settings.report_steps(config)
        if mean.reference == 'reorderings':
          assert mean.task in config.evaluation.reorderings
  counts = [
    x.config().pretraining.num_steps
    for x in architectures.plan(('lstm',))
    if x.name.startswith('lstm-chains')
  ]
  assert sorted(counts) == list(study_claims.UPDATES)


def test_a_torso_of_one_s_own_joins_by_its_rows():
  made = world('lstm') | world(OWN) | world(f'{OWN}_deep')
  every = study.STUDY.judge(evidence_of(made))
  ran = {x.network for x in every if x.ran}
  assert ran == {'lstm', OWN, f'{OWN}_deep'}
  assert len(figures.table(every).splitlines()) == 3 + 3
  assert figures.title(f'{OWN}_deep') == f'{OWN}, 2 layers'


@pytest.mark.parametrize(
  'arguments, named',
  [
    ('lstn,coins', 'lstm'),
    ('lstm,coin', 'coins'),
    ('lstm', 'WORLD is missing'),
    ('lstm,chains,mixture', 'coins alone'),
    ('lstm,coins,after7', 'after100'),
  ],
)
def test_mistakes_in_the_argument(arguments, named):
  with pytest.raises(errors.UserError, match=named):
    architectures.get_config(arguments)


def test_figures_show_every_network_and_claim(tmp_path):
  made = world('lstm') | world('gru_deep') | world(OWN)
  rows = evidence_of(made)
  every = study.STUDY.judge(rows)
  figure = figures.overview(every)
  (ax,) = figure.axes
  shown = [x.get_text() for x in ax.get_yticklabels()]
  assert shown == ['LSTM', 'GRU, 2 layers', OWN]
  assert len(ax.texts) == 3 * len(figures._HEADS)
  fading = figures.fading(rows, ['lstm', OWN])
  for ax, factor in zip(fading.axes, (0.02, 0.1), strict=True):
    first, *_ = (x for x in ax.lines if x.get_label() == 'LSTM')
    steps, rates = first.get_data()
    np.testing.assert_allclose(steps, [25, 275])
    (values,) = (
      evidence.at(
        rows, experiment='lstm-coins', tuner='SoftPT', step=50, task='target'
      )[['mean']]
      .to_numpy()
      .T
    )
    geometric = np.exp(np.log(values / 0.02).mean())
    assert rates[0] == pytest.approx(factor * geometric / 50, rel=1e-4)
  updates = figures.updates(rows, ['lstm', OWN])
  assert [len(ax.lines[0].get_xdata()) for ax in updates.axes] == [2, 2, 1]
  # A quick study has fewer, and the picture says how many.
  quick = architectures.get_config('lstm,coins,quick')
  updates = figures.updates(rows, ['lstm'], {'lstm-coins': quick})
  (line,) = (x for x in updates.axes[0].lines if x.get_label() == 'LSTM')
  last = quick.pretraining.num_steps
  assert last < study_claims.UPDATES[1] and last in line.get_xdata()
  assert study_claims.UPDATES[-1] not in line.get_xdata()
  (tmp_path / 'figures').mkdir()
  figures.draw(rows, every, tmp_path / 'figures')
  assert (tmp_path / 'table.md').read_text() == figures.table(every)


def test_all_torsos_have_about_as_many_weights():
  counts = {}
  for name in architectures.TORSOS:
    lab = build.build(architectures.get_config(f'{name},switching'))
    counts[name] = sum(
      leaf.size
      for path, leaf in trees.by_path(build.network_shapes(lab)).items()
      if path.startswith('torso/')
    )
  for name, count in counts.items():
    assert count == pytest.approx(33_000, rel=0.03), name
