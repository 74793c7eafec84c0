"""Whether a posterior of one prior is another prior: all predictions agree.

On all that may happen in N tokens, and after many more tokens of any source: a
part of the prior that evidence has made unlikely is still there, and shows.
"""

import jax
import numpy as np

from bayes_prompting.theory import hard_prefixes
from bayes_prompting.theory import histories

# Where a posterior is the target's prior, no gap is left, and no prediction
# differs by more than rounding, even after what is very unlikely.
GAP, _DEVIATION = 1e-8, 1e-7  # Nats; probability.
# Nor after this many tokens of any source of the prior: by much more where a
# source is left that only evidence has made unlikely.
_BEYOND, _BEYOND_TOKENS = 1e-5, 256


def holds(gaps: hard_prefixes.Gaps, value: np.ndarray) -> bool:
  """Returns whether the posterior at a value [D] is the target's prior."""
  if gaps.gap(value) > GAP or gaps.deviation(value) > _DEVIATION:
    return False
  return _deviation_beyond(gaps, value) <= _BEYOND


def _deviation_beyond(gaps, value):
  """Returns the largest difference of predictions after any source's tokens.

  What evidence has made ever so unlikely is back after enough tokens of its
  own; only what is impossible stays so.
  """
  prior, target = gaps.prior.statistic, gaps.target.statistic
  tables = _sources(gaps.prior)
  starts = gaps.labels(value), np.asarray(target.start)
  ours, theirs = (
    np.tile(start.astype(np.int64), (len(tables), 1)) for start in starts
  )
  # Counts may be raised by many times as much, where both have some.
  scales = (1, 10, 100, 1e3, 1e4)
  if not (any(prior.counts) and any(target.counts)):
    scales = (1,)
  apart = 0.0
  for seen, tokens in enumerate(_draw(tables), 1):
    ours, theirs = prior.update(ours, tokens), target.update(theirs, tokens)
    if seen not in (_BEYOND_TOKENS // 16, _BEYOND_TOKENS):
      continue
    for scale in scales:
      found = [
        np.exp(histories.evaluate(one.log_predictive, raised))
        for one, raised in (
          (prior, _raise(prior, ours, scale) + gaps.added(value)),
          (target, _raise(target, theirs, scale)),
        )
      ]
      apart = max(apart, np.abs(found[0] - found[1]).max())
  return float(apart)


def _raise(statistic, values, scale):
  """Returns values [P, D] with counts beyond the start that much larger."""
  more = (scale - 1) * (values - np.asarray(statistic.start))
  return values + np.where(statistic.counts, more, 0)


def _sources(prior):
  """Returns sources of each part of the prior's support, [P, V^k, V]."""
  tables = list(prior.support.points)
  if not prior.support.finite and prior.sample_table:
    keys = jax.random.split(jax.random.key(0), 16)
    drawn = np.exp(jax.vmap(prior.sample_table)(keys), dtype=np.float64)
    tables += [*drawn]
  rows = max(map(len, tables))
  # The older tokens, which make no difference, are the leading digits.
  return np.stack([np.tile(x, (rows // len(x), 1)) for x in tables])


def _draw(tables):
  """Yields tokens [P] of each of P sources, many times."""
  rng, context = np.random.default_rng(0), np.zeros(len(tables), np.int64)
  rows, vocab_size = tables.shape[1:]
  for _ in range(_BEYOND_TOKENS):
    probs = tables[np.arange(len(tables)), context]
    below = probs.cumsum(-1) <= rng.random((len(tables), 1)) * probs.sum(
      -1, keepdims=True
    )
    tokens = below.sum(-1)
    context = (context * vocab_size + tokens) % rows
    yield tokens
