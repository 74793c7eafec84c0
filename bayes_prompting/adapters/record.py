"""What the file of a tuned prefix or adapter says of itself, in plain values.

See `sharing`, which makes and uses such files.
"""

from collections.abc import Mapping
import json
import os
from typing import Any

import numpy as np

from bayes_prompting import errors
from bayes_prompting import regret
from bayes_prompting import results
from bayes_prompting.experiment import build
from bayes_prompting.experiment import fingerprint
from bayes_prompting.experiment import loading
from bayes_prompting.storage import checkpoints
from bayes_prompting.storage import tensor_file
from bayes_prompting.storage import workdir

# What a file holds of itself, and the types of it.
_FIELDS = {
  'method': str,
  'tuner': dict,
  'run': str,
  'seed': int,
  'repetition': int,
  'learning_rate': float,
  'prefix_init': str,
  'network': (dict, type(None)),
  'prior': dict,
  'target': dict,
  'tuning': dict,
  'regrets': dict,
  'versions': dict,
}
_NETWORK = {'weights': str, 'hash': str, 'vocab_size': int, 'spec': dict}
_TASK = {'name': str, 'spec': dict}


def describe(
  lab: build.Lab,
  folder: workdir.Workdir,
  method: build.Method,
  seed: int,
  at: tuple[int, int, int],
) -> dict[str, Any]:
  """Returns what a file will say of itself.

  Args:
    lab: What ran.
    folder: Where it lies. Regrets are taken from its results, if it has any.
    method: Which method.
    seed: The pretraining seed.
    at: The position on the axes [L, P, R], see `lab.Lab.shape`.
  """
  config = lab.config
  fields = dict(config['methods'][method.name])
  fields.pop('predictor', None)
  prior = fields.pop('task', lab.pretraining_task)
  inits = fields.get('init')
  if isinstance(inits, list) and all(isinstance(x, str) for x in inits):
    fields['init'] = inits[at[1]]
  record = workdir.read_record(folder.path)
  tuning = ('num_steps', 'batch_size', 'length', 'num_sequences', 'schedule')
  return {
    'method': method.name,
    'tuner': fields,
    'run': folder.path.name,
    'seed': seed,
    'repetition': at[2],
    'learning_rate': lab.rates(method)[at[0]],
    'prefix_init': fields.get('init') or '',
    'network': None if method.is_bayes else _network(lab, folder, seed),
    'prior': {'name': prior, 'spec': config['tasks'][prior]},
    'target': {'name': lab.target, 'spec': config['tasks'][lab.target]},
    'tuning': {name: config['tuning'][name] for name in tuning},
    'regrets': _stored_regrets(lab, folder, method.name, seed, at),
    'versions': {x: record.get(x) for x in ('numerical', 'other')},
  }


def _network(lab, folder, seed):
  made = checkpoints.metadata(folder.pretrained(seed))
  return {
    'weights': tensor_file.digest(loading.pretrained(lab, folder, seed)),
    'hash': str(made.get('hash', '')),
    'vocab_size': lab.network.vocab_size,
    'spec': lab.config['network'],
  }


def _stored_regrets(lab, folder, method, seed, at):
  """Returns the paired regrets of a results file, at the report steps."""
  if not folder.results.is_file():
    return {}
  curves = results.select(
    results.load(folder.results).cumulative_regret,
    method=method,
    pretrain_seed=seed,
    estimator='paired',
  )
  rate, init, repetition = at
  curves = curves.isel(
    learning_rate=rate, prefix_init=init, repetition=repetition
  )
  return {
    task: {
      'sequences': fingerprint.sequences(lab.config, task),
      'paired': {
        reference: {
          str(step): _number(float(curves.sel(at | {'step': step})))
          for step in lab.report_steps
        }
        for reference in regret.REFERENCES
        for at in [{'eval_task': task, 'reference': reference}]
      },
    }
    for task in lab.config['evaluation']['tasks']
  }


def _number(value):
  """Returns a number as JSON has it: what is infinite as text."""
  return value if np.isfinite(value) else str(value)


def read(
  path: str | os.PathLike[str],
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
  """Returns the arrays of a file by path, and what it says of itself.

  Raises:
    UserError: If there is none, if it is no adapter, or if it was changed.
  """
  arrays, metadata = tensor_file.load_arrays(path)
  try:
    _check_types('', metadata, _FIELDS)
    if metadata['network'] is not None:
      _check_types('network.', metadata['network'], _NETWORK)
    for task in ('prior', 'target'):
      _check_types(f'{task}.', metadata[task], _TASK)
  except errors.UserError as error:
    raise errors.UserError(f'file: {os.fspath(path)!r}: {error}') from None
  return arrays, metadata


def _check_types(field, values, wanted):
  for name, kind in wanted.items():
    value = values.get(name)
    fits = isinstance(value, kind) and not isinstance(value, bool)
    if name not in values or not fits:
      raise errors.UserError(
        f'{field}{name}: missing or of another type, got '
        f'{tensor_file.short(value)}'
      )


def stored(
  metadata: Mapping[str, Any], task: str, sequences: str
) -> dict[tuple[str, int], float]:
  """Returns the regrets that a file holds, by reference and step.

  Args:
    metadata: What it says of itself; whoever wrote it.
    task: An evaluation task.
    sequences: Which it must have been on, see `fingerprint.sequences`; there
      are none of others.
  """
  held = metadata['regrets'].get(task)
  if not isinstance(held, dict) or held.get('sequences') != sequences:
    return {}
  paired = held.get('paired')
  paired = paired if isinstance(paired, dict) else {}
  return {
    (reference, int(step)): value
    for reference, values in paired.items()
    if isinstance(values, dict)
    for step, value in values.items()
    if isinstance(value, float) and step.isdecimal() and len(step) < 10
  }


def text(metadata: Mapping[str, Any]) -> str:
  """Returns what a file says of itself, for people."""

  def show(value):
    # JSON leaves nothing in it that a terminal would obey.
    line = json.dumps(value)
    return line if len(line) <= 200 else f'{line[:197]}...'

  network, tuning = metadata['network'], metadata['tuning']
  if network is None:
    on = 'exact Bayes of the prior'
  else:
    on = (
      f'{show(network["spec"])}, vocabulary {network["vocab_size"]}, weights '
      f'{show(network["weights"][:12])}, hash {show(network["hash"][:16])}'
    )
  setting = f'learning rate {metadata["learning_rate"]}'
  numerical = metadata['versions'].get('numerical')
  lines = {
    'Method': f'{show(metadata["method"])} of run {show(metadata["run"])}, '
    f'seed {metadata["seed"]}, repetition {metadata["repetition"]}, {setting}',
    'Tuner': show(metadata['tuner']),
    'Network': on,
    'Prior': show(metadata['prior']),
    'Target': show(metadata['target']),
    'Tuning': show(tuning),
    'Versions': show(numerical),
  }
  return '\n'.join(f'{name:<8} {value}' for name, value in lines.items())
