"""What `--config` takes: presets by name, files of one's own, and their faults.

A script gets the configuration, or one line that says what is wrong with it.
"""

import contextlib
import copy
import os
import pathlib
import re
import traceback
from typing import Any

from absl import flags
import ml_collections
from ml_collections import config_flags

from bayes_prompting import checks
from bayes_prompting import errors

# Beside this folder in a checkout, and in an installed package.
_PRESETS = pathlib.Path(__file__).resolve().parents[1] / 'configs'
_Parser = config_flags.config_flags.ConfigFileFlagParser
# What parsers of flags say, and what they mean.
_REASONS = {
  'invalid literal for int()': 'a whole number',
  'Exceeds the limit': 'a whole number, of fewer digits',
  'could not convert string to float': 'a number',
  "('Non-boolean argument": 'true or false',
}


def named(text: str) -> str:
  """Returns the file, and its argument, that a value of `--config` stands for.

  `quick` and `worlds:switching,lstm` name files of `configs/`, and
  `lstm,single_coin` is an argument of `paper.py` there. A path is a path.

  Raises:
    UserError: If it is none of these.
  """
  file, colon, argument = text.partition(':')
  if not file or '/' in file or file.endswith('.py') or os.path.isfile(file):
    return text
  names = [path.stem for path in _PRESETS.glob('[!_]*.py')]
  if file in names:
    return f'{_PRESETS / file}.py{colon}{argument}'
  if ',' in file:
    return f'{_PRESETS / "paper"}.py:{text}'
  raise errors.UserError(
    f'no preset {checks.show(file)}; {checks.nearest(file, names)}; or NETWORK,'
    'TARGET for an experiment of the paper, such as lstm,single_coin'
  )


class _PresetParser(_Parser):
  """Reads a configuration file by its path, or by the name of a preset.

  Attributes:
    read: The title and the configuration that was read last, without what is
      overridden then; None before, and where there is none to copy.
  """

  read = None

  def parse(self, path):
    path = named(path)
    config, self.read = super().parse(path), None
    if isinstance(config, ml_collections.ConfigDict):
      # A value that cannot be copied, whatever that raises, is for the checks
      # to refuse.
      with contextlib.suppress(Exception):
        self.read = _title(path), copy.deepcopy(config)
    return config


def _title(path):
  """Returns the name of a preset, or of a file; no other folder is told of."""
  text, colon, argument = path.partition(':')
  file = pathlib.Path(text)
  own = file.resolve().parent == _PRESETS
  return (file.stem if own else file.name) + colon + argument


def started_from() -> Any:
  """Returns the `experiment.run.Preset` that `--config` named, or None."""
  # Imported late, so that --help and mistakes in flags need no JAX.
  from bayes_prompting.experiment import run

  read = flags.FLAGS['config'].parser.read
  return read and run.Preset(*read)


def define(**kwargs: Any) -> flags.FlagHolder:
  """Defines `--config`; arguments are those of `DEFINE_config_file`."""
  holder = config_flags.DEFINE_config_file(
    'config',
    None,
    'A preset (quick, or lstm,single_coin for an experiment of the paper, or '
    'worlds:switching,lstm), or a file of your own, as mine.py or '
    'mine.py:ARGUMENT. Override any field, as in '
    '--config.tuning.num_repetitions=1.',
    lock_config=True,
    **kwargs,
  )
  values = kwargs.get('flag_values', flags.FLAGS)
  values['config'].parser = _PresetParser('config')
  return holder


def checked(config: object) -> ml_collections.ConfigDict:
  """Returns what a configuration file gave, if it is a configuration."""
  if not isinstance(config, ml_collections.ConfigDict):
    getattr(config, 'keys', None)  # Raises what reading the file raised.
    raise errors.UserError(
      f'get_config() must return a ConfigDict, got {config!r}'
    )
  return config


def problem(error: BaseException) -> str:
  """Says in one line what config_flags or a configuration file raised."""
  # config_flags gives a traceback as text, and absl a parser's error in words:
  # what the file, or the parser, raised is their context.
  while error.__context__ is not None and (
    'Traceback' in str(error) or isinstance(error.__context__, errors.UserError)
  ):
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


def _of_flag(error):
  """Says what is wrong with a flag's value, in our words where we have some."""
  # A mapping may have the colon that else ends a value.
  mapping = re.fullmatch(
    r'flag (--[^=]*)=(.*?): Failed to parse .* as a ConfigDict.*',
    str(error),
    re.DOTALL,
  )
  if mapping is not None:
    flag, value = mapping.groups()
    return (
      f"{flag}: must be a mapping in quotes, such as \"{{'name': 'gru'}}\", "
      f'got {checks.show(value)}; to change a part, name it: {flag}.PART=...'
    )
  parts = re.fullmatch(r'flag (--[^=]*)=(.*?): (.*)', str(error), re.DOTALL)
  if parts is None:
    return str(error)  # Names its flag.
  flag, value, reason = parts.groups()
  for start, wanted in _REASONS.items():
    if reason.startswith(start):
      return f'{flag}: must be {wanted}, got {checks.show(value)}'
  return f'{flag}: {reason}, got {checks.show(value)}'


def _of_file(error):
  """Says which file cannot be read."""
  # config_flags tells what it raises of what it met, the last in words alone.
  while error.filename is None and isinstance(error.__cause__, OSError):
    error = error.__cause__
  if error.filename is not None:
    return f'cannot read {checks.show(error.filename)} ({error.strerror})'
  missing = re.search(r'\]:\s*(.*?)\s*\[Errno', str(error), re.DOTALL)
  return f'no file {missing[1]!r}' if missing else str(error)
