"""Runs a whole experiment: meta-training, tuning, evaluation.

    bayes-prompting run --config=quick --workdir=runs/demo

In a checkout also `python -m launch.experiment`. The same command again goes on
where it was interrupted, or shows what was found. From Python:
`bayes_prompting.run(config, workdir)`.
"""

from absl import flags

from . import flags as launch_flags
from . import presets

_OVERWRITE = launch_flags.define_overwrite()
flags.adopt_module_key_flags(launch_flags)


def main(argv):
  del argv
  # Imported late, so that --help and mistakes in flags need no JAX.
  from bayes_prompting.experiment import run

  dataset = run.run(
    launch_flags.CONFIG.value,
    launch_flags.WORKDIR.value,
    _OVERWRITE.value,
    presets.started_from(),
  )
  launch_flags.show(dataset, launch_flags.WORKDIR.value)


def start():
  launch_flags.run(main)


if __name__ == '__main__':
  start()
