"""What all priors over Markov chains share: transition counts are sufficient.

The statistic of order k has V^k V counts of transitions, the table of contexts
and tokens in one row, then k labels: the last k tokens, oldest first, -1 where
there has been none yet. The first k tokens are uniform, whatever the source
(see `_tables`), and are counted nowhere.
"""

from collections.abc import Callable
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bayes_prompting import types
from bayes_prompting.task_priors import _axes
from bayes_prompting.task_priors import _exchangeable
from bayes_prompting.task_priors import _tables

# Raise it when numbers change: networks and results depend on it.
NUMERICS = 1


class Steps(NamedTuple):
  """A sequence of N tokens, each with its context.

  Attributes:
    contexts: int32 [N], rows of the table; 0 where there is none yet.
    known: bool [N], whether there is one.
    tokens: int32 [N].
  """

  contexts: types.Array
  known: types.Array
  tokens: types.Array


def make(
  vocab_size: int,
  order: int,
  sample_table: Callable[[types.Key], types.Array],
  log_predictive: Callable[[types.Array, types.Array], types.Array],
  read: Callable[[types.Array, Steps], types.Array],
  log_evidence: Callable[[types.Array], types.Array],
  source_entropy: Callable[[types.Array, types.Array], types.Array],
  support: types.Support,
  concentration: np.ndarray | None = None,
  sample: Callable[[types.Key, int], types.Episode] | None = None,
) -> types.TaskPrior:
  """Builds a prior over chains of order k.

  The state of its predictor is the value of its statistic. `prefill` takes the
  largest entry of each row for the token.

  Args:
    vocab_size: V.
    order: k; 0 for memoryless sources.
    sample_table: (key) -> float32 [V^k, V], log probabilities of a drawn chain.
    log_predictive: (counts [..., V^k, V], contexts int32 [...]) -> [..., V],
      the log posterior predictive in these contexts, of the dtype of counts;
      -inf everywhere after impossible ones.
    read: (counts [V^k, V], steps) -> [N, V], the same before each of N steps
      that follow on these counts. Where no context is known, it matters only
      whether the history is impossible.
    log_evidence: (counts [..., V^k, V]) -> [...], log probability of one
      sequence with these counts, without its first k tokens.
    source_entropy: (counts [..., V^k, V], contexts int32 [...]) -> [...],
      posterior mean of the entropy of a row of the table, in nats.
    support: Its sources, as tables [V^k, V].
    concentration: float64 [V^k, V], where each row of a source is drawn from a
      Dirichlet of its own; None where it is not.
    sample: (key, N) -> an episode, for an order above 0; by default its table
      is drawn first.
  """
  k = order
  if k == 0:
    return _memoryless(
      vocab_size,
      sample_table,
      log_predictive,
      read,
      log_evidence,
      source_entropy,
      support,
      concentration,
    )
  num_contexts = vocab_size**k
  size = num_contexts * vocab_size
  digits = vocab_size ** np.arange(k, dtype=np.int32)[::-1]

  def sample_from_table(key, length):
    table_key, token_key = jax.random.split(key)
    return _tables.episode(token_key, sample_table(table_key), length)

  def unpack(values):
    shape = (*values.shape[:-1], num_contexts, vocab_size)
    return values[..., :size].reshape(shape), values[..., size:]

  def context(labels):
    labels = labels.astype(jnp.int32)
    known = labels[..., 0] >= 0  # The oldest: then all are.
    places = _axes.under(digits, labels)
    number = jnp.sum(labels * places, axis=-1, dtype=jnp.int32)
    return jnp.where(known, number, 0), known

  def start_uniformly(log_probs, known):
    impossible = jnp.all(log_probs == -jnp.inf, axis=-1)
    return jnp.where(
      (known | impossible)[..., None], log_probs, -math.log(vocab_size)
    )

  def follow(labels, tokens):
    """Returns the steps of tokens [N] after labels [k], and the last labels."""
    tokens = jnp.asarray(tokens, jnp.int32)
    history = jnp.concatenate([labels.astype(jnp.int32), tokens])
    windows = np.arange(len(tokens))[:, None] + np.arange(k)
    return Steps(*context(history[windows]), tokens), history[len(tokens) :]

  def prefill(rows):
    tokens = jnp.argmax(jnp.asarray(rows), axis=-1)
    steps, labels = follow(jnp.full(k, -1), tokens)
    counts = jnp.zeros((num_contexts, vocab_size), jnp.float32)
    counts = counts.at[steps.contexts, steps.tokens].add(
      steps.known.astype(jnp.float32)
    )
    return jnp.concatenate([counts.ravel(), labels.astype(jnp.float32)])

  def predict(state, tokens):
    counts, labels = unpack(state)
    steps, _ = follow(labels, tokens)
    return start_uniformly(read(counts, steps), steps.known)

  def observe(state, token):
    counts, labels = unpack(state)
    steps, labels = follow(labels, token[None])
    counts = counts.at[steps.contexts, steps.tokens].add(
      steps.known.astype(counts.dtype)
    )
    return jnp.concatenate([counts.ravel(), labels.astype(counts.dtype)])

  def update(values, tokens):
    labels = values[:, size:]
    (known,) = np.nonzero(labels[:, 0] >= 0)
    after = values.copy()
    after[known, labels[known] @ digits * vocab_size + tokens[known]] += 1
    after[:, size:] = np.concatenate([labels[:, 1:], tokens[:, None]], axis=-1)
    return after

  def statistic_log_predictive(values):
    counts, labels = unpack(values)
    contexts, known = context(labels)
    return start_uniformly(log_predictive(counts, contexts), known)

  def statistic_log_evidence(values):
    counts, labels = unpack(values)
    first = jnp.sum(labels >= 0, axis=-1, dtype=values.dtype)
    return log_evidence(counts) - first * math.log(vocab_size)

  def statistic_source_entropy(values):
    counts, labels = unpack(values)
    contexts, known = context(labels)
    entropy = source_entropy(counts, contexts)
    return jnp.where(known, entropy, math.log(vocab_size))

  statistic = types.Statistic(
    start=(0,) * size + (-1,) * k,
    counts=(True,) * size + (False,) * k,
    update=update,
    log_predictive=statistic_log_predictive,
    log_evidence=statistic_log_evidence,
    source_entropy=statistic_source_entropy,
    concentration=None
    if concentration is None
    else (*concentration.ravel(), *(0.0,) * k),
  )
  return types.TaskPrior(
    vocab_size=vocab_size,
    sample=sample or sample_from_table,
    prefill=prefill,
    predict=predict,
    statistic=statistic,
    support=support,
    sample_table=sample_table,
    observe=observe,
  )


def _memoryless(
  vocab_size,
  sample_table,
  log_predictive,
  read,
  log_evidence,
  source_entropy,
  support,
  concentration,
):
  """Returns the prior of order 0, for which counts of tokens will do."""

  def in_the_one_context(function):
    return lambda counts: function(
      counts[..., None, :], jnp.zeros(counts.shape[:-1], jnp.int32)
    )

  def read_in_the_one_context(counts, before, tokens):
    del before
    context = jnp.zeros_like(tokens)
    steps = Steps(context, jnp.ones_like(tokens, dtype=bool), tokens)
    return read(counts[None], steps)

  return _exchangeable.make(
    vocab_size=vocab_size,
    sample_source=lambda key: sample_table(key)[0],
    log_predictive=in_the_one_context(log_predictive),
    log_evidence=lambda counts: log_evidence(counts[..., None, :]),
    source_entropy=in_the_one_context(source_entropy),
    support=support,
    read=read_in_the_one_context,
    concentration=None if concentration is None else concentration[0],
  )


def row(counts: types.Array, contexts: types.Array) -> types.Array:
  """Returns the rows [..., V] of counts [..., V^k, V] in contexts [...]."""
  where = contexts[..., None, None]
  return jnp.take_along_axis(counts, where, axis=-2)[..., 0, :]
