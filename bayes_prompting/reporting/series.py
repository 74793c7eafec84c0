"""What figures draw of a Dataset: its runs by method, and their medians."""

import numpy as np
import xarray as xr

from bayes_prompting.reporting import style
from bayes_prompting.results import measures
from bayes_prompting.results import stopped


def holds(dataset, variable):
  """Returns whether a Dataset has a variable that is not all NaN."""
  return variable in dataset and bool(dataset[variable].notnull().any())


def held(array):
  """Returns the methods whose values in an array are not all NaN."""
  ran = array.notnull().any([dim for dim in array.dims if dim != 'tuner'])
  return array.tuner.values[ran.values].tolist()


def by_method(array, counted=None):
  """Returns the values of every method that was run, in the order of legends.

  Args:
    array: DataArray with a method; its last dimension is X.
    counted: bool DataArray of the dimensions before X, true where a run counts,
      see `stopped.counted`. By default a run counts if it holds a number.

  Returns:
    {method: float64 [runs, X]}.
  """
  by_name = {}
  for method in style.looks(array.tuner.values.tolist()):
    runs = array.sel(tuner=method).values
    if counted is None:
      ran = ~np.isnan(runs).all(-1)
    else:
      ran = counted.sel(tuner=method).values
    runs = runs[ran].astype(np.float64)
    if len(runs):
      by_name[method] = np.where(np.isnan(runs), np.inf, runs)
  return by_name


def lengths(dataset: xr.Dataset) -> dict[int, str]:
  """Returns the lengths of training, those that are equal under one name.

  Args:
    dataset: As loaded. A length that was not evaluated is left out.
  """
  names = {}
  for name in ('tuning', 'pretraining'):
    length = dataset.attrs.get(f'{name}_length')
    if length is not None and length <= dataset.step.values[-1]:
      names.setdefault(int(length), []).append(name)
  return {
    length: f'{" and ".join(several)} length'
    for length, several in names.items()
  }


def regret_by_task(dataset, quantity):
  """Returns {task: {method: [runs, step]}} of all runs that count.

  It is the headline of each task, see `measures`. Above a universal predictor
  the cumulative loss is its mean over the steps so far.
  """
  counted, by_task = stopped.counted(dataset), {}
  for task in dataset.eval_task.values.tolist():
    reference, estimator = measures.headline(dataset, task)
    labels = {'reference': reference, 'estimator': estimator}
    values = dataset[quantity].sel(labels | {'eval_task': task})
    if measures.is_universal(reference) and quantity == 'cumulative_regret':
      values = values / dataset.step
    by_task[task] = by_method(values, counted.sel(eval_task=task))
  return by_task


def regret_label(dataset, task, quantity):
  """Returns what the axis of a task's regret says, and its unit."""
  name = quantity.replace('_', ' ')
  if not measures.above(dataset, task):
    unit = 'nats' if quantity == 'cumulative_regret' else 'nats per step'
    return name, unit
  mean = ', mean so far' * (quantity == 'cumulative_regret')
  return f'loss{measures.above(dataset, task)}{mean}', 'nats a token'


def alike(dataset):
  """Returns whether the numbers of all tasks are of one kind."""
  return not all(measures.of_kind(dataset))


def quartiles(runs):
  """Returns quartiles [3, X] of [runs, X].

  They are interpolated, but where a run is infinite they are nearest runs.
  """
  levels = (0.25, 0.5, 0.75)
  finite = np.isfinite(runs).all(0)
  linear = np.quantile(np.where(finite, runs, 0.0), levels, axis=0)
  nearest = np.quantile(runs, levels, axis=0, method='nearest')
  return np.where(finite, linear, nearest)


def smooth(runs):
  """Returns the running median of [runs, T] over the updates within 10%.

  Returns:
    Indices [P], evenly spread over a log axis, and the medians [runs, P].
  """
  total = runs.shape[-1]
  updates = np.geomspace(1, total, min(total, 300)).round().astype(int)
  updates = np.unique(updates)
  windows = [runs[:, u - 1 - u // 10 : u + u // 10] for u in updates]
  return updates - 1, np.stack([np.median(w, -1) for w in windows], -1)
