"""Decoder-only Transformer; its state is the keys and values seen so far."""

import dataclasses
import math
from typing import NamedTuple

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from bayes_prompting import checks
from bayes_prompting import errors
from bayes_prompting import types
from bayes_prompting.torsos import _fast
from bayes_prompting.torsos import _layers

# Raise it when numbers change: networks and results depend on it.
NUMERICS = 1

EXAMPLES = (
  {'num_heads': 2},
  {'num_heads': 1, 'num_layers': 2, 'widening': 2},
  # As in Llama.
  {
    'num_heads': 2,
    'num_layers': 2,
    'num_kv_heads': 1,
    'positions': 'rope',
    'norm': 'rms',
    'query_key_norm': False,
    'output_norm': 'last',
    'mlp': 'swiglu',
    'mlp_dim': 6,
    'recompute': True,
  },
  {
    'num_heads': 2,
    'positions': 'alibi',
    'norm_place': 'after',
    'mlp': 'geglu',
  },
  {'num_heads': 4, 'num_kv_heads': 2, 'positions': 'none', 'norm': 'rms'},
)

POSITIONS = ('sinusoidal', 'rope', 'alibi', 'none')
NORM_PLACES = ('before', 'after')
OUTPUT_NORMS = ('every', 'last')
_ROPE_BASE = 1e4
_WIDENING = 4

# Queries that attend together, and the most groups of them: a group's scores
# leave out what all of its queries cannot see.
_QUERIES = 64
_MAX_GROUPS = 8
# With more tokens than this there is no table: it has all of them at every
# position, and would soon cost as much as the sequences of a batch.
_MAX_VOCAB = 64
# A wider MLP, in embedding widths, is a mistake; so are positions of more
# numbers, a table of which is made while a program is traced.
_MOST_WIDENING = 1024
_MOST_WAVES = 2**26


@dataclasses.dataclass(frozen=True)
class Options:
  """What the blocks of a Transformer are like; see `make`."""

  num_heads: int
  num_kv_heads: int
  positions: str
  rope_base: float
  norm: str
  norm_place: str
  norm_epsilon: float
  query_key_norm: bool
  output_norm: str
  mlp: str
  widening: int
  mlp_dim: int | None

  def hidden(self, width: int) -> int:
    """Returns the width of the MLP's hidden layer; 0 without an MLP."""
    return self.widening * width if self.mlp_dim is None else self.mlp_dim

  def normed(
    self, x: types.Array, name: str, use_bias: bool = True
  ) -> types.Array:
    """Returns the norm of [..., E], a layer of the calling module."""
    return _layers.norm(self.norm, name, self.norm_epsilon, use_bias)(x)

  def slopes(self, num_axes: int) -> types.Array:
    """Returns ALiBi's slopes, [H, 1, ..., 1] of so many axes."""
    slopes = _layers.slopes(self.num_heads)
    return slopes.reshape(-1, *(1,) * (num_axes - 1))


def _check_positions(length, width):
  if length * width > _MOST_WAVES:
    raise errors.UserError(
      f'length: {length} positions of an embedding of width {width} are more '
      f'than the {_MOST_WAVES} numbers that a Transformer encodes; shorten it'
    )


def sinusoids(start: int, length: int, width: int) -> np.ndarray:
  """Returns sinusoidal position encodings (Vaswani et al., 2017).

  Args:
    start: The first position.
    length: N.
    width: E. The first half (rounded up) of the channels holds sines, the
      second half cosines, of position / 10000^(2 i / E).

  Returns:
    float32 [N, E].
  """
  frequencies = 1e4 ** (-np.arange(0, width, 2) / width)
  angles = np.arange(start, start + length)[:, None] * frequencies
  waves = np.concatenate([np.sin(angles), np.cos(angles)], axis=-1)
  return waves[:, :width].astype(np.float32)


class _Heads(NamedTuple):
  """What attention needs of a position, and what it has of the past already.

  The softmax over past and present is put together from its parts, each with
  its own maximum (Milakov and Gimelshein, arXiv 1805.02867), so that what the
  past gives to a query is computed once for all sequences that share it.

  The heads come first: products of one head's matrices are then over memory as
  it lies.

  Attributes:
    query: [H, ..., D], scaled.
    key: [G, ..., D], for H / G queries' heads each.
    value: [G, ..., D].
    maximum: [H, ...], the largest score of the past; -inf without one.
    total: [H, ...], sum of exp(score - maximum) over the past.
    attended: [H, ..., D], sum of exp(score - maximum) value over the past.
  """

  query: types.Array
  key: types.Array
  value: types.Array
  maximum: types.Array
  total: types.Array
  attended: types.Array


def _for_queries(x, num_heads, axis):
  """Repeats heads of keys or values for all heads of queries that have them."""
  shared = num_heads // x.shape[axis]
  return x if shared == 1 else jnp.repeat(x, shared, axis)


class _Projection(nn.Module):
  """The half of a block that sees each position for itself, and the past."""

  options: Options

  @nn.compact
  def __call__(
    self,
    x: types.Array,
    coding: types.Array | None,
    past: types.State,
    fast: bool,
  ) -> _Heads:
    """Projects [..., E], given keys and values [P, G, D] of the past.

    With `seen`, bool [P], it is only the seen ones that count. `coding` is what
    attention needs of the positions, see `Transformer.coding`, of as many axes
    as x.
    """
    options = self.options
    *shape, width = x.shape
    num_heads, num_kv_heads = options.num_heads, options.num_kv_heads
    size = width // num_heads

    def heads(y, count):
      return jnp.moveaxis(y.reshape(*shape, count, size), -2, 0)

    def normed(y, name):
      if not options.query_key_norm:
        return y
      return options.normed(y, name, use_bias=False)

    def turned(y):
      if options.positions != 'rope':
        return y
      return _layers.rotate(y, coding[None])

    y = x
    if options.norm_place == 'before':
      y = options.normed(x, 'attention_norm')
    query = _layers.dense(width, 'query', fast)(y)
    query = turned(heads(normed(query, 'query_norm'), num_heads))
    query = query / math.sqrt(size)
    key = _layers.dense(num_kv_heads * size, 'key', fast)(y)
    key = turned(heads(normed(key, 'key_norm'), num_kv_heads))
    value = _layers.dense(num_kv_heads * size, 'value', fast)(y)
    value = heads(value, num_kv_heads)

    past_key, past_value = (
      _for_queries(past[name], num_heads, 1) for name in ('key', 'value')
    )
    scores = jnp.einsum('h...d,phd->h...p', query, past_key)
    if options.positions == 'alibi':
      places = np.arange(len(past_key), dtype=np.float32)
      distances = places.reshape(*(1,) * len(shape), -1) - coding
      scores += options.slopes(scores.ndim) * distances[None]
    if 'seen' in past:
      scores = jnp.where(past['seen'], scores, -jnp.inf)
    # The maximum only keeps exp in range: it cancels, gradient and all.
    maximum = jax.lax.stop_gradient(scores.max(-1, initial=-jnp.inf))
    weights = jnp.exp(scores - maximum[..., None])
    attended = jnp.einsum('h...p,phd->h...d', weights, past_value)
    return _Heads(query, key, value, maximum, weights.sum(-1), attended)


def _attend(heads: _Heads, options: Options) -> types.Array:
  """Attends from N positions to the past and to each other: [H, ..., N, D]."""
  length = heads.query.shape[-2]
  if not length:
    return heads.query
  keys, values = (
    _for_queries(x, options.num_heads, 0) for x in (heads.key, heads.value)
  )
  groups = min(-(-length // _QUERIES), _MAX_GROUPS)
  size = -(-length // groups)
  found = []
  for first in range(0, length, size):
    last = min(first + size, length)
    query, attended = (
      part[..., first:last, :] for part in (heads.query, heads.attended)
    )
    past, total = (
      part[..., first:last] for part in (heads.maximum, heads.total)
    )
    key, value = (part[..., :last, :] for part in (keys, values))
    scores = jnp.einsum('...qd,...kd->...qk', query, key)
    if options.positions == 'alibi':
      places = np.arange(last, dtype=np.float32)
      distances = places[None] - places[first:, None]
      distances = distances.reshape(*(1,) * (scores.ndim - 2), *distances.shape)
      scores += options.slopes(scores.ndim) * distances
    seen = np.tri(last - first, last, first, dtype=bool)
    scores = jnp.where(seen, scores, -jnp.inf)
    maximum = jax.lax.stop_gradient(jnp.maximum(scores.max(-1), past))
    weights = jnp.exp(scores - maximum[..., None])
    of_past = jnp.exp(past - maximum)
    total = weights.sum(-1) + of_past * total
    attended = weights @ value + of_past[..., None] * attended
    found.append(attended / total[..., None])
  return jnp.concatenate(found, axis=-2)


class _Mixing(nn.Module):
  """The other half of a block: attention, then an MLP, each with a residual."""

  options: Options
  is_last: bool

  @nn.compact
  def __call__(self, x: types.Array, heads: _Heads, fast: bool) -> types.Array:
    """Maps [..., N, E] to [..., N, E]."""
    options, width = self.options, x.shape[-1]
    is_after = options.norm_place == 'after'
    hidden = options.hidden(width)
    attended = jnp.moveaxis(_attend(heads, options), 0, -2).reshape(x.shape)
    x = x + _layers.dense(width, 'attention_output', fast)(attended)
    if is_after:
      x = options.normed(x, 'attention_norm')
      if not hidden:
        return x
      x = x + _layers.mlp(x, options.mlp, hidden, fast)
      return options.normed(x, 'mlp_norm')
    if hidden:
      y = options.normed(x, 'mlp_norm')
      x = x + _layers.mlp(y, options.mlp, hidden, fast)
    if options.output_norm == 'last' and not self.is_last:
      return x
    return options.normed(x, 'output_norm')


class Block(nn.Module):
  """Attention, then an MLP, each with a residual; no biases in dense layers.

  By default LayerNorm stands before attention, on queries and keys (over all
  heads together, without bias), before the MLP, and after the block. It is in
  two halves, since the first can be done on a table of all tokens.
  """

  options: Options
  is_last: bool

  def setup(self):
    """Makes the two halves."""
    self.project = _Projection(self.options)
    self.mix = _Mixing(self.options, self.is_last)
    # The weights of both are the block's own, by their own names.
    nn.share_scope(self, self.project)
    nn.share_scope(self, self.mix)

  def __call__(
    self,
    x: types.Array,
    coding: types.Array | None,
    past: types.State,
    fast: bool = False,
  ):
    """Maps [..., N, E] to [..., N, E], given [P, G, D] keys and values.

    Also returns what attention needs of the positions. With `fast` dense layers
    and GELU have derivatives of their own.
    """
    heads = self.project(x, coding, past, fast)
    return self.mix(x, heads, fast), heads


class Transformer(nn.Module):
  """A stack of blocks over embeddings.

  Attributes:
    num_layers: Number of blocks.
    options: What they are like.
    recompute: Whether a gradient computes the blocks' activations again, in
      place of keeping them.
  """

  num_layers: int
  options: Options
  recompute: bool = False

  def setup(self):
    """Makes the blocks, by the names that their weights have."""
    kind = nn.remat(Block, static_argnums=(4,)) if self.recompute else Block
    for i in range(self.num_layers):
      block = kind(self.options, is_last=i == self.num_layers - 1)
      setattr(self, f'layer_{i}', block)

  def _blocks(self):
    return [getattr(self, f'layer_{i}') for i in range(self.num_layers)]

  def empty_state(self, width: int) -> types.State:
    """Returns, for each layer, keys and values [0, G, D] of an empty past.

    With rotary embeddings the keys are turned, by the angle of their position.
    """
    options = self.options
    pairs = "positions='rope'" if options.positions == 'rope' else None
    size = _layers.head_size(options.num_heads, width, pairs=pairs)
    none = jnp.zeros((0, options.num_kv_heads, size), jnp.float32)
    return tuple({'key': none, 'value': none} for _ in range(self.num_layers))

  def coding(
    self, start: int, length: int, width: int
  ) -> tuple[types.Array, types.Array | None]:
    """Returns what embeddings and attention are told of positions.

    Args:
      start: The first position.
      length: N.
      width: E.

    Returns:
      What is added to the embeddings, [N, E], or [N, 1] of zeros. What each
      block's attention takes: turns [N, D] for rotary embeddings, positions [N,
      1] for ALiBi, or None.

    Raises:
      UserError: If that is too much to be meant.
    """
    _check_positions(length, width)
    options = self.options
    if options.positions == 'sinusoidal':
      return sinusoids(start, length, width), None
    zeros = np.zeros((length, 1), np.float32)
    if options.positions == 'rope':
      size = width // options.num_heads
      return zeros, _layers.rotations(start, length, size, options.rope_base)
    if options.positions == 'alibi':
      return zeros, np.arange(start, start + length, dtype=np.float32)[:, None]
    return zeros, None

  def __call__(self, x: types.Array, state: types.State):
    """Runs over [N, E] from a state; returns [N, E] and the new state."""
    waves, coding = self.coding(len(state[0]['key']), *x.shape)
    x = x + waves
    pasts = []
    for layer, past in zip(self._blocks(), state, strict=True):
      x, heads = layer(x, coding, past, False)
      new = {'key': heads.key, 'value': heads.value}
      pasts.append(
        {
          name: jnp.concatenate([past[name], jnp.moveaxis(new[name], 0, 1)])
          for name in past
        }
      )
    return x, tuple(pasts)

  def prepare(self, rows: types.Array, state: types.State, length: int):
    """Projects every token at every position; see `torsos`."""
    start, width = len(state[0]['key']), rows.shape[-1]
    waves, coding = self.coding(start, length, width)
    shared = {'coding': coding, 'state': state}
    if len(rows) > _MAX_VOCAB:
      return {'rows': rows, 'waves': waves, **shared}
    x = waves[:, None] + rows[None]
    coding = None if coding is None else coding[:, None]
    heads = self.layer_0.project(x, coding, state[0], fast=True)
    return {'x': x, 'heads': heads, **shared}

  def read(self, table: types.PyTree, tokens: types.Array) -> types.Array:
    """Runs over tokens [B, N]; returns [B, N, E]."""
    first, *later = zip(self._blocks(), table['state'], strict=True)
    coding = table['coding']
    if coding is not None:
      coding = coding[None, : tokens.shape[1]]
    if 'rows' in table:
      waves = table['waves'][: tokens.shape[1]]
      x = table['rows'][tokens] + waves[None]
      x, _ = first[0](x, coding, first[1], True)
    else:
      x = _fast.select(table['x'], tokens)
      heads = jax.tree.map(
        lambda part: _fast.select(part, tokens, axis=1), table['heads']
      )
      x = first[0].mix(x, heads, fast=True)
    for layer, past in later:
      x, _ = layer(x, coding, past, True)
    return x

  def reserve(self, state: types.State, length: int):
    """Makes room for keys and values of `length` more tokens; see `torsos`."""
    position, _, size = state[0]['key'].shape
    room = ((0, length), (0, 0), (0, 0))
    coding = self.coding(position, length, self.options.num_heads * size)
    layers = jax.tree.map(lambda part: jnp.pad(part, room), state)
    # Beyond the room an index is that of the last row, without a word.
    waves, coding = jax.tree.map(
      lambda x: jnp.pad(x, ((0, 1), (0, 0)), constant_values=np.nan), coding
    )
    return {
      'layers': layers,
      'waves': waves,
      'coding': coding,
      'count': jnp.int32(0),
    }

  def step(self, x: types.Array, carry: types.Carry):
    """Maps one position [E] and keeps its keys and values; see `torsos`."""
    count, waves, coding = (carry[x] for x in ('count', 'waves', 'coding'))
    total = len(carry['layers'][0]['key'])
    position = total - (len(waves) - 1) + count
    seen = jnp.arange(total, dtype=jnp.int32) < position
    x, pasts = (x + waves[count])[None], []
    coding = None if coding is None else coding[count][None]
    for layer, past in zip(self._blocks(), carry['layers'], strict=True):
      x, heads = layer(x, coding, {**past, 'seen': seen}, False)
      new = {'key': heads.key, 'value': heads.value}
      pasts.append(
        {name: past[name].at[position].set(new[name][:, 0]) for name in past}
      )
    return x[0], {**carry, 'layers': tuple(pasts), 'count': count + 1}

  def sequence_block(self, length: int, width: int) -> int:
    """Returns how many sequences' activations fit into a core's cache."""
    return max(1, 2**18 // (length * width))


# Arguments that others have, and what to set here.
ELSEWHERE = {
  'width': 'a Transformer has no width of its own, it is as wide as its '
  'embedding: set network.embedding_dim'
}


def make(
  num_layers: int = 1,
  num_heads: int = 4,
  widening: int | None = None,
  positions: str = 'sinusoidal',
  rope_base: float = _ROPE_BASE,
  norm: str = 'layer',
  norm_place: str = 'before',
  norm_epsilon: float = _layers.EPSILON,
  query_key_norm: bool = True,
  output_norm: str = 'every',
  mlp: str = 'gelu',
  mlp_dim: int | None = None,
  num_kv_heads: int | None = None,
  recompute: bool = False,
) -> Transformer:
  """Builds a Transformer torso, as wide as the embedding.

  The defaults are the paper's. A block of Llama (Touvron et al., arXiv
  2302.13971) has `positions='rope'`, `norm='rms'`, `norm_epsilon=1e-5`,
  `query_key_norm=False`, `output_norm='last'` and `mlp='swiglu'`.

  Args:
    num_layers: Number of blocks.
    num_heads: H; must divide the embedding width.
    widening: Width of the MLP's hidden layer, in embedding widths; 4 by
      default.
    positions: `sinusoidal` ones are added to the embeddings (see `sinusoids`);
      `rope` turns queries and keys by the angle of their position (Su et al.,
      arXiv 2104.09864; see `_layers.rotate` for which channels are a pair);
      `alibi` takes from each score what grows with the distance (Press et al.,
      arXiv 2108.12409); `none`.
    rope_base: Of `rope`: pair i of a head's channels turns by base^(-2 i / D)
      from one position to the next.
    norm: `layer`, or `rms` (Zhang and Sennrich, arXiv 1910.07467).
    norm_place: Norms stand `before` attention and MLP, or `after` the sum of
      each with its residual, as in Vaswani et al. (2017).
    norm_epsilon: What norms add to a variance or mean square.
    query_key_norm: Whether queries and keys are normed, over all heads
      together, without a bias.
    output_norm: With norms before: whether `every` block ends with one more, or
      the `last` alone. With norms after, every block ends with one.
    mlp: `gelu`, or `swiglu` or `geglu` (Shazeer, arXiv 2002.05202), which have
      half as many weights again.
    mlp_dim: Width of the MLP's hidden layer, in place of `widening`; 0 for no
      MLP.
    num_kv_heads: G, heads of keys and values, each for H / G heads of queries
      (Ainslie et al., arXiv 2305.13245); must divide H, and is H by default.
    recompute: Whether a gradient computes the activations inside a block again
      in place of keeping them (Chen et al., arXiv 1604.06174): memory for one
      block, and a third more work.

  Raises:
    UserError: One line that names the argument, its value and what is allowed.
  """
  num_heads = checks.integer('num_heads', num_heads, 1, checks.MOST_CHANNELS)
  num_kv_heads = _layers.num_kv_heads(num_kv_heads, num_heads)
  checks.one_of('positions', positions, POSITIONS)
  rope_base = checks.positive('rope_base', rope_base)
  if positions != 'rope' and rope_base != _ROPE_BASE:
    raise errors.UserError(
      f"rope_base: is for positions='rope' alone, got {rope_base:g} with "
      f'positions={positions!r}'
    )
  checks.one_of('norm_place', norm_place, NORM_PLACES)
  checks.one_of('output_norm', output_norm, OUTPUT_NORMS)
  if (norm_place, output_norm) == ('after', 'last'):
    raise errors.UserError(
      "output_norm: with norm_place='after' every block ends with a norm, so "
      "it must be 'every', got 'last'"
    )
  if mlp_dim is not None:
    mlp_dim = checks.integer('mlp_dim', mlp_dim, 0, checks.MOST_CHANNELS)
    if widening is not None:
      raise errors.UserError(
        f'mlp_dim: is in place of widening, got {mlp_dim} with '
        f'widening={checks.show(widening)}; set one of them'
      )
  if widening is None:
    widening = _WIDENING
  options = Options(
    num_heads=num_heads,
    num_kv_heads=num_kv_heads,
    positions=positions,
    rope_base=rope_base,
    norm=checks.one_of('norm', norm, _layers.NORMS),
    norm_place=norm_place,
    norm_epsilon=checks.positive('norm_epsilon', norm_epsilon),
    query_key_norm=checks.one_of_two('query_key_norm', query_key_norm),
    output_norm=output_norm,
    mlp=checks.one_of('mlp', mlp, _layers.MLPS),
    widening=checks.integer('widening', widening, 1, _MOST_WIDENING),
    mlp_dim=mlp_dim,
  )
  num_layers = checks.integer('num_layers', num_layers, 1, checks.MOST_LAYERS)
  recompute = checks.one_of_two('recompute', recompute)
  return Transformer(num_layers, options, recompute)
