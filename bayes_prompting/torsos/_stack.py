"""A torso of layers, each a mixer and an MLP with residuals.

A *mixer* is what differs between architectures of this kind. It is a Flax
module, and what it does of itself with each position stands apart from what it
does with the past:

    empty_state(width) -> state        before anything was seen; width is E
    project(x [..., E]) -> projected   a pytree of arrays [..., F], any F
    mix(projected [..., N, F], state, fast) -> (y [..., N, E], state)

`mix` starts all sequences of a batch from the same state, and returns theirs
with the batch's axes in front. With `fast` it may compute as it likes. Without,
it goes step by step, as the paper's equations do, and has forward derivatives.
Its `width` (of `empty_state`) and E are the same: a layer adds up its parts.

A mixer that reads its memory by a linear map may take an offset, which is added
to the memory wherever it is read (Kang et al., arXiv 2503.03499), and not to
what is remembered:

    empty_offset(width) -> offset      zeros, of the shapes of what is read

`mix` then finds it in a state that has an entry `offset`, without the batch's
axes, and need not return it.

Where the MLP remembers something, too, a mixer stands in its place.
"""

from flax import linen as nn
import jax
import jax.numpy as jnp

from bayes_prompting import checks
from bayes_prompting import types
from bayes_prompting.torsos import _layers

# Raise it when numbers change: networks and results depend on it.
NUMERICS = 2

# Arguments that other torsos have, and what to set for a stack.
ELSEWHERE = {
  'width': 'this torso has no width of its own, it is as wide as its '
  'embedding: set network.embedding_dim'
}


# The entry of a mixer's state that is added to its memory where it is read.
_OFFSET = 'offset'


def _empty_offset(mixer, width):
  return mixer.empty_offset(width) if hasattr(mixer, 'empty_offset') else ()


class Halves(nn.Module):
  """A mixer of two modules, each of which may see the width before its weights.

  Attributes:
    projection: A module whose `__call__` is `project`.
    mixing: A module whose `__call__` is `mix`, and that has `empty_state`.
  """

  projection: nn.Module
  mixing: nn.Module

  def setup(self):
    """Makes the weights of both this module's own, by their own names."""
    nn.share_scope(self, self.projection)
    nn.share_scope(self, self.mixing)

  def empty_state(self, width: int) -> types.State:
    """Returns the state before anything was seen."""
    return self.mixing.empty_state(width)

  def empty_offset(self, width: int) -> types.Offset:
    """Returns zeros, or nothing where nothing can be added."""
    return _empty_offset(self.mixing, width)

  def project(self, x: types.Array) -> types.PyTree:
    """Does what needs nothing but the position."""
    return self.projection(x)

  def mix(self, projected: types.PyTree, state: types.State, fast: bool):
    """Does the rest; see above."""
    return self.mixing(projected, state, fast)


class Layer(nn.Module):
  """x + mixer(norm(x)), then x + mlp(norm(x)); the norms are RMSNorms.

  Attributes:
    mixer: By the contract above.
    mlp_dim: Width of the MLP's hidden layer; 0 for none.
    mlp: One of `_layers.MLPS`.
    mlp_mixer: A mixer in place of the MLP, or None. The layer's state is then a
      pair.
  """

  mixer: nn.Module
  mlp_dim: int
  mlp: str
  mlp_mixer: nn.Module | None = None

  def setup(self):
    """Makes the norm that both methods need."""
    self.mixer_norm = _layers.norm('rms', None)

  def project(self, x: types.Array) -> types.PyTree:
    """Does what needs nothing but the position: [..., E] to [..., F]."""
    return self.mixer.project(self.mixer_norm(x))

  @nn.compact
  def mix(self, x, projected, state, fast):
    """Maps [..., N, E] to [..., N, E] and the new state."""
    if self.mlp_mixer is not None:
      state, mlp_state = state
    offset = state.get(_OFFSET)
    y, state = self.mixer.mix(projected, state, fast)
    if offset is not None:
      batch = x.shape[:-2]
      state = state | {
        _OFFSET: jax.tree.map(
          lambda part: jnp.broadcast_to(part, (*batch, *part.shape)), offset
        )
      }
    x = x + y
    if self.mlp_mixer is not None:
      y = self.mlp_mixer.project(_layers.norm('rms', 'mlp_norm')(x))
      y, mlp_state = self.mlp_mixer.mix(y, mlp_state, fast)
      x, state = x + y, (state, mlp_state)
    elif self.mlp_dim:
      y = _layers.norm('rms', 'mlp_norm')(x)
      x = x + _layers.mlp(y, self.mlp, self.mlp_dim, fast)
    return x, state


class Stack(nn.Module):
  """Layers one after the other, then an RMSNorm; as wide as the embedding.

  Attributes:
    mixers: One for each layer, from the first.
    mlp_dim: Width of the hidden layer of each layer's MLP; 0 for none.
    mlp: One of `_layers.MLPS`.
    mlp_mixer: A mixer in place of each layer's MLP, or None.
  """

  mixers: tuple[nn.Module, ...]
  mlp_dim: int
  mlp: str = 'swiglu'
  mlp_mixer: nn.Module | None = None

  def setup(self):
    """Makes the layers, by the names that their weights have."""
    for i, mixer in enumerate(self.mixers):
      # Mixers are the layer's own, and not this module's.
      own = [
        part if part is None else part.copy(parent=None, name=name)
        for name, part in (('mixer', mixer), ('mlp_mixer', self.mlp_mixer))
      ]
      layer = Layer(own[0], self.mlp_dim, self.mlp, own[1])
      setattr(self, f'layer_{i}', layer)
    self.output_norm = _layers.norm('rms', None)

  def _blocks(self):
    return [getattr(self, f'layer_{i}') for i in range(len(self.mixers))]

  def empty_state(self, width: int) -> types.State:
    """Returns the empty state of each mixer."""

    def state_of(mixer):
      # Of a copy that is nobody's: one of this module would make weights of its
      # own, beside those of the layer.
      return mixer.copy(parent=None).empty_state(width)

    states = tuple(map(state_of, self.mixers))
    if self.mlp_mixer is None:
      return states
    second = state_of(self.mlp_mixer)
    return tuple((state, second) for state in states)

  def empty_offset(self, width: int) -> types.Offset:
    """Returns, for each layer, what its mixer may add to what it reads."""
    return tuple(
      _empty_offset(mixer.copy(parent=None), width) for mixer in self.mixers
    )

  def with_offset(
    self, state: types.State, offset: types.Offset
  ) -> types.State:
    """Returns the state of layers that add it wherever they read."""

    def entered(state, offset):
      if not jax.tree.leaves(offset):
        return state
      if self.mlp_mixer is None:
        return state | {_OFFSET: offset}
      return state[0] | {_OFFSET: offset}, state[1]

    return tuple(map(entered, state, offset))

  def memory(self, state: types.State) -> types.Array:
    """Returns all numbers that are remembered in one row, [D]."""
    parts = state if self.mlp_mixer is None else sum(state, ())
    remembered = [
      {name: x for name, x in part.items() if name != _OFFSET} for part in parts
    ]
    return jnp.concatenate([x.ravel() for x in jax.tree.leaves(remembered)])

  def __call__(self, x: types.Array, state: types.State):
    """Runs over [N, E] from a state; returns [N, E] and the new state."""
    return self._run(x, None, state, fast=False)

  def _run(self, x, projected, state, fast):
    """Runs over [..., N, E]; the first layer's projections may be known."""
    states = []
    for layer, start in zip(self._blocks(), state, strict=True):
      if projected is None:
        projected = layer.project(x)
      x, end = layer.mix(x, projected, start, fast)
      states.append(end)
      projected = None
    return self.output_norm(x), tuple(states)

  def prepare(self, rows: types.Array, state: types.State, length: int):
    """Projects every token for the first layer; see `torsos`."""
    del length
    projected = self.layer_0.project(rows)
    return {'rows': rows, 'projected': projected, 'state': state}

  def read(self, table: types.PyTree, tokens: types.Array) -> types.Array:
    """Runs over tokens [B, N]; returns [B, N, E]."""
    x, projected = jax.tree.map(
      lambda x: x[tokens], (table['rows'], table['projected'])
    )
    return self._run(x, projected, table['state'], fast=True)[0]

  def sequence_block(self, length: int, width: int) -> int:
    """Returns how many sequences' activations fit into a core's cache."""
    return max(1, 2**18 // (max(length, 1) * width))


def repeat(
  mixer: nn.Module,
  num_layers: int,
  mlp_dim: int,
  mlp_mixer: nn.Module | None = None,
) -> Stack:
  """Returns so many layers with the same mixer, once the sizes are checked."""
  num_layers = checks.integer('num_layers', num_layers, 1, checks.MOST_LAYERS)
  mlp_dim = checks.integer('mlp_dim', mlp_dim, 0, checks.MOST_CHANNELS)
  return Stack((mixer,) * num_layers, mlp_dim, mlp_mixer=mlp_mixer)


def over_batch(fn, x: types.PyTree, num_axes: int, *shared):
  """Returns fn(x, *shared) for each entry of the first axes of x.

  Args:
    fn: Of one sequence.
    x: Arrays with the batch's axes in front.
    num_axes: How many these are.
    *shared: What all sequences have in common, such as weights and the state.
  """
  if not num_axes:
    return fn(x, *shared)

  def inner(x, *shared):
    return over_batch(fn, x, num_axes - 1, *shared)

  return jax.vmap(inner, in_axes=(0, *(None for _ in shared)))(x, *shared)


def last(start: types.PyTree, states: types.PyTree, num_axes: int):
  """Returns the last of some states, or the start if there were none.

  Args:
    start: [...], before the first position.
    states: [batch, N, ...], after each position.
    num_axes: How many axes the batch has.
  """

  def end(start, states):
    if states.shape[num_axes]:
      return jax.lax.index_in_dim(states, -1, num_axes, keepdims=False)
    return jnp.broadcast_to(start, (*states.shape[:num_axes], *start.shape))

  return jax.tree.map(end, start, states)
