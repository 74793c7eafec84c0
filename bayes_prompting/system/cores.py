"""The cores of a CPU as devices, over which a fit is split as over GPUs.

XLA splits a matrix product over cores, and little else: a recurrence of small
products keeps most cores waiting. With a device for each core the runs of a
fit, or the sequences of a batch, go side by side (docs/performance.md has the
times). Another number of devices sums in another order, so results agree within
rounding; with the same number they are the same, bit for bit.
"""

from collections.abc import Mapping
import math
import os
import pathlib
import re
from typing import Any
import warnings

import jax

# What the user may have said already.
_VARIABLE = 'JAX_NUM_CPU_DEVICES'
_XLA_FLAG = 'xla_force_host_platform_device_count'


def asked_for(config: Mapping[str, Any]) -> int:
  """Returns `compute.cpu_devices` of a configuration; 0 where it has none.

  It is asked before the configuration is validated, since that starts JAX.
  """
  compute = config.get('compute')
  get = getattr(compute, 'get', lambda name: None)
  value = get('cpu_devices')
  return value if type(value) is int and value > 0 else 0


def use(wanted: int = 0, processes: int = 1) -> None:
  """Has JAX make a device of each core of the CPU, if it has not started yet.

  Without a number that is asked for, JAX_NUM_CPU_DEVICES holds. Without that it
  is the largest power of two among the cores that this process may use, since
  batches and runs are split evenly.

  Args:
    wanted: `compute.cpu_devices`; 0 is automatic.
    processes: How many there are, of which several may be on one host.
  """
  if not wanted:
    flags = os.environ.get('XLA_FLAGS', '')
    if jax.config.jax_num_cpu_devices > 0 or _XLA_FLAG in flags:
      return
    cores = share(os.environ, processes)
    wanted = 1 << max(cores, 1).bit_length() - 1
  try:
    jax.config.update('jax_num_cpu_devices', wanted)
  except RuntimeError:  # JAX has started.
    if jax.default_backend() != 'cpu' or jax.local_device_count() == wanted:
      return
    warnings.warn(
      f'JAX has started with {jax.local_device_count()} of the {wanted} CPU '
      f'devices that could be used; set {_VARIABLE}={wanted} before Python '
      'starts to use them',
      stacklevel=3,
    )


def share(environment: Mapping[str, str], processes: int = 1) -> int:
  """Returns how many of the host's cores are for this process.

  Args:
    environment: The environment variables.
    processes: Of the run. Those that were started by hand may all be on one
      host, so that each takes one core.
  """

  def number(name):
    text = environment.get(name, '')
    return int(text) if text.isdecimal() else 0

  cores = usable()
  if number('SLURM_STEP_NUM_TASKS') > 1:
    # Slurm gives a task its cores, or says how many are meant for it.
    return min(cores, number('SLURM_CPUS_PER_TASK') or cores)
  local = number('OMPI_COMM_WORLD_LOCAL_SIZE') or processes
  return max(cores // local, 1) if local < cores else 1


def usable(root: str | os.PathLike[str] = '/') -> int:
  """Returns how many cores this process may use, by affinity and by quota.

  Args:
    root: Where the files of the system are: /proc and /sys.
  """
  if hasattr(os, 'sched_getaffinity'):
    cores = len(os.sched_getaffinity(0))
  else:
    cores = os.cpu_count() or 1
  return max(1, min([cores, *_quotas(pathlib.Path(root))]))


def _quotas(root):
  """Yields the cores that each control group of this process may use."""
  text = _read(root / 'proc/self/cgroup')
  for controllers, group in re.findall(r'(?m)^\d+:([^:]*):(.*)$', text):
    top, second = root / 'sys/fs/cgroup', not controllers
    if 'cpu' in controllers.split(','):  # Version 1.
      top /= 'cpu'
    elif controllers:
      continue
    folder = top / group.lstrip('/')
    for place in (folder, *folder.parents):
      if second:
        quota, _, period = _read(place / 'cpu.max').strip().partition(' ')
      else:
        quota, period = (
          _read(place / f'cpu.cfs_{x}_us').strip() for x in ('quota', 'period')
        )
      if quota.isdecimal() and period.isdecimal() and int(period):
        yield max(math.floor(int(quota) / int(period)), 1)
      if place == top:
        break


def _read(path):
  """Returns the text of a file; an empty one if there is no such file."""
  try:
    return path.read_text()
  except (OSError, UnicodeDecodeError):
    return ''
