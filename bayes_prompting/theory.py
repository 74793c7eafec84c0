"""Exact answers without a network and without sampling.

Where a prior has a sufficient statistic of fixed size, expectations over all
V^N sequences are sums over its values: O(N^(V-1)) counts a step for memoryless
sources, O(N^(V(V-1))) transition counts for chains of order 1.
"""

from collections.abc import Sequence
import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bayes_prompting import types

# More values than these, over all steps, are not summed over: seconds.
_MAX_VALUES = 3_000_000
# Nor values of more numbers than these in all: some hundred megabytes.
_MAX_NUMBERS = 40_000_000
# Values whose predictions are computed at once: one compiled program.
_BLOCK = 8192


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
    return _evaluate(self.statistic.log_predictive, self.values + added)

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
  """
  if prior.statistic is None or target.statistic is None:
    return None
  start = prior.statistic.start if start is None else start
  start = np.asarray(start, np.int64)[None]
  levels = _reachable(prior.statistic, start, target.statistic, length)
  if levels is None:
    return None
  split = start.shape[-1]
  values = np.concatenate([level for level, _ in levels])
  log_target = _evaluate(target.statistic.log_predictive, values[:, split:])
  entropy = _evaluate(target.statistic.source_entropy, values[:, split:])
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
  """
  start = None
  if prior.statistic is not None:
    start = np.array([prior.statistic.start])
    for token in prefix:
      start = prior.statistic.update(start, np.array([token]))
    start = start[0]
  found = expectation(prior, target, length, start)
  if found is None:
    return None
  return found.losses(0.0 if pseudo_counts is None else pseudo_counts)


def _reachable(statistic, start, other, length):
  """Returns the pairs of values before each of N tokens, and what follows them.

  Returns:
    For each step values [S, D] and indices [S, V] of those of the next step;
    None if there are too many.
  """
  vocab_size = len(other.log_predictive(np.array(other.start, np.float32)))
  split = start.shape[-1]
  level = np.concatenate([start, [other.start]], axis=-1)
  levels, total = [], 0
  limit = min(_MAX_VALUES, _MAX_NUMBERS // level.shape[-1])
  for n in range(length):
    # Later steps have no fewer values: that there are too many shows early.
    if total + len(level) * max(1 + vocab_size, length - n) > limit:
      return None
    total += len(level)
    values = np.repeat(level, vocab_size, axis=0)
    tokens = np.tile(np.arange(vocab_size), len(level))
    after = np.concatenate(
      [
        statistic.update(values[:, :split], tokens),
        other.update(values[:, split:], tokens),
      ],
      axis=-1,
    )
    distinct, index = _distinct(after)
    levels.append((level, index.reshape(-1, vocab_size)))
    level = distinct
  return levels


def _distinct(values):
  """Returns the distinct rows of whole numbers [S, D], and which each was."""
  least = values.min(0)
  span = values.max(0) - least + 1
  if np.log2(span).sum() < 62:  # The product may be beyond any float.
    # Numbers in a mixed base sort much faster than rows.
    keys = (values - least) @ np.cumprod([1, *span[:-1]])
  else:
    keys = np.ascontiguousarray(values).view(f'V{values[0].nbytes}').ravel()
  _, first, index = np.unique(keys, return_index=True, return_inverse=True)
  return values[first], index.ravel()


# Another wrapper of the same function would find its program, but slowly.
_compiled = functools.lru_cache(maxsize=64)(jax.jit)


def _evaluate(function, values):
  """Evaluates a function of a statistic on [S, D], in float64."""
  count = len(values)
  block = min(_BLOCK, 1 << (count - 1).bit_length())
  values = np.asarray(values, np.float64)
  padded = np.pad(values, ((0, -count % block), (0, 0)), mode='edge')
  with jax.enable_x64(True):
    compute = _compiled(function)
    found = [
      np.asarray(compute(jnp.asarray(padded[i : i + block])))
      for i in range(0, count, block)
    ]
  return np.concatenate(found)[:count]


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
  """
  losses = expected_losses(prior, target, length, prefix, pseudo_counts)
  return None if losses is None else losses.bayes - losses.oracle
