"""Pytrees on disk, by Orbax. Nothing else in the package imports Orbax.

A checkpoint is a folder that holds a folder for each step that is kept. A step
is written under another name, read back, and renamed: what can be seen is
whole. Its manifest says what the tree belongs to, and has the SHA-256 of every
file, because Orbax restores a flipped bit without a word.

With several processes, all of them call these functions, with whole arrays.
Process 0 alone runs Orbax, and tells the others what it read.
"""

from collections.abc import Mapping
import contextlib
import hashlib
import json
import os
import pathlib
import re
import shutil
from typing import Any
import uuid

from etils import epath
import jax
import numpy as np

from bayes_prompting import errors
from bayes_prompting import trees
from bayes_prompting import types
from bayes_prompting.settings import plain
from bayes_prompting.system import console
from bayes_prompting.system import distributed
from bayes_prompting.system import files

_FORMAT = 1
_MANIFEST = 'manifest.json'
# How the library beneath Orbax tells what the system said.
_OS_ERROR = re.compile(r"os_error_code='(\d+)'")


class DamagedError(errors.UserError):
  """The files of a checkpoint are not those that were written."""


def save(
  path: str | os.PathLike[str],
  tree: types.PyTree,
  metadata: Mapping[str, Any],
  step: int = 0,
  keep: int = 1,
) -> None:
  """Saves a pytree of arrays, with what it belongs to.

  Of processes that save at the same path at the same time, the first one's
  tree stays.

  Args:
    path: A folder of its own; made if missing. What it holds of this step
      already stays, unless it is damaged.
    tree: Holds at least one array, and none of size zero.
    metadata: Plain values, kept as JSON.
    step: The newest is what `restore` takes.
    keep: How many of the newest steps stay.

  Raises:
    UserError: If it cannot be written.
  """
  distributed.on_first(lambda: save_here(path, tree, metadata, step, keep))


def save_here(
  path: str | os.PathLike[str],
  tree: types.PyTree,
  metadata: Mapping[str, Any],
  step: int = 0,
  keep: int = 1,
) -> None:
  """Saves as `save` does, in this process whichever it is, in any thread."""
  path = pathlib.Path(path).absolute()
  if not distributed.alone():
    # Orbax takes a JAX array for a part of what all processes have.
    tree = jax.tree.map(np.asarray, tree)
  draft = path.with_name(f'.{path.name}.{uuid.uuid4().hex[:8]}')
  written, place = draft / str(step), path / str(step)
  try:
    _write(written, tree, metadata)
    path.mkdir(parents=True, exist_ok=True)
    if place.exists():
      try:
        _verified(place)
        return
      except DamagedError:
        shutil.move(place, draft / 'damaged')
    try:
      os.rename(written, place)
    except OSError:
      if not place.is_dir():  # Else another process was faster.
        raise
    for old in _steps(path)[:-keep]:
      shutil.rmtree(path / str(old), ignore_errors=True)
  except OSError as error:
    raise files.refusal(path, error, 'checkpoint') from error
  finally:
    shutil.rmtree(draft, ignore_errors=True)


def _orbax():
  """Returns Orbax's reader and writer of trees, for process 0 alone.

  It writes each array to files of its own. In its other format (OCDBT) it
  looks for files by a pattern made of their path, and loses all arrays where
  the path holds `[1]`.
  """
  # Imported late, for it takes long: a finished run has no use for it.
  from orbax import checkpoint as ocp

  options = ocp.options.MultiprocessingOptions(
    primary_host=0, active_processes={0}
  )
  return contextlib.closing(
    ocp.StandardCheckpointHandler(
      multiprocessing_options=options, use_ocdbt=False
    )
  )


def _restored(orbax, arrays, template):
  """Returns the tree that Orbax has in a folder, shaped as the template."""
  from orbax import checkpoint as ocp

  return orbax.restore(arrays, args=ocp.args.StandardRestore(template))


def _write(folder, tree, metadata):
  """Has Orbax write a step, reads it back, and adds the manifest."""
  from orbax import checkpoint as ocp

  arrays = epath.Path(folder / 'tree')
  arrays.mkdir(parents=True)
  template = jax.tree.map(lambda x: np.empty(x.shape, x.dtype), tree)
  try:
    with _orbax() as orbax:
      orbax.save(arrays, args=ocp.args.StandardSave(tree))
      again = _restored(orbax, arrays, template)
  except ValueError as error:
    if code := _OS_ERROR.search(str(error)):
      number = int(code[1])
      raise OSError(number, os.strerror(number)) from error
    raise
  for leaf, wanted in zip(*map(jax.tree.leaves, (again, tree)), strict=True):
    if leaf.tobytes() != np.asarray(wanted).tobytes():
      raise OSError('what was written reads back as something else')
  manifest = {
    'format': _FORMAT,
    'metadata': metadata,
    'leaves': trees.describe(tree),
    'sha256': {
      path.relative_to(folder).as_posix(): files.digest(path)
      for path in sorted(folder.rglob('*'))
      if path.is_file()
    },
  }
  text = json.dumps(manifest).encode()
  digest = hashlib.sha256(text).hexdigest().encode()
  files.write_bytes(folder / _MANIFEST, text + b'\n' + digest, 'checkpoint')


def _verified(folder):
  """Returns the manifest of a step, whose files are those that were written.

  Raises:
    DamagedError: If one of them is missing or another; more may be there.
    UserError: If the manifest is of a newer version.
  """
  name = _MANIFEST
  with contextlib.suppress(OSError):
    text, _, digest = (folder / name).read_bytes().partition(b'\n')
    if hashlib.sha256(text).hexdigest().encode() == digest:
      manifest = json.loads(text)
      if manifest['format'] != _FORMAT:
        raise errors.UserError(
          f'checkpoint: {str(folder)!r} is of a newer version (format '
          f'{manifest["format"]!r}, this package reads {_FORMAT})'
        )
      for name, digest in manifest['sha256'].items():
        if files.digest(folder / name) != digest:
          break
      else:
        return manifest
  raise DamagedError(
    f'checkpoint: {str(folder)!r} is damaged ({name} is not what was written); '
    'move it away to have it made anew'
  )


def _steps(path):
  """Returns the steps that a folder holds, the newest last."""
  if not path.is_dir():
    return []
  names = (entry.name for entry in path.iterdir() if entry.is_dir())
  return sorted(int(name) for name in names if name.isdecimal())


def exists(path: str | os.PathLike[str]) -> bool:
  """Returns whether a checkpoint stands at `path`, whole or damaged."""
  return distributed.on_first(lambda: bool(_steps(pathlib.Path(path))))


def newest(path: str | os.PathLike[str]) -> int | None:
  """Returns the newest step that is not damaged, with a warning of others.

  Returns:
    None if there is none at all.

  Raises:
    DamagedError: If there are some, all of them damaged.
  """
  path = pathlib.Path(path)
  return distributed.on_first(
    lambda: _newest(path)[0] if _steps(path) else None
  )


def _newest(path):
  """Returns the newest step that is not damaged, and its manifest."""
  steps = _steps(path)
  if not steps:
    raise errors.UserError(
      f'checkpoint: none at {str(path)!r}; the run has not come so far: start '
      'it again with the same workdir'
    )
  for step in reversed(steps):
    try:
      return step, _verified(path / str(step))
    except DamagedError as error:
      if step == steps[0]:
        raise
      console.warn(f'{error}; not used')


def metadata(path: str | os.PathLike[str]) -> dict[str, Any]:
  """Returns what was saved beside a pytree.

  Raises:
    UserError: If there is no checkpoint at `path`, or none that is whole.
  """
  path = pathlib.Path(path)
  return distributed.on_first(lambda: _newest(path)[1]['metadata'])


def restore(
  path: str | os.PathLike[str],
  template: types.PyTree,
  belongs: Mapping[str, Any] | None = None,
  step: int | None = None,
) -> types.PyTree:
  """Loads the newest pytree that `save` wrote and nothing has damaged.

  Args:
    path: Its folder.
    template: Arrays or `jax.ShapeDtypeStruct`s of the same structure.
    belongs: What the metadata must say, as far as it is named here; a `config`
      as far as it changes results.
    step: What `newest` returned; asked again for None.

  Raises:
    UserError: If there is none, if it belongs to something else, or if its
      structure, a shape or a dtype is another than the template's.
    DamagedError: If there are some, all of them damaged.
  """
  path = pathlib.Path(path)
  return distributed.on_first(lambda: _restore(path, template, belongs, step))


def _restore(path, template, belongs, step):
  if step is None:
    step, manifest = _newest(path)
  else:
    manifest = _verified(path / str(step))
  what = f'checkpoint: {str(path)!r}'
  for name, wanted in (belongs or {}).items():
    sides = manifest['metadata'].get(name), wanted
    if name == 'config' and all(isinstance(side, Mapping) for side in sides):
      sides = map(plain.comparable, sides)
    difference = plain.difference(*sides, '' if name == 'config' else name)
    if difference:
      raise errors.UserError(
        f'{what} belongs to something else (there and here, {difference})'
      )
  trees.check_leaves(what, manifest['leaves'], template)
  # Of several devices, NumPy's arrays can go to any, of any process.
  leaf = np.empty if jax.device_count() > 1 else jax.ShapeDtypeStruct
  template = jax.tree.map(lambda x: leaf(np.shape(x), x.dtype), template)
  arrays = epath.Path(path.absolute() / str(step) / 'tree')
  try:
    with _orbax() as orbax:
      return _restored(orbax, arrays, template)
  except (KeyError, OSError, ValueError) as error:
    # The same leaves in another structure, e.g. a tuple for a dict.
    line = ' '.join(str(error).split()) or type(error).__name__
    raise errors.UserError(
      f'{what} cannot be read as wanted ({line:.300})'
    ) from None


def remove(path: str | os.PathLike[str]) -> None:
  """Removes a checkpoint with all its steps, and its folder if empty then."""
  path = pathlib.Path(path)

  def remove_here():
    shutil.rmtree(path, ignore_errors=True)
    with contextlib.suppress(OSError):
      path.parent.rmdir()

  distributed.on_first(remove_here)
