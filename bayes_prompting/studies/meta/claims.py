"""What is claimed of learned starts and made tasks, with bounds set beforehand.

A difference of 0.05 nats is the paper's own bound (`studies.paper.claims`).
"""

from collections.abc import Iterable

from bayes_prompting.claims import judge as judging
from bayes_prompting.studies.frontier import claims as frontier_claims

WITHIN, TUNING = frontier_claims.WITHIN, frontier_claims.TUNING
PRETRAINING, FEW = frontier_claims.PRETRAINING, frontier_claims.FEW
WORLDS = {'coins': 'coins', 'chains': 'chains of order 1'}
MOST, LEAST = 256, 4  # Sequences that tasks are made of.
_WHY = f'a difference of more than {WITHIN} nats'
_FACTOR = 2.0


def _on(target, tuner, few=True, task='target', step=TUNING):
  return judging.Mean(
    tuner, f'{{network}}-coins-{target}' + f'-n{FEW}' * few, step, task
  )


def _minus(target, tuner, other, few=True):
  return {
    'quantity': f'{tuner} minus {other}, after {TUNING} steps',
    'means': {'it': _on(target, tuner, few), 'other': _on(target, other, few)},
    'value': lambda means: means['it'] - means['other'],
    'scale': 'linear',
    'reason': _WHY,
  }


def _forgets(tuner, other):
  """Returns how many times as much is forgotten with another tuner."""
  world = {'task': 'world', 'step': PRETRAINING}
  return {
    'quantity': (
      f'what the network loses on its pretraining task with {other}, over what '
      f'it loses with {tuner}, within {PRETRAINING} tokens'
    ),
    'means': {x: _on('near', x, **world) for x in (tuner, other)},
    'value': lambda means: means[other] / means[tuner],
    'bound': judging.Bound('>', _FACTOR),
    'reason': 'half as much is what is called less here',
    'unit': 'ratio',
  }


def _of_starts():
  no_worse = judging.Bound('<', WITHIN)
  return [
    {
      'name': 'few_want_a_learned_start',
      'text': f'{FEW} sequences of a typical coin: MetaPT beats SoftPT',
      'bound': judging.Bound('<', -WITHIN),
      **_minus('near', 'MetaPT', 'SoftPT'),
    },
    {
      'name': 'many_do_not_mind',
      'text': 'All sequences of a typical coin: MetaPT is as good as SoftPT',
      'bound': no_worse,
      **_minus('near', 'MetaPT', 'SoftPT', few=False),
    },
    {
      'name': 'far_is_no_worse',
      'text': f'{FEW} sequences of a rare coin: MetaPT is as good as SoftPT',
      'bound': no_worse,
      **_minus('far', 'MetaPT', 'SoftPT'),
    },
    {
      'name': 'regulariser_helps_far',
      'text': (
        f'{FEW} sequences of a rare coin: MetaPT beats it without the '
        'regulariser and mixed targets'
      ),
      'bound': judging.Bound('<', -WITHIN),
      **_minus('far', 'MetaPT', 'MetaPlainPT'),
    },
    {
      'name': 'start_matters',
      'text': (
        f'{FEW} sequences of a typical coin: MetaPT beats its regulariser alone'
      ),
      'bound': judging.Bound('<', -WITHIN),
      **_minus('near', 'MetaPT', 'NearPT'),
    },
    {
      'name': 'learned_start_forgets_less',
      'text': f'{FEW} sequences: with MetaPT less is forgotten than SoftPT',
      **_forgets('MetaPT', 'SoftPT'),
    },
    {
      'name': 'regulariser_forgets_less',
      'text': (
        f'{FEW} sequences: with MetaPT less is forgotten than without its '
        'regulariser and mixed targets'
      ),
      **_forgets('MetaPT', 'MetaPlainPT'),
    },
  ]


def _of_tasks(world, title):
  def on_world(what, tuner='NoTuning', task='world'):
    experiment = f'{{network}}-{world}-{what}'
    return judging.Mean(tuner, experiment, PRETRAINING, task)

  def beyond(size):
    return {
      'quantity': (
        'the network that never saw the prior minus the one that did, on the '
        f'prior, after {PRETRAINING} steps'
      ),
      'means': {'made': on_world(f'pseudo{size}'), 'true': on_world('true')},
      'value': lambda means: means['made'] - means['true'],
      'scale': 'linear',
      'reason': _WHY,
    }

  most = f'pseudo{MOST}'
  return [
    {
      'name': f'many_replace_the_prior_{world}',
      'text': (
        f'{title}: tasks made of {MOST} sequences are as good as the prior'
      ),
      'bound': judging.Bound('<', WITHIN),
      **beyond(MOST),
    },
    {
      'name': f'few_do_not_{world}',
      'text': f'{title}: tasks made of {LEAST} sequences are not',
      'bound': judging.Bound('>', WITHIN),
      **beyond(LEAST),
    },
    {
      'name': f'is_bayes_of_its_tasks_{world}',
      'text': f'{title}: a network trained on made tasks is Bayes over them',
      'quantity': (
        f'NoTuning above Bayes of the pool, after {PRETRAINING} steps'
      ),
      'means': {'it': on_world(most, task='pool')},
      'value': lambda means: means['it'],
      'bound': judging.Bound('<', _FACTOR * WITHIN),
      'reason': f'{_FACTOR * WITHIN:g} nats within twice as many tokens',
    },
    {
      'name': f'prompt_reaches_{world}',
      'text': f'{title}: there, too, SoftPT reaches one source of the world',
      'quantity': f'SoftPT above TargetBayes, after {TUNING} steps',
      'means': {
        'it': judging.Mean(
          'SoftPT', f'{{network}}-{world}-{most}', TUNING, 'target'
        )
      },
      'value': lambda means: means['it'],
      'bound': judging.Bound('<', WITHIN),
      'reason': f'{WITHIN} nats are what the paper calls reached',
    },
  ]


def claims(networks: Iterable[str]) -> tuple[judging.Claim, ...]:
  """Returns the claims about some kinds of network."""
  networks = tuple(networks)
  every = [x for name, title in WORLDS.items() for x in _of_tasks(name, title)]
  return tuple(
    judging.Claim(networks=networks, **claim) for claim in _of_starts() + every
  )
