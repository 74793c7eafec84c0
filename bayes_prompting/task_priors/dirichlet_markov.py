"""Markov chains whose rows are drawn from a Dirichlet: coins with a memory."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from bayes_prompting import checks
from bayes_prompting import errors
from bayes_prompting import types
from bayes_prompting.task_priors import _axes
from bayes_prompting.task_priors import _dirichlet
from bayes_prompting.task_priors import _markov
from bayes_prompting.task_priors import _tables
from bayes_prompting.task_priors import _urn

# Raise it when numbers change: networks and results depend on it.
NUMERICS = 1

EXAMPLES = (
  {'order': 2, 'concentration': (0.5, 0.5)},
  {'order': 1, 'concentration': (0.3, 0.0, 2.0)},
)

# Larger tables of counts, one a sequence, are a mistake.
_MOST_COUNTS = 2**17
# Larger tables take longer to draw than to train on their sequence.
_MOST_DRAWN = 2**10


def make(order: int, concentration: Sequence[float]) -> types.TaskPrior:
  """Builds a prior over chains of order k with independent Dirichlet rows.

  With counts c_s of the tokens after context s, the last k tokens, the
  posterior of its row is Dirichlet(a + c_s), and the predictive is

      P(v | c, s) = (a_v + c_sv) / sum(a + c_s)

  For a = (1/2, 1/2) this is the estimator of Krichevsky and Trofimov in every
  context (Willems, Shtarkov and Tjalkens, 1995, "The context-tree weighting
  method: basic properties"). The first k tokens are uniform. Order 0 is
  `dirichlet_categorical`.

  Args:
    order: k, how many tokens a chain remembers.
    concentration: V numbers, at least one above zero. A zero is legal: that
      token never occurs, except among the first k.

  Raises:
    UserError: If the order is no whole number, or too large; if a number is
      negative or not finite, or if all are zero.
  """
  alpha = _dirichlet.concentrations('concentration', concentration, 'V')
  vocab_size = len(alpha)
  order = checks.integer('order', order, minimum=0)
  # Compared as logarithms: V^k may be any number.
  if (order + 1) * np.log2(vocab_size) > np.log2(_MOST_COUNTS):
    raise errors.UserError(
      f'order: must have at most {_MOST_COUNTS} counts of transitions, got '
      f'{order} with {vocab_size}^{order + 1}'
    )
  shape = (vocab_size**order, vocab_size)
  occurs = alpha > 0

  def sample_table(key):
    return _dirichlet.log_sample(key, np.broadcast_to(alpha, shape))

  def sample(key, length):
    contexts = jnp.arange(shape[0], dtype=jnp.int32)
    return _urn.episode(key, alpha, order, contexts, len(contexts), length)

  def row_predictive(row, impossible):
    predictive = _dirichlet.log_mean(alpha, row)
    return jnp.where(impossible[..., None], -jnp.inf, predictive)

  def log_predictive(counts, contexts):
    never = _axes.under(~occurs, counts)
    impossible = jnp.any((counts > 0) & never, axis=(-2, -1))
    return row_predictive(_markov.row(counts, contexts), impossible)

  def read(counts, steps):
    # Of four ways to count what preceded in the same context (this scan, with
    # one row a step; one-hot sums over all contexts; a stable sort by context;
    # pairs of steps) this was the fastest on a CPU: for 256 sequences of 200
    # coins of orders 1 to 3 0.5 ms against 1 to 3, 6 and 25, and for V = 10
    # 1.5 ms against 45, 10 and 28.
    _, rows = jax.lax.scan(_count, counts, steps)
    never = steps.known & ~jnp.asarray(occurs)[steps.tokens]
    before = jnp.cumsum(never) - never
    impossible = (before > 0) | jnp.any((counts > 0) & ~occurs[None])
    return row_predictive(rows, impossible)

  def log_evidence(counts):
    return _dirichlet.log_evidence(alpha, counts).sum(-1)

  def source_entropy(counts, contexts):
    return _dirichlet.mean_entropy(alpha, _markov.row(counts, contexts))

  def covers(table):
    fits = _tables.is_of_order(table, order)
    return fits and not np.any(table[:, ~occurs] > 0)

  return _markov.make(
    vocab_size=vocab_size,
    order=order,
    sample_table=sample_table,
    log_predictive=log_predictive,
    read=read,
    log_evidence=log_evidence,
    source_entropy=source_entropy,
    support=types.Support(
      points=(_tables.generic(np.broadcast_to(occurs, shape)),),
      finite=False,
      covers=covers,
    ),
    concentration=np.broadcast_to(alpha, shape),
    sample=sample if np.prod(shape) > _MOST_DRAWN else None,
  )


def _count(counts, step):
  """Returns counts [V^k, V] after one step, and the step's row before it."""
  seen = step.known.astype(counts.dtype)
  row = counts[step.contexts]
  return counts.at[step.contexts, step.tokens].add(seen), row
