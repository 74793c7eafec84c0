"""Executes the notebooks and stores what they show: `make notebooks`.

Each runs in an empty folder, so that its outputs are those of a fresh run, and
without what goes to standard error, which is progress.
"""

import os
import pathlib
import tempfile

import nbclient
import nbformat

FOLDER = pathlib.Path(__file__).absolute().parent
NAMES = ('demo', 'paper', 'your_own')


def read(name: str) -> nbformat.NotebookNode:
  """Returns a notebook of this folder."""
  return nbformat.read(FOLDER / f'{name}.ipynb', as_version=4)


def execute(notebook: nbformat.NotebookNode, folder: str, **kwargs) -> None:
  """Executes a notebook in a folder; its outputs become those of this run.

  Args:
    notebook: It is changed in place.
    folder: Where its kernel starts, and paths of its own begin.
    **kwargs: For `nbclient.NotebookClient`.

  Raises:
    nbclient.exceptions.CellExecutionError: If a cell fails.
  """
  path = os.pathsep.join([str(FOLDER.parent), os.environ.get('PYTHONPATH', '')])
  client = nbclient.NotebookClient(
    notebook,
    timeout=None,
    record_timing=False,
    resources={'metadata': {'path': folder}},
    **kwargs,
  )
  client.execute(env={**os.environ, 'PYTHONPATH': path})
  for cell in notebook.cells:
    if cell.cell_type == 'code':
      cell.outputs = [x for x in cell.outputs if x.get('name') != 'stderr']


def main():
  for name in NAMES:
    print(f'Executing {name}.ipynb', flush=True)
    notebook = read(name)
    with tempfile.TemporaryDirectory() as folder:
      execute(notebook, folder)
    nbformat.write(notebook, FOLDER / f'{name}.ipynb')


if __name__ == '__main__':
  main()
