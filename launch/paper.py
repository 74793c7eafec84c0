r"""Reproduces the paper: its experiments, figures, and a verdict on each claim.

    python -m launch.paper --workdir=runs/paper             # hours on a GPU
    python -m launch.paper --workdir=runs/small --quick     # minutes on a CPU

Each experiment of `configs/paper.py` is run in a folder of its own below the
workdir; they share pretrained networks. What is finished is not run again, so
that the same command goes on where it was. At the end the claims are judged by
all that is finished in the workdir: `claims.csv`, `claims.md`, `summary.csv` of
all runs, figures, and `report.html`. The exit code is 1 if an experiment has
failed.

    ... --experiments='lstm-single_coin,*-two_coin_mixture' --num_seeds=3 \
        --num_repetitions=1

runs a part of it, and sets its size. With few resources more networks with
fewer repetitions each say more than one network with many.
"""

import fnmatch
import sys

from absl import flags

from launch import flags as launch_flags

# Networks, or tunings of each, of which there is memory enough.
_USUAL = 10

_EXPERIMENTS = flags.DEFINE_list(
  'experiments',
  ['*'],
  'Names, or patterns such as lstm-*, with commas between; --list shows them. '
  'With --quick, * leaves out the larger networks and what no claim is about.',
)
_LIST = flags.DEFINE_bool('list', False, 'Show the experiments, and end.')
_QUICK = flags.DEFINE_bool(
  'quick', False, 'Everything in small: another experiment, not the paper.'
)
_NUM_SEEDS = flags.DEFINE_integer(
  'num_seeds', None, 'Pretrained networks; 3, or 2 with --quick.', 1
)
_NUM_REPETITIONS = flags.DEFINE_integer(
  'num_repetitions', None, 'Tunings of each; 10, or 1 with --quick.', 1
)
_JUDGE_ONLY = flags.DEFINE_bool(
  'judge_only',
  False,
  'Run nothing: judge all that is finished in the workdir, whatever else is '
  'asked for, and write the report.',
)
_EXPORT = flags.DEFINE_string(
  'export',
  None,
  'Also copy the small files (tables, figures, versions) to this folder.',
)
launch_flags.define_allow_plugins()
flags.declare_key_flag('workdir')
flags.declare_key_flag('allow_plugins')


def _chosen(names):
  """Returns the names that any pattern of `--experiments` matches."""
  if not _EXPERIMENTS.value:
    launch_flags.fail('--experiments: empty; leave it out for all of them')
  for pattern in _EXPERIMENTS.value:
    if not fnmatch.filter(names, pattern):
      launch_flags.fail(
        f'--experiments: no experiment {pattern!r}; there are '
        f'{", ".join(names)}'
      )
  return [
    name
    for name in names
    if any(fnmatch.fnmatchcase(name, p) for p in _EXPERIMENTS.value)
  ]


def _config(paper, arguments):
  """Returns the configuration of an experiment, at the size that is wanted."""
  config = paper.get_config(arguments + ',quick' * _QUICK.value)
  config.pretraining.num_seeds = _NUM_SEEDS.value or (2 if _QUICK.value else 3)
  if _NUM_REPETITIONS.value:
    config.tuning.num_repetitions = _NUM_REPETITIONS.value
  return config


def _check_sizes(configs):
  """Refuses before anything what needs more memory than there is."""
  asked = (_NUM_SEEDS.value or 0, _NUM_REPETITIONS.value or 0)
  if max(asked) <= _USUAL:
    return  # To build all of them takes a minute.
  from bayes_prompting import errors
  from bayes_prompting.experiment import build
  from bayes_prompting.experiment import memory

  for name, config in configs.items():
    try:
      memory.check(build.build(config))
    except errors.UserError as error:
      raise errors.UserError(f'{name}: {error}') from None


def main(argv):
  del argv
  if launch_flags.CONFIG.present:
    launch_flags.fail('--config: this script has configurations of its own')
  from configs import paper

  arguments = {paper.name(x): x for x in paper.EXPERIMENTS}
  names = _chosen(list(arguments))
  if _QUICK.value and _EXPERIMENTS.value == ['*']:
    names = [name for name in names if arguments[name] not in paper.LAST]
  if _LIST.value:
    print('\n'.join(names))
    return
  if not launch_flags.WORKDIR.value:
    launch_flags.fail_without('workdir', 'runs/paper')
  # Imported late, so that --help and mistakes in flags need no JAX.
  from bayes_prompting.claims import tables
  from bayes_prompting.reporting import page_claims
  from bayes_prompting.results import runs
  from bayes_prompting.storage import workdir
  from bayes_prompting.studies.paper import reproduce

  folder = launch_flags.path(launch_flags.WORKDIR)
  export = launch_flags.path(_EXPORT) if _EXPORT.value else None
  if export:
    # Before hours of training end in a folder that cannot be written.
    runs.prepare_export(export)
  if _JUDGE_ONLY.value:
    if not folder.is_dir() or not runs.runs(folder):
      launch_flags.fail(
        f'--workdir: {str(folder)!r} holds no finished run to judge'
      )
    table, failed = reproduce.collect(folder), []
  else:
    configs = {name: _config(paper, arguments[name]) for name in names}
    _check_sizes(configs)
    table, failed = reproduce.run(
      configs,
      folder,
      inside=[name for name in names if arguments[name] in paper.MAIN],
      common={'quick': _QUICK.value},
    )
  print(f'\n{tables.text(table)}')
  smaller = page_claims.smaller(
    workdir.read_config(x.path) for x in runs.runs(folder).values()
  )
  if smaller:
    print(f"Not at the paper's settings, which bounds are made for: {smaller}.")
  print()
  for title, name in (
    ('Report  ', 'report.html'),
    ('Claims  ', 'claims.csv'),
    ('Summary ', 'summary.csv'),
    ('Figures ', 'figures'),
  ):
    if (folder / name).exists():
      print(f'{title} {launch_flags.WORKDIR.value}/{name}')
  if export:
    runs.export(folder, export)
    print(f'Export   {_EXPORT.value}')
  if failed:
    print(f'Failed   {", ".join(failed)}', file=sys.stderr)
    sys.exit(1)


def start():
  launch_flags.run(main, required={})


if __name__ == '__main__':
  start()
