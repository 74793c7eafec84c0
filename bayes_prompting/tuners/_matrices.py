"""Matrices that tuners adapt, and the low-rank updates of LoRA and DoRA.

There is no `NUMERICS`: what is computed here is a part of the tuners that use
it. Whoever changes numbers here raises the version of each of these.
"""

from collections.abc import Sequence
import math

import jax
import jax.numpy as jnp

from bayes_prompting import checks
from bayes_prompting import errors
from bayes_prompting import trees
from bayes_prompting import types


def select(
  params: types.Params,
  patterns: Sequence[str],
  update: str,
  rank: int = 1,
  field: str = 'patterns',
) -> dict[str, types.Array]:
  """Returns the matrices [in, out] that match any of the patterns, by path.

  Args:
    params: The weights.
    patterns: See `trees`.
    update: What they will have, for the error message: 'LoRA'.
    rank: That of the update; no matrix may have a smaller side.
    field: The argument that has the patterns.

  Raises:
    UserError: If a pattern matches no matrix, or a weight of more than two
      dimensions, or if the rank is above the smaller side of a matrix.
  """
  matrices = {}
  for pattern in patterns:
    matches = {
      path: leaf
      for path, leaf in trees.select(params, (pattern,), field).items()
      if leaf.ndim >= 2  # The rule of `torsos`: nothing else has two axes.
    }
    if not matches:
      raise errors.UserError(
        f'{field}: {checks.show(pattern)} matches no weight matrix '
        '(two-dimensional)'
      )
    for path, kernel in matches.items():
      if kernel.ndim > 2:
        raise errors.UserError(
          f'{field}: {pattern!r} matches {path} of shape '
          f'{list(kernel.shape)}; only two-dimensional weights have {update}'
        )
      if rank > min(kernel.shape):
        raise errors.UserError(
          f'rank: must be at most {min(kernel.shape)}, the smaller side of '
          f'{path} {list(kernel.shape)}, got {rank}; or narrow {field}, as '
          f'{pattern!r} matches it'
        )
    matrices |= matches
  return matrices


def scale(rank: int, alpha: float | None, rank_stabilised: bool) -> float:
  """Returns the factor of a low-rank update, from checked or raw arguments.

  It is alpha / rank, or alpha / sqrt(rank) (rsLoRA, arXiv 2312.03732), and 1
  without an alpha.

  Raises:
    UserError: If alpha is not above zero, or missing where it counts.
  """
  checks.one_of_two('rank_stabilised', rank_stabilised)
  if alpha is None:
    if rank_stabilised:
      raise errors.UserError(
        'alpha: must be given with rank_stabilised, which divides it by the '
        'square root of the rank; without an alpha the factor is 1'
      )
    return 1.0
  alpha = checks.positive('alpha', alpha)
  return alpha / (math.sqrt(rank) if rank_stabilised else rank)


def factors(
  key: types.Key, kernel: types.Array, rank: int
) -> dict[str, types.Array]:
  """Returns A [in, rank], normal with variance 1 / in, and B, which is zero.

  Args:
    key: Consumed.
    kernel: [in, out], for its shape.
    rank: Of A B.
  """
  fan_in, fan_out = kernel.shape
  a = jax.random.normal(key, (fan_in, rank), jnp.float32)
  return {
    'a': a / jnp.sqrt(jnp.float32(fan_in)),
    'b': jnp.zeros((rank, fan_out), jnp.float32),
  }
