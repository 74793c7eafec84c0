"""OffsetPT: tunes what is added to the memory wherever it is read.

State-offset tuning (Kang et al., arXiv 2503.03499, their h'). Of a state space
model

    y_t = C_t h_t  becomes  y_t = C_t (h_t + h')

The offset acts alike at every position, where what a prompt leaves decays. What
is remembered stays as it is.
The other torsos whose memory is read by a linear map have it in the same place;
those that are not (`lstm`, `gru`, `transformer`) have none.

It is a prompt: the offset is a part of the state that never changes.
"""

import jax

from bayes_prompting import errors
from bayes_prompting import types

# Raise it when numbers change: networks and results depend on it.
NUMERICS = 1

EXAMPLES = ({},)


def make() -> types.Tuner:
  """Builds a tuner of the offset, which starts at zero.

  Raises:
    UserError: From `init`, if the predictor reads no memory in such a way.
  """

  def init(key, predictor, params):
    del key
    empty = predictor.empty_offset
    offset = () if empty is None else empty(params)
    if not jax.tree.leaves(offset):
      raise errors.UserError(
        "name: 'state_offset' needs a torso that reads its memory by a linear "
        'map, such as selective_ssm or linear_recurrence (see docs/torsos.md); '
        'this predictor has none'
      )
    return offset

  def bind(predictor, params, tunable):
    return params, predictor.start(params, tunable)

  return types.Tuner(init, bind, random=False)
