"""A language model asked to predict what a task prior draws, written as text.

    bayes-prompting language-model --get=smollm2
    bayes-prompting run --config=language_model:coin --workdir=runs/lm-coin

The argument is one of `TARGETS`: what is drawn, and tuned to. `PreBayes` is
exact Bayes of the uniform prior over such sources (Laplace's rule, for coins):
what a model that knew no more than the format could reach without tuning. With
`,quick` behind it everything is small. Another model is a GGUF file or a
folder, as in `--config.network.language_model.name=models/llama.gguf`.

SmolLM2-135M takes 0.54 GB; what is tuned is small beside it, FullWT apart.
"""

from bayes_prompting import errors
from bayes_prompting import settings
from bayes_prompting.settings import arguments as preset_arguments

_COIN = {'name': 'categorical', 'probabilities': (0.2, 0.8)}
_COINS = {'name': 'dirichlet_categorical', 'concentration': (1.0, 1.0)}
_DIE = (0.05, 0.05, 0.1, 0.1, 0.2, 0.5)
_FACES = tuple(f' {letter}' for letter in 'ABCDEF')
_SIDES = ' H', ' T'

# By name: symbols, the prior over all such sources, and the target.
TARGETS = {
  'coin': (_SIDES, _COINS, _COIN),
  'two_coins': (
    _SIDES,
    _COINS,
    {
      'name': 'categorical_mixture',
      'weights': (0.5, 0.5),
      'probabilities': ((0.2, 0.8), (0.8, 0.2)),
    },
  ),
  'die': (
    _FACES,
    {'name': 'dirichlet_categorical', 'concentration': (1.0,) * 6},
    {'name': 'categorical', 'probabilities': _DIE},
  ),
  'chain': (
    _SIDES,
    {'name': 'dirichlet_markov', 'order': 1, 'concentration': (1.0, 1.0)},
    {
      'name': 'markov_mixture',
      'weights': (1.0,),
      'tables': (((0.9, 0.1), (0.2, 0.8)),),
    },
  ),
}
METHODS = (
  'PreBayes',
  'NoTuning',
  'SoftPT',
  'DeepPT',
  'LoRAWT',
  'SoftPT+LoRAWT',
)


def get_config(arguments: str = 'coin'):
  """Returns the configuration for a target, and `,quick` behind it."""
  (target,), options = preset_arguments.split(
    'language_model.py', arguments, {'TARGET': TARGETS}, ('quick',)
  )
  if len(options) > 1:
    raise errors.UserError('language_model.py: quick is said twice')
  symbols, pretraining_prior, source = TARGETS[target]
  config = settings.base_config()
  with config.unlocked():
    config.tasks = {'all_sources': pretraining_prior, target: source}
  config.network.language_model = settings.spec(
    'smollm2', symbols=symbols, separator='', context=''
  )
  pretraining, tuning, evaluation = (
    config.pretraining,
    config.tuning,
    config.evaluation,
  )
  pretraining.task = 'all_sources'
  pretraining.num_steps = 0
  tuning.target = target
  tuning.methods = METHODS
  tuning.prefix_init = ('random_token',)
  tuning.num_repetitions = 1
  tuning.num_steps = 200
  tuning.batch_size = 16
  evaluation.tasks = (target,)
  evaluation.num_sequences = 64
  evaluation.length = 100
  pretraining.length = 100
  if 'quick' in options:
    tuning.num_steps = 20
    tuning.batch_size = 8
    tuning.methods = ('PreBayes', 'NoTuning', 'SoftPT')
    evaluation.num_sequences = 16
    evaluation.length = tuning.length
  return config
