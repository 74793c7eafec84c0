"""Writes a report that a browser opens, of one run or of many.

    bayes-prompting report --workdir=runs/demo

In a checkout also `python -m launch.report`. The workdir is a run's folder
(config.json, results.nc), or one that holds several. The page, report.html in
it, needs no network and no other file. It opens with the answer: which method
lost least on each task, by how much, and how sure that is. From Python:
`bayes_prompting.reporting.page.write(workdir)`.

    bayes-prompting report --study=diversity --workdir=runs/diversity

draws the figures of a study instead. The workdir then is a folder of runs of
the preset with that name. Neither trains or evaluates anything.
"""

import importlib

from absl import flags

from . import flags as launch_flags

_STUDY = flags.DEFINE_enum(
  'study',
  None,
  ['data', 'diversity', 'novel', 'prompts'],
  'Draw the figures of this study.',
)
_INTO = flags.DEFINE_string(
  'into',
  None,
  'Folder for PNG and PDF of --study; figures/ of the workdir without it.',
)
launch_flags.define_allow_plugins()
flags.declare_key_flag('workdir')
flags.declare_key_flag('allow_plugins')


def _draw(folder):
  into = launch_flags.path(_INTO) if _INTO.value else folder / 'figures'
  study = importlib.import_module(
    f'bayes_prompting.studies.{_STUDY.value}.figure'
  )
  paths = study.make_all(folder, into)
  if not paths:
    launch_flags.fail(
      f'--workdir: {str(folder)!r} holds no finished run of this study'
    )
  for path in paths:
    print(f'Figure   {path}')


def main(argv):
  del argv
  launch_flags.refuse_config('a report reads what the runs recorded')
  folder = launch_flags.path(launch_flags.WORKDIR)
  if _STUDY.value and not folder.is_dir():
    launch_flags.fail(f'--workdir: no folder {str(folder)!r}')
  if _STUDY.value:
    return _draw(folder)
  if _INTO.value:
    launch_flags.fail('--into: goes with --study')
  # Imported late, so that --help and mistakes in flags need no JAX.
  from bayes_prompting.reporting import page

  path = page.write(folder)
  print(f'Report   {path} ({path.stat().st_size / 1e6:.1f} MB)')


def start():
  launch_flags.run(
    main, required={'workdir': 'runs/demo'}, compiles=False, resumes=False
  )


if __name__ == '__main__':
  start()
