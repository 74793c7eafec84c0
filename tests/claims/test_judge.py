"""Claims are judged by the right numbers, and by what was said beforehand."""

import dataclasses
import itertools
import json

import numpy as np
import pandas as pd
import pytest

from bayes_prompting import errors
from bayes_prompting import results
from bayes_prompting import settings
from bayes_prompting.claims import bootstrap
from bayes_prompting.claims import judge
from bayes_prompting.claims import samples as samples_lib
from bayes_prompting.claims import tables
from bayes_prompting.results import selection
from bayes_prompting.settings import plain
from bayes_prompting.studies.paper import claims as paper_claims
from bayes_prompting.theory import expectation
from configs import paper
from tests import testing

SEEDS, REPETITIONS, SEQUENCES = 2, 3, 20
METHODS = ('TargetBayes', 'PreBayes', 'NoTuning', 'SoftPT', 'HardPT')
STEPS = (4, 6, 9)  # Tuning, pretraining, evaluation.


def made_up(regrets, tasks=('home', 'away'), seed=0):
  """Results in which {method: a}, a [P, R, steps], is lost on `home`."""
  builder = results.Builder(
    {
      'tuner': METHODS,
      'pretrain_seed': range(SEEDS),
      'learning_rate': [1e-3],
      'prefix_init': ['normal'],
      'repetition': range(REPETITIONS),
      'eval_task': tasks,
      'reference': ('oracle', 'bayes'),
      'estimator': ('sampled', 'exact', 'paired'),
      'step': range(1, STEPS[-1] + 1),
      'report_step': STEPS,
      'sequence': range(SEQUENCES),
      'pretraining_step': (),
      'tuning_step': (),
      'candidate': (),
    }
  )
  for method, values in regrets.items():
    for network, (task, plus) in itertools.product(
      range(len(values)), zip(tasks, (0, 100), strict=False)
    ):
      at = {'tuner': method, 'pretrain_seed': network, 'eval_task': task}
      at |= {'learning_rate': 1e-3, 'prefix_init': 'normal'}
      runs = len(values[network])
      # Any other reference or estimator would be far off.
      wrong = np.full((runs, 2, 3, len(STEPS), SEQUENCES), 1e4)
      right = np.asarray(values[network])[..., None] + plus
      wrong[:, 1, 1] = right + np.linspace(-1, 1, SEQUENCES)
      builder.put('sequence_regret', wrong, **at)
      builder.put('judged', np.ones(runs), **at)
  config = {
    'seed': seed,
    'network': {},
    'tasks': dict.fromkeys(tasks),
    'methods': {
      method: {'predictor': 'network' if 'PT' in method else 'bayes'}
      for method in METHODS
    },
    'pretraining': {'task': tasks[0]},
    'evaluation': {},
  }
  return builder.build(
    {
      'config': json.dumps(config),
      'target': tasks[0],
      'tuning_length': STEPS[0],
      'pretraining_length': STEPS[1],
    }
  )


def claim(sign='<', number=5.0, value=lambda m: m['it'], **kwargs):
  means = {'it': samples_lib.Mean('SoftPT', '{network}-run', **kwargs)}
  bound = judge.Bound(sign, number)
  return judge.Claim('c', 'It is.', ('lstm',), 'x', bound, 'why', means, value)


def soft(tuning=1.0, pretraining=2.0, last=3.0):
  """Regrets of SoftPT, by step, that differ by network and repetition."""
  runs = np.zeros((SEEDS, REPETITIONS, 3)) + (tuning, pretraining, last)
  return runs + np.array([-0.01, 0.01])[:, None, None]


def only(one, dataset):
  table = judge.judge([one], lambda name: dataset)
  assert tuple(table) == judge.COLUMNS
  return table.iloc[0]


@pytest.mark.parametrize(
  'kwargs, value',
  [
    ({}, 1.0),
    ({'step': 'pretraining'}, 2.0),
    ({'step': 'last'}, 3.0),
    ({'task': 'away'}, 101.0),
  ],
)
def test_the_mean_is_that_of_the_step_and_task(kwargs, value):
  found = only(claim(**kwargs), made_up({'SoftPT': soft()}))
  assert found.value == pytest.approx(value, abs=1e-4)
  assert found.low < value < found.high
  assert (found.networks, found.repetitions) == (SEEDS, REPETITIONS)
  assert found.sequences == SEQUENCES


@pytest.mark.parametrize(
  'sign, number, verdict',
  [
    ('<', 3.0, judge.HOLDS),
    ('<', 1.0, judge.UNDECIDED),
    ('<', 0.1, judge.FAILS),
    ('>', 3.0, judge.FAILS),
    ('>', 1.0, judge.UNDECIDED),
    ('>', 0.1, judge.HOLDS),
  ],
)
def test_the_whole_interval_decides(sign, number, verdict):
  found = only(claim(sign, number), made_up({'SoftPT': soft()}))
  assert found.verdict == verdict


def test_a_number_without_noise_that_is_the_bound_does_not_pass_it():
  assert judge.Bound('<', 1.0).verdict(1.0, 1.0) == judge.FAILS
  assert judge.Bound('>', 1.0).verdict(1.0, 1.0) == judge.FAILS
  nan = float('nan')
  assert judge.Bound('<', 1.0).verdict(nan, nan) == judge.UNDECIDED


@pytest.mark.parametrize('infinite', [np.inf, np.nan])
@pytest.mark.parametrize(
  'value',
  [
    lambda m: m['it'],
    lambda m: -m['it'],
    lambda m: 1 - m['it'] / 5,
    lambda m: (5 - m['it']) / 5,
    lambda m: np.minimum(m['it'], 3),
  ],
)
@pytest.mark.parametrize('sign', '<>')
def test_a_run_that_went_wrong_decides_nothing(sign, value, infinite):
  runs = soft()
  runs[1, 2] = infinite
  found = only(claim(sign, value=value), made_up({'SoftPT': runs}))
  assert found.verdict == judge.UNDECIDED
  assert found.reason.endswith('not finite: SoftPT in lstm-run')


@pytest.mark.parametrize('sign', ['<=', '>=', '=', ''])
def test_a_bound_is_below_or_above(sign):
  with pytest.raises(errors.UserError, match='Bound.sign'):
    judge.Bound(sign, 1.0)


def test_a_method_that_the_run_does_not_know_is_a_mistake():
  means = {'it': samples_lib.Mean('SoftTP', '{network}-run')}
  wrong = dataclasses.replace(claim(), means=means)
  with pytest.raises(errors.UserError, match="lstm-run: method: .*'SoftTP'"):
    only(wrong, made_up({'SoftPT': soft()}))


def test_what_was_not_run_has_no_verdict():
  without = made_up({'HardPT': soft()})
  for dataset in (None, without):
    found = only(claim(), dataset)
    assert found.verdict == judge.NOT_RUN
    assert np.isnan([found.value, found.low, found.high]).all()
  found = only(claim(task='nowhere'), made_up({'SoftPT': soft()}))
  assert found.verdict == judge.NOT_RUN


def test_methods_of_two_experiments_are_compared():
  both = {
    'a': samples_lib.Mean('SoftPT', '{network}-one'),
    'b': samples_lib.Mean('PreBayes', '{network}-two', step='last'),
  }
  one = judge.Claim(
    name='c',
    text='It is.',
    networks=('lstm', 'transformer'),
    quantity='x',
    bound=judge.Bound('<', 0.0),
    reason='why',
    means=both,
    value=lambda m: m['a'] - m['b'],
  )
  loaded = []

  def load(name):
    loaded.append(name)
    found = {
      'lstm-one': {'SoftPT': soft()},
      'lstm-two': {'PreBayes': soft()[:1, :1]},
    }
    return made_up(found[name]) if name in found else None

  table = judge.judge([one, one], load)
  assert sorted(loaded) == [
    f'{network}-{run}'
    for network in ('lstm', 'transformer')
    for run in ('one', 'two')
  ]
  assert table.value[0] == pytest.approx(1.0 - 2.99, abs=1e-4)
  assert table.verdict.tolist()[:2] == [judge.HOLDS, judge.NOT_RUN]
  assert table.experiment[0] == 'lstm-one lstm-two'
  assert table.networks[0] == SEEDS


def test_runs_know_which_networks_and_sequences_they_share():
  def read(method, **kwargs):
    dataset = selection.choose(made_up({method: soft()}, **kwargs))
    return samples_lib.read(dataset, samples_lib.Mean(method, 'run'))

  one, other = read('SoftPT'), read('HardPT')
  assert one.networks == other.networks != ''
  assert one.sequences == other.sequences
  assert read('PreBayes').networks == ''
  another = read('SoftPT', seed=1)
  assert another.networks != one.networks
  assert another.sequences != one.sequences


def test_of_shared_networks_those_are_compared_that_both_runs_have():
  samples = {
    'a': bootstrap.Sample(np.arange(3.0)[:, None, None], 'n', 's'),
    'b': bootstrap.Sample(np.arange(2.0)[:, None, None], 'n', 's'),
    'c': bootstrap.Sample(np.arange(4.0)[:, None, None], 'm', 's'),
  }
  found = samples_lib.together(samples)
  assert [len(found[key].values) for key in 'abc'] == [2, 2, 4]


def test_a_gap_that_was_never_there_cannot_close():
  (one,) = (x for x in paper_claims.CLAIMS if x.name == 'narrow_closes_the_gap')
  gap = {'RealPT': 0.3, 'SoftPT': 0.1, 'RealPT_narrow': 0.1}
  assert one.value(gap | {'SoftPT_narrow': 0.15}) == pytest.approx(0.25)
  assert one.value(gap | {'SoftPT_narrow': 0.05}) == pytest.approx(0.25)
  assert np.isnan(one.value(gap | {'SoftPT': 0.31, 'SoftPT_narrow': 0.1}))


def test_larger_networks_change_nothing_if_all_verdicts_agree():
  def row(verdicts, other):
    table = pd.DataFrame(
      [
        {'network': network, 'name': f'c{i}', 'verdict': verdict}
        for network, found in (('a', verdicts), ('b', other))
        for i, verdict in enumerate(found)
      ]
    )
    found = judge.unchanged(table, 'a', 'b', 'text', 'reason')
    assert set(found) == set(judge.COLUMNS)
    return found['verdict'], found['value']

  yes, no, maybe, none = 'holds', 'does not hold', 'undecided', 'not run'
  assert row((yes, no, yes), (yes, no)) == (yes, 0)
  assert row((yes, no), (yes, yes)) == (no, 1)
  assert row((yes, no), (maybe, yes)) == (no, 1)
  assert row((yes, maybe), (yes, maybe))[0] == maybe
  assert row((yes, yes), (yes, maybe))[0] == maybe
  assert row((yes, yes), (yes, none))[0] == maybe
  assert row((yes, yes), (none, none))[0] == none


def test_the_table_is_written_as_csv_and_as_markdown(tmp_path):
  table = judge.judge(
    [claim(), dataclasses.replace(claim(task='nowhere'), name='d')],
    lambda name: made_up({'SoftPT': soft()}),
  )
  assert 'not run' in tables.markdown(table[1:])
  tables.save(table, tmp_path)
  again = pd.read_csv(tmp_path / 'claims.csv')
  assert again.verdict.tolist() == [judge.HOLDS, judge.NOT_RUN]
  np.testing.assert_allclose(again.value, table.value, rtol=1e-5)
  lines = (tmp_path / 'claims.md').read_text().splitlines()
  assert lines[0] == '| claim | must be | lstm |'
  row = table.iloc[0]
  said = f'{row.value:.3f} [{row.low:.3f}, {row.high:.3f}] (2 x 3)'
  assert lines[2] == f'| It is. | < 5 | **holds**: {said} |'
  assert lines[3] == '| It is. | < 5 | not run |'
  assert not list(tmp_path.glob('.*'))


# The paper's.


def test_every_claim_asks_for_what_its_experiments_run():
  configs = {paper.name(x): paper.get_config(x) for x in paper.EXPERIMENTS}
  names = [one.name for one in paper_claims.CLAIMS]
  assert len(set(names)) == len(names)
  for one in paper_claims.CLAIMS:
    assert one.exact or one.means
    for network, mean in itertools.product(one.networks, one.means.values()):
      mean = mean.of(network)
      config = configs[mean.experiment]
      assert mean.method in config.tuning.methods
      assert mean.task is None or mean.task in config.evaluation.tasks
      assert mean.step in ('tuning', 'pretraining', 'last')
  used = {
    mean.of(network).experiment
    for one in paper_claims.CLAIMS
    for network in one.networks
    for mean in one.means.values()
  }
  # What no claim is about is there for its figures.
  assert set(configs) - used == {
    *(f'{torso}-single_coin-prefix_lengths' for torso in paper.TORSOS),
    *(f'{torso}_untrained-two_coin_mixture' for torso in paper.TORSOS),
  }


def test_bounds_are_the_parts_of_the_theory_that_their_reasons_say():
  prior, coin = testing.random_coins(), testing.single_coin()
  lost = expectation.expected_regret(prior, coin, 200).cumsum()
  assert lost[49] == pytest.approx(1.477, abs=5e-4)
  assert lost[199] - lost[49] == pytest.approx(0.675, abs=5e-4)
  assert pytest.approx(lost[49] / 30, rel=0.05) == paper_claims.REACHES
  assert pytest.approx(lost[49] / 10, rel=0.05) == paper_claims.CLOSE
  later = (lost[199] - lost[49]) / 4
  assert pytest.approx(later, rel=0.05) == paper_claims.SLIGHTLY
  own = expectation.expected_regret(prior, prior, 100).sum()
  assert own == pytest.approx(1.9, abs=5e-3)
  assert pytest.approx(0.03, rel=0.15) == paper_claims.REACHES / own


@pytest.mark.parametrize('length, prefix_length', [(6, 2), (5, 3)])
def test_the_cost_of_hard_prefixes_is_that_of_all_of_them(
  length, prefix_length
):
  """All sequences and all prefixes, one by one, with Laplace's rule."""
  config = settings.base_config()
  config.tuning.target = 'two_coin_mixture'
  config.tuning.length = length
  config.tuning.prefix_length = prefix_length
  sequences = testing.all_sequences(2, length)
  ones = sequences.sum(1)
  chances = sum(0.5 * p**ones * (1 - p) ** (length - ones) for p in (0.2, 0.8))

  def loss(prefix):
    total = 0.0
    for sequence, chance in zip(sequences, chances, strict=True):
      counts = np.bincount(prefix, minlength=2) + 1.0
      for token in sequence:
        total -= chance * np.log(counts[token] / counts.sum())
        counts[token] += 1
    return total

  prefixes = testing.all_sequences(2, prefix_length)
  expected = min(map(loss, prefixes)) - loss(np.zeros(0, int))
  (one,) = [x for x in paper_claims.CLAIMS if x.exact]
  found = one.exact(plain.of(config))
  assert found == pytest.approx(expected, abs=1e-4)


def test_claims_of_a_larger_network_come_last():
  table = paper_claims.judge(lambda name: None)
  assert set(table.verdict) == {judge.NOT_RUN}
  assert table.network.tolist()[-2:] == ['lstm_large', 'transformer_large']
  config = paper.get_config('lstm,two_coin_mixture')
  config.tuning.length = config.tuning.prefix_length = 5
  dataset = made_up({'SoftPT': soft()}, ('two_coin_mixture', 'random_coins'))
  dataset.attrs['config'] = json.dumps(plain.of(config))
  table = paper_claims.judge(
    lambda name: dataset if name == 'lstm-two_coin_mixture' else None
  )
  found = table.set_index(['name', 'network']).verdict
  assert found['hard_prefixes_harm_bayes', 'exact Bayes'] == judge.HOLDS
