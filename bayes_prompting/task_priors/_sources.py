"""Which priors others can be made of."""

from bayes_prompting import errors
from bayes_prompting import types


def check(field: str, prior: types.TaskPrior) -> types.TaskPrior:
  """Returns a prior whose sources are drawn.

  Sequences that were recorded have parts that must not mix, and no posterior:
  what is made of them would have neither.

  Raises:
    UserError: If its sequences were recorded.
  """
  if prior.recorded is not None:
    raise errors.UserError(
      f'{field}: its sequences were recorded, and nobody knows their sources; '
      'pseudo_tasks makes sources of them'
    )
  return prior
