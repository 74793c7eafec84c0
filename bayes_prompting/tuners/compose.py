"""Several tuners at once: a prompt and weights, or weights and other weights.

A prompt sets the state, weight tuning changes the map. So weights are bound
first, and the prompt then runs through what they have become. All are trained
together: the gradient, its clip and Adam are of all that is tuned.
"""

from collections.abc import Mapping
import dataclasses
import operator
from typing import Any

import jax

from bayes_prompting import checks
from bayes_prompting import errors
from bayes_prompting import keys
from bayes_prompting import registry
from bayes_prompting import trees
from bayes_prompting import types

# Raise it when numbers change: networks and results depend on it.
NUMERICS = 1

EXAMPLES = (
  {
    'tuners': {
      'prompt': {'name': 'prefix', 'length': 2},
      'weights': {'name': 'lora', 'rank': 1},
    }
  },
  {
    'tuners': {
      'low_rank': {'name': 'lora', 'rank': 1},
      'ends': {'name': 'weights', 'patterns': ('unembedding',)},
    }
  },
)


def make(tuners: Mapping[str, Mapping[str, Any]]) -> types.Tuner:
  """Builds a tuner of several; its tunable has theirs, by their names.

  Each starts from the predictor as it is, with a key of its own.

  Args:
    tuners: The spec of each, by a name of your choice. At most one may be a
      prompt, or a composition with a prompt, and no two may change the same
      weight.

  Raises:
    UserError: If there are fewer than two, or if one chooses among candidates
      or tunes nothing; from `init`, if two are prompts, or overlap.
  """
  if not isinstance(tuners, Mapping) or len(tuners) < 2:
    raise errors.UserError(
      'tuners: must be a mapping with at least two tuners, got '
      f'{checks.show(tuners)}'
    )
  for name in tuners:
    checks.label('tuners', name)
  inner = {
    name: registry.make('tuners', f'tuners.{name}', spec)
    for name, spec in tuners.items()
  }
  for name, tuner in inner.items():
    if not tuner.trainable:
      raise errors.UserError(
        f'tuners.{name}: is not trained by gradient descent, and cannot be '
        f'composed; got {checks.show(dict(tuners[name]))}'
      )

  def init(key, predictor, params):
    tunables = {}
    for name, tuner in inner.items():
      try:
        tunables[name] = tuner.init(keys.stream(key, name), predictor, params)
      except errors.UserError as error:
        raise errors.UserError(f'tuners.{name}.{error}') from None
    _in_order(inner, predictor, params, tunables)
    return tunables

  def bind(predictor, params, tunables):
    state = None
    for name in _in_order(inner, predictor, params, tunables):
      params, state = inner[name].bind(predictor, params, tunables[name])
    return params, state

  penalised = [name for name in inner if inner[name].penalty is not None]

  def penalty(tunables, log_probs, untuned):
    return sum(
      inner[name].penalty(tunables[name], log_probs, untuned)
      for name in penalised
    )

  return types.Tuner(
    init,
    bind,
    random=any(tuner.random for tuner in inner.values()),
    penalty=penalty if penalised else None,
  )


def _in_order(inner, predictor, params, tunables):
  """Returns the names, of what sets the state last, once nothing overlaps."""
  effects = {
    name: _effects(tuner, predictor, params, tunables[name])
    for name, tuner in inner.items()
  }
  prompts = [name for name, (_, sets_state) in effects.items() if sets_state]
  if len(prompts) > 1:
    raise errors.UserError(
      f'tuners: {" and ".join(prompts)} are prompts, or compositions with one, '
      'and a predictor has one state; compose one of them with tuners of '
      'weights'
    )
  owner = {}
  for name, (paths, _) in effects.items():
    for path in paths:
      if path in owner:
        raise errors.UserError(
          f'tuners: {owner[path]} and {name} both change {path}; narrow the '
          'patterns of one'
        )
      owner[path] = name
  return [name for name in effects if name not in prompts] + prompts


def _effects(tuner, predictor, params, tunable):
  """Returns the paths of the weights that a tuner changes, and what it prompts.

  That is whether its state is another than the one after no prefix at all. A
  composition may do both.
  """
  paths, starts, states = [], [], []

  def prefill(params, prefix):
    state = predictor.prefill(params, prefix)
    if not len(prefix):
      starts.append(state)
    return state

  def run(params, tunable):
    # As it was, and it notes which states were made of nothing.
    noting = dataclasses.replace(predictor, prefill=prefill)
    bound, state = tuner.bind(noting, params, tunable)
    old = trees.by_path(params)
    # A tuner hands on the leaves that it leaves alone.
    new = trees.by_path(bound)
    paths.extend(path for path, leaf in new.items() if leaf is not old[path])
    states.append(state)

  jax.eval_shape(run, params, tunable)
  return paths, not any(_is_same(start, states[0]) for start in starts)


def _is_same(one, other):
  """Returns whether two trees have the very same arrays."""
  leaves, structure = jax.tree.flatten(one)
  of_other, structure_of_other = jax.tree.flatten(other)
  return structure == structure_of_other and all(
    map(operator.is_, leaves, of_other)
  )
