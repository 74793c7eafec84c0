"""Compiled programs: a cache of them between runs, and how many there were."""

from collections.abc import Iterator
import contextlib
import dataclasses
import os
import pathlib

import jax

# Both as JAX records them: the first for every program, taken from the cache or
# not, around all that is done to get it.
_COMPILED = '/jax/core/compile/backend_compile_duration'
_FROM_CACHE = '/jax/compilation_cache/cache_hits'

# Programs that take less are compiled anew rather than kept. When this was
# chosen, configs/quick.py had 157 programs, with 105 s on two cores. Of these
# 110 were below it, with 4 s; below JAX's own second were 123, with 10 s.
_MIN_SECONDS = 0.1
_JAX_MIN_SECONDS = 1.0
_MIN_SECONDS_FLAG = 'jax_persistent_cache_min_compile_time_secs'
_LIMIT = pathlib.Path('/proc/sys/vm/max_map_count')


def use_cache() -> pathlib.Path | None:
  """Has JAX keep compiled programs on disk, unless the user said otherwise.

  Where the user has set JAX's own folder (JAX_COMPILATION_CACHE_DIR, or
  jax.config), that is used; JAX_ENABLE_COMPILATION_CACHE=false is without any.
  Otherwise they are kept in `bayes_prompting/jax` in the user's cache folder
  (XDG_CACHE_HOME, or ~/.cache), which may be deleted at any time. A folder that
  cannot be written is not used, and no error.

  JAX trusts what it finds there, as code to run: so it is the user's own.

  Returns:
    The folder; None without a cache.
  """
  # What is compiled for a CPU has that CPU's instructions in it, and machines
  # often share a home. JAX keeps a program under a hash of its code, the
  # versions, the flags and a fingerprint of the device, which for a CPU covers
  # its features (seen with jaxlib 0.10: another --xla_cpu_max_isa gives another
  # fingerprint): so another kind of CPU compiles its own. Beyond that XLA only
  # compares the features when it loads a program, and logs an error about
  # SIGILL where the host lacks one. It counts preferences such as
  # `+prefer-no-gather` among them, so that on some CPUs every program is
  # complained about (github.com/jax-ml/jax/issues/38445): there, switch it off.
  if not jax.config.jax_enable_compilation_cache:
    return None
  chosen = jax.config.jax_compilation_cache_dir
  if chosen == '':
    return None
  _keep_small()
  if chosen is not None:  # By the user, or here before.
    return pathlib.Path(chosen)
  try:
    folder = user_cache() / 'bayes_prompting' / 'jax'
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
  except (OSError, RuntimeError):  # RuntimeError: the user has no home.
    return None
  if not os.access(folder, os.W_OK | os.X_OK):
    return None
  jax.config.update('jax_compilation_cache_dir', str(folder))
  return folder


def _keep_small():
  """Has small programs kept too, unless the user chose a threshold."""
  if _MIN_SECONDS_FLAG.upper() in os.environ:
    return
  if getattr(jax.config, _MIN_SECONDS_FLAG) == _JAX_MIN_SECONDS:
    jax.config.update(_MIN_SECONDS_FLAG, _MIN_SECONDS)


def user_cache() -> pathlib.Path:
  """Returns the user's cache folder; a relative one is ignored, as XDG says."""
  told = pathlib.Path(os.environ.get('XDG_CACHE_HOME', ''))
  return told if told.is_absolute() else pathlib.Path.home() / '.cache'


def make_room() -> bool:
  """Lets go of all compiled programs where no more than as many could be kept.

  Each takes some of the mappings that Linux grants a process, 65,530 unless
  vm.max_map_count says otherwise. With none left XLA ends the process, as a
  study of eighty experiments found out. What is needed again is taken from the
  cache, or compiled again.

  Returns:
    Whether programs were let go of. Where nothing tells of mappings none are.
  """
  if _used_mappings() < 0.5:
    return False
  jax.clear_caches()
  return True


def _used_mappings():
  """Returns the share of its mappings that the process has used, 0 to 1."""
  try:
    limit = int(_LIMIT.read_text())
    with open('/proc/self/maps', 'rb') as maps:
      return sum(1 for _ in maps) / limit
  except (OSError, ValueError):
    return 0.0


@dataclasses.dataclass
class Programs:
  """How many programs XLA was asked for, and how long that took.

  Attributes:
    total: All of them.
    cached: Those that were taken from the cache.
    seconds: Spent on all; tracing and lowering them is not in it.
  """

  total: int = 0
  cached: int = 0
  seconds: float = 0.0

  def __str__(self):
    count = self.total - self.cached
    plural = '' if count == 1 else 's'
    took = f' and took {self.cached} from the cache' if self.cached else ''
    return f'Compiled {count} program{plural}{took}, in {self.seconds:.1f} s'


@contextlib.contextmanager
def count() -> Iterator[Programs]:
  """Counts the programs that are compiled inside, in any thread."""
  programs = Programs()

  def on_duration(event, seconds, **unused):
    if event == _COMPILED:
      programs.total += 1
      programs.seconds += seconds

  def on_event(event, **unused):
    programs.cached += event == _FROM_CACHE

  jax.monitoring.register_event_duration_secs_listener(on_duration)
  jax.monitoring.register_event_listener(on_event)
  try:
    yield programs
  finally:
    jax.monitoring.unregister_event_duration_listener(on_duration)
    jax.monitoring.unregister_event_listener(on_event)
