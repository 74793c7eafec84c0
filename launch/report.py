"""Writes a report that one can open in a browser, of a run or of many.

    python -m launch.report --workdir=runs/demo

The workdir is a run's folder (config.json, results.nc), or one that holds
several. The page, report.html in it, is whole in itself: it needs no network
and no other file. Nothing is trained or evaluated. The same from Python:
`bayes_prompting.report.write(workdir)`.
"""

from absl import flags

from launch import flags as launch_flags

flags.declare_key_flag('workdir')


def main(argv):
  del argv
  if launch_flags.CONFIG.present:
    launch_flags.fail(
      '--config: a report needs none, it reads what the runs recorded'
    )
  # Imported late, so that --help and mistakes in flags need no JAX.
  from bayes_prompting.reporting import page

  path = page.write(launch_flags.path(launch_flags.WORKDIR))
  print(f'Report   {path} ({path.stat().st_size / 1e6:.1f} MB)')


def start():
  launch_flags.run(
    main, required={'workdir': 'runs/demo'}, compiles=False, resumes=False
  )


if __name__ == '__main__':
  start()
