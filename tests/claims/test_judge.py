"""Claims are judged by the right numbers, on evidence with known verdicts."""

import dataclasses
import itertools

import numpy as np
import pandas as pd
import pytest

from bayes_prompting import errors
from bayes_prompting import settings
from bayes_prompting.claims import intervals
from bayes_prompting.claims import judge
from bayes_prompting.claims import tables
from bayes_prompting.results import evidence
from bayes_prompting.studies.paper import claims as paper_claims
from bayes_prompting.studies.paper import figures as paper_figures
from bayes_prompting.theory import expectation
from configs import paper
from tests import testing

NETWORKS = 8
SINGLE, MIXTURE, RANDOM = 'single_coin', 'two_coin_mixture', 'random_coins'


def rows(experiment, tuner, task, step, values, repetitions=(), **change):
  """Rows of evidence, one for each network."""
  several = [*repetitions] or [''] * len(values)
  return [
    {
      'experiment': experiment,
      'pretrain_seed': seed,
      'tuner': tuner,
      'task': task,
      'step': step,
      'reference': 'bayes',
      'estimator': 'exact',
      'settings': 'a',
      'numerics': '1',
      'mean': value,
      'sem_sequences': 0.01,
      'values': text,
      'repetitions': len(text.split()) or 1,
      'stopped': 0,
      'date': '2026-01-01',
      'device': 'cpu',
      **change,
    }
    for seed, (value, text) in enumerate(zip(values, several, strict=True))
  ]


def table(made):
  return evidence._table(made)


def only(claim, made):
  (judged,) = judge.judge([claim], table(made))
  return judged


def claim(sign='<', number=1.0, value=lambda m: m['it'], **kwargs):
  mean = {'tuner': 'SoftPT', 'experiment': '{network}-run'}
  mean |= {'step': 50, 'task': 'home'} | kwargs.pop('mean', {})
  means = kwargs.pop('means', {'it': judge.Mean(**mean)})
  bound = judge.Bound(sign, number)
  return judge.Claim(
    'c', 'It is.', ('lstm',), 'x', bound, 'why', means, value, **kwargs
  )


def soft(values=(0.1, 0.2, 0.3), **change):
  at = {'experiment': 'lstm-run', 'tuner': 'SoftPT', 'task': 'home'}
  at |= {'step': 50} | change
  return rows(values=values, **at)


def test_the_row_is_that_of_the_experiment_task_and_step():
  # Any other row would be far off.
  noise = [
    soft((9.0,) * 3, **change)
    for change in (
      {'experiment': 'transformer-run'},
      {'tuner': 'HardPT'},
      {'task': 'away'},
      {'step': 100},
      {'reference': 'oracle', 'estimator': 'paired'},
    )
  ]
  found = only(claim(scale='linear'), sum(noise, soft()))
  assert found.estimate.value == pytest.approx(0.2)
  assert found.values.tolist() == [0.1, 0.2, 0.3]
  assert found.seeds.tolist() == [0, 1, 2]


def exactly(value, **change):
  """The row of exact Bayes, which has no network."""
  change = {'pretrain_seed': None, 'sem_sequences': 0.0} | change
  return soft((value,), tuner='PreBayes', **change)


def against_bayes(**kwargs):
  it = claim().means['it']
  bayes = judge.Mean('PreBayes', it.experiment, it.step, it.task)
  return claim(means={'it': it, 'bayes': bayes}, **kwargs)


def test_a_network_counts_once():
  # Else two networks, one of them computed in two ways, would decide as three.
  other = soft(numerics='2', date='2027-01-01')[1:2]
  with pytest.raises(errors.UserError, match='two rows of network 1 for Soft'):
    only(claim(), soft() + other)
  with pytest.raises(errors.UserError, match='two rows of exact Bayes'):
    only(against_bayes(), soft() + exactly(0.5) + exactly(0.5, settings='b'))


def test_exact_bayes_is_the_same_beside_every_network():
  share = against_bayes(value=lambda m: m['it'] / m['bayes'], scale='linear')
  found = only(share, soft() + exactly(0.5))
  assert found.values.tolist() == pytest.approx([0.2, 0.4, 0.6])
  assert found.seeds.tolist() == [0, 1, 2] and not found.exact
  assert found.estimate.networks == 3 and found.repetitions == 1
  # Without networks there is nothing to compare.
  assert only(share, exactly(0.5)).verdict == judge.NOT_RUN


def test_a_number_of_exact_bayes_alone_is_exact():
  bayes = against_bayes().means['bayes']
  of_bayes = claim(means={'bayes': bayes}, value=lambda m: 2 * m['bayes'])
  found = only(of_bayes, exactly(0.3))
  assert found.exact and found.estimate == intervals.exact(0.6)
  assert (found.verdict, found.values.tolist()) == (judge.HOLDS, [])
  row = judge.table([found]).iloc[0]
  assert (row['scale'], tables.interval(row)) == ('exact', '0.6000 exact')
  # One that was sampled has no interval over networks, and is not exact.
  sampled = only(of_bayes, exactly(0.3, sem_sequences=0.1))
  assert not sampled.exact and sampled.verdict == judge.UNDECIDED
  assert sampled.to_decide == 'more sequences'
  assert tables.interval(judge.table([sampled]).iloc[0]) == '0.6000'


@pytest.mark.parametrize(
  'sign, number, verdict',
  [
    ('<', 0.5, judge.HOLDS),
    ('<', 0.2, judge.UNDECIDED),
    ('<', 0.1, judge.FAILS),
    ('>', 0.1, judge.HOLDS),
    ('>', 0.2, judge.UNDECIDED),
    ('>', 0.5, judge.FAILS),
  ],
)
def test_an_interval_decides_where_all_of_it_is_on_one_side(
  sign, number, verdict
):
  values = (0.18, 0.2, 0.22, 0.2)
  assert only(claim(sign, number), soft(values)).verdict == verdict


def test_the_scale_of_the_mean_is_that_of_the_claim():
  for scale in intervals.SCALES:
    found = only(claim(scale=scale), soft())
    assert found.estimate == intervals.over_networks((0.1, 0.2, 0.3), scale)
  assert claim().scale == 'log'


def test_the_fewest_tunings_behind_a_value_are_told():
  made = soft(repetitions=('0.1 0.1', '0.2 0.2 0.2', '0.3 0.3'))
  found = only(claim(), made)
  assert found.repetitions == 2
  assert judge.table([found]).iloc[0].repetitions == 2
  means = {
    name: judge.Mean(tuner, '{network}-run', 50, 'home')
    for name, tuner in (('it', 'SoftPT'), ('other', 'HardPT'))
  }
  once = soft(tuner='HardPT')
  assert only(claim(means=means), [*made, *once]).repetitions == 1


def test_what_is_compared_is_compared_on_the_same_network():
  means = {
    name: judge.Mean(tuner, '{network}-run', 50, 'home')
    for name, tuner in (('it', 'SoftPT'), ('other', 'HardPT'))
  }
  one = claim(value=lambda m: m['it'] - m['other'], means=means, scale='linear')
  hard = soft((1.1, 1.2, 1.3, 9.9), tuner='HardPT')
  found = only(one, [*reversed(hard), *soft()])
  np.testing.assert_allclose(found.values, -1.0)
  # Networks differ, and their differences do not.
  assert found.estimate.high - found.estimate.low < 1e-9


def test_a_stopped_run_is_left_out_and_counted():
  made = soft()
  made[0] |= {'mean': np.nan, 'repetitions': 0, 'stopped': 1}
  found = only(claim(), made)
  assert found.seeds.tolist() == [1, 2] and found.stopped == 1
  assert judge.table([found]).iloc[0].stopped == 1


def test_nothing_was_run():
  found = only(claim(), soft(tuner='HardPT'))
  assert found.verdict == judge.NOT_RUN and not found.ran
  row = judge.table([found]).iloc[0]
  assert np.isnan(row.value) and row.networks == 0 and row.to_decide == ''


def test_one_network_decides_nothing():
  found = only(claim(), soft((0.1,)))
  assert found.verdict == judge.UNDECIDED
  assert found.to_decide == 'more networks'
  text = tables.text(judge.table([found]))
  assert ': 0.100 nats' in text and 'nan' not in text


def test_an_undecided_claim_says_what_it_needs():
  few = only(claim(number=0.25), soft((0.1, 0.2, 0.3)))
  networks = intervals.networks_to_decide((0.1, 0.2, 0.3), 0.25, 'log')
  assert networks > 4  # More than there are, and one.
  assert few.to_decide == f'about {networks} networks'
  at = only(claim(number=0.2, scale='linear'), soft((0.1, 0.2, 0.3)))
  assert at.to_decide == 'the value lies at the bound'
  assert only(claim(), soft()).to_decide == ''


def test_what_is_exact_needs_no_network():
  found = only(claim('>', 0.0, None, means={}, exact=lambda: 0.25), soft())
  assert found.verdict == judge.HOLDS
  row = judge.table([found]).iloc[0]
  assert (row.value, row.low, row.high) == (0.25,) * 3
  assert (row.scale, row.networks) == ('exact', 0)


@pytest.mark.parametrize('sign', ['=', '<='])
def test_a_bound_has_a_side(sign):
  with pytest.raises(errors.UserError, match='Bound.sign'):
    judge.Bound(sign, 1.0)
  with pytest.raises(errors.UserError, match='Claim.scale'):
    claim(scale='square')


def test_tables_say_what_was_found(tmp_path):
  judged = judge.judge([claim()], table(soft()))
  text = tables.text(judge.table(judged))
  assert 'holds' in text and 'Claims: 1 holds.' in text
  tables.save(judge.table(judged), tmp_path)
  again = pd.read_csv(tmp_path / 'claims.csv')
  assert tuple(again) == judge.COLUMNS
  assert again['values'].tolist() == ['0.1 0.2 0.3']
  assert tables.markdown(again) == (tmp_path / 'claims.md').read_text()


def test_a_torso_of_which_nothing_was_run_is_left_out_and_named():
  def about(networks, made):
    mine = dataclasses.replace(claim(), networks=networks)
    return judge.table(judge.judge([mine], table(made)))

  networks = ('lstm', 'gru', 'gru_deep', 'mlstm_deep')
  made = about(networks, soft())
  first, *_ = tables.markdown(made).splitlines()
  assert first == '| claim | must be | lstm |'
  assert tables.markdown(made).endswith('\nNothing was run of gru, mlstm.\n')
  assert tables.text(made).endswith('.\nNothing was run of gru, mlstm.')
  assert 'not run' not in tables.text(made)
  # An untrained LSTM is one still, and an empty table has all of them.
  kinds = about(('lstm', 'lstm_untrained'), soft())
  assert 'Nothing' not in tables.markdown(kinds)
  first, *_ = tables.markdown(about(networks, [])).splitlines()
  assert first == '| claim | must be | lstm | gru | mlstm |'


# The paper's claims: a world in which all of them hold.


def world():
  """Regrets {(experiment, tuner, task, step): typical value}."""
  made = {}
  for torso in ('lstm', 'transformer'):
    single, mixture = f'{torso}-{SINGLE}', f'{torso}-{MIXTURE}'
    made[single, 'NoTuning', RANDOM, 100] = 0.01
    for tuner, by_step in {
      'NoTuning': (1.5, 2.5),
      'HardPT': (0.5, 1.0),
      'SimplexPT': (0.4, 1.0),
      'RealPT': (0.2, 1.0),
      'SoftPT': (0.02, 0.1),
      'LoRAWT': (0.01, 0.02),
      'FullWT': (0.01, 0.02),
    }.items():
      for step, value in zip((50, 200), by_step, strict=True):
        made[single, tuner, SINGLE, step] = value
    for tuner, value in {
      'HardPT': 1.2,
      'SimplexPT': 1.0,
      'RealPT': 0.6,
      'SoftPT': 0.4,
      'LoRAWT': 0.01,
      'FullWT': 0.02,
    }.items():
      made[mixture, tuner, MIXTURE, 50] = value
    # A share of 0.225 of what 6 rows leave, and of 0.29 of what 25 rows leave.
    made[f'{mixture}-prefix_lengths', 'SoftPT-25', MIXTURE, 50] = 0.31
    for tuner, value in (('RealPT', 0.021), ('SoftPT', 0.02)):
      made[f'{torso}_narrow-{SINGLE}', tuner, SINGLE, 50] = value
  of_transformer = f'transformer_untrained-{SINGLE}', 'SoftPT', SINGLE
  made[*of_transformer, 50], made[*of_transformer, 200] = 0.02, 5.0
  made[f'lstm_untrained-{SINGLE}', 'NoTuning', SINGLE, 50] = 9.6
  made[f'lstm_untrained-{SINGLE}', 'SoftPT', SINGLE, 50] = 9.0
  return made


def evidence_of(made):
  """Rows of a world; networks differ by a tenth, tunings by a thousandth."""
  rng = np.random.default_rng(0)
  spread = np.exp(0.1 * rng.normal(size=NETWORKS))
  every = [
    row for key, value in made.items() for row in rows(*key, value * spread)
  ]
  for torso, tuner in itertools.product(
    ('lstm', 'transformer'), ('SoftPT', 'FullWT')
  ):
    tunings = 0.02 * np.exp(1e-3 * rng.normal(size=(2, 10)))
    texts = [' '.join(map(str, x)) for x in tunings]
    key = f'{torso}-{SINGLE}-tunings', tuner, SINGLE, 50
    every += rows(*key, tunings.mean(1), texts)
  return table(every)


@pytest.fixture(scope='module')
def all_hold():
  return paper_claims.judge(evidence_of(world()))


def by_name(judged, network='lstm'):
  return {
    x.claim.name: x
    for x in judged
    if x.network in (network, f'{network}_untrained', 'exact Bayes')
  }


def test_there_is_a_world_in_which_all_claims_hold(all_hold):
  assert {x.verdict for x in all_hold} == {judge.HOLDS}
  names = [(x.claim.name, x.network) for x in all_hold]
  assert len(names) == len(set(names)) == 34


# What makes each claim fail, and nothing else of the paper's table.
BREAKS = {
  'is_bayes': {('', 'NoTuning', RANDOM, 100): 0.2},
  'soft_reaches': {('', 'SoftPT', SINGLE, 50): 0.09},
  # One of them is enough, whichever it is.
  'only_soft_reaches': {('', 'RealPT', SINGLE, 50): 0.03},
  'soft_beats_hard': {('', 'HardPT', SINGLE, 50): 0.06},
  'soft_beats_bayes_hard': {('', 'SoftPT', SINGLE, 50): 0.56},
  'softpt_degrades_slightly': {('', 'SoftPT', SINGLE, 200): 0.5},
  'lorawt_degrades_slightly': {('', 'LoRAWT', SINGLE, 200): 0.5},
  'fullwt_degrades_slightly': {('', 'FullWT', SINGLE, 200): 0.5},
  'no_prompt_reaches': {('', 'SimplexPT', MIXTURE, 50): 0.03},
  'length_helps_little': {('', 'SoftPT-25', MIXTURE, 50): 0.1},
  'lorawt_reaches': {('', 'LoRAWT', MIXTURE, 50): 0.09},
  'fullwt_reaches': {('', 'FullWT', MIXTURE, 50): 0.09},
  'untrained_lstm_gains_little': {('_untrained', 'SoftPT', SINGLE, 50): 5.0},
  'narrow_closes_the_gap': {('_narrow', 'RealPT', SINGLE, 50): 0.2},
}


def changed(made, breaks, torso='lstm'):
  """Returns a world with other values, which it has under these keys."""
  made, experiments = dict(made), {x[0] for x in made}
  for (kind, tuner, task, step), value in breaks.items():
    (key,) = (
      (experiment, tuner, task, step)
      for experiment in experiments
      if experiment.startswith(f'{torso}{kind}-')
      and (experiment, tuner, task, step) in made
    )
    made[key] = value
  return made


@pytest.mark.parametrize('name', BREAKS)
def test_what_breaks_a_claim_is_seen(name, all_hold):
  found = by_name(
    paper_claims.judge(evidence_of(changed(world(), BREAKS[name])))
  )
  assert found[name].verdict == judge.FAILS
  # The other torso is another matter.
  other = by_name(
    paper_claims.judge(evidence_of(changed(world(), BREAKS[name]))),
    'transformer',
  )
  assert {x.verdict for x in other.values()} == {judge.HOLDS}


@pytest.mark.parametrize('tuner', ['HardPT', 'SimplexPT', 'RealPT', 'SoftPT'])
def test_no_prompt_may_reach_the_mixture(tuner):
  made = changed(world(), {('', tuner, MIXTURE, 50): 0.03})
  found = by_name(paper_claims.judge(evidence_of(made)))
  assert found['no_prompt_reaches'].verdict == judge.FAILS
  if tuner != 'SoftPT':
    made = changed(world(), {('', tuner, SINGLE, 50): 0.03})
    found = by_name(paper_claims.judge(evidence_of(made)))
    assert found['only_soft_reaches'].verdict == judge.FAILS


@pytest.mark.parametrize(
  'name, by_step',
  [
    ('untrained_is_close', {50: 0.2}),
    # It loses 0.08 later.
    ('untrained_does_not_last', {50: 0.12, 200: 0.2}),
  ],
)
def test_untrained_transformers(name, by_step):
  breaks = {
    ('_untrained', 'SoftPT', SINGLE, step): x for step, x in by_step.items()
  }
  made = changed(world(), breaks, 'transformer')
  found = by_name(paper_claims.judge(evidence_of(made)), 'transformer')
  assert found[name].verdict == judge.FAILS


# Which regrets each claim reads: (experiment's kind, tuner, task, step).
_LATER = {('', 'NoTuning', SINGLE, x) for x in (50, 200)}
READS = {
  name: {*BREAKS[name]}
  for name in BREAKS
  if name in ('is_bayes', 'soft_reaches', 'lorawt_reaches', 'fullwt_reaches')
} | {
  'only_soft_reaches': {
    ('', x, SINGLE, 50) for x in ('HardPT', 'SimplexPT', 'RealPT')
  },
  'soft_beats_hard': {('', x, SINGLE, 50) for x in ('SoftPT', 'HardPT')},
  'soft_beats_bayes_hard': {('', 'SoftPT', SINGLE, 50)},
  **{
    f'{x.lower()}_degrades_slightly': _LATER
    | {('', x, SINGLE, 50), ('', x, SINGLE, 200)}
    for x in ('SoftPT', 'LoRAWT', 'FullWT')
  },
  'no_prompt_reaches': {
    ('', x, MIXTURE, 50) for x in ('HardPT', 'SimplexPT', 'RealPT', 'SoftPT')
  },
  'length_helps_little': {
    ('', 'SoftPT', MIXTURE, 50),
    ('', 'SoftPT-25', MIXTURE, 50),
  },
  'hard_prefixes_harm_bayes': set(),
  'untrained_lstm_gains_little': {
    ('_untrained', x, SINGLE, 50) for x in ('NoTuning', 'SoftPT')
  },
  'narrow_closes_the_gap': {
    (kind, x, SINGLE, 50)
    for kind in ('', '_narrow')
    for x in ('RealPT', 'SoftPT')
  },
  'networks_differ_more_softpt': {('', 'SoftPT', SINGLE, 50)},
  'networks_differ_more_fullwt': {('', 'FullWT', SINGLE, 50)},
}


def test_each_claim_reads_these_regrets_and_no_other():
  made = world()
  found = {name: set() for name in READS}
  for key in made:
    experiment, tuner, task, step = key
    if not experiment.startswith('lstm'):
      continue
    without = {x: y for x, y in made.items() if x != key}
    for name, judged in by_name(
      paper_claims.judge(evidence_of(without))
    ).items():
      if judged.verdict != judge.HOLDS:
        kind = experiment.partition('-')[0].removeprefix('lstm')
        found[name].add((kind, tuner, task, step))
  for name in ('only_soft_reaches', 'no_prompt_reaches'):
    assert found[name] == READS[name]
  assert found == READS


def narrow(breaks):
  made = evidence_of(changed(world(), breaks))
  return by_name(paper_claims.judge(made))['narrow_closes_the_gap']


def test_a_gap_that_turns_round_is_a_gap():
  found = narrow({('_narrow', 'SoftPT', SINGLE, 50): 0.2})
  assert found.verdict == judge.FAILS


def test_without_a_gap_nothing_can_close():
  found = narrow({('', 'RealPT', SINGLE, 50): 0.06})
  assert found.verdict == judge.UNDECIDED


def test_networks_must_differ_more_than_tunings(all_hold):
  # The two that were tuned more often are not among those that were once.
  for name, judged in by_name(all_hold).items():
    if name.startswith('networks_differ'):
      assert judged.estimate.networks == NETWORKS - 2
  made = evidence_of(world())
  tunings = made.experiment.str.endswith('-tunings')
  made.loc[tunings, 'values'] = ' '.join(
    map(str, 0.02 * np.exp(np.linspace(-1, 1, 10)))
  )
  for name, judged in by_name(paper_claims.judge(made)).items():
    differ = name.startswith('networks_differ')
    assert judged.verdict == (judge.FAILS if differ else judge.HOLDS)


def test_larger_networks_are_judged_where_they_were_run():
  made = world()
  large = {
    (x.replace('lstm-', 'lstm_large-'), *rest): value
    for (x, *rest), value in made.items()
    if x in (f'lstm-{SINGLE}', f'lstm-{MIXTURE}')
  }
  judged = paper_claims.judge(evidence_of(made | large))
  ran = [x for x in judged if x.network == 'lstm_large']
  assert len(ran) == 11 and {x.verdict for x in ran} == {judge.HOLDS}


def test_bounds_are_what_exact_bayes_loses():
  prior, target = testing.random_coins(), testing.single_coin()
  lost = np.cumsum(expectation.expected_regret(prior, target, 200))
  assert lost[49] == pytest.approx(1.477, abs=1e-3)
  assert lost[199] - lost[49] == pytest.approx(0.675, abs=1e-3)
  assert paper_claims.REACHES == pytest.approx(lost[49] / 30, rel=0.02)
  assert paper_claims.CLOSE == pytest.approx(lost[49] / 10, rel=0.02)
  assert paper_claims.LASTS == pytest.approx(0.675 / 4, rel=0.02)


def test_claims_are_about_what_is_planned():
  planned = {
    (x.name, method, task): x.config()
    for x in paper.PLAN
    for method in x.methods
    for task in x.config().evaluation.tasks
  }
  for claim in paper_claims.claims():
    for network in claim.networks:
      for mean in (x.of(network) for x in claim.means.values()):
        config = planned[mean.experiment, mean.tuner, mean.task]
        assert mean.step in settings.report_steps(config)


def test_the_figure_shows_networks_interval_bound_and_verdict(all_hold):
  one, *_ = (x for x in all_hold if x.claim.name == 'soft_reaches')
  figure = paper_figures.claims([one])
  (ax,) = figure.axes
  dots, line, mean, bound = ax.lines
  np.testing.assert_array_equal(dots.get_xdata(), one.values)
  np.testing.assert_allclose(line.get_xdata(), one.estimate[1:3])
  assert mean.get_xdata() == [one.estimate.value]
  assert list(bound.get_xdata()) == [paper_claims.REACHES] * 2
  texts = [text.get_text() for text in ax.texts]
  assert texts[0] == f'holds (LSTM, {NETWORKS})'
  assert ' '.join(texts[1].split()) == f'{one.claim.text} (nats)'
  assert len(paper_figures.claims(all_hold).axes) == 19
