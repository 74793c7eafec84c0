"""A single memoryless source: one coin, one die. Nothing is left to infer."""

from collections.abc import Sequence

import jax.numpy as jnp
from jax.scipy import special as jspecial
import numpy as np
from scipy import special

from bayes_prompting import checks
from bayes_prompting import types
from bayes_prompting.task_priors import _axes
from bayes_prompting.task_priors import _exchangeable
from bayes_prompting.task_priors import _tables

# Raise it when numbers change: networks and results depend on it.
NUMERICS = 1

EXAMPLES = (
  {'probabilities': (0.2, 0.8)},
  {'probabilities': (0.5, 0.0, 0.5)},
)


def make(probabilities: Sequence[float]) -> types.TaskPrior:
  """Builds the prior that has all its mass on one source.

  Args:
    probabilities: V numbers that sum to 1; zeros are legal.

  Raises:
    UserError: If they are not probabilities.
  """
  probs = checks.probabilities('probabilities', probabilities, 'V')
  with np.errstate(divide='ignore'):
    log_probs = np.log(probs)
  entropy = special.entr(probs).sum()

  def log_predictive(counts):
    never = _axes.under(log_probs == -np.inf, counts)
    impossible = jnp.any((counts > 0) & never, axis=-1)
    predictive = jnp.broadcast_to(log_probs.astype(counts.dtype), counts.shape)
    return jnp.where(impossible[..., None], -jnp.inf, predictive)

  def log_evidence(counts):
    each = _axes.under(probs, counts).astype(counts.dtype)
    return jspecial.xlogy(counts, each).sum(-1)

  return _exchangeable.make(
    vocab_size=len(probs),
    sample_source=lambda key: jnp.asarray(log_probs, jnp.float32),
    log_predictive=log_predictive,
    log_evidence=log_evidence,
    source_entropy=lambda x: jnp.full(x.shape[:-1], entropy, x.dtype),
    support=_tables.finite_support(probs[None, None], np.ones(1)),
  )
