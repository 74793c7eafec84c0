"""The argument of a configuration file, `file.py:ARGUMENT`, taken apart.

Light on purpose, as `settings` is.
"""

from collections.abc import Iterable, Mapping

from bayes_prompting import checks
from bayes_prompting import errors


def split(
  file: str,
  text: str,
  parts: Mapping[str, Iterable[str]],
  options: Iterable[str] = (),
) -> tuple[list[str], list[str]]:
  """Returns the parts of an argument, and the options that follow them.

  Args:
    file: Its name, to show.
    text: What stands behind the colon, with commas between.
    parts: What each part can be, by its name; nothing, if anything.
    options: What may follow, each once.

  Raises:
    UserError: If a part is missing, or if one or an option is unknown.
  """
  known = {name: tuple(allowed) for name, allowed in parts.items()}
  form = f'{file}:{",".join(known)}'
  found = text.split(',')
  for (name, allowed), value in zip(known.items(), found, strict=False):
    if allowed and value:
      checks.one_of(f'{form}: {name}', value, allowed)
  for place, (name, allowed) in enumerate(known.items()):
    if not ''.join(found[place : place + 1]):
      which = f'one of {", ".join(allowed)}' if allowed else 'a number'
      raise errors.UserError(
        f'{form}: {name} is missing from {checks.show(text)}, {which}'
      )
  given = found[len(known) :]
  for option in given:
    checks.one_of(f'{form},...', option, options)
    if given.count(option) > 1:
      raise errors.UserError(f'{form},...: has {option!r} twice')
  return found[: len(known)], given
