"""A mistake on the command line ends with code 2 and one clear line.

A test that needs a process of its own starts one; the many mistakes share two
servers that fork a process for each, so that imports are paid for only once:
`bare` has imported nothing of ours (what it sees needs no JAX), `loaded` has
imported the package. This file must not import JAX itself.
"""

import dataclasses
import json
import os
import pathlib
import re
import runpy
import signal
import subprocess
import sys
import traceback
import warnings

import pytest

from bayes_prompting.settings import plain

ROOT = pathlib.Path(__file__).resolve().parents[2]
SCRIPTS = ('experiment', 'pretrain', 'tune', 'evaluate')
PATIENCE = 120  # Seconds, after which a hanging script is killed.


@dataclasses.dataclass(frozen=True)
class Outcome:
  code: int
  out: str
  err: str
  imported_jax: bool | None = None


# What runs in the servers.


def _run_script(script, arguments, folder):
  """Runs a script as `python -m` does; never returns."""
  signal.alarm(PATIENCE)
  for name, descriptor in (('out', 1), ('err', 2)):
    file = os.open(os.path.join(folder, name), os.O_WRONLY | os.O_CREAT)
    os.dup2(file, descriptor)
  sys.argv = [script, *arguments]
  code = 0
  try:
    runpy.run_module(f'launch.{script}', run_name='__main__', alter_sys=True)
  except SystemExit as error:
    code = error.code or 0
    if not isinstance(code, int):
      print(code, file=sys.stderr)
      code = 1
  except BaseException:
    traceback.print_exc()
    code = 1
  finally:
    sys.stdout.flush()
    sys.stderr.flush()
    with open(os.path.join(folder, 'imported_jax'), 'w') as file:
      json.dump('jax' in sys.modules, file)
    os._exit(code)


def serve():
  """Answers every line of standard input, a script to run, by its exit code."""
  warnings.simplefilter('ignore')  # JAX warns of any fork; it has not begun.
  for line in sys.stdin:
    request = json.loads(line)
    child = os.fork()
    if not child:
      _run_script(**request)
    _, status = os.waitpid(child, 0)
    print(os.waitstatus_to_exitcode(status), flush=True)


def environment():
  return {**os.environ, 'JAX_PLATFORMS': 'cpu', 'PYTHONPATH': str(ROOT)}


def server(imports):
  code = f'{imports}; from tests.launch import test_launch; test_launch.serve()'
  with subprocess.Popen(
    [sys.executable, '-c', code],
    cwd=ROOT,
    env=environment(),
    stdin=subprocess.PIPE,
    stdout=subprocess.PIPE,
    text=True,
  ) as process:
    yield process
    process.stdin.close()


@pytest.fixture(scope='module')
def bare_server():
  yield from server('import absl.app, ml_collections.config_flags')


@pytest.fixture(scope='module')
def loaded_server():
  yield from server('from bayes_prompting.experiment import run')


def ask(process, folder, script, *arguments):
  folder.mkdir()
  request = {
    'script': script,
    'arguments': list(map(str, arguments)),
    'folder': str(folder),
  }
  process.stdin.write(json.dumps(request) + '\n')
  process.stdin.flush()
  code = int(process.stdout.readline())
  out, err, jax = (
    (folder / name).read_text() for name in ('out', 'err', 'imported_jax')
  )
  return Outcome(code, out, err, json.loads(jax))


@pytest.fixture
def bare(bare_server, tmp_path_factory):
  return lambda *arguments: ask(
    bare_server, tmp_path_factory.mktemp('said') / 'here', *arguments
  )


@pytest.fixture
def loaded(loaded_server, tmp_path_factory):
  return lambda *arguments: ask(
    loaded_server, tmp_path_factory.mktemp('said') / 'here', *arguments
  )


def launch(script, *arguments, python=()):
  """Runs a script in a process of its own."""
  done = subprocess.run(
    [sys.executable, *python, '-m', f'launch.{script}', *map(str, arguments)],
    cwd=ROOT,
    env=environment(),
    capture_output=True,
    text=True,
    timeout=PATIENCE,
  )
  return Outcome(done.returncode, done.stdout, done.stderr)


def mistake(outcome, *fragments):
  """Holds an outcome to what every mistake is told like."""
  assert 'Traceback' not in outcome.err, outcome.err
  assert outcome.code == 2, outcome.err
  assert outcome.err.startswith('error: ')
  assert outcome.err.count('\n') == 1
  assert outcome.err.endswith('\n')
  assert outcome.out == ''
  for fragment in fragments:
    assert fragment in outcome.err


# Help.


@pytest.mark.parametrize(
  'flag', ['--help', '-help', '--helpshort', '--helpfull']
)
@pytest.mark.parametrize('script', SCRIPTS)
def test_help_ends_well(bare, script, flag):
  outcome = bare(script, flag)
  assert outcome.code == 0
  assert outcome.err == ''
  assert '--config' in outcome.out
  assert '--workdir' in outcome.out
  assert f'python -m launch.{script}' in outcome.out
  assert not outcome.imported_jax


def imported(outcome):
  """Top-level modules that a process with `-X importtime` imported."""
  found = re.findall(r'^import time:.*\| +([\w.]+)$', outcome.err, re.M)
  return {name.split('.')[0] for name in found}


@pytest.mark.parametrize('script', SCRIPTS)
def test_help_needs_no_jax(script):
  outcome = launch(script, '--help', python=('-X', 'importtime'))
  assert outcome.code == 0
  assert 'absl' in imported(outcome)
  heavy = {'jax', 'flax', 'orbax', 'xarray', 'matplotlib', 'tensorboardX'}
  assert not heavy & imported(outcome)


# Mistakes in flags and in configuration files: no JAX is needed to see them.


QUICK = '--config=configs/quick.py'


def processes(coordinator, count, which):
  return (
    f'--coordinator={coordinator}',
    f'--num_processes={count}',
    f'--process_id={which}',
  )


FLAGS = {
  'nothing': ((), '--config', 'missing, for example --config=quick'),
  'no workdir': ((QUICK,), '--workdir', 'missing, for example --workdir=runs/'),
  'no config': (('--workdir=WORKDIR',), '--config', 'missing'),
  'empty workdir': ((QUICK, '--workdir='), '--workdir', 'missing'),
  'empty config': (('--config=', '--workdir=WORKDIR'), '--config'),
  'unknown flag': ((QUICK, '--workdr=WORKDIR'), 'workdr', 'workdir'),
  'no dashes': ((QUICK, '--workdir=WORKDIR', 'overwrite'), "'overwrite'"),
  'no value': ((QUICK, '--workdir'), 'workdir'),
  'bad boolean': (
    (QUICK, '--workdir=WORKDIR', '--overwrite=maybe'),
    'overwrite',
    'maybe',
  ),
  'no such file': (
    ('--config=configs/nope.py', '--workdir=WORKDIR'),
    '--config',
    'configs/nope.py',
  ),
  'a folder': (('--config=configs', '--workdir=WORKDIR'), 'configs'),
  'unknown field': (
    (QUICK, '--workdir=WORKDIR', '--config.tuning.nun_steps=1'),
    '--config',
    'nun_steps',
    'num_steps',
  ),
  'unknown section': (
    (QUICK, '--workdir=WORKDIR', '--config.tunin.num_steps=1'),
    '--config',
    'tunin',
    'tuning',
  ),
  'field of a number': (
    (QUICK, '--workdir=WORKDIR', '--config.tuning.num_steps.x=1'),
    '--config',
    'num_steps.x',
  ),
  'value of a section': (
    (QUICK, '--workdir=WORKDIR', '--config.tuning=1'),
    'config.tuning',
  ),
  'unknown method': (
    (QUICK, '--workdir=WORKDIR', '--config.methods.SofPT.length=3'),
    'SofPT',
    'SoftPT',
  ),
  'word for a number': (
    (QUICK, '--workdir=WORKDIR', '--config.tuning.num_steps=ten'),
    'tuning.num_steps',
    'ten',
  ),
  'fraction for a whole': (
    (QUICK, '--workdir=WORKDIR', '--config.tuning.num_steps=1.5'),
    'tuning.num_steps',
    '1.5',
  ),
  'word for a fraction': (
    (QUICK, '--workdir=WORKDIR', '--config.pretraining.learning_rate=fast'),
    'pretraining.learning_rate',
    'fast',
  ),
  'a process without a run': (
    (QUICK, '--workdir=WORKDIR', '--process_id=0'),
    '--coordinator: missing',
  ),
  'a coordinator alone': (
    (QUICK, '--workdir=WORKDIR', '--coordinator=host:1234'),
    '--num_processes: missing',
  ),
  'a coordinator without a port': (
    (QUICK, '--workdir=WORKDIR', *processes('host', 2, 0)),
    '--coordinator',
    'HOST:PORT',
  ),
  'no process': (
    (QUICK, '--workdir=WORKDIR', *processes('host:1234', 0, 0)),
    '--num_processes',
  ),
  'a process too many': (
    (QUICK, '--workdir=WORKDIR', *processes('host:1234', 2, 2)),
    '--process_id: must be from 0 to 1, got 2',
  ),
  'override alone': (
    ('--config.tuning.num_steps=3', '--workdir=WORKDIR'),
    'config',
  ),
  'bad argument': (
    ('--config=configs/paper.py:lst,single_coin', '--workdir=WORKDIR'),
    "'lst'",
    'lstm',
  ),
  'half an argument': (
    ('--config=configs/paper.py:lstm', '--workdir=WORKDIR'),
    'single_coin',
  ),
  'unknown preset': (
    ('--config=quik', '--workdir=WORKDIR'),
    "--config: no preset 'quik'; did you mean quick?",
  ),
  'half an experiment of the paper': (
    ('--config=lstm', '--workdir=WORKDIR'),
    "no preset 'lstm'; ",
    'or NETWORK,TARGET for an experiment of the paper, such as lstm,single',
  ),
  'a name for a mapping': (
    (QUICK, '--workdir=WORKDIR', '--config.network.torso=gru'),
    '--config.network.torso: must be a mapping in quotes, such as '
    "\"{'name': 'gru'}\", got 'gru'; to change a part, name it: "
    '--config.network.torso.PART=...',
  ),
  'a mapping that does not end': (
    (QUICK, '--workdir=WORKDIR', "--config.network.torso={'name': 'gru'"),
    '--config.network.torso: must be a mapping in quotes',
  ),
  'a list for a mapping': (
    (QUICK, '--workdir=WORKDIR', '--config.network.torso=[1]'),
    '--config.network.torso: must be a mapping in quotes',
  ),
  'bad argument of a preset': (
    ('--config=worlds:swiching,lstm', '--workdir=WORKDIR'),
    "'swiching'; did you mean switching",
  ),
  'bad experiment of the paper': (
    ('--config', 'lstm,single_con', '--workdir=WORKDIR'),
    "'single_con'; did you mean single_coin",
  ),
  'argument that is not taken': (
    ('--config=configs/quick.py:lstm', '--workdir=WORKDIR'),
    '--config',
    'get_config()',
  ),
}


@pytest.mark.parametrize('name', FLAGS)
def test_mistakes_in_flags(bare, tmp_path, name):
  arguments, *fragments = FLAGS[name]
  workdir = tmp_path / 'runs'
  arguments = [part.replace('WORKDIR', str(workdir)) for part in arguments]
  outcome = bare('experiment', *arguments)
  mistake(outcome, *fragments)
  assert not outcome.imported_jax
  assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize('script', SCRIPTS)
def test_every_script_tells_of_mistakes_in_flags(bare, tmp_path, script):
  field = '--config.tuning.nun_steps=1'
  outcome = bare(script, QUICK, f'--workdir={tmp_path / "runs"}', field)
  mistake(outcome, 'nun_steps', 'num_steps')
  assert list(tmp_path.iterdir()) == []


FILES = {
  'no get_config': ('config = 3', 'get_config'),
  'syntax': ('def get_config(:', 'invalid syntax'),
  'missing module': ('import surely_not_installed', 'surely_not_installed'),
  'undefined name': ('def get_config(): return undefined_x', 'undefined_x'),
  'value error': (
    'def get_config(): raise ValueError("first\\nsecond")',
    'second',
  ),
  'runtime error': ('def get_config(): raise RuntimeError("boom")', 'boom'),
  'division': ('def get_config(): return 1 / 0', 'division by zero'),
  'assertion': ('def get_config(): assert 1 > 2, "boom"', 'boom'),
  'index': ('def get_config(): return ()[1]', 'tuple index out of range'),
  'key': ('def get_config(): return {}["wanted"]', 'wanted'),
  'os error': ('def get_config(): open("/nope/at/all")', '/nope/at/all'),
  'wordless': ('def get_config(): raise AttributeError', 'AttributeError'),
  'wordless value': ('def get_config(): raise ValueError', 'ValueError'),
  'own error': (
    'class Boom(Exception): pass\ndef get_config(): raise Boom("boom")',
    'boom',
  ),
  'returns nothing': ('def get_config(): pass', 'get_config()', 'None'),
  'returns a number': ('def get_config(): return 7', 'get_config()', '7'),
  'returns a text': ('def get_config(): return "lstm"', 'get_config()'),
  'returns a dict': ('def get_config(): return {"a": 7}', 'get_config()'),
  'unknown field': (
    'from bayes_prompting import settings\n'
    'def get_config():\n'
    '  config = settings.base_config()\n'
    '  config.tuning.nun_steps = 3\n'
    '  return config',
    'nun_steps',
  ),
  'wrong type': (
    'from bayes_prompting import settings\n'
    'def get_config():\n'
    '  config = settings.base_config()\n'
    '  config.tuning.num_steps = "ten"\n'
    '  return config',
    'num_steps',
    'ten',
  ),
}


@pytest.mark.parametrize('name', FILES)
def test_mistakes_in_a_configuration_file(bare, tmp_path, name):
  source, *fragments = FILES[name]
  file = tmp_path / 'mine.py'
  file.write_text(source + '\n')
  workdir = tmp_path / 'runs' / 'demo'
  outcome = bare('experiment', f'--config={file}', f'--workdir={workdir}')
  mistake(outcome, '--config', *fragments)
  assert 'object at 0x' not in outcome.err
  assert not (tmp_path / 'runs').exists()


def test_an_empty_configuration_lacks_its_fields(loaded, tmp_path):
  file = tmp_path / 'mine.py'
  file.write_text(
    'import ml_collections\n'
    'def get_config(): return ml_collections.ConfigDict()\n'
  )
  workdir = tmp_path / 'runs'
  outcome = loaded('experiment', f'--config={file}', f'--workdir={workdir}')
  mistake(outcome, 'missing from the configuration')
  assert not workdir.exists()


# Mistakes that only building shows.


SMALL = """
from bayes_prompting import settings

def get_config(lora='torso'):
  config = settings.base_config()
  config.network.embedding_dim = 4
  config.network.torso = settings.spec('linear', width=3)
  config.pretraining.num_steps = 0
  config.tuning.num_steps = 0
  config.tuning.length = 3
  config.pretraining.length = 2
  config.evaluation.length = 4
  config.evaluation.num_sequences = 2
  config.evaluation.tasks = ('single_coin',)
  config.tuning.methods = ('PreBayes',)
  with config.unlocked():
    config.methods.LoRAWT.patterns = (lora,)
  return config
"""


@pytest.fixture
def small(tmp_path):
  file = tmp_path / 'small.py'
  file.write_text(SMALL)
  return file


BUILT = {
  'unknown prior': (
    ('--config.tasks.two_coin_mixture.name=categorical_mix',),
    'tasks.two_coin_mixture',
    "'categorical_mix'",
    'categorical_mixture',
  ),
  'unknown module': (
    ('--config.tasks.single_coin.name=my_lab.priors.bursty',),
    'tasks.single_coin',
    "'my_lab.priors.bursty'",
  ),
  'relative module': (
    ('--config.tasks.single_coin.name=..categorical',),
    'tasks.single_coin',
    "'..categorical'",
  ),
  'unknown torso': (
    ('--config.network.torso.name=lsmt',),
    'network.torso',
    "'lsmt'",
    'lstm',
  ),
  'argument of another torso': (
    ('--config.network.torso.name=transformer',),
    'network.torso',
    "'width'",
    'num_heads',
  ),
  'unknown tuner': (
    (
      '--config.methods.EmbedWT.name=weight',
      '--config.tuning.methods=("EmbedWT",)',
    ),
    'methods.EmbedWT',
    "'weight'",
    'weights',
  ),
  'unknown form': (
    ('--config.methods.SoftPT.form=sft', '--config.tuning.methods=("SoftPT",)'),
    'methods.SoftPT.form',
    "'sft'",
    'soft',
  ),
  'unknown init': (
    ('--config.tuning.prefix_init=zero', '--config.tuning.methods=("SoftPT",)'),
    "'zero'",
    'zeros',
  ),
  'unknown method': (
    ('--config.tuning.methods=("SofPT",)',),
    'tuning.methods',
    "'SofPT'",
    'SoftPT',
  ),
  'unknown target': (
    ('--config.tuning.target=single_con',),
    'tuning.target',
    "'single_con'",
    'single_coin',
  ),
  'probabilities that sum to more': (
    ('--config.tasks.single_coin.probabilities=(0.5, 0.6)',),
    'tasks.single_coin.probabilities',
    '(0.5, 0.6)',
    '1.1',
  ),
  'negative probabilities': (
    ('--config.tasks.single_coin.probabilities=(1.5, -0.5)',),
    'tasks.single_coin.probabilities',
    '(1.5, -0.5)',
  ),
  'three weights for two coins': (
    ('--config.tasks.two_coin_mixture.weights=(0.5, 0.25, 0.25)',),
    'tasks.two_coin_mixture.weights',
    '(0.5, 0.25, 0.25)',
  ),
  'another vocabulary': (
    ('--config.tasks.single_coin.probabilities=(0.5, 0.25, 0.25)',),
    'tasks.single_coin',
    '3',
    '2',
  ),
  'weights that are not there': (
    (
      '--config.methods.EmbedWT.patterns=("unembeding",)',
      '--config.tuning.methods=("EmbedWT",)',
    ),
    'methods.EmbedWT.patterns',
    "'unembeding'",
    'unembedding',
  ),
  'no steps to speak of': (
    ('--config.tuning.num_steps=-1',),
    'tuning.num_steps',
    '-1',
  ),
  'no repetitions': (
    ('--config.tuning.num_repetitions=0',),
    'tuning.num_repetitions',
    '0',
  ),
  'learning rate of zero': (
    ('--config.tuning.learning_rate=0',),
    'tuning.learning_rate',
    '0',
  ),
  'word for a learning rate': (
    ('--config.tuning.learning_rate=fast',),
    'tuning.learning_rate',
    "'fast'",
  ),
  'a learning rate twice': (
    ('--config.tuning.learning_rate=(1e-3, 0.001)',),
    'tuning.learning_rate',
    '(0.001, 0.001)',
  ),
  'no initialisation': (
    ('--config.tuning.prefix_init=()',),
    'tuning.prefix_init',
    '()',
  ),
  'several inits of one method': (
    (
      '--config.methods.SoftPT.init=("zeros", "normal")',
      '--config.tuning.methods=("SoftPT",)',
    ),
    'methods.SoftPT.init',
    "('zeros', 'normal')",
  ),
  'learning rate of nan': (
    ('--config.tuning.learning_rate=nan',),
    'tuning.learning_rate',
    'nan',
  ),
  'no width': (('--config.network.torso.width=0',), 'network.torso.width', '0'),
  'too short to see': (
    ('--config.evaluation.length=2',),
    'evaluation.length',
    '2',
    '3',
  ),
}


@pytest.mark.parametrize('name', BUILT)
def test_mistakes_that_building_shows(loaded, small, tmp_path, name):
  overrides, *fragments = BUILT[name]
  workdir = tmp_path / 'runs' / 'demo'
  outcome = loaded(
    'experiment', f'--config={small}', f'--workdir={workdir}', *overrides
  )
  mistake(outcome, *fragments)
  assert not (tmp_path / 'runs').exists()


@pytest.mark.parametrize(
  'pattern, fragments',
  [
    ('tors', ["'tors'", 'torso']),
    # Biases are no matrices.
    ('bias', ["'bias'", 'matri']),
  ],
)
def test_lora_of_nothing(loaded, small, tmp_path, pattern, fragments):
  workdir = tmp_path / 'runs'
  outcome = loaded(
    'experiment',
    f'--config={small}:{pattern}',
    f'--workdir={workdir}',
    '--config.tuning.methods=("LoRAWT",)',
  )
  mistake(outcome, 'methods.LoRAWT.patterns', *fragments)
  assert not workdir.exists()


@pytest.mark.parametrize('script', SCRIPTS)
def test_every_script_tells_of_mistakes_that_building_shows(
  loaded, small, tmp_path, script
):
  outcome = loaded(
    script,
    f'--config={small}',
    f'--workdir={tmp_path / "runs"}',
    '--config.network.torso.name=lsmt',
  )
  mistake(outcome, "'lsmt'", 'lstm')
  assert not (tmp_path / 'runs').exists()


# Workdirs.


def contents(folder):
  """Everything in a folder: path to bytes, None for a folder."""
  return {
    str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
    for path in folder.rglob('*')
  }


@pytest.mark.parametrize('script', ['experiment', 'tune'])
@pytest.mark.parametrize(
  'place, fragments',
  [
    ('file', ['file', 'folder']),
    ('file/below', ['cannot write']),
    ('thesis', ['config.json']),
    ('/proc/nope/demo', ['cannot write']),
  ],
)
def test_mistakes_in_the_workdir(
  loaded, small, tmp_path, script, place, fragments
):
  home = tmp_path / 'home'
  (home / 'thesis').mkdir(parents=True)
  (home / 'thesis' / 'chapter.tex').write_text('precious')
  (home / 'file').write_text('mine')
  before = contents(home)
  workdir = home / place
  outcome = loaded(script, f'--config={small}', f'--workdir={workdir}')
  mistake(outcome, 'workdir', str(workdir))
  # `tune` may first miss the network that it goes on from.
  if script == 'experiment':
    mistake(outcome, *fragments)
  assert contents(home) == before


@pytest.mark.parametrize('script', ['tune', 'evaluate'])
def test_a_part_without_the_part_before_makes_nothing(
  loaded, small, tmp_path, script
):
  workdir = tmp_path / 'runs' / 'typo'
  outcome = loaded(script, f'--config={small}', f'--workdir={workdir}')
  mistake(outcome, 'pretrain', str(tmp_path / 'runs'))
  assert not (tmp_path / 'runs').exists()


@pytest.fixture(scope='module')
def pretrained(loaded_server, tmp_path_factory):
  """A run that was begun: its configuration, workdir and outcome."""
  folder = tmp_path_factory.mktemp('begun')
  small = folder / 'small.py'
  small.write_text(SMALL)
  workdir = folder / 'runs' / 'demo'
  arguments = (f'--config={small}', f'--workdir={workdir}')
  outcome = ask(loaded_server, folder / 'said', 'pretrain', *arguments)
  return small, workdir, outcome


@pytest.mark.parametrize(
  ('overrides', 'rates', 'inits', 'own'),
  [
    (('tuning.learning_rate=0.01',), [0.01], ['one_hot'], ['one_hot']),
    (
      ('tuning.learning_rate=(1e-3,5e-3)', 'tuning.prefix_init=zeros'),
      [1e-3, 5e-3],
      ['zeros'],
      ['zeros'],
    ),
    (
      ('tuning.prefix_init=("zeros","normal")', 'methods.SoftPT.init=uniform'),
      [5e-3],
      ['zeros', 'normal'],
      'uniform',
    ),
  ],
)
def test_one_setting_or_a_grid(
  loaded, small, tmp_path, overrides, rates, inits, own
):
  workdir = tmp_path / 'runs' / 'grid'
  overrides = [f'--config.{override}' for override in overrides]
  outcome = loaded(
    'pretrain', f'--config={small}', f'--workdir={workdir}', *overrides
  )
  assert outcome.code == 0, outcome.err
  config = json.loads((workdir / 'config.json').read_text())['config']
  assert config['tuning']['learning_rate'] == rates
  assert config['tuning']['prefix_init'] == inits
  assert plain.resolved(config)['methods']['SoftPT']['init'] == own


def test_pretraining_tells_where_the_network_is(pretrained):
  _, workdir, outcome = pretrained
  assert outcome.code == 0, outcome.err
  assert outcome.out.startswith('Pretrained seed 0: untrained, in ')
  assert pathlib.Path(outcome.out.splitlines()[0].split(' in ')[1]).is_dir()
  assert json.loads((workdir / 'config.json').read_text())['seed'] == 0


@pytest.mark.parametrize('script', SCRIPTS)
def test_a_workdir_of_another_configuration_is_refused(
  loaded, pretrained, script
):
  small, workdir, _ = pretrained
  before = contents(workdir.parent)
  outcome = loaded(
    script,
    f'--config={small}',
    f'--workdir={workdir}',
    '--config.tuning.num_repetitions=3',
  )
  mistake(outcome, str(workdir), 'tuning.num_repetitions', '10 and 3')
  assert contents(workdir.parent) == before


@pytest.mark.slow
def test_a_run_tells_the_headline_and_where_everything_is(
  loaded, small, tmp_path
):
  workdir = tmp_path / 'runs' / 'demo'
  outcome = loaded(
    'experiment',
    f'--config={small}',
    f'--workdir={workdir}',
    '--config.tuning.methods=("PreBayes", "NoTuning")',
  )
  assert outcome.code == 0, outcome.err
  assert 'Traceback' not in outcome.err
  for method in ('Oracle', 'TargetBayes', 'PreBayes', 'NoTuning'):
    assert method in outcome.out
  for name in ('results.nc', 'summary.csv', 'figures'):
    assert f'{workdir}/{name}' in outcome.out
    assert (workdir / name).exists()


# Studies.


# Of each script, how one of its main experiments is called, and a second one.
STUDIES = {
  'paper': ('lstm-single_coin', 'lstm-single_coin-tunings'),
  'architectures': ('lstm-coins', 'lstm-coins-mixture'),
  'frontier': ('lstm-coins-source', 'lstm-coins-source-n16'),
  'demonstrations': ('lstm-own-n0', 'lstm-tails-n64-tunings'),
  'meta': ('lstm-coins-true', 'lstm-coins-near-n16'),
  'language_study': ('coin', 'coin-n16'),
}


@pytest.mark.parametrize('script', STUDIES)
def test_the_script_of_a_study_tells_of_its_flags_and_experiments(bare, script):
  outcome = bare(script, '--help')
  assert outcome.code == 0
  assert '--experiments' in outcome.out
  assert f'bayes-prompting {script.replace("_", "-")} ' in outcome.out
  for flag, of in (('--torsos', 'architectures'), ('--tuners', 'frontier')):
    assert (flag in outcome.out) == (script == of)
  assert not outcome.imported_jax
  names = STUDIES[script]
  kind, *_ = names[0].partition('-')
  listed = bare(script, '--list', f'--experiments={kind}*')
  assert listed.code == 0
  for name in names:
    assert f'\n{name}: networks 0 to ' in f'\n{listed.out}'
  assert 'transformer' not in listed.out


def test_more_networks_of_the_paper_are_none_of_its_few(bare):
  listed = bare('paper', '--list', '--experiments=lstm-*')
  assert 'lstm-single_coin: networks 0 to 19, ' in listed.out
  assert 'lstm-single_coin-tunings: networks 0 to 1, ' in listed.out
  more = bare('paper', '--list', '--experiments=lstm-*', '--seeds=20:30')
  assert 'lstm-single_coin: networks 20 to 29, NoTuning, SoftPT\n' in more.out
  assert 'tunings' not in more.out and 'StatePT' not in more.out


@pytest.mark.parametrize('script', STUDIES)
@pytest.mark.parametrize(
  'arguments, fragments',
  [
    (['--experiments=lstm'], ['--experiments', "'lstm'", 'NAME']),
    (['--seeds=3'], ['--seeds', 'FIRST:END', '3']),
    (['--seeds=3:3'], ['--seeds', 'FIRST:END', '3:3']),
    (['--methods=SoftPR'], ['--methods', 'SoftPR', 'SoftPT']),
    (['--config=configs/quick.py', '--workdir=x'], ['--config']),
    (['--quick'], ['--workdir: missing, for example --workdir=runs/quick']),
    (['--experiments=', '--workdir=x'], ['--experiments: empty']),
  ],
)
def test_mistakes_in_flags_of_a_study(bare, script, arguments, fragments):
  name, _ = STUDIES[script]
  fragments = [x.replace('NAME', name) for x in fragments]
  mistake(bare(script, *arguments), *fragments)


def test_a_torso_of_one_s_own_joins_the_study_of_architectures(bare):
  own = '--torsos=my_lab.mine'
  listed = bare('architectures', '--list', own)
  assert listed.code == 0
  lines = listed.out.splitlines()
  mine = [x.replace('my_lab.mine', 'lstm') for x in lines if 'my_lab' in x]
  assert mine == [x for x in lines if x.startswith(('lstm-', 'lstm_deep-'))]
  alone = bare('architectures', '--list', own, '--experiments=my_lab*')
  assert [x.replace('my_lab.mine', 'lstm') for x in alone.out.splitlines()] == (
    mine
  )
  assert 'my_lab' not in bare('architectures', '--list').out
  twice = bare('architectures', '--list', f'{own},my_lab.mine')
  assert twice.out == listed.out


@pytest.mark.parametrize('name', ['lstn', 'my_lab.mine-x', 'my_lab.mine_deep'])
def test_a_torso_that_cannot_join_is_refused(bare, name):
  outcome = bare('architectures', '--list', f'--torsos=my_lab.mine,{name}')
  mistake(outcome, '--torsos', 'my_lab.mine,', repr(name))


def test_a_tuner_of_one_s_own_joins_the_study_of_all(bare):
  listed = bare('frontier', '--list').out
  joined = bare('frontier', '--list', '--tuners=my_lab.mine,my_lab.mine')
  assert joined.code == 0
  assert joined.out.replace(', mine', '') == listed
  assert joined.out.count(', mine') == len(listed.splitlines())
  alone = bare('frontier', '--list', '--tuners=my_lab.mine', '--methods=mine')
  assert alone.code == 0


@pytest.mark.parametrize('name', ['lora', 'my_lab.mi-ne', 'my_lab.SoftPT'])
def test_a_tuner_that_cannot_join_is_refused(bare, name):
  outcome = bare('frontier', '--list', f'--tuners=my_lab.mine,{name}')
  mistake(outcome, '--tuners', repr(name))


@pytest.mark.parametrize('script', STUDIES)
def test_where_there_is_no_row_nothing_is_judged(loaded, tmp_path, script):
  for folder in (tmp_path, tmp_path / 'missing'):
    outcome = loaded(script, '--judge_only', f'--results={folder}')
    mistake(outcome, str(folder), 'no row')
  assert not any(tmp_path.iterdir())


# A few as a user starts them.


def test_an_unknown_field_as_a_user_sees_it(tmp_path):
  mistake(
    launch(
      'experiment',
      QUICK,
      f'--workdir={tmp_path / "runs"}',
      '--config.tuning.nun_repetitions=1',
    ),
    'nun_repetitions',
    'num_repetitions',
  )
  assert list(tmp_path.iterdir()) == []


def test_a_mistake_in_building_as_a_user_sees_it(small, tmp_path):
  mistake(
    launch(
      'pretrain',
      f'--config={small}',
      f'--workdir={tmp_path / "runs"}',
      '--config.methods.EmbedWT.patterns=("unembeding",)',
      '--config.tuning.methods=("EmbedWT",)',
    ),
    'methods.EmbedWT.patterns',
    'unembeding',
  )
  assert not (tmp_path / 'runs').exists()
