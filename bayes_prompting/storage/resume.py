"""Finished work is skipped; interrupted work resumes from its last state."""

from collections.abc import Callable, Mapping, Sequence
from concurrent import futures
import pathlib
from typing import Any

import jax
import numpy as np

from bayes_prompting import errors
from bayes_prompting import types
from bayes_prompting.storage import checkpoints
from bayes_prompting.system import console
from bayes_prompting.system import distributed
from bayes_prompting.system import interruption


class Keeper:
  """Keeps the last few states of one piece of work.

  States are written beside the computation. After every chunk of work the
  computation asks whether a state is due. One is due in fixed intervals, and
  when the process is to end (see `interruption`); it then ends by `keep`.
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
      total: Steps of the whole work, whose result is kept elsewhere.
      every: Steps between two states; with 0 nothing is kept.
      keep: How many of the newest states stay.
    """
    self._path = path if every else None
    self._belongs = dict(belongs)
    self._total, self._every, self._keep, self._last = total, every, keep, 0
    self._asked = 0  # Number of the signal that asks this process to end.
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
    state = distributed.on_first(lambda: self._restore(template))
    if state is not None:
      self._last = state[0]
    return state

  def _restore(self, template):
    path = self._path
    try:
      step = None if path is None else checkpoints.newest(path)
      if step is None:
        return None
      shapes = template(step)
      return step, checkpoints.restore(path, shapes, self._belongs, step)
    except checkpoints.DamagedError as error:
      # Nothing is lost but time: the same numbers come again.
      console.warn(f'{error}; starting anew')
    # What is left of it would be taken for newer than what comes.
    checkpoints.remove(path)
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
      UserError: If this state, or the one before, could not be written.
    """
    self._last = step
    tree = jax.tree.map(np.array, tree)

    def write():
      self._wait()
      if self._path is not None:
        state = self._path, tree, self._belongs, step, self._keep
        self._writing = self._pool.submit(checkpoints.save_here, *state)
      if self._asked:
        self._wait()

    distributed.on_first(write)
    if self._asked:
      raise interruption.Interrupted(self._asked)

  def _wait(self):
    """Waits for what is being written; raises what went wrong with it."""
    writing, self._writing = self._writing, None
    if writing is not None:
      writing.result()

  def close(self) -> None:
    """Waits for what is being written; warns of what went wrong with it."""
    try:
      self._wait()
    except Exception as error:
      # The work is done, or ends for another reason, which this must not hide.
      console.warn(f'{type(error).__name__}: {error}')
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
  """Returns what was kept at one of some places; else makes and keeps it.

  Args:
    places: Paths of checkpoints, each with what its metadata must say. A tree
      that one of them has is kept at those before it too.
    template: Shapes and dtypes of the tree.
    metadata: What is kept beside it.
    make: Makes it.
    require: Raise UserError where it would have to be made.
    unfinished: Where its states were kept while it was being made, or None.

  Raises:
    UserError: If what is there belongs to something else.
    DamagedError: If all that is there is damaged.
  """
  tree, damage, missing = None, None, []
  # What holds no array (NoTuning) is made anew each time.
  places = places if jax.tree.leaves(template) else []
  for path, belongs in places:
    if checkpoints.exists(path):
      try:
        tree = checkpoints.restore(path, template, belongs)
        break
      except checkpoints.DamagedError as error:
        damage = error
    missing.append(path)
  if tree is not None:
    if damage is not None:
      console.warn(f'{damage}; taken from {str(path)!r}')
  elif damage is not None:
    raise damage
  elif places and require:
    raise errors.UserError(
      f'workdir: no checkpoint at {str(places[0][0])!r}; run the part before '
      'first (pretrain, then tune, then evaluate)'
    )
  # Until the tree is kept, the process leaves where `make` is ready to.
  with interruption.deferred():
    tree = make() if tree is None else tree
    for path in missing:
      checkpoints.save(path, tree, metadata)
  if unfinished is not None:
    checkpoints.remove(unfinished)
  return tree
