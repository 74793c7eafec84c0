"""Decoder-only Transformer; its state is the keys and values seen so far."""

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

# Raise it when numbers change: networks and results depend on it.
NUMERICS = 1

EXAMPLES = (
  {'num_heads': 2},
  {'num_heads': 1, 'num_layers': 2, 'widening': 2},
)

# Queries that attend together, and the most groups of them: a group's scores
# leave out what all of its queries cannot see.
_QUERIES = 64
_MAX_GROUPS = 8
# With more tokens than this there is no table: it has all of them at every
# position, and would soon cost as much as the sequences of a batch.
_MAX_VOCAB = 64
# A wider MLP, in embedding widths, is a mistake; so is a table of the positions
# of more numbers, which is made while a program is traced.
_MOST_WIDENING = 1024
_MOST_WAVES = 2**26


def sinusoids(start: int, length: int, width: int) -> np.ndarray:
  """Returns sinusoidal position encodings (Vaswani et al., 2017).

  Args:
    start: The first position.
    length: N.
    width: E. The first half (rounded up) of the channels holds sines, the
      second half cosines, of position / 10000^(2 i / E).

  Returns:
    float32 [N, E].

  Raises:
    UserError: If that is too much to be meant.
  """
  if length * width > _MOST_WAVES:
    raise errors.UserError(
      f'length: {length} positions of an embedding of width {width} are more '
      f'than the {_MOST_WAVES} numbers that a Transformer encodes; shorten it'
    )
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
    key: [H, ..., D].
    value: [H, ..., D].
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


def _dense(features, name, fast):
  product = _fast.dot_general if fast else None
  return nn.Dense(features, use_bias=False, dot_general=product, name=name)


class _Projection(nn.Module):
  """The half of a block that sees each position for itself, and the past."""

  num_heads: int

  @nn.compact
  def __call__(self, x: types.Array, past: types.State, fast: bool) -> _Heads:
    """Projects [..., E], given keys and values [P, H, D] of the past.

    With `seen`, bool [P], it is only the seen ones that count.
    """
    *shape, width = x.shape
    size = width // self.num_heads

    def heads(y):
      return jnp.moveaxis(y.reshape(*shape, self.num_heads, size), -2, 0)

    y = nn.LayerNorm(name='attention_norm')(x)
    query = _dense(width, 'query', fast)(y)
    query = heads(nn.LayerNorm(use_bias=False, name='query_norm')(query))
    query = query / math.sqrt(size)
    key = _dense(width, 'key', fast)(y)
    key = heads(nn.LayerNorm(use_bias=False, name='key_norm')(key))
    value = heads(_dense(width, 'value', fast)(y))

    scores = jnp.einsum('h...d,phd->h...p', query, past['key'])
    if 'seen' in past:
      scores = jnp.where(past['seen'], scores, -jnp.inf)
    # The maximum only keeps exp in range: it cancels, gradient and all.
    maximum = jax.lax.stop_gradient(scores.max(-1, initial=-jnp.inf))
    weights = jnp.exp(scores - maximum[..., None])
    attended = jnp.einsum('h...p,phd->h...d', weights, past['value'])
    return _Heads(query, key, value, maximum, weights.sum(-1), attended)


def _attend(heads: _Heads) -> types.Array:
  """Attends from N positions to the past and to each other: [H, ..., N, D]."""
  length = heads.query.shape[-2]
  if not length:
    return heads.query
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
    key, value = (part[..., :last, :] for part in (heads.key, heads.value))
    scores = jnp.einsum('...qd,...kd->...qk', query, key)
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

  widening: int

  @nn.compact
  def __call__(self, x: types.Array, heads: _Heads, fast: bool) -> types.Array:
    """Maps [..., N, E] to [..., N, E]."""
    width = x.shape[-1]
    attended = jnp.moveaxis(_attend(heads), 0, -2).reshape(x.shape)
    x = x + _dense(width, 'attention_output', fast)(attended)
    y = nn.LayerNorm(name='mlp_norm')(x)
    y = _dense(self.widening * width, 'mlp_in', fast)(y)
    y = _fast.gelu(y) if fast else nn.gelu(y)
    x = x + _dense(width, 'mlp_out', fast)(y)
    return nn.LayerNorm(name='output_norm')(x)


class Block(nn.Module):
  """Attention, then an MLP, each with a residual; no biases in dense layers.

  LayerNorm stands before attention, on queries and keys (over all heads
  together, without bias), before the MLP, and after the block. It is in two
  halves, since the first can be done on a table of all tokens.
  """

  num_heads: int
  widening: int

  def setup(self):
    """Makes the two halves."""
    self.project = _Projection(self.num_heads)
    self.mix = _Mixing(self.widening)
    # The weights of both are the block's own, by their own names.
    nn.share_scope(self, self.project)
    nn.share_scope(self, self.mix)

  def __call__(self, x: types.Array, past: types.State, fast: bool = False):
    """Maps [..., N, E] to [..., N, E], given [P, H, D] keys and values.

    Also returns what attention needs of the positions. With `fast` dense layers
    and GELU have derivatives of their own.
    """
    heads = self.project(x, past, fast)
    return self.mix(x, heads, fast), heads


class Transformer(nn.Module):
  """A stack of blocks over embeddings plus sinusoidal positions.

  Attributes:
    num_layers: Number of blocks.
    num_heads: H; must divide the embedding width.
    widening: Width of the MLP's hidden layer, in embedding widths.
  """

  num_layers: int
  num_heads: int
  widening: int

  def setup(self):
    """Makes the blocks, by the names that their weights have."""
    for i in range(self.num_layers):
      setattr(self, f'layer_{i}', Block(self.num_heads, self.widening))

  def _layers(self):
    return [getattr(self, f'layer_{i}') for i in range(self.num_layers)]

  def empty_state(self, width: int) -> types.State:
    """Returns, for each layer, keys and values [0, H, D] of an empty past."""
    if width % self.num_heads:
      raise errors.UserError(
        f'num_heads: must divide the embedding width {width}, got '
        f'{self.num_heads}'
      )
    none = jnp.zeros((0, self.num_heads, width // self.num_heads), jnp.float32)
    return tuple({'key': none, 'value': none} for _ in range(self.num_layers))

  def __call__(self, x: types.Array, state: types.State):
    """Runs over [N, E] from a state; returns [N, E] and the new state."""
    position = len(state[0]['key'])
    x = x + sinusoids(position, len(x), x.shape[-1])
    pasts = []
    for layer, past in zip(self._layers(), state, strict=True):
      x, heads = layer(x, past)
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
    waves = sinusoids(len(state[0]['key']), length, rows.shape[-1])
    if len(rows) > _MAX_VOCAB:
      return {'rows': rows, 'waves': waves, 'state': state}
    x = waves[:, None] + rows[None]
    heads = self.layer_0.project(x, state[0], fast=True)
    return {'x': x, 'heads': heads, 'state': state}

  def read(self, table: types.PyTree, tokens: types.Array) -> types.Array:
    """Runs over tokens [B, N]; returns [B, N, E]."""
    first, *later = zip(self._layers(), table['state'], strict=True)
    if 'rows' in table:
      waves = table['waves'][: tokens.shape[1]]
      x = table['rows'][tokens] + waves[None]
      x, _ = first[0](x, first[1], fast=True)
    else:
      x = _fast.select(table['x'], tokens)
      heads = jax.tree.map(
        lambda part: _fast.select(part, tokens, axis=1), table['heads']
      )
      x = first[0].mix(x, heads, fast=True)
    for layer, past in later:
      x, _ = layer(x, past, fast=True)
    return x

  def reserve(self, state: types.State, length: int):
    """Makes room for keys and values of `length` more tokens; see `torsos`."""
    position, num_heads, size = state[0]['key'].shape
    room = ((0, length), (0, 0), (0, 0))
    waves = sinusoids(position, length, num_heads * size)
    return {
      'layers': jax.tree.map(lambda part: jnp.pad(part, room), state),
      # Beyond the room an index is that of the last row, without a word.
      'waves': jnp.pad(waves, ((0, 1), (0, 0)), constant_values=np.nan),
      'count': jnp.int32(0),
    }

  def step(self, x: types.Array, carry: types.Carry):
    """Maps one position [E] and keeps its keys and values; see `torsos`."""
    count, waves = carry['count'], carry['waves']
    total = len(carry['layers'][0]['key'])
    position = total - (len(waves) - 1) + count
    seen = jnp.arange(total, dtype=jnp.int32) < position
    x, pasts = (x + waves[count])[None], []
    for layer, past in zip(self._layers(), carry['layers'], strict=True):
      x, heads = layer(x, {**past, 'seen': seen})
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
  num_layers: int = 1, num_heads: int = 4, widening: int = 4
) -> Transformer:
  """Builds a Transformer torso, as wide as the embedding.

  Args:
    num_layers: Number of blocks.
    num_heads: H; must divide the embedding width.
    widening: Width of the MLP's hidden layer, in embedding widths.
  """
  return Transformer(
    checks.integer('num_layers', num_layers, 1, checks.MOST_LAYERS),
    checks.integer('num_heads', num_heads, 1, checks.MOST_CHANNELS),
    checks.integer('widening', widening, 1, _MOST_WIDENING),
  )
