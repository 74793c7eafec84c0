"""Runs a whole experiment: meta-train, tune by every method, evaluate.

    python -m launch.experiment --config=configs/quick.py --workdir=runs/demo

Run again with the same arguments, it goes on where it was, or shows what it
found. The same from Python: `bayes_prompting.experiment.run(config, workdir)`.
"""

from absl import flags

from launch import cli

_OVERWRITE = cli.define_overwrite()
flags.adopt_module_key_flags(cli)


def main(argv):
  del argv
  # Imported late, so that --help and mistakes in flags need no JAX.
  from bayes_prompting import experiment

  dataset = experiment.run(
    cli.CONFIG.value, cli.WORKDIR.value, _OVERWRITE.value
  )
  cli.show(dataset, cli.WORKDIR.value)


def start():
  cli.run(main)


if __name__ == '__main__':
  start()
