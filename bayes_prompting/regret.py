"""Log loss, KL, and the regrets that everything is judged by, all in nats.

Regret of a predictor at a step is its expected log loss minus a reference's.
Two references: the *oracle*, which knows the source of the sequence, and
*Bayes*, the posterior predictive of the prior that the source was drawn from.
Three estimators, each unbiased, that differ in noise only:

* `sampled`: the difference of the two log losses on the sampled token (the
  estimator of Genewein et al., arXiv 2505.17010).
* `exact`: the KL from the reference's prediction to the predictor's, at each
  sampled history. It integrates the next token out (Rao-Blackwell).
* `paired`: what Bayes itself loses to the reference, plus the exact KL from
  Bayes to the predictor. Against the oracle this takes the noise of which
  source was drawn out of the comparison, all of it where the first term has a
  closed form (`theory.expectation.expected_regret`). Against Bayes it equals
  `exact`.

`exact` against Bayes, and so `paired`, hold for predictors that see no more
than the history; the oracle itself sees the source, see `oracle_regrets`.
"""

import jax
import jax.numpy as jnp
import numpy as np

from bayes_prompting import types

# Raise it when numbers change: networks and results depend on it.
NUMERICS = 1

REFERENCES = ('oracle', 'bayes')
ESTIMATORS = ('sampled', 'exact', 'paired')


def token_log_probs(log_probs: types.Array, tokens: types.Array) -> types.Array:
  """Returns the log probability of each sampled token.

  Args:
    log_probs: [..., N, V] in nats.
    tokens: int [..., N].

  Returns:
    [..., N] in nats.
  """
  return jnp.take_along_axis(log_probs, tokens[..., None], axis=-1)[..., 0]


def log_loss(
  log_probs: types.Array,
  tokens: types.Array,
  positions: tuple[int, ...] | None = None,
) -> types.Array:
  """Returns the log loss in nats, summed over positions: [...].

  Args:
    log_probs: [..., N, V] in nats.
    tokens: int [..., N].
    positions: Those that are scored; None for all N.
  """
  losses = -token_log_probs(log_probs, tokens)
  return at(losses, positions, axis=-1).sum(-1)


def at(
  values: types.Array,
  positions: tuple[int, ...] | types.Array | None,
  axis: int,
) -> types.Array:
  """Returns values at some positions of an axis.

  Args:
    values: Of any shape.
    positions: As a tuple they are a part of the program. As int [N] they are an
      argument of it, and one program does for all N positions. None for all.
    axis: Of the positions.
  """
  if positions is None:
    return values
  if isinstance(positions, tuple):
    first, count = positions[0], len(positions)
    if positions == tuple(range(first, first + count)):
      return jax.lax.slice_in_dim(values, first, first + count, axis=axis)
    positions = np.asarray(positions)
  return jnp.take(values, positions, axis=axis)


def kl(log_p: types.Array, log_q: types.Array) -> types.Array:
  """Returns KL(p || q) in nats over the last axis; 0 log 0 = 0.

  Computed as the Bregman divergence sum_v q_v - p_v + p_v log(p_v / q_v), which
  is the KL of normalised p and q, and in which every summand is at least zero:
  so rounding never makes it negative. Infinite where q rules out what p allows.

  Args:
    log_p: [..., V], log of normalised probabilities.
    log_q: [..., V], the same, or -inf everywhere (a predictor that has been
      shown an impossible history).

  Returns:
    [...], in [0, inf].
  """
  allowed = log_p > -jnp.inf
  p, q = jnp.exp(log_p), jnp.exp(log_q)
  # A finite stand-in keeps -inf - -inf out of the branch that is not taken.
  difference = jnp.where(allowed, log_p, 0.0) - log_q
  difference = jnp.where(allowed, difference, 0.0)
  # expm1 keeps the digits of near equals (and inf + expm1(-inf) is inf); where
  # q is far above p it would overflow, and the plain form loses nothing.
  near = difference > -1
  summand = jnp.where(
    near,
    p * (difference + jnp.expm1(-jnp.maximum(difference, -1.0))),
    p * difference + (q - p),
  )
  return jnp.where(allowed, summand, q).sum(-1)


def regrets(
  log_probs: types.Array,
  tokens: types.Array,
  oracle_log_probs: types.Array,
  bayes_log_probs: types.Array,
  bayes_oracle_regret: types.Array,
) -> types.Array:
  """Returns the regret of a predictor at every step, in every estimator.

  Args:
    log_probs: [..., N, V], the predictor's, in nats.
    tokens: int [..., N].
    oracle_log_probs: [..., N, V], of the source that generated the tokens.
    bayes_log_probs: [..., N, V], of the prior that the source came from.
    bayes_oracle_regret: [..., N] or [N], what Bayes itself loses to the oracle,
      in nats at each step: its expectation, or a sample of it.

  Returns:
    [2, 3, ..., N]: reference (oracle, bayes) x estimator (sampled, exact,
    paired), in nats at each step.
  """
  loss = -token_log_probs(log_probs, tokens)
  exact_bayes = kl(bayes_log_probs, log_probs)
  return jnp.stack(
    [
      jnp.stack(
        [
          loss + token_log_probs(oracle_log_probs, tokens),
          kl(oracle_log_probs, log_probs),
          jnp.broadcast_to(bayes_oracle_regret, exact_bayes.shape)
          + exact_bayes,
        ]
      ),
      jnp.stack(
        [
          loss + token_log_probs(bayes_log_probs, tokens),
          exact_bayes,
          exact_bayes,
        ]
      ),
    ]
  )


def oracle_regrets(
  tokens: types.Array,
  oracle_log_probs: types.Array,
  bayes_log_probs: types.Array,
) -> types.Array:
  """Returns the regret of the oracle itself, shaped as by `regrets`.

  Zero against itself. Against Bayes it is negative: the oracle knows more than
  the history, so the expectation of the log loss difference over the next token
  is taken under the oracle and not under Bayes.
  """
  sampled = token_log_probs(bayes_log_probs, tokens) - token_log_probs(
    oracle_log_probs, tokens
  )
  exact = -kl(oracle_log_probs, bayes_log_probs)
  zero = jnp.zeros_like(sampled)
  return jnp.stack(
    [jnp.stack([zero, zero, zero]), jnp.stack([sampled, exact, exact])]
  )


def above(log_probs: types.Array, universal: types.Array) -> types.Array:
  """Returns how far a loss is above those of universal predictors.

  Where nobody knows what the tokens were drawn from, the difference of the log
  losses on the tokens is all that can be said. It is negative for who predicts
  better, and infinite for who rules out what happens. The other two estimators
  need the distribution of the next token: they are NaN.

  Args:
    log_probs: [..., N], log probability in nats that a predictor gave to the
      tokens.
    universal: [F, ..., N], the same of F universal predictors.

  Returns:
    [F, 3, ..., N]: estimators (sampled, exact, paired), in nats at each step.
  """
  sampled = universal - log_probs[None]
  none = jnp.full_like(sampled, jnp.nan)
  return jnp.stack([sampled, none, none], axis=1)


def standard_error(samples: types.Array, axis: int) -> types.Array:
  """Returns the standard error of the mean of independent samples over `axis`.

  NaN where there is one sample only, or where a sample is infinite.
  """
  count = samples.shape[axis]
  return jnp.std(samples, axis=axis, ddof=1) / jnp.sqrt(jnp.float32(count))
