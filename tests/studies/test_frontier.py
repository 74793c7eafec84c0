"""The study of all tuners: plan, table, ranks, marks, claims, page, figure."""

import types

import hypothesis
from hypothesis import strategies
import numpy as np
import pandas as pd
import pytest

from bayes_prompting import errors
from bayes_prompting import settings
from bayes_prompting.claims import judge
from bayes_prompting.experiment import build
from bayes_prompting.experiment import by_network
from bayes_prompting.experiment import fingerprint
from bayes_prompting.reporting import style
from bayes_prompting.results import evidence
from bayes_prompting.settings import plain
from bayes_prompting.studies import study as studies
from bayes_prompting.studies.frontier import claims as study_claims
from bayes_prompting.studies.frontier import figures
from bayes_prompting.studies.frontier import page
from bayes_prompting.studies.frontier import study
from bayes_prompting.studies.frontier import table as study_table
from configs import architectures
from configs import frontier
from launch import study as script
from tests.claims import test_judge

INF, NAN = np.inf, np.nan
SEEDS = 5
# Of each tuner: tuned numbers, updates, multiply-adds, seconds of an update.
COSTS = {
  'NoTuning': (0, 0, 0.0, NAN),
  'HardPT': (6, 64, 5e6, 0.1),
  'SoftPT': (384, 400, 7e7, 0.02),
  'StatePT': (512, 400, 6e7, 0.02),
  'LoRAWT': (4000, 400, 9e7, 0.03),
  'FullWT': (33_000, 400, 1e8, 0.04),
  'NormWT': (256, 400, 8e7, 0.03),
}
# On the target within 50 and within 200 tokens, and what is forgotten.
COINS = {
  'NoTuning': (3.0, 6.0, 0.0),
  'HardPT': (0.5, 1.5, 4.0),
  'SoftPT': (0.04, 0.3, 5.0),
  'StatePT': (0.02, 0.2, 6.0),
  'LoRAWT': (0.02, 0.1, 20.0),
  # Worse than LoRAWT in everything.
  'FullWT': (0.03, 0.2, 30.0),
}
DATA = {  # Within 50 tokens, by sequences of the target.
  'HardPT': {16: 0.5, 64: 0.5},
  'SoftPT': {16: 0.06, 64: 0.04},
  'StatePT': {16: 0.04, 64: 0.06},
  'LoRAWT': {16: 9.0, 64: 0.3},
  'FullWT': {16: 60.0, 64: 1.0},
}
BEFORE = 0.1  # What an untuned network loses in its world.


def rows_of(experiment, tuner, numbers, spread=0.1):
  """Rows of some networks whose typical regrets are these numbers."""
  deviation = spread * np.linspace(-1.0, 1.0, SEEDS)
  names = ('tuned_numbers', 'updates', 'multiply_adds', 'seconds')
  took = dict(zip(names, COSTS[tuner], strict=True))
  near, later, forgotten = numbers
  made = []
  for task, step, values in (
    ('target', 50, near * np.exp(deviation)),
    ('target', 200, later * np.exp(deviation)),
    ('world', 100, forgotten + BEFORE * np.exp(deviation)),
  ):
    if not np.isnan(values).any():
      made += test_judge.rows(experiment, tuner, task, step, values, **took)
  return made


def world(torso='lstm', world='coins', target='source', numbers=COINS):
  name = f'{torso}-{world}-{target}'
  return [x for t, three in numbers.items() for x in rows_of(name, t, three)]


def data(torso='lstm', target='source', numbers=DATA):
  return [
    row
    for tuner, by_size in numbers.items()
    for size, value in by_size.items()
    for row in rows_of(
      f'{torso}-coins-{target}-n{size}', tuner, (value, NAN, NAN)
    )
  ]


def cells_of(*made):
  return study_table.cells(test_judge.table([x for some in made for x in some]))


def test_a_cell_has_the_numbers_of_its_rows():
  cells = cells_of(world(), data()).set_index('tuner')
  for tuner, (near, later, forgotten) in COINS.items():
    row = cells.loc[tuner]
    assert row.regret == pytest.approx(near, rel=1e-4)
    assert row.low < near < row.high
    assert row.later == pytest.approx(later, rel=1e-4)
    assert row.forgotten == pytest.approx(forgotten, abs=1e-4)
    numbers, updates, adds, seconds = COSTS[tuner]
    assert (row.tuned_numbers, row.multiply_adds) == (numbers, adds)
    if updates:
      assert row.seconds == pytest.approx(updates * seconds)
    assert row.networks == SEEDS
  assert cells.n64['LoRAWT'] == pytest.approx(0.3, rel=1e-4)
  expected = {'SoftPT': 64, 'StatePT': 10_000, 'LoRAWT': 10_000, 'HardPT': INF}
  assert {t: cells.sequences[t] for t in expected} == expected
  assert np.isnan(cells.sequences['NoTuning'])


@pytest.mark.parametrize(
  'regrets, needed',
  [
    ({16: 0.01, 64: 0.01, 10_000: 0.01}, 16),
    ({16: 0.06, 64: 0.05, 10_000: 0.01}, 64),
    # From which on: a lucky small sample is not enough.
    ({16: 0.01, 64: 0.06, 10_000: 0.01}, 10_000),
    ({16: 0.01, 64: 0.01, 10_000: 0.06}, INF),
    ({16: NAN, 10_000: 0.01}, 10_000),
    ({16: INF, 10_000: INF}, INF),
    ({10_000: 0.01}, NAN),
    ({10_000: 1.0}, NAN),
    ({}, NAN),
  ],
)
def test_sequences_that_are_needed(regrets, needed):
  np.testing.assert_equal(study_table.sequences_needed(regrets), needed)


def test_the_ranking_and_the_marks_of_a_section():
  sections = study_table.of_torsos(cells_of(world(), data()))
  assert sections.tuner.tolist() == [
    'LoRAWT',  # As good as StatePT, and better later.
    'StatePT',
    'FullWT',
    'SoftPT',
    'HardPT',
  ]
  assert sections['rank'].tolist() == [1, 2, 3, 4, 5]
  marked = sections[sections.undominated].tuner.tolist()
  assert marked == ['LoRAWT', 'StatePT', 'SoftPT', 'HardPT']
  assert sections.factor.tolist() == pytest.approx([1, 1, 1.5, 2, 25], rel=1e-3)


def dominates(one, other):
  """The definition, in words of Python."""
  return all(a <= b for a, b in zip(one, other, strict=True)) and any(
    a < b for a, b in zip(one, other, strict=True)
  )


@hypothesis.given(
  strategies.lists(
    strategies.tuples(*[strategies.sampled_from([0.0, 1, 2, 3, INF, NAN])] * 3),
    min_size=1,
    max_size=12,
  )
)
def test_what_is_marked_is_not_dominated_and_dominates_all_else(points):
  marked = study_table.undominated(np.array(points))
  known = [[INF if np.isnan(x) else x for x in point] for point in points]
  best = [x for x, is_marked in zip(known, marked, strict=True) if is_marked]
  for point, is_marked in zip(known, marked, strict=True):
    if is_marked:
      assert not any(dominates(other, point) for other in known)
    else:
      assert any(dominates(other, point) for other in best)


def test_marks_rest_on_the_digits_of_the_table():
  near = np.array([[0.1234, 5.0], [0.1233, 5.0], [0.13, 5.0]])
  assert study_table.undominated(near).tolist() == [True, True, False]


def test_worlds_are_put_together_where_a_tuner_has_all_of_them():
  chains = {k: (4 * a, 4 * b, c) for k, (a, b, c) in COINS.items()}
  del chains['FullWT']
  sections = study_table.of_torsos(
    cells_of(world(), world(world='chains', numbers=chains))
  ).set_index('tuner')
  assert 'FullWT' not in sections.index
  assert sections.regret['HardPT'] == pytest.approx(1.0, rel=1e-3)
  assert sections.sequences.isna().all()  # Nobody tried few of them.


def test_a_tuner_is_not_judged_by_the_torsos_that_refuse_it():
  # All is ten times as hard on the other torso, where alone there are norms.
  hard = {k: (10 * a, 10 * b, 10 * c) for k, (a, b, c) in COINS.items()}
  hard['NormWT'] = (0.25, 2.5, 250.0)
  cells = cells_of(world(), world('selective_ssm', numbers=hard))
  overall = study_table.overall(study_table.of_torsos(cells))
  overall = overall.set_index('tuner')
  geometric = np.sqrt(10)
  assert overall.regret['HardPT'] == pytest.approx(0.5 * geometric, rel=1e-3)
  assert overall.regret['NormWT'] == pytest.approx(0.025 * geometric, rel=1e-3)
  assert overall.torsos.to_dict()['NormWT'] == 1
  order = overall.index.tolist()
  assert order.index('StatePT') < order.index('NormWT') < order.index('FullWT')


def test_a_winner_of_each_situation():
  found = study_table.winners(
    cells_of(world(), data(), world(world='chains'))  # No data there.
  )
  few, many = found
  assert (few.target, few.size, few.torso) == ('source', 16, 'lstm')
  assert (few.best, few.near, few.smallest) == (
    'StatePT',
    ('SoftPT',),
    'SoftPT',
  )
  assert few.regret == pytest.approx(0.04, rel=1e-3)
  assert many.size == study_claims.MOST
  # Of equals the one that tunes fewer numbers.
  assert (many.best, many.smallest) == ('StatePT', 'SoftPT')
  assert many.near == ('LoRAWT', 'FullWT', 'SoftPT')
  assert not study_table.winners(cells_of(world()))


@pytest.mark.parametrize(
  'value, text',
  [(0, '0'), (384, '380'), (12_345, '12k'), (9.96e6, '10M'), (NAN, '')],
)
def test_counts_are_shown_in_two_digits(value, text):
  assert study_table.count(value) == text


def all_rows():
  own = COINS | {'NormWT': (0.02, 0.1, 3.0)}
  return [
    row
    for torso in study_networks()
    for target in frontier.KINDS
    for row in (*world(torso, target=target, numbers=own), *data(torso, target))
  ]


def study_networks():
  return (*frontier.TORSOS[:2], 'my_torso')


def test_page_and_table_show_every_tuner(tmp_path, monkeypatch):
  drawn = {}
  monkeypatch.setattr(
    style, 'write_all', lambda makers, into: drawn.update(makers)
  )
  evidence.append(tmp_path, test_judge.table(all_rows()))
  judged = studies.write(study.STUDY, tmp_path, {})
  assert {x.network for x in judged if x.ran} == {*study_networks()}
  shown = (tmp_path / 'README.md').read_text()
  for kind in figures.KINDS.values():
    assert f'### {kind.capitalize()}\n' in shown
    assert f'| {kind} | 16 | **StatePT** 0.04 (SoftPT; ' in shown
    assert f'| {kind} | 10,000 | **StatePT** 0.02 ' in shown
  assert f'| 1 | NormWT {page.MARK} | 0.02 | 0.02 | 0.02 | 0.02 |' in shown
  assert '| 5 | SoftPT ● | 0.04 |' in shown and '| 64 |' in shown
  assert '| 4 | FullWT | 0.03 |' in shown
  assert shown.count('Untuned networks lose 3 (LSTM), 3 (Transformer') == 3
  table = pd.read_csv(tmp_path / 'frontier.csv')
  assert len(table) == len(study_networks()) * 3 * 7
  idle = table[table.tuner == 'NoTuning']
  assert idle.undominated.isna().all() and idle.regret.notna().all()
  assert [*drawn] == ['frontier'] and 'figures/frontier.png' in shown


def test_a_figure_has_a_mark_for_each_tuner_in_each_panel():
  sections = study_table.of_torsos(cells_of(world(), data()))
  overall = study_table.overall(sections)
  figure = figures.frontier(overall)
  panels = dict(zip(figures._AXES, figure.axes, strict=True))
  for name, ax in panels.items():
    marks = [x for x in ax.lines if x.get_marker() not in (None, 'None', '')]
    drawn = {float(x.get_xdata()[0]) for x in marks if len(x.get_xdata())}
    expected = {figures._place(name, x) for x in overall[name]}
    assert drawn == expected, name
  assert max(drawn) == pytest.approx(30.0)
  hollow = [
    x
    for x in panels['later'].lines
    if x.get_marker() not in (None, 'None', '')
    and x.get_markerfacecolor() == 'white'
  ]
  assert len(hollow) == 1  # FullWT.


@pytest.mark.parametrize(
  'low, high, ticks',
  [
    (6.0, 33_000.0, [10.0, 100.0, 1000.0, 10_000.0]),
    (6e7, 1e8, [5e7, 1e8]),
    (1.0, 1e9, [1.0, 1e3, 1e6, 1e9]),
    (31.0, 38.0, [31.0]),
  ],
)
def test_axes_name_a_few_round_numbers(low, high, ticks):
  assert figures._ticks(low, high) == pytest.approx(ticks)


def holding():
  """Regrets at which all claims hold, {(world, target): {tuner: three}}."""
  both = (0.005, 0.1, 3.0)
  return {
    (world, target): {
      'SoftPT': (0.02 if target == 'source' else 1.0, 1.0, 1.0),
      'LoRAWT': (0.01, 0.1, 3.0),
      'FullWT': (0.02, 0.1, 9.0),
      'SoftPT+LoRAWT': both,
    }
    for world in study_claims.WORLDS
    for target in frontier.KINDS
  }


def judged(regrets, few=(0.05, 3.0)):
  made = []
  for (world_name, target), numbers in regrets.items():
    made += world(world=world_name, target=target, numbers=numbers)
  by_size = zip(('SoftPT', 'LoRAWT'), few, strict=True)
  made += data(numbers={name: {16: value} for name, value in by_size})
  every = study.STUDY.judge(test_judge.table(made))
  return {x.claim.name: x.verdict for x in every if x.network == 'lstm'}


@pytest.fixture(autouse=True)
def _composed(monkeypatch):
  monkeypatch.setitem(COSTS, 'SoftPT+LoRAWT', (4384, 400, 1e8, 0.03))


def test_there_is_a_world_in_which_all_claims_hold():
  assert {*judged(holding()).values()} == {judge.HOLDS}


@pytest.mark.parametrize(
  'place, change, name',
  [
    (('coins', 'source'), {'SoftPT': (0.08, 1.0, 1.0)}, 'prompt_reaches'),
    (
      ('chains', 'mixture'),
      {'SoftPT': (0.04, 1.0, 1.0)},
      'prompt_misses_mixture',
    ),
    (
      ('switching', 'mixture'),
      {'LoRAWT': (0.06, 1.0, 1.0), 'SoftPT+LoRAWT': (0.03, 1.0, 1.0)},
      'weights_reach_mixture',
    ),
    (('coins', 'novel'), {'SoftPT': (0.04, 1.0, 1.0)}, 'prompt_misses_novel'),
    (('chains', 'novel'), {'LoRAWT': (0.07, 1.0, 1.0)}, 'weights_reach_novel'),
    (
      ('coins', 'mixture'),
      {'LoRAWT': (0.03, 1.0, 1.0), 'SoftPT+LoRAWT': (-0.04, 1.0, 1.0)},
      'both_gain_little',
    ),
    (('coins', 'source'), {'FullWT': (0.02, 1.0, 1.5)}, 'prompt_forgets_less'),
  ],
)
def test_each_claim_fails_by_its_own_number(place, change, name):
  regrets = holding()
  regrets[place] = regrets[place] | change
  verdicts = judged(regrets)
  failed = {x: y for x, y in verdicts.items() if y != judge.HOLDS}
  assert failed == {f'{name}_{place[0]}': judge.FAILS}


def test_claims_about_data_fail_by_their_own_numbers():
  assert judged(holding(), few=(0.5, 0.4))['few_want_a_prompt'] == judge.FAILS
  regrets = holding()
  regrets['coins', 'source'] |= {'LoRAWT': (0.2, 1.0, 3.0)}
  assert judged(regrets)['many_want_weights'] == judge.FAILS


def test_claims_and_table_are_about_what_is_planned():
  planned = {x.name: x for x in frontier.plan()}
  configs = {name: x.config() for name, x in planned.items()}
  for claim in study_claims.claims(frontier.TORSOS):
    for network in claim.networks:
      for mean in (x.of(network) for x in claim.means.values()):
        config = configs[mean.experiment]
        assert mean.tuner in planned[mean.experiment].methods
        assert mean.task in config.evaluation.tasks
        assert mean.step in settings.report_steps(config)
  assert {*figures.TITLES} == {*frontier.TORSOS}
  assert {*figures.KINDS} == {*frontier.KINDS}
  assert {*study_claims.WORLDS} == {*frontier.TARGETS}
  for name, config in configs.items():
    parsed = study_table.parse(name)
    assert parsed.torso in frontier.TORSOS
    tuning = config.tuning
    assert tuning.num_sequences == (
      0 if parsed.size == study_claims.MOST else parsed.size
    )
    # Without a number, tuning is one pass over the largest.
    assert tuning.num_steps * tuning.batch_size == study_claims.MOST
    assert tuning.length == study_claims.TUNING
    assert settings.report_steps(config)[-1] == (
      study_claims.LAST if parsed.size == study_claims.MOST else tuning.length
    )
  sizes = {study_table.parse(name).size for name in configs}
  assert sizes == {*frontier.SIZES}
  assert len(configs) == 27 + 3 * 3 * 4
  assert study_table.parse('lstm-coins') is None
  assert study_table.parse('lstm-coins-source-large') is None


def test_all_tuners_of_the_base_configuration_join():
  base = settings.base_config().methods
  assert {*base} - {*frontier.METHODS} == {'PreBayes', 'PreBayesPT'}
  plan = frontier.plan(('my_lab.mine',))
  assert all(x.methods == (*frontier.METHODS, 'mine') for x in plan)
  config = plan[0].config()
  assert config.methods.mine.to_dict() == {
    'name': 'my_lab.mine',
    'predictor': 'network',
  }
  # Nothing else of the experiment is another one for it.
  with config.unlocked():
    del config.methods['mine']
  config.tuning.methods = frontier._FEW
  alone = frontier.plan()[0].config()
  assert plain.difference(plain.of(config), plain.of(alone)) is None


def test_networks_are_those_of_the_study_of_architectures():
  for torso in frontier.TORSOS:
    for world_name in frontier.TARGETS:
      hashes = {
        fingerprint.network_hash(plain.of(get_config(arguments)), 3)
        for get_config, arguments in (
          (architectures.get_config, f'{torso},{world_name}'),
          (frontier.get_config, f'{torso},{world_name},novel'),
          (frontier.get_config, f'{torso},{world_name},source,n64'),
        )
      }
      assert len(hashes) == 1


def test_what_a_torso_refuses_is_left_out():
  config = frontier.get_config('lstm,coins,source,quick')
  config.tuning.methods = frontier.METHODS
  refused = build.refused(config)
  assert 'NormWT' in refused
  allowed = tuple(x for x in frontier.METHODS if x not in refused)
  assert len(allowed) > 12
  config.tuning.methods = allowed
  assert tuple(build.build(config).methods) == allowed


@pytest.mark.parametrize('quick', [False, True])
def test_what_a_torso_refuses_is_no_work(monkeypatch, capsys, quick):
  flags = {'_METHODS': ['SoftPT', 'NormWT'], '_SEEDS': '0:2', 'QUICK': quick}
  for name, value in flags.items():
    monkeypatch.setattr(script, name, types.SimpleNamespace(value=value))
  planned = frontier.plan()[0]
  configs = {planned.name: planned.config(quick)}
  units = script._units([planned], configs, by_network.Unit, build.refused)
  assert [(x.seed, x.methods) for x in units] == [
    *((0, ('SoftPT',)), (1, ('SoftPT',)))
  ]
  # Nobody asked a quick run for it.
  said = capsys.readouterr().out
  left_out = 'Left out  lstm-coins-source: methods.NormWT'
  assert said.startswith(left_out) == (not quick)


@pytest.mark.parametrize('world_name', frontier.TARGETS)
def test_every_target_can_be_built(world_name):
  for kind in frontier.KINDS:
    lab = build.build(frontier.get_config(f'selective_ssm,{world_name},{kind}'))
    assert (lab.target, lab.pretraining_task) == ('target', 'world')
    assert lab.report_steps == (50, 100, 200)


@pytest.mark.parametrize(
  'arguments, named',
  [
    ('lstn,coins,source', 'lstm'),
    ('lstm,coin,source', 'coins'),
    ('lstm,coins', 'TARGET is missing'),
    ('lstm,coins,source,n17', 'n16'),
    ('lstm,coins,source,n16,n64', 'one of n16'),
  ],
)
def test_mistakes_in_the_argument(arguments, named):
  with pytest.raises(errors.UserError, match=named):
    frontier.get_config(arguments)


def tiny(arguments, methods):
  config = frontier.get_config(arguments + ',quick')
  config.network.embedding_dim = 8
  with config.unlocked():
    config.network.torso = settings.spec('linear', width=8)
  config.pretraining.num_steps = 2
  config.tuning.num_steps = 3
  config.tuning.batch_size = config.pretraining.batch_size = 4
  config.tuning.length = 5
  config.pretraining.length = 6
  if config.evaluation.length > 50:
    config.evaluation.length = 8
  else:
    config.evaluation.length = 5
  config.evaluation.num_sequences = 8
  config.checkpoints.every = 1  # So that the clock hears of each update.
  config.tuning.methods = methods
  return config


@pytest.mark.slow
def test_it_runs_from_networks_to_the_page(tmp_path, monkeypatch):
  for name, step in (('TUNING', 5), ('PRETRAINING', 6), ('LAST', 8)):
    monkeypatch.setattr(study_claims, name, step)
  methods = ('NoTuning', 'SoftPT', 'FullWT')
  every = {
    'linear-coins-source': 'lstm,coins,source',
    'linear-coins-source-n16': 'lstm,coins,source,n16',
  }
  configs = {
    name: tiny(arguments, methods) for name, arguments in every.items()
  }
  units = [
    by_network.Unit(name, seed, methods) for name in every for seed in (0, 1)
  ]
  assert not by_network.collect(
    configs, units, tmp_path / 'runs', tmp_path / 'out'
  )
  studies.write(study.STUDY, tmp_path / 'out', configs)
  cells = study_table.cells(evidence.read(tmp_path / 'out')).set_index('tuner')
  assert {*cells.index} == {*methods}
  numbers = cells.loc['SoftPT']
  assert numbers.tuned_numbers == 6 * 8 and numbers.updates == 3
  assert numbers.seconds > 0
  for name in ('regret', 'later', 'forgotten', 'n16'):
    assert np.isfinite(numbers[name])
  assert cells.forgotten['NoTuning'] == 0
  shown = (tmp_path / 'out' / 'README.md').read_text()
  assert '| one source | 16 | **' in shown
  assert (tmp_path / 'out' / 'figures' / 'frontier.png').exists()
