"""Whatever a user gives: a run, or one line that names it, and nothing touched.

Everything goes through the scripts' own way, in this process: flags, file of a
configuration, `experiment.run.open_run`. Where a run would begin, it is over.
"""

import collections
import inspect
import math
import os
import pathlib
import subprocess
import sys

from absl import flags
from absl import logging
from absl.testing import flagsaver
import hypothesis
from hypothesis import strategies as st
import jax
import ml_collections
import numpy as np
import pytest

from bayes_prompting import errors
from bayes_prompting import registry
from bayes_prompting import settings
from bayes_prompting.experiment import run as run_lib
from bayes_prompting.settings import plain
from launch import adapter
from launch import evaluate
from launch import experiment as experiment_script
from launch import flags as launch_flags
from launch import paper
from launch import playground
from launch import pretrain
from launch import report
from launch import sweep
from launch import tune

ROOT = pathlib.Path(__file__).resolve().parents[2]
SCRIPTS = {
  'adapter': adapter,
  'evaluate': evaluate,
  'experiment': experiment_script,
  'paper': paper,
  'playground': playground,
  'pretrain': pretrain,
  'report': report,
  'sweep': sweep,
  'tune': tune,
}
# Longer lines nobody reads.
LONGEST = 900

# What the configuration file returns, which imports this module.
GIVEN = []
FILE = """
from tests.launch import test_bad_input

def get_config():
  return test_bad_input.GIVEN[0]
"""
# Tests of this file that were run in this process.
RAN = set()
# What was tried: (group, field, kind of value) by outcome.
TRIED = {'refused': set(), 'accepted': set()}


def deep(levels):
  value = 1
  for _ in range(levels):
    value = (value,)
  return value


# Values by kind, which for most fields are wrong.
WRONG = {
  'text': 'x',
  'minus one': -1,
  'zero': 0,
  'true': True,
  'huge': 10**12,
  'more digits than Python shows': 10**5000,
  'half': 0.5,
  'nan': math.nan,
  'inf': math.inf,
  'minus inf': -math.inf,
  'more than float32': 1e300,
  'empty tuple': (),
  'empty text': '',
  'line break': 'a\nb',
  'NUL': 'a\0b',
  'separators': '../x',
  'backslash': '..\\x',
  'long text': 'x' * 5000,
  'undecodable': '\udc80',
  'nested': ((1,),),
  'deep': deep(3000),
  'ragged': ((0.5, 0.5), (1.0,)),
  'none': None,
  'nothing in it': (None,),
  'nan in it': (math.nan, 1.0),
  'object': object(),
  'array': np.zeros(3),
  'dict': {'a': 1},
  'section': ml_collections.ConfigDict({'name': 'no_such'}),
  'bytes': b'x',
  'complex': 1j,
  'set': {1, 2},
  'function': len,
  'largest': 2**31 - 1,
}


# Arguments that are true or false.
SWITCHES = {'query_key_norm', 'constant_norm', 'relabel', 'mix'}
# Methods that a linear torso refuses, and one that takes them.
NEEDS = {
  **dict.fromkeys(
    ('DeepPT', 'DeepMLPPT', 'PrefilledPT'),
    settings.spec('transformer', num_heads=1),
  ),
  'OffsetPT': settings.spec('selective_ssm', num_heads=1, state_dim=2),
}


def small():
  """A configuration that takes no time to build."""
  config = settings.base_config()
  config.network.embedding_dim = 4
  config.network.torso = settings.spec('linear', width=3)
  config.tuning.lora_rank = 2  # Of matrices of three columns.
  with config.unlocked():
    del config.methods['NormWT']  # It has no norm.
  config.pretraining.num_steps = config.tuning.num_steps = 2
  config.pretraining.length, config.tuning.length = 2, 3
  config.pretraining.batch_size = config.tuning.batch_size = 2
  config.tuning.num_repetitions, config.tuning.prefix_length = 1, 2
  config.evaluation.length, config.evaluation.num_sequences = 4, 2
  config.evaluation.tasks = ('single_coin',)
  config.tuning.methods = ('NoTuning',)
  return config


def small_for(field):
  """The same, in which the method runs that a field belongs to."""
  config = small()
  if field.startswith('methods.'):
    name = field.split('.')[1]
    config.tuning.methods = (name,)
    config.network.torso = NEEDS.get(name, config.network.torso)
  return config


def put(config, field, value):
  """Sets a field to whatever it is."""
  *sections, name = field.split('.')
  at = config
  for section in sections:
    at = at[section]
  with config.unlocked(), config.ignore_type():
    at[name] = value
  return config


def fields(values, path=''):
  """All fields and sections of nested dicts, with what they hold."""
  for name, value in values.items():
    field = f'{path}.{name}' if path else name
    yield field, value
    if isinstance(value, dict):
      yield from fields(value, field)


FIELDS = dict(fields(plain.of(small())))


def contents(folder):
  """Everything in a folder: path to what it is."""
  return {
    str(path.relative_to(folder)): path.lstat().st_mtime_ns
    for path in folder.rglob('*')
  }


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  """A folder with a configuration file, and things that are the user's."""
  folder = tmp_path_factory.mktemp('home')
  (folder / 'config.py').write_text(FILE)
  (folder / 'thesis').mkdir()
  (folder / 'thesis' / 'chapter.tex').write_text('precious')
  (folder / 'file').write_text('mine')
  (folder / 'dangling').symlink_to(folder / 'gone')
  return folder


@pytest.fixture
def begins(monkeypatch):
  """Has runs end where they would begin; counts them."""
  begun = []
  monkeypatch.setattr(
    run_lib, '_open_workdir', lambda *args: begun.append(args)
  )
  monkeypatch.setattr(run_lib, 'finish', lambda *args, **kwargs: None)
  monkeypatch.setattr(launch_flags, 'show', lambda *args: None)
  return begun


@pytest.fixture(scope='module', autouse=True)
def _devices():
  """Has JAX begin before any mistake: which test it falls to, is chance."""
  jax.devices()


@pytest.fixture(autouse=True)
def _elsewhere(monkeypatch):
  """Starts where configurations are."""
  monkeypatch.chdir(ROOT)


def run(script, capfd, folder, arguments):
  """Runs a script; holds what it says of a mistake to what all are like.

  Returns:
    The line of a mistake, or None.
  """
  before, verbosity = contents(folder), logging.get_verbosity()
  code = 0
  with pytest.MonkeyPatch.context() as patch, flagsaver.flagsaver():
    patch.setattr(sys, 'argv', [script, *map(str, arguments)])
    # What an earlier file defined would be there still.
    sys.modules.pop('config_config', None)
    # A flag that another test gave is none of ours.
    for name in flags.FLAGS:
      flags.FLAGS[name].present = 0
    try:
      SCRIPTS[script].start()
    except SystemExit as error:
      code = error.code or 0
    finally:
      logging.set_verbosity(verbosity)
  out, err = capfd.readouterr()
  assert contents(folder) == before
  if not code:
    return None
  assert code == 2, err
  assert err.startswith('error: ')
  assert err.count('\n') == 1
  assert err.endswith('\n')
  assert 'Traceback' not in err
  assert len(err) < LONGEST
  assert not out
  return err


@pytest.fixture
def given(capfd, begins, folder):
  """Gives `launch.experiment` a configuration; returns the line, or None."""

  def give(config, *arguments):
    GIVEN[:] = [config]
    begins.clear()
    where = [f'--config={folder}/config.py', f'--workdir={folder}/runs/x']
    said = run('experiment', capfd, folder, [*where, *arguments])
    assert bool(said) != bool(begins)
    return said

  return give


def note(group, said, field, kind):
  TRIED['refused' if said else 'accepted'].add((group, field, kind))


# Fields of the configuration.


def may_be(field, kind, held):
  """Returns whether a wrong value may be taken for a field."""
  if isinstance(held, bool):
    return kind == 'true'
  if not isinstance(held, int | float):
    # What is measured besides may be nothing.
    if field in ('evaluation.report_steps', 'evaluation.reorderings'):
      return kind == 'empty tuple'
    # Text is a name of the user's own where nothing is called by it.
    return field == 'tuning.prefix_init' and kind == 'text'
  if kind == 'largest':
    return True  # If it needs no memory.
  if kind == 'zero':
    return True  # `test_settings` says where.
  if field == 'seed':
    return kind == 'huge'
  # ConfigDict makes a number of what it can.
  return 'learning_rate' in field and kind in ('half', 'huge', 'true')


def in_turn(number, kinds):
  """Every fifth kind, the others for the next fields; all on request."""
  one_in = 1 if os.environ.get('ALL_MISTAKES') == '1' else 5
  return list(kinds)[number % one_in :: one_in]


@pytest.mark.parametrize('number, field', list(enumerate(FIELDS)))
def test_every_field_refuses_what_is_wrong(given, number, field):
  held = FIELDS[field]
  for kind in in_turn(number, WRONG):
    config = small_for(field)
    try:
      put(config, field, WRONG[kind])
    except OverflowError:  # ConfigDict's own, in the user's file.
      continue
    said = given(config)
    note('fields', said, field, kind)
    if said is None:
      rates = field == 'tuning.learning_rate' and kind in ('half', 'huge')
      assert rates or may_be(field, kind, held) or kind == 'largest', kind
    elif field not in ('tasks', 'methods'):  # Then it is what was in them.
      assert field.rpartition('.')[2] in said, said


@pytest.mark.parametrize('field', FIELDS)
def test_a_field_that_is_missing_or_too_much(given, field):
  section, _, name = field.rpartition('.')
  config = small_for(field)
  at = config
  for part in filter(None, section.split('.')):
    at = at[part]
  with config.unlocked():
    del at[name]
  said = given(config)
  note('missing and extra fields', said, field, 'missing')
  if said:
    assert name in said, said
  else:  # `make` has a value of its own.
    assert field.startswith(('methods.', 'network.torso.', 'tasks.'))
  config = put(small_for(field), f'{field}zzz', FIELDS[field])
  said = given(config)
  note('missing and extra fields', said, field, 'of another name')
  if said:
    assert f'{name}zzz' in said, said
  else:
    assert section in ('tasks', 'methods')


@pytest.mark.parametrize(
  # ConfigDict has no names with dots.
  'name',
  ['', '/', 'a/b', 'a\\b', 'a\nb', 'a\0b', ' a', '-a', 'x' * 300],
)
@pytest.mark.parametrize('kind', ['tasks', 'methods'])
def test_names_of_ones_own_are_those_of_files(given, kind, name):
  config = small()
  with config.unlocked():
    config[kind][name] = dict(
      config[kind]['single_coin' if kind == 'tasks' else 'NoTuning']
    )
  said = given(config)
  note('names', said, kind, f'called {name!r}')
  assert said is not None
  assert kind in said


# Arguments of extensions.

# A field of another, by which an argument may be refused too.
SIZES = {'large': 2**20, 'too many': 10**9, 'some': 60}


def arguments():
  for kind in registry.KINDS:
    for name in registry.names(kind):
      make = registry.module(kind, name).make
      for argument in inspect.signature(make).parameters:
        yield kind, name, argument


def extended(kind, name, argument, value):
  """A configuration with an extension that has one argument changed."""
  spec = {'name': name, **registry.module(kind, name).EXAMPLES[0]}
  spec[argument] = value
  config = small()
  if kind == 'torsos':
    config.network.embedding_dim = 4
    return put(config, 'network.torso', spec), 'network.torso'
  if kind == 'tuners':
    config.tuning.methods = ('NoTuning', 'Mine')
    config.tuning.max_candidates = 2**30
    return put(config, 'methods.Mine', spec), 'methods.Mine'
  config = put(config, 'tasks', {'mine': spec})
  config.pretraining.task = config.tuning.target = 'mine'
  config.evaluation.tasks = ('mine',)
  return config, 'tasks.mine'


@pytest.mark.parametrize(
  'number, kind, name, argument',
  [(number, *argument) for number, argument in enumerate(arguments())],
)
def test_every_argument_of_an_extension(given, number, kind, name, argument):
  values = {**WRONG, **SIZES}
  # Those that are legal take the longest: they are built.
  for label in ('zero', 'half', 'largest', 'some'):
    if (kind, label) != ('tuners', 'largest'):
      del values[label]
  for label in in_turn(number, values):
    config, field = extended(kind, name, argument, values[label])
    said = given(config)
    note('arguments of extensions', said, f'{field}:{name}.{argument}', label)
    if said:
      assert field in said or argument in said, said
    else:
      accepted = {
        'huge',  # Of numbers that are no sizes.
        'large',
        'too many',
        'none',  # LoRA's alpha.
        'largest',
      }
      if argument in SWITCHES:
        accepted.add('true')
      if argument in ('input_patterns', 'columns'):  # None of them.
        accepted.add('empty tuple')
      assert label in accepted, (name, argument, label)


# Sizes that no machine has, or no program should be traced for.

HUGE = {
  'network.torso.width': 2**20,
  'pretraining.num_steps': 2**31 - 1,
  'pretraining.num_seeds': 2**31 - 1,
  'pretraining.length': 2**31 - 1,
  'tuning.num_steps': 2**31 - 1,
  'tuning.num_repetitions': 2**31 - 1,
  'tuning.search_draws': 2**31 - 1,
  'evaluation.num_sequences': 2**31 - 1,
  'evaluation.length': 2**31 - 1,
}


@pytest.mark.parametrize('field', HUGE)
def test_huge_sizes_are_refused_with_the_size(given, field):
  config = small()
  config.network.torso = settings.spec('lstm', width=3)
  config.tuning.methods = ('HardPT', 'LoRAWT')
  said = given(put(config, field, HUGE[field]))
  note('huge sizes', said, field, 'of no machine')
  assert said.startswith(f'error: {field}: ')
  assert 'free' in said
  assert 'B for ' in said


# Several at once, right and wrong.

LEGAL = {
  'seed': st.integers(0, 2**63 - 1),
  'network.embedding_dim': st.integers(1, 8),
  'network.torso.width': st.integers(1, 8),
  'pretraining.num_steps': st.integers(0, 3),
  'pretraining.batch_size': st.integers(1, 8),
  'pretraining.schedule': st.sampled_from(settings.SCHEDULES),
  'pretraining.learning_rate': st.floats(1e-6, 1.0),
  'tuning.learning_rate': st.lists(
    st.floats(1e-6, 1.0), min_size=1, max_size=3, unique=True
  ).map(tuple),
  'tuning.num_repetitions': st.integers(1, 3),
  'tuning.methods': st.permutations(
    ['PreBayes', 'NoTuning', 'FullWT', 'RandomPF']
  ).map(lambda names: tuple(names[:2])),
  'evaluation.num_sequences': st.integers(2, 9),
  'compute.sequence_block': st.integers(0, 3),
  'checkpoints.keep': st.integers(1, 3),
}
NUMBERS = [x for x in FIELDS if type(FIELDS[x]) is int and 'methods' not in x]
ANY = st.one_of(
  st.integers(),
  st.floats(),
  st.text(max_size=8),
  st.none(),
  st.tuples(st.integers()),
  st.binary(max_size=4),
  st.dictionaries(st.sampled_from('ab'), st.integers(), max_size=2),
)


@hypothesis.given(data=st.data())
@hypothesis.settings(
  max_examples=30,
  suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture],
)
def test_several_changes_are_a_run_or_one_line(given, data):
  legal = data.draw(st.sets(st.sampled_from(sorted(LEGAL)), max_size=4))
  wrong = data.draw(st.dictionaries(st.sampled_from(NUMBERS), ANY, max_size=2))
  config = small()
  for field in sorted(legal):
    put(config, field, data.draw(LEGAL[field], field))
  for field, value in wrong.items():
    put(config, field, value)
  said = given(config)
  kind = ','.join(f'{field}={value!r}' for field, value in wrong.items())
  note('several at once', said, kind or 'all right', ','.join(sorted(legal)))
  if not wrong:
    assert said is None
  elif said:
    assert any(field.rpartition('.')[2] in said for field in wrong)


# The command line.

TYPED = {
  'tuning.num_steps': ['abc', '1.5', '', 'None', '1e3', '(1,)', '9' * 5000],
  'pretraining.learning_rate': ['fast', '', 'nan', 'inf', '-1', '(1,2)', '0'],
  'tuning.learning_rate': ['fast', '()', 'nan', '(1,)1', '(1,1)', "('a',)"],
  'tuning.methods': ['SofPT', '()', "('SofPT',)", '3', '(3,)', '(', "('',)"],
  'pretraining.schedule': ['', 'cosin', '3', 'a b'],
  'tasks.single_coin.probabilities': ['x', '(1,)', '(0.5,0.6)', '(', '()'],
  'tuning': ['3', 'x', '(1,)'],
  'nothing': ['3'],
  'tuning.nothing': ['3'],
  'tuning.num_steps.x': ['3'],
  '': ['3'],
}


@pytest.mark.parametrize('field', TYPED)
def test_overrides_are_a_run_or_one_line(given, field):
  for value in TYPED[field]:
    said = given(small(), f'--config.{field}={value}')
    note('overrides', said, f'--config.{field}', value)
    assert said is not None, value
    assert field.rpartition('.')[2] in said, said
    assert 'config_config' not in said
    assert 'base 10' not in said


# Odd paths.

WORKDIRS = {
  '': 'missing',
  '{}/file': 'file',
  '{}/file/below': 'cannot write',
  '{}/thesis': 'config.json',
  '{}/dangling': 'cannot write',
  '{}/a\0b': 'printable',
  '{}/a\nb': 'printable',
  '{}/\udc80': 'printable',
  '{}/' + 'x' * 256: '255',
  '{}/' + 'x' * 256 + '/y': '255',
  '{}' + '/x' * 2200: '4095',
  '~nobody-at-all/x': 'cannot tell',
  '/dev/null': 'file',
  '/dev/null/x': 'cannot write',
  '/proc/x': 'cannot write',
  '/': 'config.json',
}


@pytest.mark.parametrize('path', WORKDIRS)
def test_odd_workdirs(capfd, folder, path):
  GIVEN[:] = [small()]
  where = path.format(folder)
  said = run(
    'experiment',
    capfd,
    folder,
    [f'--config={folder}/config.py', f'--workdir={where}'],
  )
  note('workdirs', said, '--workdir', path)
  assert 'workdir' in said
  assert WORKDIRS[path] in said


@pytest.mark.skipif(os.geteuid() == 0, reason='root may write anywhere')
def test_a_workdir_without_permission(capfd, folder, tmp_path):
  GIVEN[:] = [small()]
  tmp_path.chmod(0o500)
  config = f'--config={folder}/config.py'
  said = run('experiment', capfd, folder, [config, f'--workdir={tmp_path}/x'])
  assert 'cannot write' in said


@pytest.mark.parametrize(
  'name', ['with space', 'ünïcode', '-x', 'a,b=c', '~', 'x' * 100]
)
def test_workdirs_that_will_do(given, folder, begins, name):
  assert given(small(), f'--workdir={folder}/{name}') is None
  assert begins[0][1] == f'{folder}/{name}'


CONFIGS = ['', '{}/none.py', '{}', '{}/file/x.py', '{}/a\0b.py', '{}/a\nb.py']
CONFIGS += ['{}/' + 'x' * 300 + '.py', '~nobody/x.py', '{}/dangling', '-x']
CONFIGS += ['/dev/null', '.', '{}/thesis/chapter.tex', ':', '{}/none.py:lstm']
CONFIGS += ['configs/paper.py:', 'configs/paper.py:lstm', 'configs/quick.py:x']
CONFIGS += ['configs/paper.py:lstm,', 'configs/paper.py:,single_coin']
CONFIGS += ['configs/worlds.py:union', 'configs/worlds.py:union,lstm,slow']
CONFIGS += [
  'configs/worlds.py:union,lstm,quick,small',
  'configs/data.py:x,lstm',
]
CONFIGS += ['configs/data.py:4', 'configs/data.py:٣,lstm', 'configs/data.py:']
CONFIGS += ['configs/data.py:' + '9' * 5000 + ',lstm', 'configs/novel.py:coin']
CONFIGS += ['configs/diversity.py:0,lstm', 'configs/diversity.py:4,lsmt']
CONFIGS += ['configs/prompts.py:coins,', 'configs/prompts.py:coins,lstm,x']
CONFIGS += ['quik', 'lstm', 'lst,single_coin', 'lstm,single_con']
CONFIGS += [
  'quick:x',
  'worlds:union',
  'wrlds:union,lstm',
  'a' * 300,
  '__init__',
]


@pytest.mark.parametrize('path', CONFIGS)
def test_odd_configurations(capfd, folder, path):
  arguments = [f'--config={path.format(folder)}', f'--workdir={folder}/runs']
  said = run('experiment', capfd, folder, arguments)
  note('configuration files', said, '--config', path)
  assert '--config' in said
  assert 'config_config' not in said
  assert "''; allowed" not in said


# Flags of all scripts.

CONFIG = '--config=configs/quick.py'
COMMON = [
  ['--no_such_flag=1'],
  ['--workdir'],
  ['--workdir=a\nb'],
  ['--workdir=~nobody-at-all/x'],
  ['no-dashes'],
  ['--', 'rest'],
  ['--process_id=0'],
  ['--process_id=x'],
  ['--num_processes=1.5'],
  ['--coordinator=host:1', '--num_processes=2', '--process_id=2'],
  ['--coordinator=host', '--num_processes=2', '--process_id=0'],
  ['--coordinator=h:99999', '--num_processes=2', '--process_id=0'],
  ['--config=no_such_file.py'],
]
OWN = {
  'adapter': [[], ['--save=WORK/x', '--load=WORK/x'], ['--save=WORK/x']]
  + [['--save=WORK/x', '--workdir=WORK/new'], ['--load=WORK/none'], [CONFIG]]
  + [['--save=WORK/x', '--workdir=WORK/new', '--method=SoftPT']]
  + [['--save=WORK/file', '--workdir=WORK', '--method=SoftPT']]
  + [['--load=WORK/file'], ['--load=WORK'], ['--load=/dev/null']]
  + [['--load=WORK/file', '--seed=1'], ['--load=WORK/file', '--task=x']]
  + [['--load=a\nb'], ['--learning_rate=x'], ['--repetition=1.5']],
  'experiment': [['--overwrite=maybe', CONFIG]],
  'pretrain': [['--overwrite=maybe', CONFIG], []],
  'tune': [[CONFIG, '--workdir=WORK/new'], [CONFIG], []],
  'evaluate': [[CONFIG, '--workdir=WORK/new'], ['--workdir=WORK'], []],
  'report': [[], [CONFIG, '--workdir=WORK'], ['--workdir=WORK/no']]
  + [['--workdir=WORK'], ['--workdir=WORK/file'], ['--workdir=/dev/null']]
  + [['--study=data'], ['--study=x', '--workdir=WORK'], ['--study=']]
  + [['--study=data', '--workdir=WORK/no'], ['--study=data', '--workdir=WORK']]
  + [['--study=data', '--workdir=WORK', '--into=WORK/file/x']]
  + [['--study=data', '--workdir=WORK', '--into=WORK/a\nb']]
  + [['--study=novel', '--workdir=WORK'], ['--into=WORK/x', '--workdir=WORK']],
  'paper': [['--quick'], ['--quick=x'], ['--list=x'], ['--seeds=0']]
  + [['--seeds=x:2'], ['--seeds=2:1'], ['--seeds=1.5:2'], ['--seeds=-1:2']]
  + [['--experiments=', '--workdir=WORK'], ['--experiments=x,,y']]
  + [['--experiments=lstm', '--workdir=WORK'], ['--judge_only=x']]
  + [['--methods=SoftPR', '--workdir=WORK'], [CONFIG, '--workdir=WORK']]
  + [['--judge_only', '--results=WORK'], ['--merge=WORK/no', '--results=WORK']]
  + [['--results=WORK/file', '--judge_only'], ['--merge=', '--results=WORK']]
  + [['--results=WORK/a\nb', '--judge_only']]
  + [['--merge=WORK/file', '--results=WORK']]
  + [['--workdir=WORK/file'], ['--workdir=WORK/file/x']],
  'playground': [['--tuned=SoftPT'], ['--network=1'], ['--pack=WORK/x']]
  + [['--workdir=WORK/no'], ['--workdir=WORK'], ['--workdir=WORK/file']]
  + [['--workdir=/dev/null'], ['--network=x', '--workdir=WORK'], [CONFIG]]
  + [['--pack=WORK/x', '--file=WORK/y', '--workdir=WORK']]
  + [['--file=WORK/file/x'], ['--file=WORK'], ['--file=a\nb']],
  'sweep': [[], ['--workdir=WORK/new'], ['--configs=configs/quick.py']]
  + [
    ['--workdir=WORK/new', '--configs=configs/quick.py', *more]
    for more in (
      ['--set=x'],
      ['--set=seed='],
      ['--set==1'],
      ['--set=seed=0,0'],
      ['--set=seed=0', '--set=seed=1'],
      ['--set=seed=-1'],
      ['--set=no_such=1'],
      ['--set=tuning.num_steps=x'],
      ['--cluster=x'],
      ['--slurm=x'],
      ['--slurm=a=1'],
      ['--dry_run=x'],
      ['--configs=configs/quick.py'],
      ['--configs=configs/none.py'],
      [CONFIG],
    )
  ]
  + [['--workdir=WORK/file', '--configs=configs/quick.py', '--set=seed=-1']],
}


@pytest.mark.parametrize('script', SCRIPTS)
def test_flags_of_every_script(capfd, folder, script):
  assert len(COMMON) + len(OWN[script]) >= 12
  for arguments in [*COMMON, *OWN[script]]:
    arguments = [x.replace('WORK', str(folder)) for x in arguments]
    said = run(script, capfd, folder, arguments)
    note('flags', said, script, ' '.join(arguments))
    assert said is not None, (script, arguments)
    words = [x.lstrip('-').replace('\n', '\\n') for x in arguments]
    words = [word for text in words for word in text.split('=', 1) if word]
    assert any(x in said for x in [*words, 'missing', 'num_']), said


def test_the_exit_code_as_a_user_sees_it():
  # Above, scripts begin where this starts them.
  for script, module in SCRIPTS.items():
    text = (ROOT / 'launch' / f'{script}.py').read_text('utf-8')
    assert text.endswith("\nif __name__ == '__main__':\n  start()\n")
    assert module.__name__ == f'launch.{script}'
  done = subprocess.run(
    [sys.executable, '-m', 'launch.tune', '--no_such_flag=1'],
    cwd=ROOT,
    env={**os.environ, 'PYTHONPATH': str(ROOT)},
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 2
  assert done.stderr.startswith('error: ')
  assert done.stderr.count('\n') == 1


@pytest.mark.parametrize('flag', ['--list', '--help'])
def test_a_closed_pipe_ends_quietly(flag):
  reading, writing = os.pipe()
  os.close(reading)
  done = subprocess.run(
    [sys.executable, '-m', 'launch.paper', flag],
    cwd=ROOT,
    env={**os.environ, 'PYTHONPATH': str(ROOT)},
    stdout=writing,
    stderr=subprocess.PIPE,
    text=True,
    check=False,
  )
  os.close(writing)
  assert done.stderr == ''
  assert done.returncode == 141


def test_a_part_says_the_command_that_it_needs(capfd, folder):
  GIVEN[:] = [small()]
  arguments = [f'--config={folder}/config.py', f'--workdir={folder}/new']
  said = run('tune', capfd, folder, arguments)
  assert f'python -m launch.pretrain {" ".join(arguments)}' in said


@pytest.fixture(autouse=True)
def _counted(request):
  RAN.add(request.node.nodeid)


def test_there_was_no_end_of_mistakes(capsys, request):
  """Comes last: the number of what was tried above."""
  with capsys.disabled():
    for outcome, tried in TRIED.items():
      groups = collections.Counter(group for group, *_ in tried)
      print(f'\n{outcome}: {len(tried)}, {dict(groups)}')
  here = [x for x in request.session.items if x.path == request.path]
  functions = {name for name in globals() if name.startswith('test_')}
  before = here[: here.index(request.node)]
  before = {x.nodeid for x in before if not x.get_closest_marker('skipif')}
  if functions <= {x.originalname for x in here} and before <= RAN:
    assert len(TRIED['refused']) >= 300
  else:
    pytest.skip('not all tests of this file were run')


def test_errors_of_the_package_are_its_own():
  assert issubclass(errors.MissingNetwork, errors.UserError)
