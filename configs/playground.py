"""The small networks of the playground, and their prompts.

    bayes-prompting run --config=playground:NETWORK,TARGET \
        --workdir=runs/playground/NETWORK-TARGET

NETWORK is lstm or transformer, which know coins of every bias, or dice, an LSTM
that knows three-sided dice of every kind. TARGET is one of `TARGETS` for it.
Networks have width 32. Each run takes some minutes on two CPU cores; runs of
one NETWORK share what was pretrained. What comes with the package is made by

    bayes-prompting playground --workdir=runs/playground \
        --pack=bayes_prompting/dynamics/playground/networks

once all runs of `PLAN` are finished. Expect of SoftPT up to 0.12 nats above
exact Bayes at step 50 on a single coin or die, and more than 0.4 on two of
them. LoRAWT comes within 0.01 there.
"""

from bayes_prompting import checks
from bayes_prompting import settings
from bayes_prompting.configs import paper
from bayes_prompting.settings import arguments as preset_arguments

_COINS = {
  'any_coin': settings.spec('dirichlet_categorical', concentration=(1.0, 1.0)),
  'coin_20': settings.spec('categorical', probabilities=(0.8, 0.2)),
  'coin_50': settings.spec('categorical', probabilities=(0.5, 0.5)),
  'coin_80': settings.spec('categorical', probabilities=(0.2, 0.8)),
  'two_coins': settings.spec(
    'categorical_mixture',
    weights=(0.5, 0.5),
    probabilities=((0.8, 0.2), (0.2, 0.8)),
  ),
}
_DICE = {
  'any_die': settings.spec(
    'dirichlet_categorical', concentration=(1.0, 1.0, 1.0)
  ),
  'loaded_die': settings.spec('categorical', probabilities=(0.1, 0.2, 0.7)),
  'two_dice': settings.spec(
    'categorical_mixture',
    weights=(0.5, 0.5),
    probabilities=((0.7, 0.2, 0.1), (0.1, 0.2, 0.7)),
  ),
}
# The torso of each network, and its tasks: that of pretraining comes first, and
# the last is a mixture, which no prompt makes it believe in.
NETWORKS = {
  'lstm': ('lstm', _COINS),
  'transformer': ('transformer', _COINS),
  'dice': ('lstm', _DICE),
}
TARGETS = {name: tuple(tasks)[1:] for name, (_, tasks) in NETWORKS.items()}
PLAN = tuple(
  f'{name},{target}' for name, targets in TARGETS.items() for target in targets
)


def get_config(arguments: str = 'lstm,coin_80'):
  """Returns the configuration for `NETWORK,TARGET`."""
  parts = {'NETWORK': NETWORKS, 'TARGET': ()}
  (name, target), _ = preset_arguments.split('playground.py', arguments, parts)
  checks.one_of('playground.py:NETWORK,TARGET: TARGET', target, TARGETS[name])
  torso, tasks = NETWORKS[name]
  config = settings.base_config()
  with config.unlocked():
    config.tasks = dict(tasks)
  paper.set_torso(config, torso, 32)
  config.pretraining.task, *_ = tasks
  config.pretraining.num_steps = 2000
  config.pretraining.batch_size = 128
  config.pretraining.learning_rate = 3e-3
  config.pretraining.schedule = 'cosine'
  config.tuning.target = target
  config.tuning.num_steps = 3000
  config.tuning.batch_size = 128
  config.tuning.schedule = 'cosine'
  config.tuning.num_repetitions = 1
  config.tuning.methods = ('NoTuning', 'SoftPT')
  if target == TARGETS[name][-1]:
    config.tuning.methods += ('LoRAWT',)
  config.evaluation.tasks = (target,)
  config.evaluation.num_sequences = 512
  config.evaluation.length = config.pretraining.length
  return config
