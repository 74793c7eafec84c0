"""A finite set of Markov chains with given weights."""

from collections.abc import Sequence
import math

from bayes_prompting import checks
from bayes_prompting import errors
from bayes_prompting import types
from bayes_prompting.task_priors import _table_mixture

# Raise it when numbers change: networks and results depend on it.
NUMERICS = 1

EXAMPLES = (
  {
    'weights': (0.5, 0.5),
    'tables': (((0.9, 0.1), (0.2, 0.8)), ((0.1, 0.9), (0.7, 0.3))),
  },
  {
    'weights': (0.6, 0.0, 0.4),
    'tables': (
      ((0.0, 1.0, 0.0), (0.0, 0.0, 1.0), (1.0, 0.0, 0.0)),
      ((0.2, 0.2, 0.6), (0.6, 0.2, 0.2), (0.2, 0.6, 0.2)),
      ((0.5, 0.5, 0.0), (0.1, 0.2, 0.7), (0.3, 0.0, 0.7)),
    ),
  },
)


def make(
  weights: Sequence[float], tables: Sequence[Sequence[Sequence[float]]]
) -> types.TaskPrior:
  """Builds a mixture of M chains of order k.

  With counts c_sv of token v after context s, the posterior weight of chain m,
  up to a factor that all share, and the predictive in context s are

      W_m ~ w_m prod_sv p_msv^c_sv
      P(v | c, s) = sum_m W_m p_msv

  The first k tokens are uniform. Order 0 is `categorical_mixture`.

  Args:
    weights: M numbers that sum to 1; zeros are legal.
    tables: M tables of V^k rows, one for each context of the last k tokens, in
      base V with the most recent last, of V numbers that sum to 1; zeros are
      legal. Their shape says k.

  Raises:
    UserError: If they are not probabilities, or do not fit each other.
  """
  probs = checks.probabilities('tables', tables, ('M', 'V^k', 'V'))
  num_contexts, vocab_size = probs.shape[1:]
  order = round(math.log(num_contexts, vocab_size))
  if vocab_size**order != num_contexts:
    raise errors.UserError(
      f'tables: must have V^k rows each, a power of {vocab_size}, got shape '
      f'{probs.shape}'
    )
  mass = checks.weights('weights', weights, size=len(probs))
  return _table_mixture.make(mass, probs)
