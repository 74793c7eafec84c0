"""Audits of predictors whose answer is known."""

import itertools
import json

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import bayes_prompting as bp
from bayes_prompting import predictors
from bayes_prompting.dynamics import dirichlet_fit
from bayes_prompting.dynamics.audit import measure
from bayes_prompting.dynamics.audit import readers
from bayes_prompting.dynamics.audit import runs
from bayes_prompting.dynamics.audit import verdicts
from bayes_prompting.experiment import run as run_lib
from bayes_prompting.reporting import page_audit
from bayes_prompting.reporting import style
from tests import testing
from tests.experiment import test_run

P, F, O = verdicts.PASSES, verdicts.FAILS, verdicts.OPEN
NAMES = ('martingale', 'orders', 'transitions', 'calibration', 'dirichlet')
NAMES += ('adaptation', 'divergence')
SMALL = {'length': 24, 'num_sequences': 192}


# Predictors of one's own, in NumPy.


def counting(weights):
  """Random coins, where weights(n) [n] say how often each token counts."""

  def predict(histories):
    n = histories.shape[1]
    counts = np.eye(2)[histories] * weights(np.arange(n))[:, None]
    counts = 1 + counts.sum(1)
    return counts / counts.sum(-1, keepdims=True)

  return predict


def coin(*probs):
  return lambda histories: np.tile(probs, (len(histories), 1))


def repeater(histories):
  if not histories.shape[1]:
    return np.full((len(histories), 2), 0.5)
  return np.where(np.eye(2)[histories[:, -1]] == 1, 0.9, 0.1)


BAYES = counting(lambda t: np.ones(len(t)))
TWICE = counting(lambda t: np.full(len(t), 2.0))
FORGETS = counting(lambda t: 0.8 ** t[::-1])
# What comes first counts more. Its expectations are a martingale all the same:
# in the mean, a new token leaves them as they are, however often it counts.
ORDERED = counting(lambda t: 3 / np.sqrt(1 + t))

# Of each check against exact Bayes of random coins, on such coins.
KNOWN = {
  'bayes': (BAYES, (P, P, P, P, P, P, P)),
  # Exact Bayes of another prior, Beta(1/2, 1/2).
  'counts twice': (TWICE, (P, P, P, F, P, F, F)),
  'forgets': (FORGETS, (F, F, F, F, F, F, F)),
  'depends on order': (ORDERED, (P, F, F, F, F, F, F)),
  # Certain of a coin, and rightly a Bayesian predictor of another prior.
  'fixed coin': (coin(0.3, 0.7), (P, P, P, F, P, F, F)),
  # What it expects comes true, as one of no experience knows.
  'fair coin': (coin(0.5, 0.5), (P, P, P, P, P, F, F)),
  'repeats': (repeater, (F, F, P, F, F, F, F)),
}


@pytest.fixture(scope='module')
def audits():
  prior = testing.random_coins()
  return {
    name: bp.audit(predictor, prior=prior, prior_name='coins', **SMALL)
    for name, (predictor, _) in KNOWN.items()
  }


@pytest.mark.parametrize('name', KNOWN)
def test_the_answer_is_the_known_one(audits, name):
  audit, expected = audits[name], KNOWN[name][1]
  assert tuple(check.name for check in audit.checks) == NAMES
  assert tuple(check.status for check in audit.checks) == expected, str(audit)
  assert all(check.counts for check in audit.checks)
  assert audit.passes == (F not in expected)
  assert audit.verdict.startswith(
    'Nothing tells it from exact Bayes of coins'
    if audit.passes
    else 'It is not exact Bayes of coins'
  )


def test_what_explains_it_and_how_fast_it_adapts(audits):
  np.testing.assert_allclose(audits['bayes'].virtual_counts, 0, atol=1e-4)
  np.testing.assert_allclose(
    audits['counts twice'].virtual_counts, -0.5, atol=1e-4
  )
  assert 'overconfident' in audits['counts twice']['calibration'].sentence
  assert 'learns nothing' in audits['fixed coin']['dirichlet'].sentence
  half = {name: audit.half_life for name, audit in audits.items()}
  assert half['repeats'] == 1
  assert half['repeats'] < half['forgets'] < half['bayes']
  assert np.isnan(half['fair coin'])
  assert 'costs it nothing' in audits['fair coin']['adaptation'].sentence


def test_without_a_prior_any_exchangeable_one_will_do():
  for predictor, expected in ((TWICE, (P, P, P, O, P, O)), (repeater, None)):
    audit = bp.audit(predictor, vocab_size=2, **SMALL)
    assert [x.name for x in audit.checks if x.counts] == [*NAMES[:3]]
    if expected:
      assert tuple(x.status for x in audit.checks) == expected
      assert 'from a Bayesian predictor of exchangeable data' in audit.verdict
    else:
      assert 'Of Markov chains it may be one' in audit.verdict


def test_sequences_of_ones_own():
  tokens = np.random.default_rng(0).integers(0, 3, (40, 20))
  audit = bp.audit(coin(0.2, 0.3, 0.5), task=tokens, vocab_size=3)
  assert (audit.num_sequences, audit.length) == tokens.shape
  assert audit['calibration'].status == F
  assert not audit['calibration'].counts
  assert audit.passes
  text = str(audit)
  assert '(fails)' in text and 'What is in brackets does not count.' in text
  assert f'A check may miss {audit.tolerance:g} nats a token.' in text


def test_what_is_no_audit_is_not_drawn():
  with pytest.raises(bp.UserError, match="^audit: must be what bp.audit .*'x'"):
    bp.audit_figure('x')


def test_recorded_sequences_are_those_for_evaluation():
  rows = [[i % 2] * 9 for i in range(60)]
  task = testing.task_prior('sequences', tokens=rows, split=(0.2, 0.2, 0.6))
  audit = bp.audit(repeater, task=task, length=9, num_sequences=20)
  assert audit['calibration'].status == F  # They always repeat.
  assert audit['adaptation'].counts is False
  with pytest.raises(bp.UserError, match='num_sequences: .* 36 windows of 9'):
    bp.audit(repeater, task=task, length=9, num_sequences=40)
  with pytest.raises(bp.UserError, match='prior: was recorded'):
    bp.audit(repeater, prior=task)


# Exact Bayes, of five kinds of priors.

PRIORS = {  # And which of the first three checks it passes.
  'dirichlet_categorical': ({'concentration': (1.0, 0.5, 2.0)}, (P, P, P)),
  'categorical_mixture': (
    {'weights': (0.5, 0.5), 'probabilities': ((0.2, 0.8), (0.8, 0.2))},
    (P, P, P),
  ),
  'dirichlet_markov': ({'order': 1, 'concentration': (0.5, 0.5)}, (F, F, P)),
  'context_tree': ({'vocab_size': 2, 'depth': 2}, (F, F, F)),
  'switching': (
    {'hazard': 0.1, 'concentration': (0.5, 0.5)},
    (F, F, F),
  ),
}


@pytest.mark.parametrize('name', PRIORS)
def test_exact_bayes_passes_what_it_should(name):
  kwargs, expected = PRIORS[name]
  prior = bp.task_prior(name, **kwargs)
  length, number = 12, 192
  reader = readers.of_predictor(bp.bayesian(prior), {}, length=length)
  both = readers.of_source(prior, length, 2 * number, 0)
  measured = measure.measure(reader, both[:number], both[number:], 0, reader)
  concentration = dirichlet_fit.concentration(prior)
  audit = verdicts.judge(
    measured, prior=name, concentration=concentration, of_prior=True
  )
  assert audit.passes, str(audit)
  counted = {check.name: check.counts for check in audit.checks}
  assert tuple(P if counted[x] else F for x in NAMES[1:3]) == expected[1:]
  assert counted['dirichlet'] == (name == 'dirichlet_categorical')
  assert audit['divergence'].value < 1e-9
  # Without the prior, what is asked is whether it could be exchangeable.
  audit = verdicts.judge(measured._replace(reference=None))
  assert tuple(audit[x].status for x in NAMES[:3]) == expected, str(audit)
  assert audit.passes == (F not in expected)


@pytest.mark.parametrize(
  'prior',
  [
    testing.random_coins(),
    # Rare tokens: what is skewed most.
    testing.task_prior(
      'categorical_mixture',
      weights=(0.9, 0.1),
      probabilities=((0.02, 0.98), (0.5, 0.5)),
    ),
  ],
  ids=('coins', 'rare'),
)
def test_of_200_audits_of_exact_bayes_at_most_5_percent_fail(
  prior, monkeypatch
):
  # Other checks have no noise: one fit, and few orders, say what 200 would.
  monkeypatch.setattr(measure, 'ORDERS', 2)
  fits = []

  def explain(log_probs, tokens):
    fits.append(fits[0] if fits else fit(log_probs, tokens))
    return fits[-1]

  fit = dirichlet_fit.explain
  monkeypatch.setattr(dirichlet_fit, 'explain', explain)
  audits, number, length = 200, 32, 10
  reader = readers.of_predictor(predictors.bayesian(prior), {}, length=length)
  both = readers.of_source(prior, length, 2 * audits * number, 1)
  whole = measure.measure(reader, *np.split(both, 2), 1, reader)
  concentration = dirichlet_fit.concentration(prior)
  parts = [whole.of(slice(i * number, (i + 1) * number)) for i in range(audits)]
  found = [
    verdicts.judge(
      part, prior='itself', concentration=concentration, of_prior=True
    )
    for part in parts
  ]
  assert sum(not audit.passes for audit in found) <= 0.05 * audits
  # Each test on its own holds its level, within 3 standard errors: also that of
  # calibration where exact Bayes is not there to take the noise away.
  for p_values in (
    [audit['martingale'].p_value for audit in found],
    [audit['calibration'].p_value for audit in found],
    [verdicts._calibration(part, 1e-5, False)[0]['p_value'] for part in parts],
  ):
    rejected = np.mean(np.array(p_values) <= 0.05)
    assert rejected < 0.05 + 3 * np.sqrt(0.05 * 0.95 / audits)
    assert len(set(p_values)) > 5  # It has noise.


# What is measured.


@pytest.mark.parametrize('predictor', [FORGETS, BAYES])
def test_the_drift_is_that_of_all_continuations(predictor):
  history, length = np.array([[0, 1, 1]]), 3
  now = predictor(history)[0]
  exact = []
  for later in range(1, length):
    mean = np.zeros(2)
    for tokens in itertools.product(range(2), repeat=later):
      known, chance = history, 1.0
      for token in tokens:
        chance *= predictor(known)[0, token]
        known = np.concatenate([known, [[token]]], axis=1)
      mean += chance * predictor(known)[0]
    exact.append(((mean - now) ** 2 / (2 * now)).sum())
  assert (np.array(exact) < 1e-12).all() == (predictor is BAYES)
  many = 20_000
  drift = measure._drift(
    readers.of_function(predictor, 2), np.repeat(history, many, 0), length, 0
  )
  error = drift.std(0) / np.sqrt(many)
  # Of four means, one beyond 4.5 standard errors: less than 1 in 10^4.
  assert (np.abs(drift.mean(0) - exact) < 4.5 * error + 1e-12).all()


def test_orders_keep_what_they_should():
  random = np.random.default_rng(0)
  history = random.integers(0, 3, (50, 30))
  kept = measure._orders_with_transitions(history, 3, random)
  other = measure._orders(history, random)
  for orders in (kept, other):
    assert orders.shape == (50, measure.ORDERS, 30)
    np.testing.assert_array_equal(
      np.sort(orders, -1), np.sort(history, -1)[:, None].repeat(8, 1)
    )
    assert (orders != history[:, None]).any(-1).mean() > 0.95
  pairs = np.sort(kept[..., :-1] * 3 + kept[..., 1:], -1)
  before = np.sort(history[:, :-1] * 3 + history[:, 1:], -1)
  np.testing.assert_array_equal(pairs, before[:, None].repeat(8, 1))
  for end in (0, -1):
    np.testing.assert_array_equal(
      kept[..., end], history[:, None, end].repeat(8, 1)
    )


def test_spread_is_that_of_reorderings():
  # In nats: of two orders that are told apart for certain, ln 2.
  def last(histories):
    return np.eye(2)[histories[:, -1]]

  orders = np.array([[[0, 1], [1, 0]], [[1, 1], [1, 1]]])
  found = measure.spread(readers.of_function(last, 2), orders)
  np.testing.assert_allclose(found, [np.log(2), 0], atol=1e-12)


def test_holm_and_students_test():
  found = verdicts._holm([0.04, np.nan, 0.01, 0.03, 1.0])
  np.testing.assert_allclose(found, [0.09, np.nan, 0.04, 0.09, 1.0])
  values = np.random.default_rng(0).normal(0.3, 1, 40)
  wanted = stats.ttest_1samp(values, 0.1, alternative='greater').pvalue
  np.testing.assert_allclose(verdicts._above(values, 0.1), wanted)
  interval = stats.ttest_1samp(values, 0).confidence_interval(0.95)
  np.testing.assert_allclose(verdicts._interval(values)[1:], interval)
  # The same for every sequence: nothing is divided by zero.
  assert verdicts._above(np.zeros(9), 1e-5) == 1
  assert verdicts._above(np.ones(9), 1e-5) == 0
  assert verdicts._above(np.array([0, np.inf]), 1e-5) == 0


def test_what_cannot_come_and_comes_is_told():
  audit = bp.audit(coin(1.0, 0.0), prior=testing.random_coins(), **SMALL)
  for name in ('calibration', 'divergence', 'adaptation'):
    assert audit[name].status == F, str(audit)
  assert '∞' in audit['divergence'].sentence
  json.dumps(audit.plain(), allow_nan=False)


# Mistakes.


@pytest.mark.parametrize(
  'change, said',
  [
    ({'predictor': coin(0.5, 0.6)}, r'must sum to 1, got \[0.5, 0.6\]'),
    ({'predictor': coin(0.2, 0.3, 0.5)}, r'shape \(192, 2\).*shape \(192, 3\)'),
    ({'predictor': lambda x: [0.5, 0.5]}, r'shape \(192, 2\).*shape \(2,\)'),
    ({'predictor': coin(-0.5, 1.5)}, r'not be negative.*\[-0.5, 1.5\]'),
    ({'predictor': coin(np.nan, 1.0)}, r'finite, got \[nan, 1.0\]'),
    ({'predictor': lambda x: 'ab'}, 'predictor: ValueError.*histories'),
    ({'predictor': 'gpt'}, "predictor: must be a predictor.*'gpt'"),
    ({'params': {}}, 'params: a function has none'),
    ({'length': 3}, 'length: .*at least 6, got 3'),
    ({'num_sequences': 5}, 'num_sequences: .*at least 16, got 5'),
    ({'task': [[0, 1]] * 20}, 'task: .*N of at least 6'),
    ({'task': [[0, 1], [0]]}, 'task: must be a task prior, or sequences'),
    ({'task': 'coins'}, "task: must be a task prior.*'coins'"),
    ({'task': np.full((20, 9), 2)}, 'task: must be sequences'),
    ({'prior': 'dirichlet'}, "prior: must be a task prior.*'dirichlet'"),
    ({'prior': None}, 'vocab_size: missing'),
    ({'vocab_size': 3}, 'prior: has 2 tokens, and the predictor 3'),
    ({'tolerance': 0}, 'tolerance: .*above 0.*got 0'),
    ({'seed': -1}, 'seed: .*got -1'),
    ({'prior_name': '\n'}, 'prior_name: must be printable'),
  ],
  ids=lambda x: next(iter(x)) if isinstance(x, dict) else '',
)
def test_a_mistake_is_one_line(change, said):
  arguments = {'predictor': BAYES, 'prior': testing.random_coins(), **SMALL}
  with pytest.raises(bp.UserError, match=said) as caught:
    bp.audit(**arguments | change)
  assert '\n' not in str(caught.value)


def test_tokens_that_are_not_scored_and_weights_that_are_not_finite():
  shown = bp.task_prior(
    'demonstrations',
    task={'name': 'dirichlet_categorical', 'concentration': (1, 1)},
    num=1,
    length=2,
  )
  with pytest.raises(bp.UserError, match='prior: has tokens that are not scor'):
    bp.audit(BAYES, prior=shown)
  predictor, params = testing.network('linear')
  params = {name: x for name, x in params.items()}
  params['unembedding'] = {
    name: np.full_like(x, np.nan) for name, x in params['unembedding'].items()
  }
  with pytest.raises(bp.UserError, match='predictor: .*finite'):
    bp.audit(predictor, params, prior=testing.random_coins(), **SMALL)


# Of a run.


@pytest.fixture(scope='module')
def run(tmp_path_factory):
  path = tmp_path_factory.mktemp('lab') / 'run'
  config = test_run.tiny(
    **{
      'tuning.methods': ('PreBayes', 'SoftPT'),
      'pretraining.length': 8,
      'tuning.length': 8,
    }
  )
  lab, folder = run_lib.open_run(config, path)
  run_lib.tune(lab, run_lib.meta_train(lab, folder), folder)
  return path


def test_a_run_is_audited_and_reported(run, monkeypatch):
  monkeypatch.setattr(measure, 'ORDERS', 2)
  ((method, network, task, audit),) = first = runs.audits(run, num_sequences=32)
  assert (method, network, task) == ('NoTuning', 0, 'random_coins')
  assert not audit.passes  # It has hardly been trained.
  with monkeypatch.context() as patch:
    patch.setattr(style, 'write_all', lambda makers, folder: [])
    runs.write(first, run)
  more = runs.audits(run, ['PreBayes', 'SoftPT'], num_sequences=32)
  # A prompt is tuned to the target: that is what it is held against.
  assert [(x.method, x.task) for x in more] == [
    ('PreBayes', 'random_coins'),
    ('SoftPT', 'single_coin'),
  ]
  assert more[0].audit.passes, str(more[0].audit)
  assert all(line in runs.text(more) for line in str(more[1].audit).split('\n'))
  # What was found before stays.
  drawn = runs.write(more[1:], run)
  assert all(file.exists() for file in drawn)
  assert {x.name for x in drawn} == {
    *('audit.json', 'audit.csv', 'SoftPT-seed0.png', 'SoftPT-seed0.pdf')
  }
  shown = page_audit.read(run / 'audit')
  assert [x['name'] for x in shown['audits']] == [
    'NoTuning, network 0',
    'SoftPT, network 0',
  ]
  assert shown['audits'][0]['verdict'] == audit.verdict
  rows = {row['title']: row for row in shown['audits'][0]['rows']}
  for check in audit.checks:
    assert rows[check.title]['status'] == check.status
    assert rows[check.title]['sentence'] == check.sentence
  (drawing,) = shown['figures']
  assert drawing['title'] == 'Audit of SoftPT, network 0'
  table = pd.read_csv(run / 'audit' / 'audit.csv')
  assert len(table) == 2 * len(NAMES)
  row = table[(table.method == 'NoTuning') & (table.check == 'divergence')]
  np.testing.assert_allclose(row.value, audit['divergence'].value, rtol=1e-5)


def test_ours_is_asked_as_a_function_is(audits):
  prior = testing.random_coins()
  ours = bp.audit(bp.bayesian(prior), prior=prior, prior_name='coins', **SMALL)
  assert ours.verdict == audits['bayes'].verdict
  for check in ours.checks:
    own = audits['bayes'][check.name]
    assert (own.status, own.counts) == (check.status, check.counts)
    if check.name != 'martingale':  # Its continuations are drawn otherwise.
      np.testing.assert_allclose(own.value, check.value, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(
  'change, said',
  [
    ({'methods': ['SoftTP']}, "methods: unknown 'SoftTP'; did you mean SoftPT"),
    ({'prior': 'coins'}, "prior: unknown 'coins'"),
    ({'task': 'coins'}, "task: unknown 'coins'"),
    ({'length': 2}, 'length: .*at least 6'),
  ],
)
def test_a_mistake_about_a_run_is_one_line(run, change, said):
  with pytest.raises(bp.UserError, match=said) as caught:
    runs.audits(run, **change)
  assert '\n' not in str(caught.value)


def test_the_lines_of_the_document_run(capsys):
  for block in testing.blocks('docs/audit.md'):
    exec(block, {})
  said = capsys.readouterr().out
  assert 'It is not exact Bayes of fair coins' in said
