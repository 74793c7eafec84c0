"""How far a predictor's expectation depends on the order of what it saw.

Exact Bayes of an exchangeable prior, such as that of coins, depends on counts
alone. Of a network one can ask what it expects after the same tokens in other
orders.
"""

import functools

import jax
import jax.numpy as jnp

from bayes_prompting import types

# Raise it when numbers change: rows of evidence depend on it.
NUMERICS = 1

ORDERS = 16


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
  return jax.lax.map(of_history, (histories, split))
