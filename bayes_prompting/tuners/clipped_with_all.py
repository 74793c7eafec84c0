"""Another tuner, with gradients clipped as in the paper's published code.

That code (github.com/google-deepmind/thunnini) takes the gradient of all
weights, clips its norm, and then updates those that are tuned. Here the norm is
that of what is tuned. To compare the two, this tuner has all other weights in
its tunable. They are part of the norm, and `bind` gives them no effect.
"""

from collections.abc import Mapping
from typing import Any

import jax

from bayes_prompting import checks
from bayes_prompting import errors
from bayes_prompting import registry
from bayes_prompting import trees
from bayes_prompting import types

# Raise it when numbers change: networks and results depend on it.
NUMERICS = 1

EXAMPLES = ({'tuner': {'name': 'weights', 'patterns': ('embedding',)}},)


def make(tuner: Mapping[str, Any]) -> types.Tuner:
  """Builds a tuner of weights whose clip counts all weights.

  Its tunable has the other tuner's, as `tuned`, and, by their paths, copies of
  all weights that this does not hold.

  Args:
    tuner: The spec of `weights` or `lora`.
  """
  inner = registry.make('tuners', 'tuner', tuner)
  if not inner.trainable:
    raise errors.UserError(
      'tuner: is not trained by gradient descent, and has nothing to clip; got '
      f'{checks.show(dict(tuner))}'
    )

  def init(key, predictor, params):
    tuned = inner.init(key, predictor, params)
    if not isinstance(tuned, Mapping):
      raise errors.UserError(
        'tuner: must be one of weights, whose tunable is by their paths, got '
        f'{checks.show(dict(tuner))}'
      )
    others = {
      path: leaf
      for path, leaf in trees.by_path(params).items()
      if not hasattr(tuned.get(path), 'shape')
    }
    return {'tuned': tuned, 'others': others}

  def bind(predictor, params, tunable):
    # The value of the frozen weights, and the gradient of the copies.
    frozen = trees.by_path(params)
    with_gradient = {
      path: frozen[path] + (copy - jax.lax.stop_gradient(copy))
      for path, copy in tunable['others'].items()
    }
    params = trees.replace(params, with_gradient)
    return inner.bind(predictor, params, tunable['tuned'])

  return types.Tuner(init, bind)
