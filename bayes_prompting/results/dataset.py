"""The results file: an xarray Dataset with every regret.

Dimensions: `method`, `pretrain_seed`, `learning_rate`, `prefix_init` (the grid
of settings that were tuned with, most often of length 1), `repetition`,
`eval_task`, `reference` (oracle, bayes), `estimator` (sampled, exact, paired),
`step` (from 1), `report_step`, `sequence`. What was not run is NaN: a method
that uses no randomness has repetition 0 only, one that uses no network has
pretrain_seed 0 only, one that follows no gradient has the first learning rate
only, one without an initialisation to choose (or with one of its own) has the
first only, and the Bayes predictor of the evaluation task is called TargetBayes
on the target and EvalBayes elsewhere. All regrets and losses are in nats.

A run that training had to stop is there, as it was before the update that went
wrong; `stopped` says which, and statistics leave it out (`counting`).

`grid.choose` leaves of the grid what a report shows, the best of each method.
Everything grows with the grid, most of all `sequence_regret`: at the paper's
sizes it holds 75 MB in memory for each position (less on disk, where what was
not run takes no room). A smaller `evaluation.num_sequences` makes it smaller.
"""

from collections.abc import Mapping, Sequence
import os
import pathlib
from typing import Any

import numpy as np
import xarray as xr

from bayes_prompting import checks
from bayes_prompting import errors
from bayes_prompting import types
from bayes_prompting.results import selection
from bayes_prompting.results import stopped
from bayes_prompting.system import files

SCHEMA_VERSION = 3

_RUN = ('method', 'pretrain_seed', *selection.AXES, 'repetition')
_ESTIMATE = (*_RUN, 'eval_task', 'reference', 'estimator')
# Every variable: its dimensions, and what it is.
VARIABLES = {
  'instantaneous_regret': (
    (*_ESTIMATE, 'step'),
    'regret at this step, mean over sequences',
  ),
  'instantaneous_regret_sem': (
    (*_ESTIMATE, 'step'),
    'its standard error over sequences',
  ),
  'cumulative_regret': (
    (*_ESTIMATE, 'step'),
    'regret summed up to this step, mean over sequences',
  ),
  'cumulative_regret_sem': (
    (*_ESTIMATE, 'step'),
    'its standard error over sequences',
  ),
  'sequence_regret': (
    (*_ESTIMATE, 'report_step', 'sequence'),
    'regret of each sequence, summed up to this step',
  ),
  'judged': (
    (*_RUN, 'eval_task'),
    '1 where a run was evaluated: it counts, NaN and all, unless stopped',
  ),
  'stopped': (
    _RUN,
    'the update at which a run was stopped: loss or gradient was not finite',
  ),
  'pretraining_stopped': (
    ('pretrain_seed',),
    'the same of pretraining: nothing on this network counts',
  ),
  'pretraining_loss': (
    ('pretrain_seed', 'pretraining_step'),
    'log loss summed over a sequence, mean over the batch',
  ),
  'tuning_loss': (
    (*_RUN, 'tuning_step'),
    'log loss summed over a sequence, mean over the batch',
  ),
  'candidate_loss': (  # A search has no settings of the grid.
    ('method', 'pretrain_seed', 'repetition', 'candidate'),
    'log loss summed over a sequence, mean over the common draws',
  ),
}
_WITHOUT_UNIT = ('judged', 'stopped', 'pretraining_stopped')

# Those that every file has, whatever ran.
_NEEDED = (
  'instantaneous_regret',
  'instantaneous_regret_sem',
  'cumulative_regret',
  'cumulative_regret_sem',
  'sequence_regret',
  'judged',
)
_ATTRIBUTES = ('target', 'config', 'tuning_length', 'pretraining_length')


class Builder:
  """Collects what an experiment finds into a Dataset."""

  def __init__(self, coords: Mapping[str, Sequence[Any]]):
    """Makes room for everything, as not yet run.

    Args:
      coords: All coordinates by dimension. Variables with an empty dimension
        are left out (no candidates, no updates).
    """
    self._coords = {dim: list(labels) for dim, labels in coords.items()}
    self._arrays = {}
    for name, (dims, _) in VARIABLES.items():
      shape = tuple(len(self._coords[dim]) for dim in dims)
      if all(shape):
        self._arrays[name] = np.full(shape, np.nan, np.float32)

  def put(self, name: str, values: types.Array, **labels: Any) -> None:
    """Stores values of one variable.

    Args:
      name: A key of `VARIABLES`.
      values: Over the dimensions that are not labelled, in their order; axes
        of the grid and of repetitions may be shorter than those of the file.
      **labels: The label of each other dimension; for `candidate`, a list.
    """
    if name not in self._arrays:
      return
    values = np.asarray(values)
    index, last, axis = [], None, 0
    for dim in VARIABLES[name][0]:
      if dim == 'candidate':
        position = {x: i for i, x in enumerate(self._coords[dim])}
        last = [position[label] for label in labels[dim]]
      elif dim in labels:
        index.append(self._coords[dim].index(labels[dim]))
      else:
        index.append(slice(0, values.shape[axis]))
        axis += 1
    # Integers and slices make a view, so that this writes to the array.
    view = self._arrays[name][(*index, ...)]
    view[... if last is None else (..., last)] = values

  def put_losses(
    self, losses: types.Array, pretrain_seed: int, method: str | None = None
  ) -> None:
    """Stores the losses of training, and which runs were stopped.

    Args:
      losses: [L, P, R, T] of a method, [T] of pretraining.
      pretrain_seed: A label.
      method: A label; None for pretraining.
    """
    names, at = ('pretraining_loss', 'pretraining_stopped'), {}
    if method is not None:
      names, at = ('tuning_loss', 'stopped'), {'method': method}
    found = losses, stopped.stopped_step(losses)
    for name, values in zip(names, found, strict=True):
      self.put(name, values, pretrain_seed=pretrain_seed, **at)

  def put_regrets(
    self, method: str, pretrain_seed: int, eval_task: str, regrets: Any
  ) -> None:
    """Stores `evaluation.Regrets` of one method on one task.

    Args:
      method: A label.
      pretrain_seed: A label.
      eval_task: A label.
      regrets: With leading axes [L, P, R], of the grid and repetitions.
    """
    for name, values in (
      ('judged', np.ones(regrets.cumulative.shape[:3])),
      ('instantaneous_regret', regrets.instantaneous),
      ('instantaneous_regret_sem', regrets.instantaneous_sem),
      ('cumulative_regret', regrets.cumulative),
      ('cumulative_regret_sem', regrets.cumulative_sem),
      ('sequence_regret', regrets.sequences),
    ):
      self.put(
        name,
        values,
        method=method,
        pretrain_seed=pretrain_seed,
        eval_task=eval_task,
      )

  def build(self, attributes: Mapping[str, str]) -> xr.Dataset:
    """Returns the Dataset, with these attributes and the schema version."""
    variables = {
      name: (
        VARIABLES[name][0],
        array,
        {
          'units': '1' if name in _WITHOUT_UNIT else 'nats',
          'long_name': VARIABLES[name][1],
        },
      )
      for name, array in self._arrays.items()
    }
    used = {dim for dims, _, _ in variables.values() for dim in dims}
    coords = {dim: x for dim, x in self._coords.items() if dim in used}
    return xr.Dataset(variables, coords).assign_attrs(
      schema_version=SCHEMA_VERSION, **attributes
    )


def save(
  dataset: xr.Dataset, path: str | os.PathLike[str], field: str = 'results'
) -> None:
  """Writes the Dataset to a netCDF file, under its name once it is whole.

  The file ends with a line of its SHA-256, which readers of netCDF pass over.

  Raises:
    UserError: If it cannot be written.
  """
  encoding = {
    name: {'zlib': True, 'complevel': 1, 'shuffle': True}
    for name in dataset.data_vars
  }
  # In memory first: HDF5 may end the process where a write of its own failed.
  # And a copy: the view of a BytesIO that this is must not stay in a traceback,
  # since Python (3.12.1) may crash where its collector meets the two.
  data = bytes(dataset.to_netcdf(None, engine='h5netcdf', encoding=encoding))
  files.write_bytes(path, data, field, sealed=True)


def load(path: str | os.PathLike[str]) -> xr.Dataset:
  """Reads a results file.

  Args:
    path: A `results.nc`, or a workdir that holds one.

  Raises:
    UserError: If there is none, or if it is damaged, of another schema, or not
      a results file.
  """
  needed = {name: VARIABLES[name][0] for name in _NEEDED}
  dataset = read(path, 'results.nc', SCHEMA_VERSION, needed, _ATTRIBUTES)
  files.parse_json(
    dataset.attrs['config'], f'results: {str(path)!r} has a config that'
  )
  return dataset


def read(
  path: str | os.PathLike[str],
  name: str,
  version: int,
  variables: Mapping[str, Sequence[str]],
  attributes: Sequence[str] = (),
) -> xr.Dataset:
  """Reads a netCDF file of ours, whatever is in it.

  Args:
    path: The file, or a workdir that holds it by its name.
    name: Its name in a workdir.
    version: Of its schema.
    variables: That it must have, and their dimensions, each with labels.
    attributes: That it must have.

  Raises:
    UserError: If there is none, or if it is damaged, of another schema, or
      lacks something.
  """
  path, kind = pathlib.Path(path), pathlib.Path(name).stem
  if path.is_dir():
    path = path / name
  if not path.is_file():
    raise errors.UserError(f'{kind}: no file {str(path)!r}')
  # Before HDF5 sees it, which may take a wrong bit for work without end.
  files.check_seal(path, kind)
  try:
    dataset = xr.load_dataset(path, engine='h5netcdf')
  # Of what is no HDF5 file, or only the beginning of one, h5py says one thing
  # or another, as many types.
  except Exception as error:
    raise errors.UserError(
      f'{kind}: cannot read {str(path)!r}; it is cut off, damaged, or not a '
      f'{kind} file of this package ({type(error).__name__}: '
      f'{files.why(error)})'
    ) from None
  held = dataset.attrs.get('schema_version')
  if np.ndim(held) or held != version:
    raise errors.UserError(
      f'{kind}: {str(path)!r} has schema version {held}, this package reads '
      f'{version}'
    )
  missing = [
    *_missing(dataset, variables),
    *(f'attribute {x}' for x in attributes if x not in dataset.attrs),
  ]
  if missing:
    raise errors.UserError(
      f'{kind}: {str(path)!r} is not a {kind} file of this package (no '
      f'{missing[0]})'
    )
  return dataset


def _missing(dataset, variables):
  """Yields what a Dataset lacks of variables and the labels of dimensions."""
  for name, dims in variables.items():
    if name not in dataset:
      yield f'variable {name}'
      continue
    held = set(dataset[name].dims)
    yield from (
      f'dimension {x} of {name}'
      for x in dims
      if x not in held or x not in dataset.coords
    )


def select(data, **labels: Any):
  """Returns `data.sel(labels)` of a Dataset or a DataArray.

  xarray's `sel` has an argument `method` of its own, which hides the dimension:
  `select(dataset, method='SoftPT', eval_task='single_coin')` works.

  Raises:
    UserError: If there is no such dimension, or a single label is not on it.
  """
  for name, label in labels.items():
    checks.one_of('select', name, [*map(str, data.dims)])
    if isinstance(label, str):
      checks.one_of(name, label, data[name].values.tolist())
  return data.sel(labels)


def sequence_regret(
  dataset: xr.Dataset,
  method: str,
  eval_task: str,
  step: int,
  reference: str = 'oracle',
  estimator: str = 'paired',
  learning_rate: float | None = None,
  prefix_init: str | None = None,
) -> np.ndarray:
  """Returns the cumulative regret of every sequence of one method, in nats.

  Args:
    dataset: As loaded.
    method: A name.
    eval_task: A name.
    step: A report step.
    reference: `oracle` or `bayes`.
    estimator: `sampled`, `exact` or `paired`.
    learning_rate: Of the grid; by default the best, see `grid.best`.
    prefix_init: Of the grid; by default the best.

  Returns:
    float64 [runs, S], all repetitions of all pretraining seeds that count.

  Raises:
    UserError: If a name is unknown, or the method was not run on the task or
      with the settings, or all of its runs were stopped.
  """
  for field, value in (
    ('method', method),
    ('eval_task', eval_task),
    ('reference', reference),
    ('estimator', estimator),
  ):
    checks.one_of(field, value, dataset[field].values.tolist())
  if step not in dataset.report_step:
    raise errors.UserError(
      f'step: must be one of {dataset.report_step.values.tolist()}, got '
      f'{step!r}'
    )
  dataset = selection.whole(dataset)
  if set(selection.AXES) <= set(dataset.dims):
    index = selection.position(dataset, method, learning_rate, prefix_init)
    dataset = dataset.isel(selection.at(index))
  elif learning_rate is not None or prefix_init is not None:
    raise errors.UserError(
      'learning_rate, prefix_init: the dataset holds what grid.choose chose '
      'alone; give the whole one'
    )
  chosen = select(
    dataset.sequence_regret,
    method=method,
    eval_task=eval_task,
    report_step=step,
    reference=reference,
    estimator=estimator,
  )
  at = {'method': method, 'eval_task': eval_task}
  if not (select(dataset.judged, **at) == 1).any():
    raise errors.UserError(f'method: {method} was not run on {eval_task}')
  runs = chosen.values[select(stopped.counted(dataset), **at).values]
  if not len(runs):
    raise errors.UserError(
      f'method: no run of {method} on {eval_task} is left, all were stopped: '
      f'{stopped.WHY}'
    )
  return runs.astype(np.float64)
