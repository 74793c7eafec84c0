"""A language model asked to predict what a task prior draws, written as text.

    bayes-prompting language-model --get=smollm2
    bayes-prompting run --config=language_model:coin --workdir=runs/lm/coin

The argument is what is drawn, and tuned to: one of `TARGETS`. `PreBayes` is
exact Bayes of the uniform prior over such sources (Laplace's rule, for coins):
what a model that knew no more than the format could reach without tuning.
Options may follow, with commas between, at most one of each line:
  k1, k20            the prompt has so many rows, and not six,
  n16, n64, n256     tuning has so many sequences of the target, not 1024,
  shown16, shown64   so many tokens of the source stand before what is scored,
  said1 to said5     the text of `INSTRUCTIONS` stands before everything else,
  textgenrnn         the model is textgenrnn's, two small layers of LSTM, and
                     symbols are single characters,
  quick              everything is small: another, cheaper experiment.

Another model is a GGUF file or a folder, as in
`--config.network.language_model.name=models/llama.gguf`. SmolLM2-135M takes
0.54 GB; what is tuned is small beside it, FullWT apart. textgenrnn is fetched
by `--get=textgenrnn`; it has no DeepPT, which needs attention.

`bayes-prompting language-study` runs what `plan` says, and judges the claims.
`docs/experiments/language_study.md` says more, and what it takes.
"""

import functools

from bayes_prompting import errors
from bayes_prompting import settings
from bayes_prompting.settings import arguments as preset_arguments
from bayes_prompting.settings import plans

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
_BEGINNING = '<|im_start|>'
# What somebody might say of the coin, in the order of `said1` to `said5`.
INSTRUCTIONS = (
  'The results of many tosses of a coin:',
  'A biased coin is tossed again and again. H is heads, T is tails. Tosses:',
  'A coin shows H with probability 0.2 and T with probability 0.8. Tosses:',
  'Of ten tosses, two are H and eight are T. Every toss is independent of the '
  'others. Tosses:',
  'user\nToss a coin that shows T four times as often as H.'
  '<|im_end|>\n<|im_start|>assistant\n',
)
# Each behind the token that stands before everything else without one.
_SAID = {
  f'said{i}': _BEGINNING + text for i, text in enumerate(INSTRUCTIONS, 1)
}
_ROWS = {'k1': 1, 'k20': 20}
_SIZES = {f'n{size}': size for size in (16, 64, 256)}
_SHOWN = {f'shown{size}': size for size in (16, 64)}
_SMALL = {'textgenrnn': 'textgenrnn'}  # In place of SmolLM2.
_GROUPS = (_ROWS, _SIZES, _SHOWN, _SAID, _SMALL)

_AS_IT_IS = 'PreBayes', 'NoTuning'
METHODS = (
  *_AS_IT_IS,
  'HardPT',
  'SoftPT',
  'DeepPT',
  'LoRAWT',
  'SoftPT+LoRAWT',
)
_ALPHA = 1.2  # Over a rank of 4.
_OF_ATTENTION = ('DeepPT',)  # The state of LSTM has no entries for positions.
# Of the model, which is the same: tunings with other random numbers.
TUNINGS = 3


def get_config(arguments: str = 'coin'):
  """Returns the configuration for a target, and what may follow."""
  (target,), options = preset_arguments.split(
    'language_model.py',
    arguments,
    {'TARGET': TARGETS},
    (*(name for group in _GROUPS for name in group), 'quick'),
  )
  for group in _GROUPS:
    several = [x for x in options if x in group]
    if len(several) > 1:
      raise errors.UserError(
        f'language_model.py:TARGET,...: at most one of {", ".join(group)}, got '
        f'{" and ".join(several)}'
      )
  if target != 'coin' and (said := [x for x in options if x in _SAID]):
    raise errors.UserError(
      f'language_model.py:TARGET,...: {said[0]!r} tells of the coin, got '
      f'{target!r}'
    )

  def chosen(group, otherwise):
    return next((group[x] for x in options if x in group), otherwise)

  model = chosen(_SMALL, 'smollm2')
  context = chosen(_SAID, '')
  if context and model in _SMALL:
    raise errors.UserError(
      f'language_model.py:TARGET,...: {model!r} knows no token '
      f'{_BEGINNING!r}, with which an instruction begins'
    )
  symbols, prior, source = TARGETS[target]
  if model in _SMALL:
    symbols = tuple(x.strip() for x in symbols)
  shown = chosen(_SHOWN, 0)
  if shown:
    source = {
      'name': 'demonstrations',
      'task': source,
      'num': shown,
      'length': 1,
      'of': 'source',
    }
  config = settings.base_config()
  with config.unlocked():
    config.tasks = {'all_sources': prior, target: source}
    # A matrix of LoRA's learns at 0.3 of the rate of a prompt's rows.
    config.methods.LoRAWT.alpha = _ALPHA
    config.methods['SoftPT+LoRAWT'].tuners.LoRAWT.alpha = _ALPHA
  config.network.language_model = settings.spec(
    model, symbols=symbols, separator='', context=context
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
  if model in _SMALL:
    tuning.methods = tuple(x for x in METHODS if x not in _OF_ATTENTION)
  tuning.prefix_init = ('random_token',)
  tuning.prefix_length = chosen(_ROWS, 6)
  tuning.num_sequences = chosen(_SIZES, 0)
  tuning.num_repetitions = 1
  tuning.batch_size = 8
  tuning.num_steps = 128
  tuning.schedule = 'cosine'
  tuning.learning_rate = 1e-2
  tuning.search_draws = 16
  evaluation.tasks = (target,)
  evaluation.num_sequences = 64
  # A prompt's tokens and the scored ones are as many as were tuned to, and
  # twice as many.
  pretraining.length = evaluation.length = 2 * tuning.length
  if 'quick' in options:
    tuning.num_steps = 20
    tuning.methods = ('PreBayes', 'NoTuning', 'SoftPT')
    evaluation.num_sequences = 16
    evaluation.length = tuning.length
  return config


def plan() -> tuple[plans.Planned, ...]:
  """Returns what is run."""
  planned = functools.partial(plans.Planned, get_config, networks=TUNINGS)
  two = 'SoftPT', 'LoRAWT'
  return (
    planned('coin', methods=METHODS),
    planned('two_coins', methods=tuple(x for x in METHODS if x != 'DeepPT')),
    *(
      planned(f'{x},textgenrnn', methods=(*_AS_IT_IS, *two, 'FullWT'))
      for x in ('coin', 'two_coins')
    ),
    *(planned(x, methods=(*_AS_IT_IS, *two)) for x in ('die', 'chain')),
    *(planned(f'coin,{x}', methods=_AS_IT_IS) for x in (*_SAID, *_SHOWN)),
    *(planned(f'coin,{rows}', methods=('SoftPT',)) for rows in _ROWS),
    *(planned(f'coin,{size}', methods=two) for size in _SIZES),
  )
