"""What all priors over memoryless sources share: counts are sufficient."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from bayes_prompting import types


def iid_episode(key: types.Key, log_probs: types.Array, length: int):
  """Returns an episode of independent tokens from one source.

  Args:
    key: Consumed.
    log_probs: float32 [V], the source; -inf for a token that never occurs
      (`jax.random.categorical` then never draws it).
    length: N.
  """
  tokens = jax.random.categorical(key, log_probs, shape=(length,))
  oracle = jnp.broadcast_to(log_probs, (length, log_probs.shape[0]))
  return types.Episode(tokens.astype(jnp.int32), oracle)


def make(
  vocab_size: int,
  sample_source: Callable[[types.Key], types.Array],
  log_predictive: Callable[[types.Array], types.Array],
  source_entropy: float,
) -> types.TaskPrior:
  """Builds a prior over memoryless sources.

  Args:
    vocab_size: V.
    sample_source: (key) -> float32 [V], log probabilities of a drawn source.
    log_predictive: (counts float32 [..., V]) -> [..., V], the log posterior
      predictive after these counts; -inf everywhere after impossible ones.
    source_entropy: Mean entropy of a token given its source, in nats.
  """

  def sample(key, length):
    source_key, token_key = jax.random.split(key)
    return iid_episode(token_key, sample_source(source_key), length)

  def prefill(rows):
    return jnp.asarray(rows, jnp.float32).sum(0)

  def predict(counts, tokens):
    seen = jax.nn.one_hot(tokens, vocab_size, dtype=jnp.float32)
    before = jnp.cumsum(seen, axis=0) - seen
    return log_predictive(counts + before)

  return types.TaskPrior(
    vocab_size=vocab_size,
    sample=sample,
    prefill=prefill,
    predict=predict,
    log_predictive=log_predictive,
    source_entropy=source_entropy,
  )
