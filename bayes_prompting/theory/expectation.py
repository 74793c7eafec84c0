"""Expected losses and regrets, exact, without a network and without sampling.

Some priors have a sufficient statistic of fixed size. For these an expectation
over all V^N sequences is a sum over the *histories* that the statistic tells
apart: O(N^(V-1)) counts a step for memoryless sources, O(N^(V(V-1))) transition
counts for chains of order 1. All sums are in NumPy and float64.
"""

from collections.abc import Callable, Sequence
import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bayes_prompting import checks
from bayes_prompting import errors
from bayes_prompting import types

# Raise it when numbers change: networks and results depend on it.
NUMERICS = 1

# The most values, over all steps, that are summed over. To enumerate the 3e5 of
# binary chains of order 1 over 100 tokens took 0.15 s of one core.
_MAX_VALUES = 3_000_000
# The most numbers in these values: some hundred megabytes.
_MAX_NUMBERS = 40_000_000
# Values whose predictions are computed at once, by one compiled program.
_BLOCK = 8192
# Fewer values are filled up to this many numbers.
_NUMBERS = 2**14


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
  """What a target shows a prior in N tokens, and how likely each history is.

  One object serves every prompt. What a token adds to the counts depends on the
  labels alone, so another start of the counts gives the same sum, with all
  values raised by the difference. The methods take this difference as `added`,
  float64 [D]: not negative, and zero where the statistic has labels.

  Attributes:
    statistic: The statistic of the prior.
    values: int64 [S, D], the statistic before each token: S histories in N
      steps.
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
    """Returns the log predictive of the prior [S, V], in nats."""
    return evaluate(self.statistic.log_predictive, self.values + added)

  def losses(self, added: types.Array = 0.0) -> Losses:
    """Returns the expected log losses of Bayes and of the oracle."""
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

    This gap is the mean KL of their predictives p and q. It is computed as the
    sum over v of p (q / p - 1 - log(q / p)), in which no term is negative: even
    the smallest gaps have all their digits.

    Returns:
      float64 [N], nats a step.
    """
    log_probs, occurs = self.log_predictive(added), self.joint > 0
    log_ratio = np.where(occurs, log_probs, 0.0)
    log_ratio -= np.where(occurs, self.log_target, 0.0)
    terms = self.joint * (np.expm1(log_ratio) - log_ratio)
    if not occurs.all():  # There p is 0, and the term is q.
      mass = self.joint.sum(-1, keepdims=True)
      terms += np.where(occurs, 0.0, mass * np.exp(log_probs))
    return np.bincount(self.step, terms.sum(-1), len(self.oracle))

  def residuals(self, added: types.Array = 0.0) -> np.ndarray:
    """Returns numbers [S V] whose squares sum to twice the gap, see `gaps`."""
    log_probs, occurs = self.log_predictive(added), self.joint > 0
    log_ratio = np.where(occurs, log_probs, 0.0)
    log_ratio -= np.where(occurs, self.log_target, 0.0)
    terms = self.joint * (np.expm1(log_ratio) - log_ratio)
    mass = self.joint.sum(-1, keepdims=True)
    terms += np.where(occurs, 0.0, mass * np.exp(log_probs))
    signs = np.where(log_ratio < 0, -1.0, 1.0)
    return (signs * np.sqrt(2 * np.maximum(terms, 0.0))).ravel()

  def deviation(self, added: types.Array = 0.0) -> float:
    """Returns the largest difference of two predicted probabilities.

    All that the target may ever show counts, however rare. So two posteriors
    are told apart even if they agree on what is likely.
    """
    apart = np.exp(self.log_predictive(added)) - np.exp(self.log_target)
    return float(np.abs(apart).max())


def check_pair(prior: types.TaskPrior, target: types.TaskPrior) -> None:
  """Checks what theory is asked about.

  Raises:
    UserError: If one is no task prior, or their vocabularies differ.
  """
  for name, given in (('prior', prior), ('target', target)):
    if not isinstance(given, types.TaskPrior):
      raise errors.UserError(
        f'{name}: must be a task prior, as bp.task_prior(...) makes one, got '
        f'{checks.show(given)}'
      )
  if prior.vocab_size != target.vocab_size:
    raise errors.UserError(
      f'target: has {target.vocab_size} tokens, but the prior has '
      f'{prior.vocab_size}'
    )


def expectation(
  prior: types.TaskPrior,
  target: types.TaskPrior,
  length: int,
  start: types.Array | None = None,
) -> Expectation | None:
  """Returns the distribution of what `prior` keeps of N tokens of `target`.

  Let s be the pair of statistics of the first n tokens, one of the prior and
  one of the target. Its probability P follows by the recursion
  P(update(s, v)) += P(s) p_target(v | s).

  Args:
    prior: Whose posterior predictive is judged.
    target: Where the sequences come from: a single source, or a prior.
    length: N.
    start: Whole numbers [D], the value that the statistic of `prior` starts
      from; by default its own start.

  Returns:
    The histories that occur. None if one of the two has no statistic, or if
    there are too many histories to sum over.

  Raises:
    UserError: If the length or the start is wrong, or vocabularies differ.
  """
  check_pair(prior, target)
  length = checks.integer('length', length, 1)
  if prior.statistic is None or target.statistic is None:
    return None
  start = _start(prior.statistic, start)[None]
  levels = _reachable(prior.statistic, start, target.statistic, length)
  if levels is None:
    return None
  split = start.shape[-1]
  values = np.concatenate([level for level, _ in levels])
  log_target = evaluate(target.statistic.log_predictive, values[:, split:])
  entropy = evaluate(target.statistic.source_entropy, values[:, split:])
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

  Bayes under `prior` has the expected log loss -sum_s P(s) sum_v
  p_target(v | s) log p_prior(v | s) on token n, with P as in `expectation`. The
  oracle has sum_s P(s) H(s), where H is the posterior mean of the entropy of
  the source.

  Args:
    prior: Whose posterior predictive is judged.
    target: Where the sequences come from: a single source, or a prior.
    length: N.
    prefix: Tokens that `prior` is conditioned on first.
    pseudo_counts: [D], numbers that are added to the counts of the statistic
      of `prior` after the prefix. They are not negative, and zero where the
      statistic has labels.

  Returns:
    The losses of both; None where `expectation` returns None.

  Raises:
    UserError: If an argument is wrong.
  """
  check_pair(prior, target)
  start, added = None, 0.0
  prefix = checks.tokens('prefix', prefix, prior.vocab_size).tolist()
  if prior.statistic is not None:
    start = after(prior.statistic, prefix)
    if pseudo_counts is not None:
      added = _added(prior.statistic, pseudo_counts)
  sums = expectation(prior, target, length, start)
  return None if sums is None else sums.losses(added)


def after(statistic: types.Statistic, prefix: Sequence[int]) -> np.ndarray:
  """Returns the value int64 [D] of a statistic after a prefix."""
  value = np.array([statistic.start], np.int64)
  for token in prefix:
    value = statistic.update(value, np.array([token]))
  return value[0]


def _start(statistic, value):
  """Returns `value`, or the start of the statistic, as int64 [D]."""
  if value is None:
    return np.asarray(statistic.start, np.int64)
  size, array = len(statistic.start), np.asarray(value)
  if (
    array.shape != (size,)
    or array.dtype.kind not in 'iuf'
    or not np.all(np.isfinite(array))
    or np.any(array != np.round(array))
  ):
    raise errors.UserError(
      f'start: must be {size} whole numbers, got {checks.show(value)}'
    )
  return array.astype(np.int64)


def _added(statistic, value):
  """Returns `value` as pseudo-counts float64 [D]."""
  array, counts = np.asarray(value), np.asarray(statistic.counts)
  if (
    array.shape != counts.shape
    or array.dtype.kind not in 'iuf'
    or not np.all(np.isfinite(array))
    or np.any(array < 0)
    or np.any(array[~counts])
  ):
    raise errors.UserError(
      f'pseudo_counts: must be {len(counts)} finite numbers that are not '
      f'negative, and 0 for labels, got {checks.show(value)}'
    )
  return array.astype(np.float64)


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
    float64 [N], the expected regret at each step in nats; its sum over the
    steps is the cumulative regret. None where `expectation` returns None.

  Raises:
    UserError: If an argument is wrong.
  """
  losses = expected_losses(prior, target, length, prefix, pseudo_counts)
  return None if losses is None else losses.bayes - losses.oracle


def regret_of_state(
  prior: types.TaskPrior,
  target: types.TaskPrior,
  length: int,
  state: types.Array,
) -> np.ndarray | None:
  """Returns what Bayes under `prior`, in a given state, loses to the oracle.

  A soft prefix leaves counts that no tokens leave: rows of a prompt are added
  up, whatever they are.

  Args:
    prior: Whose posterior predictive is judged.
    target: Where the sequences come from.
    length: N.
    state: Numbers [D], a value of the statistic of `prior`, such as what its
      `prefill` returns where counts are its state. It includes the start of
      the statistic, and not the prior's own concentration.

  Returns:
    float64 [N], see `expected_regret`.

  Raises:
    UserError: If the state is no value of the statistic.
  """
  check_pair(prior, target)
  if prior.statistic is None:
    return None
  counts = np.asarray(prior.statistic.counts)
  value = np.asarray(state)
  if value.shape != counts.shape or value.dtype.kind not in 'iuf':
    raise errors.UserError(
      f'state: must be {len(counts)} numbers, a value of the statistic, got '
      f'{checks.show(state)}'
    )
  start = np.asarray(prior.statistic.start, np.float64)
  labels = np.where(counts, start, value)
  added = _added(prior.statistic, np.where(counts, value - start, 0.0))
  sums = expectation(prior, target, length, labels)
  if sums is None:
    return None
  losses = sums.losses(added)
  return losses.bayes - losses.oracle


def _reachable(
  statistic: types.Statistic,
  start: np.ndarray,
  other: types.Statistic,
  length: int,
) -> list[tuple[np.ndarray, np.ndarray]] | None:
  """Returns the values of two statistics before each of N tokens.

  Args:
    statistic: The statistic of one prior.
    start: int64 [1, D], its value before the first token.
    other: The statistic of another prior, which sees the same tokens.
    length: N.

  Returns:
    For each step the values [S, D] of both statistics side by side, and the
    indices [S, V] of the values at the next step that each token leads to. None
    if there are too many values.
  """
  first = np.array(other.start, np.float32)
  vocab_size = jax.eval_shape(other.log_predictive, first).shape[-1]
  split = start.shape[-1]
  level = np.concatenate([start, [other.start]], axis=-1)
  levels, total = [], 0
  limit = min(_MAX_VALUES, _MAX_NUMBERS // level.shape[-1])
  for n in range(length):
    # Later steps have at least as many values, so this test fails early.
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
  """Returns the distinct rows of whole numbers [S, D], and each row's index."""
  least = values.min(0)
  span = values.max(0) - least + 1
  if np.log2(span).sum() < 62:  # The keys fit into an int64.
    # Numbers in a mixed base sort much faster than rows.
    keys = (values - least) @ np.cumprod([1, *span[:-1]])
  else:
    keys = np.ascontiguousarray(values).view(f'V{values[0].nbytes}').ravel()
  _, first, index = np.unique(keys, return_index=True, return_inverse=True)
  return values[first], index.ravel()


# A new wrapper of the same function would look its program up again, slowly.
_compiled = functools.lru_cache(maxsize=64)(jax.jit)


def evaluate(
  function: Callable[[types.Array], types.Array], values: np.ndarray
) -> np.ndarray:
  """Returns a function of a statistic at values [S, D], in float64."""
  count = len(values)
  values = np.asarray(values, np.float64)
  # One size for all but the widest: a program for each function.
  block = min(
    _BLOCK, max(1 << (count - 1).bit_length(), _NUMBERS // values.shape[1])
  )
  padded = np.pad(values, ((0, -count % block), (0, 0)), mode='edge')
  with jax.enable_x64(True):
    compute = _compiled(function)
    outputs = [
      np.asarray(compute(jnp.asarray(padded[i : i + block])))
      for i in range(0, count, block)
    ]
  return np.concatenate(outputs)[:count]
