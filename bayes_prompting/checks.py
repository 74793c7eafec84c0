"""Checks of what a user gives, each with one clear line when it fails."""

from collections.abc import Iterable, Mapping, Sequence
import difflib
import numbers
import os
import pathlib

import numpy as np

from bayes_prompting import errors

# Raise it when numbers change: networks and results depend on it.
NUMERICS = 1

# Sizes are those of arrays, steps are counted, in 32 bits.
LARGEST = 2**31 - 1
# Channels of a layer: a matrix of more has no number of entries.
MOST_CHANNELS = 2**20
# Layers of a network, each of which is traced and compiled.
MOST_LAYERS = 64
# How far probabilities may be from summing to 1 before it is a mistake.
_SUM_TOLERANCE = 1e-5
# Beyond these a float32, or the sum of a few, is zero or infinite.
_FLOATS = (1e-30, 1e30)
# Larger vocabularies, of which there are tables everywhere, are a mistake.
_MOST_TOKENS = 2**14
# What stands in an error message: the rest of a longer value is left out.
_SHOWN = 240
# Of a file's or a folder's name, and of a path, in bytes: those of Linux.
_LONGEST_NAME, _LONGEST_PATH = 255, 4095
# Of a name that becomes part of those of files.
_LONGEST_LABEL = 80


def nearest(name: str, allowed: Iterable[str]) -> str:
  """Returns 'did you mean ...' for a misspelt name, or all that is allowed."""
  allowed = sorted(allowed)
  close = difflib.get_close_matches(name, allowed, n=3, cutoff=0.5)
  if close:
    return f'did you mean {" or ".join(close)}?'
  return f'allowed: {", ".join(allowed) or "nothing"}'


def show(value: object) -> str:
  """Returns `repr(value)` in one line, the middle of a long one left out."""
  try:
    text = ' '.join(repr(value).split())
  except Exception:  # A number of too many digits, or too deep, or odd.
    return f'a {type(value).__name__} that cannot be shown'
  if len(text) <= _SHOWN:
    return text
  return f'{text[: _SHOWN - 40]} ... {text[-35:]}'


def one_of(field: str, value: object, allowed: Iterable[str]) -> str:
  """Returns `value` if it is one of the allowed names."""
  allowed = tuple(allowed)
  if not isinstance(value, str) or value not in allowed:
    raise errors.UserError(
      f'{field}: unknown {show(value)}; '
      f'{nearest(value if isinstance(value, str) else show(value), allowed)}'
    )
  return value


def integer(
  field: str, value: object, minimum: int, maximum: int = LARGEST
) -> int:
  """Returns `value` if it is a whole number, and neither too small nor large.

  Args:
    field: The name to show.
    value: What the user gave.
    minimum: The smallest that is allowed.
    maximum: The largest.
  """
  if (
    isinstance(value, bool)
    or not isinstance(value, numbers.Integral)
    or value < minimum
  ):
    raise errors.UserError(
      f'{field}: must be a whole number of at least {minimum}, got '
      f'{show(value)}'
    )
  if value > maximum:
    raise errors.UserError(
      f'{field}: must be a whole number of at most {maximum}, got {show(value)}'
    )
  return int(value)


def one_of_two(field: str, value: object) -> bool:
  """Returns `value` if it is True or False."""
  if not isinstance(value, bool):
    raise errors.UserError(f'{field}: must be True or False, got {show(value)}')
  return value


def probability(field: str, value: object) -> float:
  """Returns `value` if it is a number from 0 to 1."""
  if (
    isinstance(value, bool)
    or not isinstance(value, numbers.Real)
    or not 0 <= value <= 1
  ):
    raise errors.UserError(
      f'{field}: must be a number from 0 to 1, got {show(value)}'
    )
  return float(value)


def positive(field: str, value: object) -> float:
  """Returns `value` if it is a number above zero that float32 can hold."""
  if (
    isinstance(value, bool)
    or not isinstance(value, numbers.Real)
    or not _FLOATS[0] <= value <= _FLOATS[1]
  ):
    raise errors.UserError(
      f'{field}: must be a finite number above 0, from {_FLOATS[0]:g} to '
      f'{_FLOATS[1]:g}, got {show(value)}'
    )
  return float(value)


def positives(field: str, value: object) -> tuple[float, ...]:
  """Returns `value` as a tuple of at least one distinct number above zero."""
  wanted = 'must be one or more distinct finite numbers above 0'
  if not isinstance(value, tuple | list) or not value:
    raise errors.UserError(f'{field}: {wanted}, got {show(value)}')
  found = tuple(positive(field, item) for item in value)
  if len(set(found)) != len(found):
    raise errors.UserError(f'{field}: {wanted}, got {show(value)}')
  return found


def _numbers(value: object) -> np.ndarray | None:
  """Returns float64 numbers; None for text, bools, ragged rows and the like."""
  if isinstance(value, set | dict | str):  # Of no order, or no numbers.
    return None
  try:
    array = np.asarray(value)
  except Exception:  # An object may do anything.
    return None
  return array.astype(np.float64) if array.dtype.kind in 'iuf' else None


def non_negative_array(
  field: str,
  value: object,
  axes: Sequence[str],
  sizes: Mapping[str, int] | None = None,
) -> np.ndarray:
  """Returns `value` as a float64 array of finite numbers of at least zero.

  Args:
    field: The name to show.
    value: What the user gave: nested sequences of numbers.
    axes: The name of each axis, such as `MV`. A vocabulary `V` has at least two
      tokens, other axes have a length of at least 1.
    sizes: Lengths that axes must have, by name.
  """
  sizes = sizes or {}
  shape = f'[{", ".join(axes)}]'
  array = _numbers(value)
  if array is None:
    raise errors.UserError(
      f'{field}: must be numbers of shape {shape}, got {show(value)}'
    )
  if array.ndim != len(axes) or any(
    size < (2 if axis == 'V' else 1) or size != sizes.get(axis, size)
    for axis, size in zip(axes, array.shape, strict=True)
  ):
    known = {axis: f'{axis} = {sizes[axis]}' for axis in axes if axis in sizes}
    if 'V' in axes:
      known.setdefault('V', 'V >= 2')
    conditions = f' with {", ".join(known.values())}' if known else ''
    raise errors.UserError(
      f'{field}: must have shape {shape}{conditions}, got shape {array.shape}'
    )
  if axes[-1] == 'V' and array.shape[-1] > _MOST_TOKENS:
    raise errors.UserError(
      f'{field}: must have V of at most {_MOST_TOKENS}, got {array.shape[-1]}'
    )
  if not np.all(np.isfinite(array)) or np.any(array < 0):
    raise errors.UserError(
      f'{field}: must be finite and not negative, got {show(value)}'
    )
  if np.any(array > _FLOATS[1]):
    raise errors.UserError(
      f'{field}: must be at most {_FLOATS[1]:g} each, got {show(value)}'
    )
  return array


def probabilities(
  field: str,
  value: object,
  axes: Sequence[str],
  sizes: Mapping[str, int] | None = None,
) -> np.ndarray:
  """Returns `value` as float64 probabilities over the last axis.

  Zeros are legal. Sums that are off by rounding (up to 1e-5) are normalised.

  Args:
    field: The name to show.
    value: What the user gave: nested sequences of numbers.
    axes: The name of each axis, see `non_negative_array`.
    sizes: Lengths that axes must have, by name.
  """
  array = non_negative_array(field, value, axes, sizes)
  sums = array.sum(-1)
  if np.any(np.abs(sums - 1) > _SUM_TOLERANCE):
    raise errors.UserError(
      f'{field}: must sum to 1 over the last axis, got {show(value)} with sum '
      f'{show(sums.tolist())}'
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
    not isinstance(value, tuple | list)
    or not value
    or not all(isinstance(v, str) and v for v in value)
    or len(set(value)) != len(value)
  ):
    raise errors.UserError(
      f'{field}: must be a tuple of one or more distinct names, got '
      f'{show(value)}'
    )
  return tuple(value)


def integers(field: str, value: object) -> tuple[int, ...]:
  """Returns whole numbers as a tuple; one alone stands for itself."""
  values = value if isinstance(value, list | tuple) else (value,)
  for each in values:
    if isinstance(each, bool) or not isinstance(each, numbers.Integral):
      raise errors.UserError(
        f'{field}: must be whole numbers, got {show(value)}'
      )
  return tuple(int(each) for each in values)


def tokens(field: str, value: object, vocab_size: int) -> np.ndarray:
  """Returns `value` as tokens int32 [N], whole numbers from 0 to V - 1."""
  array = _tokens(value, vocab_size)
  if array is None or (array.size and array.ndim != 1):
    raise errors.UserError(
      f'{field}: must be tokens, whole numbers from 0 to {vocab_size - 1}, got '
      f'{show(value)}'
    )
  return array.reshape(-1)


def sequences(field: str, value: object, vocab_size: int) -> np.ndarray:
  """Returns `value` as sequences int32 [B, N] of tokens; N is at least 1."""
  array = _tokens(value, vocab_size)
  if array is None or array.ndim != 2 or not array.shape[1]:
    raise errors.UserError(
      f'{field}: must be sequences [B, N] of one token or more, whole numbers '
      f'from 0 to {vocab_size - 1}, a list for each sequence, got {show(value)}'
    )
  return array


def _tokens(value, vocab_size):
  """Returns an array of tokens of any shape; None if that is none."""
  try:
    array = np.asarray(value)
  except ValueError:  # Sequences of several lengths.
    return None
  if not array.size:
    return array.astype(np.int32)
  if array.dtype.kind not in 'iu':
    return None
  if array.min() < 0 or array.max() >= vocab_size:
    return None
  return array.astype(np.int32)


def label(field: str, value: object) -> str:
  """Returns a name of the user's own, which becomes a part of files' names."""
  if (
    not isinstance(value, str)
    or not value
    or not value.isprintable()
    or len(value.encode()) > _LONGEST_LABEL
    or value.startswith(('.', '-', ' '))
    or set(value) & set('/\\')
  ):
    raise errors.UserError(
      f'{field}: a name must have 1 to {_LONGEST_LABEL} printable characters, '
      'no slash among them, and not begin with a dot, a dash or a space, got '
      f'{show(value)}'
    )
  return value


def path(field: str, value: str | os.PathLike[str]) -> pathlib.Path:
  """Returns an absolute path, `~` expanded, if a file can have such a name.

  Whether there is one, and of what kind, is for others to say.
  """
  try:
    text = os.fspath(value)
  except TypeError:
    text = None
  if not isinstance(text, str) or not text or not text.isprintable():
    raise errors.UserError(
      f'{field}: must be a path of printable characters, got {show(value)}'
    )
  try:
    found = pathlib.Path(text).expanduser().absolute()
  except (OSError, RuntimeError) as error:  # No such user; no folder to be in.
    raise errors.UserError(
      f'{field}: cannot tell where {show(text)} is ({error})'
    ) from None
  sizes = [len(os.fsencode(part)) for part in found.parts]
  if max(sizes) > _LONGEST_NAME or len(os.fsencode(found)) > _LONGEST_PATH:
    raise errors.UserError(
      f'{field}: must have names of at most {_LONGEST_NAME} bytes, and '
      f'{_LONGEST_PATH} in all, got {show(text)}'
    )
  return found
