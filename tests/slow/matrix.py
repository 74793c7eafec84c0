"""Runs the tests with the oldest and newest dependencies, on several Pythons.

    python -m tests.slow.matrix --cache ~/.cache/bayes_prompting_matrix \
      --results matrix.json python3.11:oldest python3.11:newest \
      python3.12:newest python3.13:newest --switches none x64

An environment is an interpreter and `oldest` (every requirement of setup.py at
its lower bound, exactly) or `newest` (whatever pip finds). It is made in the
cache folder once and kept; remove its folder to have it made anew. Each run of
the tests adds a row to the results file; one that is there for the same commit,
environment, switches and arguments is not run again, unless `--again`. The end
is a Markdown table of the rows of this commit, for docs/reliability.md.

What comes after `--` goes to pytest, in place of the whole suite.
"""

import argparse
import datetime
import hashlib
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time
from xml.etree import ElementTree

_ROOT = pathlib.Path(__file__).resolve().parents[2]
_KINDS = ('oldest', 'newest')
_SWITCHES = {
  'none': {},
  'x64': {'JAX_ENABLE_X64': '1'},
  'strict_dtypes': {'JAX_NUMPY_DTYPE_PROMOTION': 'strict'},
}
_SHOWN = ('jax', 'flax', 'optax', 'orbax-checkpoint', 'numpy')
# What of setup.py's list an environment asks for: of extras only the tools.
_REQUIREMENTS = """
import importlib.metadata, json
print(json.dumps(importlib.metadata.requires('bayes_prompting')))
"""
_VERSIONS = """
import importlib.metadata, json, sys
names = sys.argv[1:]
print(json.dumps({name: importlib.metadata.version(name) for name in names}))
"""


def _output(*command, **kwargs):
  return subprocess.run(
    [str(part) for part in command],
    check=True,
    text=True,
    stdout=subprocess.PIPE,
    **kwargs,
  ).stdout.strip()


def _pip(python, *arguments):
  _output(python, '-m', 'pip', 'install', '-q', *arguments)


def lower_bounds(requirements):
  """Returns pins of the lower bounds of requirements, those of extras not.

  Raises:
    ValueError: If one has no lower bound.
  """
  pins = []
  for requirement in requirements:
    specification, _, marker = requirement.partition(';')
    if 'extra' in marker:
      continue
    found = re.fullmatch(
      r'([\w.-]+(?:\[[\w,]+\])?)\s*\(?([^()]*)\)?', specification.strip()
    )
    bound = found and re.search(r'>=\s*([\w.]+)', found[2])
    if not bound:
      raise ValueError(f'setup.py: {requirement!r} has no lower bound')
    pins.append(f'{found[1]}=={bound[1]}')
  return pins


def make_environment(cache, interpreter, kind):
  """Returns the Python of an environment, which is made if it is not there."""
  version = _output(
    interpreter,
    '-c',
    'import platform; print(platform.python_version())',
  )
  stated = hashlib.sha256((_ROOT / 'setup.py').read_bytes()).hexdigest()[:8]
  folder = cache / f'{version}-{kind}-{stated}'
  python, done = folder / 'bin' / 'python', folder / '.complete'
  if not done.exists():
    print(f'Making {folder}', file=sys.stderr)
    _output(interpreter, '-m', 'venv', '--clear', folder)
    _pip(python, '--no-deps', '-e', _ROOT)
    pins = []
    if kind == 'oldest':
      pins = lower_bounds(json.loads(_output(python, '-c', _REQUIREMENTS)))
    _pip(python, *pins, '-e', f'{_ROOT}[dev]')
    done.touch()
  else:
    # The folder may have been made for another clone.
    _pip(python, '--no-deps', '-e', _ROOT)
  return python, version


def _commit():
  """Returns the commit, or None if the tree holds what is in none."""
  if _output('git', 'status', '--porcelain', cwd=_ROOT):
    return None
  return _output('git', 'rev-parse', '--short=12', 'HEAD', cwd=_ROOT)


def _counts(report):
  """Reads pytest's own count of outcomes."""
  totals = dict.fromkeys(('tests', 'failures', 'errors', 'skipped'), 0)
  for suite in ElementTree.parse(report).getroot().iter('testsuite'):
    for name in totals:
      totals[name] += int(suite.get(name))
  failed = totals['failures'] + totals['errors']
  passed = totals['tests'] - failed - totals['skipped']
  return {'passed': passed, 'failed': failed, 'skipped': totals['skipped']}


def run_tests(python, switches, workers, arguments):
  """Runs pytest and returns what became of it."""
  environment = {
    'JAX_PLATFORMS': 'cpu',
    'MPLBACKEND': 'Agg',
    **os.environ,
    # Before the environment's own: the tests are of this clone.
    'PYTHONPATH': str(_ROOT),
  }
  for switch in switches:
    environment |= _SWITCHES[switch]
  command = [python, '-m', 'pytest', '-q', '-n', workers, '--dist', 'loadfile']
  command += ['--no-loadscope-reorder']
  with tempfile.TemporaryDirectory() as folder:
    report = pathlib.Path(folder) / 'report.xml'
    start = time.monotonic()
    status = subprocess.run(
      [str(x) for x in (*command, f'--junit-xml={report}', *arguments)],
      cwd=_ROOT,
      env=environment,
    ).returncode
    minutes = round((time.monotonic() - start) / 60, 1)
    # Zero: all passed; one: some failed. Else pytest itself had a problem.
    if status not in (0, 1):
      raise SystemExit(f'pytest ended with status {status}')
    return {**_counts(report), 'minutes': minutes}


def _read(path):
  return json.loads(path.read_text('utf-8')) if path.exists() else []


def _append(path, row):
  """Adds a row; the file is whole at any time."""
  temporary = path.with_name(f'{path.name}.new')
  rows = [*_read(path), row]
  temporary.write_text(json.dumps(rows, indent=1) + '\n', 'utf-8')
  os.replace(temporary, path)


def _same(row, other):
  what = ('commit', 'python', 'dependencies', 'switches', 'arguments')
  return all(row[name] == other[name] for name in what)


def table(rows):
  """Returns rows as a Markdown table."""
  head = ('date', 'Python', *_SHOWN, 'dependencies', 'switches')
  head += ('passed', 'failed', 'skipped', 'minutes')
  lines = [head, ['---'] * len(head)]
  for row in rows:
    lines.append(
      [row['date'], row['python']]
      + [row['versions'][name] for name in _SHOWN]
      + [row['dependencies'], ' '.join(row['switches'])]
      + [row[name] for name in ('passed', 'failed', 'skipped', 'minutes')]
    )
  return '\n'.join(f'| {" | ".join(map(str, line))} |' for line in lines)


def _parse(argv):
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument(
    'environments', nargs='*', metavar='INTERPRETER:{oldest,newest}'
  )
  parser.add_argument('--cache', type=pathlib.Path, required=True)
  parser.add_argument('--results', type=pathlib.Path, default='matrix.json')
  parser.add_argument(
    '--switches',
    nargs='+',
    default=['none'],
    help='each one run of all tests; several at once: x64+strict_dtypes',
  )
  parser.add_argument('--workers', type=int, default=2)
  parser.add_argument('--again', action='store_true')
  parser.add_argument('--prepare', action='store_true', help='run no tests')
  ours, theirs = argv, []
  if '--' in argv:
    at = argv.index('--')
    ours, theirs = argv[:at], argv[at + 1 :]
  options = parser.parse_args(ours)
  options.arguments = theirs
  options.environments = [x.rpartition(':') for x in options.environments]
  options.switches = [tuple(x.split('+')) for x in options.switches]
  for interpreter, _, kind in options.environments:
    if not interpreter or kind not in _KINDS:
      parser.error('an environment is INTERPRETER:oldest or INTERPRETER:newest')
  for name in {name for some in options.switches for name in some}:
    if name not in _SWITCHES:
      parser.error(f'switches: one of {", ".join(_SWITCHES)}, got {name}')
  return options


def main(argv):
  options = _parse(argv)
  cache = options.cache.expanduser().resolve()
  made = [
    (*make_environment(cache, interpreter, kind), kind)
    for interpreter, _, kind in options.environments
  ]
  commit = _commit()
  for python, version, kind in made:
    for switches in options.switches if not options.prepare else ():
      row = {
        'date': datetime.date.today().isoformat(),
        'commit': commit,
        'python': version,
        'dependencies': kind,
        'switches': [name for name in switches if name != 'none'],
        'arguments': options.arguments,
        'versions': json.loads(_output(python, '-c', _VERSIONS, *_SHOWN)),
      }
      old = [x for x in _read(options.results) if _same(x, row)]
      if old and commit and not options.again:
        continue
      _append(
        options.results,
        row | run_tests(python, switches, options.workers, options.arguments),
      )
  rows = _read(options.results)
  print(table([row for row in rows if row['commit'] == commit]))
  bad = [x for x in rows if x['commit'] == commit and x['failed']]
  return 1 if bad else 0


if __name__ == '__main__':
  raise SystemExit(main(sys.argv[1:]))
