"""No tuning: the predictor as it is, for NoTuning and PreBayes."""

from bayes_prompting import types

# Raise it when numbers change: networks and results depend on it.
NUMERICS = 1

EXAMPLES = ({},)


def make() -> types.Tuner:
  """Builds the tuner that changes nothing; its tunable is empty."""

  def bind(predictor, params, tunable):
    del tunable
    return params, predictor.start(params)

  return types.Tuner(
    init=lambda key, predictor, params: {},
    bind=bind,
    trainable=False,
    random=False,
  )
