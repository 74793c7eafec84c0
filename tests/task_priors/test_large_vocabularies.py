"""Tokens of large vocabularies and tables are drawn in other ways."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bayes_prompting import registry
from bayes_prompting.task_priors import _draws
from bayes_prompting.task_priors import _urn
from bayes_prompting.task_priors import dirichlet_markov

pytestmark = pytest.mark.keys
COUNT = 20_000
root_key = functools.partial(jax.random.key, 5)


def make(name, **arguments):
  return registry.make('task_priors', 'test', {'name': name, **arguments})


def assert_occur(drawn, probs):
  """Asserts that tokens [M] have these probabilities [V], and no other.

  Each frequency is within 5 standard errors: of a right sampler one in 1.7
  million is not.
  """
  counts = np.bincount(drawn, minlength=len(probs))
  assert not counts[probs == 0].any()
  error = np.sqrt(probs * (1 - probs) / len(drawn)) + 1e-6
  np.testing.assert_array_less(np.abs(counts / len(drawn) - probs), 5 * error)


def probabilities(vocab_size):
  """In which the first token, the last, and every third never occur."""
  probs = np.random.default_rng(0).gamma(0.3, size=vocab_size)
  probs[[0, -1]] = probs[::3] = 0
  return probs / probs.sum()


@pytest.mark.parametrize('vocab_size', [2 * _draws._MOST_GUMBELS, 1000])
def test_tokens_have_their_probabilities(vocab_size):
  probs = probabilities(vocab_size)
  with np.errstate(divide='ignore'):
    log_probs = np.log(probs).astype(np.float32)
  draw = jax.jit(_draws.draw, static_argnums=2)
  drawn = draw(root_key(), jnp.asarray(log_probs), (COUNT,))
  assert drawn.shape == (COUNT,) and drawn.dtype == jnp.int32
  assert_occur(drawn, probs)


def test_each_of_several_distributions_is_drawn_from():
  vocab_size = 2 * _draws._MOST_GUMBELS
  rows = np.stack([probabilities(vocab_size), np.full(vocab_size, 1e-30)])
  rows[1, 7] = 1.0
  rows = jnp.log(jnp.asarray(rows, jnp.float32))
  draw = jax.jit(_draws.draw, static_argnums=2)
  drawn = np.asarray(draw(root_key(), rows, (50, 4)))
  assert drawn.shape == (50, 4, 2)
  assert (drawn[..., 1] == 7).all() and len({*drawn[..., 0].ravel()}) > 5


@pytest.mark.parametrize('scale', [1.0, 0.999, 1.0007, 1e-20, 1e20])
@pytest.mark.parametrize('number', [0.0, 1 - 2.0**-23])
def test_the_ends_of_the_numbers_are_tokens_with_weight(scale, number):
  # What JAX draws at least, and at most; nothing is at either end.
  weights = np.append(np.append([0, 0], np.full(99, 0.1)), [0.0, 0.0])
  weights = jnp.asarray(weights / weights.sum() * scale, jnp.float32)
  token = _draws.at(weights, jnp.float32(number) + _draws._HALF_STEP)
  assert token == (100 if number else 2)


def test_no_number_is_a_token_without_weight():
  # At every sum, and at its neighbours, of sums that shrink by rounding.
  weights = np.random.default_rng(0).gamma(0.3, size=1000)
  weights[::2] = 0
  weights = jnp.asarray(weights, jnp.float32)
  sums = jnp.cumsum(weights)
  assert (jnp.diff(sums)[::2] != weights[1::2]).any()  # Rounded.
  shares = sums / sums.max()
  where = jnp.concatenate(
    [jnp.nextafter(shares, x) for x in (jnp.zeros(1), shares, jnp.ones(1))]
  )
  where = jnp.clip(where, _draws._HALF_STEP, 1 - _draws._HALF_STEP)
  found = np.asarray(jax.vmap(lambda x: _draws.at(weights, x))(where))
  assert (found % 2 == 1).all()


def test_numbers_are_neither_zero_nor_one():
  found = np.asarray(_draws.numbers(root_key(), (COUNT,)), np.float64)
  assert found.min() >= 2.0**-24 and found.max() <= 1 - 2.0**-24
  assert_occur((found * 8).astype(int), np.full(8, 1 / 8))


@pytest.mark.parametrize('length', [0, 1, 2, 3])
@pytest.mark.parametrize('x64', [False, True])
def test_sequences_may_be_shorter_than_a_context(length, x64):
  with jax.enable_x64(x64):
    for prior in (
      make('context_tree', vocab_size=2, depth=2),
      make('dirichlet_markov', order=2, concentration=(1.0,) * 11),
    ):
      episode = prior.sample(root_key(), length)
      assert episode.tokens.shape == (length,)
      assert episode.tokens.dtype == jnp.int32
      oracle = np.exp(episode.oracle_log_probs)
      assert oracle.shape == (length, prior.vocab_size)
      np.testing.assert_allclose(oracle[:2], 1 / prior.vocab_size, rtol=1e-6)


@pytest.fixture
def _urns(monkeypatch):
  monkeypatch.setattr(_draws, '_MOST_GUMBELS', 1)
  monkeypatch.setattr(dirichlet_markov, '_MOST_DRAWN', 1)


EXAMPLES = [
  ('context_tree', {'vocab_size': 3, 'depth': 0, 'alpha': 0.3}),
  ('context_tree', {'vocab_size': 3, 'depth': 1, 'split': 0.3}),
  ('context_tree', {'vocab_size': 2, 'depth': 2, 'split': 0.5}),
  ('dirichlet_markov', {'order': 1, 'concentration': (0.3, 0.0, 2.0)}),
  ('dirichlet_markov', {'order': 2, 'concentration': (0.5, 1.5)}),
  ('dirichlet_categorical', {'concentration': (0.3, 0.0, 2.0)}),
  ('switching', {'hazard': 0.3, 'concentration': (0.5, 1.5)}),
]


@pytest.mark.usefixtures('_urns')
@pytest.mark.parametrize(('name', 'arguments'), EXAMPLES)
def test_sequences_occur_as_predicted(name, arguments):
  prior, length = make(name, **arguments), 4
  sample = jax.jit(jax.vmap(lambda key: prior.sample(key, length)))
  episodes = jax.device_get(sample(jax.random.split(root_key(), COUNT)))
  every = np.array([*itertools.product(range(prior.vocab_size), repeat=length)])
  start = prior.prefill(jnp.zeros((0, prior.vocab_size), jnp.float32))
  found = jax.jit(jax.vmap(lambda x: prior.predict(start, x)))(every)
  picked = np.take_along_axis(np.asarray(found), every[..., None], -1)[..., 0]
  codes = prior.vocab_size ** np.arange(length)[::-1]
  assert_occur(episodes.tokens @ codes, np.exp(picked.astype(float).sum(-1)))
  # The oracle's mean, given what came before a token, is the predictive.
  oracle = np.exp(episodes.oracle_log_probs[:, -1].astype(float))
  histories = episodes.tokens[:, :-1] @ codes[1:]
  for history in np.unique(histories):
    of_history = oracle[histories == history]
    if len(of_history) > 200:
      expected = np.exp(found[history * prior.vocab_size, -1])
      error = of_history.std(0) / np.sqrt(len(of_history)) + 1e-5
      difference = np.abs(of_history.mean(0) - expected)
      np.testing.assert_array_less(difference, 5 * error)


def test_the_source_of_an_urn_is_of_its_posterior():
  # Of chains of order 1: each row has the concentration and its own counts.
  alpha, length = np.array([0.4, 1.1]), 5
  leaves = jnp.arange(2, dtype=jnp.int32)
  sample = jax.jit(
    jax.vmap(lambda key: _urn.episode(key, alpha, 1, leaves, 2, length))
  )
  episodes = jax.device_get(sample(jax.random.split(root_key(), COUNT)))
  numbers = episodes.tokens @ 2 ** np.arange(length)[::-1]
  oracle = np.exp(episodes.oracle_log_probs.astype(float))
  for number in np.unique(numbers):
    of_number = oracle[numbers == number]
    if len(of_number) < 200:
      continue
    tokens = episodes.tokens[numbers == number][0]
    counts = np.zeros((2, 2))
    np.add.at(counts, (tokens[:-1], tokens[1:]), 1)
    posterior = alpha + counts[tokens[:-1]]
    expected = posterior / posterior.sum(-1, keepdims=True)
    error = of_number.std(0) / np.sqrt(len(of_number))
    found = of_number.mean(0)
    np.testing.assert_allclose(found[0], 0.5, atol=1e-6)
    np.testing.assert_array_less(np.abs(found[1:] - expected), 5 * error[1:])
    # The variance too: a mean alone says nothing of how sure the oracle is.
    total = posterior.sum(-1, keepdims=True)
    variance = expected * (1 - expected) / (total + 1)
    squares = (of_number[:, 1:] - expected) ** 2
    error = squares.std(0) / np.sqrt(len(of_number))
    np.testing.assert_array_less(
      np.abs(squares.mean(0) - variance), 5 * error + 1e-6
    )


def test_the_source_is_not_drawn_where_nobody_reads_it():
  prior = make('context_tree', vocab_size=40, depth=2)
  tokens = jax.jit(lambda key: prior.sample(key, 20).tokens)
  program = tokens.lower(root_key()).compile().as_text()
  # A gamma for each of 40 tokens at 1641 nodes.
  gammas = f'[{1641 * 40}]'
  assert gammas not in program
  whole = jax.jit(lambda key: prior.sample(key, 20))
  assert gammas in whole.lower(root_key()).compile().as_text()
