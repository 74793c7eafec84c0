"""DeepPT: a prefix of its own for each layer of a Transformer.

Prefix tuning (Li and Liang, arXiv 2101.00190): the keys and values of K
positions are tuned in every layer. They stand between those of the beginning of
sequence, which stay as they are, and those of the tokens. The output at the
last position, from which the first token is predicted, is tuned with them.

Long key-value prompts that start from the keys and values of real tokens, with
those of the first position frozen (Eyuboglu et al., arXiv 2506.06266), are this
tuner with `init='tokens'`.

StatePT (`state`) tunes the beginning of sequence, too. It is for any torso;
this is for those whose state has an entry for each position.
"""

import math

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from bayes_prompting import checks
from bayes_prompting import errors
from bayes_prompting import trees
from bayes_prompting import types
from bayes_prompting.tuners import _initial

# Raise it when numbers change: networks and results depend on it.
NUMERICS = 1

EXAMPLES = (
  {'length': 3},
  {'length': 2, 'mlp_dim': 5},
  {'length': 2, 'init': 'tokens', 'tokens': (1, 0)},
)


class _MLP(nn.Module):
  """Maps rows [K, E] to what all layers have of K positions, [K, F]."""

  mlp_dim: int
  size: int

  @nn.compact
  def __call__(self, rows: types.Array) -> types.Array:
    hidden = nn.tanh(nn.Dense(self.mlp_dim, name='hidden')(rows))
    return nn.Dense(self.size, name='output')(hidden)


def make(
  length: int = 6,
  mlp_dim: int = 0,
  init: str = 'one_hot',
  init_scale: float = 1.0,
  tokens: _initial.Tokens = None,
) -> types.Tuner:
  """Builds a tuner of keys and values.

  Args:
    length: K.
    mlp_dim: Tunes rows [K, E], and the weights of an MLP with so many hidden
      units that makes keys and values of them, in place of keys and values
      (section 4.3 there). 0 for none.
    init: The keys and values start as what K embedding rows leave: those that
      SoftPT starts from, by the same name (`prefix`). With an MLP it is the
      rows that start so.
    init_scale: Standard deviation of `normal`, half width of `uniform`.
    tokens: Of `init='tokens'`: K tokens, or the spec of a task prior, from
      which each repetition draws.

  Raises:
    UserError: From `init`, if the state has no entry for each position.
  """
  start = _initial.check(length, init, init_scale, tokens)
  mlp_dim = checks.integer('mlp_dim', mlp_dim, 0, checks.MOST_CHANNELS)

  def init_tunable(key, predictor, params):
    row_key, mlp_key = jax.random.split(key)
    rows = start.rows(
      row_key, predictor.vocab_size, lambda rows: predictor.embed(params, rows)
    )
    state = predictor.prefill(params, rows)
    positions, other = _parted(predictor.start(params), state)
    if not positions:
      raise errors.UserError(
        "name: 'deep_prefix' needs a torso whose state has an entry for each "
        'position, such as transformer; that of this predictor keeps its '
        "shape, and 'state' tunes it"
      )
    if not mlp_dim:
      return {'positions': positions, 'other': other}
    mlp = _MLP(mlp_dim, sum(map(_width, positions.values())))
    weights = mlp.init(mlp_key, rows)['params']
    return {'rows': rows, 'mlp': weights, 'other': other}

  def bind(predictor, params, tunable):
    empty = predictor.start(params)
    if mlp_dim:
      positions = _made(predictor, params, empty, tunable)
    else:
      positions = tunable['positions']
    first = trees.by_path(empty)
    joined = {
      path: jnp.concatenate([first[path], leaf])
      for path, leaf in positions.items()
    }
    return params, trees.replace(empty, joined | tunable['other'])

  def _made(predictor, params, empty, tunable):
    """Returns what the MLP makes of its rows, as entries of the state."""
    rows = tunable['rows']
    shapes, _ = jax.eval_shape(
      lambda: _parted(empty, predictor.prefill(params, rows))
    )
    widths = [_width(shape) for shape in shapes.values()]
    mlp = _MLP(mlp_dim, sum(widths))
    numbers = mlp.apply({'params': tunable['mlp']}, rows)
    parts = jnp.split(numbers, np.cumsum(widths)[:-1], axis=1)
    return {
      path: part.reshape(shape.shape)
      for (path, shape), part in zip(shapes.items(), parts, strict=True)
    }

  return types.Tuner(init_tunable, bind)


def _parted(empty, state):
  """Returns the entries of K positions [K, ...], and all that has none.

  Args:
    empty: The state after no prefix.
    state: The state after K rows.
  """
  first = trees.by_path(empty)
  positions, other = {}, {}
  for path, leaf in trees.by_path(state).items():
    if leaf.shape == first[path].shape:
      other[path] = leaf
    else:
      positions[path] = leaf[len(first[path]) :]
  return positions, other


def _width(entries):
  """Returns how many numbers an array [K, ...] has of each position."""
  return math.prod(entries.shape[1:])
