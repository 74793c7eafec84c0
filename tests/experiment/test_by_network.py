"""Networks end with rows of evidence, which a whole run would have as well."""

import types

import jax
import numpy as np
import pytest

from bayes_prompting import errors
from bayes_prompting import regret
from bayes_prompting import settings
from bayes_prompting.experiment import build
from bayes_prompting.experiment import by_network
from bayes_prompting.experiment import cost
from bayes_prompting.experiment import evaluation
from bayes_prompting.experiment import reorderings
from bayes_prompting.experiment import run as run_lib
from bayes_prompting.experiment import tuning
from bayes_prompting.results import evidence
from bayes_prompting.system import locks
from tests.experiment import test_run

METHODS = ('NoTuning', 'SoftPT', 'HardPT')
UNITS = [by_network.Unit('coin', seed, METHODS) for seed in (0, 1)]


def config(**overrides):
  overrides = {'tuning.methods': ('NoTuning',)} | overrides
  return test_run.tiny(**overrides)


@pytest.fixture(scope='module')
def collected(tmp_path_factory):
  folder = tmp_path_factory.mktemp('work')
  assert not by_network.collect(
    {'coin': config()}, UNITS, folder / 'runs', folder / 'out'
  )
  return folder


def test_rows_are_the_numbers_of_a_whole_run(collected):
  whole = run_lib.run(
    config(**{'tuning.methods': METHODS, 'pretraining.num_seeds': 2})
  )
  expected = evidence.of_results(whole, 'coin')
  table = evidence.read(collected / 'out')
  assert len(table)
  for found in table.itertuples():
    of = evidence.at(
      expected,
      **{name: getattr(found, name) for name in evidence.KEY[1:7]},
    )
    (same,) = of.itertuples()
    assert found.mean == pytest.approx(same.mean, rel=1e-5, abs=1e-6)
    assert found.repetitions == same.repetitions
    np.testing.assert_allclose(
      np.array(found.values.split(), float),
      np.array(same.values.split(), float),
      rtol=1e-5,
      atol=1e-6,
    )
  target = evidence.at(table, task='single_coin')
  assert {*target.tuner} == {*METHODS}
  of_soft = evidence.at(target, tuner='SoftPT')
  assert {*of_soft.prefix_init} == {*config().tuning.prefix_init}
  assert {*of_soft.learning_rate} == {*config().tuning.learning_rate}
  assert {*target.pretrain_seed} == {0, 1}
  assert {*zip(target.reference, target.estimator, strict=True)} == {
    by_network.EXACT,
    by_network.HEADLINE,
  }


def test_rows_say_what_a_tuning_took(collected):
  table = evidence.read(collected / 'out')
  lab = build.build(config(**{'tuning.methods': METHODS}))
  for name, method in lab.methods.items():
    rows = evidence.at(table, tuner=name)
    counted = cost.of_method(lab, method)
    for field, value in counted._asdict().items():
      assert {*rows[field]} == {value}
  # One chunk of updates compiles; a search of four candidates is one block.
  assert table.seconds.isna().all()


def test_what_has_rows_is_not_run_again(collected, monkeypatch):
  def fail(*args, **kwargs):
    raise AssertionError('again')

  for name in ('tune_one', 'meta_train_one'):
    monkeypatch.setattr(run_lib, name, fail)
  built = []
  real = build.build
  monkeypatch.setattr(
    build, 'build', lambda *x, **kwargs: built.append(x) or real(*x, **kwargs)
  )
  before = (collected / 'out' / evidence.NAME).read_bytes()
  assert not by_network.collect(
    {'coin': config()}, UNITS, collected / 'runs', collected / 'out'
  )
  assert (collected / 'out' / evidence.NAME).read_bytes() == before
  assert len(built) == 1 < len(UNITS)


def test_one_more_network_or_tuner_adds_its_rows_alone(
  collected, tmp_path, monkeypatch
):
  table = evidence.read(collected / 'out')
  evidence.append(tmp_path, table[table.tuner != 'NoTuning'])
  trained = []
  monkeypatch.setattr(
    tuning, 'meta_train', lambda *args, **kwargs: trained.append(args)
  )
  units = [by_network.Unit('coin', 0, METHODS)]
  assert not by_network.collect(
    {'coin': config()}, units, collected / 'runs', tmp_path
  )
  assert not trained  # The network was kept.
  again = evidence.read(tmp_path)
  assert len(again) > len(table[table.tuner != 'NoTuning'])
  new = evidence.at(again, tuner='NoTuning')
  assert {*new.pretrain_seed} == {0}
  evidence.append(tmp_path, table)  # The same numbers, or it were refused.


def test_what_is_said_of_orders_is_rows_of_their_own(collected, tmp_path):
  asked = config(
    **{
      'evaluation.reorderings': ('single_coin',),
      'evaluation.report_steps': (2,),
    }
  )
  methods = ('NoTuning', 'SoftPT')
  units = [by_network.Unit('coin', 0, methods)]
  # Rows that nobody asked more of are there already, and are not enough.
  evidence.append(tmp_path, evidence.read(collected / 'out'))
  assert not by_network.collect(
    {'coin': asked}, units, collected / 'runs', tmp_path
  )
  table = evidence.at(evidence.read(tmp_path), pretrain_seed=0)
  table = table[table.tuner.isin(methods)]
  of_orders = table[table.reference == 'reorderings']
  assert {*of_orders.tuner} == {*methods}
  assert {*of_orders.step} == {asked.tuning.length}
  assert (of_orders['mean'] > 0).all() and (of_orders['mean'] < 0.7).all()
  assert {*evidence.at(of_orders, tuner='SoftPT').repetitions} == {2}
  assert {*of_orders.task} == {'single_coin'}
  assert {*evidence.at(table, tuner='SoftPT').step} >= {2, asked.tuning.length}
  # The rows that were there count beside them.
  same = table[(table.reference != 'reorderings') & (table.step != 2)]
  key = [*evidence.KEY]
  old = evidence.read(collected / 'out')[key]
  assert len(same) and len(same[key].merge(old)) == len(same)


def test_another_setting_is_another_row():
  lab_config = test_run.tiny(**{'tuning.methods': METHODS}).to_dict()
  here = by_network.identity(lab_config, 'SoftPT', 'single_coin')
  same = test_run.tiny(
    **{
      'tuning.methods': ('SoftPT',),
      'tuning.num_repetitions': 7,
      'pretraining.num_seeds': 3,
      'evaluation.tasks': ('single_coin',),
    }
  ).to_dict()
  assert by_network.identity(same, 'SoftPT', 'single_coin') == here
  for field, value in (
    ('tuning.num_steps', 99),
    ('tuning.prefix_length', 3),
    ('pretraining.num_steps', 99),
    ('evaluation.num_sequences', 99),
    ('seed', 9),
  ):
    other = test_run.tiny(**{'tuning.methods': METHODS, field: value}).to_dict()
    assert by_network.identity(other, 'SoftPT', 'single_coin') != here


@pytest.mark.parametrize('network_stopped', [False, True])
def test_rows_are_of_what_counts_on_a_stopped_network_of_nothing(
  network_stopped, monkeypatch
):
  lab = build.build(config(**{'tuning.methods': ('SoftPT',)}))
  method, steps = lab.methods['SoftPT'], lab.report_steps
  # Repetitions, references, estimators, report steps, sequences.
  shape = method.repetitions, 2, 3, len(steps), 5
  sequences = np.random.default_rng(0).normal(size=shape)
  monkeypatch.setattr(
    evaluation,
    'evaluate',
    lambda *args, **kwargs: types.SimpleNamespace(sequences=sequences),
  )
  losses = np.ones((4, method.repetitions))
  losses[2:, 1] = np.nan
  made = by_network.rows(
    lab,
    by_network.Unit('coin', 0, ('SoftPT',)),
    'SoftPT',
    {},
    {'tunable': None, 'losses': losses},
    {lab.target: None},
    network_stopped,
  )
  assert len(made) == 2 * len(steps) > 2
  counts = [r for r in range(method.repetitions) if r != 1]
  counts = [] if network_stopped else counts
  for row in made:
    of = sequences[
      counts,
      regret.REFERENCES.index(row['reference']),
      regret.ESTIMATORS.index(row['estimator']),
      steps.index(row['step']),
    ]
    np.testing.assert_equal(
      {name: row[name] for name in evidence.measured(of)},
      evidence.measured(of),
    )
    assert row['stopped'] == method.repetitions - len(counts)


def test_numbers_are_at_the_precision_of_the_configuration(monkeypatch):
  seen = []
  lab = build.build(
    config(
      **{
        'compute.matmul_precision': 'bfloat16',
        'evaluation.reorderings': ('single_coin',),
      }
    )
  )
  shape = 1, 2, 3, len(lab.report_steps), 5

  def evaluate(*args, **kwargs):
    seen.append(jax.config.jax_default_matmul_precision)
    return types.SimpleNamespace(sequences=np.zeros(shape))

  def of_runs(*args):
    seen.append(jax.config.jax_default_matmul_precision)
    return np.zeros((1, 5))

  monkeypatch.setattr(evaluation, 'evaluate', evaluate)
  monkeypatch.setattr(reorderings, 'of_runs', of_runs)
  tokens = types.SimpleNamespace(tokens=np.zeros((5, 9), np.int32))
  by_network.rows(
    lab,
    by_network.Unit('coin', 0, ('NoTuning',)),
    'NoTuning',
    {},
    {'tunable': {}},
    {lab.target: tokens},
  )
  assert seen == ['bfloat16', 'bfloat16']


def test_a_network_that_another_process_works_on_is_left_to_it(
  collected, tmp_path, monkeypatch
):
  waited = []
  real = locks.lock

  def lock(folder, wait=False):
    if 'locks' in folder.parts and not waited:
      raise locks.InUse('workdir: is in use')
    return real(folder, wait)

  monkeypatch.setattr(by_network.locks, 'lock', lock)
  monkeypatch.setattr(by_network.time, 'sleep', waited.append)
  units = [by_network.Unit('coin', 0, ('NoTuning',))]
  assert not by_network.collect(
    {'coin': config()}, units, collected / 'runs', tmp_path
  )
  assert len(waited) == 1
  assert len(evidence.read(tmp_path))


def test_a_failure_does_not_stop_the_others(
  collected, tmp_path, monkeypatch, capsys
):
  real = run_lib.meta_train_one

  def train(lab, seed, folder):
    if not seed:
      raise RuntimeError('out of memory')
    return real(lab, seed, folder)

  monkeypatch.setattr(run_lib, 'meta_train_one', train)
  failed = by_network.collect(
    {'coin': config()},
    [x._replace(methods=('NoTuning',)) for x in UNITS],
    collected / 'runs',
    tmp_path,
  )
  assert [x.seed for x in failed] == [0]
  assert 'out of memory' in capsys.readouterr().err
  assert {*evidence.read(tmp_path).pretrain_seed} == {1}


def test_a_torso_that_cannot_be_is_one_line_before_anything_is_done(tmp_path):
  other = config()
  with other.unlocked():
    other.network.torso = settings.spec('linear', num_layers=1)
  with pytest.raises(errors.UserError, match=r"^other: .*'num_layers'"):
    by_network.collect(
      {'coin': config(), 'other': other},
      [by_network.Unit(x, 0, ('NoTuning',)) for x in ('coin', 'other')],
      tmp_path,
      tmp_path / 'out',
    )
  assert evidence.read(tmp_path / 'out').empty


def test_a_grid_is_refused(tmp_path):
  several = config(**{'tuning.learning_rate': (0.1, 0.2)})
  units = [by_network.Unit('coin', 0, ('SoftPT',))]
  failed = by_network.collect(
    {'coin': several}, units, tmp_path, tmp_path / 'out'
  )
  assert failed == units
  with pytest.raises(errors.UserError, match='SoftPR'):
    by_network.collect(
      {'coin': config()},
      [by_network.Unit('coin', 0, ('SoftPR',))],
      tmp_path,
      tmp_path / 'out',
    )
