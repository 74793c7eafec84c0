"""Experiments network by network: each network ends with rows of evidence.

A run answers all of its questions at its end. Here every network is a piece of
work by itself: it is pretrained, adapted by the tuners that are asked for, and
judged, and its numbers are added to a table (`results.evidence`). What has a
row is not computed again. Several processes may share the work: each takes a
network that no other is working on.
"""

from collections.abc import Iterable, Mapping
import datetime
import os
import pathlib
import time
import traceback
from typing import Any, NamedTuple

import ml_collections
import numpy as np

from bayes_prompting import checks
from bayes_prompting import errors
from bayes_prompting import keys
from bayes_prompting import registry
from bayes_prompting import regret
from bayes_prompting.experiment import build
from bayes_prompting.experiment import cost
from bayes_prompting.experiment import evaluation
from bayes_prompting.experiment import exactly
from bayes_prompting.experiment import fingerprint
from bayes_prompting.experiment import reorderings
from bayes_prompting.experiment import run as run_lib
from bayes_prompting.results import evidence
from bayes_prompting.results import stopped
from bayes_prompting.settings import plain
from bayes_prompting.system import compilation
from bayes_prompting.system import console
from bayes_prompting.system import cores
from bayes_prompting.system import files
from bayes_prompting.system import locks
from bayes_prompting.system import provenance

# Which of the estimates are kept: the exact KL, and the headline on the target.
EXACT = ('bayes', 'exact')
HEADLINE = ('oracle', 'paired')
# Not a regret: see `experiment.reorderings`.
REORDERINGS = ('reorderings', 'spread')
_PAUSE = 30  # Seconds, where other processes work on all that is left.


class Unit(NamedTuple):
  """A piece of work: one network of an experiment, and what adapts it.

  Attributes:
    experiment: Its name.
    seed: The pretraining seed.
    methods: Names of methods of the experiment's configuration.
  """

  experiment: str
  seed: int
  methods: tuple[str, ...]


def collect(
  configs: Mapping[str, ml_collections.ConfigDict],
  units: Iterable[Unit],
  folder: str | os.PathLike[str],
  into: str | os.PathLike[str],
) -> list[Unit]:
  """Does what has no row yet, and appends its rows as each tuner ends.

  Args:
    configs: The configuration of each experiment, by name. Of its methods and
      networks the units say which count.
    units: In the order in which they are done. One that another process is
      working on is left to it, and looked at again at the end.
    folder: Where networks and what was tuned are kept; work that is stopped
      goes on from there.
    into: The folder of the table of evidence.

  Returns:
    The units that failed; what went wrong was printed.

  Raises:
    UserError: If a configuration or a folder will not do.
  """
  cores.use()
  compilation.use_cache()
  folder, into = pathlib.Path(folder).absolute(), pathlib.Path(into).absolute()
  for place, field in ((folder, 'workdir'), (into, 'evidence')):
    files.make_folder(place, field)
    files.check_writable(place, field)
  evidence.read(into)  # Before hours end with a table that cannot be read.
  left, failed = list(units), []
  _check(configs, left)
  known = _Known(configs)
  while left:
    busy = []
    for unit in left:
      try:
        _do(known, unit, folder, into)
      except locks.InUse:
        busy.append(unit)
      except errors.UserError as error:
        console.say(f'error: {_title(unit)}: {error}', error=True)
        failed.append(unit)
      except Exception:
        traceback.print_exc()
        failed.append(unit)
    if busy == left:
      time.sleep(_PAUSE)
    left = busy
  return failed


def _title(unit):
  return f'{unit.experiment}, network {unit.seed}'


def _check(configs, units):
  for unit in units:
    checks.one_of('experiment', unit.experiment, tuple(configs))
    for method in unit.methods:
      known = tuple(configs[unit.experiment].methods)
      checks.one_of(f'{unit.experiment}: method', method, known)
  # A torso that cannot be is one line here, and not one for each network.
  for name in dict.fromkeys(unit.experiment for unit in units):
    torso = plain.resolved(plain.of(configs[name]))['network']['torso']
    with registry.plugins():
      registry.make('torsos', f'{name}: network.torso', torso)


class _Known:
  """What the units of an experiment share: built once, sampled once."""

  def __init__(self, configs):
    self._configs = configs
    self._labs = {}
    self._tasks = {}

  def lab(self, name, methods):
    """Returns what some methods of an experiment are, whatever the network."""
    key = name, methods
    if key not in self._labs:
      config = self.config(name, methods)
      self._labs[key] = build.build(config, allow_plugins=True)
    return self._labs[key]

  def config(self, name, methods):
    """Returns the configuration of one network with some methods."""
    config = self._configs[name].copy_and_resolve_references()
    config.pretraining.num_seeds = 1
    config.tuning.methods = methods
    return config

  def in_folder(self, name, method):
    """Returns the configuration of one network with one method, in its folder.

    It is the same whatever is measured of what was tuned.
    """
    config = self.config(name, (method,))
    config.evaluation.report_steps = config.evaluation.reorderings = ()
    return config

  def tasks(self, lab):
    """Returns the evaluation tasks of an experiment, by name.

    What experiments share is sampled once; no more than one needs is kept.
    """
    read = fingerprint.files(lab.config)
    held = {
      task: fingerprint.sequences(lab.config, task, read)
      for task in lab.config['evaluation']['tasks']
    }
    self._tasks = {
      key: self._tasks.get(key) or evaluation.task_of(lab, task)
      for task, key in held.items()
    }
    return {task: self._tasks[key] for task, key in held.items()}


def _do(known, unit, folder, into):
  """Does what is left of a unit."""
  name, seed, methods = unit
  whole = known.lab(name, methods)
  if whole.universal:
    raise errors.UserError(
      f'evaluation.tasks: {", ".join(whole.universal)} had to be drawn from a '
      'prior; evidence is the distance from exact Bayes, and what was recorded '
      'has none'
    )
  left = [x for x in methods if not _is_there(into, whole, unit, x)]
  if not left:
    return
  # One network is one process's at a time, whatever the experiment: it is
  # pretrained once.
  mine = folder / 'locks' / fingerprint.network_hash(whole.config, seed)
  files.make_folder(mine, 'workdir')
  with locks.lock(mine):
    params, was_stopped = None, False
    for method in left:
      if _is_there(into, whole, unit, method):
        continue  # Another process was faster.
      console.say(f'\n{_title(unit)}: {method}')
      # Exact Bayes is the same beside every network.
      own = _seed(whole, unit, method) or 0
      place = folder / f'{name}-{method}-network{own}'
      lab, run_folder = run_lib.open_run(known.in_folder(name, method), place)
      if params is None and not lab.methods[method].is_bayes:
        network = run_lib.meta_train_one(lab, seed, run_folder)
        params = network['params']
        losses = network.get('losses', np.zeros(0))
        was_stopped = bool(~np.isnan(stopped.stopped_step(losses)))
      seconds = []
      outcome = run_lib.tune_one(
        lab,
        lab.methods[method],
        own,
        params or {},
        run_folder,
        clock=seconds.append,
      )
      tasks = known.tasks(whole)
      made = rows(
        whole,
        unit,
        method,
        params or {},
        outcome,
        tasks,
        was_stopped,
        seconds=next(iter(seconds), np.nan),
      )
      evidence.append(into, made)


def _seed(lab, unit, method):
  """Returns which network a row is of; None if it is of exact Bayes."""
  return None if lab.methods[method].is_bayes else unit.seed


def _is_there(into, lab, unit, method):
  """Returns whether a method on a network has all of its rows."""
  table = evidence.at(
    evidence.read(into),
    experiment=unit.experiment,
    pretrain_seed=_seed(lab, unit, method),
    tuner=method,
  )
  for task in lab.config['evaluation']['tasks']:
    settings, numerics = identity(lab.config, method, task)
    of_task = evidence.at(
      table, task=task, settings=settings, numerics=numerics
    )
    there = {*zip(of_task.step, of_task.reference, strict=True)}
    if not there.issuperset(_wanted(lab, task)):
      return False
  return True


def _wanted(lab, task):
  """Returns the steps and references of the rows on a task."""
  references = [EXACT[0]] + [HEADLINE[0]] * (task == lab.target)
  wanted = {(step, x) for step in lab.report_steps for x in references}
  if task in lab.config['evaluation']['reorderings']:
    wanted.add((lab.report_steps[0], REORDERINGS[0]))
  return wanted


def identity(
  config: Mapping[str, Any], method: str, task: str
) -> tuple[str, str]:
  """Returns what a row depends on: a hash of settings, and versions.

  Versions are those of `fingerprint.numerics` that are not 1, as text: nobody
  has changed the mathematics of other modules.

  Args:
    config: Plain values.
    method: The name of one of its methods.
    task: The name of an evaluation task.
  """
  versions = fingerprint.numerics(
    config
    | {
      'tuning': config['tuning'] | {'methods': [method]},
      'evaluation': config['evaluation'] | {'tasks': [task]},
    }
  )
  changed = [f'{name}={x}' for name, x in versions.items() if x != 1]
  return fingerprint.measurement(config, method, task), ' '.join(changed) or '1'


@run_lib.as_configured
def rows(
  lab: build.Lab,
  unit: Unit,
  method: str,
  params: Any,
  outcome: Mapping[str, Any],
  tasks: Mapping[str, evaluation.Task],
  network_stopped: bool = False,
  seconds: float = np.nan,
) -> list[dict[str, Any]]:
  """Judges one network, tuned by one method, and returns its rows of evidence.

  Of exact Bayes they are exact where they can be, see `exactly`.

  Args:
    lab: What was done.
    unit: On what.
    method: By what.
    params: The network's weights; {} for exact Bayes.
    outcome: What `run.tune_one` returns.
    tasks: The evaluation tasks, by name.
    network_stopped: Whether its pretraining was stopped; nothing counts then.
    seconds: Of an update; NaN where it was tuned before.
  """
  how = lab.methods[method]
  if how.shape[:2] != (1, 1):
    raise errors.UserError(
      'tuning: evidence is of one learning rate and one start, got '
      f'{len(how.learning_rates)} and {len(how.tuners)}'
    )
  counted = np.ones(how.repetitions, bool)
  if 'losses' in outcome:
    counted = np.isnan(stopped.stopped_step(outcome['losses'].T))
  if not how.is_bayes:
    counted &= not network_stopped
  made = []
  origin = _origin(lab, how, 'losses' in outcome)
  origin |= cost.of_method(lab, how)._asdict() | {'seconds': seconds}
  for task, sampled in tasks.items():
    regrets = evaluation.evaluate(
      how.predictor,
      params,
      how.tuner,
      outcome['tunable'],
      sampled,
      lab.report_steps,
      mesh=lab.row_mesh(),
    )
    # Repetitions, references, estimators, report steps, sequences.
    sequences = np.asarray(regrets.sequences, np.float64)
    estimates = (EXACT, HEADLINE) if task == lab.target else (EXACT,)
    exact = None
    if how.is_bayes:
      sums = exactly.Sums(lab.priors[task], lab.config['evaluation']['length'])
      exact = sums.of_runs(how.prior, how.tuner, outcome['tunable'])
    numbers = []
    for reference, estimator in estimates:
      i = regret.REFERENCES.index(reference)
      of = sequences[:, i, regret.ESTIMATORS.index(estimator)]
      for step, values in zip(lab.report_steps, of.swapaxes(0, 1), strict=True):
        measured = evidence.measured(values[counted])
        if exact is not None:
          estimator = 'exact'
          known = exact[counted, i, :step].sum(-1)
          measured = evidence.measured_exactly(known)
        numbers.append((step, reference, estimator, measured))
    if task in lab.config['evaluation']['reorderings']:
      values = reorderings.of_runs(
        how.predictor,
        how.tuner.bind,
        params,
        outcome['tunable'],
        sampled.tokens[:, : lab.report_steps[0]],
        keys.stream(lab.root, 'reorderings', task, unit.seed),
      )
      measured = evidence.measured(values[counted])
      numbers.append((lab.report_steps[0], *REORDERINGS, measured))
    settings, numerics = identity(lab.config, method, task)
    made += [
      {
        'experiment': unit.experiment,
        'pretrain_seed': _seed(lab, unit, method),
        'tuner': method,
        'task': task,
        'step': step,
        'reference': reference,
        'estimator': estimator,
        'settings': settings,
        'numerics': numerics,
        **measured,
        'stopped': int((~counted).sum()),
        **origin,
      }
      for step, reference, estimator, measured in numbers
    ]
  return made


def _origin(lab, how, by_gradient):
  """Returns how a row came about."""
  numerical = provenance.provenance()['numerical']
  versions = ('jax', 'jaxlib', 'flax', 'optax')
  spec = plain.resolved(lab.config)['methods'][how.name]
  inits = dict.fromkeys(x for names in plain.inits(spec) for x in names)
  return {
    'learning_rate': how.learning_rates[0] if by_gradient else np.nan,
    'prefix_init': ' '.join(inits),
    'packages': ' '.join(f'{x} {numerical[x]}' for x in versions),
    'device': numerical['device'],
    'date': datetime.date.today().isoformat(),
  }
