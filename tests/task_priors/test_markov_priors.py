"""Chains and mixtures of Dirichlets, against mathematics written out here."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special
from scipy import stats

from bayes_prompting import errors
from bayes_prompting.task_priors import _tables
from bayes_prompting.theory import expectation
from bayes_prompting.theory import hard_prefixes
from tests import testing

# Made anew for every use: no key is used twice.
root_key = functools.partial(jax.random.key, 0)
COINS = np.array([[0.2, 0.8], [0.8, 0.2]])
# Two chains of order 1 over three tokens, with zeros.
CHAINS = np.array(
  [
    [[0.0, 1.0, 0.0], [0.2, 0.3, 0.5], [0.9, 0.0, 0.1]],
    [[0.5, 0.5, 0.0], [0.1, 0.2, 0.7], [0.3, 0.0, 0.7]],
  ]
)


def predictive(prior, tokens, prefix=()):
  """Log predictive [B, N, V] of sequences [B, N], after a prefix of tokens."""
  rows = jax.nn.one_hot(np.array(prefix, int), prior.vocab_size)
  predict = jax.jit(jax.vmap(prior.predict, in_axes=(None, 0)))
  return np.asarray(predict(prior.prefill(rows), jnp.asarray(tokens)))


def log_steps(prior, tokens):
  """Log probability of each token of sequences [B, N]."""
  found = predictive(prior, tokens).astype(np.float64)
  return np.take_along_axis(found, np.asarray(tokens)[..., None], -1)[..., 0]


def transitions(sequence, order):
  """Pairs of context and token, after the first `order` tokens."""
  for n in range(order, len(sequence)):
    yield tuple(sequence[n - order : n]), sequence[n]


def log_marginal(sequence, order, alpha):
  """Dirichlet-multinomial of each context, and uniform tokens before."""
  alpha = np.asarray(alpha)
  counts = {}
  for context, token in transitions(sequence, order):
    counts.setdefault(context, np.zeros(len(alpha)))[token] += 1
  found = -min(order, len(sequence)) * np.log(len(alpha))
  some = alpha > 0
  for c in counts.values():
    if c[~some].any():
      return -np.inf
    found += special.gammaln(alpha.sum()) - special.gammaln(
      alpha.sum() + c.sum()
    )
    found += np.sum(special.gammaln(alpha + c)[some])
    found -= np.sum(special.gammaln(alpha[some]))
  return found


def chain_mass(sequence, table, order):
  """Probability of a sequence under one chain, a table [V^k, V]."""
  vocab_size = table.shape[-1]
  found = float(vocab_size) ** -min(order, len(sequence))
  for context, token in transitions(sequence, order):
    row = sum(v * vocab_size**i for i, v in enumerate(reversed(context)))
    found *= table[row, token]
  return found


@pytest.mark.parametrize(
  ('order', 'alpha', 'length'),
  [
    (1, (0.5, 0.5), 7),
    (2, (1.0, 3.0), 7),
    (3, (0.1, 0.2), 7),
    (1, (0.3, 0.0, 2.0), 5),
    (2, (1.0, 0.5, 0.0), 5),
  ],
)
def test_dirichlet_chain_against_its_closed_form(order, alpha, length):
  prior = testing.task_prior(
    'dirichlet_markov', order=order, concentration=alpha
  )
  tokens = testing.all_sequences(len(alpha), length)
  expected = [log_marginal(sequence, order, alpha) for sequence in tokens]
  found = log_steps(prior, tokens).sum(-1)
  np.testing.assert_allclose(found, expected, atol=1e-5)


def test_dirichlet_chain_against_quadrature():
  prior = testing.task_prior(
    'dirichlet_markov', order=1, concentration=(1.0, 2.0)
  )
  nodes, weights = np.polynomial.legendre.leggauss(12)
  theta, weights = (nodes + 1) / 2, (weights / 2)
  weights = weights * 2 * theta  # The density of the chance of a 1.
  tokens = testing.all_sequences(2, 6)
  for sequence, found in zip(
    tokens, np.exp(log_steps(prior, tokens).sum(-1)), strict=True
  ):
    expected = 0.0
    for (p, wp), (q, wq) in itertools.product(
      zip(theta, weights, strict=True), repeat=2
    ):
      table = np.array([[1 - p, p], [1 - q, q]])
      expected += wp * wq * chain_mass(sequence, table, 1)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_dirichlet_mixture_against_scipy():
  weights = np.array([0.2, 0.5, 0.3])
  alphas = np.array([[0.3, 2.0, 1.0], [50.0, 3.0, 8.0], [5e3, 1e4, 2e4]])
  prior = testing.task_prior(
    'dirichlet_mixture', weights=weights, concentrations=alphas
  )
  tokens = testing.all_sequences(3, 6)
  counts = np.array([np.bincount(t, minlength=3) for t in tokens])
  orders = special.gammaln(7) - special.gammaln(counts + 1).sum(-1)
  evidence = [stats.dirichlet_multinomial.logpmf(counts, a, 6) for a in alphas]
  expected = special.logsumexp(np.log(weights)[:, None] + evidence, axis=0) - (
    orders
  )
  found = log_steps(prior, tokens).sum(-1)
  np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize('scale', [1.0, 1e3, 1e6])
def test_dirichlet_mixture_keeps_its_digits(scale):
  # In float32, after many tokens, and however large the concentrations are.
  alphas = scale * np.array([[0.2, 0.8], [0.25, 0.75]])
  prior = testing.task_prior(
    'dirichlet_mixture', weights=(0.5, 0.5), concentrations=alphas
  )
  counts = np.array([[150.0, 850.0], [40.0, 160.0], [3.5, 1.25], [0.0, 0.0]])
  log_rise = special.gammaln(alphas + counts[:, None]) - special.gammaln(alphas)
  totals = alphas.sum(-1)
  evidence = log_rise.sum(-1) + special.gammaln(totals)
  evidence -= special.gammaln(totals + counts.sum(-1)[:, None])
  means = alphas + counts[:, None]
  means /= means.sum(-1, keepdims=True)
  posterior = special.softmax(evidence, axis=-1)
  expected = np.sum(posterior[..., None] * means, axis=1)
  found = prior.statistic.log_predictive(counts.astype(np.float32))
  np.testing.assert_allclose(np.exp(found), expected, atol=1e-5)


def test_dirichlet_mixture_of_one_is_a_dirichlet():
  alpha = (0.3, 0.0, 2.0)
  one = testing.task_prior('dirichlet_categorical', concentration=alpha)
  mixture = testing.task_prior(
    'dirichlet_mixture', weights=(1.0,), concentrations=(alpha,)
  )
  tokens = testing.all_sequences(3, 4)
  np.testing.assert_allclose(
    predictive(mixture, tokens), predictive(one, tokens), atol=1e-5
  )


def test_chains_against_enumeration():
  weights = np.array([0.3, 0.7])
  prior = testing.task_prior('markov_mixture', weights=weights, tables=CHAINS)
  tokens = testing.all_sequences(3, 5)
  mass = [[chain_mass(t, table, 1) for table in CHAINS] for t in tokens]
  found = np.exp(log_steps(prior, tokens).sum(-1))
  np.testing.assert_allclose(found, mass @ weights, atol=1e-6)
  assert np.any(found == 0)


def test_chains_of_order_two_against_enumeration():
  weights = np.array([0.25, 0.75])
  tables = np.random.default_rng(0).dirichlet(np.ones(2), size=(2, 4))
  prior = testing.task_prior('markov_mixture', weights=weights, tables=tables)
  tokens = testing.all_sequences(2, 7)
  mass = [[chain_mass(t, table, 2) for table in tables] for t in tokens]
  found = np.exp(log_steps(prior, tokens).sum(-1))
  np.testing.assert_allclose(found, mass @ weights, atol=1e-6)


@pytest.mark.parametrize(
  ('memoryless', 'chain'),
  [
    (
      {'name': 'dirichlet_categorical', 'concentration': (0.3, 0.0, 2.0)},
      {
        'name': 'dirichlet_markov',
        'order': 0,
        'concentration': (0.3, 0.0, 2.0),
      },
    ),
    (
      {
        'name': 'categorical_mixture',
        'weights': (0.4, 0.6),
        'probabilities': CHAINS[:, 0],
      },
      {
        'name': 'markov_mixture',
        'weights': (0.4, 0.6),
        'tables': CHAINS[:, :1],
      },
    ),
  ],
  ids=lambda spec: spec['name'],
)
def test_order_zero_is_memoryless(memoryless, chain):
  one, other = testing.task_prior(**memoryless), testing.task_prior(**chain)
  assert one.exchangeable and other.exchangeable
  tokens = testing.all_sequences(3, 4)
  np.testing.assert_array_equal(
    predictive(one, tokens), predictive(other, tokens)
  )
  values = np.array([[0, 0, 0], [3, 0, 5], [1, 1, 0]], np.float32)
  for name in ('log_predictive', 'source_entropy'):
    np.testing.assert_array_equal(
      getattr(one.statistic, name)(values),
      getattr(other.statistic, name)(values),
    )
  testing.assert_trees_identical(
    one.sample(root_key(), 20), other.sample(root_key(), 20)
  )


def test_a_coin_as_a_chain_ignores_its_first_token():
  # The first token of a chain is uniform and says nothing about the source.
  coins = testing.two_coins()
  tokens = testing.all_sequences(2, 6)
  for order in (1, 2):
    tables = [_tables.lift(coin[None], order) for coin in COINS]
    chains = testing.task_prior(
      'markov_mixture', weights=(0.5, 0.5), tables=tables
    )
    found = predictive(chains, tokens)
    np.testing.assert_allclose(found[:, :order], np.log(0.5), atol=1e-6)
    np.testing.assert_allclose(
      found[:, order:], predictive(coins, tokens[:, order:]), atol=2e-6
    )
    # So the source has a whole bit of entropy there.
    values = np.array([chains.statistic.start], np.float32)
    entropy = jax.jit(chains.statistic.source_entropy)(values)
    np.testing.assert_allclose(entropy, np.log(2), rtol=1e-6)


def test_a_chain_lifted_to_a_higher_order():
  weights = (0.3, 0.7)
  lifted = [_tables.lift(table, 2) for table in CHAINS]
  low = testing.task_prior('markov_mixture', weights=weights, tables=CHAINS)
  high = testing.task_prior('markov_mixture', weights=weights, tables=lifted)
  tokens = testing.all_sequences(3, 5)
  np.testing.assert_allclose(
    predictive(high, tokens)[:, 2:],
    predictive(low, tokens[:, 1:])[:, 1:],
    atol=2e-6,
  )


@pytest.mark.parametrize('length', [1, 2, 3, 5])
def test_prefixes_shorter_and_longer_than_the_order(length):
  prior = testing.task_prior(
    'dirichlet_markov', order=3, concentration=(0.5, 1.0)
  )
  tokens = np.array([[0, 1, 1, 0, 1, 1, 1, 0, 1]])
  split = predictive(prior, tokens[:, length:], prefix=tokens[0, :length])
  whole = predictive(prior, tokens)[:, length:]
  np.testing.assert_allclose(split, whole, atol=1e-6)


@pytest.mark.parametrize(
  'spec',
  [
    {'name': 'dirichlet_markov', 'order': 2, 'concentration': (0.2, 1.0, 0.5)},
    {'name': 'markov_mixture', 'weights': (0.3, 0.7), 'tables': CHAINS},
    {
      'name': 'dirichlet_mixture',
      'weights': (1e-9, 1 - 1e-9),
      'concentrations': ((1.0, 2.0, 3.0), (30.0, 0.1, 400.0)),
    },
  ],
  ids=lambda spec: spec['name'],
)
def test_long_sequences_in_float32_agree_with_the_statistic(spec):
  prior = testing.task_prior(**spec)
  sample = jax.jit(jax.vmap(lambda key: prior.sample(key, 200)))
  tokens = np.asarray(sample(jax.random.split(root_key(), 8)).tokens)
  found = predictive(prior, tokens)
  values = np.repeat(np.array(prior.statistic.start)[None], len(tokens), axis=0)
  before = []
  for column in tokens.T:
    before.append(values)
    values = prior.statistic.update(values, column.astype(np.int64))
  with jax.enable_x64(True):
    expected = jax.jit(prior.statistic.log_predictive)(
      np.stack(before, axis=1).astype(np.float64)
    )
  np.testing.assert_allclose(np.exp(found), np.exp(expected), atol=2e-5)


def test_impossible_histories_of_chains():
  # A token that never occurs may still be among the first, the uniform ones.
  prior = testing.task_prior(
    'dirichlet_markov', order=1, concentration=(1.0, 0.0, 1.0)
  )
  found = predictive(prior, np.array([[1, 0, 1, 0], [1, 0, 2, 2]]))
  np.testing.assert_allclose(found[:, 0], np.log(1 / 3), atol=1e-6)
  assert np.isfinite(found[1, 1:, [0, 2]]).all()
  assert np.isneginf(found[:, 1:, 1]).all()
  assert np.isneginf(found[0, 3]).all()
  cycles = testing.task_prior(
    'markov_mixture',
    weights=(0.5, 0.5),
    tables=(((1.0, 0.0), (0.0, 1.0)), ((0.0, 1.0), (1.0, 0.0))),
  )
  found = predictive(cycles, np.array([[0, 0, 1, 1], [1, 0, 1, 0]]))
  np.testing.assert_allclose(found[:, :2], np.log(0.5), atol=1e-6)
  np.testing.assert_allclose(np.exp(found[0, 2]), [1.0, 0.0], atol=1e-6)
  assert np.isneginf(found[0, 3]).all()
  np.testing.assert_allclose(np.exp(found[1, 3]), [1.0, 0.0], atol=1e-6)


@pytest.mark.parametrize(
  'spec',
  [
    {'name': 'dirichlet_markov', 'order': 0, 'concentration': (1e-300, 1e-45)},
    {'name': 'dirichlet_markov', 'order': 1, 'concentration': (1e-300, 1e6)},
    {
      'name': 'dirichlet_mixture',
      'weights': (1e-300, 0.0, 1.0),
      'concentrations': ((1e-300, 1e-300), (1.0, 1.0), (0.0, 1e6)),
    },
  ],
  ids=lambda spec: str(spec.get('order', 'mixture')),
)
def test_extreme_numbers_are_never_nan(spec):
  prior = testing.task_prior(**spec)
  found = predictive(prior, testing.all_sequences(2, 4))
  assert not np.isnan(found).any()
  np.testing.assert_allclose(np.exp(found).sum(-1), 1, atol=1e-5)
  sample = jax.jit(jax.vmap(lambda key: prior.sample(key, 4)))
  oracle = sample(jax.random.split(root_key(), 100)).oracle_log_probs
  assert not np.isnan(oracle).any()
  np.testing.assert_allclose(np.exp(oracle).sum(-1), 1, atol=1e-5)


# What each prior holds possible.


def test_supports_know_their_sources():
  coin, skewed = np.array([[0.5, 0.5, 0.0]]), np.array([[0.2, 0.3, 0.5]])
  chain = CHAINS[1]
  mixture = testing.task_prior(
    'dirichlet_mixture',
    weights=(0.5, 0.5, 0.0),
    concentrations=((1, 1, 0), (0, 1, 1), (1, 1, 1)),
  )
  assert mixture.support.covers(coin)
  assert mixture.support.covers(_tables.lift(coin, 1))
  assert not mixture.support.covers(skewed)  # Only a component of weight 0.
  assert not mixture.support.covers(chain)
  assert len(mixture.support.points) == 2
  assert not mixture.support.finite
  dirichlet = testing.task_prior(
    'dirichlet_markov', order=1, concentration=(1, 1, 1)
  )
  for table in (coin, skewed, chain, _tables.lift(chain, 2)):
    assert dirichlet.support.covers(table)
  # That one depends on the token before the last alone.
  assert not dirichlet.support.covers(np.repeat(chain, 3, axis=0))
  some = testing.task_prior(
    'dirichlet_markov', order=1, concentration=(1, 1, 0)
  )
  assert some.support.covers(coin)
  assert not some.support.covers(chain)
  finite = testing.task_prior(
    'markov_mixture', weights=(1.0, 0.0), tables=CHAINS
  )
  assert finite.support.finite
  assert finite.support.covers(_tables.lift(CHAINS[0], 2))
  assert not finite.support.covers(CHAINS[1])


# Exact regrets.


def test_regret_of_dirichlet_chains_on_their_own_against_brute_force():
  alpha, length = (1.0, 1.0), 5
  prior = testing.task_prior('dirichlet_markov', order=1, concentration=alpha)
  # Bayes: the entropy of the next token, over all sequences.
  bayes = []
  for n in range(length):
    whole = testing.all_sequences(2, n + 1)
    log_joint = np.array([log_marginal(t, 1, alpha) for t in whole])
    log_before = np.array([log_marginal(t[:-1], 1, alpha) for t in whole])
    bayes.append(-np.sum(np.exp(log_joint) * (log_joint - log_before)))
  # The oracle: by quadrature over chains, whose states have a distribution.
  nodes, weights = np.polynomial.legendre.leggauss(100)
  theta, weights = (nodes + 1) / 2, weights / 2
  p, q = np.meshgrid(theta, theta)
  mass = np.outer(weights, weights)
  entropy = lambda x: special.entr(x) + special.entr(1 - x)
  oracle, one = [np.log(2)], np.full_like(p, 0.5)
  for _ in range(length - 1):
    oracle.append(np.sum(mass * ((1 - one) * entropy(p) + one * entropy(q))))
    one = (1 - one) * p + one * q
  losses = expectation.expected_losses(prior, prior, length)
  np.testing.assert_allclose(losses.bayes, bayes, atol=1e-9)
  np.testing.assert_allclose(losses.oracle, oracle, atol=1e-5)
  found = expectation.expected_regret(prior, prior, length)
  np.testing.assert_allclose(found, np.subtract(bayes, oracle), atol=1e-5)


def test_regret_of_dirichlet_chains_on_others_against_brute_force():
  weights, alpha, length = np.array([0.3, 0.7]), (0.5, 1.0, 2.0), 5
  prior = testing.task_prior('dirichlet_markov', order=2, concentration=alpha)
  target = testing.task_prior('markov_mixture', weights=weights, tables=CHAINS)
  tokens = testing.all_sequences(3, length)
  mass = np.array([[chain_mass(t, c, 1) for c in CHAINS] for t in tokens])
  mass = mass @ weights
  bayes = []
  for n in range(length):
    log_before, log_after = (
      np.array([log_marginal(t[:m], 2, alpha) for t in tokens])
      for m in (n, n + 1)
    )
    bayes.append(mass @ (log_before - log_after))
  found = expectation.expected_losses(prior, target, length)
  np.testing.assert_allclose(found.bayes, bayes, atol=1e-9)
  # The oracle of finitely many sources, from their state distributions.
  oracle = np.zeros(length)
  for weight, table in zip(weights, CHAINS, strict=True):
    state, rows = np.full(3, 1 / 3), special.entr(table).sum(-1)
    oracle[0] += weight * np.log(3)
    for n in range(1, length):
      oracle[n] += weight * state @ rows
      state = state @ table
  np.testing.assert_allclose(found.oracle, oracle, atol=1e-9)


def test_long_sums_over_transition_counts():
  prior = testing.task_prior(
    'dirichlet_markov', order=1, concentration=(1.0, 1.0)
  )
  found = expectation.expected_losses(prior, prior, 50)
  regret = found.bayes - found.oracle
  assert regret[0] == pytest.approx(0, abs=1e-12)  # Uniform, and known to be.
  assert np.all(np.diff(regret[1:]) < 0)
  # Two coins' worth of ignorance: less than two coins of 50 tosses each.
  coin = expectation.expected_regret(
    testing.random_coins(), testing.random_coins(), 50
  )
  assert coin.sum() < regret.sum() < 2 * coin.sum()
  # The same by sampling.
  sample = jax.jit(jax.vmap(lambda key: prior.sample(key, 50)))
  episodes = sample(jax.random.split(root_key(), 2000))
  loss = -log_steps(prior, episodes.tokens).sum(-1)
  error = loss.std() / np.sqrt(len(loss))
  assert loss.mean() == pytest.approx(found.bayes.sum(), abs=5 * error)


def test_coins_as_chains_have_the_regrets_of_coins():
  chain = lambda coins: testing.task_prior(
    'markov_mixture',
    weights=np.full(len(coins), 1 / len(coins)),
    tables=[_tables.lift(coin[None], 1) for coin in coins],
  )
  found = expectation.expected_regret(chain(COINS), chain(COINS[:1]), 50)
  coins = testing.two_coins(), testing.single_coin()
  expected = expectation.expected_regret(*coins, 49)
  np.testing.assert_allclose(found, [0, *expected], atol=1e-12)


@pytest.mark.parametrize('order', [1, 2])
def test_pseudo_counts_are_concentrations(order):
  make = lambda alpha: testing.task_prior(
    'dirichlet_markov', order=order, concentration=alpha
  )
  target = testing.task_prior(
    'markov_mixture', weights=(1.0,), tables=[[[0.9, 0.1], [0.4, 0.6]]]
  )
  added = [0.25, 1.5] * 2**order + [0] * order
  found = expectation.expected_losses(
    make((1.0, 1.0)), target, 8, pseudo_counts=added
  )
  expected = expectation.expected_losses(make((1.25, 2.5)), target, 8)
  np.testing.assert_allclose(found.bayes, expected.bayes, atol=1e-12)


def test_hard_prefixes_of_chains_are_few():
  prior = testing.task_prior(
    'dirichlet_markov', order=1, concentration=(1.0, 1.0)
  )
  target = testing.task_prior(
    'markov_mixture', weights=(1.0,), tables=[[[0.9, 0.1], [0.1, 0.9]]]
  )
  found = hard_prefixes.optimal_hard_prefix(prior, target, 6, length=20)
  assert len(found.prefixes) < 2**6 == sum(found.sizes)
  best, worst = found.prefixes[0], found.prefixes[-1]
  repeats = lambda prefix: sum(a == b for a, b in itertools.pairwise(prefix))
  assert repeats(best) > repeats(worst)
  # The first token that follows is uniform no more: the prefix has it.
  none = expectation.expected_regret(prior, target, 20).sum()
  assert found.regrets[0] < none


@pytest.mark.parametrize(('order', 'vocab_size'), [(8, 2), (1, 12)])
def test_no_sum_where_values_are_large(order, vocab_size):
  prior = testing.task_prior(
    'dirichlet_markov', order=order, concentration=(1.0,) * vocab_size
  )
  assert expectation.expected_regret(prior, prior, 50) is None


@pytest.mark.parametrize(
  ('name', 'kwargs', 'said'),
  [
    (
      'dirichlet_mixture',
      {'weights': (1.0,), 'concentrations': ((0.0, 0.0),)},
      'concentrations: at least one must be above 0 in each row',
    ),
    (
      'dirichlet_mixture',
      {'weights': (1.0,), 'concentrations': ((1.0, -1.0),)},
      'concentrations: must be finite and not negative',
    ),
    (
      'dirichlet_mixture',
      {'weights': (1.0,), 'concentrations': (1.0, 1.0)},
      'concentrations: must have shape',
    ),
    (
      'dirichlet_mixture',
      {'weights': (0.5, 0.6), 'concentrations': np.ones((2, 2))},
      'weights: ',
    ),
    (
      'dirichlet_markov',
      {'order': -1, 'concentration': (1.0, 1.0)},
      'order: must be a whole number of at least 0',
    ),
    (
      'dirichlet_markov',
      {'order': 1.0, 'concentration': (1.0, 1.0)},
      'order: must be a whole number of at least 0',
    ),
    (
      'dirichlet_markov',
      {'order': 10**9, 'concentration': (1.0, 1.0)},
      'order: must have at most 131072 counts of transitions, got 1000000000',
    ),
    (
      'dirichlet_markov',
      {'order': 1, 'concentration': np.zeros(2)},
      'concentration: at least one must be above 0',
    ),
    (
      'markov_mixture',
      {'weights': (1.0,), 'tables': np.full((1, 3, 2), 0.5)},
      'tables: must have V\\^k rows each, a power of 2',
    ),
    (
      'markov_mixture',
      {'weights': (1.0,), 'tables': ((0.5, 0.5),)},
      'tables: must have shape',
    ),
    (
      'markov_mixture',
      {'weights': (1.0,), 'tables': (((0.5, 0.5), (0.5, 0.6)),)},
      'tables: must sum to 1',
    ),
    (
      'markov_mixture',
      {'weights': (1.0,), 'tables': (((0.5, 0.5), (0.5,)),)},
      'tables: must be numbers of shape',
    ),
    (
      'markov_mixture',
      {'weights': (0.5, 0.5), 'tables': (((0.5, 0.5), (0.5, 0.5)),)},
      'weights: must be 1 numbers',
    ),
  ],
)
def test_refuses_what_is_no_prior(name, kwargs, said):
  with pytest.raises(errors.UserError, match=f'^test.{said}') as caught:
    testing.task_prior(name, **kwargs)
  assert '\n' not in str(caught.value)
