"""Context-tree weighting of one sequence, for any depth and vocabulary.

`context_tree` keeps counts of all V^D contexts. Here is the same mathematics
for a short sequence: two positions have the same context of d tokens where the
d tokens before them agree, and counts are sums over such earlier positions. So
N tokens cost O(N^2 (D + V)), whatever V^D is.
"""

import jax
import jax.numpy as jnp

from bayes_prompting import types


def log_predictive(
  tokens: types.Array, vocab_size: int, depth: int, alpha: float
) -> types.Array:
  """Returns log probabilities [N, V] in nats of a universal predictor.

  It is context-tree weighting (Willems, Shtarkov and Tjalkens, 1995, "The
  context-tree weighting method: basic properties"): each node with fewer than D
  tokens splits with probability 1/2, and a leaf has the estimator of a
  Dirichlet (alpha, ..., alpha). With D = 0 and alpha = 1/2 it is the estimator
  of Krichevsky and Trofimov (1981, "The performance of universal encoding").
  What stands before the first token is a symbol of its own, so that every token
  has a context of D symbols and all of them count. The odds of a split are
  those of Veness et al. (2011, "A Monte-Carlo AIXI approximation").

  Args:
    tokens: int32 [N].
    vocab_size: V.
    depth: D.
    alpha: Concentration of the distribution at a leaf.
  """
  length = len(tokens)
  if not length:
    return jnp.zeros((0, vocab_size), jnp.float32)
  one_hot = jax.nn.one_hot(tokens, vocab_size, dtype=jnp.float32)
  same = jnp.tril(jnp.ones((length, length), bool), -1)  # [n, m], m before n.
  same_at, leaf_at = [], []
  for d in range(depth + 1):
    if d:
      earlier = jnp.concatenate([jnp.full(d, -1, jnp.int32), tokens])[:length]
      same = same & (earlier[:, None] == earlier[None])
    counts = same.astype(jnp.float32) @ one_hot  # [N, V], in this context.
    total = counts.sum(-1, keepdims=True) + vocab_size * alpha
    same_at.append(same)
    leaf_at.append(jnp.log(counts + alpha) - jnp.log(total))
  mixture = leaf_at[depth]
  for d in reversed(range(depth)):
    # What splits gained by what its subtree gave to each earlier token.
    gained = jnp.take_along_axis(mixture - leaf_at[d], tokens[:, None], 1)[:, 0]
    log_odds = same_at[d].astype(jnp.float32) @ gained  # [N]
    stays, splits = jax.nn.log_sigmoid(jnp.stack([-log_odds, log_odds]))
    mixture = jnp.logaddexp(
      stays[:, None] + leaf_at[d], splits[:, None] + mixture
    )
  return mixture
