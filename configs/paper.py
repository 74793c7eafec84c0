"""The paper's experiments (arXiv 2505.17010), at its settings.

    bayes-prompting run --config=NETWORK,TARGET --workdir=runs/NETWORK-TARGET

NETWORK is lstm or transformer, alone or with one of these behind it:
  _untrained  it stays as it was initialised (`pretraining.num_steps=0`),
  _narrow     its embedding has width 4, not 128,
  _large      it has width 256 and two layers, not 128 and one.
TARGET is single_coin, two_coin_mixture or random_coins.

Prefixes start from one-hot rows (`tuning.prefix_init`), as in the code that the
paper published. LoRAWT of a Transformer adapts the four matrices of attention,
as there. That code refuses LoRA for LSTMs, so LoRAWT of an LSTM, which adapts
all of its matrices, is ours.

Options may follow, with commas between:
  prefix_lengths  only SoftPT runs, with prefixes of 1, 2, 4, 6, 12 and 25 rows
  normal_start    prefixes start from normal numbers
  lora_all        LoRAWT adapts all matrices of the torso
  clip_all        LoRAWT, EmbedWT and UnembedWT run; the norm that is clipped
                  is that of all weights
  search_256      HardPT scores prefixes on 256 sequences
  quick           everything is small: another, cheaper experiment

What to expect, in nats at step 50 (cumulative regret against the oracle,
paired), for a pretrained LSTM:

* single_coin: PreBayes 1.477 and PreBayesPT 0.571 exactly; SoftPT and FullWT
  under 0.05; HardPT and SimplexPT 0.5 to 0.7.
* two_coin_mixture: TargetBayes ln 2 = 0.693 and FullWT close to it; no prefix
  tuner reaches it, SoftPT about 1.1; StatePT about 1.0, and still falling (0.92
  after 4000 updates).

`bayes-prompting paper` runs what `PLAN` says and judges the paper's claims. Any
field can be overridden, e.g. `--config.tuning.num_repetitions=1`.
"""

import copy
import functools

from bayes_prompting import settings
from bayes_prompting.settings import arguments as preset_arguments
from bayes_prompting.settings import plans

TORSOS = {
  'lstm': settings.spec('lstm', width=128, num_layers=1),
  'transformer': settings.spec(
    'transformer', num_layers=1, num_heads=4, widening=4
  ),
}
# Which weights LoRAWT and its relatives adapt, by the name of the torso.
LORA_PATTERNS = {
  'lstm': ('torso',),
  'transformer': ('query', 'key', 'value', 'attention_output'),
}
KINDS = ('', '_untrained', '_narrow', '_large')
NETWORKS = tuple(torso + kind for kind in KINDS for torso in TORSOS)
TARGETS = ('single_coin', 'two_coin_mixture', 'random_coins')
# Settings in which we differ from the code that the paper published, or did.
ABLATIONS = ('normal_start', 'lora_all', 'clip_all', 'search_256')
OPTIONS = ('prefix_lengths', *ABLATIONS, 'quick')
PREFIX_LENGTHS = (1, 2, 4, 6, 12, 25)


# The methods that claims need of the networks beside the main ones.
_METHODS = {
  '_untrained': (
    'PreBayes',
    'NoTuning',
    'HardPT',
    'RealPT',
    'SoftPT',
    'FullWT',
  ),
  '_narrow': ('PreBayes', 'NoTuning', 'HardPT', 'RealPT', 'SoftPT', 'FullWT'),
  '_large': (
    'PreBayes',
    'PreBayesPT',
    'NoTuning',
    'HardPT',
    'SimplexPT',
    'RealPT',
    'SoftPT',
    'LoRAWT',
    'FullWT',
  ),
}

# Methods that no claim is about, which a quick run leaves out.
SPARE_METHODS = ('RandomPF', 'StatePT', 'EmbedWT', 'UnembedWT', 'Un+EmbedWT')


def get_config(arguments: str = 'lstm,single_coin'):
  """Returns the configuration for `NETWORK,TARGET` and what may follow."""
  parts = {'NETWORK': NETWORKS, 'TARGET': TARGETS}
  (network, target), options = preset_arguments.split(
    'paper.py', arguments, parts, OPTIONS
  )
  config = settings.base_config()
  torso = network.partition('_')[0]
  kind = network.removeprefix(torso)
  set_torso(config, torso)
  config.tuning.target = target
  if kind:
    _change_network(config, kind)
  if 'prefix_lengths' in options:
    _sweep_prefix_lengths(config)
  _ablate(config, options)
  if 'quick' in options:
    _make_quick(config, kind)
  return config


def set_torso(config, torso: str, width: int | None = None) -> None:
  """Makes the torso one of `TORSOS`, and LoRAWT the one that goes with it.

  Args:
    config: Is changed.
    torso: A name.
    width: Another width of embedding and torso, if one is given.
  """
  # A copy, so that an override does not reach the next configuration.
  config.network.torso = copy.deepcopy(TORSOS[torso])
  set_lora_patterns(config, torso)
  if width:
    set_width(config, width)


def set_lora_patterns(config, torso: str) -> None:
  """Sets the matrices of LoRAWT, of its relatives, and of LoRA with a prompt.

  Args:
    config: To change.
    torso: One of `LORA_PATTERNS`.
  """
  methods = config.methods
  relatives = methods.LoRAWT, methods.DoRAWT, methods.VeRAWT
  for spec in (*relatives, methods['SoftPT+LoRAWT'].tuners.LoRAWT):
    spec.patterns = LORA_PATTERNS[torso]


def set_width(config, width: int) -> None:
  """Sets the width of the embedding and of the torso.

  A Transformer takes its width from the embedding.
  """
  config.network.embedding_dim = width
  if 'width' in config.network.torso:
    config.network.torso.width = width


def _change_network(config, kind):
  """Makes the network one of another kind, with the methods of that kind."""
  config.tuning.methods = _METHODS[kind]
  if kind == '_untrained':
    config.pretraining.num_steps = 0
  elif kind == '_narrow':
    config.network.embedding_dim = 4
  else:
    set_width(config, 256)
    config.network.torso.num_layers = 2


def _sweep_prefix_lengths(config):
  """Makes SoftPT with each length a method of its own."""
  names = []
  with config.unlocked():
    for length in PREFIX_LENGTHS:
      names.append(f'SoftPT-{length}')
      config.methods[names[-1]] = settings.spec(
        'prefix',
        predictor='network',
        form='soft',
        length=length,
        init='@tuning.prefix_init',
      )
  config.tuning.methods = ('PreBayes', 'NoTuning', *names)


def _ablate(config, options):
  """Changes a setting, and runs the methods that it makes a difference to."""
  if 'normal_start' in options:
    config.tuning.prefix_init = ('normal',)
    config.tuning.methods = ('SimplexPT', 'RealPT', 'SoftPT')
  if 'lora_all' in options:
    config.methods.LoRAWT.patterns = ('torso',)
    config.tuning.methods = ('LoRAWT',)
  if 'search_256' in options:
    config.tuning.search_draws = 256
    config.tuning.methods = ('HardPT',)
  if 'clip_all' in options:
    config.tuning.methods = ('LoRAWT', 'EmbedWT', 'UnembedWT')
    lora = settings.spec(
      'lora', rank='@tuning.lora_rank', patterns=config.methods.LoRAWT.patterns
    )
    weights = (
      settings.spec('weights', patterns=(name,))
      for name in ('embedding', 'unembedding')
    )
    tuners = lora, *weights
    with config.unlocked():
      for name, tuner in zip(config.tuning.methods, tuners, strict=True):
        config.methods[name] = settings.spec(
          'clipped_with_all', predictor='network', tuner=tuner
        )


def _make_quick(config, kind):
  """Makes everything small: minutes, and regrets that are not the paper's."""
  # An eighth of the width; a narrow embedding stays as it is.
  embedding_dim = config.network.embedding_dim
  set_width(config, 32 if kind == '_large' else 16)
  config.network.embedding_dim = min(
    embedding_dim, config.network.embedding_dim
  )
  pretraining, tuning = config.pretraining, config.tuning
  pretraining.num_steps = min(pretraining.num_steps, 400)
  pretraining.learning_rate = 5e-3
  tuning.num_steps = 200
  tuning.learning_rate = 2e-2
  for section in (pretraining, tuning):
    section.batch_size = 64
    section.schedule = 'cosine'
  tuning.methods = tuple(x for x in tuning.methods if x not in SPARE_METHODS)
  tuning.num_repetitions = 1
  tuning.search_draws = 256
  config.evaluation.num_sequences = 256


_CLAIMED = ('NoTuning', 'HardPT', 'SimplexPT', 'RealPT', 'SoftPT')
_WEIGHTS = ('LoRAWT', 'FullWT')


def _plan_of(torso):
  """Returns what is run of one torso: what claims need, then an overview."""
  single, mixture = (f'{torso},{target}' for target in TARGETS[:2])
  planned = functools.partial(plans.Planned, get_config)
  return (
    planned(single, 20, ('NoTuning', 'SoftPT')),
    planned(single, 10, (*_CLAIMED, *_WEIGHTS)),
    planned(mixture, 10, (*_CLAIMED, *_WEIGHTS)),
    planned(
      f'{torso}_untrained,{TARGETS[0]}',
      12,
      ('NoTuning', 'HardPT', 'RealPT', 'SoftPT', 'FullWT'),
    ),
    # Six rows are the mixture's own SoftPT.
    planned(f'{mixture},prefix_lengths', 10, ('SoftPT-25',)),
    planned(f'{torso}_narrow,{TARGETS[0]}', 10, ('RealPT', 'SoftPT')),
    planned(single, 2, ('SoftPT', 'FullWT'), repetitions=10, few=True),
    *(
      planned(x, 3, ('RandomPF', 'StatePT', 'EmbedWT', 'UnembedWT'), few=True)
      for x in (single, mixture)
    ),
  )


def _ablations_of(torso):
  """Returns what is run to see what settings of ours make of the claims."""
  targets = TARGETS[:2]
  planned = functools.partial(plans.Planned, get_config, networks=2, few=True)
  options = {
    'normal_start': ('SimplexPT', 'RealPT', 'SoftPT'),
    'clip_all': ('LoRAWT', 'EmbedWT', 'UnembedWT'),
    'search_256': ('HardPT',),
  }
  if torso == 'transformer':  # An LSTM's LoRA is in all matrices anyway.
    options['lora_all'] = ('LoRAWT',)
  return tuple(
    planned(arguments=f'{torso},{target},{option}', methods=methods)
    for option, methods in options.items()
    for target in targets
  )


PLAN = tuple(
  x for torso in TORSOS for x in (*_plan_of(torso), *_ablations_of(torso))
)
# What takes a GPU: no claim rests on it alone.
PLAN_LARGE = tuple(
  plans.Planned(
    get_config, f'{torso}_large,{target}', 10, (*_CLAIMED, *_WEIGHTS)
  )
  for torso in TORSOS
  for target in TARGETS[:2]
)
# These are also looked into (`bayes_prompting.dynamics`).
MAIN = tuple(f'{torso},{target}' for torso in TORSOS for target in TARGETS[:2])
