"""One tuned prefix or adapter as a file that somebody else can use.

The file (`portable`) holds the tunable of one repetition at one setting, and
what it belongs to: the tuner's spec, the network by a digest of its weights, or
for methods of exact Bayes the prior's spec, and what came of it. It holds no
network: it is loaded onto the one that it was tuned on, and onto no other.

    sharing.save('runs/demo', 'SoftPT', 'prefix.safetensors')
    predictor, params, state = sharing.load('prefix.safetensors', 'runs/other')
    log_probs = predictor.predict(params, state, tokens)

A file is data, as a workdir is: see `loading`.
"""

from collections.abc import Sequence
import os
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from bayes_prompting import checks
from bayes_prompting import errors
from bayes_prompting import registry
from bayes_prompting import regret
from bayes_prompting import types
from bayes_prompting.adapters import attach
from bayes_prompting.adapters import record
from bayes_prompting.claims import samples
from bayes_prompting.experiment import evaluation
from bayes_prompting.experiment import loading
from bayes_prompting.storage import tensor_file
from bayes_prompting.system import distributed
from bayes_prompting.system import files


def save(
  workdir: str | os.PathLike[str],
  method: str,
  path: str | os.PathLike[str],
  seed: int = 0,
  repetition: int = 0,
  learning_rate: float | None = None,
  prefix_init: str | None = None,
  overwrite: bool = False,
  allow_plugins: bool = False,
) -> dict[str, Any]:
  """Saves what a method tuned, to be loaded elsewhere.

  Args:
    workdir: Of a run that has tuned; regrets are added if it was evaluated.
    method: Its name, e.g. `SoftPT`.
    path: The file.
    seed: The pretraining seed.
    repetition: The tuning repetition.
    learning_rate: Of the grid; by default the best, see `grid.best`.
    prefix_init: Of the grid; by default the best.
    overwrite: Move a file that has this name aside, dated.
    allow_plugins: See `loading.load`.

  Returns:
    What the file says of itself.

  Raises:
    UserError: If there is no such run, method, seed, repetition or setting, if
      the method tunes nothing, or if the file cannot be written.
  """
  path = pathlib.Path(path).expanduser()
  lab, folder = loading.load(workdir, allow_plugins)
  found = lab.methods[checks.one_of('method', method, lab.methods)]
  distributed.on_first(lambda: _check_free(path, overwrite))
  wanted = seed, learning_rate, prefix_init
  _, tunables = loading.tuned(lab, folder, found, *wanted)
  tunable = loading.of_repetition(lab, found, tunables, repetition)
  if not jax.tree.leaves(tunable):
    raise errors.UserError(f'method: {method} tunes nothing, nothing to save')
  at = (*loading.position(lab, folder, found, *wanted[1:]), repetition)
  if loading.stopped(lab, folder, found, seed, at[:2])[repetition]:
    raise errors.UserError(
      f'repetition: {repetition} of {method} was stopped, as its loss, or that '
      'of its network, was not finite; choose another'
    )
  metadata = record.describe(lab, folder, found, seed, at)
  data = tensor_file.encode({'tunable': tunable}, metadata)
  distributed.on_first(lambda: _write(path, data, overwrite))
  return metadata


def _check_free(path, overwrite):
  if path.is_dir() or (path.exists() and not overwrite):
    raise errors.UserError(
      f'file: {str(path)!r} exists; choose another name, or let --overwrite '
      '(overwrite=True) move the old one aside'
    )


def _write(path, data, overwrite):
  _check_free(path, overwrite)
  if path.exists():
    files.move_aside(path, 'file')
  files.write_bytes(path, data)


def load(
  path: str | os.PathLike[str],
  source: attach.Source,
  allow_plugins: bool = False,
) -> tuple[types.Predictor, types.Params, types.State]:
  """Loads what a file makes of a network: as `loading.load_predictor` does.

  Arguments and errors are those of `attaching.attach`. To go on tuning, take
  tuner and tunable from there.
  """
  found = attach.attach(path, source, allow_plugins)
  bound = found.tuner.bind(found.predictor, found.params, found.tunable)
  return found.predictor, *bound


def regrets(
  path: str | os.PathLike[str],
  workdir: str | os.PathLike[str],
  tasks: Sequence[str] = (),
  allow_plugins: bool = False,
) -> pd.DataFrame:
  """Evaluates a file on the evaluation tasks of a workdir.

  Args:
    path: The file.
    workdir: Of a run with the network that it was tuned on.
    tasks: Some of its evaluation tasks; all without any.
    allow_plugins: See `attaching.attach`.

  Returns:
    A row for each task, reference and report step: the paired `regret` in nats
    summed up to the step, mean over the workdir's sequences, its standard error
    `sem`, and `stored`, what it was where it was tuned; NaN if that was on
    other sequences, or is not known. On the same kind of device and with the
    same versions they are the same to the bit.
  """
  with registry.plugins(allow_plugins):
    found = attach.attach(path, workdir)
    lab, _ = loading.load(workdir)
  names = lab.config['evaluation']['tasks']
  for name in tasks:
    checks.one_of('task', name, names)
  rows = []
  with lab.precision():
    for name in tasks or names:
      rows += _regrets(lab, found, name)
  columns = ['eval_task', 'reference', 'step', 'regret', 'sem', 'stored']
  return pd.DataFrame(rows, columns=columns)


def _regrets(lab, found, name):
  """Returns the rows of one task."""
  sizes, mesh = lab.config['evaluation'], lab.row_mesh()
  key = evaluation.task_key(lab.root, name)
  task = evaluation.make_task(
    key, lab.priors[name], sizes['num_sequences'], sizes['length'], mesh
  )
  tunables = jax.tree.map(lambda x: jnp.asarray(x)[None], found.tunable)
  made = evaluation.evaluate(
    found.predictor,
    found.params,
    found.tuner,
    tunables,
    task,
    lab.report_steps,
    mesh=mesh,
  )
  at = (0, slice(None), regret.ESTIMATORS.index('paired'))
  curves, sems = (
    np.asarray(x)[at] for x in (made.cumulative, made.cumulative_sem)
  )
  stored = record.stored(
    found.metadata, name, samples.sequences(lab.config, name)
  )
  return [
    (
      *(name, reference, step),
      *(float(x[step - 1]) for x in (curve, sem)),
      stored.get((reference, step), np.nan),
    )
    for reference, curve, sem in zip(
      regret.REFERENCES, curves, sems, strict=True
    )
    for step in lab.report_steps
  ]
