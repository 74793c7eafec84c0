"""Checks of what several task priors are given, beyond those of `checks`."""

from collections.abc import Mapping
import numbers

import numpy as np

from bayes_prompting import checks
from bayes_prompting import errors

# How far probabilities may be from summing to 1 before it is a mistake.
_SUM_TOLERANCE = 1e-5


def probability(field: str, value: object) -> float:
  """Returns `value` if it is a number from 0 to 1."""
  if (
    isinstance(value, bool)
    or not isinstance(value, numbers.Real)
    or not 0 <= value <= 1
  ):
    raise errors.UserError(
      f'{field}: must be a number from 0 to 1, got {checks.show(value)}'
    )
  return float(value)


def distributions(
  field: str, value: object, axes: str, sizes: Mapping[str, int]
) -> np.ndarray:
  """Returns `value` as float64 probabilities over the last axis.

  Zeros are legal; sums that are off by rounding (up to 1e-5) are normalised.

  Args:
    field: The name to show.
    value: What the user gave: nested sequences of numbers.
    axes: A letter for each axis, such as `MSV`.
    sizes: How long the axes of some letters must be. Others are at least 1, and
      a vocabulary `V` at least 2.
  """
  wanted = f'[{", ".join(axes)}]'
  try:
    array = np.asarray(value)
  except ValueError:  # Rows of different lengths.
    array = None
  if array is None or array.dtype.kind not in 'iuf':
    raise errors.UserError(
      f'{field}: must be numbers of shape {wanted}, got {checks.show(value)}'
    )
  array = array.astype(np.float64)
  known = [f'{axis} = {sizes[axis]}' for axis in axes if axis in sizes]
  known += [] if 'V' in sizes or 'V' not in axes else ['V >= 2']
  least = [2 if axis == 'V' else 1 for axis in axes]
  if array.ndim != len(axes) or any(
    size < fewest or size != sizes.get(axis, size)
    for axis, size, fewest in zip(axes, array.shape, least, strict=True)
  ):
    wanted += f' with {", ".join(dict.fromkeys(known))}' if known else ''
    raise errors.UserError(
      f'{field}: must have shape {wanted}, got shape {array.shape}'
    )
  if not np.all(np.isfinite(array)) or np.any(array < 0):
    raise errors.UserError(
      f'{field}: must be finite and not negative, got {checks.show(value)}'
    )
  sums = array.sum(-1, keepdims=True)
  if np.any(np.abs(sums - 1) > _SUM_TOLERANCE):
    raise errors.UserError(
      f'{field}: must sum to 1 over the last axis, got {checks.show(value)}'
    )
  return array / sums
