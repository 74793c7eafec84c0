"""Summaries of a results file: the table, its CSV, and paired comparisons."""

import os

import numpy as np
import pandas as pd
import xarray as xr

from bayes_prompting import files
from bayes_prompting import grid
from bayes_prompting import results

COLUMNS = (
  'method',
  'eval_task',
  'step',
  'reference',
  'estimator',
  'median',
  'q25',
  'q75',
  'mean',
  'sem_sequences',
  'runs',
  'learning_rate',
  'prefix_init',
)
FLOAT_FORMAT = '%.6g'  # Of the CSV file.


def _mean_and_sem(runs: np.ndarray) -> tuple[float, float]:
  """Mean over all, and its standard error over sequences, of [runs, S]."""
  mean = runs.mean(0)
  with np.errstate(invalid='ignore'):  # The error of an infinite mean is NaN.
    sem = mean.std(ddof=1) / np.sqrt(len(mean)) if len(mean) > 1 else np.nan
  return float(mean.mean()), float(sem)


def compare(
  dataset: xr.Dataset,
  method: str,
  other: str,
  eval_task: str,
  step: int,
  reference: str = 'oracle',
  estimator: str = 'paired',
) -> tuple[float, float]:
  """Compares two methods on the same sequences, each at its best settings.

  Args:
    dataset: As loaded.
    method: A name.
    other: The name of what it is compared with.
    eval_task: A name.
    step: A report step.
    reference: `oracle` or `bayes`.
    estimator: `sampled`, `exact` or `paired`.

  Returns:
    Mean difference in cumulative regret, `method` minus `other`, in nats, each
    averaged over its repetitions first, and its standard error over sequences:
    of these networks and repetitions, not of others.
  """
  args = (eval_task, step, reference, estimator)
  first = results.sequence_regret(dataset, method, *args).mean(0)
  second = results.sequence_regret(dataset, other, *args).mean(0)
  with np.errstate(invalid='ignore'):  # Of two infinities, NaN.
    return _mean_and_sem((first - second)[None])


def summarize(dataset: xr.Dataset) -> pd.DataFrame:
  """Returns the summary, one row for each method, task, step and estimate.

  Median and quartiles are over the `runs`, repetitions of all pretraining
  seeds, of the mean over sequences. `sem_sequences` is the standard error, over
  sequences, of the mean over these runs: it says nothing of other networks.
  Each method is at the best settings of the grid, see `grid.best`; the last
  columns say which, where they mean anything to it.
  """
  dataset, rows = grid.choose(dataset), []
  estimates = ('report_step', 'reference', 'estimator')
  regrets = dataset.sequence_regret.transpose(
    'method', 'eval_task', *estimates, 'pretrain_seed', 'repetition', 'sequence'
  )
  judged = dataset.judged.transpose(*regrets.dims[:2], *regrets.dims[5:7]) == 1
  for i, j in np.ndindex(*judged.shape[:2]):
    ran = judged.values[i, j]
    if not ran.any():
      continue
    here = [dataset.method.values[i].item(), dataset.eval_task.values[j].item()]
    settings = [dataset[axis].values[i].item() for axis in grid.AXES]
    # One method on one task at once: what is not read need not be converted.
    found = regrets.values[i, j].astype(np.float64)
    for values in np.ndindex(*found.shape[:3]):
      runs = found[values][ran]
      labels = [
        dataset[dim].values[k].item()
        for dim, k in zip(estimates, values, strict=True)
      ]
      q25, median, q75 = _quartiles(runs.mean(-1))
      mean, sem = _mean_and_sem(runs)
      row = (*here, *labels, median, q25, q75, mean, sem, len(runs), *settings)
      rows.append(dict(zip(COLUMNS, row, strict=True)))
  return pd.DataFrame(rows, columns=list(COLUMNS))


def _quartiles(values: np.ndarray) -> np.ndarray:
  """Quartiles over repetitions; with infinite ones, the nearest repetition."""
  finite = np.isfinite(values).all()
  method = 'linear' if finite else 'nearest'
  return np.quantile(values, (0.25, 0.5, 0.75), method=method)


def _shown(setting: object) -> str:
  """Returns a setting as text, none for a method without."""
  return str(setting) if isinstance(setting, str) or setting > 0 else ''


def save(summary: pd.DataFrame, path: str | os.PathLike[str]) -> None:
  """Writes a summary as CSV, under its name once it is whole.

  Raises:
    UserError: If it cannot be written.
  """
  text = summary.to_csv(index=False, float_format=FLOAT_FORMAT)
  files.write_text(path, text, 'summary')


def table(dataset: xr.Dataset, step: int | None = None) -> str:
  """Returns the headline as text: paired regret against the oracle.

  Args:
    dataset: As built or loaded.
    step: A report step; the first of them, the tuning length, by default.
  """
  step = int(dataset.report_step[0]) if step is None else step
  summary = summarize(dataset)
  summary = summary[
    (summary.step == step)
    & (summary.reference == 'oracle')
    & (summary.estimator == 'paired')
  ].copy()
  summary['text'] = [
    f'{row.median:.3f} [{row.q25:.3f}, {row.q75:.3f}]'
    if row.runs > 1
    else f'{row.mean:.3f} +- {row.sem_sequences:.3f}'
    for row in summary.itertuples()
  ]
  tasks = dataset.eval_task.values.tolist()
  wide = summary.pivot(index='method', columns='eval_task', values='text')
  note = ''
  for axis in grid.AXES:
    if dataset.sizes.get(axis, 1) > 1:
      wide[axis] = summary.groupby('method')[axis].first()
      wide[axis] = [_shown(value) for value in wide[axis]]
      tasks.append(axis)
      note = 'Settings are the best of the grid by the tuning loss.\n'
  order = [m for m in dataset.method.values if m in wide.index]
  wide = wide.reindex(index=order, columns=tasks).fillna('')
  wide.index.name = wide.columns.name = None
  return (
    f'Cumulative regret against the oracle after {step} steps, in nats '
    '(paired; lower is better).\n'
    f'Target: {dataset.attrs.get("target", "not said")}. Median [quartiles] '
    'over repetitions; of a single run\n'
    f'mean +- standard error over sequences.\n{note}'
    f'{wide.to_string()}'
  )
