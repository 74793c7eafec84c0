"""Meta-trains the networks of a configuration, and stops there.

python -m launch.pretrain --config=configs/quick.py --workdir=runs/demo
"""

from absl import flags

from launch import cli

_OVERWRITE = cli.define_overwrite()
flags.adopt_module_key_flags(cli)


def main(argv):
  del argv
  from bayes_prompting import experiment

  lab, folder = experiment.open_run(
    cli.CONFIG.value, cli.WORKDIR.value, _OVERWRITE.value
  )
  for seed, network in enumerate(experiment.meta_train(lab, folder)):
    losses = network.get('losses', ())
    loss = f'loss {losses[-1]:.3f} nats' if len(losses) else 'untrained'
    print(f'Pretrained seed {seed}: {loss}, in {folder.pretrained(seed)}')


def start():
  cli.run(main)


if __name__ == '__main__':
  start()
