"""The command `bayes-prompting`: each COMMAND is a script of this folder.

bayes-prompting COMMAND --flag=value ...
"""

import importlib
import runpy
import sys

import bayes_prompting
from bayes_prompting import checks
from bayes_prompting import errors

from . import flags as launch_flags

COMMANDS = {
  'run': 'experiment',
  'pretrain': 'pretrain',
  'tune': 'tune',
  'evaluate': 'evaluate',
  'paper': 'paper',
  'architectures': 'architectures',
  'frontier': 'frontier',
  'demonstrations': 'demonstrations',
  'meta': 'meta',
  'report': 'report',
  'playground': 'playground',
  'transfer': 'transfer',
  'audit': 'audit',
  'sweep': 'sweep',
  'adapter': 'adapter',
  'language-model': 'language_model',
  'language-study': 'language_study',
}


def _help() -> str:
  """Returns what the command can do, a line for each script."""
  lines = ['Usage: bayes-prompting COMMAND --flag=value ...', '']
  width = max(map(len, COMMANDS))
  for command, script in COMMANDS.items():
    module = importlib.import_module(f'.{script}', __package__)
    lines.append(f'  {command:<{width}} {module.__doc__.splitlines()[0]}')
  lines += ['', 'For its flags: bayes-prompting COMMAND --help']
  return '\n'.join(lines)


def main() -> None:
  """Runs a script as `python -m` does: its own help, flags and exit code."""
  command, *rest = sys.argv[1:] or ['--help']
  if command in ('--help', '-h', 'help'):
    with launch_flags.quiet_when_closed():
      print(_help())
    return
  if command == '--version':
    print(f'bayes-prompting {bayes_prompting.__version__}')
    return
  try:
    script = COMMANDS[checks.one_of('command', command, COMMANDS)]
  except errors.UserError as error:
    launch_flags.fail(error)
  sys.argv[1:] = rest
  runpy.run_module(f'{__package__}.{script}', None, '__main__', alter_sys=True)


if __name__ == '__main__':
  main()
