"""Prefixes tuned by gradient descent: SoftPT, RealPT and SimplexPT.

Inside the predictor all of them are embedding rows [K, E]. They differ in the
space that is searched. With z what is tuned, and W and b of the embedding:

    soft:     z
    real:     z W + b
    simplex:  softmax(z) W + b

These are any rows, embeddings of any real rows over the vocabulary, and
embeddings of mixtures of tokens.
"""

import jax
import jax.numpy as jnp

from bayes_prompting import checks
from bayes_prompting import types
from bayes_prompting.tuners import _initial

# Raise it when numbers change: networks and results depend on it.
NUMERICS = 2

EXAMPLES = (
  {'form': 'soft', 'length': 3},
  {'form': 'real', 'length': 2, 'init': 'normal'},
  {'form': 'simplex', 'length': 3, 'init': 'random_token'},
  {'form': 'simplex', 'length': 1, 'init': 'uniform', 'init_scale': 0.5},
  {'form': 'soft', 'length': 1, 'init': 'zeros'},
  {'form': 'soft', 'length': 2, 'init': 'tokens', 'tokens': (1, 0)},
)

# A simplex prefix of tokens starts at mixtures that hold this much of the
# token: softmax reaches 1 only at infinity, where its gradient is zero.
_TOKEN_MASS = 0.9


def _smoothed_log(rows: types.Array) -> types.Array:
  other = (1 - _TOKEN_MASS) / (rows.shape[-1] - 1)
  return jnp.log(rows * (_TOKEN_MASS - other) + other)


# form -> (token rows to tuned coordinates, tuned coordinates to prefix), both
# functions of (predictor, params, array).
_FORMS = {
  'soft': (
    lambda predictor, params, rows: predictor.embed(params, rows),
    lambda predictor, params, z: z,
  ),
  'real': (
    lambda predictor, params, rows: rows,
    lambda predictor, params, z: predictor.embed(params, z),
  ),
  'simplex': (
    lambda predictor, params, rows: _smoothed_log(rows),
    lambda predictor, params, z: predictor.embed(params, jax.nn.softmax(z)),
  ),
}


def make(
  form: str = 'soft',
  length: int = 6,
  init: str = 'one_hot',
  init_scale: float = 1.0,
  tokens: _initial.Tokens = None,
) -> types.Tuner:
  """Builds a tuner of a prefix; its tunable is one array.

  Args:
    form: `soft` tunes [K, E] embedding rows; `real` tunes [K, V] rows z that
      enter as z W + b; `simplex` tunes [K, V] logits that enter as
      softmax(z) W + b.
    length: K.
    init: What each row starts from, in the coordinates that are tuned.
      `one_hot` is a random unit vector, as in the code that the paper
      published: an embedding of norm 1 (soft), a token (real), softmax of a
      one-hot row (simplex: e / (e + V - 1) of a token, 0.73 for two). `normal`
      is independent normal numbers: a soft row has a norm of about sqrt(E), 11
      at the paper's width. `random_token` is the embedding of a token (soft),
      a token (real), a mixture with 0.9 of a token (simplex). `zeros` is an
      embedding of zeros (soft), a row without any token (real), the uniform
      mixture (simplex), in every run the same. `uniform` is independent
      uniform numbers. `tokens` is as `random_token`, of those of `tokens`.
    init_scale: Standard deviation of `normal`, half width of `uniform`.
    tokens: Of `init='tokens'`: K tokens, or the spec of a task prior, from
      which each repetition draws.
  """
  checks.one_of('form', form, _FORMS)
  start = _initial.check(length, init, init_scale, tokens)
  from_tokens, to_prefix = _FORMS[form]

  def first(key, predictor, params):
    return start.rows(
      key,
      predictor.vocab_size,
      lambda rows: from_tokens(predictor, params, rows),
    )

  def bind(predictor, params, tunable):
    prefix = to_prefix(predictor, params, tunable)
    return params, predictor.prefill(params, prefix)

  return types.Tuner(first, bind, rows=to_prefix)
