"""A folder belongs to one configuration, and nothing in it is ever lost."""

import concurrent.futures
import copy
import json
import os
import pathlib

import pytest

from bayes_prompting import errors
from bayes_prompting.storage import workdir
from bayes_prompting.system import files
from bayes_prompting.system import locks

RECORD = {
  'config': {
    'seed': 0,
    'tuning': {'num_steps': 3, 'num_sequences': 0, 'methods': ['SoftPT']},
    'checkpoints': {'every': 0, 'keep': 2},
    'debug': {'nans': False, 'check_finite': False},
  },
  'seed': 0,
  'numerics': {'training.fit': 1},
  'numerical': {'jax': '1.0', 'backend': 'cpu'},
  'other': {'python': '3.11', 'cores': 2},
}


def changed(section, **values):
  record = copy.deepcopy(RECORD)
  record[section].update(values)
  return record


def contents(folder):
  """Everything in a folder: path to bytes, None for a folder."""
  return {
    str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
    for path in folder.rglob('*')
  }


def refusal(path, record=RECORD, overwrite=False):
  """The one line of a refusal, which changes nothing in the parent."""
  parent = pathlib.Path(path).parent
  before = contents(parent) if parent.is_dir() else None
  with pytest.raises(errors.UserError) as caught:
    workdir.claim(path, record, overwrite)
  after = contents(parent) if parent.is_dir() else None
  assert after == before
  message = str(caught.value)
  assert message.startswith('workdir: ')
  assert '\n' not in message
  return message


@pytest.fixture
def run(tmp_path):
  """A folder that holds a run with a result."""
  path = tmp_path / 'runs' / 'demo'
  workdir.claim(path, RECORD, overwrite=False)
  (path / 'checkpoints').mkdir()
  (path / 'checkpoints' / 'weights').write_bytes(b'precious')
  return path


@pytest.mark.parametrize('overwrite', [False, True])
@pytest.mark.parametrize('made', ['missing', 'deeply missing', 'empty'])
def test_a_new_or_empty_folder_is_claimed(tmp_path, made, overwrite):
  path = tmp_path / ('a/b/c' if made == 'deeply missing' else 'new')
  if made == 'empty':
    path.mkdir()
  folder = workdir.claim(path, RECORD, overwrite)
  assert folder.path == path
  assert set(contents(path)) == {'config.json'}
  assert json.loads((path / 'config.json').read_text()) == RECORD
  assert workdir.read_record(path) == RECORD


def test_a_relative_folder_becomes_absolute(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  folder = workdir.claim('runs/demo', RECORD, overwrite=False)
  assert folder.path == tmp_path / 'runs' / 'demo'
  assert workdir.claim('runs/demo', RECORD, overwrite=False) == folder


def test_the_same_configuration_goes_on(run):
  before = contents(run)
  assert workdir.claim(run, RECORD, overwrite=False).path == run
  assert contents(run) == before


def test_another_host_or_python_may_go_on(run):
  before = contents(run)
  workdir.claim(run, changed('other', python='3.13', cores=64), overwrite=False)
  assert contents(run) == before


@pytest.mark.parametrize(
  'record, field, sides',
  [
    (changed('config', seed=1), 'seed', ('0', '1')),
    (
      changed('config', tuning={'num_steps': 99, 'methods': ['SoftPT']}),
      'tuning.num_steps',
      ('3', '99'),
    ),
    (
      changed('config', tuning={'num_steps': 3, 'methods': ['FullWT']}),
      'tuning.methods',
      ("['SoftPT']", "['FullWT']"),
    ),
    (changed('config', extra=1), 'extra', ('other',)),
    (changed('numerical', jax='2.0'), 'jax', ("'1.0'", "'2.0'")),
    (changed('numerical', backend='gpu'), 'backend', ("'cpu'", "'gpu'")),
    (
      changed('numerics', **{'training.fit': 2}),
      'numerics.training.fit',
      ('1', '2'),
    ),
  ],
)
def test_another_configuration_is_refused_with_both_sides(
  run, record, field, sides
):
  message = refusal(run, record)
  assert repr(str(run)) in message
  assert field in message
  assert all(side in message for side in sides)
  assert '--overwrite' in message


def test_a_preset_is_told_by_what_differs():
  config = {'seed': 1, 'tuning': {'steps': 3, 'rate': 0.1, 'own': {'a': 1}}}
  preset = {'seed': 0, 'tuning': {'steps': 3, 'rate': 0.2, 'old': [1]}}
  assert workdir.preset('quick', config, preset) == {
    'name': 'quick',
    'changed': {'seed': 0, 'tuning.rate': 0.2, 'tuning.old': [1]},
    'added': ['tuning.own'],
  }
  same = {'name': 'quick', 'changed': {}, 'added': []}
  assert workdir.preset('quick', preset, preset) == same


def test_a_preset_makes_no_run_another_one(run):
  before = contents(run)
  workdir.claim(run, RECORD | {'preset': {'name': 'quick'}}, overwrite=False)
  assert contents(run) == before  # The first record stays.
  workdir.claim(run, RECORD | {'preset': {'name': 'a'}}, overwrite=True)
  workdir.claim(run, RECORD, overwrite=False)
  assert workdir.read_record(run)['preset'] == {'name': 'a'}


@pytest.mark.parametrize(
  'preset, what',
  [
    (7, 'preset must be an object'),
    ({'changed': [1]}, r'preset: changed is \[1\]'),
    ({'added': 'seed'}, "preset: added is 'seed'"),
  ],
)
def test_what_is_told_of_no_preset_is_refused(preset, what, run):
  (run / 'config.json').write_text(json.dumps(RECORD | {'preset': preset}))
  with pytest.raises(errors.UserError, match=f'config.json.*{what}'):
    workdir.read_record(run)


@pytest.mark.parametrize('record', [RECORD, changed('config', seed=1)])
def test_overwrite_moves_a_run_aside_whole(run, record, capsys):
  before = contents(run)
  workdir.claim(run, record, overwrite=True)
  assert contents(run).keys() == {'config.json'}
  assert workdir.read_record(run) == record
  (aside,) = (path for path in run.parent.iterdir() if path != run)
  assert aside.name.startswith('demo.20')
  assert contents(aside) == before
  assert str(aside) in capsys.readouterr().out


def test_overwriting_again_and_again_loses_nothing(run):
  for seed in range(1, 4):
    workdir.claim(run, changed('config', seed=seed), overwrite=True)
  folders = run.parent.iterdir()
  seeds = [workdir.read_record(path)['config']['seed'] for path in folders]
  assert sorted(seeds) == [0, 1, 2, 3]


@pytest.mark.parametrize('overwrite', [False, True])
def test_a_file_in_its_place_is_refused(tmp_path, overwrite):
  path = tmp_path / 'demo'
  path.write_text('mine')
  message = refusal(path, overwrite=overwrite)
  assert repr(str(path)) in message
  assert 'file' in message


@pytest.mark.parametrize('overwrite', [False, True])
def test_a_folder_of_something_else_is_refused(tmp_path, overwrite):
  path = tmp_path / 'home'
  path.mkdir()
  (path / 'thesis.tex').write_text('precious')
  message = refusal(path, overwrite=overwrite)
  assert repr(str(path)) in message
  assert 'config.json' in message


@pytest.mark.parametrize('overwrite', [False, True])
@pytest.mark.parametrize(
  'text',
  [
    *('', '{', '{"config": {"seed": 0}', 'null', '[]', '3', '{}'),
    *('{"seed": 0}', '{"config": [0]}', '{"config": {}, "numerical": 3}'),
    *('{"config": {"seed": NaN}}', '{"config": {"seed": 1e999}}'),
    *(b'\xff\xfe\x00', bytes(100)),
    pytest.param('[' * 10**5, id='deep'),
    pytest.param(f'{{"config": {{"seed": 1{5000 * "0"}}}}}', id='huge'),
  ],
)
def test_a_broken_record_is_refused(run, text, overwrite):
  raw = text if isinstance(text, bytes) else text.encode()
  (run / 'config.json').write_bytes(raw)
  assert 'config.json' in refusal(run, overwrite=overwrite)


@pytest.mark.parametrize('held', ['{"config": 3}', '{"config": {}}'])
def test_a_record_of_less_is_another_configuration(run, held):
  (run / 'config.json').write_text(held)
  assert str(run) in refusal(run)


@pytest.mark.parametrize('overwrite', [False, True])
def test_a_folder_below_a_file_is_refused(tmp_path, overwrite):
  (tmp_path / 'file').write_text('mine')
  path = tmp_path / 'file' / 'demo'
  assert repr(str(path)) in refusal(path, overwrite=overwrite)
  assert (tmp_path / 'file').read_text() == 'mine'


@pytest.fixture
def read_only(monkeypatch):
  """Makes every folder look unwritable: root may write where chmod forbids."""

  def forbid(self, *unused, **unused_too):
    raise PermissionError(13, 'Permission denied')

  monkeypatch.setattr(pathlib.Path, 'write_bytes', forbid)


@pytest.mark.usefixtures('read_only')
def test_an_unwritable_folder_is_refused(tmp_path):
  path = tmp_path / 'demo'
  path.mkdir()
  message = refusal(path)
  assert repr(str(path)) in message
  assert 'Permission denied' in message


def test_an_unwritable_run_is_refused(run, read_only):
  assert 'Permission denied' in refusal(run)


def test_what_the_system_forbids_is_told(tmp_path, monkeypatch):
  def forbid(self, *unused, **unused_too):
    raise PermissionError(13, 'Permission denied')

  monkeypatch.setattr(pathlib.Path, 'mkdir', forbid)
  assert 'Permission denied' in refusal(tmp_path / 'demo')


def test_a_run_that_cannot_be_moved_stays(run, monkeypatch):
  def forbid(self, *unused):
    raise PermissionError(13, 'Permission denied')

  monkeypatch.setattr(pathlib.Path, 'rename', forbid)
  message = refusal(run, changed('config', seed=1), overwrite=True)
  assert 'Permission denied' in message


def test_half_a_record_is_never_seen(tmp_path, monkeypatch):
  path = tmp_path / 'demo'

  def full_disk(descriptor):
    raise OSError(28, 'No space left on device')

  with monkeypatch.context() as patch:
    patch.setattr(os, 'fsync', full_disk)
    with pytest.raises(errors.UserError, match='No space left'):
      workdir.claim(path, RECORD, overwrite=False)
  assert not path.exists()
  # With room again, the same command works.
  workdir.claim(path, RECORD, overwrite=False)
  assert workdir.read_record(path) == RECORD
  assert set(contents(path)) == {'config.json'}


@pytest.mark.parametrize('where', ['missing', '', 'file', 'file/below'])
def test_reading_what_is_no_run_is_refused(tmp_path, where):
  (tmp_path / 'file').write_text('mine')
  with pytest.raises(errors.UserError) as caught:
    workdir.read_record(tmp_path / where)
  message = str(caught.value)
  assert message.startswith('workdir: ')
  assert str(tmp_path / where) in message
  assert '\n' not in message


def test_reading_a_record_that_is_a_folder_is_refused(tmp_path):
  (tmp_path / 'config.json').mkdir()
  with pytest.raises(errors.UserError, match='config.json'):
    workdir.read_record(tmp_path)


def test_without_a_folder_none_is_to_be_chosen(tmp_path):
  with pytest.raises(errors.UserError, match='there is no folder'):
    workdir.read_record(tmp_path / 'missing')


def _make(folder, names):
  for name in names:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text('half')


LEFT = ('.lock', '.config.json.part', '.config.json.0123abcd.part')


def test_what_a_killed_claim_left_is_nothing(tmp_path):
  path = tmp_path / 'demo'
  _make(path, LEFT)
  assert workdir.is_empty(path)
  workdir.check(path, RECORD)
  workdir.claim(path, RECORD)
  assert set(contents(path)) == {'config.json'}


@pytest.mark.parametrize(
  'name', ['config.json', '.bashrc', 'notes.part', '.hidden.part', '.lock.txt']
)
def test_what_anyone_else_made_is_something(tmp_path, name):
  _make(tmp_path / 'demo', [name])
  assert not workdir.is_empty(tmp_path / 'demo')
  refusal(tmp_path / 'demo')


def test_going_on_removes_what_killed_processes_left(run):
  before = contents(run.parent)
  young = '../networks/.fedcba98.76543210'
  kept = (f'{young}/0/x', 'notes.part', 'checkpoints/.mine/x')
  _make(run, kept)
  old = run.parent / 'networks' / '.0f0f0f0f.01234567'
  _make(
    run,
    [
      '.lock',
      '.results.nc.01234567.part',
      '.summary.csv.part',
      'figures/.overview.png.89abcdef.part',
      'checkpoints/.SoftPT-seed0.0123abcd/0/tree',
      old / '0' / 'tree',
    ],
  )
  os.utime(old, (0, 0))
  workdir.claim(run, RECORD)
  after = contents(run.parent)
  assert all((run / name).read_text() == 'half' for name in kept)
  new = {
    name
    for name in after.keys() - before.keys()
    if (run.parent / name).is_file()
  }
  assert new == {os.path.relpath(run / x, run.parent) for x in kept}
  assert after.items() >= before.items()


def test_a_run_in_progress_is_neither_joined_nor_moved(run):
  # Another thread of this process is no better than another process.
  with concurrent.futures.ThreadPoolExecutor(1) as pool, locks.lock(run):
    for overwrite in (False, True):
      message = pool.submit(refusal, run, RECORD, overwrite).result()
      assert 'in use by' in message and repr(str(run)) in message
  workdir.claim(run, RECORD)


def test_who_moves_a_run_aside_may_hold_it(run):
  before = contents(run)
  with locks.lock(run):
    workdir.claim(run, changed('config', seed=1), overwrite=True)
    with locks.lock(run):  # Of the new folder.
      assert workdir.read_record(run)['config']['seed'] == 1
  (aside,) = (path for path in run.parent.iterdir() if path != run)
  assert contents(aside) == before
  assert set(contents(run)) == {'config.json'}


def test_another_claim_in_between_is_found(tmp_path, monkeypatch):
  path = tmp_path / 'demo'
  make_folder = files.make_folder

  def slow(*args):
    monkeypatch.setattr(files, 'make_folder', make_folder)
    workdir.claim(path, changed('config', seed=1))
    make_folder(*args)

  monkeypatch.setattr(files, 'make_folder', slow)
  with pytest.raises(errors.UserError, match='seed: 1 and 0'):
    workdir.claim(path, RECORD)
  assert workdir.read_record(path)['config']['seed'] == 1


def test_places_do_not_collide():
  folder = workdir.Workdir(pathlib.Path('/runs/demo'))
  methods = ('SoftPT', 'Un+EmbedWT', 'FullWT')
  places = [folder.pretrained(seed) for seed in range(12)]
  places += [folder.tuned(m, seed) for m in methods for seed in range(12)]
  places += [folder.results, folder.summary, folder.curves, folder.figures]
  places.append(folder.path / 'config.json')
  assert len(set(places)) == len(places)
  assert all(folder.path in place.parents for place in places)


def test_networks_are_shared_by_the_runs_beside_it():
  one = workdir.Workdir(pathlib.Path('/runs/one'))
  other = workdir.Workdir(pathlib.Path('/runs/other'))
  assert one.networks == other.networks == pathlib.Path('/runs/networks')
