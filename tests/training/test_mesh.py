"""Many devices give what one gives; which are used for what."""

import json
import os
import pathlib
import subprocess
import sys

import jax
import pytest

from bayes_prompting import errors
from bayes_prompting.training import mesh as mesh_lib
from tests.training import eight_devices

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture(scope='module')
def outcomes(tmp_path_factory):
  """What became of every check, all in one process with eight devices."""
  path = tmp_path_factory.mktemp('eight') / 'outcomes.json'
  cache = {
    'JAX_COMPILATION_CACHE_DIR': jax.config.jax_compilation_cache_dir or '',
    'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '0',
    'JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES': '-1',
  }
  found = subprocess.run(
    [sys.executable, '-m', 'tests.training.eight_devices', path],
    cwd=ROOT,
    env={
      **os.environ,
      **cache,
      'JAX_PLATFORMS': 'cpu',
      'JAX_NUM_CPU_DEVICES': '8',
      'PYTHONPATH': str(ROOT),
    },
    capture_output=True,
    text=True,
    timeout=600,
  )
  assert found.returncode == 0, found.stderr
  return json.loads(path.read_text())


@pytest.mark.slow
@pytest.mark.parametrize('name', eight_devices.CHECKS)
def test_with_eight_devices(outcomes, name):
  assert not outcomes[name], outcomes[name]


@pytest.mark.parametrize(
  ('runs', 'batch_size', 'num_devices', 'expected'),
  [
    (10, 256, 1, (1, 1)),
    (10, 256, 8, (2, 4)),
    (1, 256, 8, (1, 8)),
    (16, 256, 8, (8, 1)),
    (3, 100, 8, (1, 4)),
    (3, 7, 8, (1, 1)),
    (10, 256, 5, (5, 1)),
    (10, 250, 100, (10, 10)),
  ],
)
def test_automatic_puts_runs_first(runs, batch_size, num_devices, expected):
  assert mesh_lib.choose(runs, batch_size, num_devices) == expected


@pytest.mark.parametrize(
  ('runs', 'given', 'expected'),
  [
    (10, (5, 0), (5, 1)),  # What is left over stays idle.
    (10, (0, 8), (1, 8)),
    (10, (0, 4), (2, 4)),
    (10, (2, 2), (2, 2)),
    (10, (1, 1), (1, 1)),
    # One run has nothing to split: its data gets the devices of both.
    (1, (2, 2), (1, 4)),
    (1, (5, 0), (1, 8)),
    (1, (0, 2), (1, 2)),
  ],
)
def test_what_is_given_is_taken(runs, given, expected):
  assert mesh_lib.choose(runs, 256, 8, 1, *given) == expected


@pytest.mark.parametrize(
  ('arguments', 'field', 'said'),
  [
    ((10, 256, 8, 1, 4, 4), 'compute', '8; got 4 and 4'),
    ((10, 256, 8, 1, 16, 0), 'compute', '8; got 16 and 0'),
    ((10, 256, 8, 1, 4, 0), 'compute.repetition_devices', '10 runs'),
    ((10, 100, 8, 1, 0, 8), 'compute.data_devices', 'size 100, got 8'),
    ((10, 100, 3, 3), 'compute', '3 processes cannot share'),
    ((10, 256, 4, 4, 1, 2), 'compute', '4 processes cannot share'),
  ],
)
def test_what_cannot_be_is_said(arguments, field, said):
  with pytest.raises(errors.UserError) as error:
    mesh_lib.choose(*arguments)
  assert str(error.value).startswith(f'{field}: ')
  assert said in str(error.value)


def test_processes_have_equal_parts():
  # Six devices of two processes: two of them, one of each, divide 10 runs.
  assert mesh_lib.choose(10, 250, 6, 2) == (2, 1)


def test_one_device_has_no_mesh():
  assert mesh_lib.make_mesh((1, 1)) is None
  tree = {'a': [1.0]}
  for function in (mesh_lib.put, mesh_lib.to_host, mesh_lib.replicate):
    assert function(None, tree) is tree
  assert mesh_lib.over_runs(None, len, (0,)) is len
