"""A run that is stopped, however, ends with the results it would have had."""

import importlib
import json
import signal
import subprocess
import sys
import time

from absl.testing import flagsaver
import jax
import numpy as np
import pytest

from bayes_prompting import errors
from bayes_prompting.experiment import run as run_lib
from bayes_prompting.storage import checkpoints
from bayes_prompting.storage import resume
from bayes_prompting.system import interruption
from tests import killing
from tests import testing

# A run of a second or two, with much to be killed in; starting takes longer.
CONFIG = """
from bayes_prompting import settings

def get_config():
  config = settings.base_config()
  with config.unlocked():
    config.network.torso = settings.spec('linear', width=4)
  config.update_from_flattened_dict({
    'network.embedding_dim': 4,
    'pretraining.num_steps': 60,
    'pretraining.batch_size': 4,
    'pretraining.length': 6,
    'tuning.num_steps': 40,
    'tuning.batch_size': 4,
    'tuning.length': 4,
    'tuning.num_repetitions': 2,
    'tuning.learning_rate': (5e-3, 1e-2),
    'tuning.prefix_length': 4,
    'tuning.search_draws': 16,
    'tuning.methods': ('PreBayesPT', 'NoTuning', 'HardPT', 'SoftPT', 'LoRAWT'),
    'evaluation.num_sequences': 8,
    'evaluation.length': 8,
    'checkpoints.every': 8,
  })
  return config
"""


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
  """A configuration file, its configuration, and an uninterrupted run of it."""
  folder = tmp_path_factory.mktemp('whole')
  path = folder / 'config.py'
  path.write_text(CONFIG)
  names = {}
  exec(CONFIG, names)
  config = names['get_config']()
  run_lib.run(config, folder / 'run')
  return path, config, folder / 'run'


@pytest.fixture(autouse=True)
def _hearing():
  """Has this process hear Ctrl-C, wherever the tests were started."""
  before = signal.signal(signal.SIGINT, signal.default_int_handler)
  yield
  signal.signal(signal.SIGINT, before)


class Stop(Exception):
  """Stands for the end of a process."""


# In pretraining, both searches, and tuning by two methods.
@pytest.mark.parametrize('after', [0, 6, 7, 8, 10, 15])
def test_stopped_anywhere_it_goes_on(whole, tmp_path, monkeypatch, after):
  _, config, expected = whole
  keep, calls = resume.Keeper.keep, []

  def stopped(keeper, step, tree):
    keep(keeper, step, tree)
    calls.append(step)
    if len(calls) == after + 1:
      raise Stop

  monkeypatch.setattr(resume.Keeper, 'keep', stopped)
  with pytest.raises(Stop):
    run_lib.run(config, tmp_path / 'run')
  resumed_from = []
  restore = resume.Keeper.restore

  def restored(keeper, template):
    found = restore(keeper, template)
    if found is not None:
      resumed_from.append(found[0])
    return found

  monkeypatch.setattr(resume.Keeper, 'restore', restored)
  run_lib.run(config, tmp_path / 'run')
  assert resumed_from == calls[after : after + 1]
  killing.assert_same_run(tmp_path / 'run', expected)


@pytest.mark.slow
def test_killed_at_random_moments_it_ends_with_the_same(whole, tmp_path):
  path, _, expected = whole
  seen = killing.kill_and_restart(path, tmp_path / 'run', kills=2, seed=0)
  assert seen
  killing.assert_same_run(tmp_path / 'run', expected)


@pytest.mark.slow
@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_a_signal_writes_a_checkpoint_and_says_how_to_go_on(
  whole, tmp_path, number
):
  path, _, expected = whole
  # So long that it is still at it, and none is due before its end.
  flags = ('--config.checkpoints.every=1000000',)
  run = tmp_path / 'run'
  more = (*flags, '--config.pretraining.num_steps=10000000')
  process = killing.start(path, run, *more)
  curve = run / 'curves' / 'pretraining-seed0.jsonl'
  with killing.ended(process):
    killing.when(lambda: curve.exists() and curve.stat().st_size, process)
    process.send_signal(number)
    assert process.wait(60) == 128 + number
  assert 'the same command goes on from here' in killing.said(run)
  assert 'Traceback' not in killing.said(run)
  title = run / 'checkpoints' / 'unfinished' / 'pretraining-seed0'
  step = checkpoints.newest(title)
  assert step > 0
  rows = curve.read_text().splitlines()
  assert len(rows) == json.loads(rows[-1])['step'] == step


AGAIN = 'the same command goes on from here.'


@pytest.mark.parametrize(
  ('script', 'more', 'said'),
  [
    ('experiment', [], f'Interrupted; {AGAIN}'),
    (
      'experiment',
      ['--overwrite'],
      f'Interrupted; {AGAIN.replace("command", "command without --overwrite")}',
    ),
    ('report', [], 'Interrupted.'),
  ],
)
def test_who_goes_on_says_how(
  tmp_path, monkeypatch, capsys, script, more, said
):
  def interrupted(argv):
    raise KeyboardInterrupt

  launched = importlib.import_module(f'launch.{script}')
  monkeypatch.setattr(launched, 'main', interrupted)
  if script == 'experiment':
    more = [f'--config={killing.ROOT}/configs/quick.py', *more]
  monkeypatch.setattr(sys, 'argv', [script, f'--workdir={tmp_path}', *more])
  with flagsaver.flagsaver(), pytest.raises(SystemExit) as ended:
    launched.start()
  assert ended.value.code == 130
  assert capsys.readouterr().err == f'{said}\n'


# Its main thread computes, and does not look at signals.
BUSY = """
import hashlib, signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from bayes_prompting.system import interruption
with interruption.watching(), interruption.deferred():
  print('ready', flush=True)
  hashlib.pbkdf2_hmac('sha256', b'', b'', 10**9)
"""


def test_a_second_signal_leaves_at_once():
  process = subprocess.Popen(
    [sys.executable, '-c', BUSY],
    cwd=killing.ROOT,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )
  with process, killing.ended(process):
    assert process.stdout.readline() == 'ready\n'
    process.send_signal(signal.SIGINT)
    assert process.stderr.readline() == '\n'
    assert 'once more leaves at once' in process.stderr.readline()
    # The same wish may come twice at once, to a process and to its group.
    process.send_signal(signal.SIGTERM)
    time.sleep(1.5)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 128 + signal.SIGINT


def test_a_signal_outside_of_kept_work_interrupts():
  caught = pytest.raises(interruption.Interrupted)
  with caught as error, interruption.watching():
    signal.raise_signal(signal.SIGTERM)
  assert error.value.code == 128 + signal.SIGTERM


def test_a_signal_inside_waits_until_the_work_is_ready():
  heard = []
  with interruption.watching():
    with pytest.raises(interruption.Interrupted), interruption.deferred():
      with interruption.deferred(heard.append):
        assert interruption.requested() is None
        signal.raise_signal(signal.SIGINT)
        assert interruption.requested().number == signal.SIGINT
        assert heard == [signal.SIGINT]
      heard.append('goes on')
    assert heard[1:] == ['goes on']
  assert interruption.requested() is None


def test_an_error_inside_is_not_hidden_by_a_signal():
  failing = pytest.raises(ZeroDivisionError)
  with interruption.watching(), failing, interruption.deferred():
    signal.raise_signal(signal.SIGINT)
    1 / 0  # noqa: B018


def test_what_was_ignored_stays_ignored_and_handlers_come_back():
  before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
  try:
    with interruption.watching():
      signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
  finally:
    signal.signal(signal.SIGTERM, before)


TREE = {'a': np.arange(3.0, dtype=np.float32)}
SHAPES = {'a': jax.ShapeDtypeStruct((3,), np.float32)}


def keeper(path, every=10, keep=2, total=100, **belongs):
  belongs = {'title': 'x', **belongs}
  return resume.Keeper(path, belongs, total, every, keep)


def test_states_are_due_in_their_interval_and_before_the_end(tmp_path):
  with keeper(tmp_path / 'x') as one:
    due = []
    for step in range(3, 105, 3):
      if one.due(step):
        due.append(step)
        one.keep(step, TREE)
  assert due == [12, 24, 36, 48, 60, 72, 84, 96]
  # The last few are kept, and what goes on counts from there.
  assert sorted(p.name for p in (tmp_path / 'x').iterdir()) == ['84', '96']
  with keeper(tmp_path / 'x') as one:
    step, tree = one.restore(lambda step: SHAPES)
    assert step == 96 and not one.due(99)
    testing.assert_trees_identical(tree, TREE)


def test_without_an_interval_or_a_folder_nothing_is_kept(tmp_path):
  for one in (keeper(tmp_path / 'x', every=0), keeper(None)):
    with one:
      assert not one.due(50)
      assert one.restore(lambda step: SHAPES) is None
  assert not list(tmp_path.iterdir())


def test_the_memory_may_be_used_again_at_once(tmp_path):
  array = np.zeros(3, np.float32)
  with keeper(tmp_path / 'x') as one:
    one.keep(10, {'a': array})
    array += 1
  _, tree = keeper(tmp_path / 'x').restore(lambda step: SHAPES)
  np.testing.assert_array_equal(tree['a'], np.zeros(3))


def kept(tmp_path):
  with keeper(tmp_path / 'x') as one:
    one.keep(10, TREE)
    one.keep(20, {'a': TREE['a'] + 1})
  return tmp_path / 'x'


def damage(folder):
  path = next(p for p in folder.rglob('*') if p.is_file() and p.stat().st_size)
  data = bytearray(path.read_bytes())
  data[len(data) // 2] ^= 1
  path.write_bytes(data)


def test_a_damaged_state_is_passed_over(tmp_path, capsys):
  folder = kept(tmp_path)
  damage(folder / '20')
  step, tree = keeper(folder).restore(lambda step: SHAPES)
  assert step == 10
  testing.assert_trees_identical(tree, TREE)
  assert 'damaged' in capsys.readouterr().err
  damage(folder / '10')
  assert keeper(folder).restore(lambda step: SHAPES) is None
  assert 'starting anew' in capsys.readouterr().err
  assert not folder.exists()


def test_what_belongs_to_other_work_is_refused(tmp_path):
  folder = kept(tmp_path)
  assert keeper(folder).restore(lambda step: SHAPES) is not None
  with pytest.raises(errors.UserError, match="title: 'x' and 'y'"):
    keeper(folder, title='y').restore(lambda step: SHAPES)


def test_what_cannot_be_written_is_said(tmp_path):
  (tmp_path / 'file').write_text('')
  with keeper(tmp_path / 'file' / 'x') as one:
    one.keep(10, TREE)
    with pytest.raises(errors.UserError, match='^checkpoint: cannot write'):
      one.keep(20, TREE)


def test_a_run_of_its_own_is_not_diverted_by_checkpoint_fields(whole, tmp_path):
  _, config, expected = whole
  config = config.copy_and_resolve_references()
  run_lib.run(config, tmp_path / 'run')
  config.checkpoints.every, config.checkpoints.keep = 7, 1
  config.debug.check_finite = True
  run_lib.run(config, tmp_path / 'run')
  killing.assert_same_run(tmp_path / 'run', expected)
