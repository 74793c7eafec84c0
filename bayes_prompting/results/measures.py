"""What losses are measured against, task by task, and what that is called.

A task whose sources are drawn has an oracle, and exact Bayes: its headline is
the paired regret against the oracle, in nats summed over the steps. A task
whose sequences were recorded has neither. There losses are measured against a
universal predictor, on the tokens that came, and shown as *above CTW*, in nats
and bits a token. Such a number is negative where a predictor does better: the
universal predictor knows nothing but the sequence so far. It is infinite where
one rules out what happened.
"""

import json
import math

import xarray as xr

_KNOWN = ('oracle', 'bayes')  # References of tasks whose sources are drawn.
_HEADLINE = ('oracle', 'paired')
BITS = math.log(2)  # Nats of a bit.


def universal(dataset: xr.Dataset) -> dict[str, list[str]]:
  """Returns the universal predictors of each task that was recorded."""
  return json.loads(dataset.attrs.get('universal', '{}'))


def headline(dataset: xr.Dataset, task: str) -> tuple[str, str]:
  """Returns reference and estimator of what is shown of a task."""
  names = universal(dataset).get(task)
  return (names[0], 'sampled') if names else _HEADLINE


def has(dataset: xr.Dataset, task: str, reference: str, estimator: str) -> bool:
  """Returns whether a task has this estimate at all."""
  names = universal(dataset).get(task)
  if names is None:
    return reference in _KNOWN
  return reference in names and estimator == 'sampled'


def is_universal(reference: str) -> bool:
  """Returns whether a reference is a universal predictor."""
  return reference not in _KNOWN


def above(dataset: xr.Dataset, task: str) -> str:
  """Returns ' above CTW' or the like; '' where there is an oracle."""
  reference, _ = headline(dataset, task)
  return f' above {reference}' if is_universal(reference) else ''


def of_kind(dataset: xr.Dataset) -> tuple[list[str], list[str]]:
  """Returns the tasks with an oracle, and those that were recorded."""
  recorded = universal(dataset)
  tasks = dataset.eval_task.values.tolist()
  return (
    [task for task in tasks if task not in recorded],
    [task for task in tasks if task in recorded],
  )


def sentence(reference: str) -> str:
  """Returns what a loss above a universal predictor says."""
  return (
    'Sequences of a file have no oracle: numbers are losses above '
    f'{reference}, a universal predictor that knows nothing but the sequence '
    'so far, in nats and bits a token. Below 0 a method does better than it; '
    'an infinite loss is that of a method that rules out what happened.'
  )


def note(dataset: xr.Dataset) -> str:
  """Returns that sentence for what a file shows; '' if none was recorded."""
  _, recorded = of_kind(dataset)
  names = dict.fromkeys(headline(dataset, task)[0] for task in recorded)
  return sentence(' or '.join(names)) if names else ''
