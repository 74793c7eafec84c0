"""Records one piece of work under way: its bar, curves and checkpoints.

The work itself, a fit or a search, knows no more than `fit.Recorder`: it asks
what was kept, reports its losses, and hands over a state when one is due.
"""

from collections.abc import Callable, Mapping, Sequence
import contextlib
import time
from typing import Any

import numpy as np

from bayes_prompting import errors
from bayes_prompting import types
from bayes_prompting.experiment import fingerprint
from bayes_prompting.settings import plain
from bayes_prompting.storage import curves
from bayes_prompting.storage import resume
from bayes_prompting.storage import workdir as workdir_lib
from bayes_prompting.system import console
from bayes_prompting.training import fit
from bayes_prompting.training import validation


class Recorder(fit.Recorder):
  """Shows, writes and keeps how one piece of work goes on.

  It is a context manager. Nothing is opened before the work begins, which it
  does by asking for what was kept.
  """

  def __init__(
    self,
    title: str,
    total: int,
    config: Mapping[str, Any],
    folder: workdir_lib.Workdir | None,
    curve_names: Sequence[str] = (),
    unit: str = 'step',
  ):
    """Makes the recorder of one piece of work.

    Args:
      title: Of the bar, and of the folder of checkpoints.
      total: Steps of the whole work.
      config: Of the run, plain values. Its sections `checkpoints` and `debug`
        say how often a state is kept, and whether a loss that is not finite
        ends the run.
      folder: Where curves and checkpoints are written; nowhere with None.
      curve_names: One for each curve of a fit; each has equally many of its
        runs, in their order. Without any the work is a search, whose losses
        are no curve.
      unit: What a step is, for the bar.
    """
    self.every = config['checkpoints']['every']
    self._title, self._total, self._unit = title, total, unit
    self._config, self._folder = config, folder
    self._curve_names = tuple(curve_names)
    self._stopped_runs = set()
    self._validations, self._curves_folder = [], None
    self._reported = []  # Steps done, and when that was.
    self._stack = contextlib.ExitStack()

  def restore(
    self, template: Callable[[int], types.PyTree]
  ) -> tuple[int, types.PyTree] | None:
    """Begins the work: returns what an earlier process left of it, if any.

    Raises:
      UserError: If what is there belongs to other work.
    """
    unfinished = curves_folder = None
    if self._folder is not None:
      unfinished = self._folder.unfinished(self._title)
      curves_folder = self._folder.curves
    self._curves_folder = curves_folder
    self._keeper = self._stack.enter_context(
      resume.Keeper(
        unfinished, self._belongs(), self._total, **self._config['checkpoints']
      )
    )
    kept = self._keeper.restore(template)
    done = kept[0] if kept else 0
    self._bar = self._stack.enter_context(
      curves.Progress(self._title, self._total, self._unit, done)
    )
    self._curves = [
      self._stack.enter_context(curves.Curve(curves_folder, name))
      for name in self._curve_names
    ]
    return kept

  def _belongs(self):
    """Returns what the work is: its numbers depend on nothing else."""
    record = fingerprint.record(self._config)
    return {
      'title': self._title,
      'config': plain.comparable(record['config']),
      'numerics': record['numerics'],
      'numerical': record['numerical'],
    }

  def report(self, done: int, losses: np.ndarray) -> None:
    """Shows and writes losses [steps, R] of the steps since the last report.

    Raises:
      UserError: If `debug.check_finite` is set and a loss is not finite.
    """
    self._reported.append((done, time.perf_counter()))
    if not self._curves:
      self._bar(done)
      return
    first_step = done - len(losses) + 1
    self._say_stopped(first_step, losses)
    # What has ended has no loss.
    losses = np.where(losses == validation.ENDED, np.nan, losses)
    for curve, part in zip(
      self._curves, np.split(losses, len(self._curves), axis=-1), strict=True
    ):
      curve.append(first_step, part)
    self._bar(done, losses[-1:])

  def validated(self, done: int, losses: np.ndarray, ended: np.ndarray) -> None:
    """Writes the losses [R] of a validation, as curves of their own."""
    del ended
    if not self._validations:
      self._validations = [
        self._stack.enter_context(
          curves.Curve(self._curves_folder, f'{name}-validation')
        )
        for name in self._curve_names
      ]
    parts = np.split(losses[None], len(self._validations), axis=-1)
    for curve, part in zip(self._validations, parts, strict=True):
      curve.append(done, part)

  @property
  def seconds(self) -> float:
    """What a step takes, in seconds: the median of what was done at once.

    What compiles is done first, and does not count; NaN if that was all.
    """
    if len(self._reported) < 2:
      return np.nan
    steps, times = np.diff(self._reported, axis=0).T
    return float(np.median(times / steps))

  def _say_stopped(self, first_step, losses):
    """Says which runs are stopped, each once."""
    bad = ~np.isfinite(losses)
    for run in np.flatnonzero(bad.any(0)).tolist():
      if run in self._stopped_runs:
        continue
      self._stopped_runs.add(run)
      row = int(bad[:, run].argmax())
      line = (
        f'{self._title}: run {run} of {losses.shape[1]} is stopped at update '
        f'{first_step + row}, its loss ({losses[row, run]}) or the norm of its '
        'gradient is not finite'
      )
      if self._config['debug']['check_finite']:
        raise errors.UserError(f'{line} (debug.check_finite)')
      console.warn(line)

  def due(self, done: int) -> bool:
    """Returns whether a state is to be kept: at intervals, and before leaving.

    See `resume.Keeper.due`.
    """
    return self._keeper.due(done)

  def keep(self, done: int, tree: types.PyTree) -> None:
    """Keeps a state that is due.

    Raises:
      Interrupted: If the process is to end; the state is written then.
    """
    self._keeper.keep(done, tree)

  def __enter__(self):
    return self

  def __exit__(self, *exception):
    return self._stack.__exit__(*exception)
