"""Prompts on networks that they were not tuned on, and read as tokens."""

import jax
import numpy as np
import pandas as pd
import pytest

from bayes_prompting import errors
from bayes_prompting import predictors
from bayes_prompting import results
from bayes_prompting import settings
from bayes_prompting.dynamics import transfer
from bayes_prompting.experiment import evaluation
from bayes_prompting.experiment import loading
from bayes_prompting.experiment import run as run_lib
from bayes_prompting.theory import expectation
from tests import testing
from tests.experiment import test_run

METHODS = ('PreBayes', 'NoTuning', 'HardPT', 'SoftPT', 'UnembedWT')
SEEDS = range(3)


@pytest.fixture(scope='module')
def run(tmp_path_factory):
  path = tmp_path_factory.mktemp('lab') / 'run'
  config = test_run.tiny(
    **{'tuning.methods': METHODS, 'pretraining.num_seeds': len(SEEDS)}
  )
  with config.unlocked():
    # It looks at the prefix, and is small.
    config.network.torso = settings.spec('gru', width=4)
  lab, folder = run_lib.open_run(config, path)
  networks = run_lib.meta_train(lab, folder)
  run_lib.tune(lab, networks, folder)
  return path


@pytest.fixture(scope='module')
def table(run):
  return transfer.transfer(run)


def of(table, **columns):
  for name, value in columns.items():
    table = table[table[name] == value]
  return table


def lost(lab, task, log_probs):
  """What predictions lose to the target's exact Bayes, and it to the oracle."""
  prior = lab.priors[lab.target]
  best, ours = (np.asarray(x, 'f8') for x in (task.bayes_log_probs, log_probs))
  kl = (np.exp(best) * (best - ours)).sum(-1)[:, :4].sum(1).mean()
  return kl + expectation.expected_regret(prior, prior, 4).sum()


def test_every_pair_of_networks_is_there_once(table):
  keys = ['tuner', 'form', 'tuned_on', 'user', 'used_on', 'repetition', 'step']
  assert not table.duplicated(keys).any()
  soft = of(table, tuner='SoftPT', user='network', step=4)
  assert len(soft) == 2 * len(SEEDS) ** 2 * 2  # Forms, pairs, repetitions.
  weights = of(table, tuner='UnembedWT', step=4)
  assert set(weights.form) == {'tuned'}  # They have no rows to read.
  # PreBayes is no method of a network.
  assert set(table.tuner) == {*METHODS, 'TargetBayes'}
  assert np.isfinite(table.regret).all()


def test_on_its_own_network_a_prompt_is_as_its_run_found_it(run, table):
  lab, folder = loading.load(run)
  networks = [{'params': loading.pretrained(lab, folder, s)} for s in SEEDS]
  tuned = {
    (name, seed): {
      'tunable': loading.tuned(lab, folder, method, seed)[1],
      # Of a search; no regret depends on them.
      'candidate_losses': np.zeros((method.repetitions, 4), np.float32),
    }
    for name, method in lab.methods.items()
    for seed in method.seeds
  }
  dataset = evaluation.judge(lab, networks, tuned)
  for method in METHODS[1:]:
    for seed in SEEDS:
      for step in lab.report_steps:
        rows = of(
          table,
          tuner=method,
          form='tuned',
          tuned_on=seed,
          used_on=seed,
          step=step,
        )
        for row in rows.itertuples():
          there = results.select(
            dataset.cumulative_regret,
            tuner=method,
            eval_task=lab.target,
            pretrain_seed=seed,
            repetition=row.repetition,
            reference='oracle',
            estimator='paired',
            step=step,
          )
          np.testing.assert_allclose(row.regret, there.item(), rtol=1e-5)


def test_a_prompt_on_another_network_is_bound_to_that_ones_weights(run, table):
  lab, folder = loading.load(run)
  tuner, tunables = loading.tuned(lab, folder, lab.methods['SoftPT'], 0)
  params = loading.pretrained(lab, folder, 2)
  one = jax.tree.map(lambda x: x[1], tunables)
  bound = tuner.bind(lab.network, params, one)
  task = evaluation.task_of(lab, lab.target)
  expected = lost(lab, task, lab.network.predict(*bound, task.tokens))
  rows = of(
    table, tuner='SoftPT', form='tuned', tuned_on=0, used_on=2, repetition=1
  )
  row = of(rows, step=4)
  np.testing.assert_allclose(row.regret.item(), expected, atol=1e-4)
  own = of(table, tuner='SoftPT', form='tuned', tuned_on=0, used_on=0, step=4)
  assert abs(own.regret.iloc[1] - row.regret.item()) > 1e-4


def test_tokens_read_as_tokens_are_themselves(table):
  for step in (4, 8):
    hard = of(table, tuner='HardPT', user='network', step=step)
    values = hard.groupby('form').regret.apply(list)
    assert values['tuned'] == values['nearest tokens']


def test_exact_bayes_takes_the_tokens_as_evidence(run, table):
  lab, folder = loading.load(run)
  tuner, tunables = loading.tuned(lab, folder, lab.methods['HardPT'], 1)
  rows = np.eye(2, dtype=np.float32)[np.asarray(tunables)[0]]
  prior = lab.priors[lab.pretraining_task]
  bayes = predictors.bayesian(prior)
  task = evaluation.task_of(lab, lab.target)
  log_probs = bayes.predict({}, bayes.prefill({}, rows), task.tokens)
  row = of(
    table, tuner='HardPT', user='PreBayes', tuned_on=1, repetition=0, step=4
  )
  expected = lost(lab, task, log_probs)
  np.testing.assert_allclose(row.regret.item(), expected, atol=1e-4)


def test_rows_are_read_as_the_nearest_tokens():
  predictor, params = testing.network('linear', vocab_size=3)
  tuner = testing.tuner('prefix', length=2)
  embeddings = np.asarray(predictor.embed(params, np.eye(3, dtype=np.float32)))
  tokens = np.array([[2, 0], [1, 1]])
  near = embeddings[tokens] + 1e-3
  found = transfer.nearest_tokens(predictor, params, tuner, near)
  np.testing.assert_array_equal(found, tokens)


def test_the_summary_is_made_of_pairs():
  rows = []
  for one in range(2):
    for other in range(2):
      value = 1.0 if one == other else 3.0 + one
      rows.append(('S', 'tuned', one, 'network', other, 0, 5, value, 0.1))
  rows.append(('S', 'nearest tokens', 0, 'PreBayes', None, 0, 5, 7.0, 0.1))
  rows.append(('PreBayes', 'tuned', None, 'PreBayes', None, 0, 5, 9.0, 0.1))
  table = pd.DataFrame(rows, columns=transfer.COLUMNS)
  table = table.astype({'tuned_on': 'Int64', 'used_on': 'Int64'})
  (row,) = transfer.summary(table).itertuples()
  assert (row.own, row.others, row.worst) == (1.0, 3.5, 4.0)
  assert row.tokens_bayes == 7.0 and np.isnan(row.tokens)
  assert 'PreBayes 9.000' in transfer.text(table)
  assert 'PreBayes 9.000' in transfer.figure(table, 5).get_supxlabel()


def test_files_are_written(run, table):
  paths = transfer.write(table, run)
  assert [x.name for x in paths] == [
    *('transfer.csv', 'transfer.png', 'transfer.pdf')
  ]
  assert all(path.stat().st_size > 1000 for path in paths)


def test_only_the_methods_that_are_named_are_used(run):
  chosen = transfer.transfer(run, ['SoftPT'])
  assert {*chosen.tuner} == {'SoftPT', 'NoTuning', 'PreBayes', 'TargetBayes'}


@pytest.mark.parametrize('regret', [0.0, -1e-9, np.inf, 5.0])
def test_a_figure_of_any_regret_is_drawn(regret):
  rows = [('S', 'tuned', 0, 'network', i, 0, 5, regret, 0.1) for i in (0, 1)]
  drawn = transfer.figure(pd.DataFrame(rows, columns=transfer.COLUMNS), 5)
  shown = [text.get_text() for ax in drawn.axes for text in ax.texts]
  assert shown == [f'{regret:.2g}'] * 2


def test_what_cannot_be_used_is_refused(run, tmp_path):
  with pytest.raises(errors.UserError, match='methods.*SoftPT'):
    transfer.transfer(run, ['NoTuning'])
  lab, folder = run_lib.open_run(
    test_run.tiny(**{'pretraining.num_steps': 0}), tmp_path / 'one'
  )
  with pytest.raises(errors.UserError, match='num_seeds: must be at least 2'):
    transfer.transfer(folder.path)
