"""Decoder-only Transformer; its state is the keys and values seen so far."""

import math

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from bayes_prompting import checks
from bayes_prompting import errors
from bayes_prompting import types

EXAMPLES = (
  {'num_heads': 2},
  {'num_heads': 1, 'num_layers': 2, 'widening': 2},
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


class Block(nn.Module):
  """Attention, then an MLP, each with a residual; no biases in dense layers.

  LayerNorm stands before attention, on queries and keys (over all heads
  together, without bias), before the MLP, and after the block.
  """

  num_heads: int
  widening: int

  @nn.compact
  def __call__(self, x: types.Array, past: types.State):
    """Maps [N, E] to [N, E], given keys and values [P, H, D] of the past."""
    width = x.shape[-1]

    def dense(features, name):
      return nn.Dense(features, use_bias=False, name=name)

    def heads(y):
      return y.reshape(len(y), self.num_heads, width // self.num_heads)

    y = nn.LayerNorm(name='attention_norm')(x)
    query = dense(width, 'query')(y)
    query = heads(nn.LayerNorm(use_bias=False, name='query_norm')(query))
    key = dense(width, 'key')(y)
    key = heads(nn.LayerNorm(use_bias=False, name='key_norm')(key))
    value = heads(dense(width, 'value')(y))
    key = jnp.concatenate([past['key'], key])
    value = jnp.concatenate([past['value'], value])

    scores = jnp.einsum('qhd,khd->hqk', query, key) / math.sqrt(query.shape[-1])
    # Query n stands at position P + n, and sees all up to itself.
    seen = np.tri(len(query), len(key), len(key) - len(query), dtype=bool)
    scores = jnp.where(seen, scores, -jnp.inf)
    attended = jnp.einsum('hqk,khd->qhd', jax.nn.softmax(scores), value)
    x = x + dense(width, 'attention_output')(attended.reshape(x.shape))

    y = nn.LayerNorm(name='mlp_norm')(x)
    y = nn.gelu(dense(self.widening * width, 'mlp_in')(y))
    x = x + dense(width, 'mlp_out')(y)
    x = nn.LayerNorm(name='output_norm')(x)
    return x, {'key': key, 'value': value}


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

  def empty_state(self, width: int) -> types.State:
    """Returns, for each layer, keys and values [0, H, D] of an empty past."""
    if width % self.num_heads:
      raise errors.UserError(
        f'num_heads: must divide the embedding width {width}, got '
        f'{self.num_heads}'
      )
    none = jnp.zeros((0, self.num_heads, width // self.num_heads), jnp.float32)
    return tuple({'key': none, 'value': none} for _ in range(self.num_layers))

  @nn.compact
  def __call__(self, x: types.Array, state: types.State):
    """Runs over [N, E] from a state; returns [N, E] and the new state."""
    position = len(state[0]['key'])
    x = x + sinusoids(position, len(x), x.shape[-1])
    pasts = []
    for i in range(self.num_layers):
      block = Block(self.num_heads, self.widening, name=f'layer_{i}')
      x, past = block(x, state[i])
      pasts.append(past)
    return x, tuple(pasts)


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
    checks.integer('num_layers', num_layers, 1),
    checks.integer('num_heads', num_heads, 1),
    checks.integer('widening', widening, 1),
  )
