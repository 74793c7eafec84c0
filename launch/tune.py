"""Tunes pretrained networks to the target by every method, and stops there.

    python -m launch.tune --config=configs/quick.py --workdir=runs/demo

The networks come from `launch.pretrain` in the same workdir, or from any
earlier run beside it with the same pretraining.
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
  networks = experiment.meta_train(lab, folder, require=True)
  tuned = experiment.tune(lab, networks, folder)
  print(f'{len(tuned)} tuned methods (by seed) in {folder.path}/checkpoints')


def start():
  cli.run(main)


if __name__ == '__main__':
  start()
