"""Work that is done is not done again, nor is what was done of the rest."""

from collections.abc import Callable, Mapping, Sequence
from concurrent import futures
import pathlib
import sys
from typing import Any

import jax
import numpy as np
import tqdm

from bayes_prompting import errors
from bayes_prompting import types
from bayes_prompting.storage import checkpoints
from bayes_prompting.system import distributed
from bayes_prompting.system import interruption


class Keeper:
  """Keeps the last few states of one piece of work.

  Writing goes on beside the computation. It is asked after every chunk of work
  whether a state is due: one is in fixed intervals, and when the process is to
  end, which it then does (see `interruption`).
  """

  def __init__(
    self,
    path: pathlib.Path | None,
    belongs: Mapping[str, Any],
    total: int,
    every: int,
    keep: int,
  ):
    """Keeps states in a folder.

    Args:
      path: A folder of their own; nothing is kept with None.
      belongs: Plain values that say what the work is.
      total: Steps of the whole work: what is finished is kept elsewhere.
      every: Steps between two; with 0 nothing is kept.
      keep: How many of the newest stay.
    """
    self._path = path if every else None
    self._belongs = dict(belongs)
    self._total, self._every, self._keep, self._last = total, every, keep, 0
    self._asked = 0
    self._pool = futures.ThreadPoolExecutor(1)
    self._writing = None

  def restore(
    self, template: Callable[[int], types.PyTree]
  ) -> tuple[int, types.PyTree] | None:
    """Returns the newest state that is whole, with its step; None without.

    Args:
      template: Returns shapes and dtypes of the state after so many steps.

    Raises:
      UserError: If what is there belongs to other work.
    """
    found = distributed.on_first(lambda: self._restore(template))
    if found is not None:
      self._last = found[0]
    return found

  def _restore(self, template):
    if self._path is None:
      return None
    try:
      step = checkpoints.newest(self._path)
      if step is None:
        return None
      tree = checkpoints.restore(self._path, template, self._belongs, step)
      return step, tree
    except checkpoints.DamagedError as error:
      # Nothing is lost but time: the same numbers come again.
      warn(f'{error}; starting anew')
    # What is left of it would be taken for newer than what comes.
    checkpoints.remove(self._path)
    return None

  def due(self, step: int) -> bool:
    """Returns whether a state after so many steps is to be kept."""
    asked = interruption.requested()
    # Whichever process is told to end, all of them do.
    self._asked = distributed.largest(asked.number if asked else 0)
    if self._asked:
      return True
    last = step >= self._total
    return bool(self._path) and not last and step - self._last >= self._every

  def keep(self, step: int, tree: types.PyTree) -> None:
    """Keeps a state that is due.

    Args:
      step: Steps done.
      tree: Arrays, whole in every process; copied before this returns, as the
        next step may reuse their memory.

    Raises:
      Interrupted: If the process is to end; the state is written then.
      UserError: If this one, or the one before, could not be written.
    """
    self._last = step
    tree = jax.tree.map(lambda leaf: np.array(leaf), tree)
    distributed.on_first(lambda: self._write(step, tree))
    if self._asked:
      raise interruption.Interrupted(self._asked)

  def _write(self, step, tree):
    """Starts to write; if the process is to end, finishes."""
    self._wait()
    if self._path is not None:
      self._writing = self._pool.submit(
        checkpoints.save_here,
        self._path,
        tree,
        self._belongs,
        step,
        self._keep,
      )
    if self._asked:
      self._wait()

  def _wait(self):
    """Waits for what is being written; raises what went wrong with it."""
    writing, self._writing = self._writing, None
    if writing is not None:
      writing.result()

  def close(self) -> None:
    """Waits for what is being written; what goes wrong with it is said."""
    try:
      self._wait()
    except Exception as error:
      # The work is done, or ends for another reason, which this must not hide.
      warn(f'{type(error).__name__}: {error}')
    finally:
      self._pool.shutdown()

  def __enter__(self):
    return self

  def __exit__(self, *unused):
    self.close()


def restore_or_make(
  places: Sequence[tuple[pathlib.Path, Mapping[str, Any]]],
  template: types.PyTree,
  metadata: dict[str, Any],
  make: Callable[[], types.PyTree],
  require: bool = False,
  unfinished: pathlib.Path | None = None,
) -> types.PyTree:
  """Returns what was kept at one of some places; else makes it, and keeps it.

  Args:
    places: Paths of checkpoints, each with what its metadata must say. What is
      found at one is kept at those before it too.
    template: Its shapes and dtypes.
    metadata: What is kept beside it.
    make: Makes it.
    require: Raise UserError where it would have to be made.
    unfinished: Where it was kept while it was being made, or None.

  Raises:
    UserError: If what is found belongs to something else.
    DamagedError: If all that is found is damaged.
  """
  # What holds no array (NoTuning) is made anew each time.
  places = places if jax.tree.leaves(template) else []
  found, missing = _find(places, template)
  if found is None:
    if places and require:
      raise errors.UserError(
        f'workdir: no checkpoint at {str(places[0][0])!r}; run the part before '
        'first (pretrain, then tune, then evaluate)'
      )
    # Until it is kept, the process leaves where `make` is ready to.
    with interruption.deferred():
      found = make()
      _keep(missing, found, metadata)
  else:
    _keep(missing, found, metadata)
  if unfinished is not None:
    checkpoints.remove(unfinished)
  return found


def _find(places, template):
  """Returns what the first place has that has it whole, and those before it.

  Raises:
    DamagedError: If all that is there is damaged.
  """
  damage, missing = None, []
  for path, belongs in places:
    if checkpoints.exists(path):
      try:
        found = checkpoints.restore(path, template, belongs)
      except checkpoints.DamagedError as error:
        damage = error
      else:
        if damage is not None:
          warn(f'{damage}; taken from {str(path)!r}')
        return found, missing
    missing.append(path)
  if damage is not None:
    raise damage
  return None, missing


def _keep(paths, tree, metadata):
  for path in paths:
    checkpoints.save(path, tree, metadata)


def warn(message: object) -> None:
  """Says something on standard error; of several processes the first does."""
  if distributed.is_first():
    tqdm.tqdm.write(f'warning: {message}', file=sys.stderr)  # Beside bars.
