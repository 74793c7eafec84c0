"""Exact answers without a network and without sampling.

Where a prior has a sufficient statistic of fixed size, expectations over all
V^N sequences are sums over its values: O(N^(V-1)) counts a step for memoryless
sources, O(N^(V(V-1))) transition counts for chains of order 1.
"""

from collections.abc import Sequence
import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bayes_prompting import types

# More values than these, over all steps, are not summed over: seconds.
_MAX_VALUES = 3_000_000
# Nor if they are more numbers: a gigabyte or so. A value of a chain of a
# high order has thousands.
_MAX_NUMBERS = 60_000_000
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


def expected_losses(
  prior: types.TaskPrior,
  target: types.TaskPrior,
  length: int,
  prefix: Sequence[int] = (),
  pseudo_counts: Sequence[float] | None = None,
) -> Losses | None:
  """Returns what Bayes under `prior`, and the oracle, lose on `target`.

  With s the pair of statistics of the first n tokens under both, the expected
  log loss of token n is -sum_s P(s) sum_v p_target(v | s) log p_prior(v | s),
  where P follows by the recursion P(update(s, v)) += P(s) p_target(v | s). The
  oracle's is sum_s P(s) H(s), H the posterior mean of the source's entropy.

  Args:
    prior: Whose posterior predictive is judged.
    target: Where the sequences come from: a single source, or a prior.
    length: N.
    prefix: Tokens that `prior` is conditioned on first.
    pseudo_counts: [D], not negative, added to the counts of the statistic of
      `prior` after the prefix; other entries must be zero.

  Returns:
    Their losses; None where there is no such sum, or no cheap one: a prior
    without a statistic, too many values.
  """
  if prior.statistic is None or target.statistic is None:
    return None
  start = np.array([prior.statistic.start])
  for token in prefix:
    start = prior.statistic.update(start, np.array([token]))
  levels = _reachable(prior.statistic, start, target.statistic, length)
  if levels is None:
    return None
  split = start.shape[-1]
  values = np.concatenate([level for level, _ in levels])
  added = 0.0 if pseudo_counts is None else np.asarray(pseudo_counts)
  judged = _evaluate(prior.statistic.log_predictive, values[:, :split] + added)
  theirs = np.exp(_evaluate(target.statistic.log_predictive, values[:, split:]))
  entropy = _evaluate(target.statistic.source_entropy, values[:, split:])
  bayes, oracle = np.zeros(length), np.zeros(length)
  mass, first = np.ones(1), 0
  for n, (level, following) in enumerate(levels):
    here = slice(first, first + len(level))
    joint = mass[:, None] * theirs[here]
    occurs = joint > 0
    bayes[n] = -np.sum(joint[occurs] * judged[here][occurs])
    oracle[n] = np.sum(mass[mass > 0] * entropy[here][mass > 0])
    mass = np.bincount(following.ravel(), joint.ravel())
    first = here.stop
  return Losses(bayes, oracle)


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
  for _ in range(length):
    total += len(level)
    so_far = total + len(level) * vocab_size
    if so_far > min(_MAX_VALUES, _MAX_NUMBERS // level.shape[-1]):
      return None
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
  if np.log2(span).sum() < 62:
    # Numbers in a mixed base sort much faster than rows.
    keys = (values - least) @ np.cumprod([1, *span[:-1]])
  else:
    keys = np.ascontiguousarray(values).view(f'V{values[0].nbytes}').ravel()
  _, first, index = np.unique(keys, return_index=True, return_inverse=True)
  return values[first], index.ravel()


def _evaluate(function, values):
  """Evaluates a function of a statistic on [S, D], in float64."""
  count = len(values)
  block = min(_BLOCK, 1 << (count - 1).bit_length())
  values = np.asarray(values, np.float64)
  padded = np.pad(values, ((0, -count % block), (0, 0)), mode='edge')
  with jax.enable_x64(True):
    compute = jax.jit(function)
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


def hard_prefix_regrets(
  prior: types.TaskPrior,
  target: types.TaskPrior,
  length: int,
  prefix_length: int,
) -> dict[tuple[int, ...], float] | None:
  """Returns what Bayes under `prior` loses after each hard prefix.

  Prefixes with the same statistic are one: of coins there are K + 1, not 2^K.

  Args:
    prior: Whose posterior predictive is judged.
    target: Where the sequences come from.
    length: N.
    prefix_length: K; with 0 the only prefix is the empty one, `()`.

  Returns:
    Expected regret against the oracle in nats, summed over the N steps, by the
    first prefix of each statistic, in the order of their tokens; None where
    `expected_regret` is.
  """
  if prior.statistic is None:
    return None
  found = {}
  for prefix in _representatives(prior, prefix_length):
    regret = expected_regret(prior, target, length, prefix)
    if regret is None:
      return None
    found[prefix] = float(regret.sum())
  return found


def _representatives(prior, prefix_length):
  """Returns the first prefix of each value of the statistic."""
  prefixes = [()]
  values = np.array([prior.statistic.start])
  for _ in range(prefix_length):
    prefixes = [
      (*prefix, token)
      for prefix, token in itertools.product(prefixes, range(prior.vocab_size))
    ]
    tokens = np.array([prefix[-1] for prefix in prefixes])
    values = np.repeat(values, prior.vocab_size, axis=0)
    values = prior.statistic.update(values, tokens)
    _, first = np.unique(values, axis=0, return_index=True)
    first.sort()
    prefixes, values = [prefixes[i] for i in first], values[first]
  return prefixes
