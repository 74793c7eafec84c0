"""Memoryless sources that change at random times: piecewise-stationary dice."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bayes_prompting import checks
from bayes_prompting import types
from bayes_prompting.task_priors import _dirichlet
from bayes_prompting.task_priors import _draws

# Raise it when numbers change: networks and results depend on it.
NUMERICS = 1

EXAMPLES = (
  {'hazard': 0.2, 'concentration': (1.0, 1.0)},
  {'hazard': 0.5, 'concentration': (0.3, 0.0, 2.0)},
)


class _Runs(NamedTuple):
  """What is known of the segment that the next token is of.

  Attributes:
    log_weights: float32 [1 + n], log posterior in nats of its start, after 0,
      1, ... n tokens; -inf everywhere after what is impossible.
    counts: float32 [1 + n, V], of the tokens since that start.
  """

  log_weights: types.Array
  counts: types.Array


def make(hazard: float, concentration: Sequence[float]) -> types.TaskPrior:
  """Builds a prior over sequences of segments.

  Before every token but the first a new segment starts with probability
  `hazard`. The tokens of a segment are independent, from a distribution that it
  draws from the Dirichlet. With 0 this is `dirichlet_categorical`, with 1 all
  tokens are independent.

  The predictive averages over the start r of the current segment, with a the
  concentration and c_r the counts since then:

      P(v) = h a_v / sum(a) + (1 - h) sum_r P(r) (a_v + c_rv) / sum(a + c_r)

  where h is the hazard. The posterior P(r) follows by the recursion over run
  lengths (Adams and MacKay, 2007, "Bayesian
  online changepoint detection"; Fearnhead and Liu, 2007, "On-line inference for
  multiple changepoint problems"). No start is dropped, so that it is exact: the
  state grows by one start a token, and N tokens cost O(N^2 V).

  The oracle knows the distribution of the segment that the next token is of,
  also where a segment starts with that token.

  Args:
    hazard: From 0 to 1.
    concentration: V numbers, at least one above zero. A zero is legal: that
      token never occurs.

  Raises:
    UserError: If one is out of range.
  """
  hazard = checks.probability('hazard', hazard)
  alpha = _dirichlet.concentrations('concentration', concentration, 'V')
  vocab_size = len(alpha)
  with np.errstate(divide='ignore'):
    log_stays = np.float32(np.log1p(-hazard))
    log_starts = np.float32(np.log(hazard))

  def sample(key, length):
    switch_key, source_key, token_key = jax.random.split(key, 3)
    starts = jax.random.bernoulli(switch_key, jnp.float32(hazard), (length,))
    # One for each segment that there could be, the first has number 0.
    each = np.broadcast_to(alpha, (length, vocab_size))
    sources = _dirichlet.log_sample(source_key, each)
    segments = jnp.cumsum(starts.at[:1].set(False))
    oracle = sources[segments]
    return types.Episode(_draws.draw(token_key, oracle), oracle)

  def extend(runs, tokens):
    """Returns the state after tokens [N], and their log predictive [N, V]."""
    seen, length = len(runs.log_weights), len(tokens)
    starts = jnp.arange(seen + length, dtype=jnp.int32)
    runs = _Runs(
      jnp.pad(runs.log_weights, (0, length), constant_values=-jnp.inf),
      jnp.pad(runs.counts, ((0, length), (0, 0))),
    )

    def step(runs, at):
      position, token = at
      log_weights, counts = runs
      of_runs = _dirichlet.log_mean(alpha, counts)
      mixture = jax.nn.logsumexp(log_weights[:, None] + of_runs, axis=0)
      evidence = mixture[token]
      possible = evidence > -jnp.inf
      log_weights += of_runs[:, token] - jnp.where(possible, evidence, 0.0)
      log_weights = jnp.where(
        starts == position,
        jnp.where(possible, log_starts, -jnp.inf),
        log_weights + log_stays,
      )
      one = jax.nn.one_hot(token, vocab_size, dtype=jnp.float32)
      counts += jnp.where(starts[:, None] < position, one[None], 0.0)
      return _Runs(log_weights, counts), mixture

    positions = seen + jnp.arange(length, dtype=jnp.int32)
    return jax.lax.scan(step, runs, (positions, tokens))

  def prefill(rows):
    # A row that is not one-hot counts as its most likely token.
    tokens = jnp.asarray(rows).argmax(-1).astype(jnp.int32)
    none = _Runs(
      jnp.zeros(1, jnp.float32), jnp.zeros((1, vocab_size), jnp.float32)
    )
    return extend(none, tokens)[0]

  def predict(runs, tokens):
    return extend(runs, tokens)[1]

  return types.TaskPrior(vocab_size, sample, prefill, predict)
