"""Saves one tuned prefix or adapter as a file that somebody else can use.

The file (`tensor_file`) holds the tunable of one repetition at one setting, and
says what it belongs to: the tuner's spec; the network, by a digest of its
weights, or the prior's spec for a method of exact Bayes; and the regrets that
it had. It holds no network. It is loaded onto the network that it was tuned on,
and onto no other.

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
import numpy as np
import pandas as pd

from bayes_prompting import checks
from bayes_prompting import errors
from bayes_prompting import registry
from bayes_prompting import regret
from bayes_prompting import types
from bayes_prompting.adapters import attach
from bayes_prompting.adapters import record
from bayes_prompting.experiment import evaluation
from bayes_prompting.experiment import exactly
from bayes_prompting.experiment import fingerprint
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
    workdir: Of a run that has tuned. If the run was also evaluated, the file
      holds its regrets.
    method: The method's name, e.g. `SoftPT`.
    path: The file.
    seed: The pretraining seed.
    repetition: The tuning repetition.
    learning_rate: One of the grid; by default the best, see `selection.best`.
    prefix_init: One of the grid; by default the best.
    overwrite: Whether to move a file that has this name aside, dated.
    allow_plugins: See `loading.load`.

  Returns:
    What the file says.

  Raises:
    UserError: If there is no such run, method, seed, repetition or setting, if
      the method tunes nothing, if the repetition was stopped, or if the file
      cannot be written.
  """
  path = pathlib.Path(path).expanduser()
  lab, folder = loading.load(workdir, allow_plugins)
  tuned = lab.methods[checks.one_of('method', method, lab.methods)]
  distributed.on_first(lambda: _check_free(path, overwrite))
  setting = learning_rate, prefix_init
  _, tunables = loading.tuned(lab, folder, tuned, seed, *setting)
  tunable = loading.of_repetition(lab, tuned, tunables, repetition)
  if not jax.tree.leaves(tunable):
    raise errors.UserError(f'method: {method} tunes nothing, nothing to save')
  position = loading.position(lab, folder, tuned, *setting)
  if loading.stopped(lab, folder, tuned, seed, position)[repetition]:
    raise errors.UserError(
      f'repetition: {repetition} of {method} was stopped, as its loss, or that '
      'of its network, was not finite; choose another'
    )
  metadata = record.describe(lab, folder, tuned, seed, *position, repetition)
  data = tensor_file.encode({'tunable': tunable}, metadata)

  def write():
    _check_free(path, overwrite)
    if path.exists():
      files.move_aside(path, 'file')
    files.write_bytes(path, data)

  distributed.on_first(write)
  return metadata


def _check_free(path, overwrite):
  if path.is_dir() or (path.exists() and not overwrite):
    raise errors.UserError(
      f'file: {str(path)!r} exists; choose another name, or let --overwrite '
      '(overwrite=True) move the old one aside'
    )


def load(
  path: str | os.PathLike[str],
  source: attach.Source,
  allow_plugins: bool = False,
) -> tuple[types.Predictor, types.Params, types.State]:
  """Loads a predictor as a file adapts it, see `loading.load_predictor`.

  `attach.attach` returns tuner and tunable instead, for further tuning.

  Args:
    path: The file.
    source: The workdir of any run with the network of the file, or predictor
      and weights; see `attach.attach`.
    allow_plugins: Whether the file and the workdir may have modules outside the
      package imported, which runs their code.

  Returns:
    Predictor, weights and state, as `load_predictor` returns them.

  Raises:
    UserError: If the file cannot be used, or was tuned on something else; both
      are named.
  """
  adapter = attach.attach(path, source, allow_plugins)
  predictor, params = adapter.predictor, adapter.params
  return predictor, *adapter.tuner.bind(predictor, params, adapter.tunable)


def regrets(
  path: str | os.PathLike[str],
  workdir: str | os.PathLike[str],
  tasks: Sequence[str] = (),
  allow_plugins: bool = False,
) -> pd.DataFrame:
  """Evaluates a file on the evaluation tasks of a workdir.

  Args:
    path: The file.
    workdir: Of a run with the network that the file was tuned on.
    tasks: Some of the run's evaluation tasks; by default all.
    allow_plugins: See `attach.attach`.

  Returns:
    A row for each task, reference and report step. `regret` is the paired
    regret in nats, summed up to the step, mean over the workdir's sequences,
    or a closed sum where exact Bayes has one, as in results; `sem` is its
    standard error. `stored` is the regret that the file holds; NaN
    if it is on other sequences or not known. With the same versions, on as
    many devices of the same kind, `regret` and `stored` agree to the bit.
  """
  with registry.plugins(allow_plugins):
    adapter = attach.attach(path, workdir)
    lab, _ = loading.load(workdir)
  names = lab.config['evaluation']['tasks']
  for name in tasks:
    checks.one_of('task', name, names)
  rows = []
  with lab.precision():
    for name in tasks or names:
      rows += _regrets(lab, adapter, name)
  columns = ['eval_task', 'reference', 'step', 'regret', 'sem', 'stored']
  return pd.DataFrame(rows, columns=columns)


def _run(adapter):
  """Returns the tunable with the axis [R] of a single run."""
  return jax.tree.map(lambda x: np.asarray(x)[None], adapter.tunable)


def _exact(lab, adapter, name):
  """Returns what exact Bayes loses, and zeros, [2, N]; None if not known."""
  if adapter.prior is None:
    return None
  sums = exactly.Sums(lab.priors[name], lab.config['evaluation']['length'])
  losses = sums.of_runs(adapter.prior, adapter.tuner, _run(adapter))
  if losses is None:
    return None
  # As results are stored.
  means = losses[0].cumsum(-1).astype(np.float32)
  return means, np.zeros_like(means)


def _sampled(lab, adapter, name):
  """Returns means over the sequences of a task and standard errors, [2, N]."""
  evaluated = evaluation.evaluate(
    adapter.predictor,
    adapter.params,
    adapter.tuner,
    _run(adapter),
    evaluation.task_of(lab, name),
    lab.report_steps,
    mesh=lab.row_mesh(),
  )
  return tuple(
    np.asarray(x)[0, :, regret.ESTIMATORS.index(lab.estimates(name)[1])]
    for x in (evaluated.cumulative, evaluated.cumulative_sem)
  )


def _regrets(lab, adapter, name):
  """Returns the rows of one task."""
  means, sems = _exact(lab, adapter, name) or _sampled(lab, adapter, name)
  read = fingerprint.files(lab.config)
  sequences = fingerprint.sequences(lab.config, name, read)
  stored = record.stored(adapter.metadata, name, sequences)
  return [
    (
      *(name, reference, step),
      *(float(x[index, step - 1]) for x in (means, sems)),
      stored.get((reference, step), np.nan),
    )
    for index, reference in enumerate(lab.estimates(name)[0])
    for step in lab.report_steps
  ]
