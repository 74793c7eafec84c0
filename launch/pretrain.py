"""Meta-trains the networks of a configuration, and stops there.

    bayes-prompting pretrain --config=quick --workdir=runs/demo

In a checkout also `python -m launch.pretrain`.
"""

from absl import flags

from . import flags as launch_flags
from . import presets

_OVERWRITE = launch_flags.define_overwrite()
flags.adopt_module_key_flags(launch_flags)


def main(argv):
  del argv
  from bayes_prompting.experiment import run

  lab, folder = run.open_run(
    launch_flags.CONFIG.value,
    launch_flags.WORKDIR.value,
    _OVERWRITE.value,
    preset=presets.started_from(),
  )
  for seed, network in enumerate(run.meta_train(lab, folder)):
    losses = network.get('losses', ())
    loss = f'loss {losses[-1]:.3f} nats' if len(losses) else 'untrained'
    print(f'Pretrained seed {seed}: {loss}, in {folder.pretrained(seed)}')


def start():
  launch_flags.run(main)


if __name__ == '__main__':
  start()
