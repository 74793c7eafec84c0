"""Writes the playground: one page that needs no network and no other file."""

import base64
import os
import pathlib
from typing import Any

import jinja2
import jinja2.utils
import numpy as np

import bayes_prompting
from bayes_prompting.dynamics.playground import export
from bayes_prompting.system import files

# In this order: what a script uses stands before it.
_SCRIPTS = ('numbers', 'network', 'bayes', 'explanation', 'charts', 'app')


def write(
  networks: list[export.Network], path: str | os.PathLike[str]
) -> pathlib.Path:
  """Writes the page of some networks; the file appears once it is whole.

  Args:
    networks: At least one, see `export.of_runs` and `shipped.load_all`.
    path: The file; its folder exists.

  Returns:
    The path.

  Raises:
    UserError: If the file cannot be written.
  """
  path = pathlib.Path(path).expanduser()
  files.write_text(path, render(networks), 'file')
  return path


def render(networks: list[export.Network]) -> str:
  """Returns the page, see `write`."""
  torsos = sorted({network.torso for network in networks})
  names = [*_SCRIPTS[:2], *(f'torsos/{x}' for x in torsos), *_SCRIPTS[2:]]
  environment = jinja2.Environment(
    loader=jinja2.FileSystemLoader(export.SCRIPTS),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
  )
  data = {'networks': [_plain(network) for network in networks]}
  return environment.get_template('page.html.jinja').render(
    style=_text('style.css'),
    scripts='\n'.join(_text(f'{name}.js') for name in names),
    data=jinja2.utils.htmlsafe_json_dumps(
      data, separators=(',', ':'), allow_nan=False
    ),
    version=bayes_prompting.__version__,
  )


def _text(name: str) -> str:
  return (export.SCRIPTS / name).read_text(encoding='utf-8')


def _array(array: np.ndarray) -> dict[str, Any]:
  """Returns shape, and the bytes of float32 numbers in base64."""
  data = np.ascontiguousarray(array, '<f4').tobytes()
  return {
    'shape': list(np.shape(array)),
    'data': base64.b64encode(data).decode(),
  }


def _arrays(arrays: export.Arrays) -> dict[str, Any]:
  return {path: _array(array) for path, array in arrays.items()}


def _plain(network: export.Network) -> dict[str, Any]:
  """Returns a network as values that JSON can hold."""
  return {
    'title': network.title,
    'torso': network.torso,
    'options': network.options,
    'vocabSize': network.vocab_size,
    'embeddingDim': network.embedding_dim,
    'tied': network.tied_unembedding,
    'weights': _arrays(network.weights),
    'task': network.task,
    'tasks': network.tasks,
    'lengths': list(network.lengths),
    'sequences': [
      ''.join(map(str, sequence)) for sequence in network.sequences.tolist()
    ],
    'adapted': [
      {
        'method': x.method,
        'target': x.target,
        'rows': None if x.rows is None else _array(x.rows),
        'state': _arrays(x.state),
        'changes': _arrays(x.changes),
      }
      for x in network.adapted
    ],
  }
