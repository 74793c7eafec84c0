"""Predictions after 20000 tokens, where a joint is about -1e4 in float32."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bayes_prompting.theory import expectation
from tests import testing

LENGTH = 20_000
# Sources so alike that all are in doubt to the end, and one that is not.
CLOSE = ((0.3, 0.7), (0.302, 0.698), (0.9, 0.1))
BETAS = tuple((1000 * p, 1000 * q) for p, q in CLOSE)
TABLES = tuple((row, (0.5, 0.5)) for row in CLOSE)
WEIGHTS = (0.4, 0.4, 0.2)


def coin(i):
  return {'name': 'categorical', 'probabilities': CLOSE[i]}


def union(*specs):
  components = {f'{i}': {'weight': 0.5, **x} for i, x in enumerate(specs)}
  return 'union', {'components': components}


CASES = {
  'coins': (
    'categorical_mixture',
    {'weights': WEIGHTS, 'probabilities': CLOSE},
  ),
  'betas': (
    'dirichlet_mixture',
    {'weights': WEIGHTS, 'concentrations': BETAS},
  ),
  'coin or betas': union(
    coin(0), {'name': 'dirichlet_categorical', 'concentration': BETAS[1]}
  ),
  # Of several orders: by what each part predicts, not by counts.
  'coin or chain': union(
    coin(0), {'name': 'markov_mixture', 'weights': (1,), 'tables': TABLES[1:2]}
  ),
  'chains': ('markov_mixture', {'weights': WEIGHTS, 'tables': TABLES}),
  'coins as chains': (
    'markov_mixture',
    {'weights': WEIGHTS, 'tables': tuple((row,) for row in CLOSE)},
  ),
  'pool': (
    'finite_pool',
    {
      'base': {'name': 'dirichlet_categorical', 'concentration': BETAS[0]},
      'size': 20,
    },
  ),
  'hidden': (
    'hmm_mixture',
    {
      'weights': WEIGHTS,
      'initial': ((0.5, 0.5),) * 3,
      'transitions': (((0.9, 0.1), (0.2, 0.8)),) * 3,
      'emissions': TABLES,
    },
  ),
}


def tokens():
  # Between the first two sources.
  return np.random.default_rng(0).binomial(1, 0.699, LENGTH).astype(np.int32)


def predict(prior, prefix=()):
  rows = jax.nn.one_hot(jnp.array(prefix, jnp.int32), prior.vocab_size)
  compute = jax.jit(lambda x: prior.predict(prior.prefill(rows), x))
  return np.asarray(compute(tokens()), np.float64)


def exact(prior, positions):
  """The same in float64, from the statistic before the tokens at positions."""
  value = np.array([prior.statistic.start], np.int64)
  values = []
  for token in tokens():
    values.append(value[0])
    value = prior.statistic.update(value, np.array([token]))
  values = np.array(values)[positions]
  return expectation.evaluate(prior.statistic.log_predictive, values)


@pytest.mark.parametrize('case', CASES)
def test_long_sequences_keep_their_digits(case):
  name, kwargs = CASES[case]
  prior = testing.task_prior(name, **kwargs)
  probs = np.exp(predict(prior))
  # A Dirichlet's log (c / n) has a few steps of float32 at log n = 10.
  np.testing.assert_allclose(probs.sum(-1), 1, atol=2e-6)
  if prior.statistic is not None:
    positions = np.arange(0, LENGTH, 101)
    expected = np.exp(exact(prior, positions))
    np.testing.assert_allclose(expected.sum(-1), 1, atol=1e-13)
    np.testing.assert_allclose(probs[positions], expected, atol=3e-6)


@pytest.mark.parametrize('case', ['coins', 'betas'])
def test_the_formula_of_large_counts_is_normalised_in_float32(case):
  name, kwargs = CASES[case]
  prior = testing.task_prior(name, **kwargs)
  counts = np.array([6020.0, 13980.0], np.float32)
  probs = np.exp(jax.jit(prior.statistic.log_predictive)(counts))
  np.testing.assert_allclose(probs.sum(), 1, atol=2e-6)


def test_the_loss_of_a_long_sequence_is_that_of_the_formula():
  name, kwargs = CASES['coins']
  log_probs = predict(testing.task_prior(name, **kwargs))
  seen = np.eye(2)[tokens()]
  counts = np.cumsum(seen, axis=0) - seen
  joint = np.log(WEIGHTS) + counts @ np.log(CLOSE).T
  joint = np.exp(joint - joint.max(-1, keepdims=True))
  means = joint @ CLOSE / joint.sum(-1, keepdims=True)
  # Nats over all tokens, where 0.05 were lost.
  apart = (seen * (log_probs - np.log(means))).sum()
  assert abs(apart) < 2e-3


def test_a_long_prefix_keeps_probabilities_normalised():
  name, kwargs = CASES['coins']
  log_probs = predict(testing.task_prior(name, **kwargs), tokens())
  np.testing.assert_allclose(np.exp(log_probs).sum(-1), 1, atol=2e-6)
