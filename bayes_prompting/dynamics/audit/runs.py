"""Audits of a finished run: its networks, and what was tuned on them."""

from collections.abc import Mapping, Sequence
import functools
import json
import os
import pathlib
from typing import NamedTuple

import jax
import numpy as np
import pandas as pd

from bayes_prompting import checks
from bayes_prompting import errors
from bayes_prompting import predictors
from bayes_prompting.dynamics.audit import question
from bayes_prompting.dynamics.audit import verdicts
from bayes_prompting.experiment import build
from bayes_prompting.experiment import loading
from bayes_prompting.reporting import style
from bayes_prompting.storage import workdir
from bayes_prompting.system import files
from bayes_prompting.system import locks

# The pretrained network, as methods of a run call it.
UNTUNED = 'NoTuning'
COLUMNS = (
  *('method', 'network', 'prior', 'task', 'check', 'title', 'value', 'low'),
  *('high', 'unit', 'p_value', 'adjusted', 'status', 'counts', 'sentence'),
)


class Audited(NamedTuple):
  """One predictor of a run, and what was found.

  Attributes:
    method: The name of its method.
    network: The pretraining seed; 0 for a predictor without a network.
    task: Where sequences came from: the name of a task.
    audit: What was found.
  """

  method: str
  network: int
  task: str
  audit: verdicts.Audit


def audits(
  path: str | os.PathLike[str],
  methods: Sequence[str] = (),
  prior: str = '',
  task: str = '',
  length: int | None = None,
  num_sequences: int = 256,
  tolerance: float = verdicts.TOLERANCE,
  allow_plugins: bool = False,
) -> list[Audited]:
  """Asks of the predictors of a finished run whether they are Bayesian.

  Args:
    path: The workdir.
    methods: Those of the run that are asked, each on all its networks, in the
      first repetition that counts; by default the networks without a prompt.
    prior: The task of the configuration that they are held against; by default
      what they were made for: the pretraining task, or the target of what was
      tuned. If that was recorded there is none.
    task: The task that sequences come from; by default the prior.
    length: Of sequences; by default the shorter one of pretraining and tuning.
    num_sequences: See `question.audit`.
    tolerance: See `question.audit`.
    allow_plugins: See `loading.load`.

  Raises:
    UserError: As `loading.load` and `question.audit`; if there is no such
      method or task, or if every repetition of a method was stopped.
  """
  lab, folder = loading.load(path, allow_plugins)
  methods = methods or (UNTUNED,)
  for method in methods:
    checks.one_of('methods', method, {*lab.methods, UNTUNED})
  for field, name in (('prior', prior), ('task', task)):
    if name:
      checks.one_of(field, name, lab.priors)
  if length is None:
    length = min(lab.pretraining.length, lab.tuning.length)
  ask = functools.partial(
    question.audit,
    length=length,
    num_sequences=num_sequences,
    tolerance=tolerance,
  )
  audited = []
  with lab.precision():
    for name in methods:
      wanted = prior or _made_for(lab, name)
      source = task or wanted
      # Of recorded sequences nobody knows the prior.
      known = prior or lab.priors[wanted].recorded is None
      for seed in _seeds(lab, name):
        audit = ask(
          *_predictor(lab, folder, name, seed),
          prior=lab.priors[wanted] if known else None,
          task=lab.priors[source],
          prior_name=wanted,
        )
        audited.append(Audited(name, seed, source, audit))
  return audited


def _seeds(lab, name):
  if name in lab.methods:
    return lab.methods[name].seeds
  return range(lab.num_seeds)


def _made_for(lab, name):
  """Returns the task that a method's predictor was made for."""
  if name not in lab.methods:
    return lab.pretraining_task
  method = lab.methods[name]
  of_target = predictors.bayesian(lab.priors[lab.target])
  if method.is_bayes and method.predictor is of_target:
    return lab.target
  tuned = jax.tree.leaves(build.tuned_shapes(lab, method)['tunable'])
  return lab.target if tuned else lab.pretraining_task


def _predictor(lab, folder, name, seed):
  """Returns predictor, weights and state of a method on a network."""
  if name not in lab.methods:
    return lab.network, loading.pretrained(lab, folder, seed), None
  method = lab.methods[name]
  counts = np.flatnonzero(~loading.stopped(lab, folder, method, seed))
  if not counts.size:
    raise errors.UserError(
      f'methods: every repetition of {name} on network {seed} was stopped'
    )
  tuner, tunables = loading.tuned(lab, folder, method, seed)
  tunable = loading.of_repetition(lab, method, tunables, int(counts[0]))
  params = {} if method.is_bayes else loading.pretrained(lab, folder, seed)
  bind = jax.jit(functools.partial(tuner.bind, method.predictor))
  return method.predictor, *bind(params, tunable)


def text(audited: Sequence[Audited]) -> str:
  """Returns what was found of each, as text."""
  return '\n\n'.join(
    f'{one.method}, network {one.network}, on {one.task}\n{one.audit}'
    for one in audited
  )


def table(records: Sequence[Mapping]) -> pd.DataFrame:
  """Returns a row for each check, with the columns `COLUMNS`.

  Args:
    records: What `audit.json` holds of each predictor.
  """
  rows = [
    {**record, **check, 'check': check['name']}
    for record in records
    for check in record['checks']
  ]
  return pd.DataFrame(rows, columns=COLUMNS)


def write(
  audited: Sequence[Audited], path: str | os.PathLike[str]
) -> list[pathlib.Path]:
  """Writes `audit/` into a workdir: audit.json, audit.csv, and figures.

  Other predictors of the run that were audited before stay in the files.

  Returns:
    The paths of the files.
  """
  folder = workdir.Workdir(pathlib.Path(path).expanduser().absolute()).audit
  with locks.lock(folder.parent):
    files.make_folder(folder, 'workdir')
    file = folder / 'audit.json'
    records = {}
    if file.exists():
      for record in files.read_json(file, 'workdir').get('audits', []):
        records[record['method'], record['network']] = record
    for one in audited:
      records[one.method, one.network] = {
        'method': one.method,
        'network': one.network,
        'task': one.task,
        **one.audit.plain(),
      }
    makers = {
      f'{one.method}-seed{one.network}': functools.partial(_figure, one)
      for one in audited
    }
    drawn = style.write_all(makers, folder)
    records = [records[key] for key in sorted(records)]
    frame = table(records)
    files.write_text(
      folder / 'audit.csv', frame.to_csv(index=False, float_format='%.7g')
    )
    # It comes last: what it names is there.
    files.write_text(file, json.dumps({'audits': records}, indent=1) + '\n')
  return [file, folder / 'audit.csv', *drawn]


def _figure(one):
  # Imported late: Matplotlib may refuse its own settings.
  from bayes_prompting.dynamics.audit import figures

  title = f'{one.method}, network {one.network}, on {one.task}'
  return figures.figure(one.audit, title)
