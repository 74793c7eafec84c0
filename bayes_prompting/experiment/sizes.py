"""Bytes: of arrays, of what a program holds at once, and of what there is."""

from collections.abc import Callable
import math
import os
import pathlib
from typing import Any

import jax
from jax.extend import core
import numpy as np

from bayes_prompting import types

# A program is looked at for sequences no longer than this: constants of a
# longer one could take all memory by themselves.
_LONGEST = 512
# Primitives whose result is not written, or is another's memory.
_UNWRITTEN = ('broadcast_in_dim', 'iota', 'reshape', 'squeeze')
# Those that have a program inside, and results beside those of that program.
_LOOPS = ('scan', 'while')


def show(size: int) -> str:
  """Returns a size as one reads it, such as 7.5 TB."""
  units = ('B', 'kB', 'MB', 'GB', 'TB', 'PB', 'EB')
  power = min(int(math.log10(max(size, 1)) // 3), len(units) - 1)
  return f'{size / 1000**power:.3g} {units[power]}'


def of(tree: types.PyTree) -> int:
  """Returns the bytes of arrays, or of their shapes."""
  return sum(map(_of_array, jax.tree.leaves(tree)))


def _of_array(array) -> int:
  if jax.dtypes.issubdtype(array.dtype, jax.dtypes.prng_key):
    return 8 * math.prod(array.shape)
  return math.prod(array.shape) * np.dtype(array.dtype).itemsize


def machine() -> dict[str, int]:
  """Returns the free memory in bytes of the `host`, and of a `device`.

  What is not known is missing; so is the device where it is a CPU.
  """
  found = {}
  host = _host()
  if host is not None:
    found['host'] = host
  device = jax.local_devices()[0]
  if device.platform != 'cpu':
    stats = device.memory_stats() or {}
    if 'bytes_limit' in stats:
      taken = stats.get('bytes_in_use', 0)
      found['device'] = int(stats['bytes_limit'] - taken)
  return found


def _host():
  """Returns the least that the system, or a container's limit, leaves."""
  found = []
  try:
    for line in pathlib.Path('/proc/meminfo').read_text('ascii').splitlines():
      if line.startswith('MemAvailable:'):
        found.append(int(line.split()[1]) * 1024)
  except (OSError, ValueError):
    pass
  if not found and hasattr(os, 'sysconf'):
    try:
      pages, size = os.sysconf('SC_PHYS_PAGES'), os.sysconf('SC_PAGE_SIZE')
      found.append(pages * size)
    except (OSError, ValueError):
      pass
  group = pathlib.Path('/sys/fs/cgroup')
  try:
    limit, used = (
      int((group / f'memory.{name}').read_text('ascii'))
      for name in ('max', 'current')
    )
    # What is used may be a cache of files, which gives way.
    found.append(max(limit - used, limit // 2))
  except (OSError, ValueError):  # No such file, or no limit.
    pass
  return min(found, default=None)


def at_length(of_length: Callable[[int], int], length: int) -> int:
  """Returns the bytes for sequences of a length, from those of shorter ones.

  They grow with the length, and (in attention) with its square.

  Args:
    of_length: Bytes for sequences of some length; called for short ones only.
    length: N.
  """
  if length <= _LONGEST:
    return of_length(length)
  half, whole = of_length(_LONGEST // 2), of_length(_LONGEST)
  square = min(max(2 * (whole - 2 * half), 0), whole)
  ratio = length / _LONGEST
  return int((whole - square) * ratio + square * ratio**2)


def held(function: Callable[..., Any], *args: types.PyTree) -> int:
  """Returns the bytes that a function holds at once, beside its arguments.

  As it is written, operation by operation, each array until it is last used;
  the compiler joins some of them. Nothing is computed.

  Args:
    function: Of arrays.
    *args: Arrays, or their shapes.
  """
  return _held(jax.make_jaxpr(function)(*args).jaxpr)


def _held(program) -> int:
  last = {}
  for place, equation in enumerate(program.eqns):
    last.update(dict.fromkeys(_variables(equation.invars), place))
  last.update(dict.fromkeys(_variables(program.outvars), len(program.eqns)))
  alive, most = {}, 0
  for place, equation in enumerate(program.eqns):
    inside = max(map(_held, _programs(equation.params)), default=0)
    written = {}
    if equation.primitive.name not in _UNWRITTEN:
      written = {var: _of_array(var.aval) for var in equation.outvars}
    outside = sum(written.values())
    if equation.primitive.name in _LOOPS:
      inside += outside
    most = max(most, sum(alive.values()) + max(inside, outside))
    alive |= written
    for var in [*_variables(equation.invars), *equation.outvars]:
      if last.get(var, place) == place:
        alive.pop(var, None)
  return most


def _variables(found):
  return {var for var in found if not isinstance(var, core.Literal)}


def _programs(params):
  """Yields the programs inside of an operation."""
  for value in params.values():
    for item in value if isinstance(value, tuple | list) else (value,):
      item = getattr(item, 'jaxpr', item)
      if hasattr(item, 'eqns'):
        yield item
