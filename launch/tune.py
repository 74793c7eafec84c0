"""Tunes pretrained networks to the target, and stops there.

    bayes-prompting tune --config=quick --workdir=runs/demo

In a checkout also `python -m launch.tune`. The networks come from `pretrain` in
the same workdir, or from any earlier run beside it with the same pretraining.
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
  networks = run.meta_train(lab, folder, require=True)
  tuned = run.tune(lab, networks, folder)
  print(f'{len(tuned)} tuned methods (by seed) in {folder.path}/checkpoints')


def start():
  launch_flags.run(main)


if __name__ == '__main__':
  start()
