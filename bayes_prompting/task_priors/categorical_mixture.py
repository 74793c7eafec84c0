"""A finite set of memoryless sources with given weights, e.g. two coins."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax.scipy import special as jspecial
import numpy as np
from scipy import special

from bayes_prompting import checks
from bayes_prompting import types
from bayes_prompting.task_priors import _axes
from bayes_prompting.task_priors import _exchangeable
from bayes_prompting.task_priors import _mixture
from bayes_prompting.task_priors import _tables

# Raise it when numbers change: networks and results depend on it.
NUMERICS = 2

EXAMPLES = (
  {'weights': (0.5, 0.5), 'probabilities': ((0.2, 0.8), (0.8, 0.2))},
  {
    'weights': (0.7, 0.0, 0.3),
    'probabilities': ((0.5, 0.5, 0.0), (0.1, 0.1, 0.8), (0.0, 0.3, 0.7)),
  },
)


def make(
  weights: Sequence[float], probabilities: Sequence[Sequence[float]]
) -> types.TaskPrior:
  """Builds a mixture of M sources.

  With counts c the posterior weight of source m, and the predictive, are

      W_m = w_m prod_v p_mv^c_v / sum_n w_n prod_v p_nv^c_v
      P(v | c) = sum_m W_m p_mv

  Args:
    weights: M numbers that sum to 1; zeros are legal.
    probabilities: M rows of V numbers that each sum to 1; zeros are legal.

  Raises:
    UserError: If they are not probabilities, or do not fit each other.
  """
  probs = checks.probabilities('probabilities', probabilities, 'MV')
  mass = checks.weights('weights', weights, size=len(probs))
  entropies = special.entr(probs).sum(-1)  # [M]
  with np.errstate(divide='ignore'):
    log_probs = np.log(probs)  # [M, V]
    log_weights = np.log(mass)  # [M]

  def sample_source(key):
    component = jax.random.categorical(key, log_weights.astype(np.float32))
    return jnp.asarray(log_probs, jnp.float32)[component]

  def log_joint(counts):
    # xlogy is 0 where the count is, so that 0 log 0 = 0.
    counts = counts[..., None, :]
    of_components = _axes.under(probs, counts).astype(counts.dtype)
    likelihood = jspecial.xlogy(counts, of_components).sum(-1)
    return _mixture.log_joint(log_weights, likelihood)  # [..., M]

  def log_evidence(counts):
    return jax.nn.logsumexp(log_joint(counts), axis=-1)

  def log_predictive(counts):
    of_components = log_probs.astype(counts.dtype)
    return _mixture.log_predictive(log_joint(counts), of_components)

  def read(counts, before, tokens):
    of_components = jnp.asarray(log_probs, counts.dtype)
    each = jnp.broadcast_to(of_components, (len(before), *log_probs.shape))
    return _mixture.read(log_joint(counts), each, tokens)

  def source_entropy(counts):
    return _mixture.mean(log_joint(counts), entropies.astype(counts.dtype))

  return _exchangeable.make(
    vocab_size=probs.shape[-1],
    sample_source=sample_source,
    log_predictive=log_predictive,
    log_evidence=log_evidence,
    source_entropy=source_entropy,
    support=_tables.finite_support(probs[:, None], mass),
    read=read,
  )
