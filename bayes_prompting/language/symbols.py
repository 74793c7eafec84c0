"""A language model as a predictor of symbols that are written as text.

A task prior has V symbols. Each is written as one token, such as ` H`, and what
separates two of them, if anything, follows it: the next symbol is predicted
after the separator. The prediction is the model's, restricted to the symbols;
`outside` says how much mass it gives to everything else.

A row of a prefix is a symbol with its separator, so that a prefix of real
tokens is text as well: with S tokens of separator a row has (1 + S) times the
model's width.
"""

from collections.abc import Callable, Sequence
import dataclasses
import functools
from typing import Protocol

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from bayes_prompting import checks
from bayes_prompting import errors
from bayes_prompting import types

# Raise it when numbers change: results depend on it.
NUMERICS = 1

_BLOCK = 4096  # Tokens that are computed at once.


@dataclasses.dataclass(frozen=True)
class Written:
  """How symbols are written, in tokens.

  Attributes:
    symbols: V tokens, one a symbol; None for all tokens of the vocabulary.
    separator: S tokens behind every symbol.
    context: The tokens that stand before everything else, at least one.
  """

  symbols: tuple[int, ...] | None
  separator: tuple[int, ...]
  context: tuple[int, ...]

  def __post_init__(self):
    """Checks what `read` relies on."""
    if not self.context:
      raise errors.UserError(
        'context: must be at least one token, after which the first symbol is '
        'predicted, got none'
      )


class Architecture(Protocol):
  """What a language model is like: a hashable dataclass of its sizes.

  Attributes:
    vocab_size: Tokens.
    width: E, of embeddings.
    tied_unembedding: Whether the unembedding is the embedding, transposed.
    padding: Tokens that stand before every context.
  """

  vocab_size: int
  width: int
  tied_unembedding: bool
  padding: tuple[int, ...]

  def torso(self) -> nn.Module:
    """Returns what is between the embeddings."""

  def shapes(self) -> dict[str, tuple[int, ...]]:
    """Returns the shape of each weight that is kept, by its name there."""

  def params(self, weight: Callable[[str], np.ndarray]) -> types.Params:
    """Returns weights from those that are kept, (name) -> float32 array.

    They are `embedding`, `torso` and, unless it is tied, `unembedding`.
    """


def _affine(y, layer):
  product = y @ layer['kernel']
  if 'bias' not in layer:
    return product
  return product + jnp.broadcast_to(layer['bias'], product.shape)


class _Model:
  """The parts of a language model, as pure functions of its weights."""

  def __init__(self, architecture, written):
    self.architecture = architecture
    self.torso = architecture.torso()
    self.written = written
    self.per_symbol = 1 + len(written.separator)
    self.width = architecture.width

  def of_tokens(self, params, numbers):
    """Returns embeddings [..., E] of tokens of the model's own."""
    return params['embedding']['kernel'][jnp.asarray(numbers, jnp.int32)]

  def of_symbols(self, params):
    """Returns embeddings [V, E] of the symbols."""
    if self.written.symbols is None:
      return params['embedding']['kernel']
    return self.of_tokens(params, self.written.symbols)

  def logits(self, params, y):
    """Maps activations [..., E] to all of the model's tokens."""
    if self.architecture.tied_unembedding:
      return y @ params['embedding']['kernel'].T
    return _affine(y, params['unembedding'])

  def logits_of_symbols(self, params, y):
    """The same for the V symbols alone."""
    symbols = self.written.symbols
    if symbols is None:
      return self.logits(params, y)
    if self.architecture.tied_unembedding:
      return y @ self.of_symbols(params).T
    chosen = jnp.asarray(symbols)
    return _affine(
      y, jax.tree.map(lambda x: x[..., chosen], params['unembedding'])
    )

  def run(self, params, *args, method):
    return self.torso.apply({'params': params['torso']}, *args, method=method)

  def embed(self, params, rows):
    """Maps rows [K, V] to [K, (1 + S) E]: symbols, each with its separator."""
    symbols = rows @ self.of_symbols(params)
    separator = self.of_tokens(params, self.written.separator).reshape(-1)
    separator = jnp.broadcast_to(separator, (len(rows), len(separator)))
    return jnp.concatenate([symbols, separator], axis=-1)

  def prefill(self, params, prefix):
    wanted = self.per_symbol * self.width
    if prefix.ndim != 2 or prefix.shape[1] != wanted:
      raise errors.UserError(
        f'prefix: must have shape [K, {wanted}], the width of a symbol with '
        f'its separator, got {list(prefix.shape)}'
      )
    prefix = jnp.asarray(prefix, jnp.float32)
    context = self.of_tokens(params, self.written.context)
    x = jnp.concatenate([context, prefix.reshape(-1, self.width)])
    empty = self.torso.empty_state(self.width)
    y, state = self.run(params, x, empty, method='__call__')
    return {'output': y[-1], 'torso': state}

  def spelt(self, tokens):
    """Returns tokens [..., N] with separators, [..., N (1 + S)], as rows."""
    size = self.architecture.vocab_size
    if self.written.symbols is not None:
      size = len(self.written.symbols)
    separator = size + np.arange(self.per_symbol - 1, dtype=np.int32)
    separator = jnp.broadcast_to(
      separator, (*tokens.shape, self.per_symbol - 1)
    )
    every = jnp.concatenate([tokens[..., None], separator], axis=-1)
    # Of no sequences there is no size to infer.
    *before, length = tokens.shape
    return every.reshape(*before, length * self.per_symbol)

  def rows(self, params):
    """Returns the embeddings that `spelt` counts: symbols, then separator."""
    separator = self.of_tokens(params, self.written.separator)
    symbols = self.of_symbols(params)
    return jnp.concatenate([symbols, separator.reshape(-1, self.width)])

  def prepare(self, params, state, length):
    steps = (length - 1) * self.per_symbol
    table = self.run(
      params, self.rows(params), state['torso'], steps, method='prepare'
    )
    return {'params': params, 'output': state['output'], 'table': table}

  def outputs(self, context, tokens):
    """Returns activations [B, N, E], from which each symbol is predicted."""
    first = jnp.broadcast_to(
      context['output'], (len(tokens), 1, len(context['output']))
    )
    if tokens.shape[1] == 1:
      return first
    y = self.run(
      context['params'],
      context['table'],
      self.spelt(tokens[:, :-1]),
      method='read',
    )
    return jnp.concatenate(
      [first, y[:, self.per_symbol - 1 :: self.per_symbol]], 1
    )

  def read(self, context, tokens):
    y = self.outputs(context, tokens)
    return jax.nn.log_softmax(self.logits_of_symbols(context['params'], y))

  def outside(self, context, tokens):
    """Returns log mass [B, N] on all that is no symbol, before each."""
    y, params = self.outputs(context, tokens), context['params']
    every = self.logits(params, y)
    symbols = jnp.asarray(self.written.symbols)
    total = jax.nn.logsumexp(every, axis=-1)
    others = every.at[..., symbols].set(-jnp.inf)
    return jax.nn.logsumexp(others, axis=-1) - total

  def begin(self, params, state, history, length):
    steps = self.spelt(history)
    y, carry = self.run(
      params, self.rows(params)[steps], state['torso'], method='__call__'
    )
    if hasattr(self.torso, 'reserve'):
      room = length * self.per_symbol
      carry = self.run(params, carry, room, method='reserve')
    output = jnp.concatenate([state['output'][None], y])[-1]
    return carry, jax.nn.log_softmax(self.logits_of_symbols(params, output))

  def step(self, params, carry, token):
    rows = self.rows(params)

    def run(carry, number):
      x = rows[number]
      if hasattr(self.torso, 'reserve'):
        y, carry = self.run(params, x, carry, method='step')
        return carry, y
      y, carry = self.run(params, x[None], carry, method='__call__')
      return carry, y[0]

    carry, y = jax.lax.scan(run, carry, self.spelt(token[None]))
    return carry, jax.nn.log_softmax(self.logits_of_symbols(params, y[-1]))

  def init(self, key):
    """Draws weights of no meaning; their shapes are those of the file's."""
    shapes = self.architecture.shapes()

    def weight(name):
      shape = shapes[name]
      if len(shape) == 1:
        return jnp.ones(shape, jnp.float32)
      own = jax.random.fold_in(key, list(shapes).index(name))
      size = shape[-1] ** -0.5
      return size * jax.random.normal(own, shape, jnp.float32)

    return self.architecture.params(weight)


@functools.lru_cache(maxsize=16)
def predictor(
  architecture: Architecture,
  written: Written,
  load: Callable[[], types.Params] | None = None,
) -> types.Predictor:
  """Returns a language model as a predictor of symbols.

  The same arguments give the same object, so that what was compiled for it
  serves again.

  Args:
    architecture: Of the model.
    written: How symbols are written.
    load: Reads the weights, see `types.Predictor.load`.
  """
  model = _Model(architecture, written)
  size = architecture.vocab_size
  if written.symbols is not None:
    size = len(written.symbols)
  return types.Predictor(
    size,
    model.init,
    model.embed,
    model.prefill,
    model.prepare,
    model.read,
    # Of so many tokens a layer's activations take less than the weights.
    lambda length: max(1, _BLOCK // (length * model.per_symbol)),
    begin=model.begin,
    step=model.step,
    load=load,
  )


def outside(
  architecture: Architecture,
  written: Written,
  params: types.Params,
  state: types.State,
  tokens: Sequence[Sequence[int]] | types.Array,
) -> types.Array:
  """Returns how much mass a model gives to what is no symbol.

  Args:
    architecture: Of the model.
    written: How symbols are written.
    params: The model's weights.
    state: Where it starts, see `types.Predictor.prefill`.
    tokens: int [B, N], symbols.

  Returns:
    float32 [B, N], log probabilities in nats, before each symbol is seen. The
    loss of a symbol among all tokens is its loss among symbols minus
    log(1 - exp(outside)). That of separators is not counted.

  Raises:
    UserError: If the tokens are not of the vocabulary, or if every token of the
      model is a symbol.
  """
  if written.symbols is None:
    raise errors.UserError('symbols: every token is one; nothing is outside')
  tokens = checks.sequences('tokens', tokens, len(written.symbols))
  return _outside(architecture, written, params, state, tokens)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _outside(architecture, written, params, state, tokens):
  model = _Model(architecture, written)
  context = model.prepare(params, state, tokens.shape[1])
  return model.outside(context, tokens)
