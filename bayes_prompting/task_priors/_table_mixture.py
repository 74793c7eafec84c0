"""Finitely many sources given by their tables: a mixture of them."""

import jax
import jax.numpy as jnp
from jax.scipy import special as jspecial
import numpy as np
from scipy import special

from bayes_prompting import types
from bayes_prompting.task_priors import _axes
from bayes_prompting.task_priors import _markov
from bayes_prompting.task_priors import _mixture
from bayes_prompting.task_priors import _tables

# Raise it when numbers change: networks and results depend on it.
NUMERICS = 2


def make(mass: np.ndarray, probs: np.ndarray) -> types.TaskPrior:
  """Builds a mixture of M chains of order k, see `markov_mixture`.

  Args:
    mass: float64 [M], their weights.
    probs: float64 [M, V^k, V], their tables.
  """
  vocab_size = probs.shape[-1]
  by_context = probs.swapaxes(0, 1)  # [V^k, M, V]
  entropies = special.entr(by_context).sum(-1)  # [V^k, M]
  with np.errstate(divide='ignore'):
    log_probs = np.log(by_context)
    log_weights = np.log(mass)  # [M]

  def sample_table(key):
    component = jax.random.categorical(key, log_weights.astype(np.float32))
    return jnp.asarray(log_probs, jnp.float32)[:, component]

  def log_joint(counts):
    # xlogy is 0 where the count is, so that 0 log 0 = 0.
    counts = counts[..., None, :, :]
    of_components = _axes.under(probs, counts).astype(counts.dtype)
    likelihood = jspecial.xlogy(counts, of_components).sum((-2, -1))
    return _mixture.log_joint(log_weights, likelihood)  # [..., M]

  def log_evidence(counts):
    return jax.nn.logsumexp(log_joint(counts), axis=-1)

  def log_predictive(counts, contexts):
    rows = jnp.asarray(log_probs, counts.dtype)[contexts]  # [..., M, V]
    return _mixture.log_predictive(log_joint(counts), rows)

  def read(counts, steps):
    rows = jnp.asarray(log_probs, counts.dtype)[steps.contexts]  # [N, M, V]
    return _mixture.read(log_joint(counts), rows, steps.tokens, steps.known)

  def source_entropy(counts, contexts):
    mean_of = jnp.asarray(entropies, counts.dtype)[contexts]
    return _mixture.mean(log_joint(counts), mean_of)

  return _markov.make(
    vocab_size=vocab_size,
    order=_tables.order(probs[0]),
    sample_table=sample_table,
    log_predictive=log_predictive,
    read=read,
    log_evidence=log_evidence,
    source_entropy=source_entropy,
    support=_tables.finite_support(probs, mass),
  )
