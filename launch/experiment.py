"""Runs a whole experiment: meta-train, tune by every method, evaluate.

    python -m launch.experiment --config=configs/quick.py --workdir=runs/demo

Run again with the same arguments, it goes on where it was, or shows what it
found. The same from Python: `bayes_prompting.experiment.run(config, workdir)`.
"""

from absl import flags

from launch import flags as launch_flags

_OVERWRITE = launch_flags.define_overwrite()
flags.adopt_module_key_flags(launch_flags)


def main(argv):
  del argv
  # Imported late, so that --help and mistakes in flags need no JAX.
  from bayes_prompting.experiment import run

  dataset = run.run(
    launch_flags.CONFIG.value, launch_flags.WORKDIR.value, _OVERWRITE.value
  )
  launch_flags.show(dataset, launch_flags.WORKDIR.value)


def start():
  launch_flags.run(main)


if __name__ == '__main__':
  start()
