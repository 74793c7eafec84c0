r"""Runs many experiments: configurations times values of fields.

    bayes-prompting sweep --workdir=runs/sweep \
        --configs=lstm,single_coin --configs=transformer,single_coin \
        --set=tuning.learning_rate=1e-3,5e-3 --set=seed=0,1,2

In a checkout also `python -m launch.sweep`. These twelve runs go one after
another, or all at once as jobs of a cluster:

    ... --cluster=slurm --slurm=partition=gpu --slurm=gpus_per_node=1 \
        --slurm=timeout_min=240

Each run is kept in a folder of its own below the workdir, with a short name: of
what it is, as `quick,seed=0`, or of its configuration and a hash, as
`paper-lstm-single_coin-1f0c93ab`. `runs.json` says which folder holds which
run; what they print goes to `logs/`. Started again, a sweep leaves alone what
is finished or in Slurm's hands, and goes on with the rest; --dry_run shows
where it stands. It ends with a table of what was compared, which
`comparison.csv` has in full. The exit code is 1 if a run has failed.

On Slurm, what is left is submitted as one job array, and the script returns. At
a timeout (three times at most) or a preemption a job is queued again, and goes
on with what it had not finished. A run is not submitted while Slurm says that
its job, noted in `logs/`, waits or runs, nor while it says nothing. Of two that
work in one run's folder the second ends with an error, but two sweeps that
submit in the same moment are not kept apart. A job reads its configuration file
when it starts, so leave that alone until then. Jobs that start together and
need the same network each train it, and the first one's is kept.
"""

import shlex
import sys
import time

from absl import flags

from bayes_prompting.system import console

from . import flags as launch_flags
from . import sweep_grid
from . import sweep_jobs

_CONFIGS = flags.DEFINE_multi_string(
  'configs',
  None,
  'A configuration as --config of the other scripts takes it, e.g. '
  'lstm,single_coin. Repeat the flag for more.',
)
_SET = flags.DEFINE_multi_string(
  'set',
  [],
  'A field and its values, e.g. seed=0,1,2: Python literals, or plain words '
  "such as constant,cosine; e.g. tuning.methods=('SoftPT',),('FullWT',) has "
  'two. Repeat the flag for more fields: every combination is run.',
)
_CLUSTER = flags.DEFINE_enum(
  'cluster', 'local', ['local', 'slurm'], 'Where the runs go.'
)
_SLURM = flags.DEFINE_multi_string(
  'slurm',
  [],
  "A parameter of submitit's for Slurm, e.g. partition=gpu or timeout_min=240 "
  '(which is required). Repeat the flag for more.',
)
_DRY_RUN = flags.DEFINE_bool(
  'dry_run', False, 'Show where the runs stand and what would be run, no more.'
)
flags.declare_key_flag('workdir')


def _where_they_stand(runs, root):
  """Checks every run, then returns each one's status."""
  configs = sweep_grid.validate(runs)
  statuses = {
    run: sweep_jobs.status(run, root, configs[run.name]) for run in runs
  }
  for run, status in statuses.items():
    if status.state == sweep_jobs.FINISHED:
      statuses[run] = sweep_jobs.Status(sweep_jobs.SKIPPED, 'finished before')
  left = [run for run in runs if statuses[run].state != sweep_jobs.SKIPPED]
  for run, status in sweep_jobs.jobs(left, root).items():
    if status is not None:
      statuses[run] = status
  return statuses


def _run_local(runs, root):
  """Runs one after another; yields each one's status."""
  for number, run in enumerate(runs, 1):
    log = sweep_jobs.log_path(run, root)
    print(f'[{number}/{len(runs)}] {run.title}  (log: {log})', flush=True)
    started = time.monotonic()
    status = sweep_jobs.execute(sweep_jobs.command(run, root), str(log))
    seconds = time.monotonic() - started
    print(f'  {status.state} after {seconds:.0f} s', flush=True)
    yield run, status


def _run(runs, root):
  """Runs, or submits; returns each one's status."""
  if _CLUSTER.value == 'slurm':
    executor = sweep_jobs.executor(root, _SLURM.value)
    sweep_jobs.prepare(runs, root)
    return sweep_jobs.submit(runs, root, executor)
  sweep_jobs.prepare(runs, root)
  return dict(_run_local(runs, root))


def _print_table(statuses):
  """Prints where results are, and every run with its settings and state."""
  print(f'\nResults  {launch_flags.WORKDIR.value}/*/results.nc')
  rows = [('run', *(field for field, _ in next(iter(statuses)).settings))]
  rows += [
    (run.name, *(value for _, value in run.settings)) for run in statuses
  ]
  widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
  head, *texts = (
    '  '.join(f'{x:<{n}}' for x, n in zip(row, widths, strict=True))
    for row in rows
  )
  print(f'\n{head}  state')
  for text, status in zip(texts, statuses.values(), strict=True):
    print(f'{text}  {status.state:<9}  {status.detail}'.rstrip())


def _compare(runs, root):
  """Prints what came out of the runs that are finished, and writes it down."""
  from bayes_prompting.results import comparison

  settings = {
    run.name: {'config': run.config, **dict(run.settings)} for run in runs
  }
  with console.optional('comparison'):
    compared = comparison.read(root, settings)
    if len(compared):
      comparison.save(compared, root / sweep_grid.COMPARISON)
      fields = next(iter(settings.values()))
      print(f'\n{comparison.text(compared, list(fields))}')


def main(argv):
  del argv
  launch_flags.refuse_config('a sweep takes --configs, once for each')
  root = launch_flags.path(launch_flags.WORKDIR)
  if _SLURM.value and _CLUSTER.value != 'slurm':
    launch_flags.fail('--slurm: needs --cluster=slurm')
  runs = sweep_grid.build(_CONFIGS.value, _SET.value)
  statuses = _where_they_stand(runs, root)
  leave = (sweep_jobs.SKIPPED, sweep_jobs.ACTIVE)
  left = [run for run in runs if statuses[run].state not in leave]
  if _DRY_RUN.value:
    for run in left:
      print(shlex.join(['python', *sweep_jobs.command(run, root)[1:]]))
  elif left:
    statuses.update(_run(left, root))
  _print_table(statuses)
  if not _DRY_RUN.value:
    _compare(runs, root)
  if any(status.state == sweep_jobs.FAILED for status in statuses.values()):
    sys.exit(1)


def start():
  launch_flags.run(
    main,
    required={'configs': 'quick', 'workdir': 'runs/sweep'},
    compiles=False,
  )


if __name__ == '__main__':
  start()
