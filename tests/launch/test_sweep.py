"""A sweep finds mistakes first, runs each run once, and says what became of it.

Slurm is a fake of the few things of submitit's that are used.
"""

import contextlib
import json
import os
import pathlib
import re
import subprocess
import sys
import types

from absl import flags
from absl.testing import flagsaver
import jax
import pandas as pd
import pytest

from bayes_prompting import errors
from bayes_prompting.system import interruption
from launch import sweep
from launch import sweep_grid
from launch import sweep_jobs

ROOT = pathlib.Path(__file__).resolve().parents[2]

SMALL = """
from bayes_prompting import settings

def get_config(task='single_coin'):
  config = settings.base_config()
  config.network.embedding_dim = 4
  config.network.torso = settings.spec('linear', width=3)
  config.pretraining.num_steps = config.tuning.num_steps = 0
  config.pretraining.length = config.tuning.length = 2
  config.evaluation.length = 3
  config.evaluation.num_sequences = 2
  config.evaluation.tasks = (task,)
  config.tuning.target = task
  config.tuning.methods = ('PreBayes',)
  return config
"""


@pytest.fixture
def small(tmp_path):
  file = tmp_path / 'small.py'
  file.write_text(SMALL)
  return file


@pytest.fixture
def start(tmp_path, capsys):
  """Starts a sweep as its script does; returns its code and what it said."""
  jax.devices()  # The sweep asks for a CPU; what began with a GPU keeps it.
  before = jax.config.jax_platforms

  def run(*arguments):
    with flagsaver.flagsaver():
      flags.FLAGS(['sweep', f'--workdir={tmp_path / "runs"}', *arguments])
      code = 0
      try:
        sweep.main([])
      except SystemExit as error:
        code = error.code
    return code, capsys.readouterr().out

  yield run
  jax.config.update('jax_platforms', before)


def states(out):
  """The table: state and detail by name, without the settings between."""
  lines = out.partition('\nrun')[2].partition('\n\n')[0].splitlines()
  place = len(re.split('  +', lines[0])) - 1
  rows = (re.split('  +', line) for line in lines[1:])
  return {row[0]: tuple(row[place:]) for row in rows}


# Runs and their names.


@pytest.mark.parametrize(
  'text, field, values',
  [
    ('seed=0,1,2', 'seed', ('0', '1', '2')),
    ('config.seed=0', 'seed', ('0',)),
    ('a.b=1e-3, 5e-3', 'a.b', ('0.001', '0.005')),
    ('a=constant,"cosine"', 'a', ('constant', 'cosine')),
    ('a=-0.5,None,True', 'a', ('-0.5', 'None', 'True')),
    ("m=('A','B'),('C',)", 'm', ("('A', 'B')", "('C',)")),
    ('p=((0.2,0.8),(0.8,0.2))', 'p', ('((0.2, 0.8), (0.8, 0.2))',)),
    ("a='x,y','(z'", 'a', ('x,y', '(z')),
    ('name=my_lab.priors.bursty', 'name', ('my_lab.priors.bursty',)),
  ],
)
def test_an_axis_is_read(text, field, values):
  assert sweep_grid.axis(text) == sweep_grid.Axis(field, values)


@pytest.mark.parametrize(
  'text, fragment',
  [
    ('seed', "'seed'"),
    ('=1', "'=1'"),
    ('seed=', "''"),
    ('seed=0,,1', "''"),
    ('m=(1,2', "'(1,2'"),
    ('m=a b', "'a b'"),
    ('rate=1e-3,0.001', '0.001 twice'),
  ],
)
def test_what_is_no_axis_is_refused(text, fragment):
  with pytest.raises(errors.UserError, match=r'^--set') as caught:
    sweep_grid.axis(text)
  assert fragment in str(caught.value)
  assert '\n' not in str(caught.value)


def test_runs_are_every_combination_and_the_last_axis_is_fastest():
  runs = sweep_grid.build(
    ['configs/paper.py:lstm,single_coin', 'configs/quick.py'],
    ["tuning.methods=('SoftPT','Un+EmbedWT')", 'seed=0,1'],
  )
  methods = 'tuning.methods=SoftPT-Un+EmbedWT'
  assert [run.title for run in runs] == [
    f'paper-lstm-single_coin,{methods},seed=0',
    f'paper-lstm-single_coin,{methods},seed=1',
    f'quick,{methods},seed=0',
    f'quick,{methods},seed=1',
  ]
  assert runs[1].flags == (
    '--config=configs/paper.py:lstm,single_coin',
    "--config.tuning.methods=('SoftPT', 'Un+EmbedWT')",
    '--config.seed=1',
  )


def test_a_long_name_is_a_short_one_with_a_hash():
  runs = sweep_grid.build(
    ['configs/quick.py', 'lstm,single_coin'],
    ['tuning.learning_rate=1e-3,5e-3', 'seed=0,1'],
  )
  names = [run.name for run in runs]
  assert len(set(names)) == len(names)
  assert max(map(len, names)) <= 40
  assert names[0] == 'quick,tuning.learning_rate=0.001,seed=0'
  for name in names[4:]:
    assert re.fullmatch('paper-lstm-single_coin-[0-9a-f]{8}', name)


def test_a_name_does_not_depend_on_the_other_runs():
  many = sweep_grid.build(['a.py', 'b.py:x'], ['seed=0,1', 'y.z=1,2'])
  (one,) = sweep_grid.build(['b.py:x'], ['seed=1', 'y.z=2'])
  assert one in many


@pytest.mark.parametrize(
  'config, values',
  [
    ('dir/../.odd name.py:a/b\\c:d*?', ['x']),
    ('-x.py', ['"../../etc"', '"..."']),
    ('long.py', [str((i,) * 100) for i in range(3)]),
  ],
)
def test_names_are_safe_on_any_file_system(config, values):
  runs = sweep_grid.build([config], [f'field={",".join(values)}'])
  for run in runs:
    assert re.fullmatch(r'[A-Za-z0-9_][A-Za-z0-9_.,+=-]*', run.name)
    assert len(run.name) <= 40
    assert not run.name.endswith(('.', '-'))
  assert len({run.name for run in runs}) == len(values)


@pytest.mark.parametrize(
  'configs, axes, name',
  [
    (['a.py', 'a.py'], [], 'a'),
    (['x/a.py', 'y/a.py'], [], 'a'),
    (['a.py', 'A.py'], [], 'A'),
    (['networks.py'], [], 'networks'),
    (['logs.py'], [], 'logs'),
    (['a.py'], ['m=((1,),2),(1,(2,))'], 'm=1-2'),
  ],
)
def test_two_runs_never_share_a_folder(configs, axes, name):
  with pytest.raises(errors.UserError, match='would both be kept') as caught:
    sweep_grid.build(configs, axes)
  assert name in str(caught.value)


def test_a_field_has_one_axis():
  with pytest.raises(errors.UserError, match='--set=seed: given twice'):
    sweep_grid.build(['a.py'], ['seed=0', 'config.seed=1'])


# Mistakes, before anything is run or written.


MISTAKES = {
  'no such file': (['--configs=nope.py'], 'nope.py'),
  'not a configuration': (['--configs=BAD'], 'get_config()'),
  'argument': (['--configs=configs/paper.py:lst,single_coin'], "'lst'"),
  'unknown field': (['--configs=SMALL', '--set=sed=0'], 'seed'),
  'wrong type': (
    ['--configs=SMALL', '--set=seed=0,x'],
    'seed: must be a whole',
  ),
  'later run': (['--configs=SMALL', '--set=seed=0,-1'], 'seed=-1: seed: must'),
  'built': (['--configs=SMALL', '--set=network.torso.name=lsmt'], 'lstm?'),
  'the same': (
    ['--configs=SMALL', '--configs=SMALL:single_coin'],
    'the same configuration',
  ),
  'axis': (['--configs=SMALL', '--set=seed'], 'FIELD=VALUE'),
  'time': (['--configs=SMALL', '--cluster=slurm'], 'timeout_min'),
  'parameter': (
    ['--configs=SMALL', '--cluster=slurm', '--slurm=gpu'],
    'NAME=VALUE',
  ),
}


@pytest.mark.parametrize('name', MISTAKES)
def test_mistakes_are_found_before_the_first_run(
  start, small, tmp_path, monkeypatch, name
):
  bad = tmp_path / 'bad.py'
  bad.write_text('def get_config(): return 7\n')
  monkeypatch.setattr(sweep_jobs, 'execute', None)
  arguments, fragment = MISTAKES[name]
  arguments = [
    text.replace('SMALL', str(small)).replace('BAD', str(bad))
    for text in arguments
  ]
  with pytest.raises(errors.UserError) as caught:
    start(*arguments)
  assert fragment in str(caught.value)
  assert '\n' not in str(caught.value)
  assert not (tmp_path / 'runs').exists()


def test_a_folder_of_another_configuration_is_found_first(
  start, small, tmp_path, monkeypatch
):
  monkeypatch.setattr(sweep_jobs, 'execute', None)
  folder = tmp_path / 'runs' / 'small,seed=1'
  folder.mkdir(parents=True)
  (folder / 'config.json').write_text('{"config": {"seed": 2}}')
  with pytest.raises(errors.UserError, match='another configuration'):
    start(f'--configs={small}', '--set=seed=0,1')
  assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_help_needs_no_jax():
  done = subprocess.run(
    [sys.executable, '-X', 'importtime', '-m', 'launch.sweep', '--help'],
    cwd=ROOT,
    env={**os.environ, 'PYTHONPATH': str(ROOT)},
    capture_output=True,
    text=True,
  )
  assert done.returncode == 0
  for name in ('--configs', '--set', '--workdir', '--cluster', '--slurm'):
    assert name in done.stdout
  assert not re.search(r'\| +(jax|flax|xarray|submitit)\b', done.stderr)


# Runs on this machine.


def test_a_local_sweep_runs_all_and_then_nothing(
  start, small, tmp_path, monkeypatch
):
  arguments = (f'--configs={small}', '--set=seed=0,1')
  code, out = start(*arguments, '--dry_run')
  assert code == 0
  assert f'-m launch.experiment --config={small} --config.seed=0' in out
  assert {state for state, *_ in states(out).values()} == {sweep_jobs.NEW}
  assert not (tmp_path / 'runs').exists()

  names = ['small,seed=0', 'small,seed=1']
  code, out = start(*arguments)
  assert code == 0, out
  assert states(out) == {name: (sweep_jobs.FINISHED,) for name in names}
  # Which folder holds what, and what came out, in one table at the end.
  noted = json.loads((tmp_path / 'runs/runs.json').read_text())
  assert noted == {
    name: {'config': str(small), 'settings': {'seed': str(seed)}}
    for seed, name in enumerate(names)
  }
  table = out.split('\n\n')[-1].splitlines()
  header = next(line for line in table if 'PreBayes' in line)
  assert header.split()[0] == 'seed'
  assert [line.split()[:2] for line in table[-2:]] == [
    [name, str(seed)] for seed, name in enumerate(names)
  ]
  compared = pd.read_csv(tmp_path / 'runs/comparison.csv')
  assert set(compared.run) == set(names)
  assert set(compared.seed) == {0, 1}
  assert {'PreBayes', 'Oracle'} <= set(compared.tuner)
  for seed, name in enumerate(names):
    record = json.loads((tmp_path / 'runs' / name / 'config.json').read_text())
    assert record['config']['seed'] == seed
    assert (tmp_path / 'runs' / name / 'results.nc').exists()
    assert 'PreBayes' in (tmp_path / 'runs/logs' / f'{name}.log').read_text()

  monkeypatch.setattr(sweep_jobs, 'execute', None)
  code, out = start(*arguments)
  assert code == 0
  assert states(out) == {
    name: (sweep_jobs.SKIPPED, 'finished before') for name in names
  }


ENDINGS = """
import os, signal, sys
seed = int(sys.argv[1])
print('progress 10%\\rprogress 20%')
if seed == 1:
  sys.exit('error: tuning.target: unknown')
if seed == 2:
  os.kill(os.getpid(), signal.SIGKILL)
if seed == 3:
  {}['key']
if seed == 4:
  sys.exit(130)
"""


@pytest.fixture
def endings(monkeypatch):
  """Runs end in a way of their seed's, at once."""
  monkeypatch.setattr(
    sweep_jobs,
    'command',
    lambda run, root: [sys.executable, '-c', ENDINGS, run.name[-1]],
  )


def test_a_failed_run_says_why_and_does_not_stop_the_others(
  start, small, endings
):
  code, out = start(f'--configs={small}', '--set=seed=1,2,3,0')
  assert code == 1
  assert states(out) == {
    'small,seed=1': (sweep_jobs.FAILED, 'tuning.target: unknown'),
    'small,seed=2': (sweep_jobs.FAILED, 'ended by SIGKILL, out of memory?'),
    'small,seed=3': (sweep_jobs.FAILED, "KeyError: 'key'"),
    'small,seed=0': (sweep_jobs.FINISHED,),
  }


def test_an_interrupt_stops_the_sweep(start, small, endings):
  with pytest.raises(KeyboardInterrupt):
    start(f'--configs={small}', '--set=seed=4,0')


def test_whoever_ends_the_sweep_ends_its_run(small, tmp_path, monkeypatch):
  file = tmp_path / 'pid'
  run = sweep_grid.SweepRun('name', 'title', 'x.py', ())
  code = f"""
import os, pathlib, signal, time
pathlib.Path({str(file)!r}).write_text(str(os.getpid()))
os.kill(os.getppid(), signal.SIGTERM)
time.sleep(60)
"""
  monkeypatch.setattr(
    sweep_jobs, 'command', lambda *_: [sys.executable, '-c', code]
  )
  with flagsaver.flagsaver(), interruption.watching():
    flags.FLAGS(['sweep', '--configs=x', '--workdir=y'])
    with pytest.raises(interruption.Interrupted) as caught:
      sweep._run([run], tmp_path)
  assert caught.value.code == 143
  with pytest.raises(ProcessLookupError):
    os.kill(int(file.read_text()), 0)


# Slurm.


@pytest.fixture
def slurm(monkeypatch):
  """A fake submitit: what was submitted, and what Slurm says of it."""
  world = types.SimpleNamespace(submitted={}, parameters={}, state='PENDING')

  class Job:
    def __init__(self, folder, job_id):
      self.job_id, self.state = job_id, world.state

    def done(self):
      return self.state not in ('PENDING', 'RUNNING', 'UNKNOWN')

  class Executor:
    def __init__(self, folder, cluster):
      assert cluster == 'slurm'
      self.folder = folder

    def update_parameters(self, **values):
      if 'slurm_nope' in values:
        raise NameError("Unknown argument 'nope'.\nKnown executors: local")
      world.parameters = values

    def batch(self):
      return contextlib.nullcontext()

    def submit(self, function):
      if world.state == 'REFUSED':
        raise RuntimeError('sbatch: invalid\npartition')
      job = Job(self.folder, f'7_{len(world.submitted)}')
      world.submitted[job.job_id] = function
      return job

  fake = types.SimpleNamespace(
    AutoExecutor=Executor,
    SlurmJob=Job,
    helpers=types.SimpleNamespace(DelayedSubmission=lambda job: ('again', job)),
  )
  monkeypatch.setitem(sys.modules, 'submitit', fake)
  return world


@pytest.fixture
def on_slurm(start, small):
  return lambda *arguments: start(
    f'--configs={small}',
    '--set=seed=0,1',
    '--cluster=slurm',
    '--slurm=timeout_min=60',
    '--slurm=partition=gpu',
    '--slurm=nodelist=a,b',
    *arguments,
  )


def test_jobs_are_submitted_once(slurm, on_slurm):
  code, out = on_slurm()
  assert code == 0
  assert states(out) == {
    'small,seed=0': (sweep_jobs.SUBMITTED, 'job 7_0'),
    'small,seed=1': (sweep_jobs.SUBMITTED, 'job 7_1'),
  }
  assert slurm.parameters == {
    'name': 'runs',
    'timeout_min': 60,
    'slurm_partition': 'gpu',
    'slurm_nodelist': 'a,b',
  }
  for slurm.state in ('PENDING', 'RUNNING', 'UNKNOWN'):
    _, out = on_slurm()
    assert {state for state, _ in states(out).values()} == {sweep_jobs.ACTIVE}
    assert f'job 7_0, {slurm.state}' in out
    assert ('delete' in out) == (slurm.state == 'UNKNOWN')
  assert len(slurm.submitted) == 2


def test_a_job_that_ended_without_results_is_submitted_again(
  slurm, on_slurm, tmp_path
):
  on_slurm()
  log = tmp_path / 'runs' / 'logs' / 'small,seed=0.log'
  log.write_text('error: no such device\n')
  slurm.state = 'FAILED'
  code, out = on_slurm('--dry_run')
  assert code == 1
  assert states(out) == {
    'small,seed=0': (sweep_jobs.FAILED, 'job 7_0, FAILED: no such device'),
    'small,seed=1': (sweep_jobs.FAILED, 'job 7_1, FAILED'),
  }
  assert len(slurm.submitted) == 2
  code, out = on_slurm()
  assert code == 0
  assert states(out)['small,seed=1'] == (sweep_jobs.SUBMITTED, 'job 7_3')


def test_a_job_runs_the_command_and_fails_with_its_reason(
  slurm, on_slurm, endings
):
  on_slurm()
  good, bad = slurm.submitted.values()
  good()
  with pytest.raises(RuntimeError, match=r'^tuning.target: unknown$'):
    bad()
  assert good.checkpoint() == ('again', good)


def test_a_job_leaves_slurm_s_warnings_to_submitit(tmp_path):
  code = 'import os, signal; os.kill(os.getpid(), signal.SIGUSR2); print("on")'
  sweep_jobs.Job([sys.executable, '-c', code], str(tmp_path / 'log'))()
  assert (tmp_path / 'log').read_text() == 'on\n'


def test_what_slurm_refuses_is_one_line(slurm, on_slurm, tmp_path):
  with pytest.raises(errors.UserError, match=r"^--slurm: .*'nope'\.$"):
    on_slurm('--slurm=nope=3')
  slurm.state = 'REFUSED'
  with pytest.raises(errors.UserError, match='invalid partition'):
    on_slurm()
  assert not list((tmp_path / 'runs').rglob('*.job'))


def test_without_submitit_it_says_what_to_install(on_slurm, monkeypatch):
  monkeypatch.setitem(sys.modules, 'submitit', None)
  with pytest.raises(errors.UserError, match='pip install submitit'):
    on_slurm()
