"""The best hard prefixes for exact Bayes.

Prefixes with the same statistic choose the same posterior, so they are scored
as one. `theory.gaps` says what a prefix loses.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from bayes_prompting import checks
from bayes_prompting import errors
from bayes_prompting import types
from bayes_prompting.theory import gaps as prompt_gaps

# The longest prefix that is tried by default.
LONGEST = 8
# The most predictions that are computed for all prefixes: ten seconds.
_MAX_PREDICTIONS = 100_000_000
# The most prefixes: each takes some time, however few predictions it is.
_MAX_PREFIXES = 25_000
# The most numbers in the values of one length, before equal ones are one.
_MAX_NUMBERS = 20_000_000
# To make a sum for new labels takes as long as to score this many prefixes.
_MAKING = 10


class Ranking(NamedTuple):
  """Hard prefixes of one length by what they lose, the best first.

  Prefixes with the same statistic stand together as one.

  Attributes:
    prefixes: P tuples of K tokens. Each is the first, in the order of tokens,
      of those that it stands for.
    sizes: float64 [P], how many prefixes each stands for; they sum to V^K.
    regrets: float64 [P], what Bayes loses to the oracle after each, in nats
      over the N tokens.
  """

  prefixes: tuple[tuple[int, ...], ...]
  sizes: np.ndarray
  regrets: np.ndarray


class Curve(NamedTuple):
  """The best hard prefix of each length.

  Attributes:
    lengths: int64 [P], K.
    prefixes: P tuples of K tokens.
    gaps: float64 [P], what Bayes after it loses to Bayes of the target, in nats
      over the N tokens.
  """

  lengths: np.ndarray
  prefixes: tuple[tuple[int, ...], ...]
  gaps: np.ndarray


class Prefixes(NamedTuple):
  """The prefixes of one length, one for each value of the statistic.

  Attributes:
    prefixes: P tuples of tokens, in the order of tokens.
    sizes: float64 [P], how many prefixes have the same value.
    values: int64 [P, D], the statistic after each.
  """

  prefixes: list[tuple[int, ...]]
  sizes: np.ndarray
  values: np.ndarray


def _by_length(prior):
  """Yields the prefixes of length 0, 1, 2, ..., in the order of tokens."""
  shorter = Prefixes([()], np.ones(1), np.array([prior.statistic.start]))
  vocab_size = prior.vocab_size
  while True:
    yield shorter
    tokens = np.tile(np.arange(vocab_size), len(shorter.prefixes))
    values = np.repeat(shorter.values, vocab_size, axis=0)
    values = prior.statistic.update(values, tokens)
    # The first prefix with a value continues the first of a shorter value.
    _, first, which = np.unique(
      values, axis=0, return_index=True, return_inverse=True
    )
    sizes = np.bincount(which.ravel(), np.repeat(shorter.sizes, vocab_size))
    order = np.argsort(first)
    first = first[order]
    prefixes = [
      (*shorter.prefixes[i // vocab_size], int(tokens[i])) for i in first
    ]
    shorter = Prefixes(prefixes, sizes[order], values[first])


def scorable(
  gaps: prompt_gaps.Gaps, max_length: int, required: bool
) -> Iterator[Prefixes]:
  """Yields the prefixes of lengths 0 to `max_length`, as far as is cheap.

  Raises:
    UserError: If `max_length` is required and not cheap.
  """
  budget = min(_MAX_PREDICTIONS / gaps.histories, _MAX_PREFIXES)
  made = {tuple(gaps.start)}
  by_length, numbers = _by_length(gaps.prior), 1
  for length in range(max_length + 1):
    is_cheap = numbers <= _MAX_NUMBERS
    if is_cheap:  # Else they are not even made.
      candidates = next(by_length)
      numbers = candidates.values.size * gaps.prior.vocab_size
      budget -= len(candidates.prefixes)
      labels = set(map(tuple, gaps.labels(candidates.values)))
      budget -= _MAKING * len(labels - made)
      # More sums than are kept are forgotten, and made again for the next.
      made = labels | made if len(labels | made) <= prompt_gaps.KEPT else set()
      is_cheap = budget >= 0
    if not is_cheap and required:
      raise errors.UserError(
        f'prefix_length: too many prefixes to score at {length}; take shorter '
        'prefixes, or a shorter length'
      )
    if not is_cheap:
      return
    yield candidates


def optimal_hard_prefix(
  prior: types.TaskPrior,
  target: types.TaskPrior,
  prefix_length: int,
  length: int = 50,
) -> Ranking:
  """Ranks all hard prefixes of K tokens by what Bayes loses after them.

  Only statistics are scored: of coins there are K + 1, not 2^K.

  Args:
    prior: Whose posterior predictive is judged.
    target: Where the sequences come from.
    prefix_length: K; with 0 the only prefix is the empty one, `()`.
    length: N.

  Returns:
    Their exact ranking; equal ones stand in the order of tokens.

  Raises:
    UserError: If there is no exact answer, as for a prior without a statistic,
      or no cheap one.
  """
  checks.integer('prefix_length', prefix_length, 0)
  gaps = prompt_gaps.Gaps(prior, target, length)
  *_, candidates = scorable(gaps, prefix_length, required=True)
  lost = gaps.each(candidates.values)
  order = np.argsort(prompt_gaps.rounded(lost), kind='stable')
  return Ranking(
    prefixes=tuple(candidates.prefixes[i] for i in order),
    sizes=candidates.sizes[order],
    regrets=lost[order] + gaps.target_regret,
  )


def gap_curve(
  prior: types.TaskPrior,
  target: types.TaskPrior,
  length: int = 50,
  max_prefix_length: int | None = None,
) -> Curve:
  """Returns the best hard prefix of each length, and what it loses.

  Args:
    prior: Whose posterior predictive is judged.
    target: Where the sequences come from.
    length: N.
    max_prefix_length: The longest K; by default 8, or less where 8 is not
      cheap.

  Raises:
    UserError: See `optimal_hard_prefix`.
  """
  required = max_prefix_length is not None
  longest = max_prefix_length if required else LONGEST
  return curve_of(prompt_gaps.Gaps(prior, target, length), longest, required)


def curve_of(
  gaps: prompt_gaps.Gaps, max_prefix_length: int, required: bool
) -> Curve:
  """Returns `gap_curve` from its gaps; shorter if not cheap nor required."""
  longest = checks.integer('max_prefix_length', max_prefix_length, 0)
  best = []
  for candidates in scorable(gaps, longest, required):
    lost = gaps.each(candidates.values)
    first = prompt_gaps.rounded(lost).argmin()
    best.append((candidates.prefixes[first], lost[first]))
  prefixes, lost = zip(*best, strict=True)
  return Curve(np.arange(len(best)), prefixes, np.array(lost))
