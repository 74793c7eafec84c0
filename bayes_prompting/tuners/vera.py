"""VeRA: scales of random low-rank updates (Kopiczko et al., arXiv 2310.11454).

LoRA's two factors are random and frozen here, and alike for matrices of the
same shape. What is tuned are two vectors for each matrix.
"""

from collections.abc import Sequence
import functools
import math

import jax
import jax.numpy as jnp

from bayes_prompting import checks
from bayes_prompting import keys
from bayes_prompting import trees
from bayes_prompting import types
from bayes_prompting.tuners import _matrices

# Raise it when numbers change: networks and results depend on it.
NUMERICS = 1

EXAMPLES = ({'rank': 6, 'seed': 1, 'd_initial': 0.5},)


def make(
  rank: int = 256,
  patterns: Sequence[str] = ('torso',),
  seed: int = 0,
  d_initial: float = 0.1,
) -> types.Tuner:
  """Builds a tuner that adds A diag(d) B diag(b) to every matching matrix.

  A kernel W [in, out] becomes

      W + A diag(d) B diag(b)

  This is the paper's equation 2, which has the transposes of kernels. d [rank]
  starts at `d_initial` and b [out] at zero, so that the predictor is unchanged
  at the start. A [in, rank] and B [rank, out] are Kaiming-uniform, functions of
  `seed` and the shape, and no part of what is tuned: a file of an adapter has
  none of them.

  Args:
    rank: Columns of A. It costs one number of d each, and may be above the
      sides of a matrix, as it is in the paper (1024 for matrices of 768).
    patterns: Which weights, see `trees`; by default all matrices of the torso.
    seed: Of A and B.
    d_initial: Where d starts.

  Raises:
    UserError: From `init`, if a pattern matches no weight matrix, or one of
      more than two dimensions.
  """
  rank = checks.integer('rank', rank, 1, checks.MOST_CHANNELS)
  patterns = checks.strings('patterns', patterns)
  seed = checks.integer('seed', seed, 0)
  d_initial = checks.positive('d_initial', d_initial)

  def init(key, predictor, params):
    del key, predictor
    return {
      path: {
        'd': jnp.full(rank, d_initial, jnp.float32),
        'b': jnp.zeros(kernel.shape[1], jnp.float32),
      }
      for path, kernel in _matrices.select(params, patterns, 'a VeRA').items()
    }

  def bind(predictor, params, tunable):
    # Once for all matrices of the same shape.
    frozen_factor = functools.cache(functools.partial(random_factor, seed))
    frozen = trees.by_path(params)
    adapted = {}
    for path, tuned in tunable.items():
      fan_in, fan_out = frozen[path].shape
      a = frozen_factor('a', fan_in, rank)
      b = frozen_factor('b', rank, fan_out)
      update = (a * tuned['d'][None]) @ (b * tuned['b'][None])
      adapted[path] = frozen[path] + update
    params = trees.replace(params, adapted)
    return params, predictor.start(params)

  return types.Tuner(init, bind)


def random_factor(
  seed: int, name: str, fan_in: int, fan_out: int
) -> types.Array:
  """Returns A (`name` 'a') or B ('b'), uniform in +-sqrt(6 / fan_in).

  Args:
    seed: With the name and the shape all that it depends on.
    name: See above.
    fan_in: Rows.
    fan_out: Columns.
  """
  key = keys.stream(keys.root(seed), 'vera', name)
  bound = math.sqrt(6 / fan_in)
  shape = fan_in, fan_out
  return jax.random.uniform(key, shape, jnp.float32, -bound, bound)
