"""Leaving in good order: the first signal asks, the second ends at once.

A launch script enters `watching`. Then SIGTERM and Ctrl-C raise `Interrupted`,
except inside `deferred`, where work that can be kept asks for itself, with
`requested`, when it is ready to leave.
"""

from collections.abc import Callable, Iterator
import contextlib
import os
import signal
import sys
import threading
import time

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
# One wish may come as several signals, to a process and to its group.
_GRACE = 1.0  # Seconds.

# What was asked for, and how deep inside of `deferred` we are.
_requested = None
_depth = 0
# Called when a signal comes inside of `deferred`.
_listeners = []


class Interrupted(KeyboardInterrupt):
  """The user, or the system, wants this process to end.

  Attributes:
    number: Of the signal that said so.
    code: The exit code for it, 128 and the number.
  """

  def __init__(self, number: int = signal.SIGINT):
    super().__init__(signal.Signals(number).name)
    self.number = int(number)
    self.code = 128 + self.number


def requested() -> Interrupted | None:
  """Returns what to raise, if a signal has come inside of `deferred`."""
  return None if _requested is None else Interrupted(_requested)


@contextlib.contextmanager
def deferred(listener: Callable[[int], None] | None = None) -> Iterator[None]:
  """Keeps a first signal for `requested` to tell; one that is left raises.

  Args:
    listener: Called with the signal's number when it comes.

  Raises:
    Interrupted: At the end, if a signal came and nobody has raised it.
  """
  global _depth
  _depth += 1
  if listener is not None:
    _listeners.append(listener)
  try:
    yield
  finally:
    _depth -= 1
    if listener is not None:
      _listeners.remove(listener)
  if _requested is not None and not _depth:
    raise Interrupted(_requested)


def _handle(number, frame):
  """Takes the first signal; the second ends the process, see `_watch`."""
  del frame
  global _requested
  _requested = number
  for listener in _listeners:
    listener(number)
  if not _depth:
    raise Interrupted(number)


def _watch(descriptor):
  """Ends the process at the second signal, whatever its main thread does.

  Python's own handlers run between two steps of the main thread, which may
  wait for a device for minutes; what is written to the descriptor comes at
  once.
  """
  first = None
  while received := os.read(descriptor, 1):
    number = received[0]
    if number not in _SIGNALS:
      continue
    now = time.monotonic()
    if first is not None:
      if now - first < _GRACE:
        continue
      sys.stderr.write('\nLeaving at once.\n')
      sys.stderr.flush()
      os._exit(128 + number)
    first = now
    if _depth:
      sys.stderr.write(
        f'\n{signal.Signals(number).name}: writing a checkpoint, then leaving; '
        'once more leaves at once.\n'
      )
      sys.stderr.flush()


@contextlib.contextmanager
def watching() -> Iterator[None]:
  """Has this process leave in good order; in its main thread, as the last."""
  global _requested
  _requested = None
  ours, theirs = os.pipe()
  os.set_blocking(theirs, False)
  thread = threading.Thread(target=_watch, args=(ours,), daemon=True)
  before = {number: signal.getsignal(number) for number in _SIGNALS}
  woken = signal.set_wakeup_fd(theirs, warn_on_full_buffer=False)
  thread.start()
  for number in _SIGNALS:
    # What is ignored, as under nohup or in a background job, stays ignored.
    if before[number] is not signal.SIG_IGN:
      signal.signal(number, _handle)
  try:
    yield
  finally:
    for number, handler in before.items():
      signal.signal(number, handler)
    signal.set_wakeup_fd(woken)
    os.close(theirs)  # The thread reads the end, and ends.
    thread.join()
    os.close(ours)
    _requested = None
