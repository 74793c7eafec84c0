"""StatePT: tunes the predictor's state itself, the most any prompt can set.

Beyond the paper. A prompt acts only through the state that it leaves, so this
bounds from below what is lost with any prompt: of the same length for a
Transformer, whose state grows with the prompt (keys and values at its
positions, and at the beginning of sequence, which no prompt can set); of any
length for an LSTM.
"""

from bayes_prompting import types
from bayes_prompting.tuners import _initial

# Raise it when numbers change: networks and results depend on it.
NUMERICS = 2

EXAMPLES = (
  {'length': 3},
  {'length': 1, 'init': 'zeros'},
  {
    'length': 2,
    'init': 'tokens',
    'tokens': {'name': 'categorical', 'probabilities': (0.2, 0.8)},
  },
)


def make(
  length: int = 6,
  init: str = 'one_hot',
  init_scale: float = 1.0,
  tokens: _initial.Tokens = None,
) -> types.Tuner:
  """Builds a tuner of the state that the predictor starts from.

  Args:
    length: K, the prefix length whose state has the same shape.
    init: The state starts as what K embedding rows leave. `one_hot` takes
      random unit vectors, `random_token` the embeddings of random tokens,
      `tokens` those of `tokens`, `zeros`, `normal` and `uniform` rows of such
      numbers: those that SoftPT starts from, by the same name (`prefix`).
    init_scale: Standard deviation of `normal`, half width of `uniform`.
    tokens: Of `init='tokens'`: K tokens, or the spec of a task prior, from
      which each repetition draws.
  """
  start = _initial.check(length, init, init_scale, tokens)

  def first(key, predictor, params):
    prefix = start.rows(
      key, predictor.vocab_size, lambda rows: predictor.embed(params, rows)
    )
    return predictor.prefill(params, prefix)

  def bind(predictor, params, tunable):
    del predictor
    return params, tunable

  return types.Tuner(first, bind)
