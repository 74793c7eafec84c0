"""Many processes, on one or many hosts, that work as one.

JAX runs the same program in every process, and each computes its part of every
array on a mesh. What is not an array is said here: process 0 alone touches
files and speaks (`is_first`, `on_first`), and what one process finds wrong ends
them all (`together`, `agree`), because a process that leaves alone lets the
others wait for it. In a single process all of these do nothing.

Every process must call these functions, and in the same order.
"""

from collections.abc import Callable, Mapping
import os
import pickle
import signal
import socket
import sys
from typing import Any, TypeVar

import jax
from jax.experimental import multihost_utils
import numpy as np

from bayes_prompting import errors

T = TypeVar('T')

# Seconds that a process which has ended waits for the others. Short, as all
# end together unless one of them has failed.
_SHUTDOWN = 60

# Whether this is process 0 inside of `on_first`, where no other follows it.
_deciding = False


def detect(environment: Mapping[str, str]) -> dict[str, Any] | None:
  """Returns arguments of `jax.distributed.initialize` if this is one of many.

  JAX finds the rest by itself. We do not leave it the decision: in a Slurm
  allocation with many tasks it would let a program that is started once, by
  hand, wait for the others.

  Args:
    environment: The environment variables, after JAX was imported.

  Raises:
    UserError: If there are other processes that JAX cannot find.
  """

  def number(name):
    text = environment.get(name, '')
    return int(text) if text.isdecimal() else 0

  # Under mpirun inside a Slurm job, MPI's ranks are the processes.
  if number('OMPI_COMM_WORLD_SIZE') > 1:
    if 'OMPI_MCA_orte_hnp_uri' not in environment:
      raise errors.UserError(
        '--coordinator: missing; JAX cannot find it under this version of Open '
        'MPI. Give --coordinator=HOST:PORT (a host of rank 0, a free port), '
        '--num_processes=$OMPI_COMM_WORLD_SIZE and '
        '--process_id=$OMPI_COMM_WORLD_RANK'
      )
    return {'cluster_detection_method': 'ompi'}
  # Tasks of this step, not of the allocation: 1 in an interactive shell.
  if number('SLURM_STEP_NUM_TASKS') > 1:
    return {
      'cluster_detection_method': 'slurm',
      'num_processes': number('SLURM_STEP_NUM_TASKS'),
    }
  # What JAX sets where it finds TPU chips and the library for them.
  if environment.get('TPU_ML_PLATFORM') == 'JAX':
    hosts = environment.get('TPU_PROCESS_ADDRESSES') or environment.get(
      'TPU_WORKER_HOSTNAMES'
    )
    if number('MEGASCALE_NUM_SLICES') > 1:
      return {}
    if hosts:
      return {} if ',' in hosts else None
    # A virtual machine of Google's, alone or of a pod: its server knows.
    return None if 'TPU_SKIP_MDS_QUERY' in environment else {}
  return None


def initialize(
  coordinator: str | None = None,
  num_processes: int | None = None,
  process_id: int | None = None,
) -> None:
  """Joins the other processes, if there are any; before JAX is used.

  Args:
    coordinator: HOST:PORT where process 0 listens; None under Slurm, Open MPI
      or on a TPU pod, which are detected, and for a single process.
    num_processes: Their number, if `coordinator` is given.
    process_id: Which of them this is, from 0.

  Raises:
    UserError: See `detect`.
  """
  if coordinator is None:
    found = detect(os.environ)
    if found is None:
      return
  elif num_processes == 1:
    return
  else:
    found = {
      'coordinator_address': coordinator,
      'num_processes': num_processes,
      'process_id': process_id,
      # All devices of the host are ours, whatever a cluster says.
      'cluster_detection_method': 'deactivate',
    }
    _say_where(coordinator, num_processes, process_id)
  before = signal.getsignal(signal.SIGTERM)
  jax.distributed.initialize(**found, shutdown_timeout_seconds=_SHUTDOWN)
  # JAX takes it as notice of a preemption to come. Nobody here asks for that,
  # and the process could no longer be told to end.
  signal.signal(signal.SIGTERM, before)


def _say_where(coordinator, num_processes, process_id):
  """Checks that the host is known, and says what is waited for."""
  host, _, port = coordinator.rpartition(':')
  try:
    socket.getaddrinfo(host.strip('[]'), port)
  except OSError:
    raise errors.UserError(
      f'--coordinator: cannot find the host {host!r}'
    ) from None
  print(
    f'Process {process_id} of {num_processes}: waiting for the others, at '
    f'{coordinator} (five minutes at most)',
    file=sys.stderr,
  )


def alone() -> bool:
  """Returns whether this is the only process."""
  # The first question is free; the second starts JAX's backend.
  return not jax.distributed.is_initialized() or jax.process_count() == 1


def is_first() -> bool:
  """Returns whether this process is the one that speaks and writes."""
  return alone() or jax.process_index() == 0


def on_first(function: Callable[[], T]) -> T:
  """Calls a function in process 0; the others get what it returns or raises.

  For everything that touches files: the processes then agree on what is there,
  and need no file system in common. The function may call `on_first` itself.

  Args:
    function: Returns something that can be pickled.

  Raises:
    UserError: In every process, of the same kind, if the function does in
      process 0.
    RuntimeError: In the others, if it raises any other exception there.
  """
  global _deciding
  if alone() or _deciding:
    return function()
  value, problem, message = None, None, b''
  if is_first():
    _deciding = True
    try:
      value = function()
      message = pickle.dumps((value, None))
    except Exception as error:
      problem = error
      if not isinstance(error, errors.UserError):
        text = f'process 0: {type(error).__name__}: {error}'
        error = RuntimeError(text)
      message = pickle.dumps((None, error))
    finally:
      _deciding = False
  size = multihost_utils.broadcast_one_to_all(np.uint32(len(message)))
  padded = np.zeros(int(size), np.uint8)
  padded[: len(message)] = np.frombuffer(message, np.uint8)
  message = multihost_utils.broadcast_one_to_all(padded).tobytes()
  if problem is not None:
    raise problem
  if is_first():
    return value
  value, failure = pickle.loads(message)
  if failure is not None:
    raise failure
  return value


def together(function: Callable[[], T]) -> T:
  """Calls a function in every process; a mistake in one ends all.

  Raises:
    UserError: In every process, if the function does in any.
  """
  if alone():
    return function()
  value, problem = None, ''
  try:
    value = function()
  except errors.UserError as error:
    problem = str(error)
  problems = _everyones(problem)
  for process, text in enumerate(problems):
    if text:
      everywhere = all(other == text for other in problems)
      raise errors.UserError(
        text if everywhere else f'process {process}: {text}'
      )
  return value


def largest(number: int) -> int:
  """Returns the largest of all processes' numbers, none below 0."""
  if alone():
    return number
  return int(multihost_utils.process_allgather(np.uint32(number)).max())


def agree(field: str, value: str) -> None:
  """Checks that all processes were given the same.

  Raises:
    UserError: In every process, if they were not.
  """
  if alone():
    return
  values = _everyones(value)
  for process, other in enumerate(values):
    if other != values[0]:
      raise errors.UserError(
        f'{field}: must be the same in every process; process {process} was '
        'started with another than process 0'
      )


def _everyones(text: str) -> list[str]:
  """Returns the texts of all processes."""
  data = np.frombuffer(text.encode(), np.uint8)
  sizes = multihost_utils.process_allgather(np.uint32(len(data))).ravel()
  padded = np.zeros(max(int(sizes.max()), 1), np.uint8)
  padded[: len(data)] = data
  rows = multihost_utils.process_allgather(padded)
  return [
    row[:size].tobytes().decode() for row, size in zip(rows, sizes, strict=True)
  ]
