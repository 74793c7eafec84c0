"""Predictors: a network around a torso, and the exact Bayesian one beside it.

Both are pure functions (`types.Predictor`). The input order is a beginning
of sequence (a zero row through the embedding), the prefix, the tokens; the last
token is never fed. The state carries the last output of the torso, which makes
the first prediction.
"""

from collections.abc import Sequence
import functools
from typing import NamedTuple

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from bayes_prompting import checks
from bayes_prompting import errors
from bayes_prompting import types

# Raise it when numbers change: networks and results depend on it.
NUMERICS = 1


class _Network(nn.Module):
  """Embedding, torso and unembedding for one sequence."""

  torso: nn.Module
  vocab_size: int
  embedding_dim: int
  tied_unembedding: bool

  def setup(self):
    if self.tied_unembedding:
      # As the kernel [E, V] of an unembedding of its own: the logits of an
      # untrained network are then of the same size.
      kernel = nn.initializers.lecun_normal(in_axis=-1, out_axis=-2)
      self.embedding = nn.Dense(self.embedding_dim, kernel_init=kernel)
      return
    # Flax's default initialisers: LeCun-normal kernels, zero biases. The
    # results on untrained networks depend on them.
    self.embedding = nn.Dense(self.embedding_dim)
    self.unembedding = nn.Dense(self.vocab_size)

  def embed(self, rows: types.Array) -> types.Array:
    return self.embedding(rows)

  def prefill(
    self, prefix: types.Array, offset: types.Offset | None = None
  ) -> types.State:
    start = self.embedding(jnp.zeros((1, self.vocab_size), jnp.float32))
    x = jnp.concatenate([start, prefix])
    empty = self.torso.empty_state(self.embedding_dim)
    if offset is not None:
      empty = self.torso.with_offset(empty, offset)
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
    if not self.tied_unembedding:
      return jax.nn.log_softmax(self.unembedding(y))
    if y.shape[-1] != self.embedding_dim:
      raise errors.UserError(
        f'width: must be that of the embedding, {self.embedding_dim}, as '
        f'network.tied_unembedding is True, got {y.shape[-1]}'
      )
    kernel = self.embedding.variables['params']['kernel']
    return jax.nn.log_softmax(y @ kernel.T)

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

  def begin(
    self, state: types.State, history: types.Array, length: int
  ) -> tuple[types.Carry, types.Array]:
    """Runs over a history [N], with room for `length` more tokens."""
    rows = jax.nn.one_hot(history, self.vocab_size, dtype=jnp.float32)
    y, carry = self.torso(self.embedding(rows), state['torso'])
    if hasattr(self.torso, 'reserve'):
      carry = self.torso.reserve(carry, length)
    output = jnp.concatenate([state['output'][None], y])[-1]
    return carry, self._log_probs(output)

  def step(
    self, carry: types.Carry, token: types.Array
  ) -> tuple[types.Carry, types.Array]:
    """Runs over one token."""
    row = jax.nn.one_hot(token, self.vocab_size, dtype=jnp.float32)
    x = self.embedding(row[None])
    if hasattr(self.torso, 'reserve'):
      y, carry = self.torso.step(x[0], carry)
    else:
      y, carry = self.torso(x, carry)
      y = y[0]
    return carry, self._log_probs(y)

  def __call__(self, tokens: types.Array) -> types.Array:
    """One full pass, for `init`."""
    empty = jnp.zeros((0, self.embedding_dim), jnp.float32)
    return self.plain(self.prefill(empty), tokens)


class _Reading(NamedTuple):
  """What is carried by predictors that have nothing cheaper than `read`.

  Attributes:
    context: For all of the tokens.
    tokens: int32 [N + T + 1], those that are known, then zeros. What stands
      behind a token changes nothing before it: predictors are causal.
    count: int32, how many are known.
  """

  context: types.Context
  tokens: types.Array
  count: types.Array


def _by_reading(prepare, read):
  """Returns `begin` and `step` that read the whole sequence for each token."""

  def expected(reading):
    log_probs = read(reading.context, reading.tokens[None])[0]
    has_room = reading.count < len(reading.tokens)
    return reading, jnp.where(has_room, log_probs[reading.count], jnp.nan)

  def begin(params, state, history, length):
    history = jnp.asarray(history, jnp.int32)
    tokens = jnp.pad(history, (0, length + 1))
    context = prepare(params, state, len(tokens))
    return expected(_Reading(context, tokens, jnp.int32(len(history))))

  def step(params, reading, token):
    del params
    tokens = reading.tokens.at[reading.count].set(token)
    return expected(_Reading(reading.context, tokens, reading.count + 1))

  return begin, step


def _shapes(tree):
  leaves, structure = jax.tree.flatten(tree)
  return structure, [(leaf.shape, leaf.dtype) for leaf in leaves]


def _float32(rows):
  # With JAX's 64 bits switched on, what users make has 64 unless they say so.
  return jnp.asarray(rows, jnp.float32)


@functools.lru_cache(maxsize=64)
def network(
  torso: nn.Module,
  vocab_size: int,
  embedding_dim: int,
  plain: bool = False,
  tied_unembedding: bool = False,
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
    tied_unembedding: Whether logits are products of activations and embeddings,
      without a bias (Press and Wolf, arXiv 1608.05859), instead of a layer of
      their own. The torso must be as wide as the embedding: `init` raises
      UserError if it is not. There is then no weight called `unembedding`, and
      who tunes the embedding tunes both.
  """
  if not isinstance(torso, nn.Module):
    raise errors.UserError(
      'torso: must be a module, as bp.torso(name) makes one, got '
      f'{checks.show(torso)}'
    )
  checks.integer('vocab_size', vocab_size, 1)
  checks.integer('embedding_dim', embedding_dim, 1, checks.MOST_CHANNELS)
  module = _Network(torso, vocab_size, embedding_dim, tied_unembedding)

  def apply(params, *args, method):
    return module.apply({'params': params}, *args, method=method)

  def init(key):
    return module.init(key, jnp.zeros(2, jnp.int32))['params']

  def embed(params, rows):
    return apply(params, _float32(rows), method='embed')

  def prefill(params, prefix, *offset):
    if prefix.ndim != 2 or prefix.shape[1] != embedding_dim:
      raise errors.UserError(
        f'prefix: must have shape [K, {embedding_dim}], the width of this '
        f'network, got {list(prefix.shape)}'
      )
    return apply(params, _float32(prefix), *offset, method='prefill')

  def empty_offset(params):
    del params
    return torso.empty_offset(embedding_dim)

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
  begin_by_reading, step_by_reading = _by_reading(prepare, read)

  def run_on(params, carry, token):
    return apply(params, carry, token, method='step')

  def begin(params, state, history, length):
    carry, log_probs = apply(params, state, history, length, method='begin')
    one = jax.ShapeDtypeStruct((), jnp.int32)
    after, _ = jax.eval_shape(run_on, params, carry, one)
    if _shapes(carry) != _shapes(after):  # A state that grows.
      return begin_by_reading(params, state, history, length)
    return carry, log_probs

  def step(params, carry, token):
    run = step_by_reading if isinstance(carry, _Reading) else run_on
    return run(params, carry, token)

  of_offset = {}
  if hasattr(torso, 'empty_offset'):
    of_offset = {'empty_offset': empty_offset, 'prefill_with_offset': prefill}
  return types.Predictor(
    vocab_size,
    init,
    embed,
    prefill,
    prepare,
    read,
    sequence_block,
    trace,
    begin,
    step,
    **of_offset,
  )


@functools.lru_cache(maxsize=64)
def bayesian(task_prior: types.TaskPrior) -> types.Predictor:
  """Returns the exact Bayesian predictor of a task prior.

  It has no parameters, its state is the prior's sufficient statistic, and a
  prefix is the token rows themselves (E = V).

  Raises:
    UserError: If it is no task prior.
  """
  if not isinstance(task_prior, types.TaskPrior):
    raise errors.UserError(
      'task_prior: must be a task prior, as bp.task_prior(name) makes one, got '
      f'{checks.show(task_prior)}'
    )

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

  def prepare(params, state, length):
    del params, length
    return state

  def expected(state):
    return state, task_prior.predict(state, jnp.zeros(1, jnp.int32))[0]

  def begin(params, state, history, length):
    del params, length

    def observe(state, token):
      return task_prior.observe(state, token), None

    history = jnp.asarray(history, jnp.int32)
    return expected(jax.lax.scan(observe, state, history)[0])

  def step(params, state, token):
    del params
    return expected(task_prior.observe(state, jnp.asarray(token, jnp.int32)))

  if task_prior.observe is None:
    begin, step = _by_reading(prepare, read)
  return types.Predictor(
    vocab_size=task_prior.vocab_size,
    init=lambda key: {},
    embed=lambda params, rows: _float32(rows),
    prefill=prefill,
    prepare=prepare,
    read=read,
    begin=begin,
    step=step,
  )


def _stepping(predictor):
  """Returns `begin` and `step` of any predictor."""
  if predictor.begin is None or predictor.step is None:
    return _by_reading(predictor.prepare, predictor.read)
  return predictor.begin, predictor.step


def next_token(
  predictor: types.Predictor,
  params: types.Params,
  state: types.State,
  history: Sequence[int] | types.Array = (),
) -> types.Array:
  """Returns what a predictor expects after a history.

  It is one program for each length of the history, and may be called inside
  `jax.jit` and `jax.vmap`. To go on token by token at a small cost for each,
  take `predictor.begin` and `predictor.step`:

      carry, log_probs = predictor.begin(params, state, history, 10)
      step = jax.jit(predictor.step)
      carry, log_probs = step(params, carry, token)  # Ten times at most.

  Args:
    predictor: Whose expectation it is.
    params: Its weights; {} for a Bayesian predictor.
    state: Where it starts, see `generate`.
    history: int [N], the tokens of 0 to V - 1 that were seen since; N may be 0.

  Returns:
    float32 [V], log probabilities of the next token in nats. A history that a
    prior rules out leaves -inf everywhere.

  Raises:
    UserError: If it is no predictor, or the history no tokens of it.
  """
  history = _history(predictor, history)
  return _next_token(predictor, params, state, history)


def _history(predictor, history):
  if not isinstance(predictor, types.Predictor):
    raise errors.UserError(
      'predictor: must be a predictor, as bp.load_predictor returns first and '
      'bp.bayesian makes of a task prior, got '
      f'{checks.show(predictor)}'
    )
  if isinstance(history, jax.core.Tracer):
    return history
  return checks.tokens('history', history, predictor.vocab_size)


def _check_key(key):
  """Refuses what is no single key; a raw one of JAX's older kind is taken."""
  dtype, shape = getattr(key, 'dtype', None), getattr(key, 'shape', None)
  typed = dtype is not None and jax.dtypes.issubdtype(
    dtype, jax.dtypes.prng_key
  )
  raw = dtype == np.uint32 and len(shape or ()) == 1
  if not raw and not (typed and shape == ()):
    raise errors.UserError(
      'key: must be one key, as jax.random.key(0) makes it, got '
      f'{checks.show(key)}'
    )


@functools.partial(jax.jit, static_argnames='predictor')
def _next_token(predictor, params, state, history):
  begin, _ = _stepping(predictor)
  return begin(params, state, history, 0)[1]


def generate(
  predictor: types.Predictor,
  params: types.Params,
  state: types.State,
  history: Sequence[int] | types.Array,
  num_tokens: int,
  key: types.Key,
) -> types.Array:
  """Samples on from a history, each token from what the predictor expects.

  It is one program for all values of the same shapes, and may be called inside
  `jax.jit` and `jax.vmap`: for many continuations, `vmap` it over keys. A token
  costs one step: of a recurrence, of attention to the keys and values that are
  kept, or of counting (Bayes). Of `switching`, and of torsos of your own whose
  state grows without `reserve`, it costs a pass over the whole sequence.

  Args:
    predictor: What samples.
    params: Its weights; {} for a Bayesian predictor.
    state: Where it starts: `predictor.start(params)`, or what a tuner's `bind`
      or `load_predictor` returned, which is behind the prompt.
    history: int [N], the tokens of 0 to V - 1 that were seen since; N may be 0.
    num_tokens: T, at least 1.
    key: A typed key, as made by `jax.random.key`; consumed. Token t depends on
      it by t alone, so that more tokens begin with the same ones.

  Returns:
    int32 [T]. Inside `jit`, -1 where no token is possible.

  Raises:
    UserError: If it is no predictor, if the history is no tokens of it, if
      `num_tokens` is no number above 0, if the key is none, or if no token is
      possible: the prior rules the history out, or the weights are not finite.
  """
  num_tokens = checks.integer('num_tokens', num_tokens, 1)
  _check_key(key)
  history = _history(predictor, history)
  tokens = _generate(predictor, params, state, history, num_tokens, key)
  if not isinstance(tokens, jax.core.Tracer) and np.any(np.asarray(tokens) < 0):
    raise errors.UserError(
      f'history: no token is possible after {checks.show(history.tolist())}; '
      'the prior rules it out, or the weights are not finite'
    )
  return tokens


@functools.partial(jax.jit, static_argnames=('predictor', 'num_tokens'))
def _generate(predictor, params, state, history, num_tokens, key):
  begin, step = _stepping(predictor)

  def draw(log_probs, number):
    token = jax.random.categorical(jax.random.fold_in(key, number), log_probs)
    token = token.astype(jnp.int32)
    return token, jnp.where(jnp.any(log_probs > -jnp.inf), token, -1)

  def go_on(now, number):
    carry, log_probs = now
    token, sampled = draw(log_probs, number)
    return step(params, carry, token), sampled

  last = num_tokens - 1  # After the last one nothing is expected.
  now = begin(params, state, history, last)
  now, sampled = jax.lax.scan(go_on, now, jnp.arange(last))
  return jnp.append(sampled, draw(now[1], last)[1])
