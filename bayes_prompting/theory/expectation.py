"""Exact answers without a network and without sampling.

Where a prior has a sufficient statistic of fixed size, expectations over all
V^N sequences are sums over its values: O(N^(V-1)) counts a step for memoryless
sources, O(N^(V(V-1))) transition counts for chains of order 1.
"""

from collections.abc import Sequence
import dataclasses
from typing import NamedTuple

import numpy as np

from bayes_prompting import checks
from bayes_prompting import errors
from bayes_prompting import types
from bayes_prompting.theory import histories

# Raise it when numbers change: networks and results depend on it.
NUMERICS = 1


class Losses(NamedTuple):
  """Expected log losses on a target, in nats a step.

  Attributes:
    bayes: float64 [N], of Bayes under the prior; inf where the prior rules out
      what occurs.
    oracle: float64 [N], of the sources themselves.
  """

  bayes: np.ndarray
  oracle: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class Expectation:
  """What a target shows a prior in N tokens, and how likely.

  Made once for a prior and a target, it is asked after any prompt: since what
  tokens add to counts depends on labels alone, another start of the counts is
  the same sum at values that are all raised as much. `added` is [D]: that much
  more of the counts, not negative, real; zero where there are labels.

  Attributes:
    statistic: Of the prior.
    values: int64 [S, D], it before each token: S histories, in N steps.
    step: int64 [S], how many tokens came before.
    joint: float64 [S, V], the probability under the target of this history and
      this next token.
    log_target: float64 [S, V], log posterior predictive of the target.
    oracle: float64 [N], expected log loss of the source, see `Losses`.
  """

  statistic: types.Statistic
  values: np.ndarray
  step: np.ndarray
  joint: np.ndarray
  log_target: np.ndarray
  oracle: np.ndarray

  def log_predictive(self, added: types.Array = 0.0) -> np.ndarray:
    """Returns that of the prior [S, V], in nats."""
    return histories.evaluate(
      self.statistic.log_predictive, self.values + added
    )

  def losses(self, added: types.Array = 0.0) -> Losses:
    """Returns the expected log losses."""
    return Losses(self._losses(self.log_predictive(added)), self.oracle)

  def target_regret(self) -> float:
    """Returns what Bayes of the target loses to the oracle, in nats over N."""
    return float((self._losses(self.log_target) - self.oracle).sum())

  def _losses(self, log_probs):
    occurs = self.joint > 0
    terms = self.joint * -np.where(occurs, log_probs, 0.0)
    return np.bincount(self.step, terms.sum(-1), len(self.oracle))

  def gaps(self, added: types.Array = 0.0) -> np.ndarray:
    """Returns what Bayes of the prior loses above that of the target.

    It is the mean KL of their predictives p and q, as the sum over v of
    p (q / p - 1 - log(q / p)): no term is negative, so that even the smallest
    gaps have all their digits.

    Returns:
      float64 [N], nats a step.
    """
    log_probs, occurs = self.log_predictive(added), self.joint > 0
    log_ratio = np.where(occurs, log_probs, 0.0)
    log_ratio -= np.where(occurs, self.log_target, 0.0)
    terms = self.joint * (np.expm1(log_ratio) - log_ratio)
    if not occurs.all():  # There p is 0, and the term q.
      mass = self.joint.sum(-1, keepdims=True)
      terms += np.where(occurs, 0.0, mass * np.exp(log_probs))
    return np.bincount(self.step, terms.sum(-1), len(self.oracle))

  def deviation(self, added: types.Array = 0.0) -> float:
    """Returns the largest difference of two predicted probabilities.

    Over all that the target may ever show, however rarely: what tells apart
    posteriors that agree on what is likely.
    """
    apart = np.exp(self.log_predictive(added)) - np.exp(self.log_target)
    return float(np.abs(apart).max())


def expectation(
  prior: types.TaskPrior,
  target: types.TaskPrior,
  length: int,
  start: types.Array | None = None,
) -> Expectation | None:
  """Returns the distribution of what `prior` keeps of N tokens of `target`.

  With s the pair of statistics of the first n tokens under both, P follows by
  the recursion P(update(s, v)) += P(s) p_target(v | s).

  Args:
    prior: Whose posterior predictive is judged.
    target: Where the sequences come from: a single source, or a prior.
    length: N.
    start: Whole numbers [D], what `prior` starts from; that of its statistic
      without it.

  Returns:
    The histories that occur; None where there is no such sum, or no cheap one:
    a prior without a statistic, too many values.

  Raises:
    UserError: If the length or the start is wrong, or vocabularies differ.
  """
  length = checks.integer('length', length, 1)
  if prior.vocab_size != target.vocab_size:
    raise errors.UserError(
      f'target: has {target.vocab_size} tokens, but the prior has '
      f'{prior.vocab_size}'
    )
  if prior.statistic is None or target.statistic is None:
    return None
  start = _start(prior.statistic, start)[None]
  levels = histories.reachable(prior.statistic, start, target.statistic, length)
  if levels is None:
    return None
  split = start.shape[-1]
  values = np.concatenate([level for level, _ in levels])
  log_target = histories.evaluate(
    target.statistic.log_predictive, values[:, split:]
  )
  entropy = histories.evaluate(
    target.statistic.source_entropy, values[:, split:]
  )
  weight, joint = np.zeros(len(values)), np.exp(log_target)
  mass, first = np.ones(1), 0
  for level, following in levels:
    here = slice(first, first + len(level))
    weight[here] = mass
    joint[here] *= mass[:, None]
    mass = np.bincount(following.ravel(), joint[here].ravel())
    first = here.stop
  step = np.repeat(np.arange(length), [len(level) for level, _ in levels])
  occurs = weight > 0
  weight, step = weight[occurs], step[occurs]
  return Expectation(
    statistic=prior.statistic,
    values=values[occurs, :split],
    step=step,
    joint=joint[occurs],
    log_target=log_target[occurs],
    oracle=np.bincount(step, weight * entropy[occurs], length),
  )


def expected_losses(
  prior: types.TaskPrior,
  target: types.TaskPrior,
  length: int,
  prefix: Sequence[int] = (),
  pseudo_counts: Sequence[float] | None = None,
) -> Losses | None:
  """Returns what Bayes under `prior`, and the oracle, lose on `target`.

  The expected log loss of token n is -sum_s P(s) sum_v p_target(v | s)
  log p_prior(v | s), see `expectation`. The oracle's is sum_s P(s) H(s), H the
  posterior mean of the source's entropy.

  Args:
    prior: Whose posterior predictive is judged.
    target: Where the sequences come from: a single source, or a prior.
    length: N.
    prefix: Tokens that `prior` is conditioned on first.
    pseudo_counts: [D], not negative, added to the counts of the statistic of
      `prior` after the prefix; other entries must be zero.

  Returns:
    Their losses; None where `expectation` is.

  Raises:
    UserError: If an argument is wrong.
  """
  start, added = None, 0.0
  prefix = tokens('prefix', prefix, prior.vocab_size)
  if prior.statistic is not None:
    start = after(prior.statistic, prefix)
    if pseudo_counts is not None:
      added = _added(prior.statistic, pseudo_counts)
  found = expectation(prior, target, length, start)
  return None if found is None else found.losses(added)


def after(statistic: types.Statistic, prefix: Sequence[int]) -> np.ndarray:
  """Returns the value int64 [D] of a statistic after a prefix."""
  value = np.array([statistic.start], np.int64)
  for token in prefix:
    value = statistic.update(value, np.array([token]))
  return value[0]


def tokens(field: str, value: object, vocab_size: int) -> tuple[int, ...]:
  """Returns `value` if it is tokens, whole numbers of 0 to V - 1.

  Raises:
    UserError: If not.
  """
  found = np.asarray(value)
  if found.size and (
    found.ndim != 1
    or found.dtype.kind not in 'iu'
    or found.min() < 0
    or found.max() >= vocab_size
  ):
    raise errors.UserError(
      f'{field}: must be tokens, whole numbers of 0 to {vocab_size - 1}, got '
      f'{checks.show(value)}'
    )
  return tuple(found.tolist())


def _start(statistic, value):
  """Returns `value`, or what the statistic starts from, as int64 [D]."""
  if value is None:
    return np.asarray(statistic.start, np.int64)
  size, found = len(statistic.start), np.asarray(value)
  if (
    found.shape != (size,)
    or found.dtype.kind not in 'iuf'
    or not np.all(np.isfinite(found))
    or np.any(found != np.round(found))
  ):
    raise errors.UserError(
      f'start: must be {size} whole numbers, got {checks.show(value)}'
    )
  return found.astype(np.int64)


def _added(statistic, value):
  """Returns `value` as pseudo-counts float64 [D]."""
  found, counts = np.asarray(value), np.asarray(statistic.counts)
  if (
    found.shape != counts.shape
    or found.dtype.kind not in 'iuf'
    or not np.all(np.isfinite(found))
    or np.any(found < 0)
    or np.any(found[~counts])
  ):
    raise errors.UserError(
      f'pseudo_counts: must be {len(counts)} finite numbers that are not '
      f'negative, 0 where there are labels, got {checks.show(value)}'
    )
  return found.astype(np.float64)


def expected_regret(
  prior: types.TaskPrior,
  target: types.TaskPrior,
  length: int,
  prefix: Sequence[int] = (),
  pseudo_counts: Sequence[float] | None = None,
) -> np.ndarray | None:
  """Returns what Bayes under `prior` loses to the oracle of `target`.

  Args:
    prior: Whose posterior predictive is judged.
    target: Where the sequences come from.
    length: N.
    prefix: See `expected_losses`.
    pseudo_counts: See `expected_losses`.

  Returns:
    float64 [N], expected regret at each step in nats (its sum over n is the
    cumulative one), or None where there is no sum, see `expected_losses`.

  Raises:
    UserError: If an argument is wrong.
  """
  losses = expected_losses(prior, target, length, prefix, pseudo_counts)
  return None if losses is None else losses.bayes - losses.oracle
