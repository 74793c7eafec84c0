"""Named random streams: one root key a run, folded by name and by number."""

from collections.abc import Callable
import zlib

import jax
import numpy as np

from bayes_prompting import types

# Raise it when numbers change: networks and results depend on it.
NUMERICS = 1


def root(seed: int) -> types.Key:
  """Returns the root key of a seed of up to 64 bits.

  JAX would take the lower 32 bits alone, or all of them, as its flag for 64
  bits says. Here the upper ones are folded in, and the flag makes no
  difference.

  Args:
    seed: A whole number from 0 to 2^64 - 1.
  """
  high, low = divmod(int(seed), 2**32)
  key = jax.random.key(np.uint32(low))
  return jax.random.fold_in(key, np.uint32(high)) if high else key


def stream(key: types.Key, *path: str | int | jax.Array) -> types.Key:
  """Returns the key at a path of names and numbers below `key`.

  Names are folded in by their crc32, which, unlike `hash()`, is the same in
  every process and version. A key at a path is a function of the root and the
  path alone: step k of repetition r needs no iterator to be stored.

  Args:
    key: A typed key; not consumed.
    *path: Names, and numbers (which may be traced), e.g. `'data', r, k`.
  """
  for part in path:
    data = zlib.crc32(part.encode()) if isinstance(part, str) else part
    key = jax.random.fold_in(key, data)
  return key


def sample(key: types.Key, repetition: types.Array, numbers: types.Array):
  """Returns the keys [S] of sequences of a repetition's fixed sample.

  Args:
    key: Root of the streams; not consumed.
    repetition: Its index.
    numbers: int32 [S], which sequences. A larger sample holds a smaller one.
  """
  root = stream(key, 'sample', repetition)
  return jax.vmap(lambda number: jax.random.fold_in(root, number))(numbers)


def of_step(key: types.Key) -> types.Key:
  """Returns the key that `jax.lax.scan` has for one step, of keys in its `xs`.

  The same key. JAX's check for keys that are used twice (`jax_debug_key_reuse`)
  has no rule for how `vmap` transposes the `xs` of a scan, and would take those
  of the result for used.

  Args:
    key: Consumed.
  """
  return jax.random.clone(key)


def over_split(
  function: Callable[[types.Key], types.PyTree], key: types.Key, num: int
) -> types.PyTree:
  """Returns what a function returns for each of `num` keys, stacked.

  It runs one after the other, which under a further `vmap` is fast, and the
  keys go as numbers: JAX's check for keys that are used twice has no rule for
  the transposition of keys by two `vmap`s, see `of_step`.

  Args:
    function: Of one key, which it consumes.
    key: Consumed.
    num: How many keys it is split into.
  """
  impl = jax.random.key_impl(key)
  numbers = jax.random.key_data(jax.random.split(key, num))
  return jax.lax.map(
    lambda x: function(jax.random.wrap_key_data(x, impl=impl)), numbers
  )
