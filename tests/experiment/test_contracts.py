"""What a user's own torso or prior must return, told in one line."""

import dataclasses

from flax import linen as nn
import jax.numpy as jnp
import pytest

from bayes_prompting import errors
from bayes_prompting import registry
from bayes_prompting import types
from bayes_prompting.experiment import contracts
from tests import testing

WIDTH = 4


class Own(nn.Module):
  """A torso that returns what it is told to."""

  returns: str = 'right'

  def empty_state(self, width):
    zeros = jnp.zeros(width, jnp.float32)
    states = {'whole numbers': jnp.zeros(width, jnp.int32), 'a number': 0.0}
    return states.get(self.returns, zeros)

  @nn.compact
  def __call__(self, x, state):
    y = nn.Dense(3)(x)
    if self.returns == 'no state':
      return y
    if self.returns == 'one row':
      return y[-1], state
    if self.returns == 'another structure':
      return y, {'state': state}
    if self.returns == 'all positions twice':
      return y, jnp.concatenate([state, *(x.ravel(),) * (1 + len(x) % 2)])
    if self.returns == 'an error':
      return y + jnp.zeros((7, 7)), state
    return y, state


@pytest.mark.parametrize(
  ('returns', 'message'),
  [
    ('whole numbers', 'empty_state must return a state of float arrays.*int32'),
    ('a number', 'empty_state must return a state of float arrays.*0.0'),
    ('no state', r'__call__ must return activations and the state.*\[3, 3\]'),
    ('one row', r'activations \[N, D\], but maps \[3, 4\] to float32\[3\]'),
    ('another structure', 'a state like that of empty_state'),
    ('all positions twice', 'in one run or in two'),
    ('an error', '__call__ failed .TypeError'),
  ],
)
def test_a_torso_of_ones_own_is_told_what_it_must_return(returns, message):
  with pytest.raises(errors.UserError, match=f'network.torso.*{message}') as e:
    contracts.check_torso('network.torso (mine)', Own(returns), WIDTH)
  assert '\n' not in str(e.value)


def test_every_torso_of_the_package_passes(torsos_spec):
  torso = registry.make('torsos', 'test', torsos_spec)
  contracts.check_torso('network.torso', torso, 8)
  contracts.check_torso('network.torso', Own(), WIDTH)


def test_every_prior_of_the_package_passes(task_priors_spec):
  prior = registry.make('task_priors', 'test', task_priors_spec)
  contracts.check_task_prior('tasks.mine', prior)


def sample(returns):
  def sample(key, length):
    episode = testing.single_coin().sample(key, length)
    if returns == 'tokens':
      return episode.tokens
    if returns == 'one more':
      return testing.single_coin().sample(key, length + 1)
    if returns == 'floats':
      return types.Episode(
        episode.tokens.astype(jnp.float32), episode.oracle_log_probs
      )
    return types.Episode(episode.tokens, episode.oracle_log_probs[..., 0])

  return sample


def scored(function):
  return {'scored': function, 'statistic': None, 'sample_table': None}


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'sample': sample('tokens')}, 'sample.*Episode with tokens'),
    ({'sample': sample('one more')}, r'tokens of shape \[3\]'),
    ({'sample': sample('floats')}, 'whole numbers as tokens'),
    ({'sample': sample('other')}, r'oracle_log_probs of shape \[3, 2\]'),
    ({'predict': lambda state, tokens: jnp.zeros(3)}, r'\[3, 2\], got'),
    ({'prefill': lambda rows: rows @ jnp.zeros((5, 5))}, 'predict failed'),
    ({'vocab_size': 1}, 'vocab_size'),
    (scored(lambda n: range(1, n)), r'scored\(3\) must return 3.*\(1, 2\)'),
    (scored(lambda n: (2, 1, 3)), r'increasing.*\(2, 1, 3\)'),
    (scored(lambda n: (0, 1.5, 3)), r'whole numbers.*1\.5'),
    (scored(lambda n: range(1, n + 1)), r'tokens of shape \[4\]'),
  ],
)
def test_a_prior_of_ones_own_is_told_what_it_must_return(changes, message):
  prior = dataclasses.replace(testing.single_coin(), **changes)
  with pytest.raises(errors.UserError, match=f'tasks.mine.*{message}') as e:
    contracts.check_task_prior('tasks.mine', prior)
  assert '\n' not in str(e.value)


@pytest.mark.parametrize('name', ['statistic', 'sample_table'])
def test_what_sums_over_all_tokens_is_none_where_not_all_are_scored(name):
  coin = testing.single_coin()
  changes = scored(lambda length: range(1, length + 1))
  with pytest.raises(errors.UserError, match=f'^scored: .* no {name}'):
    dataclasses.replace(coin, **changes | {name: getattr(coin, name)})
  positions = dataclasses.replace(coin, **changes).positions(2)
  assert positions == (1, 2)  # Static arguments have to be hashed.
