"""What is claimed of every architecture, with bounds set beforehand.

Bounds of regrets are those of the paper's claims (`studies.paper.claims`).
What is asked of a Bayesian predictor is 3% of what exact Bayes itself loses to
the source within as many tokens: 1.90 nats on coins and 2.97 on chains, in
closed form, and 8.3 on switching coins, by 4096 sequences.
"""

from collections.abc import Iterable

import pandas as pd

from bayes_prompting.claims import judge as judging
from bayes_prompting.studies.paper import claims as paper_claims

# Nats within `PRETRAINING` tokens, by world.
IS_BAYES = {'coins': 0.05, 'chains': 0.09, 'switching': 0.25}
# Nats: what `IS_BAYES` of coins leaves for each token.
SAME = 5e-4
REACHES, CLOSE = paper_claims.REACHES, paper_claims.CLOSE
LITTLE = paper_claims.LITTLE
# A quarter of the 1.130 that exact Bayes loses, untuned, from step 50 to 500.
LASTS = 0.28
TUNING, PRETRAINING, LAST = 50, 100, 500  # Steps.
UPDATES = (100, 300, 1000)  # Of pretraining.

DEEP = '_deep'
COINS = '{network}-coins'
_MIXTURE = '{network}-coins-mixture'
UNTRAINED = '{network}-coins-untrained'
_SINGLE_WHY = (
  f'{REACHES} nats are a thirtieth of the 1.477 that exact Bayes, untuned, '
  'loses there'
)
_WORLDS = {
  'coins': 'random coins',
  'chains': 'chains of order 1',
  'switching': 'switching coins',
}


def _target(tuner, experiment=COINS, step=TUNING):
  return judging.Mean(tuner, experiment, step, 'target')


def _one(means):
  return means['it']


def _later(tuner, experiment):
  """Returns what a tuner has lost at both ends of the steps beyond tuning."""
  return {
    f'{tuner} {step}': _target(tuner, experiment, step)
    for step in (TUNING, LAST)
  }


def _lost_later(means, tuner='SoftPT'):
  return means[f'{tuner} {LAST}'] - means[f'{tuner} {TUNING}']


def _soft_lasts():
  """Claims that SoftPT of a trained network holds on beyond its tuning."""

  def share(means):
    return _lost_later(means) / _lost_later(means, 'NoTuning')

  return {
    'name': 'soft_lasts',
    'text': f'Single coin: SoftPT degrades only slightly up to step {LAST}',
    'quantity': (
      f'what SoftPT loses from step {TUNING} to {LAST}, as a share of what the '
      'same network loses there without it'
    ),
    'means': _later('SoftPT', COINS) | _later('NoTuning', COINS),
    'value': share,
    'unit': 'share',
    'bound': judging.Bound('<', LITTLE),
    'reason': 'a quarter of what there is to lose',
  }


def _of_worlds():
  return [
    {
      'name': f'is_bayes_{world}',
      'text': f'The network is a Bayesian predictor of {title}',
      'quantity': (
        f'KL from the posterior predictive, summed over {PRETRAINING} tokens'
      ),
      'means': {
        'it': judging.Mean(
          'NoTuning', f'{{network}}-{world}', PRETRAINING, 'world'
        )
      },
      'value': _one,
      'bound': judging.Bound('<', IS_BAYES[world]),
      'reason': '3% of what exact Bayes itself loses there',
    }
    for world, title in _WORLDS.items()
  ]


def _of_coins():
  return [
    {
      'name': 'exchangeable',
      'text': 'What it expects of a coin goes by counts, not by their order',
      'quantity': (
        f'spread of its predictions over orders of {TUNING} tosses '
        '(Jensen-Shannon divergence)'
      ),
      'means': {
        'it': judging.Mean(
          'NoTuning', COINS, TUNING, 'world', 'reorderings', 'spread'
        )
      },
      'value': _one,
      'bound': judging.Bound('<', SAME),
      'reason': f'{IS_BAYES["coins"]} nats over {PRETRAINING} tokens, for one',
    },
    {
      'name': 'soft_reaches',
      'text': 'Single coin: SoftPT reaches the Bayes predictor of the target',
      'quantity': f'SoftPT above TargetBayes, after {TUNING} steps',
      'means': {'it': _target('SoftPT')},
      'value': _one,
      'bound': judging.Bound('<', REACHES),
      'reason': _SINGLE_WHY,
    },
    {
      'name': 'soft_beats_hard',
      'text': 'Single coin: SoftPT beats the best hard prefix of the network',
      'quantity': f'SoftPT minus HardPT, after {TUNING} steps',
      'means': {'it': _target('SoftPT'), 'other': _target('HardPT')},
      'value': lambda m: m['it'] - m['other'],
      'scale': 'linear',
      'bound': judging.Bound('<', -REACHES),
      'reason': f'better, and by more than {REACHES} nats',
    },
    {
      'name': 'state_gains_little',
      'text': 'Single coin: setting the state itself gains little over SoftPT',
      'quantity': f'SoftPT minus StatePT, after {TUNING} steps',
      'means': {'it': _target('SoftPT'), 'other': _target('StatePT')},
      'value': lambda m: m['it'] - m['other'],
      'scale': 'linear',
      'bound': judging.Bound('<', REACHES),
      'reason': _SINGLE_WHY,
    },
    _soft_lasts(),
    {
      'name': 'soft_does_not_reach',
      'text': 'Two-coin mixture: SoftPT does not reach ln 2',
      'quantity': f'SoftPT above TargetBayes, after {TUNING} steps',
      'means': {'it': _target('SoftPT', _MIXTURE)},
      'value': _one,
      'bound': judging.Bound('>', REACHES),
      'reason': paper_claims.MIXTURE_WHY,
    },
    *(
      {
        'name': f'{tuner.lower()}_reaches',
        'text': f'Two-coin mixture: {tuner} reaches ln 2',
        'quantity': f'{tuner} above TargetBayes, after {TUNING} steps',
        'means': {'it': _target(tuner, _MIXTURE)},
        'value': _one,
        'bound': judging.Bound('<', REACHES),
        'reason': paper_claims.MIXTURE_WHY,
      }
      for tuner in ('LoRAWT', 'FullWT')
    ),
    {
      'name': 'untrained_is_close',
      'text': 'Untrained network, single coin: SoftPT comes close to optimal',
      'quantity': f'SoftPT above TargetBayes, after {TUNING} steps',
      'means': {'it': _target('SoftPT', UNTRAINED)},
      'value': _one,
      'bound': judging.Bound('<', CLOSE),
      'reason': f'{CLOSE} nats are a tenth of the 1.477 of exact Bayes',
    },
    {
      'name': 'untrained_lasts',
      'text': f'Untrained network: SoftPT stays close up to step {LAST}',
      'quantity': (
        f'what SoftPT loses to TargetBayes from step {TUNING} to {LAST}'
      ),
      'means': _later('SoftPT', UNTRAINED),
      'value': _lost_later,
      'bound': judging.Bound('<', LASTS),
      'reason': (
        f'{LASTS} nats are a quarter of what exact Bayes, untuned, loses there'
      ),
    },
  ]


def claims(torsos: Iterable[str]) -> tuple[judging.Claim, ...]:
  """Returns the claims about some torsos, of one and of two layers each."""
  networks = tuple(x + deep for x in torsos for deep in ('', DEEP))
  return tuple(
    judging.Claim(networks=networks, **claim)
    for claim in (*_of_worlds(), *_of_coins())
  )


def torsos_of(table: pd.DataFrame) -> list[str]:
  """Returns the torsos that rows of evidence are about, as they come."""
  networks = dict.fromkeys(x.split('-')[0] for x in table.experiment)
  return list(dict.fromkeys(x.removesuffix(DEEP) for x in networks))
