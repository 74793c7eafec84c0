"""Many devices: a mesh of runs by data, and what is split over it.

A fit has two axes that can be split: its runs (the `repetition` axis), which
never talk to each other, and the sequences of a batch (`data`), whose gradients
are averaged. Evaluation and search split their sequences over all devices of a
mesh. Everything here takes a mesh or None; with None, one device, nothing is
split, and the program is the one that would be written without this module.

`jax.shard_map` is used rather than sharding constraints: what runs on a device
is then plain code on its own part, whatever scans or custom derivatives it has.
Its check of what varies over which axis (`check_vma`) is off, because every
carry of a scan would have to be declared; we average by hand.
"""

from collections.abc import Callable, Mapping
import functools
import math

import jax
from jax.experimental import multihost_utils
from jax.sharding import AxisType
from jax.sharding import Mesh
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec
import numpy as np

from bayes_prompting import errors
from bayes_prompting import types
from bayes_prompting.training import blocks

# Raise it when numbers change: networks and results depend on it.
NUMERICS = 1

AXES = ('repetition', 'data')
# In place of an axis, see `over_runs`.
BATCHES = 'batches'


def choose(
  runs: int,
  batch_size: int,
  num_devices: int,
  num_processes: int = 1,
  repetition_devices: int = 0,
  data_devices: int = 0,
) -> tuple[int, int]:
  """Returns how many devices a fit uses on (`repetition`, `data`).

  Runs come first, since splitting them costs no communication: as many devices
  as divide both the number of devices and the number of runs. Of the rest, as
  many as also divide the batch go on its data; devices that are then left over
  stay idle. A number that is given is taken, except that a single run (as in
  pretraining) has nothing to split, so that its data gets the devices of both.

  Args:
    runs: R.
    batch_size: B.
    num_devices: All there are, in all processes.
    num_processes: Each must have a part, and all an equal one.
    repetition_devices: `compute.repetition_devices`; 0 is automatic.
    data_devices: `compute.data_devices`; 0 is automatic.

  Raises:
    UserError: If what is given needs more devices than there are, or does not
      divide the runs or the batch, or if not every process gets a part.
  """
  available = limit(num_devices, repetition_devices, data_devices)
  if runs == 1 and repetition_devices:
    repetition_devices, data_devices = 1, 0
  if repetition_devices and runs % repetition_devices:
    raise errors.UserError(
      f'compute.repetition_devices: must divide the {runs} runs of a fit, got '
      f'{repetition_devices}'
    )
  if batch_size % max(data_devices, 1):
    raise errors.UserError(
      f'compute.data_devices: must divide the batch size {batch_size}, got '
      f'{data_devices}'
    )
  repetition = repetition_devices or math.gcd(
    available // max(data_devices, 1), runs
  )
  data = data_devices or math.gcd(available // repetition, batch_size)
  if repetition * data % num_processes:
    raise errors.UserError(
      f'compute: {num_processes} processes cannot share a fit of {runs} runs '
      f'with batches of {batch_size} on repetition_devices={repetition} and '
      f'data_devices={data}; choose a batch size that is a multiple of the '
      f'{num_devices} devices'
    )
  return repetition, data


def limit(
  num_devices: int, repetition_devices: int = 0, data_devices: int = 0
) -> int:
  """Returns how many devices may be used: all, or the product if it is given.

  Raises:
    UserError: If there are fewer than what is given.
  """
  wanted = max(repetition_devices, 1) * max(data_devices, 1)
  if wanted > num_devices:
    raise errors.UserError(
      'compute: repetition_devices times data_devices must be at most the '
      f'number of devices, {num_devices}; got {repetition_devices} and '
      f'{data_devices} (0: automatic)'
    )
  return wanted if repetition_devices and data_devices else num_devices


def for_fit(
  compute: Mapping[str, int], runs: int, batch_size: int
) -> Mesh | None:
  """Returns the mesh of a fit, or None for one device.

  Args:
    compute: The configuration's section `compute`.
    runs: R.
    batch_size: B.

  Raises:
    UserError: See `choose`.
  """
  shape = choose(
    runs,
    batch_size,
    jax.device_count(),
    jax.process_count(),
    compute['repetition_devices'],
    compute['data_devices'],
  )
  return make_mesh(shape)


def for_rows(compute: Mapping[str, int]) -> Mesh | None:
  """Returns the mesh that evaluation and search split their sequences over."""
  total = limit(
    jax.device_count(), compute['repetition_devices'], compute['data_devices']
  )
  return make_mesh((1, total))


def make_mesh(shape: tuple[int, int]) -> Mesh | None:
  """Returns the mesh with these sizes of `AXES`; None for a single device.

  Raises:
    UserError: If the processes cannot have equal parts of it.
  """
  total, processes = math.prod(shape), jax.process_count()
  if total == processes == 1:
    return None
  if total % processes:
    raise errors.UserError(
      f'compute: {processes} processes cannot share {total} devices equally'
    )
  devices = None
  if total < jax.device_count():
    each = total // processes  # A process without a device could not take part.
    devices = [
      device
      for process in range(processes)
      for device in jax.local_devices(process_index=process)[:each]
    ]
  return jax.make_mesh(
    shape, AXES, axis_types=(AxisType.Auto, AxisType.Auto), devices=devices
  )


def check(mesh: Mesh | None, runs: int, batch_size: int) -> None:
  """Checks that a mesh divides the runs and the batch of a fit.

  Raises:
    UserError: If it does not.
  """
  if mesh is None:
    return
  for name, total in (('repetition', runs), ('data', batch_size)):
    if total % mesh.shape[name]:
      raise errors.UserError(
        f'mesh: its axis {name!r} of {mesh.shape[name]} devices must divide '
        f'{total}'
      )


def over_runs(
  mesh: Mesh | None,
  function: Callable,
  in_axes: tuple[int | str | None, ...],
  out_axes: int | str | tuple[int, ...] = 0,
) -> Callable:
  """Splits the runs of a function over `repetition`; reads like `jax.vmap`.

  Args:
    mesh: Or None, for the function itself.
    function: Gets a part of the runs. It must not close over traced arrays,
      which would be on the whole mesh, not on one device. What it returns must
      be the same along `data`.
    in_axes: The axis of the runs in each argument; None for what all share,
      `BATCHES` for batches [R, T, B, N], whose sequences are split too.
    out_axes: The same for what it returns.
  """
  if mesh is None:
    return function

  def spec(axis):
    if axis == BATCHES:
      of_runs, of_data = _spec(mesh, 'repetition'), _spec(mesh, 'data', 2)
      return PartitionSpec(*(of_runs or (None,)), *of_data[1:])
    return _spec(mesh, 'repetition', axis)

  return jax.shard_map(
    function,
    mesh=mesh,
    in_specs=tuple(map(spec, in_axes)),
    out_specs=jax.tree.map(spec, out_axes),
    check_vma=False,
  )


def _spec(mesh, name, axis=0):
  """Splits an axis over a mesh axis; `axis` None splits nothing.

  Nor does a mesh axis of one device. XLA says so of what it returns, and a
  program that is given its own results again would be compiled twice.
  """
  if axis is None or mesh.shape[name] == 1:
    return PartitionSpec()
  return PartitionSpec(*[None] * axis, name)


def own_part(mesh: Mesh | None, rows: types.Array) -> types.Array:
  """Returns this device's part of [B, ...]; inside `over_runs`."""
  if mesh is None:
    return rows
  size = len(rows) // mesh.shape['data']
  first = jax.lax.axis_index('data') * size
  return jax.lax.dynamic_slice_in_dim(rows, first, size)


def average(mesh: Mesh | None, tree: types.PyTree) -> types.PyTree:
  """Returns the mean over the parts of the batch; inside `over_runs`."""
  return tree if mesh is None else jax.lax.pmean(tree, 'data')


def map_rows(
  mesh: Mesh | None,
  function: Callable[[types.PyTree, types.Array], types.Array],
  shared: types.PyTree,
  rows: types.Array,
  block: int,
) -> types.Array:
  """Returns `function(shared, rows)`, split over all devices and in blocks.

  Args:
    mesh: All of its devices take a part, whatever the number of rows: the
      first rows are repeated to fill up the last part.
    function: (shared, rows [B, ...]) -> [B, ...], each row by itself. As for
      `over_runs`, it must not close over traced arrays.
    shared: What it needs beside the rows.
    rows: [S, ...].
    block: Rows that a device gives to it at once.
  """

  def mapped(shared, rows):
    return blocks.batched(functools.partial(function, shared), rows, block)

  if mesh is None:
    return mapped(shared, rows)
  count = len(rows)
  if count % mesh.size:
    rows = rows[np.arange(count + -count % mesh.size) % count]
  spec = PartitionSpec(AXES)
  split = jax.shard_map(
    mapped,
    mesh=mesh,
    in_specs=(PartitionSpec(), spec),
    out_specs=spec,
    check_vma=False,
  )
  return split(shared, rows)[:count]


def replicate(mesh: Mesh | None, tree: types.PyTree) -> types.PyTree:
  """Asks, inside jit, for the whole of a result on every device."""
  if mesh is None:
    return tree
  return jax.lax.with_sharding_constraint(
    tree, NamedSharding(mesh, PartitionSpec())
  )


def put(
  mesh: Mesh | None, tree: types.PyTree, axis: str | None = None
) -> types.PyTree:
  """Puts arrays on a mesh: split along their first axis, or whole everywhere.

  With several processes every one must hold the same values.
  """
  if mesh is None:
    return tree
  spec = _spec(mesh, axis) if axis else PartitionSpec()
  target = NamedSharding(mesh, spec)

  def one(leaf):
    if isinstance(leaf, jax.Array):
      if leaf.sharding.is_equivalent_to(target, leaf.ndim):
        return leaf
      if jax.process_count() == 1:
        return jax.device_put(leaf, target)
    # Each process gives its own part: no message, no comparison of values.
    leaf = _whole(leaf)
    return jax.make_array_from_callback(leaf.shape, target, leaf.__getitem__)

  return jax.tree.map(one, tree)


def to_host(mesh: Mesh | None, tree: types.PyTree) -> types.PyTree:
  """Returns NumPy arrays of what lies on a mesh, whole in every process."""
  return tree if mesh is None else jax.tree.map(_whole, tree)


def _whole(leaf):
  if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
    return multihost_utils.process_allgather(leaf, tiled=True)
  return np.asarray(leaf)
