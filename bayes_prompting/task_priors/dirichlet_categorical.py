"""Memoryless sources drawn from a Dirichlet: random coins, random dice."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from scipy import special

from bayes_prompting import checks
from bayes_prompting import errors
from bayes_prompting import types
from bayes_prompting.task_priors import _exchangeable

EXAMPLES = (
  {'concentration': (1.0, 1.0)},
  {'concentration': (0.3, 0.0, 2.0)},
)


def make(concentration: Sequence[float]) -> types.TaskPrior:
  """Builds a Dirichlet prior over sources; (1, 1) is the uniform coin.

  With counts c the posterior is Dirichlet(a + c) and the predictive is
  (a_v + c_v) / sum(a + c): for a = (1, 1) Laplace's rule of succession. The
  mean entropy of a source is digamma(A + 1) - sum_v a_v / A digamma(a_v + 1)
  with A = sum(a) (Wolpert and Wolf, 1995, "Estimating functions of probability
  distributions from a finite set of samples").

  Args:
    concentration: V numbers, at least one above zero. A zero is legal: that
      token never occurs.

  Raises:
    UserError: If a number is negative or not finite, or if all are zero.
  """
  alpha = checks.non_negative_array('concentration', concentration, ndim=1)
  total = alpha.sum()
  if total <= 0:
    raise errors.UserError(
      f'concentration: at least one must be above 0, got {concentration!r}'
    )
  entropy = special.digamma(total + 1) - np.sum(
    alpha / total * special.digamma(alpha + 1)
  )
  alpha = alpha.astype(np.float32)
  occurs = alpha > 0

  def sample_source(key):
    # In log space: gammas of a small shape underflow to zero.
    gammas = jax.random.loggamma(
      key, np.where(occurs, alpha, np.float32(1)), dtype=jnp.float32
    )
    return jax.nn.log_softmax(jnp.where(occurs, gammas, -jnp.inf))

  def log_predictive(counts):
    weight = alpha + counts
    impossible = jnp.any((counts > 0) & ~occurs, axis=-1, keepdims=True)
    log_weight = jnp.log(jnp.where(occurs, weight, 1.0))
    predictive = log_weight - jnp.log(weight.sum(-1, keepdims=True))
    return jnp.where(occurs & ~impossible, predictive, -jnp.inf)

  return _exchangeable.make(
    vocab_size=len(alpha),
    sample_source=sample_source,
    log_predictive=log_predictive,
    source_entropy=float(entropy),
  )
