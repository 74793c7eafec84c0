"""What the scripts share: flags, and one clear line for a mistake.

A mistake of the user's ends with exit code 2 and one line on standard error. A
traceback is a bug of ours.

A script may be started many times, as the processes of one run: see
`bayes_prompting.system.distributed`. Process 0 alone prints what it did.
"""

from collections.abc import Callable, Mapping, Sequence
import contextlib
import functools
import os
import pathlib
import shlex
import sys
import traceback

from absl import app
from absl import flags
from absl import logging

from bayes_prompting import checks
from bayes_prompting import errors
from bayes_prompting.system import console
from bayes_prompting.system import devices
from bayes_prompting.system import interruption

from . import presets

_EXIT_CODE = 2
_CLOSED_PIPE = 128 + 13
_HELP = {'-?', '-help', '-helpfull', '-helpshort', '-helpxml'}
CONFIG = presets.define()
flags.declare_key_flag('config')  # Of this module, for --help.
WORKDIR = flags.DEFINE_string(
  'workdir',
  None,
  'Folder for what the run makes. Pretrained networks are kept beside it too, '
  'in networks/, for later runs.',
)
DEBUG_NANS = flags.DEFINE_bool(
  'debug_nans',
  False,
  'End at the operation that gives a NaN, with a traceback (slow); the same as '
  '--config.debug.nans.',
)
CHECK_FINITE = flags.DEFINE_bool(
  'check_finite',
  False,
  'End with the first loss that is not finite, where otherwise this repetition '
  'alone is stopped; the same as --config.debug.check_finite.',
)
COORDINATOR = flags.DEFINE_string(
  'coordinator',
  None,
  'HOST:PORT at which process 0 listens, for a run of many processes that are '
  'started by hand; Slurm, Open MPI and TPU pods need none of these flags.',
)
NUM_PROCESSES = flags.DEFINE_integer(
  'num_processes', None, 'How many processes the run has.'
)
PROCESS_ID = flags.DEFINE_integer(
  'process_id', None, 'Which of them this is, from 0.'
)
# What most scripts cannot do without, and an example of each.
REQUIRED = {'config': 'quick', 'workdir': 'runs/demo'}
# Defined by the scripts that build what a workdir's files describe.
_ALLOW_PLUGINS = 'allow_plugins'


@functools.cache  # A flag is defined once in a process.
def define_overwrite(
  text: str = 'Move an older run in the workdir aside, dated.',
) -> flags.FlagHolder:
  """Defines `--overwrite`, for the scripts that may start a run."""
  # One process may import many scripts.
  return flags.DEFINE_bool('overwrite', False, text, allow_override=True)


def define_allow_plugins() -> None:
  """Defines `--allow_plugins`, for the scripts that read what others may write.

  `run` sees to it. A script that takes `--config` alone needs none: that file
  is the user's own.
  """
  if _ALLOW_PLUGINS not in flags.FLAGS:  # One process may import many scripts.
    flags.DEFINE_bool(
      _ALLOW_PLUGINS,
      False,
      'Import the modules outside the package that recorded configurations '
      'name: runs their code, so only for files that you trust.',
    )


def fail(message: object) -> None:
  """Prints one line and leaves with exit code 2."""
  line = ' '.join(str(message).split())
  console.say(f'error: {line}', error=True)
  sys.exit(_EXIT_CODE)


def fail_without(name: str, example: str) -> None:
  """Says that a flag is missing, with an example of it."""
  fail(f'--{name}: missing, for example --{name}={example}')


def refuse_config(why: str) -> None:
  """Fails if `--config` is given to a script that takes none."""
  if CONFIG.present:
    fail(f'--config: {why}')


def _parse(argv: Sequence[str], required: Mapping[str, str]) -> list[str]:
  """Parses flags; what absl and config_flags raise becomes one line."""
  logging.set_verbosity(logging.ERROR)  # config_flags warns beside its errors.
  _mark(required)
  try:
    rest = flags.FLAGS(argv)
    if CONFIG.present:
      _debug(presets.checked(CONFIG.value))
  except SystemExit:
    if any(arg.replace('--', '-', 1) in _HELP for arg in argv[1:]):
      sys.exit(0)  # absl itself leaves with 1 after help.
    raise
  except BrokenPipeError:
    raise  # Of --help.
  except Exception as error:
    # config_flags runs the configuration file and applies overrides in here.
    fail(presets.problem(error))
  if len(rest) > 1:
    fail(f'unknown argument {rest[1]!r}; flags start with --')
  if WORKDIR.value:
    try:
      checks.path('--workdir', WORKDIR.value)
    except errors.UserError as error:
      fail(error)
  _check_processes(COORDINATOR.value, NUM_PROCESSES.value, PROCESS_ID.value)
  for name, example in required.items():
    if flags.FLAGS[name].value in (None, ''):
      fail_without(name, example)
  logging.set_verbosity(logging.WARNING)  # Orbax tells of every file.
  return rest


def _mark(required):
  """Has --help say which flags a script cannot do without."""
  for name, example in required.items():
    flag, mark = flags.FLAGS[name], f'REQUIRED, as --{name}={example}. '
    flag.help = mark + flag.help.removeprefix(mark)


def _debug(config):
  """Sets what the flags for debugging ask for."""
  for name, flag in (('nans', DEBUG_NANS), ('check_finite', CHECK_FINITE)):
    if flag.value and 'debug' in config:
      config.debug[name] = True


def _check_processes(coordinator, num_processes, process_id):
  """Checks the three flags of a run that is started by hand."""
  values = {
    '--coordinator': coordinator or None,
    '--num_processes': num_processes,
    '--process_id': process_id,
  }
  missing = [name for name, value in values.items() if value is None]
  if len(missing) == len(values):
    return
  if missing:
    fail(f'{missing[0]}: missing; {", ".join(values)} go together')
  host, _, port = coordinator.rpartition(':')
  if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
    fail(f'--coordinator: must be HOST:PORT, got {coordinator!r}')
  if num_processes < 1:
    fail(f'--num_processes: must be at least 1, got {num_processes}')
  if not 0 <= process_id < num_processes:
    fail(
      f'--process_id: must be from 0 to {num_processes - 1}, got {process_id}'
    )


def path(flag: flags.FlagHolder[str]) -> pathlib.Path:
  """Returns the path that a flag has, absolute and `~` expanded.

  Raises:
    UserError: If no file or folder can have it.
  """
  return checks.path(f'--{flag.name}', flag.value)


def show(dataset, workdir: str) -> None:
  """Prints the headline table, what was found, and where everything is."""
  with console.optional('the table'):
    from bayes_prompting.results import summary

    print(f'\n{summary.table(dataset)}\n')
    sentences = summary.findings(dataset)
    if sentences:
      print('\n'.join(sentences) + '\n')
  print(f'Results  {workdir}/results.nc (all regrets, by step and sequence)')
  print(f'Summary  {workdir}/summary.csv')
  print(f'Figures  {workdir}/figures')
  print(f'Curves   {workdir}/curves')
  print(f'For a report: {command("report")} --workdir={shlex.quote(workdir)}')


def command(name: str) -> str:
  """Returns how a script is called here, by the name of its command."""
  installed = '.' in __package__
  return f'bayes-prompting {name}' if installed else f'python -m launch.{name}'


def _compiling(main, argv):
  """Runs `main` with a cache of compiled programs, and says how many."""
  from bayes_prompting.system import compilation

  compilation.use_cache()
  with compilation.count() as programs:
    main(argv)
  if programs.total:
    print(programs)


@contextlib.contextmanager
def _joined():
  """Joins the other processes of the run, if any; one of them prints."""
  # Imported late, so that --help and mistakes in flags need no JAX.
  from bayes_prompting.system import cores
  from bayes_prompting.system import distributed as distributed_lib

  cores.use(
    cores.asked_for(CONFIG.value if CONFIG.present else {}),
    NUM_PROCESSES.value or 1,
  )
  distributed_lib.initialize(
    COORDINATOR.value or None, NUM_PROCESSES.value, PROCESS_ID.value
  )
  with contextlib.ExitStack() as stack:
    if not distributed_lib.is_first():
      nowhere = stack.enter_context(open(os.devnull, 'w'))
      stack.enter_context(contextlib.redirect_stdout(nowhere))
    if _ALLOW_PLUGINS in flags.FLAGS and flags.FLAGS[_ALLOW_PLUGINS].value:
      from bayes_prompting import registry

      stack.enter_context(registry.plugins())
    yield


def _how_to_go_on() -> str:
  again = 'overwrite' in flags.FLAGS and flags.FLAGS.overwrite
  less = ' without --overwrite' if again else ''
  return f'; the same command{less} goes on from here'


def _alone() -> bool:
  """Returns whether this is the run's only process."""
  distributed = sys.modules.get('bayes_prompting.system.distributed')
  return distributed is None or distributed.alone()


def _leave(code: int) -> None:
  """Ends this process; if it is one of many, so that the others notice."""
  if _alone():
    sys.exit(code)
  sys.stdout.flush()
  sys.stderr.flush()
  os._exit(code)  # An orderly end would wait for the others, and they for us.


def run(
  main: Callable[[Sequence[str]], None],
  required: Mapping[str, str] = REQUIRED,
  compiles: bool = True,
  resumes: bool = True,
) -> None:
  """Runs `main` as `absl.app.run` does, with our words for mistakes.

  Args:
    main: Takes what `absl.app.run` gives it.
    required: Flags that must be given, and an example of each.
    compiles: Whether `main` computes, so that compiled programs are kept and
      counted.
    resumes: Whether `main`, interrupted and run again, goes on from there.
  """

  def guarded(argv):
    try:
      with devices.named(), _joined(), interruption.watching():
        _compiling(main, argv) if compiles else main(argv)
    except errors.MissingNetwork as error:
      fail(f'{error}: {command("pretrain")} {shlex.join(sys.argv[1:])}')
    except errors.UserError as error:
      fail(error)
    except KeyboardInterrupt as error:
      more = _how_to_go_on() if resumes else ''
      console.say(f'Interrupted{more}.', error=True)
      _leave(getattr(error, 'code', 130))
    except Exception:
      if _alone():
        raise
      traceback.print_exc()
      _leave(1)

  with quiet_when_closed():
    app.run(
      guarded,
      flags_parser=functools.partial(_parse, required=required),
    )


@contextlib.contextmanager
def quiet_when_closed():
  """Lets a script end as it would, whatever becomes of what it prints.

  When nobody reads it (`... | head`) the script ends without a word. Where it
  cannot be written, one line says so.
  """
  stdout = console.Tolerant(sys.stdout)
  try:
    with contextlib.redirect_stdout(stdout):
      try:
        yield
      finally:
        stdout.flush()  # Here, not when the interpreter ends.
  except BrokenPipeError:
    _write_nowhere()
    sys.exit(_CLOSED_PIPE)  # The code is that of SIGPIPE.
  finally:
    if stdout.error is not None:
      _write_nowhere()
      console.warn(f'standard output was not written ({stdout.error})')


def _write_nowhere():
  """Lets go of what is left to write to standard output."""
  with contextlib.suppress(OSError, ValueError, AttributeError):
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
