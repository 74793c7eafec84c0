"""Files that are whole or not there, and one process at a time in a folder.

Whoever writes a file of ours does it here: under a temporary name beside it,
renamed once it is whole. What was there before is there until then, whatever
goes wrong.
"""

from collections.abc import Iterator
import contextlib
import hashlib
import os
import pathlib
import sys
import time
import uuid

from bayes_prompting import errors

try:
  import fcntl
except ImportError:  # Not a Unix: locks hold within a process only.
  fcntl = None

# Seconds after which a temporary file cannot be that of a living process.
_STALE = 24 * 3600

# The locks of this process: file descriptor and depth, by real path.
_HELD = {}


def refusal(
  path: str | os.PathLike[str], error: OSError, field: str, verb: str = 'write'
) -> errors.UserError:
  """Returns the one line for a file that cannot be written, or read."""
  # Libraries raise OSError with text of their own, or with pages of it.
  text = error.strerror or ' '.join(str(error).split()) or type(error).__name__
  return errors.UserError(f'{field}: cannot {verb} {str(path)!r} ({text})')


@contextlib.contextmanager
def replacing(
  path: str | os.PathLike[str], field: str = 'file'
) -> Iterator[pathlib.Path]:
  """Yields a temporary path, which gets the name `path` once it is written.

  Args:
    path: The file; its folder exists. What it held stays until the end.
    field: What the error message starts with.

  Raises:
    UserError: If it cannot be written. Nothing of it is left then.
  """
  path = pathlib.Path(path)
  temporary = path.with_name(f'.{path.name}.{uuid.uuid4().hex[:8]}.part')
  try:
    _remove_stale(path)
    try:
      yield temporary
      _to_disk(temporary)
      temporary.replace(path)
    finally:
      temporary.unlink(missing_ok=True)
  except OSError as error:
    raise refusal(path, error, field) from error


def write_text(
  path: str | os.PathLike[str], text: str, field: str = 'file'
) -> None:
  """Writes text, as UTF-8 with the line ends that it has; see `replacing`."""
  write_bytes(path, text.encode('utf-8'), field)


def write_bytes(
  path: str | os.PathLike[str], data: bytes, field: str = 'file'
) -> None:
  """Writes bytes, see `replacing`."""
  with replacing(path, field) as temporary:
    temporary.write_bytes(data)


def _to_disk(path):
  """Has the system write what it still holds of a file."""
  descriptor = os.open(path, os.O_RDONLY)
  try:
    os.fsync(descriptor)
  finally:
    os.close(descriptor)


def _remove_stale(path):
  """Removes temporary files of `path` that a killed process left."""
  for old in path.parent.glob(f'.{path.name}.*.part'):
    with contextlib.suppress(OSError):
      if time.time() - old.stat().st_mtime > _STALE:
        old.unlink()


def digest(path: str | os.PathLike[str]) -> str:
  """Returns the SHA-256 of a file, in hexadecimal."""
  with open(path, 'rb') as file:
    return hashlib.file_digest(file, 'sha256').hexdigest()


@contextlib.contextmanager
def lock(folder: str | os.PathLike[str]) -> Iterator[None]:
  """Keeps other processes out of a folder, as far as they ask here too.

  The system drops the lock with the process, however it ends. This process may
  take it again inside. Where the file system knows no locks, there is none, and
  a warning says so.

  Args:
    folder: It exists. A file `.lock` is made in it, empty but for the number of
      the process that held it last.

  Raises:
    UserError: If another process holds it, or if it cannot be written.
  """
  path = os.path.realpath(os.path.join(folder, '.lock'))
  held = _HELD.get(path)
  if held is not None and not _same(held[0], path):
    held = None  # The folder was moved aside; this is another.
  if held is None:
    held = [_acquire(path), 0]
    _HELD[path] = held
  held[1] += 1
  try:
    yield
  finally:
    held[1] -= 1
    if not held[1]:
      if _HELD.get(path) is held:
        del _HELD[path]
      os.close(held[0])


def _same(descriptor, path):
  """Returns whether a path still leads to an open file."""
  try:
    return os.path.samestat(os.fstat(descriptor), os.stat(path))
  except OSError:
    return False


def _acquire(path):
  """Opens and locks a file; returns its descriptor."""
  folder = os.path.dirname(path)
  try:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
  except OSError as error:
    raise refusal(folder, error, 'workdir') from error
  try:
    if fcntl is not None:
      fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.ftruncate(descriptor, 0)
    os.write(descriptor, f'{os.getpid()}\n'.encode())
  except BlockingIOError:
    number = os.read(descriptor, 32).decode(errors='replace').strip()
    os.close(descriptor)
    raise errors.UserError(
      f'workdir: {folder!r} is in use by another process'
      + (f' ({number})' if number else '')
      + '; wait until it ends, or choose another folder'
    ) from None
  except OSError as error:
    print(
      f'warning: cannot lock {folder!r} ({error.strerror}); make sure that no '
      'other process works in it',
      file=sys.stderr,
    )
  return descriptor
