"""Verdicts of promptability, on targets whose answer is known."""

import dataclasses
import functools

import numpy as np
import pytest

from bayes_prompting import errors
from bayes_prompting import settings
from bayes_prompting.theory import expectation
from bayes_prompting.theory import hard_prefixes
from bayes_prompting.theory import promptability
from tests import testing
from tests.theory.test_hard_prefixes import coin
from tests.theory.test_hard_prefixes import dirichlet
from tests.theory.test_hard_prefixes import mixture

pytestmark = pytest.mark.keys  # See conftest.py.

UNIFORM = testing.random_coins()
TWO = testing.two_coins()
COINS = ((0.2, 0.8), (0.8, 0.2))
FACES = ((0.6, 0.2, 0.2), (0.2, 0.6, 0.2), (0.1, 0.1, 0.8))


def judge(prior, target, length=50, **kwargs):
  found = promptability.promptability(prior, target, length, **kwargs)
  lines = str(found).splitlines()
  assert lines[1] == found.reason and found.reason.endswith('.')
  assert max(map(len, lines[2:])) < 90
  return found


@pytest.mark.parametrize(
  ('prior', 'target', 'prefix'),
  [
    (UNIFORM, UNIFORM, ()),
    (UNIFORM, dirichlet(3, 4), (0, 0, 1, 1, 1)),
    (UNIFORM, dirichlet(10, 20), (0,) * 9 + (1,) * 19),  # Longer than tried.
    (TWO, mixture((0.2, 0.8), COINS[::-1]), (1,)),
    (dirichlet(1, 0, 1), dirichlet(3, 0, 2), (0, 0, 2)),
    # One token rules out all other sources.
    (mixture((0.5, 0.5), ((0.0, 1.0), (0.5, 0.5))), coin(0.5, 0.5), (0,)),
  ],
)
def test_exact_by_tokens(prior, target, prefix):
  found = judge(prior, target, 20)
  assert (found.verdict, found.prefix) == ('exact', prefix)
  assert found.prefix_gap < 1e-12 and found.gap < 1e-12
  assert found.prefix_regret == pytest.approx(found.target_regret, abs=1e-9)
  assert 'pseudo' not in found.reason


@pytest.mark.parametrize(
  ('prior', 'target', 'counts'),
  [
    (UNIFORM, dirichlet(1.5, 1.25), (0.5, 0.25)),
    (dirichlet(0.01, 0.01), dirichlet(0.02, 0.01), (0.01, 0)),
    (TWO, mixture((0.3, 0.7), COINS), None),  # By any with one difference.
  ],
)
def test_exact_by_pseudo_counts_alone(prior, target, counts):
  found = judge(prior, target)
  assert found.verdict == 'exact' and 'pseudo-counts' in found.reason
  if counts is None:
    zeros, ones = found.pseudo.counts
    assert zeros - ones == pytest.approx(np.log(7 / 3) / np.log(4))
  else:
    np.testing.assert_allclose(found.pseudo.counts, counts, atol=1e-6)
  assert found.pseudo_regret == pytest.approx(found.target_regret, abs=1e-9)
  assert found.prefix_gap > 0.01


@pytest.mark.parametrize(
  ('prior', 'target'),
  [
    (UNIFORM, testing.single_coin()),
    (dirichlet(20, 20), testing.single_coin()),
    (UNIFORM, coin(0.0, 1.0)),
    (TWO, coin(0.8, 0.2)),
    (mixture((0.5, 0.5), ((0.001, 0.999), (0.999, 0.001))), coin(0.001, 0.999)),
    # Two sources that equal numbers of their tokens tell from the third.
    (mixture((0.3, 0.3, 0.4), FACES), mixture((0.5, 0.5), FACES[:2])),
  ],
)
def test_optimal_in_the_limit(prior, target):
  found = judge(prior, target, 20)
  assert found.verdict == 'limit'
  assert 'a limit' in str(found)
  assert found.pseudo.gap < 1e-4
  assert (np.diff(found.curve.gaps) < 0).any()


def test_not_promptable_with_its_certificate():
  found = judge(UNIFORM, TWO)
  assert found.verdict == 'not_promptable'
  assert found.prefix == ()
  assert found.prefix_regret == pytest.approx(1.477, abs=5e-4)
  assert found.pseudo_regret == pytest.approx(1.462, abs=5e-4)
  np.testing.assert_allclose(found.pseudo.counts, 0.25, atol=6e-3)
  assert found.target_regret == pytest.approx(0.693, abs=5e-4)
  assert found.gap == found.pseudo.gap
  assert str(found) == '\n'.join(
    [
      'Over 50 tokens: not promptable.',
      found.reason,
      'nats                   regret      gap',
      "target's own Bayes      0.693    0.000",
      'no prompt               1.477    0.784',
      'best hard prefix        1.477    0.784  no token',
      'best pseudo-counts      1.462    0.769  0.255, 0.255',
      "Pseudo-counts are added to the prior's own.",
    ]
  )


@pytest.mark.parametrize(
  ('prior', 'target'),
  [
    (dirichlet(2, 2), UNIFORM),  # No token is unseen.
    (dirichlet(1, 1, 1), dirichlet(0.3, 0, 2)),
    (dirichlet(1, 1, 1), mixture((0.5, 0.5), FACES[:2])),
  ],
)
def test_not_promptable(prior, target):
  found = judge(prior, target, 10, max_prefix_length=3)
  assert found.verdict == 'not_promptable'
  assert 0.005 < found.pseudo.gap <= found.prefix_gap


@pytest.mark.parametrize(
  ('prior', 'target', 'infinite'),
  [
    (TWO, coin(0.5, 0.5), False),
    (TWO, UNIFORM, False),
    # One of two sources is possible.
    (TWO, mixture((0.5, 0.5), ((0.2, 0.8), (0.5, 0.5))), False),
    (testing.single_coin(), UNIFORM, False),
    (dirichlet(1, 0, 1), dirichlet(1, 1, 1), True),
  ],
)
def test_out_of_support(prior, target, infinite):
  short, long = (judge(prior, target, n) for n in (10, 20))
  assert {short.verdict, long.verdict} == {'out_of_support'}
  assert 'rules out' in short.reason
  if infinite:
    assert np.isinf(short.gap) and 'infinitely' in short.reason
  else:
    assert long.gap > 1.5 * short.gap


def test_over_one_token_only_the_first_prediction_counts():
  found = judge(UNIFORM, testing.single_coin(), 1)
  # No gap is left, though the posterior is not certain of the coin.
  assert (found.verdict, found.prefix) == ('limit', (1, 1, 1))
  assert found.prefix_gap < 1e-12


def chain(*tables, weights=None):
  weights = weights or (1 / len(tables),) * len(tables)
  return testing.task_prior('markov_mixture', weights=weights, tables=tables)


def union(*specs):
  parts = {str(i): {'weight': 1 / len(specs)} | x for i, x in enumerate(specs)}
  return testing.task_prior('union', components=parts)


BETAS = {'name': 'dirichlet_categorical', 'concentration': (1.0, 1.0)}
COIN = {'name': 'categorical', 'probabilities': (0.9, 0.1)}
CHAINS = {'name': 'dirichlet_markov', 'order': 1, 'concentration': (1.0, 1.0)}


def random_chains():
  return testing.task_prior(**CHAINS)


def test_the_first_tokens_of_chains_are_uniform():
  # The first token keeps a gap, however long the prompt.
  found = judge(UNIFORM, chain(((0.2, 0.8), (0.2, 0.8))), 10)
  assert found.verdict == 'not_promptable'
  assert found.pseudo.gap == pytest.approx(0.196, abs=1e-3)
  assert 'first tokens of a chain are uniform' in found.reason


def test_out_of_support_where_the_first_token_is_impossible():
  target = chain(((0.5, 0.0, 0.5),) * 3)
  found = judge(dirichlet(1, 0, 1), target, 6, max_prefix_length=2)
  assert found.verdict == 'out_of_support' and np.isinf(found.gap)
  assert 'start' in found.reason and 'infinitely' in found.reason


def test_a_chain_with_its_last_token():
  # Its first token is uniform: what a coin shows first only a prompt can say.
  prior = random_chains()
  found = judge(prior, testing.single_coin(), 8, max_prefix_length=4)
  assert found.verdict == 'limit' and 'last token' not in found.reason
  assert found.prefix_gap < found.curve.gaps[0]
  found = judge(prior, TWO, 8, max_prefix_length=4)
  assert found.verdict == 'not_promptable'


@pytest.mark.parametrize(
  'table', [((0.2, 0.8), (0.6, 0.4)), ((1.0, 0.0), (0.0, 1.0))]
)
def test_a_prompt_of_tokens_has_a_last_one(table):
  found = judge(random_chains(), chain(table), 8, max_prefix_length=3)
  assert found.verdict == 'limit' and 'last token' in found.reason
  headline, *_ = str(found).splitlines()
  assert headline == 'Over 8 tokens: limit, but not by any prefix of tokens.'
  assert found.pseudo.gap < 1e-4
  # The first token is uniform, and predicted by the row of the last.
  assert found.prefix_gap > 0.1 and f'{found.prefix_gap:.3g}' in found.reason
  assert 'longer' not in found.reason


@pytest.mark.parametrize(
  'prior',
  [
    union(BETAS, COIN),
    testing.task_prior(
      'dirichlet_mixture',
      weights=(0.5, 0.5),
      concentrations=((1.0, 1.0), (300.0, 10.0)),
    ),
  ],
)
def test_what_is_only_unlikely_is_not_gone(prior):
  found = judge(prior, dirichlet(41, 41), 5)
  assert found.verdict == 'limit' and found.gap < 1e-12
  zeros = union(BETAS, COIN | {'probabilities': (1.0, 0.0)})
  assert judge(zeros, dirichlet(2, 3), 5).prefix == (0, 1, 1)


def test_fractional_counts_rule_out_a_chain():
  one, other = ((0.5, 0.5), (0.2, 0.8)), ((0.5, 0.5), (0.8, 0.2))
  out = ((1.0, 0.0), (0.5, 0.5))
  prior = chain(one, other, out, weights=(0.25, 0.35, 0.4))
  found = judge(prior, chain(one, other), 8, max_prefix_length=3)
  assert found.verdict == 'exact' and 'pseudo-counts' in found.reason
  counts = found.pseudo.counts
  assert counts[1] > 0  # One after zero, which the third never shows.
  assert counts[3] - counts[2] == pytest.approx(np.log(7 / 5) / np.log(4))


def test_equal_sources_are_one():
  coin_twice = mixture((0.5, 0.5), (COINS[0], COINS[0]))
  assert len(coin_twice.support.points) == 1
  assert len(union(COIN, COIN, BETAS).support.points) == 2
  found = judge(UNIFORM, coin_twice, 10)
  assert found.verdict == 'limit' and 'a single source' in found.reason
  pool = testing.task_prior('finite_pool', base=BETAS, size=1024)
  assert len(pool.support.points) == 1024


def test_unknown_where_nothing_can_be_searched():
  prior = union(CHAINS, COIN)
  found = judge(prior, UNIFORM, 6, max_prefix_length=2)
  assert found.verdict == 'unknown' and found.pseudo is None
  assert 'nothing else was searched' in found.reason
  assert str(found).endswith('not searched')
  assert judge(prior, prior, 6, max_prefix_length=1).verdict == 'exact'


def test_says_where_pseudo_counts_were_not_searched(monkeypatch):
  monkeypatch.setattr(promptability.pseudo_counts, '_MAX_HISTORIES', 1)
  found = judge(UNIFORM, TWO, 10)
  assert found.verdict == 'unknown' and found.pseudo is None
  assert found.pseudo_regret is None and found.gap == found.prefix_gap
  assert 'nothing else was searched' in found.reason


def test_unknown_where_a_prior_does_not_say_its_support():
  silent = dataclasses.replace(UNIFORM, support=None)
  for args, name in (((silent, TWO), 'prior'), ((TWO, silent), 'target')):
    found = judge(*args, 10, max_prefix_length=2)
    assert found.verdict == 'unknown' and f'The {name} does not' in found.reason
    assert found.standard_errors is None and np.isfinite(found.prefix_gap)


def test_unknown_with_sampled_regrets_where_nothing_is_exact():
  # Coins that know no statistic, so that the truth is known.
  silent = dataclasses.replace(UNIFORM, statistic=None, support=None)
  target = testing.single_coin()
  exact = judge(UNIFORM, target, 20, max_prefix_length=2)
  found = judge(silent, target, 20, max_prefix_length=2)
  assert found.verdict == 'unknown' and found.pseudo is None
  assert 'sampled' in found.reason and 'Standard errors' in str(found)
  assert found.prefix == exact.prefix == (1, 1)
  own, none, prefix = found.standard_errors
  assert found.target_regret == own == 0
  assert abs(found.curve.gaps[0] - exact.curve.gaps[0]) < 4 * none
  assert abs(found.prefix_gap - exact.prefix_gap) < 4 * prefix
  with pytest.raises(errors.UserError, match='target: has 3'):
    judge(silent, dirichlet(1, 1, 1))


@pytest.mark.parametrize(
  'ask',
  [
    promptability.promptability,
    expectation.expected_regret,
    hard_prefixes.gap_curve,
    functools.partial(hard_prefixes.optimal_hard_prefix, prefix_length=2),
    functools.partial(expectation.regret_of_state, state=(1, 1)),
  ],
)
def test_what_is_no_task_prior_is_one_line(ask):
  coins = testing.random_coins()
  spec = settings.spec('dirichlet_categorical', concentration=(1, 1))
  for given, said in ((spec, 'concentration'), ('coins', "'coins'")):
    for name, pair in (('prior', (given, coins)), ('target', (coins, given))):
      match = rf'^{name}: must be a task prior, as bp\.task_prior.*{said}'
      with pytest.raises(errors.UserError, match=match):
        ask(**dict(zip(('prior', 'target'), pair, strict=True)), length=5)
