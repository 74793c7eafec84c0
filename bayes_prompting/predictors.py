"""Predictors: a network around a torso, and the exact Bayesian one beside it.

Both are pure functions (`types.Predictor`). The input order is a beginning
of sequence (a zero row through the embedding), the prefix, the tokens; the last
token is never fed. The state carries the last output of the torso, which makes
the first prediction.
"""

import functools

from flax import linen as nn
import jax
import jax.numpy as jnp

from bayes_prompting import errors
from bayes_prompting import types

# Raise it when numbers change: networks and results depend on it.
NUMERICS = 1


class _Network(nn.Module):
  """Embedding, torso and unembedding for one sequence."""

  torso: nn.Module
  vocab_size: int
  embedding_dim: int

  def setup(self):
    # Flax's default initialisers: LeCun-normal kernels, zero biases. The
    # results on untrained networks depend on them.
    self.embedding = nn.Dense(self.embedding_dim)
    self.unembedding = nn.Dense(self.vocab_size)

  def embed(self, rows: types.Array) -> types.Array:
    return self.embedding(rows)

  def prefill(self, prefix: types.Array) -> types.State:
    start = self.embedding(jnp.zeros((1, self.vocab_size), jnp.float32))
    x = jnp.concatenate([start, prefix])
    empty = self.torso.empty_state(self.embedding_dim)
    y, torso_state = self.torso(x, empty)
    return {'output': y[-1], 'torso': torso_state}

  def trace(self, state: types.State, rows: types.Array) -> types.Array:
    """Returns the memory at `state` and after each of [N, E]: [1 + N, D]."""
    if not hasattr(self.torso, 'memory'):
      y, _ = self.torso(rows, state['torso'])
      return jnp.concatenate([state['output'][None], y])

    def step(torso, state, row):
      _, state = torso(row[None], state)
      return state, torso.memory(state)

    scan = nn.scan(
      step, variable_broadcast='params', split_rngs={'params': False}
    )
    _, later = scan(self.torso, state['torso'], rows)
    first = self.torso.memory(state['torso'])
    return jnp.concatenate([first[None], later])

  def plain(self, state: types.State, tokens: types.Array) -> types.Array:
    """Predicts one sequence [N], with nothing shared."""
    rows = jax.nn.one_hot(tokens[:-1], self.vocab_size, dtype=jnp.float32)
    y, _ = self.torso(self.embedding(rows), state['torso'])
    return self._log_probs(jnp.concatenate([state['output'][None], y]))

  def _log_probs(self, y):
    return jax.nn.log_softmax(self.unembedding(y))

  def prepare(self, state: types.State, length: int) -> types.PyTree:
    """Does what the torso can do once for every token."""
    embedding = self.embedding.variables['params']
    # Of all one-hot rows.
    rows = embedding['kernel'] + embedding['bias'][None]
    return self.torso.prepare(rows, state['torso'], length - 1)

  def read(
    self, table: types.PyTree, output: types.Array, tokens: types.Array
  ) -> types.Array:
    """Predicts sequences [B, N] by the table; `output` is the state's."""
    y = self.torso.read(table, tokens[:, :-1])
    first = jnp.broadcast_to(output, (len(tokens), 1, len(output)))
    return self._log_probs(jnp.concatenate([first, y], axis=1))

  def __call__(self, tokens: types.Array) -> types.Array:
    """One full pass, for `init`."""
    empty = jnp.zeros((0, self.embedding_dim), jnp.float32)
    return self.plain(self.prefill(empty), tokens)


def _float32(rows):
  # With JAX's 64 bits switched on, what users make has 64 unless they say so.
  return jnp.asarray(rows, jnp.float32)


@functools.lru_cache(maxsize=64)
def network(
  torso: nn.Module, vocab_size: int, embedding_dim: int, plain: bool = False
) -> types.Predictor:
  """Returns the neural predictor around a torso.

  Its `prefill` raises UserError for a prefix of another width than
  `embedding_dim`. The same arguments give the same object, so that what was
  compiled for it serves again.

  Args:
    torso: A module by the contract of `bayes_prompting.torsos`.
    vocab_size: V.
    embedding_dim: E.
    plain: Predict one sequence at a time, by the torso's `__call__` alone: the
      reference for `prepare` and `read`, and the way of torsos without.
  """
  module = _Network(torso, vocab_size, embedding_dim)

  def apply(params, *args, method):
    return module.apply({'params': params}, *args, method=method)

  def init(key):
    return module.init(key, jnp.zeros(2, jnp.int32))['params']

  def embed(params, rows):
    return apply(params, _float32(rows), method='embed')

  def prefill(params, prefix):
    if prefix.ndim != 2 or prefix.shape[1] != embedding_dim:
      raise errors.UserError(
        f'prefix: must have shape [K, {embedding_dim}], the width of this '
        f'network, got {list(prefix.shape)}'
      )
    return apply(params, _float32(prefix), method='prefill')

  def trace(params, state, rows):
    return apply(params, state, _float32(rows), method='trace')

  def share(params, state, length):
    del length
    return {'params': params, 'state': state}

  def read_each(context, tokens):
    params, state = context['params'], context['state']
    return jax.vmap(lambda x: apply(params, state, x, method='plain'))(tokens)

  def prepare(params, state, length):
    table = apply(params, state, length, method='prepare')
    return {'params': params, 'output': state['output'], 'table': table}

  def read(context, tokens):
    shared = context['table'], context['output']
    return apply(context['params'], *shared, tokens, method='read')

  def sequence_block(length):
    if hasattr(torso, 'sequence_block'):
      return torso.sequence_block(length, embedding_dim)
    return 64

  if plain or not hasattr(torso, 'prepare'):
    prepare, read = share, read_each
  return types.Predictor(
    vocab_size, init, embed, prefill, prepare, read, sequence_block, trace
  )


@functools.lru_cache(maxsize=64)
def bayesian(task_prior: types.TaskPrior) -> types.Predictor:
  """Returns the exact Bayesian predictor of a task prior.

  It has no parameters, its state is the prior's sufficient statistic, and a
  prefix is the token rows themselves (E = V).
  """

  def prefill(params, prefix):
    del params
    if prefix.ndim != 2 or prefix.shape[1] != task_prior.vocab_size:
      raise errors.UserError(
        f'prefix: must have shape [K, {task_prior.vocab_size}], rows over the '
        f'vocabulary, got {list(prefix.shape)}'
      )
    return task_prior.prefill(_float32(prefix))

  def read(state, tokens):
    return jax.vmap(task_prior.predict, in_axes=(None, 0))(state, tokens)

  return types.Predictor(
    vocab_size=task_prior.vocab_size,
    init=lambda key: {},
    embed=lambda params, rows: _float32(rows),
    prefill=prefill,
    prepare=lambda params, state, length: state,
    read=read,
  )
