"""Evaluates what was tuned, and writes results, summary and figures.

    python -m launch.evaluate --config=configs/quick.py --workdir=runs/demo

Needs what `launch.pretrain` and `launch.tune` left in the same workdir.
"""

from absl import flags

from launch import flags as launch_flags

flags.adopt_module_key_flags(launch_flags)


def main(argv):
  del argv
  from bayes_prompting.experiment import run

  lab, folder = run.open_run(
    launch_flags.CONFIG.value, launch_flags.WORKDIR.value, pretrained=True
  )
  dataset = run.finish(lab, folder, require=True)
  launch_flags.show(dataset, launch_flags.WORKDIR.value)


def start():
  launch_flags.run(main)


if __name__ == '__main__':
  start()
