"""Finite mixtures: what all priors with finitely many components share."""

import jax
import jax.numpy as jnp
import numpy as np

from bayes_prompting import types
from bayes_prompting.task_priors import _axes

# Raise it when numbers change: networks and results depend on it.
NUMERICS = 2


def log_joint(log_weights: np.ndarray, evidence: types.Array) -> types.Array:
  """Returns log P(component, history), [..., M].

  Args:
    log_weights: [M].
    evidence: [..., M], log P(history | component).
  """
  weights = _axes.under(log_weights, evidence)
  return weights.astype(evidence.dtype) + evidence


def log_posterior(joint: types.Array) -> types.Array:
  """Returns log P(component | history), [..., M].

  After 20000 tokens a joint is about -1e4, where float32 has steps of 1e-3. So
  the largest is taken off first: what is left is rounded as numbers near zero.

  Args:
    joint: [..., M], log P(component, history) up to a shared constant.

  Returns:
    -inf everywhere if the history is impossible under all; never NaN.
  """
  largest = jax.lax.stop_gradient(joint.max(-1, keepdims=True))
  joint = joint - jnp.where(largest > -jnp.inf, largest, 0.0)
  evidence = jax.nn.logsumexp(joint, axis=-1, keepdims=True)
  return joint - jnp.where(evidence > -jnp.inf, evidence, 0.0)


def log_predictive(joint: types.Array, log_probs: types.Array) -> types.Array:
  """Returns the mean of the components' predictives, [..., V], in logs.

  Args:
    joint: See `log_posterior`.
    log_probs: [..., M, V] or [M, V], log predictive of each component.
  """
  weights = log_posterior(joint)[..., None]
  return jax.nn.logsumexp(weights + _axes.under(log_probs, weights), axis=-2)


def mean(joint: types.Array, values: types.Array) -> types.Array:
  """Returns the posterior mean [...] of `values`, which are finite.

  Args:
    joint: [..., M], see `log_posterior`.
    values: [..., M] or [M].
  """
  values = _axes.under(values, joint)
  return jnp.sum(jnp.exp(log_posterior(joint)) * values, axis=-1)


def read(
  joint: types.Array,
  log_probs: types.Array,
  tokens: types.Array,
  counted: types.Array | bool = True,
) -> types.Array:
  """Returns the mean of the components' predictives before each of N tokens.

  By the chain rule: O(M V) work a token, whatever the evidence costs. What
  each component gains is taken relative to the one that is the most likely
  before the token. So the sums of components that are in doubt stay small, and
  keep their digits over any number of tokens.

  Args:
    joint: [M], before the first, see `log_posterior`.
    log_probs: [N, M, V], log predictive of each component before each token.
    tokens: int32 [N].
    counted: bool [N], which tokens the components predict; the others, whatever
      the component, have the same probability.

  Returns:
    [N, V].
  """
  where = tokens[:, None, None]
  gains = jnp.take_along_axis(log_probs, where, axis=-1)[..., 0]  # [N, M]
  gains = jnp.where(jnp.expand_dims(counted, -1), gains, 0.0)
  start = log_posterior(joint)
  # Twice: first to know which is the most likely before each token.
  likely = jnp.argmax(_before(start, gains), axis=-1)
  relative_to = jnp.take_along_axis(gains, likely[:, None], axis=-1)
  gains -= jnp.where(relative_to > -jnp.inf, relative_to, 0.0)
  return log_predictive(_before(start, gains), log_probs)


def _before(joint, gains):
  """Returns the joint [N, M] before each token, given what each gains."""
  # Differences of cumulative sums would be NaN where a component is ruled out.
  return jnp.cumsum(jnp.concatenate([joint[None], gains[:-1]]), axis=0)
