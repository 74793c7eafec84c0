"""The best hard prefixes for exact Bayes.

A prompt conditions Bayes under a prior, and so chooses one of its posteriors.
Prefixes with the same statistic choose the same, and are scored as one. What a
prompt loses is a *gap*: the KL from Bayes under the target's own prior to Bayes
under the prior with this prompt, in nats over the N tokens of a sequence.
"""

import collections
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from bayes_prompting import checks
from bayes_prompting import errors
from bayes_prompting import types
from bayes_prompting.theory import expectation as expectation_lib

# The longest prefix that is tried where none is asked for.
LONGEST = 8
# Predictions that may be computed for all prefixes: ten seconds.
_MAX_PREDICTIONS = 100_000_000
# Sums of so many labels are kept, each of up to hundreds of megabytes; to make
# one takes as long as to ask it this often.
_KEPT, _MAKING = 8, 10


class Ranking(NamedTuple):
  """Hard prefixes of one length by what they lose, the best first.

  Prefixes with the same statistic are one.

  Attributes:
    prefixes: P tuples of K tokens, the first in the order of tokens of each.
    sizes: float64 [P], how many prefixes it stands for; they sum to V^K.
    regrets: float64 [P], what Bayes loses to the oracle after it, in nats over
      the N tokens.
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


class Gaps:
  """What every prompt loses, for one prior, target and length N.

  Attributes:
    prior: That a prompt conditions.
    target: Where the sequences come from.
    length: N.
    start: float64 [D], the statistic of the prior before any prompt.
    is_count: bool [D].
    histories: S, how many the sum without a prompt is over.
    target_regret: What Bayes of the target loses to the oracle, in nats over N.
  """

  def __init__(
    self, prior: types.TaskPrior, target: types.TaskPrior, length: int
  ):
    """Checks the two priors.

    Raises:
      UserError: If one has no statistic, their vocabularies differ, or there
        are too many histories to sum over.
    """
    self.length = checks.integer('length', length, 1)
    for name, one in (('prior', prior), ('target', target)):
      if one.statistic is None:
        raise errors.UserError(
          f'{name}: has no sufficient statistic of a fixed, small size, which '
          'exact answers need'
        )
    if prior.vocab_size != target.vocab_size:
      raise errors.UserError(
        f'target: has {target.vocab_size} tokens, but the prior has '
        f'{prior.vocab_size}'
      )
    self.prior, self.target = prior, target
    self.start = np.asarray(prior.statistic.start, np.float64)
    self.is_count = np.asarray(prior.statistic.counts)
    self._kept, self._known = collections.OrderedDict(), {}
    sums = self.expectation(self.start)
    self.histories = len(sums.values)
    self.target_regret = sums.target_regret()

  def labels(self, values: np.ndarray) -> np.ndarray:
    """Returns values [..., D] with the counts of the start."""
    return np.where(self.is_count, self.start, values)

  def expectation(self, value: np.ndarray) -> expectation_lib.Expectation:
    """Returns the sum from the labels of a value [D]; the last few are kept."""
    start = self.labels(value)
    key = tuple(start)
    if key not in self._kept:
      found = expectation_lib.expectation(
        self.prior, self.target, self.length, start
      )
      if found is None:
        raise errors.UserError(
          f'length: too many histories to sum over at {self.length}; a shorter '
          'one has fewer'
        )
      self._kept[key] = found
      if len(self._kept) > _KEPT:
        self._kept.popitem(last=False)
    self._kept.move_to_end(key)
    return self._kept[key]

  def added(self, value: np.ndarray) -> np.ndarray:
    """Returns the counts [D] of a value beyond those of the start."""
    return np.where(self.is_count, value - self.start, 0.0)

  def after(self, prefix: Sequence[int]) -> np.ndarray:
    """Returns the statistic [D] after a hard prefix."""
    return expectation_lib.after(self.prior.statistic, prefix).astype(
      np.float64
    )

  def steps(self, value: np.ndarray) -> np.ndarray:
    """Returns the gap at each step [N], of the statistic at a value [D]."""
    return self.expectation(value).gaps(self.added(value))

  def gap(self, value: np.ndarray) -> float:
    """Returns the gap over all steps, computed once for each value."""
    key = tuple(value)
    if key not in self._known:
      self._known[key] = float(self.steps(value).sum())
    return self._known[key]

  def each(self, values: np.ndarray) -> np.ndarray:
    """Returns the gap at each of values [P, D], those with one label at once.

    So that the sum of no label is made twice.
    """
    found = np.empty(len(values))
    for i in np.lexsort(self.labels(values).T):
      found[i] = self.gap(values[i])
    return found

  def deviation(self, value: np.ndarray) -> float:
    """Returns `theory.Expectation.deviation`."""
    return self.expectation(value).deviation(self.added(value))


class Prefixes(NamedTuple):
  """One prefix of a length for each value of the statistic.

  Attributes:
    prefixes: P of them, in the order of tokens.
    sizes: float64 [P], how many have this value.
    values: int64 [P, D].
  """

  prefixes: list[tuple[int, ...]]
  sizes: np.ndarray
  values: np.ndarray


def _by_length(prior):
  """Yields the prefixes of length 0, 1, 2, ..., in the order of tokens."""
  found = Prefixes([()], np.ones(1), np.array([prior.statistic.start]))
  vocab_size = prior.vocab_size
  while True:
    yield found
    tokens = np.tile(np.arange(vocab_size), len(found.prefixes))
    values = np.repeat(found.values, vocab_size, axis=0)
    values = prior.statistic.update(values, tokens)
    # What comes first in the order of tokens continues what comes first.
    _, first, which = np.unique(
      values, axis=0, return_index=True, return_inverse=True
    )
    sizes = np.bincount(which.ravel(), np.repeat(found.sizes, vocab_size))
    order = np.argsort(first)
    found = Prefixes(
      [
        (*found.prefixes[i // vocab_size], int(tokens[i])) for i in first[order]
      ],
      sizes[order],
      values[first[order]],
    )


def scorable(gaps: Gaps, max_length: int, required: bool) -> Iterator[Prefixes]:
  """Yields the prefixes of lengths 0 to `max_length`, as far as is cheap.

  Raises:
    UserError: If that is not as far, and required.
  """
  budget = _MAX_PREDICTIONS / gaps.histories
  made = {tuple(gaps.start)}
  for length, found in zip(
    range(max_length + 1), _by_length(gaps.prior), strict=False
  ):
    budget -= len(found.prefixes)
    labels = set(map(tuple, gaps.labels(found.values)))
    budget -= _MAKING * len(labels - made)
    # Of more they are forgotten, and made again at the next length.
    made = labels | made if len(labels | made) <= _KEPT else set()
    if budget < 0 and required:
      raise errors.UserError(
        f'prefix_length: too many prefixes to score at {length}; take shorter '
        'prefixes, or a shorter length'
      )
    if budget < 0:
      return
    yield found


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
    Their ranking, exact; of equals the first in the order of tokens is first.

  Raises:
    UserError: Where there is no exact answer (a prior without a statistic), or
      no cheap one.
  """
  checks.integer('prefix_length', prefix_length, 0)
  gaps = Gaps(prior, target, length)
  *_, found = scorable(gaps, prefix_length, required=True)
  lost = gaps.each(found.values)
  order = np.argsort(rounded(lost), kind='stable')
  return Ranking(
    prefixes=tuple(found.prefixes[i] for i in order),
    sizes=found.sizes[order],
    regrets=lost[order] + gaps.target_regret,
  )


def rounded(lost: types.Array) -> np.ndarray:
  """Makes equal what differs by the order of a sum only."""
  return np.round(lost, 9)


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
    max_prefix_length: The longest K; without it 8, or less where that is not
      cheap.

  Raises:
    UserError: See `optimal_hard_prefix`.
  """
  required = max_prefix_length is not None
  longest = max_prefix_length if required else LONGEST
  return curve_of(Gaps(prior, target, length), longest, required)


def curve_of(gaps: Gaps, max_prefix_length: int, required: bool) -> Curve:
  """Returns `gap_curve`, shorter where that is not cheap and not required."""
  longest = checks.integer('max_prefix_length', max_prefix_length, 0)
  best = []
  for found in scorable(gaps, longest, required):
    lost = gaps.each(found.values)
    first = rounded(lost).argmin()
    best.append((found.prefixes[first], lost[first]))
  prefixes, lost = zip(*best, strict=True)
  return Curve(np.arange(len(best)), prefixes, np.array(lost))
