"""Which prompts are best, and are they like what they are for?

    bayes-prompting run --config=prompts:WORLD,NETWORK \
        --workdir=runs/small/prompts-WORLD-NETWORK

WORLD is what a network is pretrained on, with a target:
  coins      coins of all kinds, and a coin of 0.8,
  markov     chains of all kinds, and one whose two rows differ,
  switching  coins that are replaced every twenty tosses, and a coin of 0.65,
  faster     the same coins, and more extreme ones that are replaced more often.
NETWORK is lstm or transformer; `,quick` behind it makes everything smaller
still. All 64 hard prefixes of six tokens are scored, by networks and by exact
Bayes. Each predictor scores them twice, on other sequences, which says what
chance does to a ranking. Networks are as small as those of `configs/novel.py`.
`docs/experiments/prompts.md` says what to expect.
"""

from bayes_prompting import settings
from bayes_prompting.configs import novel

_COINS = {'name': 'dirichlet_categorical', 'concentration': (1.0, 1.0)}
_CHAINS = {'name': 'dirichlet_markov', 'order': 1, 'concentration': (1.0, 1.0)}
_SWITCHING = {
  'name': 'switching',
  'hazard': 0.05,
  'concentration': (1.0, 1.0),
}

# What a network is pretrained on, and what it is then prompted for.
WORLDS = {
  'coins': (_COINS, {'name': 'categorical', 'probabilities': (0.2, 0.8)}),
  'markov': (
    _CHAINS,
    {
      'name': 'markov_mixture',
      'weights': (1.0,),
      'tables': (((0.7, 0.3), (0.1, 0.9)),),
    },
  ),
  'switching': (
    _SWITCHING,
    {'name': 'categorical', 'probabilities': (0.35, 0.65)},
  ),
  'faster': (
    _SWITCHING,
    {'name': 'switching', 'hazard': 0.3, 'concentration': (0.5, 0.5)},
  ),
}


def get_config(arguments: str = 'coins,lstm'):
  """Returns the configuration for `WORLD,NETWORK` and what may follow."""
  world, network, is_quick = novel.split(
    'prompts.py', 'WORLD', arguments, WORLDS
  )
  config = settings.base_config()
  novel.small(config, network, *WORLDS[world])
  config.tuning.methods = ('PreBayes', 'PreBayesPT', 'NoTuning', 'HardPT')
  config.tuning.num_repetitions = 2
  if is_quick:
    novel.quick(config)
  return config
