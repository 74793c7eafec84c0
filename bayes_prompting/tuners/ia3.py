"""IA3: learned scales of activations (Liu et al., arXiv 2205.05638).

The paper scales keys, values, and the hidden activations of an MLP. A scale of
what a dense layer puts out is one of its kernel's columns and of its bias; a
scale of what it is given is one of its kernel's rows. So IA3 is a map over
weights, as LoRA is, and fits any torso.
"""

from collections.abc import Sequence

import jax.numpy as jnp

from bayes_prompting import checks
from bayes_prompting import trees
from bayes_prompting import types
from bayes_prompting.tuners import _matrices

# Raise it when numbers change: networks and results depend on it.
NUMERICS = 1

EXAMPLES = (
  {},
  {'patterns': ('torso',), 'input_patterns': ('torso', 'unembedding')},
)


def make(
  patterns: Sequence[str] = ('torso',), input_patterns: Sequence[str] = ()
) -> types.Tuner:
  """Builds a tuner of scales, which are ones at the start.

  The paper's are `patterns=('key', 'value')` and `input_patterns=('mlp_out',)`:
  the hidden activations of an MLP are what its second layer is given. A
  Transformer whose keys are normalised scales them before that, for the
  `key_norm` has a scale of its own.

  Args:
    patterns: Layers whose outputs are scaled, see `trees`; by default all of
      the torso. A bias beside a kernel is scaled with it.
    input_patterns: Layers whose inputs are scaled.

  Raises:
    UserError: If there is no pattern; from `init`, if a pattern matches no
      weight matrix, or one of more than two dimensions.
  """
  if not isinstance(input_patterns, list | tuple) or input_patterns:
    input_patterns = checks.strings('input_patterns', input_patterns)
  if not isinstance(patterns, list | tuple) or patterns or not input_patterns:
    patterns = checks.strings('patterns', patterns)

  def init(key, predictor, params):
    del key, predictor
    scales = {}
    for side, field, chosen, axis in (
      ('outputs', 'patterns', patterns, 1),
      ('inputs', 'input_patterns', input_patterns, 0),
    ):
      matrices = _matrices.select(params, chosen or (), 'an IA3', field=field)
      for path, kernel in matrices.items():
        ones = jnp.ones(kernel.shape[axis], jnp.float32)
        scales.setdefault(path, {})[side] = ones
    return scales

  def bind(predictor, params, tunable):
    frozen = trees.by_path(params)
    adapted = {}
    for path, scales in tunable.items():
      kernel = frozen[path]
      if 'inputs' in scales:
        kernel = kernel * scales['inputs'][:, None]
      if 'outputs' in scales:
        kernel = kernel * scales['outputs'][None]
        layer, _, name = path.rpartition('/')
        bias = f'{layer}/bias'
        if name == 'kernel' and bias in frozen:
          adapted[bias] = frozen[bias] * scales['outputs']
      adapted[path] = kernel
    params = trees.replace(params, adapted)
    return params, predictor.start(params)

  return types.Tuner(init, bind)
