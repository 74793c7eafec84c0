"""Which runs count in statistics, and what is said of those that do not.

A run (a repetition at a setting, on a network) whose loss or gradient is not
finite at some update is stopped there, and stays as it was before. Its loss of
that update is recorded as infinite or NaN, all later ones as NaN: losses alone
say which runs were stopped, and when (`stopped_step`). What is left of such a
run is not what was asked for, and neither is anything that was tuned on a
network whose pretraining was stopped. Both are kept in the results file, left
out of every statistic (`counted`), and named wherever one is shown (`notes`,
`footnote`).

An infinite regret is another matter: a predictor that rules out what happens
loses infinitely much, and that counts.
"""

from collections.abc import Mapping
import json
from typing import NamedTuple

import numpy as np
import xarray as xr

from bayes_prompting import settings

_NAMED = 3  # Places that a note names; of more it says how many.
WHY = 'loss or gradient was not finite'


class LeftOut(NamedTuple):
  """How many runs are left out.

  Attributes:
    runs: Their number, at least 1.
    of: How many there are with them.
  """

  runs: int
  of: int

  def __str__(self) -> str:
    return f'{self.runs} of {self.of}'


def stopped_step(losses: np.ndarray) -> np.ndarray:
  """Returns at which update runs were stopped, from their losses alone.

  Args:
    losses: [..., T], of runs that were trained; T may be 0.

  Returns:
    float32 [...], counted from 1; NaN of a run that was not stopped.
  """
  wrong = ~np.isfinite(losses)
  if not wrong.shape[-1]:
    return np.full(wrong.shape[:-1], np.nan, np.float32)
  first = np.where(wrong.any(-1), wrong.argmax(-1) + 1, np.nan)
  return first.astype(np.float32)


def uses_network(dataset: xr.Dataset) -> xr.DataArray:
  """Returns bool over `method`: exact Bayes needs no network, all others do."""
  known = json.loads(dataset.attrs.get('config', '{}')).get('methods', {})

  def one(method):
    predictor = known.get(method, {}).get('predictor', 'network')
    return method not in settings.REFERENCES and predictor != 'bayes'

  found = np.vectorize(one, otypes=[bool])(dataset.method.values)
  return dataset.method.copy(data=found)


def stopped(dataset: xr.Dataset) -> xr.DataArray:
  """Returns bool over runs: stopped themselves, or on a network that was.

  Args:
    dataset: A results file, or a part of one, with `stopped` and
      `pretraining_stopped`.
  """
  on_stopped = dataset.pretraining_stopped.notnull() & uses_network(dataset)
  return dataset.stopped.notnull() | on_stopped


def counted(dataset: xr.Dataset) -> xr.DataArray:
  """Returns which runs count in statistics: they were judged, and not stopped.

  Args:
    dataset: A results file, or a part of one.

  Returns:
    bool, over the dimensions of `judged`, in their order.
  """
  found = (dataset.judged == 1) & ~stopped(dataset)
  return found.transpose(*dataset.judged.dims)


def left_out(
  dataset: xr.Dataset, eval_task: str | None = None
) -> dict[str, LeftOut]:
  """Returns of which methods runs were judged that do not count.

  Args:
    dataset: A results file, or what `grid.choose` left of it.
    eval_task: Judged on this; by default on any task.
  """
  judged = dataset.judged == 1
  if eval_task is None:
    judged = judged.any('eval_task')
  else:
    judged = judged.sel(eval_task=eval_task)
  lost, found = judged & stopped(dataset), {}
  for method in dataset.method.values.tolist():
    at = {'method': method}
    runs = int(lost.sel(at).sum())
    if runs:
      found[method] = LeftOut(runs, int(judged.sel(at).sum()))
  return found


def notes(dataset: xr.Dataset) -> list[str]:
  """Returns what is to be said under a table: sentences, none if all count.

  Args:
    dataset: As `grid.choose` leaves it.
  """
  found = [
    f'Network {int(seed)}: its pretraining was stopped at update '
    f'{int(step)}, where its {WHY}; what ran on it is left out.'
    for seed, step in zip(
      dataset.pretrain_seed.values,
      dataset.pretraining_stopped.values,
      strict=True,
    )
    if not np.isnan(step)
  ]
  for method, left in left_out(dataset).items():
    said = '; '.join(_places(dataset, method))
    found.append(f'Left out of {method}: {left} runs ({said}).')
  return found


def _places(dataset, method):
  """Returns where runs of a method were stopped, as one text or two."""
  at = {'method': method}
  judged = (dataset.judged == 1).any('eval_task').sel(at)
  judged = judged.transpose('pretrain_seed', 'repetition').values
  steps = dataset.stopped.sel(at).transpose('pretrain_seed', 'repetition')
  lost = dataset.pretraining_stopped.notnull() & uses_network(dataset).sel(at)
  seeds, several = dataset.pretrain_seed.values, int(judged.any(1).sum() > 1)
  own = []
  for i, j in np.argwhere(judged & steps.notnull().values):
    if not lost.values[i]:
      of = f'network {seeds[i]}, ' * several
      of += f'repetition {steps.repetition.values[j]}'
      own.append(f'update {steps.values[i, j]:.0f} of {of}')
  more = f' and {len(own) - _NAMED} more' * (len(own) > _NAMED)
  networks = [f'{seeds[i]}' for i in np.flatnonzero(judged.any(1) & lost)]
  found = [f'all on network {" and ".join(networks)}'] if networks else []
  if own:
    found.append(f'{WHY} at {", ".join(own[:_NAMED])}{more}')
  return found


def elsewhere(dataset: xr.Dataset, chosen: xr.Dataset) -> dict[str, int]:
  """Returns how many runs of methods were stopped at settings not chosen.

  Args:
    dataset: A results file, with its grid.
    chosen: What `grid.choose` left of it.
  """
  counts = []
  for one in (dataset, chosen):
    own = (one.judged == 1).any('eval_task') & one.stopped.notnull()
    counts.append(own.sum(set(own.dims) - {'method'}).values)
  more = zip(dataset.method.values.tolist(), *counts, strict=True)
  return {m: int(x - y) for m, x, y in more if x > y}


def together(
  runs: Mapping[str, Mapping[str, LeftOut]],
) -> dict[str, LeftOut]:
  """Returns what is left out of several results files, {run: {method: ...}}."""
  return {
    f'{method} in {name}': left
    for name, found in runs.items()
    for method, left in found.items()
  }


def footnote(left: Mapping[str, LeftOut]) -> str:
  """Returns what a figure says of runs that it leaves out, '' of none.

  Args:
    left: By method, or by a name that says more.
  """
  if not left:
    return ''
  # Spaces that no line is broken at.
  each = [f'{name} ({runs} runs)' for name, runs in left.items()]
  said = ', '.join(text.replace(' ', '\xa0') for text in each)
  return f'Left out, as {WHY}: {said}.'
