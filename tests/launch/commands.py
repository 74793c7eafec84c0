"""Commands as a user reads them, put to the scripts' own flag parser."""

import importlib
import pathlib
import re
import shlex
import sys

from absl import flags
from absl import logging
from absl.testing import flagsaver
import pytest

from launch import flags as launch_flags
from launch import main as launch_main
from launch import sweep_grid

# What stands for a value of the user's own, and one of these.
_PLACEHOLDERS = {
  r'--config=\.\.\.': '--config=quick',
  r'(?<=frontier:TORSO,WORLD,)TARGET\b': 'mixture',
  r'(?<=playground:NETWORK,)TARGET\b': 'coin_80',
  r'(?<=meta:TORSO,)WORLD,WHAT\b': 'coins,near',
  r'(?<=demonstrations:TORSO,)CASE,SHOWN\b': 'own,n0',
  r'\bSIZE\b|\bM\b': '4',
  r'\bNETWORK\b|\bTORSO\b': 'lstm',
  r'\bTARGET\b': 'single_coin',
  r'\bCASE\b': 'coin',
  r'(?<=prompts:)WORLD\b': 'coins',
  r'\bWORLD\b': 'switching',
}
_SHOWN = re.compile(
  r'^ {4}((?:bayes-prompting|python -m launch\.|\.\.\. --).*(?:(?<=\\)\n.*)*)',
  re.MULTILINE,
)


def shown(text: str) -> list[str]:
  """Returns the commands of a text, each whole; `...` is the one before."""
  commands = []
  for command in _SHOWN.findall(text):
    command = command.replace('\\\n', ' ')
    if command.startswith('...'):
      command = commands[-1] + command.removeprefix('...')
    commands.append(command)
  return commands


def check(command: str) -> None:
  """Parses a command as its script does, in the current folder.

  Configuration files are read and overrides applied; a sweep's grid is laid
  out. Nothing runs.
  """
  command, _, _ = command.partition(' | ')
  for placeholder, value in _PLACEHOLDERS.items():
    command = re.sub(placeholder, value, command)
  words = shlex.split(command, comments=True)
  if words[0] == 'bayes-prompting':
    name, *given = words[1:]
    script = launch_main.COMMANDS[name]
  else:
    assert words[:2] == ['python', '-m'], command
    script, given = words[2].removeprefix('launch.'), words[3:]
    if script == 'main':
      script, *given = given
      script = launch_main.COMMANDS[script]
  module = importlib.import_module(f'launch.{script}')
  required = {}
  verbosity = logging.get_verbosity()
  with pytest.MonkeyPatch.context() as patch, flagsaver.flagsaver():
    patch.setattr(
      launch_flags,
      'run',
      lambda main, required_=launch_flags.REQUIRED, **kwargs: required.update(
        kwargs.get('required', required_)
      ),
    )
    module.start()
    patch.setattr(sys, 'argv', [script, *given])
    sys.modules.pop('config_config', None)
    for name in flags.FLAGS:
      flags.FLAGS[name].present = 0
    try:
      launch_flags._parse(sys.argv, required)
    except SystemExit as error:
      raise AssertionError(command) from error
    finally:
      logging.set_verbosity(verbosity)
    if script == 'sweep':
      runs = sweep_grid.build(flags.FLAGS.configs, flags.FLAGS['set'].value)
      for run in runs:
        sweep_grid.load(run)
  # All scripts' flags are known in this process: is it one of this script's?
  own = {flag.name for flag in flags.FLAGS.get_key_flags_for_module(module)}
  for word in given:
    if word.startswith('--') and not word.startswith('--config.'):
      name = word.removeprefix('--').partition('=')[0]
      assert name in own or name.removeprefix('no') in own, (command, name)


def files() -> list[pathlib.Path]:
  """Returns the modules whose docstring --help, or a reader, shows."""
  root = pathlib.Path(__file__).parents[2]
  return sorted(
    path
    for folder in ('launch', 'configs')
    for path in (root / folder).glob('[!_]*.py')
  )
