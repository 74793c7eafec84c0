"""What a module of a user's own must return, checked by shapes alone.

Modules of the package are held to their contracts by tests. One of a user's own
may not be, and what it returns would fail far inside a program, or would not
fail at all. Nothing is computed here.
"""

from collections.abc import Callable
from typing import Any

from flax import linen as nn
import jax
import jax.numpy as jnp

from bayes_prompting import checks
from bayes_prompting import errors
from bayes_prompting import types

_LENGTH = 3


def check_torso(field: str, torso: nn.Module, width: int) -> None:
  """Checks what a torso returns, see `bayes_prompting.torsos`.

  Args:
    field: Where it stands in the configuration, for error messages.
    torso: A user's own.
    width: E.

  Raises:
    UserError: If it does not return activations [N, D] and a state of float
      arrays, or if the state after two parts of a sequence is another than
      after all of it.
  """
  empty = _run(field, 'empty_state', lambda: torso.empty_state(width))
  _check_state(field, 'empty_state', empty)

  def of(*lengths):
    """Returns the shapes after parts of these lengths."""

    def run(key, state):
      output, lines = (), jnp.zeros((sum(lengths), width), jnp.float32)
      for length in lengths:
        rows, lines = lines[:length], lines[length:]
        output, _ = torso.init_with_output(key, rows, state)
        if not isinstance(output, tuple) or len(output) != 2:
          return output
        _, state = output
      return output

    key = jax.random.key(0)
    return _run(field, '__call__', lambda: jax.eval_shape(run, key, empty))

  output = of(_LENGTH)
  if not isinstance(output, tuple) or len(output) != 2:
    raise errors.UserError(
      f'{field}: __call__ must return activations and the state, got '
      f'{_shown(output)}'
    )
  y, state = output
  if len(getattr(y, 'shape', ())) != 2 or y.shape[0] != _LENGTH:
    raise errors.UserError(
      f'{field}: __call__ must map [N, E] to activations [N, D], but maps '
      f'[{_LENGTH}, {width}] to {_shown(y)}'
    )
  _check_state(field, '__call__', state)
  if jax.tree.structure(empty) != jax.tree.structure(state):
    raise errors.UserError(
      f'{field}: __call__ must return a state like that of empty_state, '
      f'{_shown(empty)}; got {_shown(state)}'
    )
  parts = of(1, _LENGTH - 1)[1]
  if _shown(parts) != _shown(state):
    raise errors.UserError(
      f'{field}: the state after {_LENGTH} positions must have one shape, in '
      f'one run or in two; it is {_shown(state)} and {_shown(parts)}'
    )


def check_task_prior(field: str, prior: types.TaskPrior) -> None:
  """Checks what a task prior returns, see `types.TaskPrior`.

  Args:
    field: Where it stands in the configuration, for error messages.
    prior: A user's own.

  Raises:
    UserError: If episodes, predictions or states have other shapes, or if no
      positions are scored that can be.
  """
  size = checks.integer(f'{field}: vocab_size', prior.vocab_size, 2)
  positions = _run(field, 'scored', lambda: prior.positions(_LENGTH))
  if positions is not None and (
    len(positions) != _LENGTH
    or any(type(x) is not int or x < 0 for x in positions)
    or sorted({*positions}) != [*positions]
  ):
    raise errors.UserError(
      f'{field}: scored({_LENGTH}) must return {_LENGTH} positions, increasing '
      f'whole numbers from 0 on, got {checks.show(positions)}'
    )
  key = jax.random.key(0)
  episode = _run(
    field,
    'sample',
    lambda: jax.eval_shape(lambda k: prior.sample(k, _LENGTH), key),
  )
  total = prior.num_tokens(_LENGTH)
  shapes = {'tokens': (total,)}
  if prior.recorded is None:
    shapes['oracle_log_probs'] = (total, size)
  for name, shape in shapes.items():
    returned = getattr(getattr(episode, name, None), 'shape', None)
    if returned != shape:
      raise errors.UserError(
        f'{field}: sample(key, {_LENGTH}) must return a types.Episode with '
        f'{name} of shape {list(shape)}, got {_shown(episode)}'
      )
  if not jnp.issubdtype(episode.tokens.dtype, jnp.integer):
    raise errors.UserError(
      f'{field}: sample must return whole numbers as tokens, got '
      f'{episode.tokens.dtype}'
    )

  def predict():
    state = prior.prefill(jnp.zeros((1, size), jnp.float32))
    return prior.predict(state, jnp.zeros(_LENGTH, jnp.int32))

  log_probs = _run(field, 'predict', lambda: jax.eval_shape(predict))
  if getattr(log_probs, 'shape', None) != (_LENGTH, size):
    raise errors.UserError(
      f'{field}: predict must map {_LENGTH} tokens to log probabilities '
      f'[{_LENGTH}, {size}], got {_shown(log_probs)}'
    )


def _run(field: str, name: str, function: Callable[[], Any]) -> Any:
  """Runs what a user has written; an error there is told in one line."""
  try:
    return function()
  except errors.UserError:
    raise
  except Exception as error:
    line = ' '.join(f'{type(error).__name__}: {error}'.split())
    raise errors.UserError(f'{field}: {name} failed ({line:.300})') from error


def _check_state(field, name, state):
  for leaf in jax.tree.leaves(state):
    if not hasattr(leaf, 'dtype') or not jnp.issubdtype(
      leaf.dtype, jnp.floating
    ):
      raise errors.UserError(
        f'{field}: {name} must return a state of float arrays, since prompts '
        f'tune it; got {_shown(state)}'
      )


def _shown(tree):
  """Returns the shapes of a tree as text."""

  def shown(leaf):
    if hasattr(leaf, 'shape'):
      return f'{leaf.dtype}{list(leaf.shape)}'
    return checks.show(leaf)

  return str(jax.tree.map(shown, tree)).replace("'", '')
