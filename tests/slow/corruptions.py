"""Flips every single bit of a checkpoint, and cuts every file at every length.

    python -m tests.slow.corruptions

Every one of them must be refused before Orbax reads it. Prints a line of JSON
for docs/reliability.md.
"""

import json
import pathlib
import tempfile
import time

from absl import app
from absl import logging
import numpy as np

from bayes_prompting.storage import checkpoints


def _refused(path):
  try:
    checkpoints.newest(path)
  except checkpoints.DamagedError:
    return True
  return False


def _wrongs(data):
  for bit in range(8 * len(data)):
    flipped = bytearray(data)
    flipped[bit // 8] ^= 1 << bit % 8
    yield 'flips', bytes(flipped)
  for size in range(len(data)):
    yield 'cuts', data[:size]


def main(argv):
  del argv
  logging.set_verbosity(logging.WARNING)  # Orbax tells of every file.
  begun = time.time()
  tried, refused = {'flips': 0, 'cuts': 0}, {'flips': 0, 'cuts': 0}
  with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder) / 'checkpoint'
    tree = {'kernel': np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)}
    checkpoints.save(path, tree, {'hash': 'abc', 'config': {'seed': 0}})
    files = sorted(p for p in path.rglob('*') if p.is_file())
    size = sum(p.stat().st_size for p in files)
    for file in files:
      data = file.read_bytes()
      for kind, wrong in _wrongs(data):
        file.write_bytes(wrong)
        tried[kind] += 1
        refused[kind] += _refused(path)
      file.write_bytes(data)
    assert not _refused(path)
  seconds = round(time.time() - begun)
  print(
    json.dumps(
      {
        'files': len(files),
        'bytes': size,
        'tried': tried,
        'refused': refused,
        'seconds': seconds,
      }
    )
  )


if __name__ == '__main__':
  app.run(main)
