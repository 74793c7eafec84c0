"""Kills a small experiment at random moments, again and again, and compares.

    python -m tests.slow.kills --kills=50

An LSTM is meta-trained and tuned by every method of `configs/quick.py`, which
takes some minutes of computing; every process of it is killed (SIGKILL) some
seconds after it began to write. What it has at the end must be, bit for bit,
what an uninterrupted run has. Prints a line of JSON for docs/reliability.md.
"""

import json
import pathlib
import platform
import tempfile
import time

from absl import app
from absl import flags
from absl import logging
import jax

from tests import killing

_KILLS = flags.DEFINE_integer('kills', 50, 'SIGKILLs to survive.', 1)
_SEED = flags.DEFINE_integer('seed', 0, 'Of the moments.')
_PAUSE = flags.DEFINE_float('pause', 6.0, 'Seconds that a process has at most.')
_CONFIG = """
from configs import quick

def get_config():
  config = quick.get_config()
  config.checkpoints.every = 10
  return config
"""


def main(argv):
  del argv
  logging.set_verbosity(logging.WARNING)  # Orbax tells of every file.
  with tempfile.TemporaryDirectory() as folder:
    folder = pathlib.Path(folder)
    config = folder / 'config.py'
    config.write_text(_CONFIG)
    # Apart, so that the networks of one are not found by the other.
    whole, run = folder / 'whole' / 'run', folder / 'killed' / 'run'
    for path in (whole, run):
      path.parent.mkdir()
    killing.finish(config, whole)
    begun = time.time()
    seen = killing.kill_and_restart(
      config, run, _KILLS.value, _SEED.value, _PAUSE.value
    )
    killing.assert_same_run(run, whole)
    said = killing.said(run)
    print(
      json.dumps(
        {
          'kills': len(seen),
          'identical': True,
          'damaged_checkpoints_seen': said.count('is damaged'),
          'tracebacks': said.count('Traceback'),
          'seconds': round(time.time() - begun),
          'python': platform.python_version(),
          'jax': jax.__version__,
        }
      )
    )


if __name__ == '__main__':
  app.run(main)
