"""Broadcasting that is said, not left to NumPy's rules for missing axes."""

from bayes_prompting import types


def under(x: types.Array, other: types.Array) -> types.Array:
  """Returns `x` with axes of size 1 in front, to have as many as `other`.

  NumPy adds them silently, also where an axis was forgotten; the tests have JAX
  refuse that. One with as many axes or more is returned as it is.
  """
  missing = max(other.ndim - x.ndim, 0)
  return x.reshape((1,) * missing + x.shape)
