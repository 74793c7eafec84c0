"""Weights of a parameter tree by path, for any pytree of any torso.

A path is the names from root to leaf, joined by `/`:
`torso/layer_0/query/kernel`. A pattern is one or more names joined by `/`, each
may hold the wildcards of `fnmatch`. It matches a path that contains those names
as a run of whole names: `embedding` matches `embedding/kernel` and not
`unembedding/kernel`; `layer_*/query` matches the query weights of all layers.
"""

from collections.abc import Mapping, Sequence
import fnmatch

import jax
import numpy as np

from bayes_prompting import checks
from bayes_prompting import errors
from bayes_prompting import types

# Raise it when numbers change: networks and results depend on it.
NUMERICS = 1


def _paths(tree: types.PyTree):
  leaves, treedef = jax.tree_util.tree_flatten_with_path(tree)
  paths = [
    jax.tree_util.keystr(path, simple=True, separator='/') for path, _ in leaves
  ]
  return paths, [leaf for _, leaf in leaves], treedef


def by_path(tree: types.PyTree) -> dict[str, types.Array]:
  """Returns all leaves of a tree by their path."""
  paths, leaves, _ = _paths(tree)
  return dict(zip(paths, leaves, strict=True))


def describe(tree: types.PyTree) -> dict[str, str]:
  """Returns dtype and shape of all leaves by path, such as 'float32[3, 2]'."""
  return {
    path: f'{np.dtype(leaf.dtype).name}{list(leaf.shape)}'
    for path, leaf in by_path(tree).items()
  }


def check_leaves(
  what: str, descriptions: Mapping[str, str], template: types.PyTree
) -> None:
  """Checks that leaves which were read are those of a template.

  Args:
    what: Where they were read, as the error message begins.
    descriptions: What `describe` said of them.
    template: Arrays or `jax.ShapeDtypeStruct`s.

  Raises:
    UserError: If a path, a shape or a dtype is another.
  """
  wanted = describe(template)
  for path in sorted(descriptions.keys() | wanted.keys()):
    sides = descriptions.get(path, 'nothing'), wanted.get(path, 'nothing')
    if sides[0] != sides[1]:
      raise errors.UserError(
        f'{what} has {checks.show(path)} = {sides[0]}, wanted is {sides[1]}'
      )


def _matches(path: str, pattern: str) -> bool:
  names, wanted = path.split('/'), pattern.split('/')
  return any(
    all(map(fnmatch.fnmatchcase, names[i:], wanted))
    for i in range(len(names) - len(wanted) + 1)
  )


def select(
  tree: types.PyTree, patterns: Sequence[str], field: str = 'patterns'
) -> dict[str, types.Array]:
  """Returns the leaves whose path matches any of the patterns, by path.

  Args:
    tree: Any pytree.
    patterns: See above.
    field: The argument that has the patterns, for error messages.

  Raises:
    UserError: If one of the patterns matches no leaf.
  """
  leaves = by_path(tree)
  for pattern in patterns:
    if not any(_matches(path, pattern) for path in leaves):
      names = {name for path in leaves for name in path.split('/')}
      raise errors.UserError(
        f'{field}: {checks.show(pattern)} matches no weight; '
        f'{checks.nearest(pattern, names)}'
      )
  return {
    path: leaf
    for path, leaf in leaves.items()
    if any(_matches(path, pattern) for pattern in patterns)
  }


def replace(
  tree: types.PyTree, leaves_by_path: dict[str, types.Array]
) -> types.PyTree:
  """Returns the tree with the leaves at the given paths exchanged.

  Raises:
    UserError: If the tree has no such path (a tunable of another network).
  """
  paths, leaves, treedef = _paths(tree)
  for path in leaves_by_path:
    if path not in paths:
      raise errors.UserError(
        f'tunable: {path!r} is no weight of this network; '
        f'{checks.nearest(path, paths)}'
      )
  return jax.tree_util.tree_unflatten(
    treedef,
    [
      leaves_by_path.get(path, leaf)
      for path, leaf in zip(paths, leaves, strict=True)
    ],
  )
