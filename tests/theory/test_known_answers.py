"""Verdicts on random pairs of Dirichlets and sources whose answer is known."""

import numpy as np
import pytest

from bayes_prompting.theory import gaps as prompt_gaps
from bayes_prompting.theory import promptability
from bayes_prompting.theory import pseudo_counts
from tests import testing
from tests.theory.test_hard_prefixes import coin
from tests.theory.test_hard_prefixes import dirichlet


def judge(prior, target, length=20):
  return promptability.promptability(prior, target, length, 2)


def drawn(rng, size=2):
  """Concentrations of 1e-3 to 1e8."""
  return 10 ** rng.uniform(-3, 8, size)


@pytest.mark.parametrize('seed', range(12))
def test_dirichlets_are_told_apart_at_every_scale(seed):
  rng = np.random.default_rng(seed)
  alpha, more = drawn(rng), drawn(rng)
  beta = alpha + more
  answer = judge(dirichlet(*alpha), dirichlet(*beta))
  assert answer.verdict == 'exact'
  np.testing.assert_allclose(answer.pseudo.counts, beta - alpha, rtol=1e-12)
  # The other way round one of the two would have to forget.
  answer = judge(dirichlet(*beta), dirichlet(*alpha))
  assert answer.verdict == 'not_promptable'
  assert 'would have to fall' in answer.reason


@pytest.mark.parametrize('seed', range(6))
def test_posteriors_concentrate_on_a_coin_at_every_scale(seed):
  rng = np.random.default_rng(seed)
  one = rng.uniform(0.05, 0.95)
  answer = judge(dirichlet(*drawn(rng)), coin(1 - one, one))
  assert answer.verdict == 'limit' and answer.gap < 1e-8
  assert str(answer).startswith('Over 20 tokens: limit.')


@pytest.mark.parametrize(
  ('prior', 'target', 'verdict'),
  [
    ((1, 1), (1e4, 1e4), 'exact'),
    ((1, 1), (2e4, 3e4), 'exact'),
    ((1, 1), (1e5, 1e5), 'exact'),
    ((1, 1), (3e5, 3e5), 'exact'),
    # Nearer than predictions can tell, but one count too many.
    ((1e8, 1e8), (1e8, 1e8 - 1), 'not_promptable'),
    ((0.3, 1), (0.1 + 0.2, 1), 'exact'),
    # A token that one of the two alone can show.
    ((1, 1, 1), (2, 2, 0), 'not_promptable'),
    ((1, 1, 0), (2, 2, 1), 'out_of_support'),
    # A Dirichlet with one token is a source.
    ((1, 1), (0, 3), 'limit'),
  ],
)
def test_dirichlets(prior, target, verdict):
  assert judge(dirichlet(*prior), dirichlet(*target)).verdict == verdict


def test_what_is_a_dirichlet_in_other_words_has_the_same_answer():
  def chains(concentration):
    return testing.task_prior(
      'dirichlet_markov', order=1, concentration=concentration
    )

  tree = testing.task_prior('context_tree', vocab_size=2, depth=1, split=1.0)
  answer = judge(tree, chains((1.5, 2.5)), 6)
  assert answer.verdict == 'exact'
  np.testing.assert_allclose(answer.pseudo.counts, [1, 2, 1, 2, 0])
  answer = judge(chains((1.5, 2.5)), tree, 6)
  assert answer.verdict == 'not_promptable'
  assert 'token 0 in context 0' in answer.reason
  mixture = testing.task_prior(
    'dirichlet_mixture', weights=(0, 1), concentrations=((9, 9), (1, 1))
  )
  assert judge(mixture, dirichlet(3e4, 4e4)).verdict == 'exact'


def test_a_search_that_is_cut_short_is_no_certificate(monkeypatch):
  mixture = testing.task_prior(
    'dirichlet_mixture', weights=(0.5, 0.5), concentrations=((1, 1), (2, 5))
  )
  monkeypatch.setattr(
    pseudo_counts, '_descend', lambda gaps, start, *args, **kwargs: start
  )
  monkeypatch.setattr(
    pseudo_counts.optimize, 'least_squares', lambda f, x, **kwargs: Same(x)
  )
  answer = judge(dirichlet(1, 1), mixture)
  assert answer.verdict == 'unknown' and not answer.pseudo.converged
  assert 'before it converged' in answer.reason


class Same:
  def __init__(self, x):
    self.x = x


def test_squares_of_residuals_are_the_gap():
  gaps = prompt_gaps.Gaps(testing.random_coins(), testing.single_coin(), 9)
  value = np.array([1.5, 4.0])
  residuals = gaps.expectation(value).residuals(gaps.added(value))
  assert (residuals**2).sum() / 2 == pytest.approx(gaps.gap(value), rel=1e-9)
