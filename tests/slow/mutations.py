"""Plants bugs, one at a time, and runs the tests that cover them.

    python -m tests.slow.mutations --workers=2 --resume=/tmp/mutations.jsonl

The bugs are those of `tests.slow.planted`. Each is planted in a copy of the
repository, never in the repository itself, and the tests that cover it are run
there until the first fails. A bug that no test notices survives. At first the
tests run without any bug, each selection once: they must pass.

A line is printed for each bug as it ends, and a table in Markdown at last. What
ends is also written to the file of `--resume`, from where another start goes
on: nothing in it is run again, except, with `--again`, the bugs that survived.
Forget the file when the package changes.

    python -m tests.slow.mutations --only='claims|results'

Copies share the compiled programs of the repository's tests, so that only what
a bug changes is compiled again. A bug may leave a program that never ends:
after `--limit` seconds it counts as noticed. A bug whose text is not in its
module exactly once, or with which the module cannot be imported, is an error of
the list, and the exit code is 2. It is 1 if a bug survived.
"""

import collections
from collections.abc import Iterable, Mapping, Sequence
import concurrent.futures
import contextlib
import json
import os
import pathlib
import queue
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from typing import Any

from absl import app
from absl import flags

from tests.slow import planted

_ONLY = flags.DEFINE_string('only', '', 'Bugs whose name holds this pattern.')
_WORKERS = flags.DEFINE_integer('workers', 1, 'Bugs that are tried at once.', 1)
_RESUME = flags.DEFINE_string('resume', '', 'File of what ended, and will.')
_AGAIN = flags.DEFINE_bool('again', False, 'Tries again what survived.')
_LIMIT = flags.DEFINE_integer('limit', 1200, 'Seconds that tests may take.', 1)

ROOT = pathlib.Path(__file__).resolve().parents[2]
KILLED, SURVIVED, ERROR = 'killed', 'survived', 'error'
# Of the process below: the module could not be imported.
_NO_IMPORT = 9
# The import comes first, and by itself: tests may import lazily, and a text
# that is no Python must not count as noticed.
_TESTS = f"""
import importlib, pathlib, sys, traceback
module, *arguments = sys.argv[1:]
try:
  place = pathlib.Path(importlib.import_module(module).__file__)
  assert place.is_relative_to(pathlib.Path.cwd()), f'{{place}} is imported'
except BaseException:
  traceback.print_exc()
  raise SystemExit({_NO_IMPORT})
import pytest
raise SystemExit(pytest.main(arguments))
"""


def path_of(bug: planted.Bug) -> pathlib.Path:
  """Returns the file of a bug's module, from the root of the repository."""
  return pathlib.Path('bayes_prompting', *bug.module.split('.')).with_suffix(
    '.py'
  )


def plant(text: str, bug: planted.Bug) -> str:
  """Returns a module's text with a bug in it.

  Raises:
    ValueError: If the text that is replaced is not there exactly once.
  """
  count = text.count(bug.old)
  if count != 1:
    raise ValueError(f'its text stands there {count} times')
  return text.replace(bug.old, bug.new)


def judge(status: int | None, output: str) -> tuple[str, str]:
  """Returns what became of a bug, and by what, from how its tests ended.

  Args:
    status: The exit status of pytest; None if it took too long.
    output: What it printed.
  """
  if status is None:
    return KILLED, 'took too long'
  if status == 0:
    return SURVIVED, ''
  failed = re.search(r'^(?:FAILED|ERROR) (.+?)(?: - .*)?$', output, re.M)
  # Status 2: tests could not be collected, since they compute at import.
  if status in (1, 2) and failed:
    return KILLED, failed[1]
  if status < 0:
    return KILLED, f'signal {-status}'
  why = 'cannot be imported' if status == _NO_IMPORT else f'status {status}'
  last = output.strip().splitlines()[-1:]
  return ERROR, ': '.join([why, *last])


def summary(rows: Iterable[Mapping[str, Any]]) -> str:
  """Returns what became of the bugs as Markdown: counts, then what survived."""
  by_module = collections.defaultdict(list)
  for row in rows:
    by_module[row['module']].append(row)
  by_module['all'] = [row for some in by_module.values() for row in some]
  lines = [
    ('module', 'planted', KILLED, 'too long', SURVIVED, ERROR, 'minutes')
  ]
  lines.append(('---',) + ('--:',) * 6)
  for module, some in by_module.items():
    counts = collections.Counter(row['outcome'] for row in some)
    lines.append(
      (
        module,
        len(some),
        counts[KILLED],
        sum(row['by'] == 'took too long' for row in some),
        counts[SURVIVED],
        counts[ERROR],
        f'{sum(row["seconds"] for row in some) / 60:.1f}',
      )
    )
  left = [x for x in by_module['all'] if x['outcome'] != KILLED]
  text = [_table(lines)]
  if left:
    head = [('bug', 'outcome', 'was', 'is'), ('---',) * 4]
    cells = [
      (x['name'], x['outcome'], *(_code(x[name]) for name in ('old', 'new')))
      for x in left
    ]
    text.append(_table(head + cells))
  return '\n\n'.join(text)


def _table(lines):
  return '\n'.join(f'| {" | ".join(map(str, line))} |' for line in lines)


def _code(text):
  """Returns code for a cell, in one line."""
  text = ' '.join(text.split()).replace('|', r'\|')
  return f'`{text}`' if text else ''


def copy(folder: pathlib.Path) -> None:
  """Copies the repository's own files, which are all but the ignored ones."""
  listed = subprocess.run(
    ['git', 'ls-files', '-z', '--cached', '--others', '--exclude-standard'],
    cwd=ROOT,
    check=True,
    capture_output=True,
    text=True,
  ).stdout
  for name in filter(None, listed.split('\0')):
    if (ROOT / name).is_file():  # Not one that is deleted.
      (folder / name).parent.mkdir(parents=True, exist_ok=True)
      shutil.copy2(ROOT / name, folder / name)
  # Where `tests/conftest.py` keeps programs. All else of the cache is each
  # copy's own.
  compiled = ROOT / '.pytest_cache' / 'd' / 'compiled'
  compiled.mkdir(parents=True, exist_ok=True)
  (folder / '.pytest_cache' / 'd').mkdir(parents=True)
  (folder / '.pytest_cache' / 'd' / 'compiled').symlink_to(compiled)


class Runner:
  """Runs tests in copies of the repository, and ends what it started."""

  def __init__(self, folders: Sequence[pathlib.Path], limit: float):
    """Takes copies, each for one process at a time."""
    self._limit = limit
    self._free = queue.SimpleQueue()
    self._processes = set()
    for folder in folders:
      self._free.put(folder)

  def without(self, tests: str, module: str) -> dict[str, Any]:
    """Runs tests without a bug."""
    folder = self._free.get()
    try:
      status, output, seconds = self._run(folder, module, tests)
    finally:
      self._free.put(folder)
    return {
      'tests': tests,
      'passed': status == 0,
      'seconds': seconds,
      'output': '' if status == 0 else output[-2000:],
    }

  def with_bug(self, bug: planted.Bug) -> dict[str, Any]:
    """Plants a bug, runs its tests, and takes it out again."""
    folder, seconds = self._free.get(), 0.0
    path = folder / path_of(bug)
    text = path.read_text('utf-8')
    try:
      path.write_text(plant(text, bug), 'utf-8')
      status, output, seconds = self._run(folder, bug.module, bug.tests)
      outcome, by = judge(status, output)
    except ValueError as error:
      outcome, by = ERROR, str(error)
    finally:
      path.write_text(text, 'utf-8')
      self._free.put(folder)
    return {
      'digest': bug.digest,
      'name': bug.name,
      'module': bug.module,
      'outcome': outcome,
      'by': by,
      'seconds': seconds,
      'old': bug.old,
      'new': bug.new,
    }

  def _run(self, folder, module, tests):
    """Returns pytest's exit status, what it printed, and the seconds."""
    arguments = [f'bayes_prompting.{module}', '-x', '-q', *shlex.split(tests)]
    # A module with a bug has the size and, nearly, the time of one without: no
    # bytecode is kept that one could be taken for the other.
    environment = {
      'JAX_PLATFORMS': 'cpu',
      **os.environ,
      'PYTHONDONTWRITEBYTECODE': '1',
    }
    begun = time.monotonic()
    process = subprocess.Popen(
      [sys.executable, '-c', _TESTS, *arguments],
      cwd=folder,
      env=environment,
      stdin=subprocess.DEVNULL,
      stdout=subprocess.PIPE,
      stderr=subprocess.STDOUT,
      text=True,
      errors='replace',
      start_new_session=True,  # What the tests start ends with them.
    )
    self._processes.add(process)
    try:
      output, _ = process.communicate(timeout=self._limit)
      status = process.returncode
    except subprocess.TimeoutExpired:
      _end(process)
      output, status = process.communicate()[0], None
    finally:
      _end(process)
      self._processes.discard(process)
    return status, output, round(time.monotonic() - begun, 1)

  def close(self):
    """Ends all processes that are left."""
    for process in list(self._processes):
      _end(process)


def _end(process):
  with contextlib.suppress(ProcessLookupError):
    os.killpg(process.pid, signal.SIGKILL)


def _read(path):
  """Returns what ended before: selections that passed, and bugs by digest."""
  passed, bugs = set(), {}
  if path and path.exists():
    for line in path.read_text('utf-8').splitlines():
      row = json.loads(line)
      if 'digest' in row:
        bugs[row['digest']] = row
      elif row['passed']:
        passed.add(row['tests'])
  return passed, bugs


def _all(pool, function, arguments, path, say):
  """Returns the rows of all, each said and written as it ends."""
  rows = []
  futures = [pool.submit(function, *x) for x in arguments]
  for future in concurrent.futures.as_completed(futures):
    row = future.result()
    rows.append(row)
    count = f'[{len(rows)}/{len(futures)}]'
    print(f'{count} {say(row)} ({row["seconds"]:.0f} s)', flush=True)
    if path:
      with path.open('a', encoding='utf-8') as file:
        file.write(json.dumps(row) + '\n')
  return rows


def main(argv):
  del argv
  # What is killed politely cleans up.
  signal.signal(signal.SIGTERM, lambda *unused: sys.exit(143))
  bugs = [x for x in planted.BUGS if re.search(_ONLY.value, x.name)]
  path = pathlib.Path(_RESUME.value) if _RESUME.value else None
  passed, known = _read(path)
  if _AGAIN.value:
    known = {k: x for k, x in known.items() if x['outcome'] == KILLED}
  left = [x for x in bugs if x.digest not in known]
  # One module of those whose bugs it covers, to be imported first.
  selections = {x.tests: x.module for x in left if x.tests not in passed}
  with tempfile.TemporaryDirectory(prefix='mutations-') as folder:
    copies = [
      pathlib.Path(folder).resolve() / str(i) for i in range(_WORKERS.value)
    ]
    for place in copies:
      copy(place)
    runner = Runner(copies, _LIMIT.value)
    pool = concurrent.futures.ThreadPoolExecutor(_WORKERS.value)
    try:
      tried = _all(
        pool,
        runner.without,
        selections.items(),
        path,
        lambda x: f'{"passes" if x["passed"] else "FAILS"}: {x["tests"]}',
      )
      wrong = [x for x in tried if not x['passed']]
      if wrong:
        for row in wrong:
          print(f'\nWithout a bug: {row["tests"]}\n{row["output"]}')
        return 2
      rows = _all(
        pool,
        runner.with_bug,
        [(x,) for x in left],
        path,
        lambda x: ': '.join(filter(None, (x['outcome'], x['name'], x['by']))),
      )
    finally:
      pool.shutdown(wait=False, cancel_futures=True)
      runner.close()
  ended = known | {x['digest']: x for x in rows}
  # By their order in the list, and by their name of today.
  rows = [ended[x.digest] | {'name': x.name} for x in bugs]
  print(f'\n{summary(rows)}')
  outcomes = {x['outcome'] for x in rows}
  return 2 if ERROR in outcomes else int(SURVIVED in outcomes)


if __name__ == '__main__':
  app.run(main)
