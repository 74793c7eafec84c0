"""Where prefixes start from."""

import jax
import jax.numpy as jnp

from bayes_prompting import checks
from bayes_prompting import types

# Raise it when numbers change: networks and results depend on it.
NUMERICS = 1

# A longer prefix, of which a Transformer attends from each row to each, is a
# mistake.
MOST_ROWS = 2**13

NAMES = ('one_hot', 'random_token', 'zeros', 'normal', 'uniform')


def token_rows(key: types.Key, length: int, vocab_size: int) -> types.Array:
  """Returns one-hot rows [K, V] of uniformly random tokens."""
  tokens = jax.random.randint(key, (length,), 0, vocab_size, jnp.int32)
  return jax.nn.one_hot(tokens, vocab_size, dtype=jnp.float32)


def rows(
  key: types.Key, init: str, scale: float, of_tokens: types.Array
) -> types.Array:
  """Returns the first value of a prefix, in the coordinates that are tuned.

  Args:
    key: Consumed.
    init: `one_hot` takes unit vectors, each row with its 1 at a coordinate that
      is drawn uniformly, `random_token` the prefix of random tokens that is
      given, `zeros` all zeros, `normal` independent normal numbers with
      standard deviation `scale`, `uniform` numbers uniform in [-scale, scale].
    scale: See above.
    of_tokens: [K, D], a prefix of random tokens in the same coordinates.
  """
  shape = of_tokens.shape
  if init == 'one_hot':
    *rows_shape, width = shape
    ones = jax.random.randint(key, rows_shape, 0, width, jnp.int32)
    return jax.nn.one_hot(ones, width, dtype=jnp.float32)
  if init == 'random_token':
    return of_tokens
  if init == 'zeros':
    return jnp.zeros(shape, jnp.float32)
  if init == 'normal':
    return scale * jax.random.normal(key, shape, jnp.float32)
  return jax.random.uniform(key, shape, jnp.float32, -scale, scale)


def check(length: int, init: str, init_scale: float):
  """Checks the arguments that tuners of prefixes share."""
  return (
    checks.integer('length', length, 1, MOST_ROWS),
    checks.one_of('init', init, NAMES),
    checks.positive('init_scale', init_scale),
  )
