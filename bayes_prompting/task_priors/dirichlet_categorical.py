"""Memoryless sources drawn from a Dirichlet: random coins, random dice."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax.scipy import special as jspecial
import numpy as np

from bayes_prompting import checks
from bayes_prompting import errors
from bayes_prompting import types
from bayes_prompting.task_priors import _exchangeable
from bayes_prompting.task_priors import _tables

EXAMPLES = (
  {'concentration': (1.0, 1.0)},
  {'concentration': (0.3, 0.0, 2.0)},
)


def make(concentration: Sequence[float]) -> types.TaskPrior:
  """Builds a Dirichlet prior over sources; (1, 1) is the uniform coin.

  With counts c the posterior is Dirichlet(b), b = a + c, and the predictive is
  b_v / sum(b): for a = (1, 1) Laplace's rule of succession. The mean entropy of
  a source is digamma(B + 1) - sum_v b_v / B digamma(b_v + 1), B = sum(b)
  (Wolpert and Wolf, 1995, "Estimating functions of probability distributions
  from a finite set of samples").

  Args:
    concentration: V numbers, at least one above zero. A zero is legal: that
      token never occurs.

  Raises:
    UserError: If a number is negative or not finite, or if all are zero.
  """
  alpha = checks.non_negative_array('concentration', concentration, ndim=1)
  if alpha.sum() <= 0:
    raise errors.UserError(
      f'concentration: at least one must be above 0, got {concentration!r}'
    )
  occurs = alpha > 0

  def sample_source(key):
    # In log space: gammas of a small shape underflow to zero.
    gammas = jax.random.loggamma(
      key, np.where(occurs, alpha, 1).astype(np.float32), dtype=jnp.float32
    )
    return jax.nn.log_softmax(jnp.where(occurs, gammas, -jnp.inf))

  def log_predictive(counts):
    weight = alpha.astype(counts.dtype) + counts
    impossible = jnp.any((counts > 0) & ~occurs, axis=-1, keepdims=True)
    log_weight = jnp.log(jnp.where(occurs, weight, 1.0))
    predictive = log_weight - jnp.log(weight.sum(-1, keepdims=True))
    return jnp.where(occurs & ~impossible, predictive, -jnp.inf)

  def log_evidence(counts):
    # A Dirichlet-multinomial without its coefficient: of one order.
    def log_beta(weight):
      parts = jnp.where(occurs, jspecial.gammaln(weight), 0.0)
      return parts.sum(-1) - jspecial.gammaln(weight.sum(-1))

    start = alpha.astype(counts.dtype)
    possible = jnp.all((counts == 0) | occurs, axis=-1)
    weight = start + jnp.where(occurs, counts, 0.0)
    return jnp.where(possible, log_beta(weight) - log_beta(start), -jnp.inf)

  def source_entropy(counts):
    weight = alpha.astype(counts.dtype) + counts
    total = weight.sum(-1, keepdims=True)
    digamma = jspecial.digamma
    return jnp.sum(
      weight / total * (digamma(total + 1) - digamma(weight + 1)), axis=-1
    )

  def covers(table):
    memoryless = _tables.is_of_order(table, 0)
    return memoryless and not np.any(table[0, ~occurs] > 0)

  return _exchangeable.make(
    vocab_size=len(alpha),
    sample_source=sample_source,
    log_predictive=log_predictive,
    log_evidence=log_evidence,
    source_entropy=source_entropy,
    support=types.Support(
      points=(_tables.generic(occurs[None]),), finite=False, covers=covers
    ),
  )
