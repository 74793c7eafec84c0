"""Prefixes of real tokens: HardPT finds the best, RandomPF draws one."""

import math

import jax
import jax.numpy as jnp
import numpy as np

from bayes_prompting import checks
from bayes_prompting import errors
from bayes_prompting import types
from bayes_prompting.tuners import _initial
from bayes_prompting.tuners import _search

# Raise it when numbers change: networks and results depend on it.
NUMERICS = 1

EXAMPLES = (
  {'length': 2},
  {'length': 3, 'choose': 'random'},
  {'length': 5, 'max_candidates': 20},
)


def _rows(predictor, params, tunable):
  """Returns the embeddings [K, E] of tokens [K]."""
  tokens = jax.nn.one_hot(tunable, predictor.vocab_size, dtype=jnp.float32)
  return predictor.embed(params, tokens)


# Of the module, and not of one tuner: what is compiled for one serves all.
def _bind(predictor, params, tunable):
  prefix = _rows(predictor, params, tunable)
  return params, predictor.prefill(params, prefix)


def make(
  length: int = 6,
  choose: str = 'best',
  max_candidates: int = 4096,
  search: str = 'auto',
) -> types.Tuner:
  """Builds a tuner whose tunable is int32 [K] tokens.

  Args:
    length: K.
    choose: `best` takes the prefix with the smallest loss on common draws from
      the target (see `search.search`); `random` draws the tokens uniformly.
    max_candidates: The most prefixes that are scored for a repetition: the
      budget. A prediction of one sequence of all draws counts, a gradient as
      three.
    search: How the best is looked for. `all` scores all V^K, and refuses more
      than `max_candidates`; `greedy`, `beam`, `coordinate`, `evolution` and
      `race` score some, see `tuners._search`; `auto` is `all` where that is
      allowed, else `race` where that gets to all, and else `coordinate`.
  """
  length = checks.integer('length', length, 1, _initial.MOST_ROWS)
  checks.one_of('choose', choose, ('best', 'random'))
  checks.integer('max_candidates', max_candidates, 1)
  checks.one_of('search', search, ('auto', 'all', *_search.NAMES))

  def first(key, predictor, params):
    del params
    return jax.random.randint(
      key, (length,), 0, predictor.vocab_size, jnp.int32
    )

  def candidates(predictor):
    vocab_size = predictor.vocab_size
    # Compared as logarithms first: V^K may be any number.
    too_many = (
      length * math.log2(vocab_size) > 31 or vocab_size**length > max_candidates
    )
    if search not in ('auto', 'all') or (search == 'auto' and too_many):
      size = vocab_size, length, max_candidates
      name = search
      if search == 'auto':
        name = 'race' if _search.race_reaches_all(*size) else 'coordinate'
      return _search.make(name, *size)
    if too_many:
      raise errors.UserError(
        f'length: a hard prefix of length {length} over {vocab_size} tokens '
        f'has {vocab_size}^{length} candidates, more than max_candidates='
        f'{max_candidates}; shorten it, raise max_candidates, or take '
        "search='auto'"
      )
    count = vocab_size**length
    # The base-V digits of 0 ... V^K - 1, the most significant first.
    place = predictor.vocab_size ** np.arange(length - 1, -1, -1)
    index = np.arange(count)[:, None]
    return (index // place % predictor.vocab_size).astype(np.int32)

  return types.Tuner(
    first,
    _bind,
    candidates=candidates if choose == 'best' else None,
    trainable=False,
    rows=_rows,
  )
