"""Files that are whole or not there, and one process at a time in a folder.

Whoever writes a file of ours does it here: under a temporary name beside it,
renamed once it is whole. What was there before is there until then, whatever
goes wrong. Whoever reads one back learns in one line what is wrong with it.
"""

from collections.abc import Iterator
import contextlib
import datetime
import errno
import hashlib
import json
import math
import os
import pathlib
import re
import shutil
import time
from typing import Any
import uuid

from bayes_prompting import errors
from bayes_prompting.system import console

# Seconds after which a temporary file cannot be that of a living process.
STALE = 24 * 3600

# Of this version, and those without a number that older ones left.
_TEMPORARY = re.compile(
  r'\..+\.(nc|csv|json|jsonl|md|html|png|pdf|job|probe)(\.[0-9a-f]{8})?\.part'
)
# A folder of that kind, as `checkpoints` names them.
_DRAFT = re.compile(r'\..+\.[0-9a-f]{8}')
# What a seal adds to the end of a file, before 64 hexadecimal digits.
_SEAL = b'\nsha256 of all before: '
_SEAL_SIZE = len(_SEAL) + 64 + 1
_LARGEST_JSON = 2**26  # Bytes; ours have some thousands.


def refusal(
  path: str | os.PathLike[str],
  error: Exception,
  field: str,
  verb: str = 'write',
) -> errors.UserError:
  """Returns the one line for a file that cannot be written, or read."""
  return errors.UserError(
    f'{field}: cannot {verb} {str(path)!r} ({why(error)})'
  )


def why(error: BaseException) -> str:
  """Returns what an exception says, in few words.

  Libraries raise OSError with text of their own, or with pages of it.
  """
  text = getattr(error, 'strerror', None) or str(error) or type(error).__name__
  text = ' '.join(str(text).split())
  return text if len(text) <= 200 else f'{text[:200]}...'


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
      # If this fails too, what failed first says more.
      with contextlib.suppress(OSError):
        temporary.unlink()
  except OSError as error:
    raise refusal(path, error, field) from None


def write_text(
  path: str | os.PathLike[str], text: str, field: str = 'file'
) -> None:
  """Writes text, as UTF-8 with the line ends that it has; see `replacing`."""
  write_bytes(path, text.encode('utf-8'), field)


def write_bytes(
  path: str | os.PathLike[str],
  data: bytes,
  field: str = 'file',
  sealed: bool = False,
) -> None:
  """Writes bytes, see `replacing`.

  Args:
    path: The file.
    data: What it will hold.
    field: What the error message starts with.
    sealed: Add a line with the SHA-256 of it, by which `check_seal` knows
      whether a bit has changed. The file's readers must bear it.
  """
  with replacing(path, field) as temporary, open(temporary, 'wb') as file:
    file.write(data)
    if sealed:
      file.write(_SEAL + hashlib.sha256(data).hexdigest().encode() + b'\n')


def copy(
  source: str | os.PathLike[str],
  path: str | os.PathLike[str],
  field: str = 'file',
) -> None:
  """Copies a file, see `replacing`."""
  with replacing(path, field) as temporary:
    shutil.copyfile(source, temporary)


def make_folder(path: str | os.PathLike[str], field: str = 'folder') -> None:
  """Makes a folder, and those above it, if it is not there.

  Raises:
    UserError: If it cannot be made.
  """
  try:
    pathlib.Path(path).mkdir(parents=True, exist_ok=True)
  except OSError as error:
    raise refusal(path, error, field) from None


def check_writable(
  folder: str | os.PathLike[str], field: str = 'folder'
) -> None:
  """Writes a small file into a folder, and removes it.

  Permissions alone tell nothing of a full disk, or of one that is mounted to be
  read.

  Raises:
    UserError: If that does not work.
  """
  probe = pathlib.Path(folder) / f'.write.probe.{uuid.uuid4().hex[:8]}.part'
  try:
    try:
      probe.write_bytes(bytes(4096))
      _to_disk(probe)
    finally:
      with contextlib.suppress(OSError):
        probe.unlink()
  except OSError as error:
    raise refusal(folder, error, field) from None


def _to_disk(path):
  """Has the system write what it still holds of a file."""
  descriptor = os.open(path, os.O_RDWR)
  try:
    os.fsync(descriptor)
  except OSError as error:
    # Some file systems know no such thing; that is no failure to write.
    if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS):
      raise
  finally:
    os.close(descriptor)


def _remove_stale(path):
  """Removes temporary files of `path` that a killed process left."""
  mine = re.compile(rf'\.{re.escape(path.name)}\.[0-9a-f]{{8}}\.part')
  for name in os.listdir(path.parent):
    if mine.fullmatch(name):
      with contextlib.suppress(OSError):
        old = path.parent / name
        if time.time() - old.stat().st_mtime > STALE:
          old.unlink()


def is_temporary(name: str) -> bool:
  """Returns whether a file of this name is one that was never finished."""
  return bool(_TEMPORARY.fullmatch(name))


def remove_temporary(folder: str | os.PathLike[str]) -> None:
  """Removes temporary files from a folder where no process writes now."""
  with contextlib.suppress(OSError):
    for entry in os.scandir(folder):
      if is_temporary(entry.name) and entry.is_file(follow_symlinks=False):
        with contextlib.suppress(OSError):
          os.unlink(entry.path)


def remove_drafts(folder: str | os.PathLike[str], age: float = 0) -> None:
  """Removes folders that were never finished, see `checkpoints.save`.

  Args:
    folder: Where they lie.
    age: In seconds; only those that have been left alone for longer.
  """
  with contextlib.suppress(OSError):
    for entry in os.scandir(folder):
      if _DRAFT.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False):
        with contextlib.suppress(OSError):
          if time.time() - entry.stat().st_mtime >= age:
            shutil.rmtree(entry.path, ignore_errors=True)


def move_aside(path: pathlib.Path, field: str) -> pathlib.Path:
  """Gives a file or a folder a dated name, says so, and returns it.

  Raises:
    UserError: If it cannot be moved.
  """
  now = datetime.datetime.now().strftime('%Y-%m-%d-%H%M%S-%f')
  suffix = path.suffix if path.is_file() else ''
  aside = path.with_name(f'{path.name.removesuffix(suffix)}.{now}{suffix}')
  try:
    path.rename(aside)
  except OSError as error:
    raise refusal(path, error, field, 'move aside') from None
  console.say(f'Moved the old {path.name} aside, to {aside}')
  return aside


def digest(path: str | os.PathLike[str]) -> str:
  """Returns the SHA-256 of a file, in hexadecimal."""
  with open(path, 'rb') as file:
    return hashlib.file_digest(file, 'sha256').hexdigest()


def check_seal(path: str | os.PathLike[str], field: str = 'file') -> None:
  """Checks that a file is what was written, if it was sealed.

  Raises:
    UserError: If it is another, or cannot be read.
  """
  hashed = hashlib.sha256()
  try:
    with open(path, 'rb') as file:
      left = os.fstat(file.fileno()).st_size - _SEAL_SIZE
      while left > 0 and (block := file.read(min(left, 2**20))):
        hashed.update(block)
        left -= len(block)
      seal = file.read(_SEAL_SIZE)
  except OSError as error:
    raise refusal(path, error, field, 'read') from None
  wanted = _SEAL + hashed.hexdigest().encode() + b'\n'
  if seal.startswith(_SEAL) and seal != wanted:
    raise errors.UserError(
      f'{field}: {str(path)!r} is damaged (it is not what its checksum is of); '
      'take it from a copy, or move it aside and run the same command again: '
      'only what made this file is done again'
    )


def read_text(path: str | os.PathLike[str], field: str = 'file') -> str:
  """Reads a text file.

  Raises:
    UserError: If it cannot be read, or is no text.
  """
  try:
    return pathlib.Path(path).read_text(encoding='utf-8')
  except OSError as error:
    raise refusal(path, error, field, 'read') from None
  except UnicodeDecodeError:
    raise errors.UserError(f'{field}: {str(path)!r} is not text') from None


def read_json(
  path: str | os.PathLike[str], field: str = 'file'
) -> dict[str, Any]:
  """Reads a JSON file that holds an object, of finite numbers.

  Raises:
    UserError: If it cannot be read, or holds anything else.
  """
  try:
    with open(path, 'rb') as file:
      data = file.read(_LARGEST_JSON + 1)
  except OSError as error:
    raise refusal(path, error, field, 'read') from None
  if len(data) > _LARGEST_JSON:
    raise errors.UserError(f'{field}: {str(path)!r} is too large to be ours')
  return parse_json(data, f'{field}: {str(path)!r}')


def parse_json(data: str | bytes, what: str) -> dict[str, Any]:
  """Reads JSON that holds an object, of finite numbers.

  Args:
    data: The text, or UTF-8.
    what: What the error message starts with.

  Raises:
    UserError: If it holds anything else.
  """
  try:
    found = json.loads(data, parse_float=_finite, parse_constant=_finite)
  # Brackets within brackets without end are no ValueError.
  except (ValueError, TypeError, RecursionError):
    raise errors.UserError(f'{what} is not valid JSON') from None
  if not isinstance(found, dict):
    raise errors.UserError(
      f'{what} must hold a JSON object, got {type(found).__name__}'
    )
  return found


def _finite(text):
  value = float(text)
  if not math.isfinite(value):
    raise ValueError(text)
  return value
