"""One process at a time in a folder, as far as all ask here."""

from collections.abc import Iterator
import contextlib
import dataclasses
import os
import platform
import threading
import time

from bayes_prompting import errors
from bayes_prompting.system import console

try:
  import fcntl
except ImportError:  # Not a Unix: locks hold within a process only.
  fcntl = None

NAME = '.lock'
_PAUSE = 0.1  # Seconds between two looks at a lock that is waited for.


class InUse(errors.UserError):
  """Another process, or another thread, works in a folder."""


@dataclasses.dataclass
class _Held:
  """A lock of this process: who took it, and how often."""

  descriptor: int | None  # None in a forked child, which holds nothing.
  thread: int
  depth: int = 0


_held: dict[str, _Held] = {}  # By real path.
_guard = threading.RLock()  # Of that dict.


@contextlib.contextmanager
def lock(folder: str | os.PathLike[str], wait: bool = False) -> Iterator[None]:
  """Keeps other processes out of a folder, as far as they ask here too.

  The system drops the lock with the process, however it ends. The thread that
  has it may take it again inside; another thread may not, nor a forked child.
  Where the file system knows no locks, there is none, and a warning says so.

  Args:
    folder: It exists. A file `.lock` is in it meanwhile, which says who holds
      it; one that a killed process left means nothing.
    wait: Wait until it is free, for what takes no longer than a file to write.

  Raises:
    InUse: If another process holds it, or another thread.
    UserError: If it cannot be written.
  """
  path = os.path.join(os.path.realpath(folder), NAME)
  while True:
    try:
      held = _take(path)
      break
    except InUse:
      if not wait:
        raise
      time.sleep(_PAUSE)
  try:
    yield
  finally:
    with _guard:
      held.depth -= 1
      if not held.depth:
        _release(path, held)


def _take(path):
  """Takes a lock, or takes it once more; returns it."""
  with _guard:
    held = _held.get(path)
    if held is not None and not _leads_to(path, held.descriptor):
      held = None  # That folder was moved aside; this is another.
    if held is not None and held.thread != threading.get_ident():
      raise _in_use(path, 'another thread of this process')
    if held is None:
      held = _held[path] = _Held(_acquire(path), threading.get_ident())
    held.depth += 1
    return held


def _acquire(path):
  """Opens and locks a file; returns its descriptor."""
  while True:
    try:
      descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
      raise errors.UserError(
        f'workdir: cannot write {path!r} ({error.strerror})'
      ) from None
    try:
      _flock(descriptor, path)
      # Whoever held it may have removed it since it was opened.
      if _leads_to(path, descriptor):
        _sign(descriptor)
        return descriptor
    except BaseException:
      os.close(descriptor)
      raise
    os.close(descriptor)


def _flock(descriptor, path):
  if fcntl is None:
    return
  try:
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
  except BlockingIOError:
    name = os.pread(descriptor, 256, 0).decode(errors='replace').strip()
    name = f'another process ({name})' if name else 'another process'
    raise _in_use(path, name) from None
  except OSError as error:
    console.warn(
      f'cannot lock {os.path.dirname(path)!r} ({error.strerror}); '
      'make sure that no other process works in it'
    )


def _in_use(path, whom):
  return InUse(
    f'workdir: {os.path.dirname(path)!r} is in use by {whom}; wait until it '
    'ends, or choose another folder'
  )


def _sign(descriptor):
  """Writes who holds the lock, if there is room; it holds without."""
  with contextlib.suppress(OSError):
    os.ftruncate(descriptor, 0)
    os.write(descriptor, f'{os.getpid()} on {platform.node()}\n'.encode())


def _leads_to(path, descriptor):
  """Returns whether a path leads to an open file."""
  try:
    return os.path.samestat(os.fstat(descriptor), os.stat(path))
  except (OSError, TypeError):  # Nothing there; no descriptor.
    return False


def _release(path, held):
  """Removes a lock's file, and then unlocks it."""
  if _held.get(path) is held:
    del _held[path]
  if held.descriptor is None:
    return
  if _leads_to(path, held.descriptor):
    with contextlib.suppress(OSError):
      os.unlink(path)
  os.close(held.descriptor)


def _forget():
  """Lets go of everything in a forked child: the locks are its parent's.

  Without it, they would outlive a parent that is killed.
  """
  global _guard
  _guard = threading.RLock()  # Another thread may have held it.
  for held in _held.values():
    os.close(held.descriptor)
    held.descriptor = None
  _held.clear()


if hasattr(os, 'register_at_fork'):
  os.register_at_fork(after_in_child=_forget)
