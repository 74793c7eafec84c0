"""Pytrees on disk, by Orbax. Nothing else in the package imports it.

With several processes all of them call these functions, with whole arrays;
process 0 alone runs Orbax, and tells the others what it found.
"""

import os
import pathlib
import shutil
from typing import Any
import uuid

import jax
import numpy as np
from orbax import checkpoint as ocp

from bayes_prompting import distributed
from bayes_prompting import errors
from bayes_prompting import trees
from bayes_prompting import types

# Orbax must not wait for processes that do not call it.
_FIRST_ALONE = ocp.options.MultiprocessingOptions(
  primary_host=0, active_processes={0}
)


def _manager(path: pathlib.Path) -> ocp.CheckpointManager:
  """Returns the manager of a folder that exists."""
  options = ocp.CheckpointManagerOptions(
    max_to_keep=1,
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
  path: str | os.PathLike[str], tree: types.PyTree, metadata: dict[str, Any]
) -> None:
  """Saves a pytree of arrays, with what it belongs to.

  It is written in a folder of its own and renamed, so that what can be seen is
  whole, and processes that save at the same path at the same time do not meet:
  the first one's stays.

  Args:
    path: A folder of its own; made if missing. What it holds already stays.
    tree: Holds at least one array, and none of size zero.
    metadata: Plain values, kept as JSON.
  """
  distributed.on_first(
    lambda: _save(pathlib.Path(path).absolute(), tree, metadata)
  )


def _save(path, tree, metadata):
  if not distributed.alone():
    # Orbax takes an array of JAX's for a part of what all processes have.
    tree = jax.tree.map(np.asarray, tree)
  # Orbax's own temporary names are the same for every process, and whoever
  # opens a folder next removes them, those of a living process too.
  draft = path.with_name(f'.{path.name}.{uuid.uuid4().hex[:8]}')
  try:
    draft.mkdir(parents=True)
    with _manager(draft) as manager:
      manager.save(
        0,
        args=ocp.args.Composite(
          tree=ocp.args.StandardSave(tree),
          metadata=ocp.args.JsonSave(metadata),
        ),
      )
      manager.wait_until_finished()
    path.mkdir(parents=True, exist_ok=True)
    try:
      os.rename(draft / '0', path / '0')
    except OSError:
      if not _exists(path):
        raise
  finally:
    shutil.rmtree(draft, ignore_errors=True)


def exists(path: str | os.PathLike[str]) -> bool:
  """Returns whether a whole checkpoint stands at `path`."""
  return distributed.on_first(lambda: _exists(pathlib.Path(path)))


def _exists(path):
  if not path.is_dir():
    return False
  with _manager(path) as manager:
    return manager.latest_step() is not None


def restore(
  path: str | os.PathLike[str], template: types.PyTree
) -> types.PyTree:
  """Loads a pytree that `save` wrote.

  Args:
    path: Its folder.
    template: Arrays or `jax.ShapeDtypeStruct`s of the same structure.

  Raises:
    UserError: If there is none, or if its structure, a shape or a dtype is
      another than the template's.
  """
  abstract = jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(np.shape(x), x.dtype), template
  )
  return distributed.on_first(lambda: _restore(pathlib.Path(path), abstract))


def _check_exists(path):
  if not _exists(path):
    raise errors.UserError(f'checkpoint: none at {str(path)!r}')


def _restore(path, abstract):
  _check_exists(path)
  with _manager(path) as manager:
    saved = _describe(manager.item_metadata(0)['tree'])
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
    try:
      return manager.restore(0, args=arguments)['tree']
    except ValueError as error:
      # The same leaves in another structure, e.g. a tuple for a dict.
      line = ' '.join(str(error).split())
      raise errors.UserError(f'checkpoint: {str(path)!r}: {line}') from None


def metadata(path: str | os.PathLike[str]) -> dict[str, Any]:
  """Returns what was saved beside a pytree.

  Raises:
    UserError: If there is no checkpoint at `path`.
  """
  return distributed.on_first(lambda: _metadata(pathlib.Path(path)))


def _metadata(path):
  _check_exists(path)
  with _manager(path) as manager:
    return manager.restore(
      0, args=ocp.args.Composite(metadata=ocp.args.JsonRestore())
    )['metadata']
