"""Priors over sources with structure, against enumeration of what is hidden.

The mathematics here is NumPy's, in float64: closed forms for what is known, and
sums over all segmentations, hidden paths and trees.
"""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special
from scipy import stats

from bayes_prompting.theory import expectation
from tests import testing

# Made anew for every use: no key is used twice.
root_key = functools.partial(jax.random.key, 0)


def predictive(prior, tokens, prefix=()):
  """Log predictive [B, N, V] of sequences, after a prefix of tokens."""
  rows = jax.nn.one_hot(np.asarray(prefix, int), prior.vocab_size)
  predict = jax.jit(jax.vmap(prior.predict, in_axes=(None, 0)))
  return np.asarray(predict(prior.prefill(rows), jnp.asarray(tokens)))


def log_mass(prior, tokens):
  """Log predictive mass [B] of sequences, in float64."""
  log_probs = predictive(prior, tokens).astype(np.float64)
  return np.take_along_axis(log_probs, tokens[..., None], -1)[..., 0].sum(-1)


def episodes(prior, num, length):
  return jax.jit(jax.vmap(lambda key: prior.sample(key, length)))(
    jax.random.split(root_key(), num)
  )


def log_dirichlet_multinomial(alpha, counts):
  """Log probability of one sequence with counts [..., V]."""
  alpha = np.asarray(alpha, np.float64)
  counts = np.asarray(counts, np.float64)
  if np.any(counts[..., alpha == 0] > 0):
    return -np.inf
  alpha, counts = alpha[alpha > 0], counts[..., alpha > 0]
  found = np.sum(special.gammaln(alpha + counts) - special.gammaln(alpha), -1)
  total = special.gammaln(alpha.sum() + counts.sum(-1))
  return found + special.gammaln(alpha.sum()) - total


# Switching sources.


def switching(hazard, concentration):
  return testing.task_prior(
    'switching', hazard=hazard, concentration=concentration
  )


def sum_over_segmentations(hazard, alpha, tokens):
  """Mass of a sequence [N], over its 2^(N-1) segmentations."""
  total = 0.0
  for starts in itertools.product([0, 1], repeat=len(tokens) - 1):
    segments = np.split(tokens, 1 + np.flatnonzero(starts))
    counts = [np.bincount(part, minlength=len(alpha)) for part in segments]
    logs = [log_dirichlet_multinomial(alpha, count) for count in counts]
    switches = sum(starts)
    chance = hazard**switches * (1 - hazard) ** (len(starts) - switches)
    total += chance * np.exp(np.sum(logs))
  return total


@pytest.mark.parametrize(
  ('hazard', 'alpha', 'length'),
  [
    (0.3, (1.0, 1.0), 6),
    (0.05, (0.5, 2.0), 6),
    (0.4, (0.3, 0.0, 2.0), 4),
    (0.0, (0.5, 0.7), 5),
    (1.0, (0.5, 0.7), 5),
  ],
)
def test_switching_against_all_segmentations(hazard, alpha, length):
  tokens = testing.all_sequences(len(alpha), length)
  expected = [sum_over_segmentations(hazard, alpha, row) for row in tokens]
  found = np.exp(log_mass(switching(hazard, alpha), tokens))
  np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-12)


def test_switching_without_switches_is_one_dirichlet():
  alpha = (0.5, 0.0, 2.0)
  one = testing.task_prior('dirichlet_categorical', concentration=alpha)
  tokens = testing.all_sequences(3, 4)
  np.testing.assert_allclose(
    predictive(switching(0, alpha), tokens), predictive(one, tokens), atol=1e-6
  )


def test_switching_at_every_token_learns_nothing():
  found = predictive(switching(1.0, (1.0, 3.0)), testing.all_sequences(2, 5))
  expected = np.broadcast_to(np.log([0.25, 0.75]), found.shape)
  np.testing.assert_allclose(found, expected, atol=1e-6)


def test_switching_after_a_prefix_is_one_pass():
  prior = switching(0.1, (0.5, 0.5, 1.0))
  tokens = np.asarray(episodes(prior, 1, 50).tokens)
  whole = predictive(prior, tokens)
  for split in (1, 30):
    after = predictive(prior, tokens[:, split:], prefix=tokens[0, :split])
    np.testing.assert_allclose(after[0], whole[0, split:], atol=2e-6)


def log_mass_by_segments(hazard, alpha, tokens):
  """Log mass of all beginnings [N], by a sum over where a segment starts.

  P(x_<n, a segment starts at n) = sum over starts j of the one before; this
  holds no run lengths, and takes each segment's mass by its closed form.
  """
  length = len(tokens)
  seen = np.cumsum(np.eye(len(alpha))[tokens], axis=0)
  seen = np.concatenate([np.zeros((1, len(alpha))), seen])
  starting, found = np.zeros(length), []  # Log, without the hazard of j itself.
  for end in range(1, length + 1):
    j = np.arange(end)
    stays = (end - 1 - j) * np.log1p(-hazard)
    segments = log_dirichlet_multinomial(alpha, seen[end] - seen[:end])
    found.append(special.logsumexp(starting[:end] + stays + segments))
    if end < length:
      starting[end] = found[-1] + np.log(hazard)
  return np.array(found)


@pytest.mark.parametrize('hazard', [0.02, 1e-6])
def test_switching_is_accurate_over_long_sequences(hazard):
  alpha = (0.1, 0.4, 1.0)
  prior = switching(hazard, alpha)
  # Six long runs, then what the sampler gives.
  runs = np.arange(500, dtype=np.int32) // 90 % 3
  drawn = np.asarray(episodes(prior, 1, 500).tokens)
  for tokens in (runs, drawn[0]):
    log_probs = predictive(prior, tokens[None])[0]
    assert np.isfinite(log_probs).all()
    np.testing.assert_allclose(special.logsumexp(log_probs, -1), 0, atol=1e-5)
    found = np.cumsum(log_probs[np.arange(500), tokens].astype(np.float64))
    expected = log_mass_by_segments(hazard, np.array(alpha), tokens)
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_switching_is_empty_after_the_impossible():
  prior = switching(0.3, (1.0, 0.0, 1.0))
  log_probs = predictive(prior, np.array([[0, 1, 2, 0]]))[0]
  assert np.isneginf(log_probs[:, 1]).all()
  assert np.isfinite(log_probs[:2, [0, 2]]).all()
  assert np.isneginf(log_probs[2:]).all()


def test_segments_of_the_sampler():
  prior = switching(0.25, (0.3, 2.0))
  oracle = np.asarray(episodes(prior, 2000, 9).oracle_log_probs, np.float64)
  switched = np.any(oracle[:, 1:] != oracle[:, :-1], axis=-1)
  assert abs(switched.mean() - 0.25) < 5 * np.sqrt(0.25 * 0.75 / switched.size)
  # A new segment is drawn like the first, and apart from the one before it.
  n = np.argwhere(switched)
  before = np.exp(oracle[n[:, 0], n[:, 1], 0])
  after = np.exp(oracle[n[:, 0], n[:, 1] + 1, 0])
  for drawn in (np.exp(oracle[:, 0, 0]), after):
    assert stats.kstest(drawn, stats.beta(0.3, 2.0).cdf).pvalue > 1e-3
  assert abs(stats.spearmanr(before, after).statistic) < 0.06


# Mixtures of hidden Markov models.

HMMS = {
  'weights': np.array([0.3, 0.0, 0.7]),
  'initial': np.array([[0.5, 0.5], [0.1, 0.9], [1.0, 0.0]]),
  'transitions': np.array(
    [[[0.9, 0.1], [0.2, 0.8]], [[0.5, 0.5], [0.5, 0.5]], [[0, 1], [0.7, 0.3]]]
  ),
  'emissions': np.array(
    [
      [[0.1, 0.9, 0.0], [0.6, 0.1, 0.3]],
      [[0.2, 0.2, 0.6], [0.3, 0.3, 0.4]],
      [[1.0, 0.0, 0.0], [0.0, 0.5, 0.5]],
    ]
  ),
}


def hmms(**changes):
  return testing.task_prior('hmm_mixture', **{**HMMS, **changes})


def sum_over_paths(tokens):
  """Mass of sequences [B, N], over models and their hidden paths."""
  total = np.zeros(len(tokens))
  states = range(HMMS['initial'].shape[1])
  for m, weight in enumerate(HMMS['weights']):
    for path in itertools.product(states, repeat=tokens.shape[1]):
      chance = weight * HMMS['initial'][m, path[0]]
      for one, other in itertools.pairwise(path):
        chance *= HMMS['transitions'][m, one, other]
      emitted = [
        HMMS['emissions'][m, s, tokens[:, n]] for n, s in enumerate(path)
      ]
      total += chance * np.prod(emitted, axis=0)
  return total


def test_hmm_mixture_against_all_hidden_paths():
  tokens = testing.all_sequences(3, 5)
  found = np.exp(log_mass(hmms(), tokens))
  np.testing.assert_allclose(found, sum_over_paths(tokens), atol=1e-7)


def test_a_single_hmm_is_its_own_oracle():
  one = {name: value[:1] for name, value in HMMS.items()}
  prior = hmms(**{**one, 'weights': (1.0,)})
  drawn = episodes(prior, 20, 30)
  np.testing.assert_array_equal(
    predictive(prior, drawn.tokens), drawn.oracle_log_probs
  )


def test_the_oracle_knows_which_hmm_it_is():
  drawn = episodes(hmms(), 200, 12)
  of_each = []
  for m in range(3):
    one = {name: value[m : m + 1] for name, value in HMMS.items()}
    alone = hmms(**{**one, 'weights': (1.0,)})
    of_each.append(predictive(alone, drawn.tokens))
  same = np.all(np.isclose(of_each, drawn.oracle_log_probs, atol=1e-5), (2, 3))
  assert same.any(0).all()  # Always one of them.
  share = same.mean(1)
  np.testing.assert_allclose(share, HMMS['weights'], atol=0.15)


def test_hmms_of_one_state_are_memoryless():
  probs = ((0.5, 0.5, 0.0), (0.0, 0.3, 0.7))
  hidden = testing.task_prior(
    'hmm_mixture',
    weights=(0.4, 0.6),
    initial=((1.0,), (1.0,)),
    transitions=(((1.0,),), ((1.0,),)),
    emissions=tuple((row,) for row in probs),
  )
  plain = testing.task_prior(
    'categorical_mixture', weights=(0.4, 0.6), probabilities=probs
  )
  tokens = testing.all_sequences(3, 4)
  np.testing.assert_allclose(
    predictive(hidden, tokens), predictive(plain, tokens), atol=2e-6
  )


def test_hmm_mixture_is_never_nan():
  prior = hmms()
  tokens = np.asarray(episodes(prior, 2, 500).tokens)
  assert np.isfinite(log_mass(prior, tokens)).all()
  # Neither model can say 2 first, and then it is over.
  log_probs = predictive(hmms(initial=((1, 0), (1, 0), (1, 0))), [[2, 0, 1]])[0]
  assert np.isneginf(log_probs[0, 2])
  assert np.isneginf(log_probs[1:]).all()
  assert not np.isnan(log_probs).any()


# Context trees.


def context_tree(vocab_size, depth, **kwargs):
  return testing.task_prior(
    'context_tree', vocab_size=vocab_size, depth=depth, **kwargs
  )


def trees(vocab_size, depth, split, context=()):
  """All trees below a context: their leaves, and their prior probability."""
  if depth == 0:
    return [((context,), 1.0)]
  found = [((context,), 1 - split)]
  below = [
    trees(vocab_size, depth - 1, split, (token, *context))
    for token in range(vocab_size)
  ]
  for parts in itertools.product(*below):
    leaves = sum((leaves for leaves, _ in parts), ())
    found.append((leaves, split * np.prod([chance for _, chance in parts])))
  return found


def counts_in(tokens, context, vocab_size, depth):
  """Counts [V] of what follows a context, from token D on."""
  follow = [
    tokens[n]
    for n in range(depth, len(tokens))
    if tuple(tokens[n - len(context) : n]) == context
  ]
  return np.bincount(np.array(follow, int), minlength=vocab_size)


def sum_over_trees(tokens, vocab_size, depth, alpha, split, entropy=False):
  """Mass of a sequence, and of it times the next token's mean entropy."""
  concentration = np.full(vocab_size, alpha)
  mass, weighted = 0.0, 0.0
  for leaves, chance in trees(vocab_size, depth, split):
    counts = {
      leaf: counts_in(tokens, leaf, vocab_size, depth) for leaf in leaves
    }
    logs = [
      log_dirichlet_multinomial(concentration, c) for c in counts.values()
    ]
    joint = chance * np.exp(np.sum(logs))
    mass += joint
    if entropy and len(tokens) >= depth:
      (leaf,) = (k for k in leaves if tokens[len(tokens) - len(k) :] == k)
      posterior = concentration + counts[leaf]
      total = posterior.sum()
      gap = special.digamma(total + 1) - special.digamma(posterior + 1)
      weighted += joint * np.sum(posterior / total * gap)
  uniform = vocab_size ** -float(min(len(tokens), depth))
  if len(tokens) < depth:
    weighted = mass * np.log(vocab_size)
  return uniform * mass, uniform * weighted


@pytest.mark.parametrize(
  ('vocab_size', 'depth', 'alpha', 'split', 'length', 'num'),
  [
    (2, 2, 0.5, 0.5, 8, 5),
    (2, 2, 1.3, 0.2, 6, 5),
    (3, 1, 0.5, 0.5, 5, 2),
    (3, 2, 0.3, 0.7, 5, 9),
    (2, 3, 0.5, 0.5, 7, 26),
    (2, 2, 0.5, 0.0, 6, 5),
    (2, 2, 0.5, 1.0, 6, 5),
  ],
)
def test_context_tree_against_all_trees(
  vocab_size, depth, alpha, split, length, num
):
  found = trees(vocab_size, depth, split)
  assert len(found) == num
  assert sum(chance for _, chance in found) == pytest.approx(1)
  tokens = testing.all_sequences(vocab_size, length)
  expected = [
    sum_over_trees(row, vocab_size, depth, alpha, split)[0] for row in tokens
  ]
  prior = context_tree(vocab_size, depth, alpha=alpha, split=split)
  mass = np.exp(log_mass(prior, tokens))
  np.testing.assert_allclose(mass, expected, rtol=1e-5)


@pytest.mark.parametrize(
  ('zeros', 'ones', 'expected'),
  [
    (0, 1, 1 / 2),
    (0, 2, 3 / 8),
    (0, 3, 5 / 16),
    (0, 4, 35 / 128),
    (1, 1, 1 / 8),
    (1, 2, 1 / 16),
    (1, 3, 5 / 128),
    (2, 2, 3 / 128),
  ],
)
def test_block_probabilities_of_krichevsky_and_trofimov(zeros, ones, expected):
  # The table of Willems, Shtarkov and Tjalkens (1995).
  tokens = np.repeat([0, 1], [zeros, ones])[None]
  found = np.exp(log_mass(context_tree(2, 0), tokens))
  np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_weighted_probability_of_willems_shtarkov_and_tjalkens():
  # Their example of a weighted context tree: 0110100 after a past of 010.
  tokens = np.array([[0, 1, 0, 0, 1, 1, 0, 1, 0, 0]])
  found = np.exp(log_mass(context_tree(2, 3), tokens)) * 2**3
  np.testing.assert_allclose(found, 95 / 32768, rtol=1e-6)


def test_context_tree_of_depth_zero_is_one_dirichlet():
  prior = context_tree(3, 0, alpha=0.7)
  one = testing.task_prior('dirichlet_categorical', concentration=(0.7,) * 3)
  tokens = testing.all_sequences(3, 4)
  np.testing.assert_allclose(
    predictive(prior, tokens), predictive(one, tokens), atol=1e-6
  )
  assert prior.exchangeable
  assert not context_tree(3, 1).exchangeable


def test_kept_odds_agree_with_the_tree_of_counts():
  # Two ways to the same: odds that change with every token in float32, and
  # the weighted probabilities of all nodes from counts in float64.
  prior = context_tree(2, 4, split=0.3)
  tokens = np.asarray(episodes(prior, 3, 400).tokens)
  whole = predictive(prior, tokens)
  values = np.repeat([prior.statistic.start], 3, axis=0)
  for n in range(400):
    if n in (0, 3, 4, 100, 399):
      with jax.enable_x64(True):
        found = prior.statistic.log_predictive(values.astype(np.float64))
      np.testing.assert_allclose(whole[:, n], found, atol=2e-5)
    values = prior.statistic.update(values, tokens[:, n].astype(np.int64))
  assert values.dtype == np.int64
  counted = values[:, : 2**4 * 2].sum(-1)
  np.testing.assert_array_equal(counted, 400 - 4)
  np.testing.assert_array_equal(values[:, 2**4 * 2 :], tokens[:, -4:])


@pytest.mark.parametrize('split', [0.0, 0.5, 1.0])
def test_context_tree_after_a_long_prefix_is_one_pass(split):
  prior = context_tree(3, 2, split=split)
  tokens = np.asarray(episodes(prior, 1, 300).tokens)
  whole = predictive(prior, tokens)
  assert np.isfinite(whole).all()
  for at in (1, 2, 150):
    after = predictive(prior, tokens[:, at:], prefix=tokens[0, :at])
    np.testing.assert_allclose(after, whole[:, at:], atol=2e-5)


def test_drawn_tables_have_the_shape_of_their_tree():
  prior = context_tree(2, 2, split=0.4)
  tables = jax.jit(jax.vmap(prior.sample_table))(
    jax.random.split(root_key(), 4000)
  )
  tables = np.asarray(tables)  # Contexts 00, 01, 10, 11, the recent one last.
  alike = np.all(tables[:, :2] == tables[:, 2:], axis=-1)  # By recent token.
  root = np.all(tables == tables[:, :1], axis=(1, 2))
  shapes = {
    'root': (root, 0.6),
    'both leaves': (alike.all(1) & ~root, 0.4 * 0.6**2),
    'below 0': (~alike[:, 0] & alike[:, 1], 0.4 * 0.4 * 0.6),
    'below 1': (alike[:, 0] & ~alike[:, 1], 0.4 * 0.6 * 0.4),
    'full': (~alike.any(1), 0.4**3),
  }
  for name, (drawn, chance) in shapes.items():
    error = np.sqrt(chance * (1 - chance) / len(tables))
    assert abs(drawn.mean() - chance) < 5 * error, name
  for row in range(4):
    values = np.exp(tables[:, row, 0].astype(np.float64))
    assert stats.kstest(values, stats.beta(0.5, 0.5).cdf).pvalue > 1e-3


@pytest.mark.parametrize(
  ('vocab_size', 'depth', 'alpha', 'split', 'length'),
  [(2, 2, 0.5, 0.5, 7), (3, 1, 0.8, 0.3, 5)],
)
def test_expected_regret_against_all_sequences_and_trees(
  vocab_size, depth, alpha, split, length
):
  args = vocab_size, depth, alpha, split
  summed = functools.partial(sum_over_trees, entropy=True)
  expected = []
  for n in range(length):
    bayes, oracle = 0.0, 0.0
    for row in itertools.product(range(vocab_size), repeat=n):
      mass, weighted = summed(row, *args)
      oracle += weighted
      for token in range(vocab_size):
        after, _ = summed((*row, token), *args)
        bayes -= after * np.log(after / mass)
    expected.append(bayes - oracle)
  prior = context_tree(vocab_size, depth, alpha=alpha, split=split)
  found = expectation.expected_regret(prior, prior, length)
  np.testing.assert_allclose(found, expected, atol=1e-9)
  np.testing.assert_allclose(found[:depth], 0, atol=1e-12)


def test_support_of_context_trees():
  table = np.array([[0.2, 0.8], [0.5, 0.5], [0.2, 0.8], [1.0, 0.0]])
  assert context_tree(2, 2).support.covers(table)
  assert context_tree(2, 3, split=1.0).support.covers(table)
  assert not context_tree(2, 1).support.covers(table)
  assert context_tree(2, 1).support.covers(table[:2])
  memoryless = context_tree(2, 2, split=0.0).support
  assert not memoryless.covers(table[:2])
  assert memoryless.covers(table[:1])
  (point,) = context_tree(3, 2).support.points
  assert point.shape == (9, 3)
  assert not context_tree(3, 1).support.covers(point)


def test_exact_sums_that_are_too_large_are_refused_at_once():
  # Many counts: the values of a few steps would fill the memory.
  for depth, length in [(6, 200), (10, 14)]:
    prior = context_tree(2, depth)
    assert expectation.expected_regret(prior, prior, length) is None


# Refusals.


@pytest.mark.parametrize(
  ('name', 'kwargs', 'field'),
  [
    ('switching', {'hazard': 1.5, 'concentration': (1, 1)}, 'hazard'),
    ('switching', {'hazard': float('nan'), 'concentration': (1, 1)}, 'hazard'),
    ('switching', {'hazard': True, 'concentration': (1, 1)}, 'hazard'),
    ('switching', {'hazard': 'often', 'concentration': (1, 1)}, 'hazard'),
    ('switching', {'hazard': 0.1, 'concentration': (0, 0)}, 'concentration'),
    ('switching', {'hazard': 0.1, 'concentration': (1, -1)}, 'concentration'),
    ('hmm_mixture', {**HMMS, 'weights': (0.5, 0.5)}, 'weights'),
    ('hmm_mixture', {**HMMS, 'initial': ((1.0,),) * 3}, 'initial'),
    ('hmm_mixture', {**HMMS, 'initial': ((0.5, 0.6),) * 3}, 'initial'),
    ('hmm_mixture', {**HMMS, 'initial': ((0.5,), (0.5, 0.5))}, 'initial'),
    (
      'hmm_mixture',
      {**HMMS, 'transitions': HMMS['transitions'][:2]},
      'transitions',
    ),
    (
      'hmm_mixture',
      {**HMMS, 'transitions': -HMMS['transitions']},
      'transitions',
    ),
    ('hmm_mixture', {**HMMS, 'emissions': 'none'}, 'emissions'),
    ('hmm_mixture', {**HMMS, 'emissions': np.ones((3, 2, 1))}, 'emissions'),
    (
      'hmm_mixture',
      {**HMMS, 'emissions': HMMS['emissions'] * np.nan},
      'emissions',
    ),
    ('context_tree', {'vocab_size': 1, 'depth': 2}, 'vocab_size'),
    ('context_tree', {'vocab_size': 2, 'depth': -1}, 'depth'),
    ('context_tree', {'vocab_size': 2, 'depth': 40}, 'depth'),
    ('context_tree', {'vocab_size': 2, 'depth': 1, 'alpha': 0}, 'alpha'),
    ('context_tree', {'vocab_size': 2, 'depth': 1, 'split': -0.1}, 'split'),
  ],
)
def test_refuses_what_is_no_prior(name, kwargs, field):
  with pytest.raises(ValueError, match=rf'^test\.{field}: ') as info:
    testing.task_prior(name, **kwargs)
  assert '\n' not in str(info.value)
