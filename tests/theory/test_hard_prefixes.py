"""The best hard prefixes and pseudo-counts, against enumeration of all."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bayes_prompting import errors
from bayes_prompting import types
from bayes_prompting.task_priors import _axes
from bayes_prompting.theory import expectation
from bayes_prompting.theory import gaps as prompt_gaps
from bayes_prompting.theory import hard_prefixes
from bayes_prompting.theory import pseudo_counts
from tests import testing


def dirichlet(*concentration):
  return testing.task_prior(
    'dirichlet_categorical', concentration=concentration
  )


def mixture(weights, probabilities):
  return testing.task_prior(
    'categorical_mixture', weights=weights, probabilities=probabilities
  )


def coin(*probabilities):
  return testing.task_prior('categorical', probabilities=probabilities)


def chain(concentration=(1.0, 2.0)):
  """Coins with a memory of one toss; each row is drawn from a Beta."""
  alpha = np.asarray(concentration)

  def update(values, tokens):
    values = values.copy()
    last = values[:, 4]
    seen = np.flatnonzero(last >= 0)
    values[seen, 2 * last[seen] + tokens[seen]] += 1
    values[:, 4] = tokens
    return values

  def log_predictive(values):
    last = values[..., 4:]
    rows = jnp.where(last == 1, values[..., 2:4], values[..., :2])
    prior = _axes.under(alpha, rows).astype(values.dtype)
    rows = jnp.where(last < 0, 1.0, rows + prior)
    return jnp.log(rows / rows.sum(-1, keepdims=True))

  def prefill(rows):
    value = np.array([[0, 0, 0, 0, -1]])
    for token in np.asarray(rows).argmax(-1):
      value = update(value, np.array([token]))
    return value[0]

  def predict(state, tokens):  # One sequence after another, in NumPy.
    found = []
    value = state[None]
    for token in np.asarray(tokens):
      found.append(log_predictive(value[0].astype(np.float32)))
      value = update(value, np.array([token]))
    return jnp.stack(found)

  statistic = types.Statistic(
    start=(0, 0, 0, 0, -1),
    counts=(True,) * 4 + (False,),
    update=update,
    log_predictive=log_predictive,
    log_evidence=lambda values: jnp.zeros(values.shape[:-1]),
    source_entropy=lambda values: jnp.zeros(values.shape[:-1]),
  )
  return types.TaskPrior(2, None, prefill, predict, statistic)


def enumerated_gap(prior, target, prefix, length):
  """The gap after a prefix, sequence by sequence."""
  tokens = testing.all_sequences(target.vocab_size, length)

  def log_probs(of, prefix):
    state = of.prefill(np.eye(of.vocab_size)[np.asarray(prefix, int)])
    if isinstance(state, np.ndarray):
      found = np.stack([of.predict(state, one) for one in tokens])
    else:
      found = jax.vmap(of.predict, in_axes=(None, 0))(state, tokens)
    found = np.asarray(found, np.float64)
    return np.take_along_axis(found, tokens[..., None], -1).sum((1, 2))

  own = log_probs(target, ())
  occurs = np.isfinite(own)
  lost = own[occurs] - log_probs(prior, prefix)[occurs]
  return np.sum(np.exp(own[occurs]) * lost)


PAIRS = [
  (testing.random_coins(), testing.single_coin()),
  (testing.two_coins(), testing.random_coins()),
  (dirichlet(1, 2, 3), coin(0.5, 0.0, 0.5)),
  (
    dirichlet(1, 0, 2),
    mixture((0.3, 0.7), ((0.1, 0.0, 0.9), (0.6, 0.0, 0.4))),
  ),
  (chain(), testing.two_coins()),
]


@pytest.mark.parametrize(('prior', 'target'), PAIRS)
def test_the_ranking_is_that_of_all_prefixes(prior, target):
  length, prefix_length = 4, 3
  found = hard_prefixes.optimal_hard_prefix(
    prior, target, prefix_length, length
  )
  ranked = dict(zip(found.prefixes, found.regrets, strict=True))
  own = expectation.expected_regret(target, target, length).sum()
  gaps = prompt_gaps.Gaps(prior, target, length)
  sizes = dict.fromkeys(found.prefixes, 0)
  lost = {}
  for prefix in testing.all_sequences(prior.vocab_size, prefix_length):
    prefix = tuple(prefix.tolist())
    lost[prefix] = enumerated_gap(prior, target, prefix, length)
    alike = (p for p in ranked if (gaps.after(p) == gaps.after(prefix)).all())
    (first,) = alike
    assert first <= prefix
    sizes[first] += 1
    assert ranked[first] - own == pytest.approx(lost[prefix], abs=2e-5)
  assert list(sizes.values()) == found.sizes.tolist()
  finite = found.regrets[np.isfinite(found.regrets)]
  assert (np.diff(finite) > -1e-9).all()
  assert np.isfinite(found.regrets[: len(finite)]).all()
  assert found.regrets[0] - own == pytest.approx(min(lost.values()), abs=2e-5)


@pytest.mark.parametrize(('prior', 'target'), PAIRS)
def test_the_curve_is_the_best_of_each_length(prior, target):
  curve = hard_prefixes.gap_curve(prior, target, 4, 3)
  assert curve.lengths.tolist() == [0, 1, 2, 3]
  for length, prefix, gap in zip(*curve, strict=True):
    expected = [
      enumerated_gap(prior, target, p, 4)
      for p in itertools.product(range(prior.vocab_size), repeat=length)
    ]
    assert len(prefix) == length
    assert gap == pytest.approx(min(expected), abs=2e-5)


@pytest.mark.parametrize(
  ('length', 'none', 'six'),
  [(50, 1.4772, 0.5711), (100, 1.8118, 0.8552), (200, 2.1525, 1.1686)],
)
def test_hard_prefixes_of_the_coin(length, none, six):
  args = testing.random_coins(), testing.single_coin()
  found = hard_prefixes.optimal_hard_prefix(*args, 0, length)
  assert found.prefixes == ((),)
  assert found.regrets == pytest.approx([none], abs=1e-4)
  found = hard_prefixes.optimal_hard_prefix(*args, 6, length)
  assert found.prefixes[0] == (0, 1, 1, 1, 1, 1)
  assert found.regrets[0] == pytest.approx(six, abs=1e-4)
  sizes = dict(zip(found.prefixes, found.sizes, strict=True))
  assert sizes[0, 0, 0, 1, 1, 1] == 20


def test_prefixes_with_the_same_counts_are_one():
  args = testing.random_coins(), testing.single_coin()
  found = hard_prefixes.optimal_hard_prefix(*args, 25)
  assert len(found.prefixes) == 26
  assert found.sizes.sum() == 2**25
  assert sum(found.prefixes[0]) == 20


def test_no_hard_prefix_helps_on_a_mixture_of_two_coins():
  args = testing.random_coins(), testing.two_coins()
  (none,) = hard_prefixes.optimal_hard_prefix(*args, 0).regrets
  # By symmetry both coins of the mixture cost as much as the single one.
  assert none == pytest.approx(1.4772, abs=1e-4)
  found = hard_prefixes.optimal_hard_prefix(*args, 6)
  assert min(found.regrets) > none
  ranked = dict(zip(found.prefixes, found.regrets, strict=True))
  mirrored = {tuple(sorted(1 - v for v in p)): x for p, x in ranked.items()}
  assert ranked == pytest.approx(mirrored, abs=1e-9)


def test_the_best_pseudo_counts_of_two_coins():
  gaps = prompt_gaps.Gaps(testing.random_coins(), testing.two_coins(), 50)
  best = pseudo_counts.best(gaps)
  np.testing.assert_allclose(best.counts, 0.25, atol=6e-3)  # Beta(1.25, 1.25).
  assert best.gap + gaps.target_regret == pytest.approx(1.462, abs=5e-4)
  assert not best.at_bound
  for x in np.linspace(0, 1, 11):
    for y in np.linspace(0, 1, 11):
      assert gaps.gap(np.array([x, y])) >= best.gap - 1e-12


def test_pseudo_counts_are_searched_after_every_label():
  # After its last token is seen, the first token is no longer uniform.
  target = coin(0.1, 0.9)
  gaps = prompt_gaps.Gaps(chain(), target, 10)
  best = pseudo_counts.best(gaps)
  assert best.value[4] in (0, 1)
  assert best.counts[4] == 0
  row = best.value[:4].reshape(2, 2)[int(best.value[4])] + (1.0, 2.0)
  np.testing.assert_allclose(row / row.sum(), (0.1, 0.9), atol=1e-3)
  assert best.gap < 1e-6 and best.at_bound
  none = gaps.gap(np.array([0, 0, 0, 0, -1.0]))
  assert none == pytest.approx(
    enumerated_gap(chain(), target, (), 10), abs=1e-4
  )


def test_pseudo_counts_are_searched_without_a_label():
  # Two more zeros after each, and no last token: no prefix ends like that.
  gaps = prompt_gaps.Gaps(chain(), chain((3.0, 2.0)), 10)
  best = pseudo_counts.best(gaps)
  np.testing.assert_allclose(best.value, (2, 0, 2, 0, -1), atol=1e-6)
  assert best.gap < 1e-15


def test_pseudo_counts_where_any_of_a_token_rules_out_sources():
  # One zero rules the second source out, and the target needs both.
  prior = mixture((0.5, 0.5), ((0.5, 0.5), (0.0, 1.0)))
  target = mixture((0.2, 0.8), ((0.5, 0.5), (0.0, 1.0)))
  best = pseudo_counts.best(prompt_gaps.Gaps(prior, target, 20))
  np.testing.assert_allclose(best.counts, (0, 2), atol=1e-6)
  assert best.gap < 1e-15


def test_no_search_where_it_takes_too_long(monkeypatch):
  gaps = prompt_gaps.Gaps(testing.random_coins(), testing.two_coins(), 5)
  monkeypatch.setattr(pseudo_counts, '_MAX_ENTRIES', 1)
  assert pseudo_counts.best(gaps) is None


def test_prefixes_end_where_they_are_not_cheap(monkeypatch):
  monkeypatch.setattr(hard_prefixes, '_MAX_PREDICTIONS', 10 * 1275)
  args = testing.random_coins(), testing.two_coins(), 50
  curve = hard_prefixes.gap_curve(*args)
  assert curve.lengths.tolist() == [0, 1, 2, 3]  # 1 + 2 + 3 + 4 candidates.
  with pytest.raises(errors.UserError, match='too many prefixes') as error:
    hard_prefixes.gap_curve(*args, max_prefix_length=4)
  assert '\n' not in str(error.value)


def test_prefixes_over_many_tokens_are_not_even_made():
  # Of length 3 there are 4.5 million, with 300 counts each; of one token alone
  # the sum is so short that it did not stop them.
  die = dirichlet(*[1] * 300)
  curve = hard_prefixes.gap_curve(die, die, 1)
  assert curve.lengths.tolist() == [0, 1]
  gaps = prompt_gaps.Gaps(dirichlet(*[1] * 20), dirichlet(*[2] * 20), 3)
  made = [*hard_prefixes.scorable(gaps, 8, required=False)]
  assert sum(len(x.prefixes) for x in made) == 1 + 20 + 210 + 1540 + 8855


def test_refuses_what_has_no_exact_answer(monkeypatch):
  monkeypatch.setattr(expectation, '_MAX_VALUES', 100)
  coins, dice = testing.random_coins(), dirichlet(*[1] * 6)
  unknown = types.TaskPrior(2, coins.sample, coins.prefill, coins.predict)
  for prior, target, length, message in (
    (unknown, coins, 5, 'prior: has no sufficient statistic'),
    (coins, unknown, 5, 'target: has no sufficient statistic'),
    (coins, dice, 5, 'target: has 6 tokens, but the prior has 2'),
    (dice, dice, 20, 'length: too many histories .* shorter'),
    (coins, coins, 0, 'length: must be'),
  ):
    with pytest.raises(errors.UserError, match=message) as error:
      hard_prefixes.optimal_hard_prefix(prior, target, 1, length)
    assert '\n' not in str(error.value)
  with pytest.raises(errors.UserError, match='prefix_length: must be'):
    hard_prefixes.optimal_hard_prefix(coins, coins, -1)


def test_sums_are_kept_for_few_labels_and_charged_for_all(monkeypatch):
  chains = testing.task_prior(
    'dirichlet_markov', order=1, concentration=(1.0, 1.0)
  )
  both = testing.task_prior(
    'union',
    components={
      'a': {
        'weight': 0.5,
        'name': 'dirichlet_markov',
        'order': 1,
        'concentration': (1.0, 1.0),
      },
      'b': {'weight': 0.5, 'name': 'categorical', 'probabilities': (0.9, 0.1)},
    },
  )
  gaps = prompt_gaps.Gaps(both, testing.random_coins(), 3)
  found = hard_prefixes.curve_of(gaps, 3, required=True)
  assert len(gaps._kept) <= prompt_gaps.KEPT < len(gaps._known)
  assert pseudo_counts.best(gaps) is None  # Nothing can be raised alone.
  for prefix, gap in zip(found.prefixes, found.gaps, strict=True):
    assert gap == pytest.approx(
      enumerated_gap(both, testing.random_coins(), prefix, 3), abs=2e-5
    )
  gaps = prompt_gaps.Gaps(chains, testing.random_coins(), 3)
  # One prefix of no token; two of one token, each with a label to make.
  allowed = 1 + 2 * (1 + hard_prefixes._MAKING)
  for more, lengths in ((0, 2), (-1, 1)):
    monkeypatch.setattr(
      hard_prefixes, '_MAX_PREDICTIONS', (allowed + more) * gaps.histories
    )
    found = hard_prefixes.curve_of(gaps, 3, required=False)
    assert len(found.lengths) == lengths
