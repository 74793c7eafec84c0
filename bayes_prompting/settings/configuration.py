"""The configuration's own kind of ConfigDict, and what follows another field.

An argument of a spec may follow a field of the configuration: its value is then
the name of that field with an `@`, as `'@tuning.prefix_length'`. A name in
braces stands for the value of that field: `'@tasks.{tuning.target}'` is the
task that is tuned to. Both are plain text, so they are still there after the
configuration went through a file, JSON, pickle or a copy. `plain.resolved` puts
values in their place.

Light on purpose, as `settings` is.
"""

from collections.abc import Mapping
import re
from typing import Any

import ml_collections

from bayes_prompting import checks
from bayes_prompting import errors

FOLLOWS = '@'
# A name in a reference, or a field in braces whose value is the name.
_NAME = re.compile(r'[^.{}]+|\{[^.{}]+(?:\.[^.{}]+)*\}')
_PATH = re.compile(rf'(?:{_NAME.pattern})(?:\.(?:{_NAME.pattern}))*')
_HOW = 'to add a field, use `with config.unlocked():`'


class UnknownFieldError(errors.UserError, AttributeError, KeyError):
  """A field that is not there: one line, whichever way it was asked for."""

  __str__ = errors.UserError.__str__  # A KeyError would show it in quotes.


class WrongTypeError(errors.UserError, TypeError):
  """A value of another type than the field has."""


def is_reference(value: object) -> bool:
  """Returns whether a value is the name of a field that an argument follows."""
  return isinstance(value, str) and value.startswith(FOLLOWS)


def plain_value(value: Any, levels: int = 64) -> Any:
  """Returns Python's own for numbers and arrays of NumPy and JAX.

  Sequences become tuples, as configurations have them; what is no plain value,
  or is nested deeper than `levels`, stays as it is, for the checks to refuse.
  """
  if not levels:
    return value
  if hasattr(value, 'dtype') and hasattr(value, 'tolist'):
    try:
      value = value.tolist()
    except Exception:  # A key, a tracer.
      return value
  if isinstance(value, list | tuple | range):
    return tuple(plain_value(item, levels - 1) for item in value)
  if type(value) is dict:
    return {name: plain_value(x, levels - 1) for name, x in value.items()}
  return value


class Configuration(ml_collections.ConfigDict):
  """A ConfigDict that takes what a user means, and refuses in one line.

  * A single value is a tuple of one where a field has tuples.
  * NumPy's and JAX's numbers and arrays become Python's.
  * What an argument follows (`'@tuning.prefix_length'`) may be replaced by a
    value of any type, and the other way round.
  """

  def __init__(self, *args: Any, **kwargs: Any):
    """Makes one as a ConfigDict is made; sections inside are of this kind."""
    object.__setattr__(self, '_path', ())
    super().__init__(*args, **kwargs)

  def __setitem__(self, key: str, value: Any) -> None:
    if key not in self._fields and self.is_locked:
      raise UnknownFieldError(self._unknown(key, self._of_extension(key)))
    held, value = self._fields.get(key), plain_value(value)
    if isinstance(value, ml_collections.FieldReference):
      super().__setitem__(key, value)
      return
    if isinstance(value, dict) or type(value) is ml_collections.ConfigDict:
      value = Configuration(value, type_safe=self.is_type_safe)
    if isinstance(value, Configuration) and self.is_locked:
      value.lock()  # As it is inside of what is locked.
    if isinstance(held, tuple) and _is_single(value):
      value = (value,)
    if is_reference(held) or is_reference(value):
      self._fields[key] = value
      return
    if isinstance(key, str) and '.' in key:
      raise errors.UserError(
        f'{self._named(key)}: a name must have no dot, got {checks.show(key)}'
      )
    try:
      super().__setitem__(key, value)
    except TypeError:
      kind = _kind(held)
      raise WrongTypeError(
        f'{self._named(key)}: must be {kind}, got {checks.show(value)}'
      ) from None
    if isinstance(value, Configuration):
      value._place((*self._path, str(key)))

  def __getitem__(self, key: str) -> Any:
    section, _, rest = (
      key.partition('.') if isinstance(key, str) else (key,) * 3
    )
    if section not in self._fields:
      raise UnknownFieldError(self._unknown(section))
    return super().__getitem__(key)

  def __delitem__(self, key: str) -> None:
    if self.is_locked:
      raise UnknownFieldError(
        f'{self._named(key)}: a locked configuration loses no field; use `with '
        'config.unlocked():`'
      )
    super().__delitem__(key)

  def __getattr__(self, name: str) -> Any:
    if name.startswith('_'):  # Of Python's own protocols, such as copying.
      raise AttributeError(name)
    return self[name]

  def __setattr__(self, name: str, value: Any) -> None:
    self._ensure_mutability(name)
    self[name] = value

  def __delattr__(self, name: str) -> None:
    self._ensure_mutability(name)
    del self[name]

  def __eq__(self, other: object) -> bool:
    return isinstance(other, ml_collections.ConfigDict) and (
      self._fields == other._fields
      and self.is_locked == other.is_locked
      and self.is_type_safe == other.is_type_safe
    )

  __hash__ = None

  def get_oneway_ref(self, key: str) -> str:
    """Returns what a field that follows this one is set to."""
    self[key]  # Refuses one that is not there.
    return FOLLOWS + self._named(key)

  def get_type(self, key: str) -> type:
    """Returns the type that a flag for this field has; object for any."""
    if key not in self._fields:
      raise UnknownFieldError(self._unknown(key, self._of_extension(key)))
    return object if is_reference(self[key]) else super().get_type(key)

  def _place(self, path):
    """Notes where in the whole configuration this section is, for messages."""
    object.__setattr__(self, '_path', path)
    for name, value in self._fields.items():
      if isinstance(value, Configuration) and value is not self:
        value._place((*path, str(name)))

  def _named(self, key):
    return '.'.join((*self._path, str(key)))

  def _unknown(self, key, hint=''):
    hint = hint or checks.nearest(str(key), map(str, self._fields))
    return f'{self._named(key)}: no such field; {hint} ({_HOW})'

  def _of_extension(self, key):
    """Returns what the extension says of an argument, if this is its spec."""
    name = self._fields.get('name')
    if not isinstance(name, str):
      return ''
    from bayes_prompting import registry  # Only now: extensions need JAX.

    return registry.about(name, str(key))


def _kind(held):
  """Returns what a field takes, by what it holds."""
  if isinstance(held, ml_collections.FieldReference):
    held = held.get()
  if isinstance(held, ml_collections.ConfigDict):
    return 'a section'
  return f'of type {type(held).__name__}'


def _is_single(value):
  return isinstance(value, str | bool | int | float)


def lookup(values: Mapping[str, Any], field: str, reference: str) -> Any:
  """Returns the value of the field that an argument follows.

  Args:
    values: The whole configuration, plain.
    field: The argument, to name in messages.
    reference: What it is set to, as `'@tuning.prefix_length'` or
      `'@tasks.{tuning.target}'`.

  Raises:
    UserError: If there is no such field, or it is not written as one.
  """
  path = reference.removeprefix(FOLLOWS)
  if not _PATH.fullmatch(path):
    raise errors.UserError(
      f'{field}: {checks.show(reference)} names no field; it must be '
      'names with a dot between two, such as @tuning.prefix_length, each of '
      'which may be another field in braces, such as @tasks.{tuning.target}'
    )

  def at(path):
    value = values
    for name in _NAME.findall(path):
      if name.startswith('{'):
        name = at(name.strip('{}'))
      known = value if isinstance(value, Mapping) else {}
      if not isinstance(name, str) or name not in known:
        raise errors.UserError(
          f'{field}: {checks.show(reference)} follows no field; '
          f'{checks.nearest(str(name), known)}'
        )
      value = known[name]
    return value

  return at(path)
