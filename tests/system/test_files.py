"""No file is ever half-written, and whatever is read back is whole or refused.

Every writer and every reader of the package is in one of the two tables.
"""

import contextlib
import copy
import dataclasses
import errno
import functools
import json
import os
import pathlib
import random
import resource
import signal
import subprocess
import sys
import threading
import types

from matplotlib import figure as mpl_figure
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from bayes_prompting import errors
from bayes_prompting import results
from bayes_prompting import settings
from bayes_prompting.claims import judge
from bayes_prompting.claims import tables
from bayes_prompting.dynamics import study
from bayes_prompting.reporting import page
from bayes_prompting.reporting import page_claims
from bayes_prompting.reporting import style
from bayes_prompting.results import evidence
from bayes_prompting.results import runs as runs_lib
from bayes_prompting.results import summary
from bayes_prompting.settings import plain as plain_lib
from bayes_prompting.storage import workdir
from bayes_prompting.system import files
from bayes_prompting.system import locks
from launch import sweep_grid
from launch import sweep_jobs

ROOT = pathlib.Path(__file__).resolve().parents[2]
STEPS = [2, 4]


def contents(folder):
  """Every file in a folder: path to bytes."""
  return {
    str(path.relative_to(folder)): path.read_bytes()
    for path in folder.rglob('*')
    if path.is_file()
  }


@contextlib.contextmanager
def refusal(*said):
  """Holds a mistake to its one line, and that to what it must say."""
  with pytest.raises(errors.UserError) as raised:
    yield
  line = str(raised.value)
  assert '\n' not in line and len(line) < 1000
  for text in map(str, said):
    assert text in line


# What is written, and read back.


@functools.cache
def dataset():
  coords = {
    'tuner': ['Oracle', 'TargetBayes', 'EvalBayes', 'NoTuning', 'SoftPT'],
    'pretrain_seed': [0],
    'learning_rate': [1e-3],
    'prefix_init': ['normal'],
    'repetition': [0, 1],
    'eval_task': ['home', 'away'],
    'reference': ['oracle', 'bayes'],
    'estimator': ['sampled', 'exact', 'paired'],
    'step': range(1, 5),
    'report_step': STEPS,
    'sequence': range(8),
    'pretraining_step': range(1, 5),
    'tuning_step': range(1, 4),
    'candidate': [],
  }
  found = results.Builder(coords).build(
    {
      'target': 'home',
      'config': json.dumps(config()),
      'tuning_length': 2,
      'pretraining_length': 4,
    }
  )
  rng = np.random.default_rng(0)
  noisy = {
    name: (array.dims, rng.normal(size=array.shape).astype(np.float32))
    for name, array in found.data_vars.items()
  }
  return found.assign(noisy | {'judged': found.judged + 1}).fillna(1)


@functools.cache
def inside():
  """Dynamics, of made-up numbers."""
  names = ('cloud', 'untuned_path', 'token_norm', 'target_mean')
  found = xr.Dataset(
    {
      name: (dims, np.ones([2] * len(dims), np.float32))
      for name in names
      for dims in [study.VARIABLES[name][0]]
    }
  )
  attributes = {
    'schema_version': study.SCHEMA_VERSION,
    'target': 'home',
    'pretraining_task': 'away',
    **dict.fromkeys(
      (
        'tuning_length',
        'pretraining_length',
        'path_seed',
        'path_repetition',
      ),
      1,
    ),
  }
  labels = {dim: np.arange(size) for dim, size in found.sizes.items()}
  return found.assign_coords(labels).assign_attrs(attributes)


@functools.cache
def config():
  return plain_lib.of(settings.base_config())


@functools.cache
def record():
  numerical = {'jax': '1.0'}
  return {
    'config': config(),
    'numerics': {},
    'numerical': numerical,
    'other': {},
  }


@functools.cache
def table():
  return summary.summarize(dataset())


def evidence_row():
  row = dict.fromkeys(evidence.COLUMNS, 'text')
  row |= dict.fromkeys(('pretrain_seed', 'step', 'repetitions', 'stopped'), 1)
  floats = ('mean', 'sem_sequences', 'learning_rate', *evidence.COST)
  return row | dict.fromkeys(floats, 0.5)


@functools.cache
def judged():
  row = dict.fromkeys(judge.COLUMNS, 'text') | {'verdict': judge.HOLDS}
  row |= {'value': 1.0, 'low': 0.5, 'high': 2.0, 'mean': 1.0}
  row |= dict.fromkeys(('networks', 'repetitions', 'stopped'), 1)
  return pd.DataFrame([row])


def draw(folder):
  def make():
    figure = mpl_figure.Figure(figsize=(1, 1))
    figure.subplots().plot([1, 2])
    return figure

  style.write_all({'figure': make}, folder)


def make_run(folder):
  """Makes a finished run of made-up numbers."""
  folder.mkdir(parents=True)
  (folder / 'config.json').write_text(json.dumps(record()))
  results.save(dataset(), folder / 'results.nc')
  summary.save(table(), folder / 'summary.csv')
  return folder


@pytest.fixture(scope='module')
def runs(tmp_path_factory):
  folder = tmp_path_factory.mktemp('runs')
  make_run(folder / 'one')
  return folder


def submit(folder):
  job = types.SimpleNamespace(job_id='7_0')
  executor = types.SimpleNamespace(
    batch=contextlib.nullcontext, submit=lambda function: job
  )
  (folder / 'logs').mkdir(exist_ok=True)
  sweep_jobs.submit([RUN], folder, executor)


def write_report(folder, runs):
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(page, 'render', lambda root: '<html>' * 100)
    page.write(folder)


RUN = sweep_grid.SweepRun('run', 'a run', 'x.py', ())
# What takes a folder (and one with a run in it) and writes there.
WRITERS = {
  'results': lambda x, runs: results.save(dataset(), x / 'results.nc'),
  'dynamics': lambda x, runs: study.save(inside(), x / 'dynamics.nc'),
  'summary': lambda x, runs: summary.save(table(), x / 'summary.csv'),
  'figures': lambda x, runs: draw(x),
  'claims': lambda x, runs: tables.save(judged(), x),
  'report': write_report,
  'evidence': lambda x, runs: evidence.append(x, [evidence_row()]),
  'config': lambda x, runs: workdir.claim(x / 'run', record()),
  'job': lambda x, runs: submit(x),
  'sealed': lambda x, runs: files.write_bytes(x / 'f', b'x' * 99, sealed=True),
}
# Those whose files hold what they held before when written again.
AGAIN = [name for name in WRITERS if name != 'config']


@pytest.mark.parametrize('name', WRITERS)
def test_what_is_written_is_all_that_is_there(name, tmp_path, runs):
  WRITERS[name](tmp_path, runs)
  written = contents(tmp_path)
  assert written and not any('/.' in f'/{path}' for path in written)
  assert all(written.values())
  WRITERS[name](tmp_path, runs)
  assert contents(tmp_path) == written  # Nor does anything depend on time.
  umask = os.umask(0)
  os.umask(umask)
  for path in written:
    assert (tmp_path / path).stat().st_mode & 0o777 == 0o666 & ~umask


@pytest.mark.parametrize('name', ['results', 'dynamics', 'figures'])
def test_what_is_written_is_no_view(name, tmp_path, runs, monkeypatch):
  # A view of a BytesIO in a traceback can crash Python: see `results.save`.
  write, written = files.write_bytes, []

  def watched(path, data, *args, **kwargs):
    written.append(data)
    write(path, data, *args, **kwargs)

  monkeypatch.setattr(files, 'write_bytes', watched)
  WRITERS[name](tmp_path, runs)
  assert written and all(type(data) is bytes for data in written)


def full_disk(descriptor):
  raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@contextlib.contextmanager
def no_larger_than(size):
  """Has the system refuse to let files grow; Python ignores its signal."""
  soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
  resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
  try:
    yield
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize('way', ['no space', 'too large'])
@pytest.mark.parametrize('name', WRITERS)
def test_a_full_disk_leaves_what_was_there(
  name, way, tmp_path, runs, monkeypatch
):
  WRITERS[name](tmp_path, runs)
  before = contents(tmp_path)
  for path in before:  # Of an older version, say.
    if name in AGAIN:
      (tmp_path / path).write_bytes(b'precious')
  before = contents(tmp_path)
  if name == 'evidence':  # What it holds is read first.
    header = ','.join(evidence.COLUMNS) + '\n'
    (tmp_path / evidence.NAME).write_text(header)
    before = contents(tmp_path)
  if way == 'no space':
    monkeypatch.setattr(os, 'fsync', full_disk)
    with refusal(tmp_path, 'No space left on device'):
      WRITERS[name](tmp_path, runs)
  else:
    with no_larger_than(10), refusal(tmp_path, 'File too large'):
      WRITERS[name](tmp_path, runs)
  assert contents(tmp_path) == before
  monkeypatch.undo()
  WRITERS[name](tmp_path, runs)  # With room again, it works.


@pytest.mark.parametrize('name', WRITERS)
def test_a_folder_that_cannot_be_is_named(name, tmp_path, runs):
  (tmp_path / 'file').write_text('mine')
  below = tmp_path / 'file' / 'below'
  if name == 'job':
    with refusal(below):
      sweep_jobs.prepare([RUN], below)
    return
  with refusal(below):
    WRITERS[name](below, runs)
  assert (tmp_path / 'file').read_text() == 'mine'


@pytest.mark.parametrize(
  'name', ['results', 'dynamics', 'summary', 'claims', 'report', 'sealed']
)
def test_a_folder_that_vanished_is_named(name, tmp_path, runs):
  with refusal(tmp_path / 'gone', 'No such file or directory'):
    WRITERS[name](tmp_path / 'gone', runs)
  assert not contents(tmp_path)


def test_a_job_that_was_not_noted_is_told(tmp_path, monkeypatch):
  monkeypatch.setattr(os, 'fsync', full_disk)
  with refusal('submitted, but not noted: 7_0'):
    submit(tmp_path)


def test_what_goes_wrong_in_between_leaves_nothing(tmp_path):
  path = tmp_path / 'file.csv'
  path.write_text('old')
  for error in (KeyError, KeyboardInterrupt, errors.UserError):
    with pytest.raises(error), files.replacing(path) as temporary:
      temporary.write_text('half')
      raise error
  with refusal('file.csv'), files.replacing(path):
    pass  # Nothing was written.
  assert contents(tmp_path) == {'file.csv': b'old'}


def test_what_killed_processes_left_goes_after_a_day(tmp_path):
  path = tmp_path / 'file[1].csv'
  for name, age in (('old', 2), ('young', 0)):
    left = tmp_path / f'.file[1].csv.{name.encode().hex()[:6]:0>8}.part'
    left.write_text(name)
    os.utime(left, (0, left.stat().st_mtime - age * files.STALE))
  files.write_text(path, 'new')
  assert sorted(contents(tmp_path).values()) == [b'new', b'young']


# What is read back.


@dataclasses.dataclass(frozen=True)
class Reader:
  """What reads a file.

  Attributes:
    path: Below the folder.
    write: Writes it whole, into the folder.
    read: Reads it from the folder.
    strict: Whether every prefix of the file is known for one.
  """

  path: str
  write: object
  read: object
  strict: bool = True


def ask(folder):
  fake = types.SimpleNamespace(
    SlurmJob=lambda folder, job_id: types.SimpleNamespace(
      job_id=job_id, state='RUNNING', done=lambda: False
    )
  )
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(sweep_jobs, '_submitit', lambda: fake)
    return sweep_jobs.jobs([RUN], folder)


READERS = {
  'results': Reader(
    'run/results.nc',
    lambda x: make_run(x / 'run'),
    lambda x: runs_lib.load(x, 'run'),
  ),
  'dynamics': Reader(
    'dynamics.nc', lambda x: WRITERS['dynamics'](x, None), study.load
  ),
  'config': Reader(
    'run/config.json',
    lambda x: make_run(x / 'run'),
    lambda x: workdir.read_record(x / 'run'),
  ),
  'evidence': Reader(
    'networks.csv',
    lambda x: WRITERS['evidence'](x, None),
    evidence.read,
    strict=False,
  ),
  'job': Reader('logs/run.job', submit, ask),
  'claims': Reader(
    'claims.csv',
    lambda x: WRITERS['claims'](x, None),
    lambda x: page_claims.read(x / 'claims.csv'),
    strict=False,
  ),
}


@pytest.fixture(params=READERS)
def reader(request):
  return READERS[request.param]


@pytest.mark.parametrize('reader', READERS.values(), ids=READERS)
def test_what_was_cut_off_is_refused(reader, tmp_path):
  reader.write(tmp_path)
  path = tmp_path / reader.path
  raw = path.read_bytes()
  # The last line of JSON, and of a sealed file, may go.
  end = len(raw.rstrip()) if reader.strict else len(raw)
  end -= files._SEAL_SIZE if path.suffix == '.nc' else 0
  step = max(1, end // 60)
  for length in {*range(0, end, step), *range(max(0, end - 5), end)}:
    path.write_bytes(raw[:length])
    if reader.strict:
      with refusal(path):
        reader.read(tmp_path)
      continue
    with contextlib.suppress(errors.UserError):
      reader.read(tmp_path)
  path.write_bytes(raw)
  reader.read(tmp_path)


FOREIGN = {
  'empty': b'',
  'zeros': bytes(5000),
  'random': random.Random(0).randbytes(5000),
  'text': b'precious\n',
  'number': b'3',
  'table': b'a,b\n1,2\n3,4,5\n',
  'object': b'{"config": {"seed": 0}, "job_id": {}}',
  'HDF5': b'\x89HDF\r\n\x1a\n' + bytes(3000),
}


@pytest.mark.parametrize('kind', FOREIGN)
@pytest.mark.parametrize('reader', READERS.values(), ids=READERS)
def test_what_is_another_file_is_refused(reader, kind, tmp_path):
  reader.write(tmp_path)
  path = tmp_path / reader.path
  path.write_bytes(FOREIGN[kind])
  try:
    reader.read(tmp_path)
  except errors.UserError as error:
    line = str(error)
    assert '\n' not in line and len(line) < 1000
    # Of the paper's record it is the folder that holds another kind.
    assert str(path) in line or str(tmp_path) in line
  else:
    # Of any table of claims something can be shown; `read_record` takes what
    # `claim` then finds to be another configuration.
    assert path.name == 'claims.csv' or (path.name, kind) == (
      'config.json',
      'object',
    )
  assert path.read_bytes() == FOREIGN[kind]


@pytest.mark.parametrize('reader', READERS.values(), ids=READERS)
def test_what_cannot_be_read_is_refused(reader, tmp_path, monkeypatch):
  reader.write(tmp_path)
  path = tmp_path / reader.path
  raw, opened = path.read_bytes(), open

  def forbid(file, *args, **kwargs):
    if str(file) == str(path):
      raise PermissionError(errno.EACCES, 'Permission denied')
    return opened(file, *args, **kwargs)

  with monkeypatch.context() as patch:
    patch.setattr('builtins.open', forbid)
    patch.setattr('io.open', forbid)
    with refusal(path, 'Permission denied'):
      reader.read(tmp_path)
  assert path.read_bytes() == raw


@pytest.mark.parametrize('name', ['results', 'dynamics'])
def test_a_bit_that_changed_is_found(name, tmp_path):
  reader = READERS[name]
  reader.write(tmp_path)
  path = tmp_path / reader.path
  raw, rng = path.read_bytes(), random.Random(0)
  whole = reader.read(tmp_path)
  refused = 0
  places = [rng.randrange(8 * len(raw)) for _ in range(100)]
  places += [8 * (len(raw) - x) for x in range(1, files._SEAL_SIZE, 11)]
  for bit in places:
    data = bytearray(raw)
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)
    if bit // 8 < len(raw) - files._SEAL_SIZE:
      with refusal(path, 'damaged'):
        reader.read(tmp_path)
      refused += 1
    else:  # Of the seal itself: then the file holds what it did.
      with contextlib.suppress(errors.UserError):
        assert reader.read(tmp_path).identical(whole)
  assert refused > 90


def test_files_without_a_seal_are_read(tmp_path):
  path = tmp_path / 'results.nc'
  dataset().to_netcdf(path, engine='h5netcdf')
  assert results.load(path).identical(dataset())
  results.save(dataset(), path)
  with xr.open_dataset(path, engine='h5netcdf') as plain:
    assert plain.identical(dataset())  # Any reader of netCDF passes over it.


@pytest.mark.parametrize(
  ('spoil', 'lack'),
  [
    (lambda x: x.drop_vars('judged'), 'variable judged'),
    (lambda x: x.drop_vars('sequence'), 'dimension sequence'),
    (lambda x: x.isel(eval_task=0, drop=True), 'dimension eval_task'),
    (lambda x: x.drop_attrs(), 'schema version None'),
    (lambda x: x.assign_attrs(schema_version=[1, 2]), 'schema version [1 2]'),
    (lambda x: x.assign_attrs(config='{'), 'not valid JSON'),
    (lambda x: x.assign_attrs(config='[]'), 'must hold a JSON object'),
    (lambda x: x.assign_attrs(config=3), 'not valid JSON'),
    (
      lambda x: xr.Dataset(
        attrs={'schema_version': results.SCHEMA_VERSION, 'title': 'climate'}
      ),
      'not a results file of this package',
    ),
  ],
)
def test_a_file_that_lacks_something_says_what(spoil, lack, tmp_path):
  path = tmp_path / 'results.nc'
  results.save(spoil(dataset()), path)
  with refusal(path, lack):
    results.load(path)
  dynamics_file = tmp_path / 'dynamics.nc'
  results.save(
    dataset().assign_attrs(schema_version=study.SCHEMA_VERSION), dynamics_file
  )
  with refusal(dynamics_file, 'not a dynamics file', 'cloud'):
    study.load(dynamics_file)


@pytest.mark.parametrize(
  ('section', 'field', 'value'),
  [('pretraining', 'num_seeds', None), ('evaluation', 'num_sequences', '9')],
)
def test_a_size_that_is_none_is_named(section, field, value, tmp_path):
  run = make_run(tmp_path / 'run')
  spoilt = copy.deepcopy(record())
  spoilt['config'][section][field] = value
  (run / 'config.json').write_text(json.dumps(spoilt))
  with refusal(run / 'config.json', f'{section}.{field}', value):
    page.render(run)


def test_a_file_that_vanishes_while_it_is_opened_is_named(
  tmp_path, monkeypatch
):
  monkeypatch.setattr(pathlib.Path, 'is_file', lambda path: True)
  with refusal(tmp_path / 'results.nc', 'No such file'):
    results.load(tmp_path / 'results.nc')


def test_a_folder_that_is_not_there_is_not_one_without_runs(tmp_path):
  missing = tmp_path / 'typo'
  for read in (
    lambda: runs_lib.load(missing, 'lstm-single_coin'),
    lambda: runs_lib.runs(missing),
    lambda: study.ensure(missing),
  ):
    with refusal(missing, 'folder'):
      read()
  assert not missing.exists()


# Processes that are killed, and two in one folder.


def start(code, *arguments):
  """Starts a process that says a line when it is where it should be."""
  process = subprocess.Popen(
    [sys.executable, '-c', code, *map(str, arguments)],
    cwd=ROOT,
    stdout=subprocess.PIPE,
    text=True,
  )
  assert process.stdout.readline() == 'here\n'
  return process


def kill(process):
  process.send_signal(signal.SIGKILL)
  process.wait()
  process.stdout.close()


WRITING = """
import sys, time
from bayes_prompting.system import files
with files.replacing(sys.argv[1]) as temporary:
  temporary.write_text('half of what is n')
  print('here', flush=True)
  time.sleep(60)
"""


def test_a_process_that_is_killed_while_it_writes(tmp_path):
  path = tmp_path / 'summary.csv'
  path.write_text('old')
  kill(start(WRITING, path))
  (left,) = (x for x in tmp_path.iterdir() if x != path)
  assert path.read_text() == 'old'
  assert files.is_temporary(left.name) and workdir.is_empty(tmp_path) is False
  path.unlink()
  assert workdir.is_empty(tmp_path)
  files.write_text(path, 'new')
  assert path.read_text() == 'new'


HOLDING = """
import os, sys, time
from bayes_prompting.system import files, locks
with locks.lock(sys.argv[1]):
  if len(sys.argv) > 2 and not os.fork():
    files.write_text(sys.argv[2], str(os.getpid()))
  else:
    while len(sys.argv) > 2 and not os.path.exists(sys.argv[2]):
      time.sleep(0.01)
    print('here', flush=True)
  time.sleep(60)
"""
CLAIMING = """
import json
from launch import flags
def main(argv):
  from bayes_prompting.storage import workdir
  workdir.claim(flags.WORKDIR.value, json.load(open('record')))
flags.run(main, required={'workdir': 'runs/demo'}, compiles=False)
"""


def test_of_two_processes_in_a_folder_the_second_refuses(tmp_path):
  run = make_run(tmp_path / 'run')
  (tmp_path / 'record').write_text(json.dumps(record()))
  before = contents(run)
  first = start(HOLDING, run)
  try:
    second = subprocess.run(
      [sys.executable, '-c', CLAIMING, f'--workdir={run}'],
      cwd=tmp_path,
      env={**os.environ, 'PYTHONPATH': str(ROOT)},
      capture_output=True,
      text=True,
    )
  finally:
    kill(first)
  assert second.returncode == 2, second.stderr
  (line,) = second.stderr.splitlines()
  assert line.startswith('error: workdir: ') and f'({first.pid} on ' in line
  assert contents(run).items() >= before.items()
  workdir.claim(run, record())  # The lock went with its process.
  assert contents(run) == before


def test_a_lock_does_not_outlive_its_process_in_a_child(tmp_path):
  folder, number = tmp_path / 'folder', tmp_path / 'number'
  folder.mkdir()
  parent = start(HOLDING, folder, number)
  parent.send_signal(signal.SIGKILL)
  parent.wait()
  child = int(number.read_text())
  try:
    os.kill(child, 0)  # It lives.
    with locks.lock(folder):
      pass
  finally:
    os.kill(child, signal.SIGKILL)
    parent.stdout.close()


def in_thread(function):
  """Returns what a function in another thread raised, or None."""
  raised = []

  def run():
    try:
      function()
    except errors.UserError as error:
      raised.append(error)

  thread = threading.Thread(target=run)
  thread.start()
  thread.join()
  return raised[0] if raised else None


def take(folder):
  with locks.lock(folder):
    pass


def test_the_thread_that_has_a_lock_may_take_it_again(tmp_path):
  with locks.lock(tmp_path), locks.lock(tmp_path):
    with locks.lock(tmp_path / '..' / tmp_path.name):
      assert 'in use' in str(in_thread(lambda: take(tmp_path)))
    assert 'in use' in str(in_thread(lambda: take(tmp_path)))
    assert set(contents(tmp_path)) == {'.lock'}
  assert in_thread(lambda: take(tmp_path)) is None
  assert not contents(tmp_path) and not locks._held


def test_a_forked_child_has_no_lock(tmp_path):
  with locks.lock(tmp_path):
    child = os.fork()
    if not child:
      try:
        take(tmp_path)
      except errors.UserError:
        os._exit(3)
      os._exit(0)
    status = os.waitpid(child, 0)[1]
    assert os.waitstatus_to_exitcode(status) == 3
    assert (tmp_path / '.lock').exists()


def test_a_folder_that_is_moved_aside_takes_its_lock_along(tmp_path):
  folder = tmp_path / 'run'
  folder.mkdir()
  with locks.lock(folder):
    folder.rename(tmp_path / 'aside')
    folder.mkdir()
    with locks.lock(folder):
      assert in_thread(lambda: take(folder))
      assert in_thread(lambda: take(tmp_path / 'aside'))
    assert not contents(folder)
    assert in_thread(lambda: take(folder)) is None
  assert not locks._held


def test_a_lock_whose_file_was_removed_meanwhile_is_taken_anew(
  tmp_path, monkeypatch
):
  path, flock, calls = tmp_path / '.lock', locks.fcntl.flock, []

  def slow(descriptor, how):
    flock(descriptor, how)
    calls.append(descriptor)
    if len(calls) == 1:
      path.unlink()  # As who held it does, just before it lets go.

  monkeypatch.setattr(locks.fcntl, 'flock', slow)
  with locks.lock(tmp_path):
    assert len(calls) == 2 and path.exists()


def test_without_locks_there_is_a_warning(tmp_path, monkeypatch, capsys):
  def refuse(descriptor, how):
    raise OSError(errno.ENOLCK, 'No locks available')

  monkeypatch.setattr(locks.fcntl, 'flock', refuse)
  take(tmp_path)
  assert 'No locks available' in capsys.readouterr().err
  monkeypatch.setattr(locks, 'fcntl', None)
  take(tmp_path)
  assert not capsys.readouterr().err


def test_a_lock_on_a_full_disk_holds(tmp_path):
  with no_larger_than(0), locks.lock(tmp_path):
    assert in_thread(lambda: take(tmp_path))


def test_a_folder_without_its_lock_s_place_is_named(tmp_path):
  (tmp_path / '.lock').mkdir()
  for folder in (tmp_path, tmp_path / 'gone'):
    with refusal(folder):
      take(folder)
