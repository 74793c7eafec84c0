"""What exact Bayes loses is exact, where it can be, and says so."""

import math

import numpy as np
import pytest

from bayes_prompting import keys
from bayes_prompting import regret
from bayes_prompting import results
from bayes_prompting import settings
from bayes_prompting.experiment import by_network
from bayes_prompting.experiment import evaluation
from bayes_prompting.experiment import exactly
from bayes_prompting.experiment import fingerprint
from bayes_prompting.experiment import run as run_lib
from bayes_prompting.reporting import figures
from bayes_prompting.results import difference
from bayes_prompting.results import evidence
from bayes_prompting.results import summary
from bayes_prompting.theory import expectation
from tests import testing
from tests.experiment import test_run

BAYES = ('PreBayes', 'PreBayesPT', 'SoftBayes')
METHODS = (*BAYES, 'NoTuning')


def brute_force(sources, length, added=(0.0, 0.0)):
  """Laplace's rule against the oracle, summed over counts; sources are coins.

  Returns what it loses in `length` tokens, and what Bayes of the sources does.
  """
  lost = best = 0.0
  for n in range(length):
    for k in range(n + 1):
      of_sources = np.array(
        [math.comb(n, k) * p**k * (1 - p) ** (n - k) for p in sources]
      ) / len(sources)
      rule = (k + 1 + added[1]) / (n + 2 + sum(added))
      bayes = of_sources @ sources / of_sources.sum()
      for weight, p in zip(of_sources, sources, strict=True):
        for q, sign in ((rule, 1), (bayes, 0)):
          kl = p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))
          lost += weight * kl * (sign == 1)
          best += weight * kl * (sign == 0)
  return lost, lost - best


def total(target, values, length=50):
  sums = exactly.Sums(target, length)
  return sums.of_values(testing.random_coins(), np.array(values)).sum(-1)


def test_the_known_number_of_the_single_coin():
  (found,) = total(testing.single_coin(), [[0, 0]])
  np.testing.assert_allclose(found, brute_force([0.8], 50), atol=1e-9)
  assert found[0] == pytest.approx(1.4772, abs=1e-4)


def test_prompts_of_the_mixture_hard_and_soft():
  values = [[0, 0], [2, 1], [0.3, 1.25], [2, 1]]
  found = total(testing.two_coins(), values, 20)
  for regrets, value in zip(found, values, strict=True):
    wanted = brute_force([0.8, 0.2], 20, value)
    np.testing.assert_allclose(regrets, wanted, atol=1e-9)


def test_one_task_has_sums_of_several_priors():
  sums = exactly.Sums(testing.two_coins(), 20)
  none = np.zeros((1, 2))
  for added in ((0.0, 0.0), (1.0, 0.5)):
    prior = testing.task_prior(
      'dirichlet_categorical', concentration=tuple(1 + x for x in added)
    )
    (found,) = sums.of_values(prior, none).sum(-1)
    wanted = brute_force([0.8, 0.2], 20, added)
    np.testing.assert_allclose(found, wanted, atol=1e-9)


@pytest.mark.parametrize(
  'value', [[-0.1, 1.0], [np.nan, 1.0]], ids=['negative', 'NaN']
)
def test_what_no_tokens_leave_has_no_sum(value):
  assert (
    exactly.Sums(testing.single_coin(), 5).of_values(
      testing.random_coins(), np.array([[1.0, 0.0], value])
    )
    is None
  )


def test_what_costs_too_much_stays_sampled(monkeypatch):
  prior, values = testing.random_coins(), np.array([[0, 0], [1, 0]])
  sums = exactly.Sums(testing.single_coin(), 20)
  each = len(expectation.expectation(prior, testing.single_coin(), 20).values)
  monkeypatch.setattr(exactly, '_MOST_VALUES', 2 * each)
  assert sums.of_values(prior, values) is not None
  monkeypatch.setattr(exactly, '_MOST_VALUES', 2 * each - 1)
  assert sums.of_values(prior, values) is None
  monkeypatch.setattr(expectation, '_MAX_VALUES', 10)
  assert exactly.Sums(testing.single_coin(), 20).own is None


def test_prompts_of_priors_with_another_state_are_sums_too():
  prior = testing.task_prior(
    'union',
    components={
      'coins': {
        'name': 'dirichlet_categorical',
        'weight': 0.5,
        'concentration': (1.0, 1.0),
      },
      'chains': {
        'name': 'dirichlet_markov',
        'weight': 0.5,
        'concentration': (1.0, 1.0),
        'order': 1,
      },
    },
  )
  start = np.asarray(prior.statistic.start)
  none, hard = testing.tuner('none'), testing.tuner('hard_prefix', length=2)
  np.testing.assert_array_equal(exactly._values(prior, none, {}), [start])
  prompts = np.array([[0, 1], [1, 1]], np.int32)
  np.testing.assert_array_equal(
    exactly._values(prior, hard, prompts),
    [expectation.after(prior.statistic, x) for x in prompts],
  )
  # What is no token has no value of this statistic.
  soft = testing.tuner('prefix', form='real', length=2)
  assert exactly._values(prior, soft, np.full((1, 2, 2), 0.5)) is None


def config():
  made = test_run.tiny(**{'pretraining.num_steps': 0})
  with made.unlocked():
    made.methods.SoftBayes = settings.spec(
      'prefix', predictor='bayes', form='simplex', length=2
    )
    made.tasks.hidden = settings.spec(
      'switching', hazard=0.1, concentration=(1.0, 1.0)
    )
  made.tuning.methods = METHODS
  made.evaluation.num_sequences = 400
  made.evaluation.tasks = ('single_coin', 'two_coin_mixture', 'hidden')
  return made


@pytest.fixture(scope='module')
def judged():
  """The results of a run, and what they were before the sums were put in."""
  sampled, put = [], exactly.put

  def spy(dataset, lab, tuned):
    sampled.append(dataset.copy(deep=True))
    put(dataset, lab, tuned)

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(exactly, 'put', spy)
    dataset = run_lib.run(config())
  return dataset, *sampled


def at(dataset, **labels):
  return dataset.sel(**labels).squeeze(['learning_rate', 'prefix_init'])


def test_sums_replace_means_of_bayes_alone(judged):
  dataset, sampled = judged
  exact = results.exact(dataset)
  known = ['single_coin', 'two_coin_mixture']
  assert exact.sel(tuner=list(BAYES), eval_task=known).all()
  # A prior without a statistic is sampled.
  assert not exact.sel(tuner=list(BAYES), eval_task='hidden').any()
  assert not exact.sel(tuner='EvalBayes', eval_task='hidden').all()
  assert not exact.sel(tuner='NoTuning').any()
  kept = ~exact
  for name, before in sampled.data_vars.items():
    if name == 'exact':
      continue
    if 'regret' in name and name != 'sequence_regret':
      before = before.where(kept)
      np.testing.assert_array_equal(dataset[name].where(kept), before)
    else:
      np.testing.assert_array_equal(dataset[name], before)
  sums = dataset.where(exact)
  for name in ('instantaneous_regret', 'cumulative_regret'):
    errors = sums[f'{name}_sem'].values
    assert not np.any(errors[~np.isnan(errors)])
    off = np.abs(sums[name] - sampled[name].where(exact))
    assert (off <= 6 * sampled[f'{name}_sem'] + 0.05).where(off.notnull()).all()
  coin = at(
    dataset, tuner='PreBayes', eval_task='single_coin', reference='oracle'
  )
  wanted = [brute_force([0.8], n)[0] for n in range(1, 9)]
  found = coin.cumulative_regret.isel(pretrain_seed=0)
  for values in found.transpose(..., 'step').values.reshape(-1, 8):
    np.testing.assert_allclose(values, wanted, rtol=1e-6)


def test_the_table_says_exact(judged):
  dataset, _ = judged
  lines = summary.table(dataset).splitlines()
  rows = {x.split()[0]: x for x in lines if x}
  wanted = brute_force([0.8], 4)[0]
  assert rows['PreBayes'].split()[1:3] == [f'{wanted:.3f}', 'exact']
  assert '+-' in rows['PreBayes'].split(' exact')[-1]  # The task without.
  assert rows['NoTuning'].count('+-') == 3 and 'exact' not in rows['NoTuning']
  assert '+- 0.000' not in rows['Oracle'] + rows['TargetBayes']
  assert any('exact: a closed sum' in line for line in lines)
  assert 'exact' not in summary.table(dataset.sel(tuner=['NoTuning']))
  table = summary.summarize(dataset)
  assert not table[table.exact].sem_sequences.any()
  bars = figures.regret_bars(dataset, 4)
  said = [x.get_text() for x in bars.axes[0].texts]
  assert f'{wanted:.3f} exact' in said


def test_rows_of_exact_bayes_are_of_no_network(judged, tmp_path):
  dataset, _ = judged
  table = evidence.of_results(dataset, 'tiny')
  bayes = table[table.pretrain_seed.isna()]
  assert {*bayes.tuner} == {'Oracle', 'TargetBayes', 'EvalBayes', *BAYES}
  (row,) = evidence.at(
    bayes, tuner='PreBayes', task='single_coin', step=4, reference='oracle'
  ).itertuples()
  assert (row.estimator, row.sem_sequences) == ('exact', 0)
  assert row.mean == pytest.approx(brute_force([0.8], 4)[0], rel=1e-5)
  sampled = evidence.at(bayes, tuner='PreBayes', task='hidden', step=4)
  assert len(sampled) == 6 and (sampled.sem_sequences > 0).all()
  assert len(evidence.at(table, tuner='NoTuning', pretrain_seed=0))
  assert evidence.at(table, pretrain_seed=None).equals(bayes)
  # They are read as they were, and those of another machine are the same.
  assert evidence.append(tmp_path / 'one', table) == len(table)
  exact = bayes[bayes.sem_sequences == 0]
  other = exact.assign(mean=exact['mean'] * (1 + 1e-5), device='gpu')
  evidence.append(tmp_path / 'other', other)
  file = tmp_path / 'other' / evidence.NAME
  assert evidence.merge(tmp_path / 'one', file) == 0
  read = evidence.read(tmp_path / 'one')
  assert len(read) == len(table) and read.pretrain_seed.isna().sum() == len(
    bayes
  )


def test_a_difference_of_exact_numbers_is_exact(judged):
  dataset, sampled = judged
  args = 'single_coin', 4
  found = difference.compare(dataset, 'PreBayes', 'TargetBayes', *args)
  assert found.difference == pytest.approx(brute_force([0.8], 4)[1], rel=1e-5)
  assert (found.error, found.over) == (0, 'nothing')
  assert str(found).endswith('nats (exact)')
  # With a network the sequences are what they have in common.
  for data in judged:
    found = difference.compare(data, 'NoTuning', 'PreBayes', *args)
    assert found.over == 'sequences'
  assert found == difference.compare(dataset, 'NoTuning', 'PreBayes', *args)
  assert not results.exact(sampled).any()


def test_one_network_s_work_has_one_row_of_exact_bayes(tmp_path, monkeypatch):
  monkeypatch.setattr(
    run_lib, 'meta_train_one', lambda *args: pytest.fail('needs no network')
  )
  made = test_run.tiny(**{'tuning.methods': ('PreBayes',)})
  made.evaluation.tasks = ('single_coin',)
  for seed in (0, 3):
    unit = by_network.Unit('coin', seed, ('PreBayes',))
    assert not by_network.collect(
      {'coin': made}, [unit], tmp_path / 'runs', tmp_path
    )
  table = evidence.read(tmp_path)
  assert table.pretrain_seed.isna().all()
  assert {*table.estimator} == {'exact'} and not table.sem_sequences.any()
  (row,) = evidence.at(table, step=4, reference='oracle').itertuples()
  assert row.mean == pytest.approx(brute_force([0.8], 4)[0], rel=1e-5)


def test_rows_of_networks_do_not_depend_on_it():
  made = test_run.tiny().to_dict()
  name = exactly.__name__.removeprefix('bayes_prompting.')

  def numerics(method):
    return fingerprint.numerics(
      made | {'tuning': made['tuning'] | {'methods': [method]}}
    )

  assert numerics('PreBayes')[name] == exactly.NUMERICS
  assert name not in numerics('SoftPT')


def test_the_paired_regret_of_a_network_has_the_exact_one_of_bayes():
  prior = testing.random_coins()
  task = evaluation.make_task(keys.root(0), prior, num_sequences=5, length=8)
  own = exactly.Sums(prior, 8).own
  network, params = testing.network('linear')
  found = evaluation.evaluate(
    network, params, testing.tuner('none'), {}, task, (8,)
  )
  paired, exact = (
    found.instantaneous[0, i, j]
    for i, j in (
      (0, regret.ESTIMATORS.index('paired')),
      (1, regret.ESTIMATORS.index('exact')),
    )
  )
  np.testing.assert_allclose(paired, own + exact, atol=1e-6)
