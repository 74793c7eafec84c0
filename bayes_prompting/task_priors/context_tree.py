"""Sources with a memory of variable length, drawn as context trees."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bayes_prompting import checks
from bayes_prompting import errors
from bayes_prompting import types
from bayes_prompting.task_priors import _dirichlet
from bayes_prompting.task_priors import _tables
from bayes_prompting.task_priors import _urn

# Raise it when numbers change: networks and results depend on it.
NUMERICS = 2

EXAMPLES = (
  {'vocab_size': 2, 'depth': 2},
  {'vocab_size': 3, 'depth': 1, 'alpha': 0.8, 'split': 0.3},
)

# A larger table of counts, one a sequence, is a mistake.
_MOST_COUNTS = 2**17


class _Tree(NamedTuple):
  """What is known after some tokens, at all nodes of the full tree.

  Nodes are in the order of their depth d, at each depth by the number of their
  context, the last d tokens in base V with the most recent token last.

  Attributes:
    counts: float32 [nodes, V], of the tokens in their context.
    log_odds: float32 [nodes of d < D], log posterior odds of a node to split,
      given that it is in the tree.
    context: int32, the last D tokens as a number.
    seen: int32, how many tokens there were, at most D.
  """

  counts: types.Array
  log_odds: types.Array
  context: types.Array
  seen: types.Array


def _mix(log_odds, of_nodes):
  """Returns the log predictives [D+1, V] of the subtrees on one path.

  Args:
    log_odds: [D], to split, at its nodes from the root down.
    of_nodes: [D+1, V], what its nodes predict as leaves.
  """
  log_stays, log_splits = jax.nn.log_sigmoid(jnp.stack([-log_odds, log_odds]))
  mixtures = [of_nodes[-1]]
  for d in reversed(range(len(log_odds))):
    as_leaf = log_stays[d] + of_nodes[d]
    mixtures.append(jnp.logaddexp(as_leaf, log_splits[d] + mixtures[-1]))
  return jnp.stack(mixtures[::-1])


def make(
  vocab_size: int, depth: int, alpha: float = 0.5, split: float = 0.5
) -> types.TaskPrior:
  """Builds a prior over tree sources of order D = `depth` at most.

  A node of the tree is a context of the last d tokens. From the root on, each
  node with d < D splits into V longer contexts with probability `split`, or
  else is a leaf, with a distribution of the next token that it draws from the
  Dirichlet (alpha, ..., alpha). The first D tokens, whose context is not known
  in full, are uniform whatever the source, and are not counted.

  The predictive averages over all trees and distributions: it is that of
  context-tree weighting (Willems, Shtarkov and Tjalkens, 1995, "The
  context-tree weighting method: basic properties"), with its estimator and
  weights where alpha and split are 1/2. At each node of the current path

      P_w' / P_w = s P_e' / P_e + (1 - s) P_w'(child) / P_w(child)

  with P_e what a leaf here gives to its tokens, P_w what the tree below gives,
  a dash for after one more token, and s the posterior probability that the node
  is a leaf. The odds of s are kept, and
  change by the ratio of both terms (Veness et al., 2011, "A Monte-Carlo AIXI
  approximation"): N tokens cost O(N D V), with a state of V^D V numbers.

  Args:
    vocab_size: V, at least 2.
    depth: D, at least 0; V^(D+1) at most 2^17.
    alpha: Concentration of the distribution at a leaf, above 0.
    split: From 0 to 1. With 0 sources are memoryless, with 1 all are chains of
      order D with independent rows.

  Raises:
    UserError: If one is out of range.
  """
  vocab_size = checks.integer('vocab_size', vocab_size, minimum=2)
  depth = checks.integer('depth', depth, minimum=0)
  alpha = checks.positive('alpha', alpha)
  split = checks.probability('split', split)
  if (depth + 1) * np.log2(vocab_size) > np.log2(_MOST_COUNTS):
    raise errors.UserError(
      f'depth: must leave at most {_MOST_COUNTS} counts, '
      f'vocab_size^(depth + 1), got {depth} with vocab_size {vocab_size}'
    )
  sizes = vocab_size ** np.arange(depth + 1)  # [D+1], nodes of each depth.
  first = np.cumsum(sizes) - sizes  # [D+1], the first of them.
  contexts = int(sizes[-1])
  concentration = np.full(vocab_size, alpha)
  with np.errstate(divide='ignore'):
    log_splits, log_stops = float(np.log(split)), float(np.log1p(-split))

  def sample_leaves(key):
    """Draws a tree; returns the node that is the leaf of each context."""
    splits = jax.random.bernoulli(key, jnp.float32(split), (first[depth],))
    every = np.arange(contexts, dtype=np.int32)
    leaves = jnp.asarray(first[depth] + every)
    # The leaf of a context is its first node that does not split: the last word
    # is the root's.
    for d in reversed(range(depth)):
      nodes = first[d] + every % sizes[d]  # Older tokens lead.
      leaves = jnp.where(splits[nodes], leaves, nodes)
    return leaves.astype(jnp.int32)

  def sample_table(key):
    split_key, leaf_key = jax.random.split(key)
    each = np.broadcast_to(concentration, (sizes.sum(), vocab_size))
    rows = _dirichlet.log_sample(leaf_key, each)
    return rows[sample_leaves(split_key)]

  def sample(key, length):
    split_key, key = jax.random.split(key)
    leaves = sample_leaves(split_key)
    return _urn.episode(
      key, concentration, depth, leaves, int(sizes.sum()), length
    )

  def start():
    log_odds = jnp.full(first[depth], log_splits - log_stops, jnp.float32)
    counts = jnp.zeros((sizes.sum(), vocab_size), jnp.float32)
    return _Tree(counts, log_odds, jnp.int32(0), jnp.int32(0))

  def step(tree, token):
    path = first + tree.context % sizes  # [D+1], from the root down.
    of_nodes = _dirichlet.log_mean(concentration, tree.counts[path])
    mixtures = _mix(tree.log_odds[path[:-1]], of_nodes)
    known = tree.seen == depth
    log_probs = jnp.where(known, mixtures[0], -np.float32(np.log(vocab_size)))
    # What splits gains by what its subtree gave to the token.
    gained = mixtures[1:, token] - of_nodes[:-1, token]
    after = _Tree(
      counts=tree.counts.at[path, token].add(known.astype(jnp.float32)),
      log_odds=tree.log_odds.at[path[:-1]].add(jnp.where(known, gained, 0.0)),
      context=(tree.context * vocab_size + token) % contexts,
      seen=jnp.minimum(tree.seen + 1, depth),
    )
    return after, log_probs

  def prefill(rows):
    # A row that is not one-hot counts as its most likely token.
    tokens = jnp.asarray(rows).argmax(-1).astype(jnp.int32)
    return jax.lax.scan(step, start(), tokens)[0]

  def predict(tree, tokens):
    return jax.lax.scan(step, tree, jnp.asarray(tokens, jnp.int32))[1]

  return types.TaskPrior(
    vocab_size=vocab_size,
    sample=sample,
    prefill=prefill,
    predict=predict,
    statistic=_statistic(vocab_size, concentration, depth, split),
    exchangeable=depth == 0,
    support=_support(vocab_size, depth if split else 0),
    sample_table=sample_table,
    observe=lambda tree, token: step(tree, token)[0],
  )


def _support(vocab_size, depth):
  """Returns the support of a prior that covers all tables of order D."""
  occurs = np.ones((vocab_size**depth, vocab_size), bool)
  return types.Support(
    points=(_tables.generic(occurs),),
    finite=False,
    covers=lambda table: _tables.is_of_order(table, depth),
  )


def _statistic(vocab_size, alpha, depth, split):
  """Returns the statistic: counts [V^D V] in each context, and D last tokens.

  Those are oldest first, -1 for none yet.
  """
  sizes = [vocab_size**d for d in range(depth + 1)]
  num_counts = sizes[depth] * vocab_size
  with np.errstate(divide='ignore'):
    log_splits, log_stops = float(np.log(split)), float(np.log1p(-split))

  def update(values, tokens):
    counts, last = values[:, :num_counts].copy(), values[:, num_counts:]
    last = np.concatenate([last, tokens[:, None]], axis=-1)
    known = np.flatnonzero(np.all(last >= 0, axis=-1))
    place = vocab_size ** np.arange(depth, -1, -1)
    counts[known, last[known] @ place] += 1
    return np.concatenate([counts, last[:, 1:]], axis=-1)

  def path(value):
    """Returns what is at the nodes of the current path, from the root down.

    That is counts [D+1, V] and log odds [D]; then whether the path is known,
    and the log mass of all that was counted.
    """
    last = value[num_counts:].astype(jnp.int32)
    place = np.array(sizes[:depth][::-1], np.int32)
    context = jnp.sum(jnp.maximum(last, 0) * place)
    leaves = value[:num_counts].reshape(sizes[depth], vocab_size)
    counts, log_odds = [leaves[context]], []
    below = _dirichlet.log_evidence(
      alpha, leaves
    )  # Of the subtrees at depth d + 1.
    for d in reversed(range(depth)):
      # The oldest token is the leading digit: it tells siblings apart.
      nodes = leaves.reshape(-1, sizes[d], vocab_size).sum(0)
      as_leaf = log_stops + _dirichlet.log_evidence(alpha, nodes)
      as_split = log_splits + below.reshape(vocab_size, sizes[d]).sum(0)
      below = jnp.logaddexp(as_leaf, as_split)
      here = context % sizes[d]
      counts.append(nodes[here])
      log_odds.append((as_split - as_leaf)[here])
    log_odds = jnp.array(log_odds[::-1], value.dtype)
    return jnp.stack(counts[::-1]), log_odds, jnp.all(last >= 0), below[0]

  def log_predictive(value):
    counts, log_odds, known, _ = path(value)
    of_nodes = _dirichlet.log_mean(alpha, counts)
    uniform = -jnp.log(jnp.full_like(of_nodes[0], vocab_size))
    return jnp.where(known, _mix(log_odds, of_nodes)[0], uniform)

  def log_evidence(value):
    first = jnp.sum(value[num_counts:] >= 0).astype(value.dtype)
    return path(value)[-1] - first * jnp.log(jnp.full_like(first, vocab_size))

  def source_entropy(value):
    counts, log_odds, known, _ = path(value)
    of_nodes = _dirichlet.mean_entropy(alpha, counts)  # [D+1]
    mean = of_nodes[-1]
    for d in reversed(range(depth)):
      mean += jax.nn.sigmoid(-log_odds[d]) * (of_nodes[d] - mean)
    return jnp.where(known, mean, jnp.log(jnp.full_like(mean, vocab_size)))

  return types.Statistic(
    start=(0,) * num_counts + (-1,) * depth,
    counts=(True,) * num_counts + (False,) * depth,
    update=update,
    log_predictive=jnp.vectorize(log_predictive, signature='(d)->(v)'),
    log_evidence=jnp.vectorize(log_evidence, signature='(d)->()'),
    source_entropy=jnp.vectorize(source_entropy, signature='(d)->()'),
    concentration=(float(alpha[0]),) * num_counts + (0.0,) * depth
    if depth == 0 or split == 1
    else None,
  )
