"""StatePT: tunes the predictor's state itself, the most any prompt can set.

Beyond the paper. A prompt acts only through the state that it leaves, so this
bounds from below what is lost with any prompt: of the same length for a
Transformer, whose state grows with the prompt (keys and values at its
positions, and at the beginning of sequence, which no prompt can set); of any
length for an LSTM.
"""

import jax

from bayes_prompting import types
from bayes_prompting.tuners import _initial

# Raise it when numbers change: networks and results depend on it.
NUMERICS = 2

EXAMPLES = ({'length': 3}, {'length': 1, 'init': 'zeros'})


def make(
  length: int = 6, init: str = 'one_hot', init_scale: float = 1.0
) -> types.Tuner:
  """Builds a tuner of the state that the predictor starts from.

  Args:
    length: K, the prefix length whose state has the same shape.
    init: The state starts as what K embedding rows leave. `one_hot` takes
      random unit vectors, `random_token` the embeddings of random tokens,
      `zeros`, `normal` and `uniform` rows of such numbers: those that SoftPT
      starts from, by the same name (`prefix`).
    init_scale: Standard deviation of `normal`, half width of `uniform`.
  """
  length, init, init_scale = _initial.check(length, init, init_scale)

  def first(key, predictor, params):
    token_key, value_key = jax.random.split(key)
    rows = _initial.token_rows(token_key, length, predictor.vocab_size)
    prefix = predictor.embed(params, rows)
    prefix = _initial.rows(value_key, init, init_scale, prefix)
    return predictor.prefill(params, prefix)

  def bind(predictor, params, tunable):
    del predictor
    return params, tunable

  return types.Tuner(first, bind)
