"""Cores that a process may use are devices, unless somebody said otherwise."""

import json
import os
import pathlib
import subprocess
import sys

import jax
import pytest

from bayes_prompting.system import cores

ROOT = pathlib.Path(__file__).resolve().parents[2]

CODE = """
import json, sys, warnings
import jax
from bayes_prompting.system import cores
wanted, started = map(int, sys.argv[1:])
if started:
  jax.devices()
cores.usable = lambda: 6
with warnings.catch_warnings(record=True) as told:
  warnings.simplefilter('always')
  cores.use(wanted)
print(json.dumps([jax.device_count(), [str(x.message) for x in told]]))
"""


def devices(wanted=0, started=0, **environment):
  kept = {
    name: value
    for name, value in os.environ.items()
    if name not in ('JAX_NUM_CPU_DEVICES', 'XLA_FLAGS')
  }
  done = subprocess.run(
    [sys.executable, '-c', CODE, str(wanted), str(started)],
    cwd=ROOT,
    env=kept | {'JAX_PLATFORMS': 'cpu', 'PYTHONPATH': str(ROOT)} | environment,
    capture_output=True,
    text=True,
    check=True,
  )
  return json.loads(done.stdout)


@pytest.mark.parametrize(
  'wanted, environment, count',
  [
    (0, {}, 4),  # Of six cores, what divides batches.
    (3, {}, 3),
    (0, {'JAX_NUM_CPU_DEVICES': '2'}, 2),
    (3, {'JAX_NUM_CPU_DEVICES': '2'}, 3),
    (0, {'XLA_FLAGS': '--xla_force_host_platform_device_count=5'}, 5),
  ],
)
def test_cores_are_devices(wanted, environment, count):
  assert devices(wanted, **environment) == [count, []]


def test_what_has_started_goes_on_and_is_told():
  count, (told,) = devices(started=1)
  assert count == 1
  assert '1 of the 4 CPU devices' in told and 'JAX_NUM_CPU_DEVICES=4' in told
  assert devices(wanted=1, started=1) == [1, []]


def test_a_process_of_many_takes_its_share(monkeypatch):
  monkeypatch.setattr(cores, 'usable', lambda: 8)
  assert cores.share({}) == 8
  assert cores.share({}, processes=2) == 4
  assert cores.share({}, processes=16) == 1
  assert cores.share({'OMPI_COMM_WORLD_LOCAL_SIZE': '4'}, processes=8) == 2
  slurm = {'SLURM_STEP_NUM_TASKS': '32'}
  assert cores.share(slurm, processes=32) == 8  # Slurm bound it to these.
  assert cores.share(slurm | {'SLURM_CPUS_PER_TASK': '2'}) == 2
  assert cores.share({'SLURM_STEP_NUM_TASKS': '1'}) == 8


@pytest.mark.parametrize(
  'cgroup, files, quota',
  [
    ('0::/a/b\n', {'a/b/cpu.max': '250000 100000'}, 2),
    ('0::/a/b\n', {'a/b/cpu.max': 'max 100000', 'a/cpu.max': '50000 50000'}, 1),
    ('0::/a\n', {'a/cpu.max': '5000 100000'}, 1),
    (
      '3:cpu,cpuacct:/j\n1:memory:/x\n',
      {'cpu/j/cpu.cfs_quota_us': '300000', 'cpu/j/cpu.cfs_period_us': '100000'},
      3,
    ),
    ('3:cpu:/j\n', {'cpu/j/cpu.cfs_quota_us': '-1'}, None),
    ('', {}, None),
  ],
)
def test_a_quota_counts(cgroup, files, quota, tmp_path, monkeypatch):
  monkeypatch.setattr(os, 'sched_getaffinity', lambda pid: range(8), False)
  (tmp_path / 'proc/self').mkdir(parents=True)
  (tmp_path / 'proc/self/cgroup').write_text(cgroup)
  for name, text in files.items():
    path = tmp_path / 'sys/fs/cgroup' / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + '\n')
  assert cores.usable(tmp_path) == (quota or 8)


def test_these_tests_have_one_device():
  assert jax.device_count() == 1
