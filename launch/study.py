"""What the scripts of studies share: a plan, its rows, and its claims judged.

A study's script says what its plan is, and what it claims (`Script`). All else
is the same for every study, the flags included.
"""

from collections.abc import Callable, Sequence
import fnmatch
import pathlib
import re
import sys
from typing import Any, NamedTuple

from absl import flags

from bayes_prompting import checks
from bayes_prompting.settings import plans
from bayes_prompting.system import console

from . import flags as launch_flags

_EXPERIMENTS = flags.DEFINE_list(
  'experiments',
  ['*'],
  'Names, or patterns such as lstm-*, with commas between; --list shows them. '
  '* leaves out what is only run if it is asked for by name.',
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
QUICK = flags.DEFINE_bool(
  'quick', False, 'Everything in small: another experiment, a first look.'
)
_RESULTS = flags.DEFINE_string(
  'results',
  None,
  'Folder of the rows and of what is made of them; results/STUDY, or with '
  '--quick the workdir.',
)
_MERGE = flags.DEFINE_multi_string(
  'merge', [], 'Add the rows of this networks.csv, and run nothing.'
)
_JUDGE_ONLY = flags.DEFINE_bool(
  'judge_only', False, 'Run nothing: make claims, figures and page of the rows.'
)
launch_flags.define_allow_plugins()
flags.declare_key_flag('workdir')
flags.declare_key_flag('allow_plugins')

# Experiments that an error names.
_NAMED = 8
_SMALL = "Not at the study's settings, which the bounds are made for."

Plan = Sequence[plans.Planned]


class Script(NamedTuple):
  """What differs between the scripts of studies.

  Attributes:
    name: Of the study, and of its folders in `runs` and `results`.
    plan: Returns what is run, and what is run only if it is asked for by name.
    study: Returns the study (`studies.study.Study`); imports what needs JAX.
    also: Does more, given what was chosen, the workdir and the results' folder.
  """

  name: str
  plan: Callable[[], tuple[Plan, Plan]]
  study: Callable[[], Any]
  also: Callable[[Plan, pathlib.Path, pathlib.Path], None] | None = None


def _chosen(plan, by_name):
  """Returns what of a plan the flags ask for."""
  if not _EXPERIMENTS.value:
    launch_flags.fail('--experiments: empty; leave it out for all of them')
  everything = (*plan, *by_name)
  names = list(dict.fromkeys(planned.name for planned in everything))
  for pattern in _EXPERIMENTS.value:
    if not fnmatch.filter(names, pattern):
      launch_flags.fail(
        f'--experiments: no experiment {pattern!r}; there are '
        f'{", ".join(names[:_NAMED])} and others, see --list'
      )
  if _EXPERIMENTS.value == ['*']:
    everything = plan
  chosen = [
    planned
    for planned in everything
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
    return range(min(2, planned.networks) if QUICK.value else planned.networks)
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


def _units(chosen, configs, unit, refused):
  """Returns the work: all experiments of the first network, then the next."""
  methods = {}
  for planned in chosen:
    config = configs[planned.name]
    names = [
      x
      for x in planned.methods
      if (not _METHODS.value or x in _METHODS.value)
      # A quick configuration leaves some methods out.
      and (not QUICK.value or x in config.tuning.methods)
    ]
    seeds = _seeds(planned)
    if planned.where_allowed and names and seeds:
      names = _allowed(planned.name, config, names, refused)
    for seed in seeds:
      wanted = methods.setdefault((seed, planned.name), {})
      wanted |= dict.fromkeys(names)
  return [
    unit(name, seed, tuple(names))
    for (seed, name), names in sorted(
      methods.items(), key=lambda item: item[0][0]
    )
    if names
  ]


def _allowed(experiment, config, names, refused):
  """Returns the methods that its network takes; says which it refuses."""
  config = config.copy_and_resolve_references()
  config.tuning.methods = tuple(names)
  left_out = refused(config, allow_plugins=True)
  for why in left_out.values():
    console.say(f'Left out  {experiment}: {why}')
  return [x for x in names if x not in left_out]


def _configs(plan):
  return {planned.name: planned.config(QUICK.value) for planned in plan}


def _print_plan(chosen):
  for planned in chosen:
    seeds = _seeds(planned)
    if not seeds:
      continue
    print(
      f'{planned.name}: networks {seeds.start} to {seeds.stop - 1}, '
      f'{", ".join(planned.methods)}'
      + ', where the network allows it' * planned.where_allowed
      + f' ({planned.repetitions} times each)' * (planned.repetitions > 1)
    )


def main(script: Script) -> None:
  """Runs what has no row yet, and writes what is made of the rows."""
  launch_flags.refuse_config('this script has configurations of its own')
  plan, by_name = script.plan()
  chosen = _chosen(plan, by_name)
  if _LIST.value:
    _print_plan(chosen)
    return
  # Imported late, so that --help and mistakes in flags need no JAX.
  from bayes_prompting.experiment import build
  from bayes_prompting.experiment import by_network
  from bayes_prompting.results import evidence
  from bayes_prompting.studies import study

  workdir = pathlib.Path(launch_flags.WORKDIR.value or f'runs/{script.name}')
  if QUICK.value and not launch_flags.WORKDIR.value:
    launch_flags.fail_without('workdir', 'runs/quick')
  workdir = workdir.expanduser()
  into = workdir if QUICK.value else pathlib.Path(f'results/{script.name}')
  into = pathlib.Path(_RESULTS.value or into).expanduser()
  failed = []
  for path in _MERGE.value:
    checks.path('--merge', path)
    print(f'{evidence.merge(into, path)} new rows from {path}')
  if not _MERGE.value and not _JUDGE_ONLY.value:
    configs = _configs(chosen)
    units = _units(chosen, configs, by_network.Unit, build.refused)
    failed = by_network.collect(configs, units, workdir, into)
  if failed and evidence.read(into).empty:
    _end(failed)
  if script.also:
    script.also(chosen, workdir, into)
  ran = {*evidence.read(into).experiment}
  configs = _configs([x for x in (*plan, *by_name) if x.name in ran])
  note = _SMALL if QUICK.value else ''
  judged = study.write(script.study(), into, configs, note)
  print(f'\n{study.text(judged)}\n')
  if note:
    print(f'{note}\n')
  for title, name in (
    ('Page   ', 'README.md'),
    ('Report ', 'report.html'),
    ('Claims ', 'claims.csv'),
    ('Figures', 'figures'),
  ):
    if (into / name).exists():
      print(f'{title} {into / name}')
  if failed:
    _end(failed)


def _end(failed):
  """Ends the script, and says which networks have failed."""
  names = ', '.join(f'{x.experiment} {x.seed}' for x in failed)
  console.say(f'Failed  {names}', error=True)
  sys.exit(1)
