"""What prefixes of tokens lose on sampled sequences, where no sum is exact."""

import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bayes_prompting import checks
from bayes_prompting import regret
from bayes_prompting import types
from bayes_prompting.theory import hard_prefixes

# To choose a prefix, and as many to judge it.
NUM_SEQUENCES = 512
# Of prefixes, if nobody says.
_LONGEST = 4


class Sampled(NamedTuple):
  """Gaps of the best prefixes, as means over sequences.

  Attributes:
    curve: The best prefix of each length, and its gap in nats.
    errors: Standard errors of these gaps.
    target_regret: What Bayes of the target loses to the oracle, in nats.
    target_error: Its standard error.
  """

  curve: hard_prefixes.Curve
  errors: np.ndarray
  target_regret: float
  target_error: float


def curve_of(
  prior: types.TaskPrior,
  target: types.TaskPrior,
  length: int,
  max_prefix_length: int | None = None,
) -> Sampled:
  """Returns the best prefix of each length, on sampled sequences.

  A prefix is chosen on other sequences than it is judged on.

  Args:
    prior: Whose exact predictor is prompted.
    target: Where sequences are from.
    length: N, tokens that are scored.
    max_prefix_length: Of the prefixes; no more are tried than sequences.

  Raises:
    UserError: If a length is no whole number.
  """
  length = checks.integer('length', length, 1)
  longest = _LONGEST if max_prefix_length is None else max_prefix_length
  longest = checks.integer('max_prefix_length', longest, 0)
  longest = min(longest, int(np.log(NUM_SEQUENCES) / np.log(prior.vocab_size)))
  keys = jax.random.split(jax.random.key(0), (2, NUM_SEQUENCES))
  sample = jax.vmap(jax.vmap(lambda key: target.sample(key, length)))
  episodes = jax.jit(sample)(keys)
  choose, judge = (jax.tree.map(lambda x, i=i: x[i], episodes) for i in (0, 1))

  def lost(of, prefixes, episodes):
    """Regrets [P, B] after prefixes [P, K], to the oracle."""
    rows = jax.nn.one_hot(jnp.asarray(prefixes), of.vocab_size)

    def after(rows):
      state = of.prefill(rows)
      each = jax.vmap(
        lambda tokens, oracle: regret.kl(oracle, of.predict(state, tokens))
      )(*episodes)
      return regret.at(each, target.positions(length), axis=-1).sum(-1)

    return np.asarray(jax.jit(lambda x: jax.lax.map(after, x))(rows))

  none = np.zeros((1, 0), np.int32)
  own, before = (lost(of, none, judge)[0] for of in (target, prior))
  chosen, gaps, errors = [], [], []
  for size in range(longest + 1):
    every = itertools.product(range(prior.vocab_size), repeat=size)
    prefixes = np.array(list(every), np.int32)  # [V^K, K]
    best = prefixes[lost(prior, prefixes, choose).mean(-1).argmin()]
    apart = lost(prior, best[None], judge)[0] - own if size else before - own
    chosen.append(tuple(best.tolist()))
    gaps.append(apart.mean())
    errors.append(_error(apart))
  curve = hard_prefixes.Curve(
    np.arange(longest + 1), tuple(chosen), np.array(gaps, np.float64)
  )
  return Sampled(curve, np.array(errors), float(own.mean()), _error(own))


def _error(values):
  """Returns the standard error of a mean."""
  return float(values.std(ddof=1) / np.sqrt(len(values)))
