"""The study of demonstrations: plan, claims with known verdicts, page."""

import numpy as np
import pytest

from bayes_prompting import errors
from bayes_prompting import settings
from bayes_prompting.claims import judge
from bayes_prompting.experiment import build
from bayes_prompting.experiment import fingerprint
from bayes_prompting.reporting import style
from bayes_prompting.results import evidence
from bayes_prompting.settings import plain
from bayes_prompting.studies import study as studies
from bayes_prompting.studies.demonstrations import claims as study_claims
from bayes_prompting.studies.demonstrations import curves
from bayes_prompting.studies.demonstrations import study
from configs import architectures
from configs import demonstrations
from tests import testing
from tests.claims import test_judge

NETWORKS = 4
STEPS = {'coins': study_claims.COINS, 'pool': study_claims.POOL}
PROMPTS = 10  # Of one network.
SPREAD = 0.2  # Of these, as a share of their mean.
POOL_LOSES = 2.4  # What exact Bayes of the pool loses, nothing shown.


def holding():
  """Regrets {(case, size, tuner, task): typical value}: all claims hold."""
  made = {}
  for size in study_claims.SIZES:
    left = 1 / (1 + size)
    made |= {
      ('own', size, 'NoTuning', 'target'): 0.01 * left**0.5,
      ('pool', size, 'NoTuning', 'target'): 0.2 * left,
      ('policy', size, 'NoTuning', 'target'): 2.0 * left,
      ('policy', size, 'SoftPT', 'target'): 0.03,
    }
  for size in study_claims.FEW_SIZES:
    left = 1 / (1 + size)
    made |= {
      ('tails', size, 'NoTuning', 'target'): 0.3 + left,
      ('tails', size, 'SoftPT', 'target'): 0.02 + left / 10,
      ('tails', size, 'NoTuning', 'other'): 0.3 + left,
      ('tails', size, 'SoftPT', 'other'): 2 + 30 * left,
    }
  for target in study_claims.TARGETS:
    alone = 0.03 if target in ('heads', 'tails') else 6.0
    made[target, 'alone', 'SoftPT', 'target'] = alone
  for size in study_claims.FEW_SIZES:
    made |= {
      ('prior', size, 'SoftPT', 'target'): 1.0,
      ('prior', size, 'FullWT', 'target'): 0.02,
      **{
        ('prior', size, 'FullWT', target): 0.05
        for target in study_claims.TARGETS
      },
    }
  return made


def rows_of(made, network='lstm'):
  """Rows of evidence of some networks with these typical regrets.

  Args:
    made: See `holding`.
    network: The kind.
  """
  networks = np.exp(0.02 * np.linspace(-1, 1, NETWORKS))
  prompts = 1 + SPREAD * np.linspace(-1, 1, PROMPTS)
  rows = []
  for (case, size, tuner, task), value in made.items():
    several = case == 'tails' and size != 'alone'
    name = study_claims.experiment(
      case, 0 if size == 'alone' else size, several
    )
    means = value * networks
    texts = [' '.join(f'{x:.6g}' for x in mean * prompts) for mean in means]
    world = demonstrations.CASES[case].world
    rows += test_judge.rows(
      name.format(network=network),
      tuner,
      task,
      STEPS[world],
      means,
      texts if several and tuner == 'SoftPT' else (),
    )
  bayes = {'pretrain_seed': None, 'reference': 'oracle', 'estimator': 'paired'}
  for size in study_claims.SIZES:
    for case, lost in (
      ('own', study_claims.bayes_of_coins()[size]),
      ('pool', POOL_LOSES / (1 + size)),
    ):
      name = study_claims.experiment(case, size).format(network=network)
      step = STEPS[demonstrations.CASES[case].world]
      rows += test_judge.rows(name, 'PreBayes', 'target', step, [lost], **bayes)
      total = lost + made[case, size, 'NoTuning', 'target'] * networks
      of_oracle = {'reference': 'oracle', 'estimator': 'paired'}
      rows += test_judge.rows(
        name, 'NoTuning', 'target', step, total, **of_oracle
      )
  return rows


def value(claim, made):
  """Returns the quantity of a claim, of a network with these regrets."""
  means = {}
  for name, mean in claim.means.items():
    _, case, size, *tunings = mean.experiment.split('-')
    if mean.reference == 'oracle':
      means[name] = POOL_LOSES
      continue
    key = (case, int(size[1:]), mean.tuner, mean.task)
    alone = (case, 'alone', *key[2:])
    means[name] = made[key if tunings or alone not in made else alone]
    if mean.spread:
      means[name] *= SPREAD * np.std(np.linspace(-1, 1, PROMPTS), ddof=1)
  return float(claim.value({x: np.array([y]) for x, y in means.items()})[0])


def test_there_is_a_world_in_which_all_claims_hold():
  every = study.STUDY.judge(test_judge.table(rows_of(holding())))
  of_lstm = [x for x in every if x.network == 'lstm']
  assert [x.claim.name for x in of_lstm] == [x.name for x in CLAIMS]
  for one in of_lstm:
    assert one.verdict == judge.HOLDS
    # The number of one network is what the others below rest on.
    middle = one.values.mean()
    assert value(one.claim, holding()) == pytest.approx(middle, rel=0.01)


CLAIMS = study_claims.claims(('lstm', 'transformer_deep'))
MOST = study_claims.MOST


@pytest.mark.parametrize(
  'change, names',
  [
    # 0.03 of 1.33, and later a seventh of 0.185.
    (
      # Prompts that differ as much as those without.
      {('tails', MOST, 'SoftPT', 'target'): 0.08},
      ['steadies_prompts'],
    ),
    ({('own', MOST, 'NoTuning', 'target'): 0.03}, ['follows_coins']),
    ({('pool', 8, 'NoTuning', 'target'): 0.3}, ['follows_policies']),
    (
      {('tails', MOST, 'NoTuning', 'target'): 0.06},
      ['prompt_still_pays'],
    ),
    (
      {('tails', 0, 'SoftPT', 'other'): 3.0},
      ['demonstrations_correct_prompt'],
    ),
    (
      {('tails', MOST, 'SoftPT', 'other'): 0.3},
      ['prompt_does_not_transfer'],
    ),
    ({('prior', MOST, 'FullWT', 'target'): 0.06}, ['weights_learn_the_prior']),
    (
      {('prior', MOST, 'SoftPT', 'target'): 0.04},
      ['prompt_does_not_learn_the_prior'],
    ),
    (
      {('alternates', 'alone', 'SoftPT', 'target'): -5.95},
      ['weights_beat_prompts_on_chains'],
    ),
    ({('heads', 'alone', 'SoftPT', 'target'): 0.3}, ['prompts_do_on_coins']),
    (
      {('policy', MOST, 'NoTuning', 'target'): 0.06},
      ['demonstrations_reach_policy'],
    ),
    ({('policy', 0, 'SoftPT', 'target'): 0.1}, ['prompt_reaches_policy']),
    (
      {('policy', 8, 'NoTuning', 'target'): 0.02},
      ['prompt_replaces_demonstrations'],
    ),
  ],
)
def test_each_claim_fails_by_its_own_number(change, names):
  assert {*change} <= {*holding()}
  made = holding() | change
  judged = {x.name: x.bound.verdict(*[value(x, made)] * 2) for x in CLAIMS}
  assert {x: y for x, y in judged.items() if y != judge.HOLDS} == (
    dict.fromkeys(names, judge.FAILS)
  )


def test_bayes_of_coins_is_the_end_of_a_longer_sequence():
  exact = study_claims.bayes_of_coins()
  # A coin's regret is about half a logarithm of the tosses.
  assert exact[0] == pytest.approx(1.33, abs=0.005)
  assert exact[64] == pytest.approx(0.5 * np.log(94.5 / 64.5), abs=0.01)
  assert [*exact.values()] == sorted(exact.values(), reverse=True)


def test_claims_and_curves_are_about_what_is_planned():
  planned = {x.name: x for x in demonstrations.plan()}
  configs = {name: x.config() for name, x in planned.items()}
  means = [
    mean.of(network)
    for claim in study_claims.claims(demonstrations.TORSOS)
    for network in claim.networks
    for mean in claim.means.values()
  ]
  for mean in means:
    config = configs[mean.experiment]
    assert mean.tuner in planned[mean.experiment].methods
    assert mean.task in config.evaluation.tasks
    assert (mean.step,) == settings.report_steps(config)
    assert planned[mean.experiment].repetitions > 1 or not mean.spread
  assert curves.TORSOS == demonstrations.TORSOS
  assert study_claims.SIZES == demonstrations.SIZES
  assert study_claims.FEW_SIZES == demonstrations.FEW_SIZES
  assert study_claims.TARGETS == tuple(demonstrations.TARGETS)
  assert study_claims.RANDOM_COINS == demonstrations.WORLDS['coins'].prior
  drawn = {
    (curve.case, size, curve.tunings)
    for question in curves.QUESTIONS
    for curve in question.curves
    for size in question.sizes
    if not curve.alone
  } | {(x, 0, False) for x in study_claims.TARGETS}
  assert {
    study_claims.experiment(*x).format(network=network)
    for x in drawn
    for network in demonstrations.TORSOS
  } == {*planned}
  for question in curves.QUESTIONS:
    for curve in question.curves:
      if not curve.alone:
        case = demonstrations.CASES[curve.case]
        assert curve.tuner in case.methods
        assert curve.task in case.tasks(1)
        assert question.window == demonstrations.WORLDS[case.world].window
        assert question.sizes == case.sizes


def test_nothing_is_longer_than_what_was_pretrained():
  prefix = settings.base_config().tuning.prefix_length
  for case in demonstrations.CASES.values():
    world = demonstrations.WORLDS[case.world]
    prior = testing.task_prior(**world.prior)
    most = prior.num_tokens(world.length)
    for spec in case.tasks(max(case.sizes)).values():
      shown = testing.task_prior(**spec).num_tokens(world.window)
      assert prefix + shown <= most


@pytest.mark.parametrize('case', demonstrations.CASES)
def test_every_case_can_be_built(case):
  config = demonstrations.get_config(f'lstm,{case},n8')
  lab = build.build(config)
  assert (lab.target, lab.pretraining_task) == ('target', 'world')
  assert tuple(lab.methods) == demonstrations.CASES[case].methods
  world = demonstrations.WORLDS[demonstrations.CASES[case].world]
  assert lab.report_steps == (world.window,)
  small = demonstrations.get_config(f'lstm,{case},n8,quick')
  assert small.tasks == config.tasks
  assert small.pretraining.num_steps < config.pretraining.num_steps


def test_networks_are_those_of_the_study_of_architectures():
  for torso in demonstrations.TORSOS:
    hashes = {
      fingerprint.network_hash(plain.of(get_config(arguments)), 3)
      for get_config, arguments in (
        (architectures.get_config, f'{torso},coins'),
        *(
          (demonstrations.get_config, f'{torso},{case},n8')
          for case in ('own', 'tails', 'prior', 'stays')
        ),
      )
    }
    assert len(hashes) == 1


@pytest.mark.parametrize(
  'arguments, named',
  [
    ('lstn,own,n8', 'lstm'),
    ('lstm,ownn,n8', 'own'),
    ('lstm,own', 'SHOWN is missing'),
    ('lstm,own,n3', 'n32 or n8'),
    ('lstm,own,n8,quik', 'quick'),
  ],
)
def test_mistakes_in_the_argument(arguments, named):
  with pytest.raises(errors.UserError, match=named):
    demonstrations.get_config(arguments)


def test_the_page_tells_verdicts_and_regrets(tmp_path, monkeypatch):
  drawn = {}
  monkeypatch.setattr(
    style, 'write_all', lambda makers, into: drawn.update(makers)
  )
  # Of the second network not all was run.
  some = {x: y for x, y in holding().items() if x[0] in ('own', 'pool')}
  rows = rows_of(holding()) + rows_of(some, 'transformer_deep')
  evidence.append(tmp_path, test_judge.table(rows))
  studies.write(study.STUDY, tmp_path, {})
  shown = (tmp_path / 'README.md').read_text()
  assert '| claim | must be | LSTM | Transformer, 2 layers |' in shown
  assert shown.count('**holds**') == len(study_claims.claims(['lstm'])) + 2
  for question in curves.QUESTIONS:
    assert f'### {question.title}\n' in shown
  line = '| LSTM | a prompt (SoftPT) | 1.000 | 1.000 | 1.000 | 1.000 | 1.000 |'
  assert line in shown
  # The mean over two coins and two chains, whatever was shown.
  alone = '| LSTM | one prompt for each target (SoftPT) | 3.01'
  assert alone in shown
  assert 'figures/shown.png' in shown and [*drawn] == ['shown']
  figure = drawn['shown']()
  assert len(figure.axes) == 2 * len(curves.QUESTIONS)
  titles = [ax.get_title() for ax in figure.axes[: len(curves.QUESTIONS)]]
  assert titles == [x.title for x in curves.QUESTIONS]
  prior = figure.axes[titles.index('A prior of four targets')]
  lines = {line.get_label(): line for line in style.handles(prior)}
  assert [*lines['all weights'].get_ydata()] == pytest.approx([0.02] * 5)
  assert [*lines['all weights'].get_xdata()] == [*range(5)]
  is_drawn = [len(style.handles(ax)) > 1 for ax in figure.axes]
  assert is_drawn[: len(titles)] == [True] * len(titles)
  assert [
    x for x, y in zip(titles, is_drawn[len(titles) :], strict=True) if y
  ] == [
    'Random coins',
    'Policies of a pool',
  ]
