"""Checks of what a user gives, each with one clear line when it fails."""

from collections.abc import Iterable, Sequence
import difflib
import math
import numbers

import numpy as np

from bayes_prompting import errors

# How far probabilities may be from summing to 1 before it is a mistake.
_SUM_TOLERANCE = 1e-5


def nearest(name: str, allowed: Iterable[str]) -> str:
  """Returns 'did you mean ...' for a misspelt name, or all that is allowed."""
  allowed = sorted(allowed)
  close = difflib.get_close_matches(name, allowed, n=3, cutoff=0.5)
  if close:
    return f'did you mean {" or ".join(close)}?'
  return f'allowed: {", ".join(allowed) or "nothing"}'


def show(value: object) -> str:
  """Returns `repr(value)` in one line; that of an array has more."""
  return ' '.join(repr(value).split())


def one_of(field: str, value: object, allowed: Iterable[str]) -> str:
  """Returns `value` if it is one of the allowed names."""
  allowed = tuple(allowed)
  if not isinstance(value, str) or value not in allowed:
    raise errors.UserError(
      f'{field}: unknown {show(value)}; {nearest(str(value), allowed)}'
    )
  return value


def integer(field: str, value: object, minimum: int) -> int:
  """Returns `value` if it is a whole number of at least `minimum`."""
  if (
    isinstance(value, bool)
    or not isinstance(value, numbers.Integral)
    or value < minimum
  ):
    raise errors.UserError(
      f'{field}: must be a whole number of at least {minimum}, got '
      f'{show(value)}'
    )
  return int(value)


def one_of_two(field: str, value: object) -> bool:
  """Returns `value` if it is True or False."""
  if not isinstance(value, bool):
    raise errors.UserError(f'{field}: must be True or False, got {show(value)}')
  return value


def positive(field: str, value: object) -> float:
  """Returns `value` if it is a finite number above zero."""
  if (
    isinstance(value, bool)
    or not isinstance(value, numbers.Real)
    or not 0 < value < math.inf
  ):
    raise errors.UserError(
      f'{field}: must be a finite number above 0, got {show(value)}'
    )
  return float(value)


def positives(field: str, value: object) -> tuple[float, ...]:
  """Returns `value` as a tuple of at least one distinct number above zero."""
  wanted = 'must be one or more distinct finite numbers above 0'
  if not isinstance(value, Sequence) or isinstance(value, str) or not value:
    raise errors.UserError(f'{field}: {wanted}, got {show(value)}')
  found = tuple(positive(field, item) for item in value)
  if len(set(found)) != len(found):
    raise errors.UserError(f'{field}: {wanted}, got {show(value)}')
  return found


def _numbers(value: object) -> np.ndarray | None:
  """Returns float64 numbers; None for text, bools, ragged rows and the like."""
  try:
    array = np.asarray(value)
  except ValueError:
    return None
  return array.astype(np.float64) if array.dtype.kind in 'iuf' else None


def non_negative_array(field: str, value: object, ndim: int) -> np.ndarray:
  """Returns `value` as a float64 array of finite numbers of at least zero.

  Args:
    field: The name to show.
    value: What the user gave: nested sequences of numbers.
    ndim: 1 for [V], 2 for [M, V], 3 for [M, V^k, V], with M >= 1 and V >= 2.
  """
  shape = {
    1: '[V] with V >= 2',
    2: '[M, V] with M >= 1 and V >= 2',
    3: '[M, V^k, V] with M >= 1 and V >= 2',
  }[ndim]
  array = _numbers(value)
  if array is None:
    raise errors.UserError(
      f'{field}: must be numbers of shape {shape}, got {show(value)}'
    )
  if array.ndim != ndim or array.size == 0 or array.shape[-1] < 2:
    raise errors.UserError(
      f'{field}: must have shape {shape}, got shape {array.shape}'
    )
  if not np.all(np.isfinite(array)) or np.any(array < 0):
    raise errors.UserError(
      f'{field}: must be finite and not negative, got {show(value)}'
    )
  return array


def probabilities(field: str, value: object, ndim: int) -> np.ndarray:
  """Returns `value` as probabilities over the last axis. Zeros are legal.

  Sums that are off by rounding (up to 1e-5) are normalised.
  """
  array = non_negative_array(field, value, ndim)
  sums = array.sum(-1)
  if np.any(np.abs(sums - 1) > _SUM_TOLERANCE):
    raise errors.UserError(
      f'{field}: must sum to 1 over the vocabulary, got {show(value)} with sum '
      f'{sums.tolist()}'
    )
  return array / sums[..., None]


def weights(field: str, value: object, size: int) -> np.ndarray:
  """Returns `value` as `size` weights that sum to 1. Zeros are legal."""
  array = _numbers(value)
  if (
    array is None
    or array.shape != (size,)
    or not np.all(np.isfinite(array))
    or np.any(array < 0)
    or abs(array.sum() - 1) > _SUM_TOLERANCE
  ):
    raise errors.UserError(
      f'{field}: must be {size} numbers, one a component, not negative, that '
      f'sum to 1, got {show(value)}'
    )
  return array / array.sum()


def strings(field: str, value: object) -> tuple[str, ...]:
  """Returns `value` as a tuple of at least one distinct names."""
  if (
    not isinstance(value, Sequence)
    or isinstance(value, str)
    or not value
    or not all(isinstance(v, str) and v for v in value)
    or len(set(value)) != len(value)
  ):
    raise errors.UserError(
      f'{field}: must be a tuple of one or more distinct names, got '
      f'{show(value)}'
    )
  return tuple(value)
