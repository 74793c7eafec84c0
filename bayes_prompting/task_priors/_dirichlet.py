"""Distributions drawn from a Dirichlet: what priors over several of them share.

A concentration is float64 [V]. A zero is legal: that token never occurs.
"""

import jax
import jax.numpy as jnp
from jax.scipy import special as jspecial
import numpy as np

from bayes_prompting import checks
from bayes_prompting import errors
from bayes_prompting import types


def concentration(field: str, value: object) -> np.ndarray:
  """Returns `value` as a concentration [V] with at least one above zero."""
  alpha = checks.non_negative_array(field, value, ndim=1)
  if alpha.sum() <= 0:
    raise errors.UserError(
      f'{field}: at least one must be above 0, got {checks.show(value)}'
    )
  return alpha


def sample(key: types.Key, alpha: np.ndarray, num: int) -> types.Array:
  """Draws distributions.

  Args:
    key: Consumed.
    alpha: [V], the concentration.
    num: S.

  Returns:
    float32 [S, V], log probabilities; -inf for a token that never occurs.
  """
  occurs = alpha > 0
  # In log space: gammas of a small shape underflow to zero.
  gammas = jax.random.loggamma(
    key,
    np.where(occurs, alpha, 1).astype(np.float32),
    shape=(num, len(alpha)),
    dtype=jnp.float32,
  )
  return jax.nn.log_softmax(jnp.where(occurs, gammas, -jnp.inf))


def log_predictive(alpha: np.ndarray, counts: types.Array) -> types.Array:
  """Returns log((a_v + c_v) / sum(a + c)) in nats, [..., V] of counts."""
  weight = alpha.astype(counts.dtype) + counts
  return jnp.log(weight) - jnp.log(weight.sum(-1, keepdims=True))


def mean_entropy(alpha: np.ndarray, counts: types.Array) -> types.Array:
  """Returns the mean entropy in nats, [...] of counts [..., V].

  With b = a + c and B = sum(b) it is digamma(B + 1) - sum_v b_v / B
  digamma(b_v + 1) (Wolpert and Wolf, 1995, "Estimating functions of probability
  distributions from a finite set of samples").
  """
  weight = alpha.astype(counts.dtype) + counts
  total = weight.sum(-1, keepdims=True)
  digamma = jspecial.digamma
  return jnp.sum(
    weight / total * (digamma(total + 1) - digamma(weight + 1)), axis=-1
  )
