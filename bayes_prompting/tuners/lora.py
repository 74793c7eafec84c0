"""LoRA: low-rank updates of weight matrices (Hu et al., arXiv 2106.09685)."""

from collections.abc import Sequence

from bayes_prompting import checks
from bayes_prompting import keys
from bayes_prompting import trees
from bayes_prompting import types
from bayes_prompting.tuners import _matrices

# Raise it when numbers change: networks and results depend on it.
NUMERICS = 1

EXAMPLES = (
  {'rank': 2},
  {'rank': 1, 'patterns': ('unembedding',), 'alpha': 3.0},
  {'rank': 4, 'alpha': 3.0, 'rank_stabilised': True},
)


def make(
  rank: int = 4,
  alpha: float | None = None,
  patterns: Sequence[str] = ('torso',),
  rank_stabilised: bool = False,
) -> types.Tuner:
  """Builds a tuner that adds (alpha / rank) A B to every matching matrix.

  A kernel W [in, out] becomes

      W + (alpha / rank) A B

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
    rank_stabilised: Whether the factor is alpha / sqrt(rank), with which
      updates of all ranks learn alike (rsLoRA, Kalajdzievski, arXiv
      2312.03732). It needs an alpha.

  Raises:
    UserError: From `init`, if a pattern matches no weight matrix, or one of
      more than two dimensions, or one with a side smaller than the rank.
  """
  rank = checks.integer('rank', rank, 1)
  scale = _matrices.scale(rank, alpha, rank_stabilised)
  patterns = checks.strings('patterns', patterns)

  def init(key, predictor, params):
    del predictor
    return {
      path: _matrices.factors(keys.stream(key, path), kernel, rank)
      for path, kernel in _matrices.select(
        params, patterns, 'a LoRA', rank
      ).items()
    }

  def bind(predictor, params, tunable):
    frozen = trees.by_path(params)
    adapted = {
      path: frozen[path] + scale * (factor['a'] @ factor['b'])
      for path, factor in tunable.items()
    }
    params = trees.replace(params, adapted)
    return params, predictor.start(params)

  return types.Tuner(init, bind)
