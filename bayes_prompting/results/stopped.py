"""Which runs count in statistics, and what is said of those that do not.

A run is a repetition at a setting on a network. If its loss or gradient is not
finite at some update, it is stopped there, and stays as it was before this
update. The loss of this update is recorded as infinite or NaN, and all later
losses as NaN. So losses alone say which runs were stopped, and when
(`stopped_step`).

A stopped run is not what was asked for. Neither is anything that was tuned on a
network whose pretraining was stopped. Both stay in the results file, are left
out of every statistic (`counted`), and are named wherever a statistic is shown
(`notes`, `footnote`).

An infinite regret is another matter. A predictor that rules out what happens
loses infinitely much, and this counts.
"""

from collections.abc import Mapping
import json
from typing import NamedTuple

import numpy as np
import xarray as xr

from bayes_prompting import settings

# Loss of a run that validation has ended (`training.validation`): it was not
# stopped, and no log loss is as small.
ENDED = -1.0
_NAMED = 3  # A note names so many places, and counts the rest.
WHY = 'loss or gradient was not finite'


class LeftOut(NamedTuple):
  """How many runs are left out.

  Attributes:
    runs: The number of runs that are left out, at least 1.
    of: The number of all runs.
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
    float32 [...], the update, counted from 1; NaN if a run was not stopped.
  """
  wrong = ~np.isfinite(losses)
  if not wrong.shape[-1]:
    return np.full(wrong.shape[:-1], np.nan, np.float32)
  first = np.where(wrong.any(-1), wrong.argmax(-1) + 1, np.nan)
  return first.astype(np.float32)


def uses_network(dataset: xr.Dataset) -> xr.DataArray:
  """Returns bool over `method`, false for exact Bayes, which needs none."""
  known = json.loads(dataset.attrs.get('config', '{}')).get('methods', {})
  universal = json.loads(dataset.attrs.get('universal', '{}')).values()
  references = {*settings.REFERENCES}.union(*universal)

  def uses(method):
    predictor = known.get(method, {}).get('predictor', 'network')
    return method not in references and predictor != 'bayes'

  by_method = np.vectorize(uses, otypes=[bool])(dataset.tuner.values)
  return dataset.tuner.copy(data=by_method)


def stopped(dataset: xr.Dataset) -> xr.DataArray:
  """Returns bool over runs: true if it or its network was stopped.

  Args:
    dataset: A results file, or a part of one, with `stopped` and
      `pretraining_stopped`.
  """
  on_stopped = dataset.pretraining_stopped.notnull() & uses_network(dataset)
  return dataset.stopped.notnull() | on_stopped


def counted(dataset: xr.Dataset) -> xr.DataArray:
  """Returns which runs count: those that were judged and not stopped.

  Args:
    dataset: A results file, or a part of one.

  Returns:
    bool, over the dimensions of `judged`, in their order.
  """
  counts = (dataset.judged == 1) & ~stopped(dataset)
  return counts.transpose(*dataset.judged.dims)


def left_out(
  dataset: xr.Dataset, eval_task: str | None = None
) -> dict[str, LeftOut]:
  """Returns how many judged runs of each method do not count, if any.

  Args:
    dataset: A results file, or what `selection.choose` returns.
    eval_task: The task that runs were judged on; any task by default.
  """
  judged = dataset.judged == 1
  if eval_task is None:
    judged = judged.any('eval_task')
  else:
    judged = judged.sel(eval_task=eval_task)
  lost, by_method = judged & stopped(dataset), {}
  for method in dataset.tuner.values.tolist():
    at = {'tuner': method}
    runs = int(lost.sel(at).sum())
    if runs:
      by_method[method] = LeftOut(runs, int(judged.sel(at).sum()))
  return by_method


def notes(dataset: xr.Dataset) -> list[str]:
  """Returns what is to be said under a table: sentences, none if all count.

  Args:
    dataset: What `selection.choose` returns.
  """
  sentences = [
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
    sentences.append(f'Left out of {method}: {left} runs ({said}).')
  return sentences


def _places(dataset, method):
  """Returns where runs of a method were stopped, in one or two texts."""
  at = {'tuner': method}
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
  texts = [f'all on network {" and ".join(networks)}'] if networks else []
  if own:
    texts.append(f'{WHY} at {", ".join(own[:_NAMED])}{more}')
  return texts


def elsewhere(dataset: xr.Dataset, chosen: xr.Dataset) -> dict[str, int]:
  """Returns how many runs of each method were stopped at settings not chosen.

  Args:
    dataset: A results file, with its grid.
    chosen: What `selection.choose` returns for it.
  """
  counts = []
  for results in (dataset, chosen):
    own = (results.judged == 1).any('eval_task') & results.stopped.notnull()
    counts.append(own.sum(set(own.dims) - {'tuner'}).values)
  by_method = zip(dataset.tuner.values.tolist(), *counts, strict=True)
  return {
    method: int(everywhere - shown)
    for method, everywhere, shown in by_method
    if everywhere > shown
  }


def together(
  runs: Mapping[str, Mapping[str, LeftOut]],
) -> dict[str, LeftOut]:
  """Returns what is left out of several results files, {run: {method: ...}}."""
  return {
    f'{method} in {name}': left
    for name, by_method in runs.items()
    for method, left in by_method.items()
  }


def footnote(left: Mapping[str, LeftOut]) -> str:
  """Returns what a figure says of the runs that it leaves out; '' for none.

  Args:
    left: By method, or by a name that says more.
  """
  if not left:
    return ''
  # No line is broken within a name: its spaces do not break.
  each = [f'{name} ({runs} runs)' for name, runs in left.items()]
  said = ', '.join(text.replace(' ', '\xa0') for text in each)
  return f'Left out, as {WHY}: {said}.'
