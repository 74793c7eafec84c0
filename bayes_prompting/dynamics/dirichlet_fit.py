"""The Dirichlet posterior that explains a predictor's predictions best.

A prompt leaves a Bayesian predictor with a posterior over sources. A network
shows only its predictions, so this module asks which posterior would make them.
A Dirichlet with concentrations alpha [V] (Beta(alpha_0, alpha_1) for V = 2)
predicts (n_v + alpha_v) / (n + |alpha|) after counts n_v, where n and |alpha|
are the sums over v.

The *misfit* of alpha is the KL from the predictor to the Dirichlet, in nats,

    sum_t KL(predictor_t || (n_t + alpha) / (t + |alpha|)),  t = 0 ... N - 1,

averaged over sequences, with n_t the counts of their first t tokens. It is zero
for a Dirichlet posterior. If the least misfit is large, no Dirichlet posterior
explains the predictions.
"""

from typing import NamedTuple

import numpy as np
from scipy import optimize
from scipy import special

from bayes_prompting import types

# The concentrations that are searched. A predictor that knows its source learns
# nothing; it is the limit of large concentrations. The upper end is within
# 1250 / 2 / 1e12 nats of that limit over 50 tosses of a coin.
BOUNDS = (1e-4, 1e6)
# The strengths |alpha| that the search starts from; inf is the upper bound.
_STRENGTHS = (0.3, 3.0, 30.0, 300.0, np.inf)


class Explanation(NamedTuple):
  """The best posterior.

  Attributes:
    alpha: float64 [V], its concentrations.
    misfit: Nats, summed over the steps, mean over the sequences.
    unbounded: Whether a concentration is at the upper end of `BOUNDS`. Then the
      best fit is a predictor that learns nothing more, and only the proportions
      of alpha mean something.
  """

  alpha: np.ndarray
  misfit: float
  unbounded: bool


class _Tally(NamedTuple):
  """Predictions, grouped by the counts after which they were made.

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
  # Predictions in float32 sum to 1 within rounding only.
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
  """Returns the misfit of a Dirichlet to predictions, in nats.

  Args:
    alpha: [V], above zero.
    log_probs: [S, N, V], of the predictor, in nats.
    tokens: int [S, N].

  Returns:
    The KL, summed over N, mean over S; NaN if a prediction is NaN, or -inf
    everywhere.
  """
  if not np.isfinite(np.max(log_probs, axis=-1)).all():
    return np.nan
  value, _ = _misfit(np.log(alpha), _tally(log_probs, tokens))
  return max(float(value), 0.0)  # Rounding can take it below.


def explain(log_probs: types.Array, tokens: types.Array) -> Explanation:
  """Returns the Dirichlet posterior with the least misfit to predictions.

  Args:
    log_probs: [S, N, V], of the predictor, in nats.
    tokens: int [S, N]. The fit is to predictions after counts that occur here.

  Returns:
    The best of several starts; all NaN if a prediction is NaN, or -inf
    everywhere.
  """
  vocab_size = np.shape(log_probs)[-1]
  if not np.isfinite(np.max(log_probs, axis=-1)).all():
    return Explanation(np.full(vocab_size, np.nan), np.nan, False)
  tally = _tally(log_probs, tokens)
  ends = np.log(BOUNDS)
  with np.errstate(divide='ignore'):  # Some tokens may have no chance.
    mean = np.log(tally.mass.sum(0) / tally.mass.sum())
  fits = []
  for strength in _STRENGTHS:
    # The last start is the limit, as large as the bounds allow.
    start = mean - mean.max() + ends[1]
    if np.isfinite(strength):
      start = mean + np.log(strength)
    fits.append(
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
  best = min(fits, key=lambda fit: fit.fun)
  unbounded = np.isclose(best.x, ends[1], rtol=0, atol=1e-3).any()
  return Explanation(np.exp(best.x), max(best.fun, 0.0), bool(unbounded))


def concentration(task_prior: types.TaskPrior) -> np.ndarray:
  """Returns the concentrations [V] of a Dirichlet prior; NaN of any other.

  The predictive after no token and after ten equal tokens determines the
  concentrations. The predictive after other counts then shows whether the prior
  is that Dirichlet.
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
    return unknown  # The prior learns nothing from tokens.
  total = 10 * (1 - after) / (after - mean[token])
  counts = np.concatenate([np.eye(vocab_size) * 3, np.arange(vocab_size)[None]])
  counts = counts * (mean > 0)  # Tokens of mean 0 never occur.
  alpha = total * mean
  expected = (counts + alpha) / (counts.sum(-1, keepdims=True) + total)
  is_dirichlet = np.allclose(predictive(counts), expected, atol=1e-4)
  return alpha if is_dirichlet else unknown
