"""Curves as they come (JSON lines and TensorBoard) and progress bars."""

import contextlib
import json
import pathlib
import shutil

import numpy as np

from bayes_prompting.system import console
from bayes_prompting.system import distributed
from bayes_prompting.system import files


class Curve:
  """Writes one training curve: JSON lines, and TensorBoard beside it.

  Each line is `{"step": k, "loss": [one for each repetition]}`, in nats a
  sequence; null is what is not finite. On a grid each setting has a curve of
  its own, named after it (`SoftPT-seed0-lr0.001-zeros`). What an unfinished run
  left under the same name is replaced: a run that goes on begins with the
  losses it had.
  """

  def __init__(self, folder: pathlib.Path | None, name: str):
    """Opens the curve `name` in `folder`; with None nothing is written.

    Of several processes the first writes it.
    """
    self._file = self._board = None
    if folder is None or not distributed.is_first():
      return
    self._path = folder / f'{name}.jsonl'
    import tensorboardX  # It takes long, and a finished run has no curves.

    board = folder / 'tensorboard' / name
    with self._named():
      folder.mkdir(parents=True, exist_ok=True)
      shutil.rmtree(board, ignore_errors=True)
      self._file = self._path.open('w', encoding='utf-8')
      self._board = tensorboardX.SummaryWriter(str(board))

  @contextlib.contextmanager
  def _named(self):
    """Says in one line what cannot be written."""
    try:
      yield
    except OSError as error:
      raise files.refusal(self._path, error, 'workdir') from error

  def append(self, first_step: int, losses: np.ndarray) -> None:
    """Appends losses [steps, R] of the updates from `first_step` on."""
    if self._file is None:
      return
    with self._named():
      self._append(first_step, losses)

  def _append(self, first_step, losses):
    for step, row in enumerate(losses, first_step):
      finite = row[np.isfinite(row)]
      values = [float(f'{x:.6g}') if np.isfinite(x) else None for x in row]
      self._file.write(json.dumps({'step': step, 'loss': values}) + '\n')
      if len(finite):
        self._board.add_scalar('loss', float(np.mean(finite)), step)
    self._file.flush()

  def close(self) -> None:
    """Closes the files."""
    if self._file is not None:
      with self._named(), contextlib.closing(self._board):
        self._file.close()

  def __enter__(self):
    return self

  def __exit__(self, *unused):
    self.close()


class Progress:
  """A progress bar with the loss and the rate, on standard error."""

  def __init__(self, title: str, total: int, unit: str = 'step', done: int = 0):
    """Opens a bar of `total` units; of several processes the first shows it.

    What was `done` before counts, but not for the rate.
    """
    self._bar = console.bar(title, total, unit, done, distributed.is_first())

  def __call__(self, done: int, losses: np.ndarray | None = None) -> None:
    """Shows that `done` units are finished, with the latest losses in nats.

    Of many it shows the median: one that runs away does not hide the others.
    """
    finite = [] if losses is None else losses[np.isfinite(losses)]
    if len(finite):
      text = f'loss {np.median(finite):.6g} nats'
      self._bar.set_postfix_str(text, refresh=False)
    self._bar.update(done - self._bar.n)

  def close(self) -> None:
    """Closes the bar."""
    self._bar.close()

  def __enter__(self):
    return self

  def __exit__(self, *unused):
    self.close()
