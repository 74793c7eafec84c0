r"""Times a whole experiment, cold and warm, and checks its regrets.

    python -m benchmarks.whole --precision=float32 --precision=tensorfloat32 \
        --config=configs/paper.py:transformer,single_coin \
        --reference=runs/cpu/results.nc

Each precision runs twice in processes of their own: first with an empty cache
of compiled programs (cold), then with what the first left there (warm), each
time into a new folder, so that nothing else is reused. What is printed is the
time of the whole command, start of Python included, and what was compiled.

With --reference, a results file of the same configuration (made with float32 on
a CPU, say), the headline regrets on the target are compared, in units of their
standard error of the difference. A precision is good enough where it is within
that of the regrets themselves.
"""

import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time

from absl import app
from absl import flags

from bayes_prompting import errors
from bayes_prompting import settings
from benchmarks import comparison

_CONFIG = flags.DEFINE_string(
  'config', 'configs/paper.py:transformer,single_coin', 'As launch.experiment.'
)
_SET = flags.DEFINE_multi_string(
  'set', [], 'An override, e.g. tuning.num_repetitions=1. Repeat for more.'
)
_PRECISIONS = flags.DEFINE_multi_enum(
  'precision',
  ['float32'],
  settings.MATMUL_PRECISIONS,
  'A value of compute.matmul_precision. Repeat for more, one after another.',
)
_REFERENCE = flags.DEFINE_string(
  'reference', None, 'A results file to compare regrets with.'
)
_KEEP = flags.DEFINE_string('keep', None, 'Folder to keep results files in.')
_JSON = flags.DEFINE_string('json', None, 'File to write the figures to.')


def _run(precision: str, cache: pathlib.Path, workdir: pathlib.Path):
  """Runs the experiment; returns (seconds, the line about compilations)."""
  command = [sys.executable, '-m', 'launch.experiment']
  command += [f'--config={_CONFIG.value}', f'--workdir={workdir}']
  command += [f'--config.{override}' for override in _SET.value]
  command += [f'--config.compute.matmul_precision={precision}']
  environment = {
    **os.environ,
    'JAX_COMPILATION_CACHE_DIR': str(cache),
    'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '0',
  }
  started = time.perf_counter()
  done = subprocess.run(
    command, env=environment, capture_output=True, text=True, check=False
  )
  seconds = time.perf_counter() - started
  if done.returncode:
    sys.exit(f'error: launch.experiment failed\n{done.stderr[-2000:]}')
  compiled = re.search(r'^Compiled .*$', done.stdout, re.MULTILINE)
  return seconds, compiled.group(0) if compiled else ''


def main(argv):
  if len(argv) > 1:
    sys.exit(f'error: unknown argument {argv[1]!r}')
  record = []
  if _REFERENCE.value:
    from bayes_prompting import results

    try:  # Now, not after the experiments.
      results.load(_REFERENCE.value)
    except errors.UserError as error:
      sys.exit(f'error: --reference: {error}')
  for precision in _PRECISIONS.value:
    with tempfile.TemporaryDirectory() as folder:
      folder = pathlib.Path(folder)
      for state in ('cold', 'warm'):
        workdir = folder / state / 'run'
        seconds, compiled = _run(precision, folder / 'cache', workdir)
        print(f'{precision}, {state}: {seconds:.1f} s. {compiled}', flush=True)
        record.append(
          {
            'precision': precision,
            'state': state,
            'seconds': seconds,
            'compiled': compiled,
          }
        )
      file = folder / 'warm' / 'run' / 'results.nc'
      if _KEEP.value:
        kept = pathlib.Path(_KEEP.value) / f'{precision}.nc'
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_bytes(file.read_bytes())
      if _REFERENCE.value:
        record[-1]['regrets'] = _print_comparison(file)
  if _JSON.value:
    text = json.dumps(record, indent=2)
    pathlib.Path(_JSON.value).write_text(text, encoding='utf-8')


def _print_comparison(file):
  """Prints and returns `compare` of a results file with the reference."""
  from bayes_prompting import results

  rows = comparison.compare(results.load(file), results.load(_REFERENCE.value))
  print(f'{"tuner":<12} {"nats":>9} {"reference":>9} {"errors":>7}')
  for row in rows:
    print(
      f'{row["tuner"]:<12} {row["regret"]:9.4f} {row["reference"]:9.4f} '
      f'{row["standard_errors"]:7.2f}'
    )
  return rows


if __name__ == '__main__':
  app.run(main)
