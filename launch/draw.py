"""Draws an experiment from the results of its runs.

    python -m launch.draw --what=diversity --workdir=runs/diversity

The workdir is a folder of runs of `configs/diversity.py`, or of
`configs/data.py`. Its figure goes to figures/ in it, or to --into. Nothing is
trained or evaluated. The same from Python: `experiment_figures.make`.
"""

from absl import flags

from launch import flags as launch_flags

_WHAT = flags.DEFINE_enum(
  'what', None, ['diversity', 'data'], 'Which experiment.'
)
_INTO = flags.DEFINE_string(
  'into', None, 'Folder for PNG and PDF; figures/ of the workdir without it.'
)
launch_flags.define_allow_plugins()
flags.declare_key_flag('workdir')
flags.declare_key_flag('allow_plugins')


def main(argv):
  del argv
  if launch_flags.CONFIG.present:
    launch_flags.fail(
      '--config: a figure needs none, it reads what the runs recorded'
    )
  folder = launch_flags.path(launch_flags.WORKDIR)
  if not folder.is_dir():
    launch_flags.fail(f'--workdir: no folder {str(folder)!r}')
  # Imported late, so that --help and mistakes in flags need no JAX.
  from bayes_prompting.studies.diversity import figure as experiment_figures

  into = launch_flags.path(_INTO) if _INTO.value else folder / 'figures'
  for path in experiment_figures.make(_WHAT.value, folder, into):
    print(f'Figure   {path}')


def start():
  launch_flags.run(
    main,
    required={'what': 'diversity', 'workdir': 'runs/diversity'},
    compiles=False,
    resumes=False,
  )


if __name__ == '__main__':
  start()
