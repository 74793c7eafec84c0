"""A pool of sources, drawn once: how many different tasks there are to see."""

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

# Raise it when numbers change: networks and results depend on it.
NUMERICS = 1

_COINS = {'name': 'dirichlet_categorical', 'concentration': (1.0, 1.0)}
EXAMPLES = (
  {'base': _COINS, 'size': 3},
  {
    'base': {'name': 'dirichlet_categorical', 'concentration': (0.5, 0.0, 2.0)},
    'size': 5,
    'seed': 1,
  },
  {
    'base': {
      'name': 'dirichlet_markov',
      'order': 1,
      'concentration': (1.0, 1.0),
    },
    'size': 2,
  },
)

# A larger pool, whose exact predictor sees all of it at each token, is a
# mistake.
_MOST_NUMBERS = 2**18


def make(base: Mapping[str, Any], size: int, seed: int = 0) -> types.TaskPrior:
  """Builds the prior with equal weights on sources drawn from another prior.

  It is a mixture of finitely many sources, and that is what it predicts by; the
  Bayes predictor of where they came from is that of `base` itself, a task of
  its own. With few sources a network learns the pool, with many the prior that
  it came from (task diversity: Raventos et al., 2023, arXiv 2306.15063).

  Args:
    base: Spec of the prior that the pool is drawn from, whose sources must be
      tables.
    size: M, how many are drawn.
    seed: Of the draw. A larger pool of the same seed holds a smaller one.

  Raises:
    UserError: If they cannot be drawn.
  """
  size = checks.integer('size', size, 1)
  seed = checks.integer('seed', seed, 0, 2**63 - 1)
  prior = registry.make('task_priors', 'base', base)
  if prior.sample_table is None:
    raise errors.UserError(
      f'base: the sources of {base["name"]!r} are no tables of probabilities '
      'of one order, so that no pool can be drawn'
    )
  numbers = jax.eval_shape(prior.sample_table, jax.random.key(0)).size
  if size * numbers > _MOST_NUMBERS:
    raise errors.UserError(
      f'size: must leave at most {_MOST_NUMBERS} probabilities in all, got '
      f'{size} sources of {numbers} each'
    )
  root = keys.root(seed)
  draws = jax.vmap(lambda m: jax.random.fold_in(root, m))(np.arange(size))
  log_tables = np.asarray(jax.vmap(prior.sample_table)(draws), np.float64)
  tables = np.exp(log_tables)
  tables /= tables.sum(-1, keepdims=True)
  return _table_mixture.make(np.full(size, 1 / size), tables)
