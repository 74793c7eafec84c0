"""One line for what parsers of flags and configuration files raise."""

import re
import traceback

from absl import flags
from ml_collections import config_flags

from bayes_prompting import checks
from bayes_prompting import errors

# What parsers of flags say, and what they mean.
_REASONS = {
  'invalid literal for int()': 'a whole number',
  'Exceeds the limit': 'a whole number, of fewer digits',
  'could not convert string to float': 'a number',
  "('Non-boolean argument": 'true or false',
}


def of_config(error: BaseException) -> str:
  """Says in one line what config_flags or a configuration file raised."""
  # config_flags gives a traceback as text; what the file raised is its context.
  while 'Traceback' in str(error) and error.__context__ is not None:
    error = error.__context__
  if isinstance(error, flags.Error):
    return _of_flag(error)
  if isinstance(error, errors.UserError):
    return f'--config: {error}'
  if isinstance(error, OSError):
    return f'--config: {_of_file(error)}'
  if isinstance(error, AttributeError) and error.name == 'get_config':
    file = getattr(error.obj, '__file__', 'the file')
    return f'--config: {file} has no function get_config()'
  # ml_collections quotes the name, lists all fields, and adds a hint on a line
  # of its own.
  text = str(error.args[0]) if isinstance(error, KeyError) else str(error)
  text = re.sub(r'["\\\']', '', text.replace('\\n', '\n'))
  text = re.sub(r' Other fields present: {.*}', '', text, flags=re.DOTALL)
  text = '; '.join(line for line in text.splitlines() if line.strip())
  frames = traceback.extract_tb(error.__traceback__)
  loader = config_flags.config_flags.__file__
  names = [(frame.filename, frame.name) for frame in frames]
  if (loader, 'parse') not in names:
    return f'--config: unknown field {text}'
  place = ''
  for frame in frames[names.index((loader, 'parse')) + 1 :]:
    if frame.filename != loader and not frame.filename.startswith('<'):
      place = f' ({frame.filename}, line {frame.lineno})'
      break
  return f'--config: {type(error).__name__}: {text}{place}'


def _of_flag(error: flags.Error) -> str:
  """Says what is wrong with a flag's value, in our words where we have some."""
  found = re.fullmatch(r'flag (--[^=]*)=(.*?): (.*)', str(error), re.DOTALL)
  if found is None:
    return str(error)  # Names its flag.
  flag, value, reason = found.groups()
  for start, wanted in _REASONS.items():
    if reason.startswith(start):
      return f'{flag}: must be {wanted}, got {checks.show(value)}'
  return f'{flag}: {reason}, got {checks.show(value)}'


def _of_file(error: OSError) -> str:
  """Says which file cannot be read."""
  # config_flags tells what it raises of what it met, the last in words alone.
  while error.filename is None and isinstance(error.__cause__, OSError):
    error = error.__cause__
  if error.filename is not None:
    return f'cannot read {checks.show(error.filename)} ({error.strerror})'
  missing = re.search(r'\]:\s*(.*?)\s*\[Errno', str(error), re.DOTALL)
  return f'no file {missing[1]!r}' if missing else str(error)
