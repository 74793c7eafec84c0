"""Where prefixes start from."""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from bayes_prompting import checks
from bayes_prompting import errors
from bayes_prompting import registry
from bayes_prompting import regret
from bayes_prompting import types

# Raise it when numbers change: networks and results depend on it.
NUMERICS = 1

# A longer prefix, of which a Transformer attends from each row to each, is a
# mistake.
MOST_ROWS = 2**13

NAMES = ('one_hot', 'random_token', 'tokens', 'zeros', 'normal', 'uniform')

# What `tokens` may be: the tokens themselves, or the spec of a task prior.
Tokens = Sequence[int] | Mapping[str, Any] | None


@dataclasses.dataclass(frozen=True)
class Start:
  """Where a prefix starts from, checked.

  Attributes:
    length: K.
    init: One of `NAMES`.
    scale: Standard deviation of `normal`, half width of `uniform`.
    tokens: Of `tokens`: K of them, or a task prior. None for the others.
  """

  length: int
  init: str
  scale: float
  tokens: tuple[int, ...] | types.TaskPrior | None

  def rows(
    self,
    key: types.Key,
    vocab_size: int,
    to_coordinates: Callable[[types.Array], types.Array],
  ) -> types.Array:
    """Returns the first value of a prefix, in the coordinates that are tuned.

    Args:
      key: Consumed.
      vocab_size: V.
      to_coordinates: From one-hot rows [K, V] to [K, D].
    """
    token_key, value_key = jax.random.split(key)
    tokens = self._tokens(token_key, vocab_size)
    of_tokens = to_coordinates(
      jax.nn.one_hot(tokens, vocab_size, dtype=jnp.float32)
    )
    shape = of_tokens.shape
    if self.init == 'one_hot':
      *rows_shape, width = shape
      ones = jax.random.randint(value_key, rows_shape, 0, width, jnp.int32)
      return jax.nn.one_hot(ones, width, dtype=jnp.float32)
    if self.init in ('random_token', 'tokens'):
      return of_tokens
    if self.init == 'zeros':
      return jnp.zeros(shape, jnp.float32)
    if self.init == 'normal':
      return self.scale * jax.random.normal(value_key, shape, jnp.float32)
    return jax.random.uniform(
      value_key, shape, jnp.float32, -self.scale, self.scale
    )

  def _tokens(self, key, vocab_size):
    """Returns int32 [K]: those that are given, or drawn."""
    if isinstance(self.tokens, types.TaskPrior):
      if self.tokens.vocab_size != vocab_size:
        raise errors.UserError(
          f'tokens: the task has a vocabulary of {self.tokens.vocab_size}, the '
          f'predictor has {vocab_size}'
        )
      tokens = self.tokens.sample(key, self.length).tokens
      return regret.at(tokens, self.tokens.positions(self.length), axis=0)
    if self.tokens is not None:
      return jnp.asarray(checks.tokens('tokens', self.tokens, vocab_size))
    return jax.random.randint(key, (self.length,), 0, vocab_size, jnp.int32)


def check(
  length: int, init: str, init_scale: float, tokens: Tokens = None
) -> Start:
  """Checks the arguments that tuners of prefixes share.

  Args:
    length: K.
    init: `one_hot` takes unit vectors, each row with its 1 at a coordinate that
      is drawn uniformly, `random_token` the prefix of uniformly random tokens,
      `tokens` that of `tokens`, `zeros` all zeros, `normal` independent normal
      numbers with standard deviation `init_scale`, `uniform` numbers uniform in
      [-init_scale, init_scale].
    init_scale: See above.
    tokens: For `init='tokens'`: K tokens, or the spec of a task prior, of which
      each repetition draws a sequence of its own.

  Raises:
    UserError: One line that names the argument, its value and what is allowed.
  """
  length = checks.integer('length', length, 1, MOST_ROWS)
  checks.one_of('init', init, NAMES)
  init_scale = checks.positive('init_scale', init_scale)
  if (init == 'tokens') != (tokens is not None):
    raise errors.UserError(
      "tokens: must be given with init='tokens', and with nothing else, got "
      f'tokens={checks.show(tokens)} with init={init!r}'
    )
  if isinstance(tokens, Mapping):
    tokens = registry.make('task_priors', 'tokens', tokens)
  elif tokens is not None:
    tokens = checks.integers('tokens', tokens)
    if len(tokens) != length:
      raise errors.UserError(
        f'tokens: must be as many as length={length}, or the spec of a task '
        f'prior, got {checks.show(tokens)}'
      )
  return Start(length, init, init_scale, tokens)
