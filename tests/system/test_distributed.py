"""Two processes work as one, and end as one."""

import json
import os
import pathlib
import socket
import subprocess
import sys
import time

import jax
import pytest

from bayes_prompting import errors
from bayes_prompting import results
from bayes_prompting.experiment import run
from bayes_prompting.system import distributed
from tests import testing
from tests.experiment import test_run

ROOT = pathlib.Path(__file__).resolve().parents[2]
PATIENCE = 500  # Seconds, after which processes that hang are killed.
OVERRIDES = {
  'tuning.methods': ('PreBayesPT', 'NoTuning', 'SoftPT'),
  'evaluation.tasks': ('single_coin',),
  'evaluation.num_sequences': 9,
  'checkpoints.every': 1,
}
CONFIG = f"""
from tests.experiment import test_run

def get_config():
  return test_run.tiny(**{OVERRIDES!r})
"""


def _once(folder, arguments, devices):
  """Runs both processes on a port that is free now."""
  with socket.socket() as found:
    found.bind(('localhost', 0))
    address = f'localhost:{found.getsockname()[1]}'
  environment = {
    **os.environ,
    'JAX_PLATFORMS': 'cpu',
    'JAX_NUM_CPU_DEVICES': str(devices),
    'JAX_COMPILATION_CACHE_DIR': jax.config.jax_compilation_cache_dir or '',
    'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '0',
    'JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES': '-1',
    'PYTHONPATH': str(ROOT),
  }
  files, processes = [], []
  for me in (0, 1):
    files.append([folder / f'{me}.out', folder / f'{me}.err'])
    out, err = (path.open('w') for path in files[-1])
    with out, err:
      command = [sys.executable, '-m', *arguments(address, me)]
      processes.append(
        subprocess.Popen(
          command, cwd=ROOT, env=environment, stdout=out, stderr=err
        )
      )
  deadline = time.monotonic() + PATIENCE
  try:
    for process in processes:
      process.wait(max(deadline - time.monotonic(), 1))
  except subprocess.TimeoutExpired:
    pass  # The test will say what is written by then.
  finally:
    for process in processes:
      process.kill()
  codes = [process.wait() for process in processes]
  texts = [[path.read_text() for path in pair] for pair in files]
  return [(code, *pair) for code, pair in zip(codes, texts, strict=True)]


def run_two(folder, arguments, devices=1):
  """Returns (code, standard output, standard error) of both processes."""
  for _ in range(3):
    outcomes = _once(folder, arguments, devices)
    # Someone else may have taken the port between our look and JAX's.
    if 'already in use' not in outcomes[0][2]:
      break
  return outcomes


def launch(folder, *extra):
  (folder / 'config.py').write_text(CONFIG)

  def arguments(address, me):
    return [
      'launch.experiment',
      f'--config={folder}/config.py',
      f'--workdir={folder}/run',
      f'--coordinator={address}',
      '--num_processes=2',
      f'--process_id={me}',
      *extra,
    ]

  return run_two(folder, arguments)


@pytest.mark.slow
def test_processes_agree(tmp_path):
  def arguments(address, me):
    return ['tests.system.two_processes', address, str(me), str(tmp_path)]

  outcomes = run_two(tmp_path, arguments, devices=2)
  for code, out, err in outcomes:
    assert code == 0, err
    assert out.endswith('done\n')


@pytest.fixture(scope='module')
def finished(tmp_path_factory):
  folder = tmp_path_factory.mktemp('two')
  return folder, launch(folder)


@pytest.mark.slow
def test_two_processes_give_what_one_gives(finished):
  folder, outcomes = finished
  for code, _, err in outcomes:
    assert code == 0, err
  expected = run.run(test_run.tiny(**OVERRIDES))
  testing.assert_results_agree(results.load(folder / 'run'), expected)


@pytest.mark.slow
def test_one_process_writes_and_speaks(finished):
  folder, ((_, out, err), (_, other_out, other_err)) = finished
  assert 'SoftPT' in out and 'step/s' in err
  # The library of the CPU's collectives prints too: look for our words.
  for word in ('SoftPT', 'Results', 'Compiled', 'step/s'):
    assert word not in other_out + other_err
  record = json.loads((folder / 'run' / 'config.json').read_text())
  assert record['other']['process_count'] == 2
  assert record['other']['device_count'] == 2
  curve = folder / 'run' / 'curves' / 'SoftPT-seed0.jsonl'
  steps = [json.loads(line)['step'] for line in curve.read_text().splitlines()]
  assert steps == [1, 2, 3]
  assert {path.name for path in folder.iterdir() if path.is_dir()} == {
    'run',
    'networks',
  }


@pytest.mark.slow
def test_started_again_they_find_it_finished(finished):
  folder, _ = finished
  before = (folder / 'run' / 'results.nc').stat().st_mtime_ns
  (code, out, err), (other_code, other_out, other_err) = launch(folder)
  assert (code, other_code) == (0, 0), err + other_err
  assert 'Finished already' in out and 'step/s' not in err
  assert 'SoftPT' not in other_out
  assert (folder / 'run' / 'results.nc').stat().st_mtime_ns == before


@pytest.mark.slow
def test_a_mistake_ends_both(tmp_path):
  outcomes = launch(tmp_path, '--config.compute.data_devices=8')
  for code, out, err in outcomes:
    assert code == 2, err
    assert err.count('error: compute: ') == 1 and 'Traceback' not in err
    assert 'Results' not in out
  assert not (tmp_path / 'run').exists()


# What needs no second process.


SLURM = {
  'SLURM_JOB_ID': '7',
  'SLURM_STEP_NODELIST': 'n[1-2]',
  'SLURM_NTASKS': '4',
  'SLURM_PROCID': '0',
  'SLURM_LOCALID': '0',
}


@pytest.mark.parametrize(
  'environment',
  [
    {},
    {'SLURM_JOB_ID': '7', 'SLURM_NTASKS': '4', 'SLURM_PROCID': '0'},
    # A shell in an allocation of four tasks, of which it is one.
    {**SLURM, 'SLURM_STEP_NUM_TASKS': '1'},
    {'OMPI_COMM_WORLD_SIZE': '1', 'OMPI_MCA_orte_hnp_uri': '1.0;tcp://h:1'},
    {'TPU_ML_PLATFORM': 'JAX', 'TPU_WORKER_HOSTNAMES': 'localhost'},
    {'TPU_ML_PLATFORM': 'JAX', 'TPU_SKIP_MDS_QUERY': '1'},
    {'TPU_WORKER_HOSTNAMES': 'a,b'},  # Without TPUs.
  ],
)
def test_a_single_process_joins_nobody(environment):
  assert distributed.detect(environment) is None


@pytest.mark.parametrize(
  ('environment', 'expected'),
  [
    (
      {**SLURM, 'SLURM_STEP_NUM_TASKS': '4'},
      {'cluster_detection_method': 'slurm', 'num_processes': 4},
    ),
    (
      {'OMPI_COMM_WORLD_SIZE': '2', 'OMPI_MCA_orte_hnp_uri': '1.0;tcp://h:1'},
      {'cluster_detection_method': 'ompi'},
    ),
    ({'TPU_ML_PLATFORM': 'JAX', 'TPU_WORKER_HOSTNAMES': 'a,b'}, {}),
    ({'TPU_ML_PLATFORM': 'JAX', 'MEGASCALE_NUM_SLICES': '2'}, {}),
    ({'TPU_ML_PLATFORM': 'JAX'}, {}),
  ],
)
def test_one_of_many_is_detected(environment, expected):
  assert distributed.detect(environment) == expected


def test_mpi_that_jax_does_not_know_is_said():
  with pytest.raises(errors.UserError, match='--coordinator=HOST:PORT'):
    distributed.detect({'OMPI_COMM_WORLD_SIZE': '2'})


def test_alone_everything_is_itself():
  distributed.initialize('nowhere:1', 1, 0)
  assert distributed.alone() and distributed.is_first()
  for function in (distributed.on_first, distributed.together):
    assert function(lambda: 3) == 3
    with pytest.raises(KeyError):
      function(lambda: {}['gone'])
  distributed.agree('field', 'value')
