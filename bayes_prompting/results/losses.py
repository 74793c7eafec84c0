"""What each tuner loses on the target, network by network."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd
import xarray as xr

from bayes_prompting.results import evidence
from bayes_prompting.results import selection
from bayes_prompting.results import stopped


class Losses(NamedTuple):
  """What the methods of one run lose on its target.

  Attributes:
    tuning: {method: [P]}, nats to TargetBayes by the tuning length, for each
      pretrained network.
    last: The same at the end of the evaluation.
    steps: Both lengths.
    left_out: {method: how many of its runs were stopped}, for the methods that
      have any.
  """

  tuning: dict[str, np.ndarray]
  last: dict[str, np.ndarray]
  steps: tuple[int, int]
  left_out: Mapping[str, stopped.LeftOut] = {}


def losses(dataset: xr.Dataset) -> Losses:
  """Reads from a results file what its methods lose on its target.

  A network counts with the mean over its repetitions. A regret that is not a
  number counts as infinite.
  """
  dataset = selection.choose(dataset)
  target = dataset.attrs['target']
  steps = int(dataset.attrs['tuning_length']), int(dataset.step.values[-1])
  regret = dataset.cumulative_regret.sel(
    eval_task=target, reference='bayes', estimator='exact'
  )
  counted = stopped.counted(dataset).sel(eval_task=target)
  by_step = []
  for step in steps:
    at_step = regret.sel(step=step).fillna(np.inf)
    means = at_step.where(counted).mean('repetition')
    by_method = {
      method: values[~np.isnan(values)].astype(np.float64)
      for method, values in zip(means.tuner.values, means.values, strict=True)
    }
    by_step.append(
      {m: values for m, values in by_method.items() if len(values)}
    )
  return Losses(*by_step, steps, stopped.left_out(dataset, target))


def of_evidence(
  table: pd.DataFrame, experiment: str, target: str, steps: tuple[int, int]
) -> Losses:
  """Reads the same from rows of evidence.

  Args:
    table: Rows of one version of everything, see `evidence.current`.
    experiment: Its name.
    target: The task that is tuned to.
    steps: The tuning length, and the end of the evaluation.
  """
  rows = evidence.at(
    table,
    experiment=experiment,
    task=target,
    reference='bayes',
    estimator='exact',
  )
  by_step = []
  for step in steps:
    counted = rows[(rows.step == step) & (rows.repetitions > 0)]
    by_step.append(
      {
        tuner: some['mean'].to_numpy(np.float64)
        for tuner, some in counted.groupby('tuner', sort=False)
      }
    )
  lost = rows[rows.step == steps[0]].groupby('tuner')[
    ['stopped', 'repetitions']
  ]
  left_out = {
    tuner: stopped.LeftOut(int(some.stopped), int(some.sum()))
    for tuner, some in lost.sum().iterrows()
    if some.stopped
  }
  return Losses(*by_step, steps, left_out)
