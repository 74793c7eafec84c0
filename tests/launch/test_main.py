"""The command `bayes-prompting`, the names of presets, and their wheel."""

import importlib
import os
import pathlib
import subprocess
import sys
import zipfile

from absl.testing import flagsaver
import pytest

import bayes_prompting
from bayes_prompting import errors
from bayes_prompting.experiment import run as run_lib
from bayes_prompting.settings import plain
from configs import paper
from configs import quick
from configs import worlds
from launch import flags as launch_flags
from launch import main
from launch import presets
from launch import sweep_grid

ROOT = pathlib.Path(__file__).resolve().parents[2]
CONFIGS = ROOT / 'configs'


# Names of presets.


@pytest.mark.parametrize(
  'text, file, argument',
  [
    ('quick', 'quick', ''),
    ('worlds', 'worlds', ''),
    ('worlds:switching,lstm', 'worlds', ':switching,lstm'),
    ('paper:lstm,single_coin', 'paper', ':lstm,single_coin'),
    ('lstm,single_coin', 'paper', ':lstm,single_coin'),
    ('lstm,single_coin,quick', 'paper', ':lstm,single_coin,quick'),
    ('lst,single_coin', 'paper', ':lst,single_coin'),
  ],
)
def test_a_name_stands_for_a_preset(text, file, argument):
  assert presets.named(text) == f'{CONFIGS / file}.py{argument}'


@pytest.mark.parametrize(
  'text',
  ['mine.py', 'mine.py:a,b', './quick', 'configs/quick.py', '/x:y', '', ':x'],
)
def test_a_path_is_a_path(text):
  assert presets.named(text) == text


def test_a_file_of_that_name_is_meant(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  (tmp_path / 'mine').touch()
  assert presets.named('mine:x') == 'mine:x'


@pytest.mark.parametrize(
  'text, nearest',
  [('quik', 'mean quick'), ('wrlds:union,lstm', 'mean worlds'), ('x', 'paper')],
)
def test_an_unknown_preset_names_the_nearest(text, nearest):
  with pytest.raises(errors.UserError, match=nearest) as caught:
    presets.named(text)
  assert '\n' not in str(caught.value)
  assert '__init__' not in str(caught.value)


@pytest.mark.parametrize(
  'text, expected',
  [
    ('quick', quick.get_config),
    ('lstm,single_coin', paper.get_config),
    ('worlds:union,lstm', lambda: worlds.get_config('union,lstm')),
  ],
)
def test_a_preset_is_its_configuration(text, expected):
  (run,) = sweep_grid.build([text], [])
  assert plain.of(sweep_grid.load(run)) == plain.of(expected())


@pytest.mark.parametrize(
  'text, title',
  [
    ('quick', 'quick'),
    ('lstm,single_coin', 'paper:lstm,single_coin'),
    (str(CONFIGS / 'quick.py'), 'quick'),
    ('mine', 'mine.py:a,b'),
  ],
)
def test_what_a_run_started_from_is_kept(text, title, tmp_path):
  if text == 'mine':
    file = tmp_path / 'mine.py'
    file.write_text(
      'from configs import quick\n\n\ndef get_config(arguments):\n'
      '  return quick.get_config()\n'
    )
    text = f'{file}:a,b'
  argv = ['run', f'--config={text}', '--config.tuning.num_steps=7']
  argv += ['--config.methods.SoftPT.init=zeros']
  values = launch_flags.flags.FlagValues()
  config = presets.define(flag_values=values, sys_argv=argv)
  values(argv)
  name, before = values['config'].parser.read
  assert name == title  # No folder of the user's.
  assert config.value.tuning.num_steps == 7
  wanted = paper if 'paper' in title else quick
  assert plain.of(before) == plain.of(wanted.get_config())


class _Opened(Exception):
  pass


@pytest.mark.parametrize('name', ['experiment', 'pretrain', 'tune', 'evaluate'])
def test_what_starts_a_run_hands_its_preset_on(name, tmp_path, monkeypatch):
  script = importlib.import_module(f'launch.{name}')
  told = []

  def open_run(*unused, preset=None, **others):
    told.append(preset)
    raise _Opened

  monkeypatch.setattr(run_lib, 'open_run', open_run)
  argv = [name, '--config=quick', '--config.seed=7', f'--workdir={tmp_path}']
  monkeypatch.setattr(sys, 'argv', argv)
  with flagsaver.flagsaver():
    launch_flags.flags.FLAGS(argv)
    with pytest.raises(_Opened):
      script.main([])
  (preset,) = told
  assert preset.name == 'quick'
  assert plain.of(preset.config) == plain.of(quick.get_config())


def test_a_run_of_a_sweep_is_called_alike_by_name_and_by_path():
  texts = ['lstm,single_coin', 'paper:lstm,single_coin']
  texts += ['configs/paper.py:lstm,single_coin']
  names = {sweep_grid.build([text], ['seed=1'])[0].name for text in texts}
  assert names == {'paper-lstm-single_coin,seed=1'}


# The command.


def start(*arguments, code='from launch import main; main.main()', root=ROOT):
  """Runs the command in an environment that knows the package by its root."""
  return subprocess.run(
    [sys.executable, '-c', code, *map(str, arguments)],
    env={**os.environ, 'JAX_PLATFORMS': 'cpu', 'PYTHONPATH': str(root)},
    capture_output=True,
    text=True,
    timeout=300,
  )


@pytest.mark.parametrize('arguments', [(), ('--help',), ('-h',), ('help',)])
def test_help_has_a_line_for_each_script(arguments):
  done = start(*arguments)
  assert (done.returncode, done.stderr) == (0, '')
  lines = [line.split() for line in done.stdout.splitlines()]
  for command, script in main.COMMANDS.items():
    (told,) = [line[1:] for line in lines if line[:1] == [command]]
    assert len(told) > 4
    assert (ROOT / 'launch' / f'{script}.py').is_file()


def test_every_script_is_a_command():
  scripts = {path.stem for path in (ROOT / 'launch').glob('*.py')}
  parts = {'__init__', 'main', 'flags', 'presets', 'study'}
  parts |= {'sweep_grid', 'sweep_jobs'}
  assert scripts - parts == {*main.COMMANDS.values()}


def test_the_version():
  done = start('--version')
  assert done.stdout == f'bayes-prompting {bayes_prompting.__version__}\n'


def test_an_unknown_command_names_the_nearest():
  done = start('rnu', '--config=quick')
  assert done.returncode == 2
  assert done.stderr == "error: command: unknown 'rnu'; did you mean run?\n"


def test_a_command_is_its_script():
  done = start('run', '--help')
  assert (done.returncode, done.stderr) == (0, '')
  assert 'bayes-prompting run --config' in done.stdout
  assert '--[no]overwrite' in done.stdout
  done = start('tune', '--workdir=x')
  assert done.returncode == 2
  assert done.stderr.startswith('error: --config: missing')


# The wheel.


@pytest.fixture(scope='module')
def wheel(tmp_path_factory):
  """The wheel of what git knows of, unpacked; and the names in it."""
  folder = tmp_path_factory.mktemp('wheel')
  listed = subprocess.run(
    ['git', 'ls-files', '-co', '--exclude-standard'],
    cwd=ROOT,
    capture_output=True,
    text=True,
  )
  if listed.returncode:
    pytest.skip('not in a clone')
  for name in listed.stdout.splitlines():
    if (ROOT / name).is_file() and not name.startswith(('results', 'tests')):
      copy = folder / 'source' / name
      copy.parent.mkdir(parents=True, exist_ok=True)
      copy.write_bytes((ROOT / name).read_bytes())
  subprocess.run(
    [
      *(sys.executable, '-m', 'pip', 'wheel', '-q', '--no-deps'),
      *('--no-build-isolation', '--no-index', '-w', str(folder)),
      str(folder / 'source'),
    ],
    check=True,
  )
  (path,) = folder.glob('*.whl')
  with zipfile.ZipFile(path) as archive:
    archive.extractall(folder / 'installed')
    return folder / 'installed', archive.namelist()


@pytest.mark.slow
def test_the_wheel_holds_the_package_alone(wheel):
  folder, names = wheel
  (info,) = folder.glob('*.dist-info')
  assert {name.split('/')[0] for name in names} == {
    'bayes_prompting',
    info.name,
  }
  inside = {name.removeprefix('bayes_prompting/') for name in names}
  expected = {'py.typed', 'launch/main.py', 'configs/quick.py'}
  for top in ('bayes_prompting', 'launch', 'configs'):
    above = ROOT / top if top == 'bayes_prompting' else ROOT
    for path in (ROOT / top).rglob('*'):
      if path.is_file() and path.suffix != '.pyc':
        expected.add(str(path.relative_to(above)))
  assert expected == {x for x in inside if not x.startswith(info.name)}
  scripts = (info / 'entry_points.txt').read_text().split('\n')
  assert 'bayes-prompting = bayes_prompting.launch.main:main' in scripts


@pytest.mark.slow
def test_the_wheel_finds_presets_and_scripts_from_anywhere(
  wheel, tmp_path, monkeypatch
):
  folder, _ = wheel
  monkeypatch.chdir(tmp_path)

  def installed(*arguments):
    code = 'from bayes_prompting.launch import main; main.main()'
    return start(*arguments, code=code, root=folder)

  assert 'transformer-single_coin' in installed('paper', '--list').stdout
  # What is wrong with a field is known once the preset is.
  workdir, field = '--workdir=runs', '--config.tuning.nun_steps=1'
  for preset in ('lstm,single_coin', 'prompts:coins,lstm'):
    done = installed('run', f'--config={preset}', workdir, field)
    assert 'nun_steps' in done.stderr
    assert 'num_steps' in done.stderr
    assert done.stderr.count('\n') == 1
  done = installed('tune', '--config=quick', workdir)
  assert 'bayes-prompting pretrain --config=quick' in done.stderr
  assert not any(tmp_path.iterdir())
