"""A finite set of Markov chains with given weights."""

from collections.abc import Sequence
import math

import jax
import jax.numpy as jnp
from jax.scipy import special as jspecial
import numpy as np
from scipy import special

from bayes_prompting import checks
from bayes_prompting import errors
from bayes_prompting import types
from bayes_prompting.task_priors import _markov
from bayes_prompting.task_priors import _mixture
from bayes_prompting.task_priors import _tables

EXAMPLES = (
  {
    'weights': (0.5, 0.5),
    'tables': (((0.9, 0.1), (0.2, 0.8)), ((0.1, 0.9), (0.7, 0.3))),
  },
  {
    'weights': (0.6, 0.0, 0.4),
    'tables': (
      ((0.0, 1.0, 0.0), (0.0, 0.0, 1.0), (1.0, 0.0, 0.0)),
      ((0.2, 0.2, 0.6), (0.6, 0.2, 0.2), (0.2, 0.6, 0.2)),
      ((0.5, 0.5, 0.0), (0.1, 0.2, 0.7), (0.3, 0.0, 0.7)),
    ),
  },
)


def make(
  weights: Sequence[float], tables: Sequence[Sequence[Sequence[float]]]
) -> types.TaskPrior:
  """Builds a mixture of M chains of order k.

  With transition counts c the posterior weight of chain m is proportional to
  w_m prod_sv p_msv^c_sv, and the predictive is the posterior mean of the row of
  p_m in the current context s. The first k tokens are uniform. Order 0 is
  `categorical_mixture`.

  Args:
    weights: M numbers that sum to 1; zeros are legal.
    tables: M tables of V^k rows, one for each context of the last k tokens, in
      base V with the most recent last, of V numbers that sum to 1; zeros are
      legal. Their shape says k.

  Raises:
    UserError: If they are not probabilities, or do not fit each other.
  """
  probs = checks.probabilities('tables', tables, ndim=3)  # [M, V^k, V]
  num_contexts, vocab_size = probs.shape[1:]
  order = round(math.log(num_contexts, vocab_size))
  if vocab_size**order != num_contexts:
    raise errors.UserError(
      f'tables: must have V^k rows each, a power of {vocab_size}, got shape '
      f'{probs.shape}'
    )
  mass = checks.weights('weights', weights, size=len(probs))
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
    likelihood = jspecial.xlogy(
      counts[..., None, :, :], probs.astype(counts.dtype)
    ).sum((-2, -1))
    return log_weights.astype(counts.dtype) + likelihood  # [..., M]

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
    order=order,
    sample_table=sample_table,
    log_predictive=log_predictive,
    read=read,
    log_evidence=log_evidence,
    source_entropy=source_entropy,
    support=_tables.finite_support(probs, mass),
  )
