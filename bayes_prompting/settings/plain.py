"""Plain values of a configuration, as JSON holds them, and their comparison.

Light on purpose, as `settings` is.
"""

from collections.abc import Mapping
import hashlib
import json
from typing import Any

import ml_collections

from bayes_prompting import checks
from bayes_prompting import errors
from bayes_prompting.settings import configuration

# How deep sequences in sequences may be; how deep Python can go differs between
# its versions.
_DEEPEST = 32
_SHOWN = 3  # Of fields that differ.
# Sections of specs, whose arguments may follow a field.
_SPECS = ('network', 'tasks', 'methods')
# Sections that change no result: a run may go on with other values.
_FREE = ('checkpoints', 'debug')


def of(config: ml_collections.ConfigDict) -> dict[str, Any]:
  """Returns the configuration as JSON would: dicts, lists and plain values.

  What follows a field says so still, see `resolved`.

  Raises:
    UserError: If it holds something that JSON cannot, such as an array.
  """
  values = configuration.plain_value(config.to_dict())
  for name, value in values.items():
    _check_plain(value, name)
  return json.loads(json.dumps(values, allow_nan=False))


def _check_plain(value, field):
  """Checks that JSON can hold a value; else says which field."""
  if isinstance(value, Mapping):
    for name, item in value.items():
      _check_plain(item, f'{field}.{name}')
    return
  if _is_deeper(value, _DEEPEST):
    raise errors.UserError(
      f'{field}: must be a plain value of at most {_DEEPEST} levels, got '
      f'{checks.show(value)}'
    )
  try:
    json.dumps(value, allow_nan=False)
  except (RecursionError, TypeError, ValueError) as error:
    raise errors.UserError(
      f'{field}: must be a plain value, got {checks.show(value)} ({error})'
    ) from None


def _is_deeper(value, levels):
  """Returns whether sequences and mappings are nested deeper than that."""
  if not isinstance(value, list | tuple | Mapping):
    return False
  items = value.values() if isinstance(value, Mapping) else value
  return levels == 0 or any(_is_deeper(item, levels - 1) for item in items)


def to_config(values: Mapping[str, Any]) -> configuration.Configuration:
  """Returns the locked configuration that `of` made them of.

  It is as the first one was: what followed a field follows it.
  """
  return configuration.Configuration(tuples(values)).lock()


def resolved(values: Mapping[str, Any]) -> dict[str, Any]:
  """Returns plain values with those of fields for all that follows one.

  Two configurations are the same experiment if these are the same.

  Raises:
    UserError: If an argument follows a field that is not there, or itself.
  """

  def resolve(value, field, followed=()):
    if isinstance(value, Mapping):
      return {
        name: resolve(item, f'{field}.{name}', followed)
        for name, item in value.items()
      }
    if not configuration.is_reference(value):
      return value
    if value in followed:
      raise errors.UserError(f'{field}: {checks.show(value)} follows itself')
    target = configuration.lookup(values, field, value)
    return resolve(target, field, (*followed, value))

  return {
    name: resolve(value, name) if name in _SPECS else value
    for name, value in values.items()
  }


def tuples(value: Any) -> Any:
  """Returns plain values with tuples for lists, as configurations have them."""
  if isinstance(value, list):
    return tuple(map(tuples, value))
  if isinstance(value, Mapping):
    return {name: tuples(item) for name, item in value.items()}
  return value


def each_init(spec: Mapping[str, Any]) -> list[dict[str, Any]]:
  """Returns a tuner's spec with one initialisation, for each that it has.

  Those of the specs inside it follow the same field, and go along.

  Args:
    spec: Its `init`, or that of a spec inside it, may be several names.
  """
  most = max(map(len, inits(spec)), default=1)
  return [_with_init(spec, number) for number in range(most)]


def inits(spec: Mapping[str, Any]) -> list[tuple[str, ...]]:
  """Returns the initialisations of a tuner's spec, and of those inside it.

  Each is a tuple of names. Another kind of value than names is the business of
  a tuner of a user's own.
  """
  found = []
  for name, value in spec.items():
    if isinstance(value, Mapping):
      found += inits(value)
    elif name == 'init':
      names = value if isinstance(value, list | tuple) else (value,)
      if names and all(isinstance(x, str) for x in names):
        found.append(tuple(names))
  return found


def _with_init(spec, number):
  """Returns a spec with one of its initialisations; one alone is for all."""

  def chosen(name, value):
    if isinstance(value, Mapping):
      return _with_init(value, number)
    if name == 'init' and inits({name: value}) and not isinstance(value, str):
      return value[min(number, len(value) - 1)]
    return value

  return {name: chosen(name, value) for name, value in spec.items()}


def comparable(values: Mapping[str, Any]) -> dict[str, Any]:
  """Returns plain values, resolved, without those that change no result."""
  return {
    name: value for name, value in resolved(values).items() if name not in _FREE
  }


def fields(values: Mapping[str, Any]) -> dict[str, Any]:
  """Returns the values of fields, by names as `tuning.num_steps`.

  A spec is one value.
  """
  flat = {}
  for name, value in values.items():
    if isinstance(value, Mapping):
      flat |= {f'{name}.{field}': item for field, item in value.items()}
    else:
      flat[name] = value
  return flat


def fingerprint(values: Mapping[str, Any]) -> str:
  """Returns a short hash of plain values, whatever their order."""
  text = json.dumps(values, sort_keys=True, allow_nan=False)
  return hashlib.sha256(text.encode()).hexdigest()[:16]


def difference(one: Any, other: Any, path: str = '') -> str | None:
  """Returns the fields in which two plain values differ, with both values.

  Three at most, by name, and how many there are more; None if there are none.
  """
  found = list(_differences(one, other, path))
  if len(found) > _SHOWN:
    found[_SHOWN:] = [f'and {len(found) - _SHOWN} more']
  return '; '.join(found) or None


def _differences(one, other, path):
  if isinstance(one, Mapping) and isinstance(other, Mapping):
    for name in sorted(one.keys() | other.keys()):
      field = f'{path}.{name}' if path else name
      if name in one and name in other:
        yield from _differences(one[name], other[name], field)
      else:
        yield f'{field} is in the {"one" if name in one else "other"} alone'
  elif one != other:
    yield f'{path}: {checks.show(one)} and {checks.show(other)}'
