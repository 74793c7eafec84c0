"""Regrets of single sequences from results files, for comparisons across runs.

They are exact KL from the Bayes predictor of the evaluated task to the
predictor, summed over steps, in nats (`regret`: reference bayes, estimator
exact): 0 is optimal. Runs know by their configurations which networks, and
which evaluation sequences, they share.
"""

from collections.abc import Mapping
import dataclasses
import json
from typing import Any

import numpy as np
import xarray as xr

from bayes_prompting import checks
from bayes_prompting import results
from bayes_prompting import settings
from bayes_prompting.claims import bootstrap
from bayes_prompting.results import stopped
from bayes_prompting.settings import plain

STEPS = ('tuning', 'pretraining', 'last')


@dataclasses.dataclass(frozen=True)
class Mean:
  """A mean cumulative regret.

  Attributes:
    method: Its name.
    experiment: The run's name; `{network}` in it stands for a claim's network.
    step: `tuning` or `pretraining`, their lengths, or `last`.
    task: The evaluation task; by default the target.
  """

  method: str
  experiment: str
  step: str = 'tuning'
  task: str | None = None

  def of(self, network: str) -> 'Mean':
    """Returns it for one network."""
    named = self.experiment.format(network=network)
    return dataclasses.replace(self, experiment=named)


def read(dataset: xr.Dataset, mean: Mean) -> bootstrap.Sample | None:
  """Reads the sequences' regrets of all runs from a results file.

  Runs that were stopped are there, and do not count.

  Args:
    dataset: As `grid.choose` leaves it, of the mean's experiment.
    mean: Which of them.

  Returns:
    The sample; None if there are none.

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
  # A method that the run only left out is another matter.
  known = (*settings.REFERENCES, *config['methods'])
  checks.one_of(f'{mean.experiment}: method', mean.method, known)
  if mean.method not in dataset.method or task not in dataset.eval_task:
    return None
  if step not in dataset.report_step:
    return None
  at = {'method': mean.method, 'eval_task': task}
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
  # What was not run comes after what was, on both axes.
  ran = tuple(
    slice(np.flatnonzero(judged.any(axis))[-1] + 1) for axis in (1, 0)
  )
  return bootstrap.Sample(
    values.values[ran].astype(np.float64),
    _networks(config, mean.method),
    sequences(config, task),
    counted.values[ran],
  )


def left_out(dataset: xr.Dataset, mean: Mean) -> dict[str, stopped.LeftOut]:
  """Returns how many runs a mean leaves out, by method and run, if any."""
  task = mean.task or dataset.attrs['target']
  if task not in dataset.eval_task:
    return {}
  found = stopped.left_out(dataset, task)
  return stopped.together(
    {mean.experiment: {m: x for m, x in found.items() if m == mean.method}}
  )


def _networks(config, method):
  """Returns what a method's networks depend on, '' if it has none."""
  spec = config['methods'].get(method)
  if spec is None or spec['predictor'] == 'bayes':
    return ''
  pretraining = config['pretraining'] | {'num_seeds': None}
  return plain.fingerprint(
    {
      'seed': config['seed'],
      'network': config['network'],
      'task': config['tasks'][pretraining['task']],
      'pretraining': pretraining,
    }
  )


def sequences(config: Mapping[str, Any], task: str) -> str:
  """Returns a hash of what the sequences of an evaluation task depend on.

  Args:
    config: Plain values.
    task: One of its tasks.
  """
  evaluation = config['evaluation'] | {'tasks': None}
  return plain.fingerprint(
    {
      'seed': config['seed'],
      'name': task,
      'task': config['tasks'][task],
      'evaluation': evaluation,
    }
  )


def together(
  samples: Mapping[str, bootstrap.Sample],
) -> dict[str, bootstrap.Sample]:
  """Leaves, of networks that several samples share, those that all have.

  That is those on which runs of all of them count; and of repetitions those
  that count for any of them.
  """
  found = {}
  for key, sample in samples.items():
    shared = [x for x in samples.values() if x.networks == sample.networks]
    count = min(len(x.values) for x in shared)
    have = np.all([x.which()[:count].any(1) for x in shared], axis=0)
    used = np.zeros(max(x.values.shape[1] for x in shared), bool)
    for one in shared:
      which = one.which()[:count][have]
      used[: which.shape[1]] |= which.any(0)
    used = used[: sample.values.shape[1]]
    found[key] = sample._replace(
      values=sample.values[:count][have][:, used],
      counted=sample.which()[:count][have][:, used],
    )
  return found
