"""Evaluates what was tuned, and writes results, summary and figures.

    python -m launch.evaluate --config=configs/quick.py --workdir=runs/demo

Needs what `launch.pretrain` and `launch.tune` left in the same workdir.
"""

from absl import flags

from launch import cli

flags.adopt_module_key_flags(cli)


def main(argv):
  del argv
  from bayes_prompting import experiment

  lab, folder = experiment.open_run(
    cli.CONFIG.value, cli.WORKDIR.value, pretrained=True
  )
  dataset = experiment.finish(lab, folder, require=True)
  cli.show(dataset, cli.WORKDIR.value)


def start():
  cli.run(main)


if __name__ == '__main__':
  start()
