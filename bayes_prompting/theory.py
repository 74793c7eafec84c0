"""Exact answers without a network and without sampling.

For exchangeable priors the token counts are sufficient, so expectations over
all V^N sequences are sums over O(N^(V-1)) counts.
"""

import itertools

import numpy as np

from bayes_prompting import types

# Above this many (step, counts) cells the sums stop being cheap.
_MAX_CELLS = 10_000_000


def expected_regret(
  prior: types.TaskPrior,
  target: types.TaskPrior,
  length: int,
  prefix: np.ndarray | None = None,
) -> np.ndarray | None:
  """Returns what Bayes under `prior` loses to the oracle of `target`.

  With c the counts of the first n tokens, the expected log loss of token n is
  -sum_c P_target(c) sum_v p_target(v | c) log p_prior(v | prefix, c), where P
  follows by the recursion P(c + e_v) += P(c) p_target(v | c). The oracle's is
  the mean entropy of a source.

  Args:
    prior: Whose posterior predictive is judged.
    target: Where the sequences come from: a single source, or a prior.
    length: N.
    prefix: Token rows [K, V] that `prior` is conditioned on first.

  Returns:
    float64 [N], expected regret at each step in nats (its sum over n is the
    cumulative one; inf where `prior` rules out what occurs), or None where
    there is no such sum, or no cheap one: a prior that is not exchangeable, a
    target whose source entropy has no closed form, too many counts.
  """
  if None in (
    prior.log_predictive,
    target.log_predictive,
    target.source_entropy,
  ):
    return None
  v = target.vocab_size
  if length * (length + 1) ** (v - 1) > _MAX_CELLS:
    return None
  # A dense array over the counts of all tokens but the last.
  grid = np.stack(
    np.meshgrid(*[np.arange(length + 1)] * (v - 1), indexing='ij'), axis=-1
  )
  start = np.zeros(v) if prefix is None else np.asarray(prefix).sum(0)
  mass = np.zeros((length + 1,) * (v - 1))
  mass[(0,) * (v - 1)] = 1.0
  regret = np.zeros(length)
  for n in range(length):
    last = n - grid.sum(-1, keepdims=True)
    counts = np.concatenate([grid, np.maximum(last, 0)], axis=-1)
    joint = mass[..., None] * np.exp(_log_predictive(target, counts))
    judged = _log_predictive(prior, start + counts)
    occurs = joint > 0
    with np.errstate(invalid='ignore'):
      loss = -np.sum(np.where(occurs, joint * judged, 0.0))
    regret[n] = loss - target.source_entropy
    mass = joint[..., -1]
    for axis in range(v - 1):
      step = np.roll(joint[..., axis], 1, axis=axis)
      # What rolls over has no mass: n tokens have counts of at most n < N + 1.
      mass = mass + step
  return regret


def hard_prefix_regrets(
  prior: types.TaskPrior,
  target: types.TaskPrior,
  length: int,
  prefix_length: int,
) -> dict[tuple[int, ...], float] | None:
  """Returns what Bayes under `prior` loses after each hard prefix.

  Token counts are sufficient, so that one prefix stands for all orders of its
  tokens: there are only O(K^(V-1)), not V^K.

  Args:
    prior: Whose posterior predictive is judged.
    target: Where the sequences come from.
    length: N.
    prefix_length: K; with 0 the only prefix is the empty one, `()`.

  Returns:
    Expected regret against the oracle in nats, summed over the N steps, by the
    tokens of the prefix in ascending order; None where `expected_regret` is.
  """
  tokens, rows = range(prior.vocab_size), np.eye(prior.vocab_size)
  found = {}
  for prefix in itertools.combinations_with_replacement(tokens, prefix_length):
    regret = expected_regret(prior, target, length, rows[list(prefix)])
    if regret is None:
      return None
    found[prefix] = float(regret.sum())
  return found


def _log_predictive(prior: types.TaskPrior, counts: np.ndarray) -> np.ndarray:
  """Evaluates a prior's predictive (float32) for float64 sums."""
  counts = np.asarray(counts, np.float32)
  return np.asarray(prior.log_predictive(counts), np.float64)
