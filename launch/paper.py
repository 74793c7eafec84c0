r"""Reproduces the paper: experiments, figures, a verdict on each claim.

    bayes-prompting paper --workdir=runs/paper             # hours on a GPU
    bayes-prompting paper --workdir=runs/small --quick     # minutes on a CPU

In a checkout also `python -m launch.paper`. Each experiment of the preset
`paper` runs in a folder of its own below the workdir; the experiments share
pretrained networks. A finished experiment is not run again, so the same command
goes on where it was. At the end the claims are judged by all finished runs in
the workdir. It then holds `claims.csv`, `claims.md`, `summary.csv` of all runs,
figures, and `report.html`. The exit code is 1 if an experiment has failed.

    ... --experiments='lstm-single_coin,*-two_coin_mixture' --num_seeds=3 \
        --num_repetitions=1

runs some of the experiments, and sets their size. With few resources, many
networks with few repetitions each say more than one network with many.
"""

import fnmatch
import sys

from absl import flags

from bayes_prompting.system import console

from . import flags as launch_flags

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


def main(argv):
  del argv
  launch_flags.refuse_config('this script has configurations of its own')
  from bayes_prompting.configs import paper

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
  from bayes_prompting.results import runs
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
    if max(_NUM_SEEDS.value or 0, _NUM_REPETITIONS.value or 0) > _USUAL:
      reproduce.check_sizes(configs)  # A minute, to build all of them.
    table, failed = reproduce.run(
      configs,
      folder,
      inside=[name for name in names if arguments[name] in paper.MAIN],
      common={'quick': _QUICK.value},
    )
  print(f'\n{reproduce.text(table, folder)}\n')
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
    console.say(f'Failed   {", ".join(failed)}', error=True)
    sys.exit(1)


def start():
  launch_flags.run(main, required={})


if __name__ == '__main__':
  start()
