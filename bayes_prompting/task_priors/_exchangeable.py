"""What all priors over memoryless sources share: counts are sufficient."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from bayes_prompting import types
from bayes_prompting.task_priors import _tables

# Raise it when numbers change: networks and results depend on it.
NUMERICS = 1


def make(
  vocab_size: int,
  sample_source: Callable[[types.Key], types.Array],
  log_predictive: Callable[[types.Array], types.Array],
  log_evidence: Callable[[types.Array], types.Array],
  source_entropy: Callable[[types.Array], types.Array],
  support: types.Support,
  read: Callable[[types.Array, types.Array, types.Array], types.Array]
  | None = None,
  concentration: np.ndarray | None = None,
) -> types.TaskPrior:
  """Builds a prior over memoryless sources.

  Args:
    vocab_size: V.
    sample_source: (key) -> float32 [V], log probabilities of a drawn source.
    log_predictive: (counts [..., V]) -> [..., V], the log posterior predictive
      after these counts, of their dtype; -inf everywhere after impossible ones.
    log_evidence: (counts [..., V]) -> [...], log probability of one sequence
      with these counts.
    source_entropy: (counts [..., V]) -> [...], posterior mean of the entropy of
      a token given its source, in nats.
    support: Its sources, as tables [1, V].
    read: (counts [V], before [N, V], tokens int32 [N]) -> [N, V], the log
      posterior predictive before each of N tokens that follow on these counts,
      `before` being the counts before each; by default that of each.
    concentration: float64 [V], where sources are drawn from a Dirichlet; None
      if they are not.
  """

  def sample_table(key):
    return sample_source(key)[None]

  def sample(key, length):
    source_key, token_key = jax.random.split(key)
    return _tables.episode(token_key, sample_table(source_key), length)

  def prefill(rows):
    return jnp.asarray(rows, jnp.float32).sum(0)

  def predict(counts, tokens):
    seen = jax.nn.one_hot(tokens, vocab_size, dtype=jnp.float32)
    before = counts[None] + jnp.cumsum(seen, axis=0) - seen
    if read is None:
      return log_predictive(before)
    return read(counts, before, jnp.asarray(tokens, jnp.int32))

  def observe(counts, token):
    return counts + jax.nn.one_hot(token, vocab_size, dtype=counts.dtype)

  every = np.arange(vocab_size)
  statistic = types.Statistic(
    start=(0,) * vocab_size,
    counts=(True,) * vocab_size,
    update=lambda values, tokens: values + (tokens[:, None] == every),
    log_predictive=log_predictive,
    log_evidence=log_evidence,
    source_entropy=source_entropy,
    concentration=None if concentration is None else tuple(concentration),
  )
  return types.TaskPrior(
    vocab_size=vocab_size,
    sample=sample,
    prefill=prefill,
    predict=predict,
    statistic=statistic,
    exchangeable=True,
    support=support,
    sample_table=sample_table,
    observe=observe,
  )
