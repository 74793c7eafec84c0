"""Tasks made of unlabelled sequences: resampled, relabelled and mixed.

Nobody knows the prior that some sequences are from. A source can be made of
each all the same: its empirical table, from which tokens are drawn anew. More
sources are made by exchanging the names of tokens, and by mixing the tables of
two sequences. A network that is meta-trained on them has seen no task but these
(Vettoruzzo et al., arXiv 2405.16124, do so with images and classes). The pool
is finite, so its predictor is exact, and the true prior stands beside it.
"""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from bayes_prompting import checks
from bayes_prompting import errors
from bayes_prompting import keys
from bayes_prompting import registry
from bayes_prompting import types
from bayes_prompting.task_priors import _table_mixture
from bayes_prompting.task_priors import _tables

# Raise it when numbers change: networks and results depend on it.
NUMERICS = 1

_COINS = {'name': 'dirichlet_categorical', 'concentration': (1.0, 1.0)}
EXAMPLES = (
  {'base': _COINS, 'num_sequences': 3, 'length': 4, 'size': 5},
  {
    'base': _COINS,
    'num_sequences': 2,
    'length': 5,
    'size': 3,
    'order': 1,
    'smoothing': 0.0,
    'mix': False,
  },
)

# A larger pool, whose exact predictor sees all of it at each token, is a
# mistake; so are more sequences to make it of.
_MOST_NUMBERS = 2**18
_MOST_TOKENS = 2**24
_MOST_ORDER = 8


def make(
  base: Mapping[str, Any],
  num_sequences: int = 64,
  length: int = 100,
  size: int = 256,
  order: int = 0,
  smoothing: float = 0.5,
  relabel: bool = True,
  mix: bool = True,
  seed: int = 0,
) -> types.TaskPrior:
  """Builds the prior with equal weights on sources made of sequences.

  Args:
    base: Spec of the prior that the sequences are drawn from, once.
    num_sequences: How many there are.
    length: Tokens of each.
    size: M, how many sources are made.
    order: k, of their tables.
    smoothing: What is added to each count. With 0 a source never gives what its
      sequence did not have, but in a context that it did not have, where all
      tokens are alike.
    relabel: Whether each source has its tokens exchanged, at random.
    mix: Whether each is a mixture of the tables of two sequences, by weights
      that are uniform; else it is that of one, in turn.
    seed: Of all draws. A larger pool of the same seed holds a smaller one.

  Raises:
    UserError: If they cannot be made.
  """
  num_sequences = checks.integer('num_sequences', num_sequences, 1)
  length = checks.integer('length', length, 1)
  size = checks.integer('size', size, 1)
  order = checks.integer('order', order, 0, _MOST_ORDER)
  (smoothing,) = checks.non_negative_array('smoothing', [smoothing], 'M')
  checks.one_of_two('relabel', relabel)
  checks.one_of_two('mix', mix)
  seed = checks.integer('seed', seed, 0, 2**63 - 1)
  prior = registry.make('task_priors', 'base', base)
  numbers = prior.vocab_size ** (order + 1)
  if size * numbers > _MOST_NUMBERS or num_sequences * length > _MOST_TOKENS:
    raise errors.UserError(
      f'size: must leave at most {_MOST_NUMBERS} probabilities and '
      f'{_MOST_TOKENS} tokens in all, got {size} sources of {numbers} each, of '
      f'{num_sequences} sequences of length {length}'
    )
  root = keys.root(seed)
  draws = jax.vmap(lambda i: jax.random.fold_in(root, i))(
    np.arange(num_sequences)
  )
  sample = jax.jit(jax.vmap(lambda key: prior.sample(key, length).tokens))
  tables = empirical(
    np.asarray(sample(draws)), prior.vocab_size, order, smoothing
  )
  sources = [
    _source(np.random.default_rng((seed, number)), number, tables, relabel, mix)
    for number in range(size)
  ]
  return _table_mixture.make(np.full(size, 1 / size), np.stack(sources))


def empirical(
  tokens: np.ndarray, vocab_size: int, order: int, smoothing: float
) -> np.ndarray:
  """Returns the table of each sequence [S, N], float64 [S, V^k, V].

  Args:
    tokens: The sequences.
    vocab_size: V.
    order: k.
    smoothing: Added to each count. Contexts without any are uniform.
  """
  tables = np.full((len(tokens), vocab_size**order, vocab_size), smoothing)
  contexts = np.zeros(len(tokens), int)
  for position, column in enumerate(tokens.T):
    if position >= order:
      np.add.at(tables, (np.arange(len(tokens)), contexts, column), 1.0)
    contexts = (contexts * vocab_size + column) % vocab_size**order
  sums = tables.sum(-1, keepdims=True)
  return np.where(
    sums > 0, tables / np.where(sums > 0, sums, 1), 1 / vocab_size
  )


def _source(rng, number, tables, relabel, mix):
  """Makes one source of the tables [S, V^k, V] of sequences."""
  first, second = rng.integers(len(tables), size=2)
  share, names = rng.uniform(), rng.permutation(tables.shape[-1])
  if not mix:
    first, share = number % len(tables), 1.0
  table = share * tables[first] + (1 - share) * tables[second]
  return relabelled(table, names) if relabel else table


def relabelled(table: np.ndarray, names: np.ndarray) -> np.ndarray:
  """Returns a table [V^k, V] whose token v is called names[v]."""
  size = len(names)
  order = _tables.order(table)
  cube = table.reshape((size,) * (order + 1))
  back = np.argsort(names)
  return cube[np.ix_(*(back,) * (order + 1))].reshape(table.shape)
