"""DoRA: LoRA of a matrix's direction, and its magnitude (arXiv 2402.09353)."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from bayes_prompting import checks
from bayes_prompting import keys
from bayes_prompting import trees
from bayes_prompting import types
from bayes_prompting.tuners import _matrices

# Raise it when numbers change: networks and results depend on it.
NUMERICS = 1

EXAMPLES = (
  {'rank': 2},
  {'rank': 1, 'alpha': 3.0, 'constant_norm': False},
)

# A column of zeros has no direction: it stays zero until B moves.
_SMALLEST_SQUARE = 1e-30


def make(
  rank: int = 4,
  alpha: float | None = None,
  patterns: Sequence[str] = ('torso',),
  rank_stabilised: bool = False,
  constant_norm: bool = True,
) -> types.Tuner:
  """Builds a tuner of the magnitude and the direction of matching matrices.

  A matrix W [in, out] becomes (Liu et al., equation 5)

      m V / |V|,  V = W + (alpha / rank) A B

  where |V| [out] is the norm of each column: of the weights of one output. A
  and B start as LoRA's. What is tuned of m [out] is its difference from |W|,
  which starts at zero: Adam moves one as the other, and the predictor is
  unchanged at the start.

  Args:
    rank: Rank of A B.
    alpha: Scale of A B; by default the rank, which makes the factor one.
    patterns: Which weights, see `trees`; by default all matrices of the torso.
    rank_stabilised: Whether the factor is alpha / sqrt(rank), see `lora`.
    constant_norm: Whether the gradient takes |V| for a constant (equation 11),
      as the paper's section 4.3 proposes to save memory. False is the gradient
      of equation 5 itself.

  Raises:
    UserError: From `init`, see `lora`.
  """
  rank = checks.integer('rank', rank, 1)
  scale = _matrices.scale(rank, alpha, rank_stabilised)
  patterns = checks.strings('patterns', patterns)
  checks.one_of_two('constant_norm', constant_norm)

  def init(key, predictor, params):
    del predictor
    matrices = _matrices.select(params, patterns, 'a DoRA', rank)
    return {
      path: {
        **_matrices.factors(keys.stream(key, path), kernel, rank),
        'magnitude': jnp.zeros(kernel.shape[1], jnp.float32),
      }
      for path, kernel in matrices.items()
    }

  def bind(predictor, params, tunable):
    frozen = trees.by_path(params)
    adapted = {
      path: _adapted(
        frozen[path],
        scale * (tuned['a'] @ tuned['b']),
        tuned['magnitude'],
        constant_norm,
      )
      for path, tuned in tunable.items()
    }
    params = trees.replace(params, adapted)
    return params, predictor.start(params)

  return types.Tuner(init, bind)


def _adapted(kernel, update, magnitude, constant_norm):
  """Returns (|W| + magnitude) V / |V| for V = W + update.

  It is V + V (magnitude - (|V| - |W|)) / |V|, where the difference of norms is
  that of their squares, a sum over the update, divided by |V| + |W|. This is V
  to the bit where magnitude and update are zero; a quotient of two norms would
  be 1 only if both were rounded alike.
  """
  moved = kernel + update
  norm, first = _norm(moved), _norm(kernel)
  squares = jnp.sum(update * (2 * kernel + update), axis=0, keepdims=True)
  growth = squares / (norm + first)
  if constant_norm:
    norm, growth = jax.lax.stop_gradient((norm, growth))
  return moved + moved * ((magnitude[None] - growth) / norm)


def _norm(matrix):
  """Returns the norm of each column, [1, out]."""
  squares = jnp.sum(matrix**2, axis=0, keepdims=True)
  return jnp.sqrt(squares + _SMALLEST_SQUARE)
