"""Episodes of Dirichlet sources, drawn tokens first and source after.

A source of many tokens and contexts is a table with more numbers than its
sequence has tokens: of 256 tokens and one of context 65,536. To draw the table
takes longer than to train on the sequence. The tokens alone need no table: in
each context they are the draws of an urn that starts with the concentration
and gets one more of each token that is drawn (Blackwell and MacQueen, 1973,
"Ferguson distributions via Polya urn schemes"). The table follows from its
posterior given the tokens, so that both have the same joint distribution as if
the table came first; where nobody reads the oracle, it is never computed.
"""

import jax
import jax.numpy as jnp
import numpy as np

from bayes_prompting import types
from bayes_prompting.task_priors import _dirichlet

# Raise it when numbers change: networks and results depend on it.
NUMERICS = 1


def episode(
  key: types.Key,
  alpha: np.ndarray,
  leaves: types.Array,
  num_leaves: int,
  length: int,
) -> types.Episode:
  """Returns an episode from one source, a table with a row for each leaf.

  Args:
    key: Consumed.
    alpha: float64 [V], the concentration of every row.
    leaves: int32 [V^k], the row of each context of k tokens; the first k tokens
      are uniform (see `_tables`).
    num_leaves: How many rows there may be.
    length: N.
  """
  token_key, source_key = jax.random.split(key)
  vocab_size, k = len(alpha), round(np.log(len(leaves)) / np.log(len(alpha)))
  tokens, contexts = _tokens(token_key, alpha, leaves, k, length)
  known = np.arange(length) >= k
  counts = jnp.zeros((num_leaves, vocab_size), jnp.float32)
  counts = counts.at[leaves[contexts], tokens].add(known.astype(np.float32))
  posterior = np.broadcast_to(alpha, counts.shape).astype(np.float32) + counts
  rows = _dirichlet.log_sample(source_key, posterior)
  uniform = np.float32(-np.log(vocab_size))
  oracle = jnp.where(known[:, None], rows[leaves[contexts]], uniform)
  return types.Episode(tokens, oracle)


def _tokens(key, alpha, leaves, k, length):
  """Returns tokens int32 [N], and the context before each, int32 [N]."""
  vocab_size = len(alpha)
  mass = np.cumsum(alpha).astype(np.float32)
  total = mass[-1]

  def step(carry, at):
    context, earlier, tokens = carry  # `earlier` is the leaf of each token.
    position, number = at
    leaf = leaves[context]
    same = jnp.cumsum(earlier == leaf)  # Of tokens from this urn so far.
    # A point in the mass of the urn: of the concentration, or of a token.
    point = number * (total + same[-1].astype(jnp.float32))
    which = jnp.floor(point - total).astype(jnp.int32)
    again = tokens[_count(same <= jnp.minimum(which, same[-1] - 1))]
    token = jnp.where(point < total, _count(mass <= point), again)
    first = jnp.floor(number * vocab_size).astype(jnp.int32)
    token = jnp.where(position < k, first, token)
    earlier = earlier.at[position].set(jnp.where(position < k, -1, leaf))
    after = (context * vocab_size + token) % len(leaves)
    return (after, earlier, tokens.at[position].set(token)), context

  none = jnp.full(length, -1, jnp.int32)
  start = jnp.int32(0), none, jnp.zeros(length, jnp.int32)
  numbers = jax.random.uniform(key, (length,), jnp.float32)
  positions = jnp.arange(length, dtype=jnp.int32)
  (_, _, tokens), contexts = jax.lax.scan(step, start, (positions, numbers))
  return tokens, contexts


def _count(which):
  # The first place of sums that passes a number; argmax is slower on a CPU.
  return jnp.sum(which, dtype=jnp.int32)
