"""LoRA: low-rank updates of weight matrices (Hu et al., arXiv 2106.09685)."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from bayes_prompting import checks
from bayes_prompting import errors
from bayes_prompting import keys
from bayes_prompting import trees
from bayes_prompting import types

# Raise it when numbers change: networks and results depend on it.
NUMERICS = 1

EXAMPLES = (
  {'rank': 2},
  {'rank': 1, 'patterns': ('unembedding',), 'alpha': 3.0},
)


def make(
  rank: int = 4,
  alpha: float | None = None,
  patterns: Sequence[str] = ('torso',),
) -> types.Tuner:
  """Builds a tuner that adds (alpha / rank) A B to every matching matrix.

  A [in, rank] starts normal with variance 1 / in, B [rank, out] at zero, so
  that the predictor is unchanged at the start. Only matrices are adapted, not
  biases; the network does not know about it.

  Args:
    rank: Rank of the update.
    alpha: Its scale, LoRA's alpha; by default the rank, which makes the factor
      one.
    patterns: Which weights, see `trees`; by default all matrices of the torso.
      The code that the paper published adapts the four of attention:
      `('query', 'key', 'value', 'attention_output')`.

  Raises:
    UserError: From `init`, if a pattern matches no weight matrix, or one of
      more than two dimensions.
  """
  rank = checks.integer('rank', rank, 1)
  scale = 1.0 if alpha is None else checks.positive('alpha', alpha) / rank
  patterns = checks.strings('patterns', patterns)

  def init(key, predictor, params):
    del predictor
    factors = {}
    for pattern in patterns:
      found = trees.select(params, (pattern,))
      matrices = {path: x for path, x in found.items() if x.ndim >= 2}
      if not matrices:
        raise errors.UserError(
          f'patterns: {checks.show(pattern)} matches no weight matrix '
          '(two-dimensional)'
        )
      for path, kernel in matrices.items():
        if kernel.ndim > 2:
          raise errors.UserError(
            f'patterns: {pattern!r} matches {path} of shape '
            f'{list(kernel.shape)}; only two-dimensional weights have a LoRA'
          )
        fan_in, fan_out = kernel.shape
        shape = (fan_in, rank)
        a = jax.random.normal(keys.stream(key, path), shape, jnp.float32)
        factors[path] = {
          'a': a / jnp.sqrt(jnp.float32(fan_in)),
          'b': jnp.zeros((rank, fan_out), jnp.float32),
        }
    return factors

  def bind(predictor, params, tunable):
    frozen = trees.by_path(params)
    adapted = {
      path: frozen[path] + scale * (factor['a'] @ factor['b'])
      for path, factor in tunable.items()
    }
    params = trees.replace(params, adapted)
    return params, predictor.start(params)

  return types.Tuner(init, bind)
