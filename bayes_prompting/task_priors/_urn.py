"""Episodes of Dirichlet sources, drawn tokens first and source after.

A source is a table with a row for each context. Of 256 tokens, each a context,
it has 65,536 numbers: more than its sequence, and slower to draw than the
sequence is to train on. The tokens can be drawn without it. In each context
they are those of an urn, which begins with the concentration as weights and
gains 1 for each token that is drawn (Blackwell and MacQueen, 1973, "Ferguson
distributions via Polya urn schemes"). The table is then drawn from its
posterior given the tokens. Tokens and table have the same joint distribution
as if the table came first. XLA leaves the table out where nobody reads it.
"""

import jax
import jax.numpy as jnp
import numpy as np

from bayes_prompting import types
from bayes_prompting.task_priors import _dirichlet
from bayes_prompting.task_priors import _draws

# Raise it when numbers change: networks and results depend on it.
NUMERICS = 1


def episode(
  key: types.Key,
  alpha: np.ndarray,
  order: int,
  leaves: types.Array,
  num_leaves: int,
  length: int,
) -> types.Episode:
  """Returns an episode from one source.

  Args:
    key: Consumed.
    alpha: float64 [V], the concentration of every row.
    order: k; the first k tokens are uniform, see `_tables`.
    leaves: int32 [V^k], the row of each context of k tokens.
    num_leaves: M, how many rows there may be.
    length: N.
  """
  token_key, source_key = jax.random.split(key)
  vocab_size = len(alpha)
  alpha = alpha.astype(np.float32)

  def step(carry, at):
    context, counts = carry
    position, number = at
    leaf, known = leaves[context], position >= order
    weights = jnp.where(known, alpha + counts[leaf], 1.0)
    token = _draws.at(weights, number)
    counts = counts.at[leaf, token].add(known.astype(jnp.float32))
    return ((context * vocab_size + token) % len(leaves), counts), (token, leaf)

  steps = (
    np.arange(length, dtype=np.int32),
    _draws.numbers(token_key, (length,)),
  )
  start = jnp.int32(0), jnp.zeros((num_leaves, vocab_size), jnp.float32)
  (_, counts), (tokens, rows) = jax.lax.scan(step, start, steps)
  posterior = np.broadcast_to(alpha, counts.shape) + counts
  table = _dirichlet.log_sample(source_key, posterior)
  known = np.arange(length)[:, None] >= order
  uniform = np.float32(-np.log(vocab_size))
  return types.Episode(tokens, jnp.where(known, table[rows], uniform))
