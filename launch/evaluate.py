"""Evaluates what was tuned; writes results, summary and figures.

    bayes-prompting evaluate --config=quick --workdir=runs/demo

In a checkout also `python -m launch.evaluate`. It needs what `pretrain` and
`tune` left in the same workdir.
"""

from absl import flags

from . import flags as launch_flags
from . import presets

flags.adopt_module_key_flags(launch_flags)


def main(argv):
  del argv
  from bayes_prompting.experiment import run

  lab, folder = run.open_run(
    launch_flags.CONFIG.value,
    launch_flags.WORKDIR.value,
    pretrained=True,
    preset=presets.started_from(),
  )
  dataset = run.finish(lab, folder, require=True)
  launch_flags.show(dataset, launch_flags.WORKDIR.value)


def start():
  launch_flags.run(main)


if __name__ == '__main__':
  start()
