"""Networks of the playground as files; some come with the package.

A file holds one network and what was tuned on it, in the package's format for
arrays (`storage.tensor_file`). Those in `networks/` were made by the commands
in the docstring of `configs/playground.py`.
"""

import dataclasses
import os
import pathlib
from typing import Any

import numpy as np

from bayes_prompting import errors
from bayes_prompting.dynamics.playground import export
from bayes_prompting.storage import tensor_file
from bayes_prompting.system import files

NETWORKS = pathlib.Path(__file__).parent / 'networks'
# What is no array of a network.
_PLAIN = tuple(
  field.name
  for field in dataclasses.fields(export.Network)
  if field.name not in ('weights', 'sequences', 'adapted')
)


def save(
  networks: list[export.Network], folder: str | os.PathLike[str]
) -> list[pathlib.Path]:
  """Writes a file for each network into a folder; returns their paths."""
  folder = pathlib.Path(folder).expanduser()
  paths = []
  for number, network in enumerate(networks):
    tree: dict[str, Any] = {
      'weights': network.weights,
      'sequences': network.sequences.astype(np.uint8),
    }
    metadata = {name: getattr(network, name) for name in _PLAIN}
    metadata['adapted'] = []
    for index, adapted in enumerate(network.adapted):
      arrays = {'state': adapted.state, 'changes': adapted.changes}
      if adapted.rows is not None:
        arrays['rows'] = adapted.rows
      tree[f'adapted_{index}'] = arrays
      metadata['adapted'].append(
        {'method': adapted.method, 'target': adapted.target}
      )
    path = folder / f'{number}-{network.torso}-{network.task}.safetensors'
    files.write_bytes(path, tensor_file.encode(tree, metadata))
    paths.append(path)
  return paths


def load(path: str | os.PathLike[str]) -> export.Network:
  """Reads a file that `save` wrote.

  Raises:
    UserError: If there is no such file, or if it is none of these.
  """
  arrays, metadata = tensor_file.load_arrays(path)

  def inside(name):
    return {
      key.removeprefix(f'{name}/'): value
      for key, value in arrays.items()
      if key.startswith(f'{name}/')
    }

  try:
    adapted = tuple(
      export.Adapted(
        **said,
        rows=arrays.get(f'adapted_{index}/rows'),
        state=inside(f'adapted_{index}/state'),
        changes=inside(f'adapted_{index}/changes'),
      )
      for index, said in enumerate(metadata['adapted'])
    )
    plain = {name: metadata[name] for name in _PLAIN}
    return export.Network(
      **plain,
      weights=inside('weights'),
      sequences=arrays['sequences'],
      adapted=adapted,
    )
  except (KeyError, TypeError) as error:
    raise errors.UserError(
      f'file: {os.fspath(path)!r} is no network of the playground '
      f'({type(error).__name__}: {error})'
    ) from None


def load_all() -> list[export.Network]:
  """Returns the networks that come with the package."""
  return [load(path) for path in sorted(NETWORKS.glob('*.safetensors'))]
