"""What the file of a tuned prefix or adapter says about it, in plain values.

`sharing` makes and uses such files. Whoever wrote a file may have written
anything, so its fields are checked before they are used.
"""

from collections.abc import Mapping
import json
import os
from typing import Any

import numpy as np

from bayes_prompting import errors
from bayes_prompting import results
from bayes_prompting.experiment import build
from bayes_prompting.experiment import fingerprint
from bayes_prompting.experiment import loading
from bayes_prompting.settings import plain
from bayes_prompting.storage import checkpoints
from bayes_prompting.storage import tensor_file
from bayes_prompting.storage import workdir

# The fields of a file, and their types. The network of exact Bayes is None.
_TASK = {'name': str, 'spec': dict, 'files': dict}
_FIELDS = {
  'method': str,
  'tuner': dict,
  'run': str,
  'seed': int,
  'repetition': int,
  'learning_rate': float,
  'network': {'weights': str, 'hash': str, 'vocab_size': int, 'spec': dict},
  'prior': _TASK,
  'target': _TASK,
  'tuning': dict,
  'regrets': dict,
  'versions': dict,
}
_TUNING = ('num_steps', 'batch_size', 'length', 'num_sequences', 'schedule')


def describe(
  lab: build.Lab,
  folder: workdir.Workdir,
  method: build.Method,
  seed: int,
  rate: int,
  init: int,
  repetition: int,
) -> dict[str, Any]:
  """Returns what a file will say.

  Args:
    lab: The configuration, built.
    folder: Its workdir. Regrets are taken from its results, if it has any.
    method: The method.
    seed: The pretraining seed.
    rate: The index of the learning rate in the grid.
    init: The index of the prefix initialisation in the grid.
    repetition: The tuning repetition.
  """
  config, run = lab.config, workdir.read_record(folder.path)
  read = fingerprint.files(config)
  tuner = dict(config['methods'][method.name])
  tuner.pop('predictor', None)
  prior = lab.pretraining_task
  if method.is_bayes:  # Else it is an argument of the tuner's own.
    prior = tuner.pop('task', prior)
  tuner = plain.each_init(tuner)[init]
  network = None
  if not method.is_bayes:
    made = checkpoints.metadata(folder.pretrained(seed))
    network = {
      'weights': tensor_file.digest(loading.pretrained(lab, folder, seed)),
      'hash': str(made.get('hash', '')),
      'vocab_size': lab.network.vocab_size,
      'spec': config['network'],
    }
  regrets = {}
  if folder.results.is_file():
    sums = results.select(
      results.load(folder.results).cumulative_regret,
      tuner=method.name,
      pretrain_seed=seed,
    ).isel(learning_rate=rate, prefix_init=init, repetition=repetition)
    regrets = {
      task: _regrets(lab, task, sums.sel(eval_task=task), read)
      for task in config['evaluation']['tasks']
    }
  return {
    'method': method.name,
    'tuner': tuner,
    'run': folder.path.name,
    'seed': seed,
    'repetition': repetition,
    'learning_rate': method.learning_rates[rate],
    'network': network,
    **{
      kind: {
        'name': task,
        'spec': config['tasks'][task],
        'files': read.get(task, {}),
      }
      for kind, task in (('prior', prior), ('target', lab.target))
    },
    'tuning': {name: config['tuning'][name] for name in _TUNING},
    'regrets': regrets,
    'versions': {name: run.get(name) for name in ('numerical', 'other')},
  }


def _regrets(lab, task, sums, read):
  """Returns the regrets of one task, and a hash of its sequences."""
  references, estimator = lab.estimates(task)
  sums = sums.sel(estimator=estimator)
  values = [
    (reference, step, float(sums.sel(reference=reference, step=step)))
    for reference in references
    for step in lab.report_steps
  ]
  return {
    'sequences': fingerprint.sequences(lab.config, task, read),
    # JSON has no infinity: it is kept as text.
    'paired': [(*at, x if np.isfinite(x) else str(x)) for *at, x in values],
  }


def read(
  path: str | os.PathLike[str],
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
  """Returns the arrays of a file by path, and what it says about them.

  Raises:
    UserError: If there is no such file, if it is no adapter, or if it was
      changed.
  """
  arrays, metadata = tensor_file.load_arrays(path)
  fields = dict(_FIELDS)
  if 'network' in metadata and metadata['network'] is None:
    del fields['network']
  try:
    _check('', metadata, fields)
  except errors.UserError as error:
    raise errors.UserError(f'file: {os.fspath(path)!r}: {error}') from None
  return arrays, metadata


def _check(field, value, kind):
  """Checks that a value is of a type, or has fields of these types."""
  if isinstance(kind, dict):
    inside = value if isinstance(value, dict) else {}
    for name, kind_inside in kind.items():
      _check(f'{field}.{name}'.lstrip('.'), inside.get(name), kind_inside)
  elif not isinstance(value, kind) or isinstance(value, bool):
    raise errors.UserError(
      f'{field}: missing or of another type, got {tensor_file.short(value)}'
    )


def stored(
  metadata: Mapping[str, Any], task: str, sequences: str
) -> dict[tuple[str, int], float]:
  """Returns the regrets that a file holds, by reference and step.

  Args:
    metadata: What the file says, whoever wrote it.
    task: An evaluation task.
    sequences: A hash of the sequences, see `fingerprint.sequences`. The result
      is empty if the file's regrets are on others, or are malformed.
  """
  try:
    held = metadata['regrets'][task]
    if held['sequences'] != sequences:
      return {}
    return {(ref, int(step)): float(x) for ref, step, x in held['paired']}
  except (KeyError, OverflowError, TypeError, ValueError):
    return {}


def text(metadata: Mapping[str, Any]) -> str:
  """Returns what a file says, but for its regrets, in a line for each field."""
  # JSON escapes whatever a terminal would obey.
  values = {x: json.dumps(metadata[x]) for x in _FIELDS if x != 'regrets'}
  return '\n'.join(
    f'{name:<14} {value if len(value) <= 300 else f"{value[:297]}..."}'
    for name, value in values.items()
  )
