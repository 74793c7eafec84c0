r"""Reproduces the paper: evidence network by network, a verdict on each claim.

    bayes-prompting paper                            # what has no row yet
    bayes-prompting paper --judge_only               # from the rows alone
    bayes-prompting paper --quick --workdir=runs/q   # minutes; all in small

In a checkout also `python -m launch.paper`. Every network that ends adds rows
to `networks.csv` in the folder `--results`. Claims, figures and the page are
made of these rows alone, whoever computed them:

    ... --seeds=0:10 --experiments='lstm-*' --methods=SoftPT,FullWT
    ... --merge=other/networks.csv

The first line runs a part of the plan (`configs/paper.py`), or more networks
than it has; the second adds the rows of another machine. What was computed is
not computed again. Work that is stopped goes on from its last checkpoint. The
same command in several processes shares the work: start one for each core or
device. The exit code is 1 if a network has failed.
"""

import fnmatch
import pathlib
import re
import sys

from absl import flags

from bayes_prompting import checks
from bayes_prompting.system import console

from . import flags as launch_flags

_EXPERIMENTS = flags.DEFINE_list(
  'experiments',
  ['*'],
  'Names, or patterns such as lstm-*, with commas between; --list shows them. '
  '* leaves out the larger networks.',
)
_METHODS = flags.DEFINE_list(
  'methods', [], 'Names of methods, with commas between; else all of the plan.'
)
_SEEDS = flags.DEFINE_string(
  'seeds',
  None,
  'Pretraining seeds of the networks, as FIRST:END; 0:10 are the first ten. '
  'Else as many as the plan says of each experiment.',
)
_LIST = flags.DEFINE_bool('list', False, 'Show what would be run, and end.')
_QUICK = flags.DEFINE_bool(
  'quick', False, 'Everything in small: another experiment, not the paper.'
)
_RESULTS = flags.DEFINE_string(
  'results',
  None,
  'Folder of the rows and of what is made of them; results/paper, or with '
  '--quick the workdir.',
)
_MERGE = flags.DEFINE_multi_string(
  'merge', [], 'Add the rows of this networks.csv, and run nothing.'
)
_JUDGE_ONLY = flags.DEFINE_bool(
  'judge_only', False, 'Run nothing: make claims, figures and page of the rows.'
)
_DYNAMICS = flags.DEFINE_bool(
  'dynamics',
  False,
  'Also look into the first network of the main experiments, whose figures '
  'show what prompts do inside it.',
)
launch_flags.define_allow_plugins()
flags.declare_key_flag('workdir')
flags.declare_key_flag('allow_plugins')


def _all(paper):
  return (*paper.PLAN, *paper.PLAN_LARGE)


def _planned(paper):
  """Returns what of the plan the flags ask for."""
  if not _EXPERIMENTS.value:
    launch_flags.fail('--experiments: empty; leave it out for all of them')
  plan = _all(paper)
  names = list(dict.fromkeys(planned.name for planned in plan))
  for pattern in _EXPERIMENTS.value:
    if not fnmatch.filter(names, pattern):
      launch_flags.fail(
        f'--experiments: no experiment {pattern!r}; there are '
        f'{", ".join(names)}'
      )
  if _EXPERIMENTS.value == ['*']:
    plan = paper.PLAN
  chosen = [
    planned
    for planned in plan
    if any(fnmatch.fnmatchcase(planned.name, p) for p in _EXPERIMENTS.value)
  ]
  known = {method for planned in chosen for method in planned.methods}
  for method in _METHODS.value:
    if method not in known:
      launch_flags.fail(
        f'--methods: no method {method!r} is planned for these experiments; '
        f'there are {", ".join(sorted(known))}'
      )
  return chosen


def _seeds(planned):
  """Returns the networks that are wanted of an experiment."""
  if _SEEDS.value is None:
    return range(2 if _QUICK.value else planned.networks)
  match = re.fullmatch(r'(\d+):(\d+)', _SEEDS.value)
  if not match or int(match[1]) >= int(match[2]):
    launch_flags.fail(
      '--seeds: must be FIRST:END with FIRST below END, such as 0:10, got '
      f'{_SEEDS.value!r}'
    )
  last = int(match[2])
  return range(
    int(match[1]), min(last, planned.networks) if planned.few else last
  )


def _units(paper, chosen, unit):
  """Returns the work: all experiments of the first network, then the next."""
  methods = {}
  for planned in chosen:
    for seed in _seeds(planned):
      wanted = methods.setdefault((seed, planned.name), {})
      wanted |= dict.fromkeys(
        x
        for x in planned.methods
        if (not _METHODS.value or x in _METHODS.value)
        and not (_QUICK.value and x in paper.SPARE_METHODS)
      )
  return [
    unit(name, seed, tuple(names))
    for (seed, name), names in sorted(
      methods.items(), key=lambda item: item[0][0]
    )
    if names
  ]


def main(argv):
  del argv
  launch_flags.refuse_config('this script has configurations of its own')
  from bayes_prompting.configs import paper

  chosen = _planned(paper)
  if _LIST.value:
    for planned in chosen:
      seeds = _seeds(planned)
      if not seeds:
        continue
      print(
        f'{planned.name}: networks {seeds.start} to {seeds.stop - 1}, '
        f'{", ".join(planned.methods)}'
        + f' ({planned.repetitions} times each)'
        * (planned.repetitions > 1)
      )
    return
  # Imported late, so that --help and mistakes in flags need no JAX.
  from bayes_prompting.experiment import by_network
  from bayes_prompting.results import evidence
  from bayes_prompting.studies.paper import reproduce

  workdir = pathlib.Path(launch_flags.WORKDIR.value or 'runs/paper')
  if _QUICK.value and not launch_flags.WORKDIR.value:
    launch_flags.fail_without('workdir', 'runs/quick')
  into = pathlib.Path(
    _RESULTS.value or (workdir if _QUICK.value else 'results/paper')
  ).expanduser()
  failed = []
  for path in _MERGE.value:
    checks.path('--merge', path)
    print(f'{evidence.merge(into, path)} new rows from {path}')
  if not _MERGE.value and not _JUDGE_ONLY.value:
    failed = by_network.collect(
      {planned.name: planned.config(_QUICK.value) for planned in chosen},
      _units(paper, chosen, by_network.Unit),
      workdir.expanduser(),
      into,
    )
  if _DYNAMICS.value:
    reproduce.look_inside(
      {
        paper.name(x): paper.get_config(x + ',quick' * _QUICK.value)
        for x in paper.MAIN
        if any(paper.name(x) == planned.name for planned in chosen)
      },
      workdir.expanduser(),
      into,
    )
  judged = reproduce.write(
    into,
    {planned.name: planned.config(_QUICK.value) for planned in _all(paper)},
  )
  print(f'\n{reproduce.text(judged)}\n')
  if _QUICK.value:
    print("Not at the paper's settings, which the bounds are made for.\n")
  for title, name in (
    ('Page   ', 'README.md'),
    ('Report ', 'report.html'),
    ('Claims ', 'claims.csv'),
    ('Figures', 'figures'),
  ):
    if (into / name).exists():
      print(f'{title} {into / name}')
  if failed:
    names = ', '.join(f'{x.experiment} {x.seed}' for x in failed)
    console.say(f'Failed  {names}', error=True)
    sys.exit(1)


def start():
  launch_flags.run(main, required={})


if __name__ == '__main__':
  start()
