"""What is claimed of tuners, with bounds set beforehand.

A difference of 0.05 nats is the paper's own bound (`studies.paper.claims`).
"""

from collections.abc import Iterable

import numpy as np

from bayes_prompting.claims import judge as judging
from bayes_prompting.studies.paper import claims as paper_claims

WITHIN = paper_claims.REACHES  # Nats.
TUNING, PRETRAINING, LAST = 50, 100, 200  # Steps.
FEW, MOST = 16, 10_000  # Sequences of the target.
WORLDS = {
  'coins': 'coins',
  'chains': 'chains of order 1',
  'switching': 'switching coins',
}
_DATA_WORLD = 'coins'
_WHY = f'{WITHIN} nats are what the paper calls reached'
_FACTOR = 2.0


def _at(tuner, world, target, few=False):
  """Returns the regret on the target at the tuning length."""
  experiment = f'{{network}}-{world}-{target}' + f'-n{FEW}' * few
  return judging.Mean(tuner, experiment, TUNING, 'target')


def _reaches(tuner, world, target):
  return {
    'quantity': f'{tuner} above TargetBayes, after {TUNING} steps',
    'means': {'it': _at(tuner, world, target)},
    'value': lambda means: means['it'],
    'reason': _WHY,
  }


def _minus(tuner, other, world, target, few=False):
  return {
    'quantity': f'{tuner} minus {other}, after {TUNING} steps',
    'means': {
      'it': _at(tuner, world, target, few),
      'other': _at(other, world, target, few),
    },
    'value': lambda means: means['it'] - means['other'],
    'scale': 'linear',
    'reason': f'a difference of more than {WITHIN} nats',
  }


def _of_world(world, title):
  reached, not_reached = judging.Bound('<', WITHIN), judging.Bound('>', WITHIN)
  both = {
    x: _at(x, world, 'mixture') for x in ('SoftPT', 'LoRAWT', 'SoftPT+LoRAWT')
  }
  home = f'{{network}}-{world}-source'
  forgets = {
    x: judging.Mean(x, home, PRETRAINING, 'world') for x in ('SoftPT', 'FullWT')
  }
  return [
    {
      'name': f'prompt_reaches_{world}',
      'text': f'One source, {title}: SoftPT reaches its Bayes predictor',
      'bound': reached,
      **_reaches('SoftPT', world, 'source'),
    },
    {
      'name': f'prompt_misses_mixture_{world}',
      'text': f'A mixture, {title}: SoftPT does not reach its Bayes predictor',
      'bound': not_reached,
      **_reaches('SoftPT', world, 'mixture'),
    },
    {
      'name': f'weights_reach_mixture_{world}',
      'text': f'A mixture, {title}: LoRAWT reaches its Bayes predictor',
      'bound': reached,
      **_reaches('LoRAWT', world, 'mixture'),
    },
    {
      'name': f'prompt_misses_novel_{world}',
      'text': f'A novel task, {title}: SoftPT does not reach its optimum',
      'bound': not_reached,
      **_reaches('SoftPT', world, 'novel'),
    },
    {
      'name': f'weights_reach_novel_{world}',
      'text': f'A novel task, {title}: LoRAWT reaches its optimum',
      'bound': reached,
      **_reaches('LoRAWT', world, 'novel'),
    },
    {
      'name': f'both_gain_little_{world}',
      'text': f'A mixture, {title}: a prompt adds little to LoRA',
      'quantity': (
        'the better of SoftPT and LoRAWT, minus both together, after '
        f'{TUNING} steps'
      ),
      'means': both,
      'value': lambda means: (
        np.minimum(means['SoftPT'], means['LoRAWT']) - means['SoftPT+LoRAWT']
      ),
      'scale': 'linear',
      'bound': judging.Bound('<', WITHIN),
      'reason': f'{WITHIN} nats are a difference that the paper counts',
    },
    {
      'name': f'prompt_forgets_less_{world}',
      'text': f'One source, {title}: with SoftPT less is forgotten than FullWT',
      'quantity': (
        'what the network loses on its pretraining task with FullWT, over what '
        f'it loses with SoftPT, within {PRETRAINING} tokens'
      ),
      'means': forgets,
      'value': lambda means: means['FullWT'] / means['SoftPT'],
      'bound': judging.Bound('>', _FACTOR),
      'reason': 'half as much is what is called less here',
      'unit': 'ratio',
    },
  ]


def _of_data():
  where = _DATA_WORLD, 'source'
  return [
    {
      'name': 'few_want_a_prompt',
      'text': f'One coin, {FEW} sequences of it: SoftPT beats LoRAWT',
      'bound': judging.Bound('<', -WITHIN),
      **_minus('SoftPT', 'LoRAWT', *where, few=True),
    },
    {
      'name': 'many_want_weights',
      'text': f'One coin, {MOST} sequences of it: LoRAWT is as good as SoftPT',
      'bound': judging.Bound('<', WITHIN),
      **_minus('LoRAWT', 'SoftPT', *where),
    },
  ]


def claims(networks: Iterable[str]) -> tuple[judging.Claim, ...]:
  """Returns the claims about some kinds of network."""
  networks = tuple(networks)
  every = [x for name, title in WORLDS.items() for x in _of_world(name, title)]
  return tuple(
    judging.Claim(networks=networks, **claim) for claim in every + _of_data()
  )
