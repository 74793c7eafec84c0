"""Regrets of single sequences from results files, for comparisons across runs.

A regret here is the exact KL from the Bayes predictor of the evaluated task to
the predictor, summed over steps, in nats (`regret`: reference bayes, estimator
exact). So 0 is optimal. The configurations of two runs say which networks and
which evaluation sequences they share.
"""

from collections.abc import Mapping
import dataclasses
import json

import numpy as np
import xarray as xr

from bayes_prompting import checks
from bayes_prompting import results
from bayes_prompting import settings
from bayes_prompting.claims import bootstrap
from bayes_prompting.experiment import fingerprint
from bayes_prompting.results import stopped


@dataclasses.dataclass(frozen=True)
class Mean:
  """A mean cumulative regret.

  Attributes:
    method: Its name.
    experiment: The run's name; `{network}` in it stands for a claim's network.
    step: `tuning` or `pretraining` for the length of these, or `last`.
    task: The evaluation task; by default the target.
  """

  method: str
  experiment: str
  step: str = 'tuning'
  task: str | None = None

  def of(self, network: str) -> 'Mean':
    """Returns the mean for one network."""
    named = self.experiment.format(network=network)
    return dataclasses.replace(self, experiment=named)


def read(dataset: xr.Dataset, mean: Mean) -> bootstrap.Sample | None:
  """Reads the sequences' regrets of all runs from a results file.

  Runs that were stopped are in the sample, but do not count.

  Args:
    dataset: The results of the mean's experiment, as `selection.choose` leaves
      them.
    mean: Which regrets are read.

  Returns:
    The sample; None if nothing was run.

  Raises:
    UserError: If the run's configuration describes no such method.
  """
  step = {
    'tuning': dataset.attrs['tuning_length'],
    'pretraining': dataset.attrs['pretraining_length'],
    'last': dataset.step.values[-1],
  }[mean.step]
  task = mean.task or dataset.attrs['target']
  config = json.loads(dataset.attrs['config'])
  # A method that is configured, but was not run, is no mistake.
  known = (*settings.REFERENCES, *config['methods'])
  checks.one_of(f'{mean.experiment}: method', mean.method, known)
  if mean.method not in dataset.tuner or task not in dataset.eval_task:
    return None
  if step not in dataset.report_step:
    return None
  at = {'tuner': mean.method, 'eval_task': task}
  values = results.select(
    dataset.sequence_regret,
    report_step=step,
    reference='bayes',
    estimator='exact',
    **at,
  ).transpose('pretrain_seed', 'repetition', 'sequence')
  runs = 'pretrain_seed', 'repetition'
  judged = results.select(dataset.judged, **at).transpose(*runs).values == 1
  if not judged.any():
    return None
  counted = results.select(stopped.counted(dataset), **at).transpose(*runs)
  # On both axes, what was not run comes after what was run.
  ran = tuple(
    slice(np.flatnonzero(judged.any(axis))[-1] + 1) for axis in (1, 0)
  )
  return bootstrap.Sample(
    values.values[ran].astype(np.float64),
    fingerprint.networks(config, mean.method),
    fingerprint.sequences(config, task),
    counted.values[ran],
  )


def left_out(dataset: xr.Dataset, mean: Mean) -> dict[str, stopped.LeftOut]:
  """Returns how many runs a mean leaves out, by method and experiment."""
  task = mean.task or dataset.attrs['target']
  if task not in dataset.eval_task:
    return {}
  by_method = stopped.left_out(dataset, task)
  if mean.method not in by_method:
    return {}
  return stopped.together(
    {mean.experiment: {mean.method: by_method[mean.method]}}
  )


def together(
  samples: Mapping[str, bootstrap.Sample],
) -> dict[str, bootstrap.Sample]:
  """Restricts samples that share networks to what all of them can be read from.

  A network stays if runs of all these samples count on it. A repetition stays
  if it counts for any of these samples.
  """
  restricted = {}
  for key, sample in samples.items():
    shared = [x for x in samples.values() if x.networks == sample.networks]
    count = min(len(x.values) for x in shared)
    have = np.all([x.which()[:count].any(1) for x in shared], axis=0)
    used = np.zeros(max(x.values.shape[1] for x in shared), bool)
    for other in shared:
      which = other.which()[:count][have]
      used[: which.shape[1]] |= which.any(0)
    used = used[: sample.values.shape[1]]
    restricted[key] = sample._replace(
      values=sample.values[:count][have][:, used],
      counted=sample.which()[:count][have][:, used],
    )
  return restricted
