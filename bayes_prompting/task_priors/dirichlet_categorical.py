"""Memoryless sources drawn from a Dirichlet: random coins, random dice."""

from collections.abc import Sequence
import functools

import jax.numpy as jnp
import numpy as np

from bayes_prompting import types
from bayes_prompting.task_priors import _axes
from bayes_prompting.task_priors import _dirichlet
from bayes_prompting.task_priors import _exchangeable
from bayes_prompting.task_priors import _tables

# Raise it when numbers change: networks and results depend on it.
NUMERICS = 1

EXAMPLES = (
  {'concentration': (1.0, 1.0)},
  {'concentration': (0.3, 0.0, 2.0)},
)


def make(concentration: Sequence[float]) -> types.TaskPrior:
  """Builds a Dirichlet prior over sources; (1, 1) is the uniform coin.

  With counts c the posterior is Dirichlet(a + c), and the predictive is

      P(v | c) = (a_v + c_v) / sum(a + c)

  For a = (1, 1) this is Laplace's rule of succession.

  Args:
    concentration: V numbers, at least one above zero. A zero is legal: that
      token never occurs.

  Raises:
    UserError: If a number is negative or not finite, or if all are zero.
  """
  alpha = _dirichlet.concentrations('concentration', concentration, 'V')
  occurs = alpha > 0

  def log_predictive(counts):
    never = _axes.under(~occurs, counts)
    impossible = jnp.any((counts > 0) & never, axis=-1, keepdims=True)
    return jnp.where(impossible, -jnp.inf, _dirichlet.log_mean(alpha, counts))

  def covers(table):
    memoryless = _tables.is_of_order(table, 0)
    return memoryless and not np.any(table[0, ~occurs] > 0)

  return _exchangeable.make(
    vocab_size=len(alpha),
    sample_source=functools.partial(_dirichlet.log_sample, alpha=alpha),
    log_predictive=log_predictive,
    log_evidence=functools.partial(_dirichlet.log_evidence, alpha),
    source_entropy=functools.partial(_dirichlet.mean_entropy, alpha),
    support=types.Support(
      points=(_tables.generic(occurs[None]),), finite=False, covers=covers
    ),
    concentration=alpha,
  )
