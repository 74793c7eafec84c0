"""Runs that are killed at random moments, and started again until they end."""

import contextlib
import os
import pathlib
import random
import subprocess
import sys
import time

import xarray as xr

from bayes_prompting import results

ROOT = pathlib.Path(__file__).resolve().parent.parent


# Shells have processes in the background ignore Ctrl-C, and those they start.
HEARING = """
import runpy, signal
signal.signal(signal.SIGINT, signal.default_int_handler)
runpy.run_module('launch.experiment', run_name='__main__', alter_sys=True)
"""


def start(config, workdir, *flags):
  """Starts a run as a user would; its output is at `workdir`.log."""
  command = [
    *(sys.executable, '-c', HEARING),
    *(f'--config={config}', f'--workdir={workdir}', *flags),
  ]
  with open(f'{workdir}.log', 'a', encoding='utf-8') as log:
    return subprocess.Popen(
      command,
      cwd=ROOT,
      stdout=log,
      stderr=log,
      stdin=subprocess.DEVNULL,
    )


@contextlib.contextmanager
def ended(process):
  """Leaves no process behind, whatever a test finds."""
  try:
    yield
  finally:
    process.kill()
    process.wait()


def said(workdir):
  """All that the runs in a folder said."""
  return pathlib.Path(f'{workdir}.log').read_text(encoding='utf-8')


def finish(config, workdir, *flags):
  """Runs to the end."""
  code = start(config, workdir, *flags).wait()
  assert code == 0, said(workdir)


def when(condition, process, seconds=120):
  """Waits for something that a process does; False if it has ended before."""
  until = time.monotonic() + seconds
  while not condition():
    if process.poll() is not None:
      return False
    assert time.monotonic() < until, 'it takes too long'
    time.sleep(0.005)
  return True


def changes(workdir):
  """A number that grows with whatever a run writes."""
  return sum(len(names) for *_, names in os.walk(workdir))


def kill_and_restart(config, workdir, kills, seed, pause=2.0):
  """Kills a run at random moments after it began to work, `kills` times.

  Args:
    config: A configuration file.
    workdir: A new folder.
    kills: How many SIGKILLs it has to survive.
    seed: Of the moments.
    pause: Seconds that it has at most after it wrote something, each time.

  Returns:
    For each kill the files that were there.
  """
  moments, seen = random.Random(seed), []
  while len(seen) < kills:
    before = changes(workdir)
    process = start(config, workdir)
    # Starting takes seconds in which nothing can go wrong.
    if when(lambda b=before: changes(workdir) != b, process):
      time.sleep(moments.uniform(0, pause))
    if process.poll() is None:
      process.kill()
      seen.append(changes(workdir))
    if process.wait() >= 0:
      assert process.returncode == 0, said(workdir)
      break  # It was faster.
  finish(config, workdir)
  return seen


def assert_same_run(workdir, expected):
  """Holds what a run left to what another left, bit for bit."""
  found, wanted = pathlib.Path(workdir), pathlib.Path(expected)
  one, other = results.load(found), results.load(wanted)
  assert one.identical(other)
  assert xr.Dataset.identical(one, other)
  assert (found / 'summary.csv').read_bytes() == (
    wanted / 'summary.csv'
  ).read_bytes()
  for curve in sorted((wanted / 'curves').glob('*.jsonl')):
    assert (found / 'curves' / curve.name).read_bytes() == curve.read_bytes()
  left = [p.name for p in found.rglob('*.part')]
  assert not left and not (found / 'checkpoints' / 'unfinished').exists()
