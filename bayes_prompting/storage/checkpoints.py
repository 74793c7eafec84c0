"""Pytrees on disk, by Orbax. Nothing else in the package imports it.

A checkpoint is a folder with a folder for each step that is kept. Each of these
is made under another name and renamed, so that what can be seen is whole, and
holds a manifest with the SHA-256 of every file: Orbax restores a flipped bit
without a word.

With several processes all of them call these functions, with whole arrays;
process 0 alone runs Orbax, and tells the others what it found.
"""

from collections.abc import Callable, Mapping
import contextlib
import os
import pathlib
import shutil
import sys
from typing import Any
import uuid

import jax
import numpy as np
from orbax import checkpoint as ocp

from bayes_prompting import errors
from bayes_prompting import trees
from bayes_prompting import types
from bayes_prompting.settings import plain
from bayes_prompting.storage import manifests
from bayes_prompting.system import distributed
from bayes_prompting.system import files

# Orbax must not wait for processes that do not call it.
_FIRST_ALONE = ocp.options.MultiprocessingOptions(
  primary_host=0, active_processes={0}
)


# Of a checkpoint whose files are not those that were written.
DamagedError = manifests.DamagedError


def _manager(path: pathlib.Path) -> ocp.CheckpointManager:
  """Returns the manager of a folder that exists."""
  options = ocp.CheckpointManagerOptions(
    create=False,
    enable_async_checkpointing=False,
    multiprocessing_options=_FIRST_ALONE,
  )
  return ocp.CheckpointManager(
    path.absolute(),
    options=options,
    item_handlers={
      'tree': ocp.StandardCheckpointHandler(
        multiprocessing_options=_FIRST_ALONE
      ),
      'metadata': ocp.JsonCheckpointHandler(
        multiprocessing_options=_FIRST_ALONE
      ),
    },
  )


def _describe(tree: types.PyTree) -> dict[str, str]:
  """Returns shape and dtype of every leaf by its path."""
  return {
    path: f'{np.dtype(leaf.dtype).name}{list(leaf.shape)}'
    for path, leaf in trees.by_path(tree).items()
  }


def save(
  path: str | os.PathLike[str],
  tree: types.PyTree,
  metadata: dict[str, Any],
  step: int = 0,
  keep: int = 1,
) -> None:
  """Saves a pytree of arrays, with what it belongs to.

  It is written in a folder of its own and renamed, so that what can be seen is
  whole, and processes that save at the same path at the same time do not meet:
  the first one's stays.

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
  metadata: dict[str, Any],
  step: int = 0,
  keep: int = 1,
) -> None:
  """Saves as `save` does, in this process whichever it is, in any thread."""
  path = pathlib.Path(path).absolute()
  if not distributed.alone():
    # Orbax takes an array of JAX's for a part of what all processes have.
    tree = jax.tree.map(np.asarray, tree)
  # Orbax's own temporary names are the same for every process, and whoever
  # opens a folder next removes them, those of a living process too.
  draft = path.with_name(f'.{path.name}.{uuid.uuid4().hex[:8]}')
  try:
    _write(draft, tree, metadata, step)
    path.mkdir(parents=True, exist_ok=True)
    _move(draft / str(step), path / str(step))
    for old in _steps(path)[:-keep]:
      shutil.rmtree(path / str(old), ignore_errors=True)
  except OSError as error:
    raise files.refusal(path, error, 'checkpoint') from error
  finally:
    shutil.rmtree(draft, ignore_errors=True)


def _write(draft, tree, metadata, step):
  """Has Orbax write a draft, and adds the manifest."""
  draft.mkdir(parents=True)
  try:
    with _manager(draft) as manager:
      manager.save(
        step,
        args=ocp.args.Composite(
          tree=ocp.args.StandardSave(tree),
          metadata=ocp.args.JsonSave(metadata),
        ),
      )
      manager.wait_until_finished()
  except ValueError as error:
    # So does the library beneath say that a disk is full.
    if 'RESOURCE_EXHAUSTED' in str(error) or 'No space' in str(error):
      raise OSError(None, 'no space left on the device') from error
    raise
  manifests.write(draft / str(step))


def _move(draft, place):
  """Gives a draft its name; a whole one that is there already stays."""
  with contextlib.suppress(DamagedError, FileNotFoundError):
    manifests.verify(place)
    return
  if place.exists():
    shutil.move(place, draft.parent / 'damaged')
  try:
    os.rename(draft, place)
  except OSError:
    if not place.is_dir():
      raise


def _steps(path):
  """Returns the steps that a folder holds, the newest last."""
  if not path.is_dir():
    return []
  names = (entry.name for entry in path.iterdir() if entry.is_dir())
  return sorted(int(name) for name in names if name.isdecimal())


def exists(path: str | os.PathLike[str]) -> bool:
  """Returns whether a checkpoint stands at `path`."""
  return distributed.on_first(lambda: bool(_steps(pathlib.Path(path))))


def newest(path: str | os.PathLike[str]) -> int | None:
  """Returns the newest step that is not damaged, with a warning of others.

  Returns:
    None if there is none at all.

  Raises:
    DamagedError: If there are some, all of them damaged.
  """
  return distributed.on_first(lambda: _newest(pathlib.Path(path)))


def _newest(path):
  damage = None
  for step in reversed(_steps(path)):
    try:
      manifests.verify(path / str(step))
    except DamagedError as error:
      if damage is not None or len(_steps(path)) > 1:
        print(f'warning: {error}; not used', file=sys.stderr)
      damage = error
    else:
      return step
  if damage is not None:
    raise damage
  return None


def restore(
  path: str | os.PathLike[str],
  template: types.PyTree | Callable[[int], types.PyTree],
  belongs: Mapping[str, Any] | None = None,
  step: int | None = None,
) -> types.PyTree:
  """Loads the newest pytree that `save` wrote and nothing has damaged.

  Args:
    path: Its folder.
    template: Arrays or `jax.ShapeDtypeStruct`s of the same structure; or what
      returns them for a step.
    belongs: What the metadata must say, as far as it is named here; a `config`
      as far as it changes results.
    step: What `newest` returned, if that was asked just before.

  Raises:
    UserError: If there is none, if it belongs to something else, or if its
      structure, a shape or a dtype is another than the template's.
    DamagedError: If there are some, all of them damaged.
  """
  path = pathlib.Path(path)
  return distributed.on_first(lambda: _restore(path, template, belongs, step))


def _restore(path, template, belongs, step):
  step = _existing(path) if step is None else step
  with _reading(path, step) as manager:
    _check_belongs(path, _read_metadata(manager, step), belongs)
    template = template(step) if callable(template) else template
    abstract = jax.tree.map(
      lambda x: jax.ShapeDtypeStruct(np.shape(x), x.dtype), template
    )
    saved = _describe(manager.item_metadata(step)['tree'])
    wanted = _describe(abstract)
    for leaf in sorted(saved.keys() | wanted.keys()):
      if saved.get(leaf) != wanted.get(leaf):
        raise errors.UserError(
          f'checkpoint: {str(path)!r} has {leaf} = {saved.get(leaf)}, wanted '
          f'is {wanted.get(leaf)}'
        )
    if jax.device_count() > 1:
      # NumPy's arrays can go to any device, of any process.
      abstract = jax.tree.map(lambda x: np.empty(x.shape, x.dtype), abstract)
    arguments = ocp.args.Composite(tree=ocp.args.StandardRestore(abstract))
    return manager.restore(step, args=arguments)['tree']


@contextlib.contextmanager
def _reading(path, step):
  """Opens a checkpoint; what Orbax cannot read becomes one line."""
  try:
    with _manager(path) as manager:
      yield manager
  except errors.UserError:
    raise
  except (KeyError, OSError, ValueError) as error:
    # The same leaves are wanted in another structure, e.g. a tuple for a dict;
    # or files are missing that no manifest told of.
    whole = manifests.exists(path / str(step))
    line = ' '.join(str(error).split()) or type(error).__name__
    raise (errors.UserError if whole else DamagedError)(
      f'checkpoint: {str(path)!r} cannot be read as wanted ({line:.300})'
    ) from None


def _existing(path):
  step = _newest(path)
  if step is None:
    raise errors.UserError(f'checkpoint: none at {str(path)!r}')
  return step


def _check_belongs(path, held, belongs):
  for name, wanted in (belongs or {}).items():
    sides = held.get(name), wanted
    if name == 'config' and all(isinstance(x, Mapping) for x in sides):
      sides = map(plain.comparable, sides)
    found = plain.difference(*sides, '' if name == 'config' else name)
    if found:
      raise errors.UserError(
        f'checkpoint: {str(path)!r} belongs to something else (there and here, '
        f'{found})'
      )


def metadata(
  path: str | os.PathLike[str], step: int | None = None
) -> dict[str, Any]:
  """Returns what was saved beside a pytree.

  Args:
    path: Its folder.
    step: What `newest` returned, if that was asked just before.

  Raises:
    UserError: If there is no checkpoint at `path`, or none that is whole.
  """
  return distributed.on_first(lambda: _metadata(pathlib.Path(path), step))


def _metadata(path, step):
  step = _existing(path) if step is None else step
  with _reading(path, step) as manager:
    return _read_metadata(manager, step)


def _read_metadata(manager, step):
  arguments = ocp.args.Composite(metadata=ocp.args.JsonRestore())
  return manager.restore(step, args=arguments)['metadata']


def remove(path: str | os.PathLike[str]) -> None:
  """Removes a checkpoint with all its steps, and its folder if empty then."""
  distributed.on_first(lambda: _remove(pathlib.Path(path)))


def _remove(path):
  shutil.rmtree(path, ignore_errors=True)
  with contextlib.suppress(OSError):
    path.parent.rmdir()
