"""How a run of a sweep is run: here, or as a job of Slurm's by submitit."""

from collections.abc import Sequence
import dataclasses
import json
import pathlib
import signal
import subprocess
import sys
from typing import Any

from bayes_prompting import errors
from bayes_prompting.system import files
from bayes_prompting.system import interruption

from . import sweep_grid

# States of a run.
NEW, BEGUN, FINISHED = 'new', 'begun', 'finished'
SKIPPED, FAILED = 'skipped', 'failed'
SUBMITTED, ACTIVE = 'submitted', 'active'

_INTERRUPTED = (128 + signal.SIGINT, 128 + signal.SIGTERM)
# Starts a command that is deaf to the signals before a timeout or preemption:
# they reach every process of a job, and a run that dies of one would be taken
# for a failed one before submitit has asked Slurm to start the job again.
_DEAF = ('sh', '-c', 'trap "" USR1 USR2 TERM; exec "$@"', 'sh')
# Parameters of submitit's that are not Slurm's alone; those are prefixed.
_GENERAL = (
  'name',
  'timeout_min',
  'mem_gb',
  'nodes',
  'cpus_per_task',
  'gpus_per_node',
  'tasks_per_node',
  'stderr_to_stdout',
)


@dataclasses.dataclass(frozen=True)
class Status:
  """Where a run stands.

  Attributes:
    state: One of those above.
    detail: A line about it.
  """

  state: str
  detail: str = ''


def command(run: sweep_grid.SweepRun, root: pathlib.Path) -> list[str]:
  """Returns what a run is, as one would type it."""
  module = [sys.executable, '-m', f'{__package__}.experiment']
  return [*module, *run.flags, f'--workdir={root / run.name}']


def log_path(run: sweep_grid.SweepRun, root: pathlib.Path) -> pathlib.Path:
  """Returns where a run's output goes: its own folder must start empty."""
  return root / 'logs' / f'{run.name}.log'


def status(
  run: sweep_grid.SweepRun, root: pathlib.Path, config: dict[str, Any]
) -> Status:
  """Returns whether a run's folder is new, begun or finished.

  Raises:
    UserError: If it holds anything else.
  """
  from bayes_prompting.settings import plain
  from bayes_prompting.storage import workdir

  folder = workdir.Workdir(root / run.name)
  if workdir.is_empty(folder.path):
    return Status(NEW)
  held = workdir.read_record(folder.path)['config']
  changed = plain.difference(plain.comparable(held), plain.comparable(config))
  if changed:
    raise errors.UserError(
      f'--workdir: {str(folder.path)!r} holds a run of another configuration '
      f'(there and here, {changed}); choose another folder, or move it aside'
    )
  return Status(FINISHED if folder.results.exists() else BEGUN)


def prepare(runs: Sequence[sweep_grid.SweepRun], root: pathlib.Path) -> None:
  """Makes the folder of logs, and notes which folder holds which run.

  Runs of other sweeps that are noted there stay.

  Raises:
    UserError: If it cannot be written.
  """
  files.make_folder(root / 'logs', '--workdir')
  files.check_writable(root / 'logs', '--workdir')
  path = root / sweep_grid.RUNS
  noted = files.read_json(path, '--workdir') if path.is_file() else {}
  noted |= {
    run.name: {'config': run.config, 'settings': dict(run.settings)}
    for run in runs
  }
  text = json.dumps(dict(sorted(noted.items())), indent=2) + '\n'
  files.write_text(path, text, '--workdir')


def execute(arguments: list[str], log: str) -> Status:
  """Runs a command in a process of its own, its output in a log.

  A process each: what one takes of the device's memory is free for the next, a
  crash or a kill ends one run alone, and that they need not compile twice is
  the compilation cache's business. It is also just what a user would type.

  Raises:
    Interrupted: If the command was, by the user or the system.
    UserError: If the log cannot be written.
  """
  try:
    file = open(log, 'w', encoding='utf-8')  # noqa: SIM115
  except OSError as error:
    raise files.refusal(log, error, '--workdir') from None
  process = None

  def pass_on(number):
    if process is not None:
      process.send_signal(number)

  # It is to have the time that it needs to write a checkpoint, and hears of it
  # from here alone: in a session of its own, no terminal or group tells it too.
  with interruption.deferred(pass_on):
    with file:
      process = subprocess.Popen(
        arguments,
        stdin=subprocess.DEVNULL,
        stdout=file,
        stderr=subprocess.STDOUT,
        start_new_session=True,
      )
    asked = interruption.requested()
    if asked is not None:  # While it was being started.
      process.send_signal(asked.number)
    code = process.wait()
  if code in _INTERRUPTED:
    raise interruption.Interrupted(code - 128)
  if code == 0:
    return Status(FINISHED)
  return Status(FAILED, _reason(code, log))


def _reason(code, log):
  """Says in one line why a command failed."""
  if code < 0:
    try:
      name = signal.Signals(-code).name
    except ValueError:  # A real-time signal has no name.
      name = f'signal {-code}'
    hint = ', out of memory?' if name == 'SIGKILL' else ''
    return f'ended by {name}{hint}'
  try:
    text = pathlib.Path(log).read_text(encoding='utf-8', errors='replace')
  except OSError as error:
    return f'exit code {code}, and no log ({files.why(error)})'
  lines = [line.strip() for line in text.splitlines() if line.strip()]
  # What we say of a mistake, or else the last line of a traceback.
  ours = [line for line in lines if line.startswith('error: ')]
  last = (ours or lines or [f'exit code {code}'])[-1]
  return last.removeprefix('error: ')[:300]


class Job:
  """A run as Slurm runs it: again from where it was, if it is moved."""

  def __init__(self, arguments: list[str], log: str):
    self.arguments, self.log = arguments, log

  def __call__(self):
    ended = execute([*_DEAF, *self.arguments], self.log)
    if ended.state == FAILED:
      raise RuntimeError(ended.detail)

  def checkpoint(self):
    """Returns what to submit at a timeout or a preemption: the same again."""
    return _submitit().helpers.DelayedSubmission(self)


def _submitit():
  try:
    import submitit
  except ImportError:
    raise errors.UserError(
      '--cluster: jobs of Slurm need submitit: pip install submitit'
    ) from None
  return submitit


def _record(run, root):
  return root / 'logs' / f'{run.name}.job'


def jobs(
  runs: list[sweep_grid.SweepRun], root: pathlib.Path
) -> dict[sweep_grid.SweepRun, Status | None]:
  """Asks Slurm for the jobs that earlier sweeps submitted.

  Returns:
    For each run ACTIVE, FAILED, or None without a job. One that Slurm says
    nothing about counts as active: better none than two in one folder.

  Raises:
    UserError: If what was noted of a job cannot be read.
  """
  submitted = {}
  for run in runs:
    path = _record(run, root)
    if path.exists():
      job_id = files.read_json(path, '--workdir').get('job_id')
      if not isinstance(job_id, str) or not job_id:
        raise errors.UserError(
          f'--workdir: {str(path)!r} names no job (job_id: {job_id!r}); if no '
          'job of the run is left, delete it'
        )
      submitted[run] = _submitit().SlurmJob(root / 'logs' / 'slurm', job_id)
  # All are known to submitit by now, so that it asks Slurm once.
  return {run: _job_status(submitted.get(run), run, root) for run in runs}


def _job_status(job, run, root):
  if job is None:
    return None
  done, state = job.done(), job.state
  if done:
    log = log_path(run, root)
    # One that ran out of time or memory has no last words.
    told = state in ('FAILED', 'COMPLETED') and log.exists()
    reason = f': {_reason(1, log)}' if told else ''
    return Status(FAILED, f'job {job.job_id}, {state}{reason}')
  hint = ''
  if state == 'UNKNOWN':
    hint = f'; if it is gone, delete {_record(run, root)}'
  return Status(ACTIVE, f'job {job.job_id}, {state}{hint}')


def executor(root: pathlib.Path, parameters: list[str]) -> Any:
  """Returns submitit's executor with the user's `NAME=VALUE` parameters.

  Raises:
    UserError: If a parameter will not do, or if there is no Slurm here.
  """
  values = {}
  for text in parameters:
    name, equals, value = text.partition('=')
    name = name.strip().removeprefix('slurm_')
    if not equals or not name.isidentifier():
      raise errors.UserError(
        f'--slurm: must be NAME=VALUE as in partition=gpu, got {text!r}'
      )
    key = name if name in _GENERAL else f'slurm_{name}'
    values[key] = sweep_grid.literal(value)
  # Its own is five minutes.
  if 'timeout_min' not in values and 'slurm_time' not in values:
    raise errors.UserError(
      '--slurm: timeout_min is missing, the minutes that one run may take'
    )
  values.setdefault('name', root.name)
  submitit = _submitit()
  try:
    slurm = submitit.AutoExecutor(root / 'logs' / 'slurm', cluster='slurm')
  except RuntimeError as error:
    raise errors.UserError(f'--cluster: no Slurm here ({error})') from None
  try:
    slurm.update_parameters(**values)
  except (AssertionError, NameError, TypeError, ValueError) as error:
    # After the first line it tells of other clusters.
    line = str(error).partition('\n')[0]
    raise errors.UserError(f'--slurm: {line}') from None
  return slurm


def submit(
  runs: list[sweep_grid.SweepRun], root: pathlib.Path, executor: Any
) -> dict[sweep_grid.SweepRun, Status]:
  """Submits runs as one job array, and notes their jobs beside the logs.

  Raises:
    UserError: If Slurm refuses them, or if one could not be noted.
  """
  try:
    with executor.batch():
      submitted = {
        run: executor.submit(Job(command(run, root), str(log_path(run, root))))
        for run in runs
      }
  except RuntimeError as error:
    line = ' '.join(str(error).split()) or 'it gave no reason'
    raise errors.UserError(f'--slurm: sbatch refused: {line}') from None
  lost = []
  for run, job in submitted.items():
    text = json.dumps({'job_id': job.job_id}) + '\n'
    try:
      files.write_text(_record(run, root), text, '--workdir')
    except errors.UserError as error:
      lost.append((job.job_id, error))
  if lost:
    # They run all the same: without this line nobody would know.
    names = ', '.join(str(job_id) for job_id, _ in lost)
    raise errors.UserError(f'{lost[0][1]}; submitted, but not noted: {names}')
  return {
    run: Status(SUBMITTED, f'job {job.job_id}')
    for run, job in submitted.items()
  }
