"""Weight tuning: FullWT, EmbedWT, UnembedWT, Un+EmbedWT, and meta-training."""

from collections.abc import Sequence

from bayes_prompting import checks
from bayes_prompting import trees
from bayes_prompting import types

# Raise it when numbers change: networks and results depend on it.
NUMERICS = 1

EXAMPLES = (
  {'patterns': ('*',)},
  {'patterns': ('embedding',)},
  {'patterns': ('unembedding',)},
  {'start': 'random'},
)


def make(patterns: Sequence[str] = ('*',), start: str = 'given') -> types.Tuner:
  """Builds a tuner of weights; its tunable maps their paths to them.

  Args:
    patterns: Which weights, see `trees`: whole names of a path, `*` for all.
    start: `given` starts from the predictor's weights; `random` from newly
      initialised ones, which makes `fit` meta-training.

  Raises:
    UserError: If a pattern is not a string; from `init`, if a pattern matches
      no weight.
  """
  patterns = checks.strings('patterns', patterns)
  checks.one_of('start', start, ('given', 'random'))

  def init(key, predictor, params):
    if start == 'random':
      params = predictor.init(key)
    return trees.select(params, patterns)

  def bind(predictor, params, tunable):
    params = trees.replace(params, tunable)
    return params, predictor.start(params)

  return types.Tuner(init, bind)
