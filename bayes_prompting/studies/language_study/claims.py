"""What is claimed of a language model, with bounds set before anything was run.

Half a nat is the bound of most claims: a hundredth of a nat a token, within the
50 tokens of a sequence of tuning. It is ten times the paper's own bound
(`studies.paper.claims`), since few updates are affordable.

There is one model of each kind. What a claim calls networks are tunings of it,
with other random numbers; untuned it is the same for all of them. Claims of the
small model were set after a look at one tuning.
"""

import functools

import numpy as np

from bayes_prompting.claims import judge as judging

MODEL, SMALL = 'smollm2', 'textgenrnn'
FAR = 0.5  # Nats.
TUNING, LAST = 50, 100  # Steps.
FEW, MOST = 16, 1024  # Sequences of the target.
SIZES = (16, 64, 256)  # Of which tuning has fewer than MOST.
ROWS = (1, 20)  # Of a prompt, beside 6.
SAID = tuple(f'coin-said{i}' for i in range(1, 6))
SHOWN = 64
_WHY = f'{FAR} nats are {FAR / TUNING:g} a token'


def _at(tuner, experiment='coin', step=TUNING):
  return judging.Mean(tuner, experiment, step, experiment.partition('-')[0])


def _reaches(tuner, target):
  return {
    'quantity': f'{tuner} above Bayes of the target, after {TUNING} steps',
    'means': {'it': _at(tuner, target)},
    'value': lambda means: means['it'],
    'reason': _WHY,
  }


def _minus(it, other, quantity):
  return {
    'quantity': f'{quantity}, after {TUNING} steps',
    'means': {'it': it, 'other': other},
    'value': lambda means: means['it'] - means['other'],
    'scale': 'linear',
    'reason': _WHY,
  }


def _best(means, names):
  return functools.reduce(np.minimum, (means[x] for x in names))


def _best_said(other, quantity):
  """Returns what the best instruction loses, beyond something else."""
  return {
    'quantity': f'{quantity}, after {TUNING} steps',
    'means': {'other': other, **{x: _at('NoTuning', x) for x in SAID}},
    'value': lambda means: _best(means, SAID) - means['other'],
    'scale': 'linear',
    'reason': _WHY,
  }


def _as_it_is():
  more = judging.Bound('>', FAR)
  shown = f'coin-shown{SHOWN}'
  return [
    {
      'name': 'untuned_is_no_bayesian',
      'text': 'Tosses of a coin: the model is worse than Laplace’s rule',
      'bound': more,
      **_minus(_at('NoTuning'), _at('PreBayes'), 'NoTuning minus PreBayes'),
    },
    {
      'name': 'shown_is_not_enough',
      'text': f'So it is after {SHOWN} tosses of the coin',
      'bound': more,
      **_minus(
        _at('NoTuning', shown),
        _at('PreBayes', shown),
        'NoTuning minus PreBayes',
      ),
    },
    {
      'name': 'said_is_not_enough',
      'text': 'So it is where an instruction tells the odds',
      'bound': more,
      **_best_said(_at('PreBayes'), 'the best instruction minus PreBayes'),
    },
    {
      'name': 'search_beats_instructions',
      'text': 'Six tokens that a search has found beat every instruction',
      'bound': more,
      **_best_said(_at('HardPT'), 'the best instruction minus HardPT'),
    },
  ]


def _of_prompts():
  reached, missed = judging.Bound('<', FAR), judging.Bound('>', FAR)
  both = {x: _at(x, 'two_coins') for x in ('SoftPT', 'LoRAWT', 'SoftPT+LoRAWT')}
  claims = [
    {
      'name': f'{verb}_{target}',
      'text': f'{title}: {tuner} comes within {FAR} nats of it',
      'bound': reached,
      **_reaches(tuner, target),
    }
    for target, title in (
      ('coin', 'One coin'),
      ('die', 'One die'),
      ('chain', 'One chain'),
    )
    for verb, tuner in (
      ('prompt_reaches', 'SoftPT'),
      ('lora_reaches', 'LoRAWT'),
    )
  ]
  return [
    *claims,
    {
      'name': 'prompt_misses_mixture',
      'text': f'Two coins: SoftPT does not come within {FAR} nats',
      'bound': missed,
      **_reaches('SoftPT', 'two_coins'),
    },
    {
      'name': 'lora_reaches_mixture',
      'text': f'Two coins: LoRAWT comes within {FAR} nats',
      'bound': reached,
      **_reaches('LoRAWT', 'two_coins'),
    },
    {
      'name': 'both_gain_little',
      'text': 'Two coins: prompt and LoRA together beat neither alone by much',
      'quantity': (
        'the better of SoftPT and LoRAWT, minus both together, after '
        f'{TUNING} steps'
      ),
      'means': both,
      'value': lambda means: (
        _best(means, ('SoftPT', 'LoRAWT')) - means['SoftPT+LoRAWT']
      ),
      'scale': 'linear',
      'bound': reached,
      'reason': _WHY,
    },
    {
      'name': 'deep_is_no_better',
      'text': 'One coin: keys and values of every layer are no better a prompt',
      'bound': reached,
      **_minus(_at('SoftPT'), _at('DeepPT'), 'SoftPT minus DeepPT'),
    },
    {
      'name': 'soft_beats_hard',
      'text': 'One coin: a soft prompt beats the best six tosses',
      'bound': missed,
      **_minus(_at('HardPT'), _at('SoftPT'), 'HardPT minus SoftPT'),
    },
    {
      'name': 'rows_help',
      'text': 'One coin: twenty rows are a better prompt than one',
      'bound': missed,
      **_minus(
        _at('SoftPT', f'coin-k{ROWS[0]}'),
        _at('SoftPT', f'coin-k{ROWS[1]}'),
        'SoftPT of one row minus SoftPT of twenty',
      ),
    },
    {
      'name': 'few_sequences_want_a_prompt',
      'text': f'{FEW} sequences of a coin: SoftPT beats LoRAWT',
      'bound': missed,
      **_minus(
        _at('LoRAWT', f'coin-n{FEW}'),
        _at('SoftPT', f'coin-n{FEW}'),
        'LoRAWT minus SoftPT',
      ),
    },
    {
      'name': 'prompt_lasts',
      'text': 'One coin: beyond the tuning length SoftPT loses no more a token',
      'quantity': (
        f'what SoftPT loses in steps {TUNING + 1} to {LAST}, minus what it '
        f'loses in the first {TUNING}'
      ),
      'means': {'first': _at('SoftPT'), 'all': _at('SoftPT', step=LAST)},
      'value': lambda means: means['all'] - 2 * means['first'],
      'scale': 'linear',
      'bound': reached,
      'reason': _WHY,
    },
  ]


def _of_small():
  """Returns claims of a network whose state is a window of 40 characters."""
  one, two = f'coin-{SMALL}', f'two_coins-{SMALL}'
  return [
    {
      'name': 'small_is_no_bayesian',
      'text': 'Tosses of a coin: it is worse than Laplace’s rule',
      'bound': judging.Bound('>', FAR),
      **_minus(
        _at('NoTuning', one), _at('PreBayes', one), 'NoTuning minus PreBayes'
      ),
    },
    {
      'name': 'small_forgets_its_prompt',
      'text': f'One coin: SoftPT does not come within {FAR} nats',
      'bound': judging.Bound('>', FAR),
      **_reaches('SoftPT', one),
    },
    *(
      {
        'name': f'small_weights_reach_{title.split()[1]}',
        'text': f'{title}: FullWT comes within {FAR} nats',
        'bound': judging.Bound('<', FAR),
        **_reaches('FullWT', experiment),
      }
      for title, experiment in (('One coin', one), ('Two coins', two))
    ),
  ]


def claims() -> tuple[judging.Claim, ...]:
  """Returns the claims."""
  return tuple(
    judging.Claim(networks=(network,), **claim)
    for network, made in (
      (MODEL, _as_it_is() + _of_prompts()),
      (SMALL, _of_small()),
    )
    for claim in made
  )
