"""What is said to the user: a line that cannot be printed ends nothing.

A terminal goes away, a log's disk is full, an old locale knows no é. None of
this may end a run, least of all one that is finished.
"""

from collections.abc import Iterator
import contextlib
import sys
from typing import TextIO

import tqdm

from bayes_prompting import errors

_FAILURES = (OSError, ValueError)  # ValueError: the stream was closed.


class Tolerant:
  """A stream to which writing never fails, but for a reader that went away.

  Without a stream, which Python has as None where it was closed from the start,
  nothing is written, and that is no error.

  Attributes:
    error: The last exception that was passed over; None if all was written.
  """

  def __init__(self, stream: TextIO | None):
    self._stream = stream
    self.error: Exception | None = None

  def write(self, text: str) -> int:
    """Writes text; characters that the stream cannot hold are escaped."""
    try:
      if self._stream is not None:
        self._stream.write(text)
    except UnicodeEncodeError as error:
      known = text.encode(error.encoding, 'backslashreplace')
      self.write(known.decode(error.encoding))
    except BrokenPipeError:
      raise
    except _FAILURES as error:
      self.error = error
    return len(text)

  def flush(self) -> None:
    """Flushes the stream."""
    try:
      if self._stream is not None:
        self._stream.flush()
    except BrokenPipeError:
      raise
    except _FAILURES as error:
      self.error = error

  def __eq__(self, other):  # tqdm asks which bars are on a stream.
    return self._stream is getattr(other, '_stream', other)

  def __hash__(self):
    return hash(self._stream)

  def __getattr__(self, name):
    return getattr(self._stream, name)


def bar(
  title: str, total: int, unit: str, done: int = 0, shown: bool = True
) -> tqdm.tqdm:
  """Opens a progress bar on standard error.

  Args:
    title: What is going on.
    total: Units of all of it.
    unit: What is counted.
    done: Units that were done before; they do not count for the rate.
    shown: Whether there is a bar at all.
  """
  return tqdm.tqdm(
    total=total,
    initial=done,
    desc=f'{title:<28}',
    unit=unit,
    mininterval=0.5,
    dynamic_ncols=True,
    disable=not shown or sys.stderr is None,
    file=Tolerant(sys.stderr),
  )


def say(text: object, error: bool = False) -> None:
  """Prints a line, on standard output or on standard error, if it can."""
  stream = Tolerant(sys.stderr if error else sys.stdout)
  # Who closed a pipe wants no more; bars that are shown are gone meanwhile.
  with (
    contextlib.suppress(BrokenPipeError),
    tqdm.tqdm.external_write_mode(file=stream),
  ):
    print(text, file=stream, flush=True)


def warn(message: object) -> None:
  """Prints a warning on standard error; of several processes the first does."""
  # Whoever needs no JAX must not get it here.
  distributed = sys.modules.get('bayes_prompting.system.distributed')
  if distributed is None or distributed.is_first():
    say(f'warning: {message}', error=True)


@contextlib.contextmanager
def optional(what: str) -> Iterator[None]:
  """Does what a finished run can do without: a failure is one warning.

  Args:
    what: Is said to be missing then.
  """
  try:
    yield
  except BrokenPipeError:
    raise  # Of a print: nobody reads on.
  except errors.UserError as error:
    warn(f'{error}; what was computed stands')
  except Exception as error:
    why = ' '.join(f'{type(error).__name__}: {error}'.split())[:200]
    warn(f'{what}: not made ({why}); what was computed stands')
