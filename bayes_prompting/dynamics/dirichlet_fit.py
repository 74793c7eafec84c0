"""Which Dirichlet posterior explains what a predictor says, if any does.

A prompt leaves a Bayesian predictor with a posterior over sources. Of a network
nothing but predictions can be seen, so this asks which posterior would make
them: that of a Dirichlet with concentrations alpha [V], whose predictive after
counts n is (n_v + alpha_v) / (n + |alpha|), with n and |alpha| the sums over v
(Beta(alpha_0, alpha_1) for V = 2).

The *misfit* of alpha is the KL from the predictor to that, in nats,

    sum_t KL(predictor_t || (n_t + alpha) / (t + |alpha|)),  t = 0 ... N - 1,

averaged over sequences, with n_t the counts of their first t tokens. It is zero
for a posterior of that form, and says when none exists.
"""

from typing import NamedTuple

import numpy as np
from scipy import optimize
from scipy import special

from bayes_prompting import types

# Concentrations that are searched. The predictive of a single source, which
# learns nothing, is the limit of large ones: at the upper end, 1250 / 2 / 1e12
# nats from it over 50 tosses of a coin.
BOUNDS = (1e-4, 1e6)
# The strengths |alpha| that the search starts from.
_STRENGTHS = (0.3, 3.0, 30.0, 300.0, np.inf)


class Explanation(NamedTuple):
  """The best posterior.

  Attributes:
    alpha: float64 [V], its concentrations.
    misfit: Nats, summed over the steps, mean over the sequences.
    unbounded: Whether a concentration is at the upper end of `BOUNDS`: the best
      is the limit of a predictor that learns nothing more, and only the
      proportions of alpha say something.
  """

  alpha: np.ndarray
  misfit: float
  unbounded: bool


class _Tally(NamedTuple):
  """Predictions by the counts that they were made at, of which there are few.

  Attributes:
    counts: float64 [U, V].
    mass: float64 [U, V], predicted probabilities, summed over the steps with
      these counts, mean over sequences.
    entropy: Sum of p log p over all steps, mean over sequences, in nats.
  """

  counts: np.ndarray
  mass: np.ndarray
  entropy: float


def _tally(log_probs, tokens):
  log_probs = np.asarray(log_probs, np.float64)
  sequences, _, vocab_size = log_probs.shape
  # Predictions in float32 sum to one within rounding only.
  probs = special.softmax(log_probs, axis=-1)
  seen = np.eye(vocab_size)[np.asarray(tokens)]
  counts = (seen.cumsum(1) - seen).reshape(-1, vocab_size)
  counts, where = np.unique(counts, axis=0, return_inverse=True)
  mass = np.zeros_like(counts)
  np.add.at(mass, where.ravel(), probs.reshape(-1, vocab_size) / sequences)
  entropy = special.xlogy(probs, probs).sum() / sequences
  return _Tally(counts, mass, entropy)


def _misfit(log_alpha, tally):
  """Returns the misfit, and its gradient [V] to log alpha."""
  alpha = np.exp(log_alpha)
  weights = tally.counts + alpha
  totals = weights.sum(-1, keepdims=True)
  cross = np.sum(tally.mass * (np.log(weights) - np.log(totals)))
  slope = tally.mass.sum(-1, keepdims=True) / totals - tally.mass / weights
  return tally.entropy - cross, alpha * slope.sum(0)


def misfit(
  alpha: types.Array, log_probs: types.Array, tokens: types.Array
) -> float:
  """Returns how far predictions are from a Dirichlet's, in nats.

  Args:
    alpha: [V], above zero.
    log_probs: [S, N, V], of the predictor, in nats.
    tokens: int [S, N].

  Returns:
    The KL, summed over N, mean over S; NaN if a prediction is none (NaN, or
    -inf everywhere).
  """
  if not np.isfinite(np.max(log_probs, axis=-1)).all():
    return np.nan
  value, _ = _misfit(np.log(alpha), _tally(log_probs, tokens))
  return max(float(value), 0.0)  # Rounding can take it below.


def explain(log_probs: types.Array, tokens: types.Array) -> Explanation:
  """Returns the Dirichlet posterior with the least misfit to predictions.

  Args:
    log_probs: [S, N, V], of the predictor, in nats.
    tokens: int [S, N]. Only counts that occur in them are asked about.

  Returns:
    The best of several starts; all NaN if a prediction is none.
  """
  vocab_size = np.shape(log_probs)[-1]
  if not np.isfinite(np.max(log_probs, axis=-1)).all():
    return Explanation(np.full(vocab_size, np.nan), np.nan, False)
  tally = _tally(log_probs, tokens)
  ends = np.log(BOUNDS)
  mean = np.log(tally.mass.sum(0) / tally.mass.sum())
  found = []
  for strength in _STRENGTHS:
    # The last start is the limit: as large as the bounds allow.
    start = mean - mean.max() + ends[1]
    if np.isfinite(strength):
      start = mean + np.log(strength)
    found.append(
      optimize.minimize(
        _misfit,
        np.clip(start, *ends),
        (tally,),
        method='L-BFGS-B',
        jac=True,
        bounds=[tuple(ends)] * vocab_size,
        options={'ftol': 1e-15, 'gtol': 1e-10, 'maxiter': 1000},
      )
    )
  best = min(found, key=lambda result: result.fun)
  unbounded = np.isclose(best.x, ends[1], rtol=0, atol=1e-3).any()
  return Explanation(np.exp(best.x), max(best.fun, 0.0), bool(unbounded))


def concentration(task_prior: types.TaskPrior) -> np.ndarray:
  """Returns the concentrations [V] of a prior that is a Dirichlet, else NaN.

  A Dirichlet is known by its predictive: linear in the counts, over their sum.
  What it is after no token and after ten says the concentrations; that it is
  one, what it is after others.
  """
  vocab_size = task_prior.vocab_size
  unknown = np.full(vocab_size, np.nan)
  if not task_prior.exchangeable:
    return unknown

  def predictive(counts):
    counts = np.asarray(counts, np.float32)
    return np.exp(
      np.asarray(task_prior.statistic.log_predictive(counts), np.float64)
    )

  mean = predictive(np.zeros(vocab_size))
  token = mean.argmax()
  after = predictive(10 * np.eye(vocab_size)[token])[token]
  if not after > mean[token]:
    return unknown  # It learns nothing, or knows all.
  total = 10 * (1 - after) / (after - mean[token])
  counts = np.concatenate([np.eye(vocab_size) * 3, np.arange(vocab_size)[None]])
  counts = counts * (mean > 0)  # Others never occur.
  alpha = total * mean
  wanted = (counts + alpha) / (counts.sum(-1, keepdims=True) + total)
  same = np.allclose(predictive(counts), wanted, atol=1e-4)
  return alpha if same else unknown
