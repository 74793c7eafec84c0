"""A mixture of Dirichlets: coins that are of one of several kinds."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from bayes_prompting import checks
from bayes_prompting import types
from bayes_prompting.task_priors import _dirichlet
from bayes_prompting.task_priors import _exchangeable
from bayes_prompting.task_priors import _mixture
from bayes_prompting.task_priors import _tables

# Raise it when numbers change: networks and results depend on it.
NUMERICS = 2

EXAMPLES = (
  {'weights': (0.4, 0.6), 'concentrations': ((1.0, 1.0), (20.0, 5.0))},
  {
    'weights': (0.5, 0.0, 0.5),
    'concentrations': ((0.3, 0.0, 2.0), (1.0, 1.0, 1.0), (2.0, 6.0, 0.0)),
  },
)


def make(
  weights: Sequence[float], concentrations: Sequence[Sequence[float]]
) -> types.TaskPrior:
  """Builds a mixture of M Dirichlet priors over memoryless sources.

  A component is drawn by its weight, and a source from its Dirichlet. With
  counts c and B(a) = prod_v Gamma(a_v) / Gamma(sum(a)), the posterior weight of
  component m, up to a factor that all share, and the predictive are

      W_m ~ w_m B(a_m + c) / B(a_m)
      P(v | c) = sum_m W_m (a_mv + c_v) / sum(a_m + c)

  (Sjolander et al., 1996, "Dirichlet mixtures: a method for improved detection
  of weak but significant protein sequence homology").

  Args:
    weights: M numbers that sum to 1; zeros are legal.
    concentrations: M rows of V numbers, at least one of each above zero. A zero
      is legal: that token never occurs in that component.

  Raises:
    UserError: If the weights are no probabilities, if a concentration is
      negative or not finite, if a row has only zeros, or if they do not fit
      each other.
  """
  alpha = _dirichlet.concentrations('concentrations', concentrations, 'MV')
  mass = checks.weights('weights', weights, size=len(alpha))
  vocab_size = alpha.shape[-1]
  occurs = alpha > 0  # [M, V]
  with np.errstate(divide='ignore'):
    log_weights = np.log(mass)  # [M]

  def sample_source(key):
    component_key, source_key = jax.random.split(key)
    component = jax.random.categorical(
      component_key, log_weights.astype(np.float32)
    )
    return _dirichlet.log_sample(
      source_key, jnp.asarray(alpha, jnp.float32)[component]
    )

  def log_joint(counts):
    evidence = _dirichlet.log_evidence(alpha, counts[..., None, :])
    return _mixture.log_joint(log_weights, evidence)  # [..., M]

  def log_evidence(counts):
    return jax.nn.logsumexp(log_joint(counts), axis=-1)

  def log_predictive(counts):
    means = _dirichlet.log_mean(alpha, counts[..., None, :])
    return _mixture.log_predictive(log_joint(counts), means)

  def read(counts, before, tokens):
    means = _dirichlet.log_mean(alpha, before[:, None])  # [N, M, V]
    return _mixture.read(log_joint(counts), means, tokens)

  def source_entropy(counts):
    entropies = _dirichlet.mean_entropy(alpha, counts[..., None, :])
    return _mixture.mean(log_joint(counts), entropies)

  def covers(table):
    never = ~occurs[mass > 0]  # [M, V]
    inside = ~np.any(never & (table[0] > 0), axis=-1)
    return _tables.is_of_order(table, 0) and bool(inside.any())

  return _exchangeable.make(
    vocab_size=vocab_size,
    sample_source=sample_source,
    log_predictive=log_predictive,
    log_evidence=log_evidence,
    source_entropy=source_entropy,
    support=types.Support(
      points=tuple(_typical(row) for row in alpha[mass > 0]),
      finite=False,
      covers=covers,
    ),
    read=read,
    concentration=alpha[mass > 0][0] if np.sum(mass > 0) == 1 else None,
  )


def _typical(alpha):
  """Returns a table [1, V] in general position, near the mean of alpha [V]."""
  return 0.95 * alpha / alpha.sum() + 0.05 * _tables.generic(alpha[None] > 0)
