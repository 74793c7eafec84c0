"""Digests of a folder's files: what is read is what was written."""

import json
import pathlib
import sys

from bayes_prompting import errors
from bayes_prompting.system import files

NAME = 'manifest.json'
_FORMAT = 1
# What even a checkpoint without a manifest has.
_ALWAYS = ('tree/_METADATA', 'metadata/metadata')


class DamagedError(errors.UserError):
  """A folder whose files are not those that were written."""


def write(folder: pathlib.Path) -> None:
  """Writes the SHA-256 of all files of a folder into it.

  Raises:
    UserError: If it cannot be written.
  """
  digests = {
    path.relative_to(folder).as_posix(): files.digest(path)
    for path in sorted(folder.rglob('*'))
    if path.is_file()
  }
  text = json.dumps({'format': _FORMAT, 'sha256': digests}, indent=1)
  # No line end: without its last byte a text is no JSON any more.
  files.write_text(folder / NAME, text, 'checkpoint')


def exists(folder: pathlib.Path) -> bool:
  """Returns whether a folder has a manifest."""
  return (folder / NAME).is_file()


def verify(folder: pathlib.Path) -> None:
  """Checks the files of a folder against its manifest; more may be there.

  What an older version wrote has none: a warning says that it is taken as it
  is.

  Raises:
    FileNotFoundError: If there is no such folder.
    DamagedError: If a file is missing or is another than was written, or if
      the manifest is of a newer version.
  """
  if not folder.is_dir():
    raise FileNotFoundError(folder)
  try:
    text = (folder / NAME).read_text(encoding='utf-8')
  except FileNotFoundError:
    for name in _ALWAYS:
      if not (folder / name).is_file():
        raise _damaged(folder, name) from None
    print(
      f'warning: {str(folder)!r} has no {NAME} (it is of an older version): '
      'taken as it is',
      file=sys.stderr,
    )
    return
  except (OSError, ValueError):
    raise _damaged(folder, NAME) from None
  for name, digest in _read(folder, text).items():
    try:
      same = files.digest(folder / name) == digest
    except (OSError, ValueError):
      same = False
    if not same:
      raise _damaged(folder, name)


def _read(folder, text):
  """Returns the digests by file."""
  try:
    manifest = json.loads(text)
    found, digests = manifest['format'], dict(manifest['sha256'])
  except (ValueError, TypeError, KeyError):
    raise _damaged(folder, NAME) from None
  if not digests:
    raise _damaged(folder, NAME)
  if found != _FORMAT:
    # Which of the two, a single flipped bit leaves open.
    raise DamagedError(
      f'checkpoint: {str(folder)!r} is damaged, or of a newer version (format '
      f'{found!r}, this package reads {_FORMAT})'
    )
  return digests


def _damaged(folder, name):
  return DamagedError(
    f'checkpoint: {str(folder)!r} is damaged ({name} is not what was written); '
    'move it away to have it made anew'
  )
