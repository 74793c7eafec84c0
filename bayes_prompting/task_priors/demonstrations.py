"""Sequences with demonstrations before them: other sequences of the same task.

An episode has `num` sequences of a task prior, each of `length` tokens, and
then the one that is scored. Nothing separates them; all demonstrations have the
same length, so that the position says where each begins. With `of='task'` every
sequence has a source of its own. With `of='source'` the demonstrations are of
the very source that is scored: so many of its earlier tokens.

Demonstrations of one task prior say nothing to who knows that prior. To have
them say something, mix several tasks (`union`), each with its demonstrations:
they show which task it is. That is a prior over tasks, and its posterior
predictive is exact.
"""

from collections.abc import Mapping
import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from bayes_prompting import checks
from bayes_prompting import errors
from bayes_prompting import keys
from bayes_prompting import registry
from bayes_prompting import types
from bayes_prompting.task_priors import _sources

# Raise it when numbers change: networks and results depend on it.
NUMERICS = 1

_COINS = {'name': 'dirichlet_categorical', 'concentration': (1.0, 1.0)}
_CHAINS = {
  'name': 'markov_mixture',
  'weights': (0.5, 0.5),
  'tables': (((1.0, 0.0), (0.5, 0.5)), ((0.2, 0.8), (0.9, 0.1))),
}
EXAMPLES = (
  {'task': _COINS, 'num': 2, 'length': 2},
  {'task': _COINS, 'num': 2, 'length': 1, 'of': 'source'},
  {'task': _CHAINS, 'num': 1, 'length': 3},
  {'task': _CHAINS, 'num': 0, 'length': 3},
  {
    'task': {
      'name': 'imitation',
      'num_states': 2,
      'num_actions': 2,
      'num_policies': 3,
    },
    'num': 1,
    'length': 1,
  },
)

OF = ('task', 'source')
# More positions before a sequence are a mistake.
_MOST_POSITIONS = 2**20


def make(
  task: Mapping[str, Any], num: int, length: int = 50, of: str = 'task'
) -> types.TaskPrior:
  """Builds the prior of a task's sequences with demonstrations before them.

  A prefix stands where a sequence begins: its tokens are the first ones of the
  first demonstration.

  Args:
    task: Spec of the prior that all sequences are drawn from.
    num: Demonstrations; with 0 it is that prior itself.
    length: Tokens of each; where the task scores some alone, so many of these.
    of: Of what they are: 'task', each with a source of its own, or 'source'.

  Raises:
    UserError: If they cannot be drawn.
  """
  num = checks.integer('num', num, 0, _MOST_POSITIONS)
  length = checks.integer('length', length, 1, _MOST_POSITIONS)
  checks.one_of('of', of, OF)
  prior = registry.make('task_priors', 'task', task)
  if not num:
    return prior
  _sources.check('task', prior)
  each = prior.num_tokens(length)
  if num * each > _MOST_POSITIONS:
    raise errors.UserError(
      f'num: {num} demonstrations of {each} tokens are more than '
      f'{_MOST_POSITIONS} positions'
    )
  if of == 'task':
    return _of_task(prior, num, each, length)

  def scored(tokens):
    positions = prior.positions(num * length + tokens)
    positions = positions or range(num * length + tokens)
    return tuple(positions[num * length :])

  # What sums over sequences, or draws sources, knows nothing of them.
  return dataclasses.replace(
    prior,
    sample=lambda key, tokens: prior.sample(key, num * length + tokens),
    scored=scored,
    statistic=None,
    exchangeable=False,
    support=None,
    sample_table=None,
  )


def _of_task(prior, num, length, scored_length):
  """Builds it with a source of its own for each sequence.

  Args:
    prior: What all are drawn from.
    num: Demonstrations.
    length: Tokens of each.
    scored_length: How many the prior was asked for, to have so many.
  """
  vocab_size, before = prior.vocab_size, num * length
  none = jnp.zeros((0, vocab_size), jnp.float32)

  def sample(key, tokens):
    first, last = jax.random.split(key)
    shown = keys.over_split(
      lambda k: prior.sample(k, scored_length), first, num
    )
    shown = jax.tree.map(lambda x: x.reshape(before, *x.shape[2:]), shown)
    episode = prior.sample(last, tokens)
    return jax.tree.map(lambda *x: jnp.concatenate(x), shown, episode)

  def scored(tokens):
    positions = prior.positions(tokens) or range(tokens)
    return tuple(before + position for position in positions)

  # Where a sequence begins depends on how many tokens were seen. That is kept
  # as the shape of an array, so that it is known when a program is traced.
  def prefill(rows):
    start = min(len(rows) // length, num) * length
    return {
      'seen': jnp.zeros(len(rows), jnp.float32),
      'state': prior.prefill(rows[start:]),
    }

  def predict(state, tokens):
    seen, total = len(state['seen']), len(state['seen']) + len(tokens)
    parts, state, at = [], state['state'], seen
    while at < total:
      end = min((at // length + 1) * length, total) if at < before else total
      whole = max((min(total, before) - at) // length, 0)
      if at % length or not whole:
        parts.append(prior.predict(state, tokens[at - seen : end - seen]))
      else:  # Whole demonstrations, all from the start.
        end = at + whole * length
        shown = tokens[at - seen : end - seen].reshape(whole, length)
        predicted = jax.vmap(prior.predict, in_axes=(None, 0))(state, shown)
        parts.append(predicted.reshape(-1, vocab_size))
      at, state = end, prior.prefill(none)
    if not parts:
      return jnp.zeros((0, vocab_size), jnp.float32)
    return jnp.concatenate(parts)

  return types.TaskPrior(
    vocab_size=vocab_size,
    sample=sample,
    prefill=prefill,
    predict=predict,
    scored=scored,
  )
