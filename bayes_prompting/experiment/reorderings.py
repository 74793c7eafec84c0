"""How far a predictor's expectation depends on the order of what it saw.

Exact Bayes of an exchangeable prior, such as that of coins, depends on counts
alone. Of a network one can ask what it expects after the same tokens in other
orders.
"""

from collections.abc import Callable
import functools

import jax
import jax.numpy as jnp
import numpy as np

from bayes_prompting import types

# Raise it when numbers change: rows of evidence depend on it.
NUMERICS = 1

# Histories that are reordered, and orders of each.
HISTORIES, ORDERS = 256, 16
# Histories at once.
_BLOCK = 16


@functools.partial(jax.jit, static_argnames=('predictor', 'orders'))
def spread(
  predictor: types.Predictor,
  params: types.Params,
  state: types.State,
  histories: types.Array,
  key: types.Key,
  orders: int = ORDERS,
) -> types.Array:
  """Returns how much what is expected after a history varies with its order.

  It is the Jensen-Shannon divergence of what is expected after so many orders:
  the mean KL from each to their average (Lin, IEEE Transactions on Information
  Theory 37, 1991). It is 0 where order does not count, and at most ln V.

  Args:
    predictor: Whose expectations they are.
    params: Its weights; {} for a Bayesian predictor.
    state: Where it starts.
    histories: int32 [M, N].
    key: A typed key; consumed.
    orders: Random ones of each history.

  Returns:
    float32 [M], nats.
  """
  context = predictor.prepare(params, state, histories.shape[1] + 1)

  def of_history(args):
    history, key = args
    shuffled = jax.vmap(lambda k: jax.random.permutation(k, history))(
      jax.random.split(key, orders)
    )
    # What is expected last; the token that stands there is never read.
    tokens = jnp.pad(shuffled, ((0, 0), (0, 1)))
    log_probs = predictor.read(context, tokens)[:, -1]
    average = jax.nn.logsumexp(log_probs, axis=0) - jnp.log(orders)
    average = jnp.broadcast_to(average, log_probs.shape)
    ratio = jnp.where(log_probs > -jnp.inf, log_probs - average, 0.0)
    return (jnp.exp(log_probs) * ratio).sum(-1).mean()

  split = jax.random.split(key, len(histories))
  return jax.lax.map(of_history, (histories, split), batch_size=_BLOCK)


def of_runs(
  predictor: types.Predictor,
  bind: Callable[..., tuple[types.Params, types.State]],
  params: types.Params,
  tunables: types.Tunable,
  histories: types.Array,
  key: types.Key,
) -> np.ndarray:
  """Measures the spread of every repetition of a tuned predictor.

  Args:
    predictor: Neural or Bayesian.
    bind: Of its tuner.
    params: Its weights.
    tunables: Leading axis [R]; without any leaf it is one run.
    histories: int32 [S, N], of which the first `HISTORIES` are taken.
    key: A typed key; consumed.

  Returns:
    float64 [R, min(S, HISTORIES)], nats.
  """
  histories = histories[:HISTORIES]
  spreads = _of_runs(predictor, bind, params, tunables, histories, key)
  return np.asarray(spreads, np.float64)


@functools.partial(jax.jit, static_argnames=('predictor', 'bind'))
def _of_runs(predictor, bind, params, tunables, histories, key):
  def of_run(tunable, key):
    bound, state = bind(predictor, params, tunable)
    return spread(predictor, bound, state, histories, key)

  leaves = jax.tree.leaves(tunables)
  if not leaves:
    return of_run(tunables, key)[None]
  split = jax.random.split(key, len(leaves[0]))
  return jax.lax.map(lambda run: of_run(*run), (tunables, split))
