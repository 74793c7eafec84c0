"""What `test_distributed` runs in each of two processes.

python -m tests.system.two_processes localhost:PORT PROCESS_ID
"""

import os
import pathlib
import signal
import sys

import jax
import numpy as np
import pytest

from bayes_prompting import errors
from bayes_prompting.storage import checkpoints
from bayes_prompting.storage import resume
from bayes_prompting.system import distributed
from bayes_prompting.system import interruption
from bayes_prompting.training import mesh as mesh_lib


def check_the_first_decides(me):
  assert distributed.is_first() == (me == 0)
  assert not distributed.alone()
  calls = []
  found = distributed.on_first(lambda: calls.append(me) or {'who': me})
  assert found == {'who': 0}
  assert calls == ([0] if me == 0 else [])
  nested = distributed.on_first(lambda: distributed.on_first(lambda: (me, 1)))
  assert nested == (0, 1)
  large = distributed.on_first(lambda: np.arange(100_000) * (1 - me))
  np.testing.assert_array_equal(large, np.arange(100_000))


def check_what_the_first_raises_all_raise(me):
  def mistake():
    raise errors.UserError('field: wörd')

  with pytest.raises(errors.UserError, match='^field: wörd$'):
    distributed.on_first(mistake)
  # A bug is itself where it happens, and a message elsewhere.
  expected = (KeyError, 'gone') if me == 0 else (RuntimeError, 'KeyError.*gone')
  with pytest.raises(expected[0], match=expected[1]):
    distributed.on_first(lambda: {}['gone'])
  # What cannot be sent must not leave the others waiting.
  with pytest.raises(Exception, match='lambda'):
    distributed.on_first(lambda: lambda: None)


def check_a_mistake_in_one_ends_all(me):
  assert distributed.together(lambda: me) == me

  def mistake():
    if me == 1:
      raise errors.UserError('field: wrong')

  with pytest.raises(errors.UserError, match='^process 1: field: wrong$'):
    distributed.together(mistake)
  distributed.agree('field', 'the same')
  with pytest.raises(errors.UserError, match='^field: .* process 1'):
    distributed.agree('field', f'mine is {me}')


def check_arrays_go_to_a_mesh_and_come_back(me):
  for shape in ((4, 1), (2, 2), (1, 2)):
    mesh = mesh_lib.make_mesh(shape)
    assert {d.process_index for d in mesh.devices.flat} == {0, 1}
    tree = {'a': np.arange(8, dtype=np.float32).reshape(4, 2)}
    split = mesh_lib.put(mesh, tree, 'repetition')
    assert not split['a'].is_fully_addressable
    found = mesh_lib.to_host(mesh, split)
    np.testing.assert_array_equal(found['a'], tree['a'])
    moved = mesh_lib.put(mesh, split)
    np.testing.assert_array_equal(moved['a'], tree['a'])
  with pytest.raises(errors.UserError, match='2 processes'):
    mesh_lib.make_mesh((1, 3))


def check_checkpoints_need_no_common_file_system(me, folder):
  path = folder / f'of-process-{me}' / 'checkpoint'
  tree = {'a': jax.numpy.arange(3.0), 'b': np.ones((2, 2), np.int32)}
  assert not checkpoints.exists(path)
  checkpoints.save(path, tree, {'hash': 'abc'})
  assert checkpoints.exists(path)
  assert path.exists() == (me == 0)
  found = checkpoints.restore(path, tree)
  for name in tree:
    np.testing.assert_array_equal(found[name], tree[name])
  assert checkpoints.metadata(path) == {'hash': 'abc'}
  with pytest.raises(errors.UserError, match='int32'):
    checkpoints.restore(path, {**tree, 'b': np.ones(2, np.int32)})


def check_work_under_way_goes_on(me, folder):
  path = folder / f'of-process-{me}' / 'under_way'

  def restore():
    with resume.Keeper(path, {'title': 'abc'}, 10, 2, 2) as keeper:
      return keeper.restore(lambda step: {'a': np.zeros(3)})

  assert restore() is None
  with resume.Keeper(path, {'title': 'abc'}, 10, 2, 2) as keeper:
    for step in (2, 4):
      assert not keeper.due(step - 1) and keeper.due(step)
      keeper.keep(step, {'a': np.full(3, float(step))})
  assert path.exists() == (me == 0)
  step, found = restore()
  assert step == 4 and found['a'].tolist() == [4, 4, 4]
  if me == 0:
    next((path / '4').glob('**/_METADATA')).write_text('')
  step, found = restore()
  assert step == 2 and found['a'].tolist() == [2, 2, 2]


def check_a_signal_to_the_first_ends_all(me, folder):
  path = folder / f'of-process-{me}' / 'signalled'
  with resume.Keeper(path, {}, 10, 5, 1) as keeper:
    assert not keeper.due(1)
    caught = pytest.raises(interruption.Interrupted)
    with caught as error, interruption.watching(), interruption.deferred():
      if me == 0:
        signal.raise_signal(signal.SIGTERM)
      assert keeper.due(2)
      keeper.keep(2, {'a': np.ones(1)})
  assert error.value.code == 143
  assert checkpoints.newest(path) == 2


def main(coordinator, me, folder):
  # As srun starts the tasks of a job; JAX's own way to find the port would be
  # the job's number.
  host, port = coordinator.split(':')
  os.environ |= {
    'JAX_COORDINATOR_PORT': port,
    'SLURM_JOB_ID': '7',
    'SLURM_STEP_NODELIST': host,
    'SLURM_STEP_NUM_TASKS': '2',
    'SLURM_NTASKS': '2',
    'SLURM_PROCID': str(me),
    'SLURM_LOCALID': str(me),
  }
  distributed.initialize()
  assert jax.device_count() == 4
  check_the_first_decides(me)
  check_what_the_first_raises_all_raise(me)
  check_a_mistake_in_one_ends_all(me)
  check_arrays_go_to_a_mesh_and_come_back(me)
  check_checkpoints_need_no_common_file_system(me, folder)
  check_work_under_way_goes_on(me, folder)
  check_a_signal_to_the_first_ends_all(me, folder)
  print('done')


if __name__ == '__main__':
  main(sys.argv[1], int(sys.argv[2]), pathlib.Path(sys.argv[3]))
