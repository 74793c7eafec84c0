"""The results file: an xarray Dataset with every regret.

Dimensions: `tuner`, `pretrain_seed`, `learning_rate` and `prefix_init` (the
grid of settings that were tuned with, most often of length 1), `repetition`,
`eval_task`, `reference` (oracle, bayes), `estimator` (sampled, exact, paired),
`step` (from 1), `report_step`, `sequence`. All regrets and losses are in nats.

A tuner that does not depend on a dimension was run once and has the same values
all along it, so that two tuners can be subtracted as they are:

* A tuner without randomness is the same in every repetition.
* A tuner without a network is the same for every pretrain_seed.
* A tuner that follows no gradient is the same at every learning rate.
* A tuner without an initialisation to choose, or with one of its own, is the
  same for all of them.

The variable `judged` is 1 at the first of these alone. It marks the runs there
were, and so it is what statistics count: copies are no evidence.

What was not run is NaN. The Bayes predictor of the evaluation task is called
TargetBayes on the target and EvalBayes elsewhere.

A task whose sequences were recorded has no oracle and no exact Bayes. Universal
predictors, such as CTW, stand in their place, as tuners and as references. The
attribute `universal` says which, by task. The only estimator is `sampled`.

A run that training had to stop is in the file, as it was before the update that
went wrong. The variable `stopped` says which runs these are, and statistics
leave them out, see `results.stopped`.

Where the regret of exact Bayes has a closed sum, its means over sequences are
this sum, whichever the estimator. Their standard errors are 0, and the variable
`exact` is 1 there. `sequence_regret` is of single sequences all the same: other
methods are compared with Bayes on them, see `difference`.

`selection.choose` keeps the best settings of each method, which is what a
report shows. Everything grows with the grid, most of all `sequence_regret`. At
the paper's sizes it takes 75 MB of memory for each position of the grid, and
somewhat less on disk. A smaller `evaluation.num_sequences` makes it smaller.
"""

from collections.abc import Mapping, Sequence
import os
import pathlib
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from bayes_prompting import checks
from bayes_prompting import errors
from bayes_prompting.results import measures
from bayes_prompting.results import selection
from bayes_prompting.results import stopped
from bayes_prompting.system import files

SCHEMA_VERSION = 4

_RUN = ('tuner', 'pretrain_seed', *selection.AXES, 'repetition')
_ESTIMATE = (*_RUN, 'eval_task', 'reference', 'estimator')
# Every variable: its dimensions, and what it is.
VARIABLES = {
  'instantaneous_regret': (
    (*_ESTIMATE, 'step'),
    'regret at this step, mean over sequences, or exact',
  ),
  'instantaneous_regret_sem': (
    (*_ESTIMATE, 'step'),
    'standard error of the regret over sequences',
  ),
  'cumulative_regret': (
    (*_ESTIMATE, 'step'),
    'regret summed up to this step, mean over sequences, or exact',
  ),
  'cumulative_regret_sem': (
    (*_ESTIMATE, 'step'),
    'standard error of the regret over sequences',
  ),
  'sequence_regret': (
    (*_ESTIMATE, 'report_step', 'sequence'),
    'regret of each sequence, summed up to this step',
  ),
  'judged': (
    (*_RUN, 'eval_task'),
    '1 where a run was evaluated: it counts unless it was stopped, even if '
    'NaN. Elsewhere other variables repeat such a run, or are NaN',
  ),
  'exact': (
    ('tuner', 'eval_task', 'reference'),
    '1 where regrets are closed sums, in place of means over sequences',
  ),
  'stopped': (
    _RUN,
    'the update at which a run was stopped: loss or gradient was not finite',
  ),
  'pretraining_stopped': (
    ('pretrain_seed',),
    'the update at which pretraining was stopped: this network does not count',
  ),
  'pretraining_loss': (
    ('pretrain_seed', 'pretraining_step'),
    'log loss summed over a sequence, mean over the batch',
  ),
  'tuning_loss': (
    (*_RUN, 'tuning_step'),
    'log loss summed over a sequence, mean over the batch',
  ),
  'validation_loss': (
    (*_RUN, 'validation_step'),
    'log loss summed over a sequence, mean over sequences that are held out',
  ),
  'best_step': (
    _RUN,
    'the update after which the validation loss was least: what is kept',
  ),
  'candidate_loss': (  # A search has no settings of the grid.
    ('tuner', 'pretrain_seed', 'repetition', 'candidate'),
    'log loss summed over a sequence, mean over the common draws',
  ),
}
_WITHOUT_UNIT = (
  *('judged', 'exact', 'stopped', 'pretraining_stopped'),
  'best_step',
)

# The variables and attributes that every file has, whatever ran.
_NEEDED = (
  'instantaneous_regret',
  'instantaneous_regret_sem',
  'cumulative_regret',
  'cumulative_regret_sem',
  'sequence_regret',
  'judged',
)
_ATTRIBUTES = ('target', 'config', 'tuning_length', 'pretraining_length')


def is_present(name: str, sizes: Mapping[str, int]) -> bool:
  """Returns whether results of such axes have a variable.

  Args:
    name: A key of `VARIABLES`.
    sizes: Labels on each axis. One that is empty, or missing, is of what was
      not done, such as a search.
  """
  axes = VARIABLES[name][0]
  if name == 'best_step':
    axes = (*axes, 'validation_step')
  return all(sizes.get(axis, 0) for axis in axes)


class Builder:
  """Collects what an experiment finds into a Dataset."""

  def __init__(self, coords: Mapping[str, Sequence[Any]]):
    """Makes room for everything, all of it not yet run.

    Args:
      coords: All coordinates by dimension. A variable with an empty dimension
        is left out, as there may be no candidates or no updates.
    """
    self._coords = {dim: list(labels) for dim, labels in coords.items()}
    self._arrays = {}
    for name, (dims, _) in VARIABLES.items():
      sizes = {dim: len(labels) for dim, labels in self._coords.items()}
      if is_present(name, sizes):
        shape = tuple(sizes[dim] for dim in dims)
        self._arrays[name] = np.full(shape, np.nan, np.float32)

  def put(self, name: str, values: npt.ArrayLike, **labels: Any) -> None:
    """Stores values of one variable.

    Args:
      name: A key of `VARIABLES`.
      values: Over the dimensions without a label, in their order. Axes of the
        grid and of repetitions may be shorter than those of the file. On one
        of length 1 nothing depends: its values hold all along the axis.
      **labels: The label of each other dimension; None for a dimension that
        nothing depends on; a list of labels for `candidate`.
    """
    if name not in self._arrays:
      return
    values = np.asarray(values)
    # What was run once is there once, though its numbers hold everywhere.
    everywhere = slice(0, 1) if name == 'judged' else slice(None)
    index, last, axis = [], None, 0
    for dim in VARIABLES[name][0]:
      if dim == 'candidate':
        position = {x: i for i, x in enumerate(self._coords[dim])}
        last = [position[label] for label in labels[dim]]
      elif labels.get(dim) is not None:
        index.append(self._coords[dim].index(labels[dim]))
      else:
        if dim in labels:
          values = np.expand_dims(values, axis)
        size = values.shape[axis]
        repeats = dim in _RUN and size == 1
        index.append(everywhere if repeats else slice(0, size))
        axis += 1
    # Integers and slices make a view, so that this writes to the array.
    view = self._arrays[name][(*index, ...)]
    view[... if last is None else (..., last)] = values

  def put_losses(
    self,
    losses: npt.ArrayLike,
    pretrain_seed: int | None,
    tuner: str | None = None,
  ) -> None:
    """Stores the losses of training, and which runs were stopped.

    Args:
      losses: [L, P, R, T] of a tuner, [T] of pretraining.
      pretrain_seed: A label; None for a tuner without a network.
      tuner: A label; None for pretraining.
    """
    loss, step, at = 'pretraining_loss', 'pretraining_stopped', {}
    if tuner is not None:
      loss, step, at = 'tuning_loss', 'stopped', {'tuner': tuner}
    at['pretrain_seed'] = pretrain_seed
    # After what validation has ended there are no losses.
    shown = np.where(np.equal(losses, stopped.ENDED), np.nan, losses)
    self.put(loss, shown, **at)
    self.put(step, stopped.stopped_step(losses), **at)

  def put_regrets(
    self,
    tuner: str,
    pretrain_seed: int | None,
    eval_task: str,
    regrets: Any,
    references: Sequence[str] | None = None,
  ) -> None:
    """Stores `evaluation.Regrets` of one tuner on one task.

    Args:
      tuner: A label.
      pretrain_seed: A label; None for a tuner without a network.
      eval_task: A label.
      regrets: With leading axes [L, P, R], of the grid and of repetitions.
      references: The label of each reference they have; all by default.
    """
    labels = {
      'tuner': tuner,
      'pretrain_seed': pretrain_seed,
      'eval_task': eval_task,
    }
    self.put('judged', np.ones(regrets.cumulative.shape[:3]), **labels)
    for name, values in (
      ('instantaneous_regret', regrets.instantaneous),
      ('instantaneous_regret_sem', regrets.instantaneous_sem),
      ('cumulative_regret', regrets.cumulative),
      ('cumulative_regret_sem', regrets.cumulative_sem),
      ('sequence_regret', regrets.sequences),
    ):
      for number, label in enumerate(references or self._coords['reference']):
        of = np.take(values, number, axis=3)
        self.put(name, of, reference=label, **labels)

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


def put_exact(
  dataset: xr.Dataset,
  tuner: str,
  eval_task: str,
  reference: str,
  regrets: npt.ArrayLike,
) -> None:
  """Puts exact regrets in place of means over sequences, and marks them.

  Args:
    dataset: As built, with its grid; it is changed.
    tuner: A label of what has no network.
    eval_task: A label, of a task that it was judged on.
    reference: A label.
    regrets: In nats a step, [N], or [L, P, R, N], each axis but the last one
      possibly of length 1.
  """
  at = {'tuner': tuner, 'eval_task': eval_task, 'reference': reference}
  regrets = np.asarray(regrets, np.float64)
  regrets = regrets.reshape(*(1,) * (4 - regrets.ndim), *regrets.shape)
  for name, values in (
    ('instantaneous_regret', regrets),
    ('cumulative_regret', regrets.cumsum(-1)),
  ):
    # Seeds come first, and estimators before steps, see `VARIABLES`.
    dataset[name].loc[at] = values[None, ..., None, :]
    dataset[f'{name}_sem'].loc[at] = 0.0
  dataset['exact'].loc[at] = 1.0


def exact(dataset: xr.Dataset) -> xr.DataArray:
  """Returns where regrets are exact: bool, over tuner, task and reference."""
  dims = VARIABLES['exact'][0]
  if 'exact' not in dataset:  # Nothing is.
    sizes = {dim: dataset[dim].values for dim in dims}
    return xr.DataArray(False, sizes, dims)
  return (dataset['exact'] == 1).transpose(*dims)


def exact_sums(dataset: xr.Dataset) -> xr.DataArray:
  """Returns cumulative regrets at the report steps, NaN where not exact.

  Over the dimensions of `sequence_regret` but for the sequences.
  """
  sums = dataset.cumulative_regret
  index = dataset.indexes['step'].get_indexer(dataset.report_step.values)
  sums = sums.isel(step=np.maximum(index, 0)).rename(step='report_step')
  sums = sums.assign_coords(report_step=dataset.report_step)
  return sums.where(exact(dataset)).transpose(
    *(dim for dim in dataset.sequence_regret.dims if dim != 'sequence')
  )


def save(
  dataset: xr.Dataset, path: str | os.PathLike[str], field: str = 'results'
) -> None:
  """Writes the Dataset to a netCDF file, which gets its name once it is whole.

  The file ends with a line with its SHA-256, which readers of netCDF pass over.

  Raises:
    UserError: If it cannot be written.
  """
  encoding = {
    name: {'zlib': True, 'complevel': 1, 'shuffle': True}
    for name in dataset.data_vars
  }
  # HDF5 may end the process if a write of its own fails; it writes to memory
  # here. The result is a view of a BytesIO, and is copied, since Python 3.12.1
  # may crash if its collector meets such a view in a traceback.
  data = bytes(dataset.to_netcdf(None, engine='h5netcdf', encoding=encoding))
  files.write_bytes(path, data, field, sealed=True)


def load(path: str | os.PathLike[str]) -> xr.Dataset:
  """Reads a results file.

  Args:
    path: A `results.nc`, or a workdir that holds one.

  Raises:
    UserError: If there is no such file, or if it is damaged, of another schema,
      or not a results file.
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
  """Reads a netCDF file of this package.

  Args:
    path: The file, or a workdir that holds it.
    name: The name of the file in a workdir.
    version: The version of its schema.
    variables: The variables that it must have, and their dimensions, each of
      which must have labels.
    attributes: The attributes that it must have.

  Raises:
    UserError: If there is no such file, or if it is damaged, of another schema,
      or lacks something.
  """
  path, kind = pathlib.Path(path).expanduser(), pathlib.Path(name).stem
  if path.is_dir():
    path = path / name
  if not path.is_file():
    raise errors.UserError(f'{kind}: no file {str(path)!r}')
  # A wrong bit may keep HDF5 busy for ever, so the seal is checked first.
  files.check_seal(path, kind)
  try:
    dataset = xr.load_dataset(path, engine='h5netcdf')
  # For a file that is no HDF5 file, or only the beginning of one, h5py raises
  # errors of many types.
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
  """Yields the variables and labelled dimensions that a Dataset lacks."""
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


def select(
  data: xr.Dataset | xr.DataArray, **labels: Any
) -> xr.Dataset | xr.DataArray:
  """Returns `data.sel(labels)`.

  For example `select(dataset, tuner='SoftPT', eval_task='single_coin')`.
  xarray's own `sel` takes the same arguments, and raises a KeyError for a label
  that does not exist.

  Args:
    data: Results, or one of their variables.
    **labels: What to take of a dimension, by its name.

  Raises:
    UserError: If there is no such dimension, or a label is not on it.
  """
  for name, label in labels.items():
    checks.one_of('select', name, [*map(str, data.dims)])
    if isinstance(label, str):
      checks.one_of(name, label, data[name].values.tolist())
    elif not isinstance(label, slice) and not _is_mask(label):
      known = data[name].values.tolist()
      for single in np.ravel(label).tolist():
        if isinstance(single, str):
          checks.one_of(name, single, known)
        elif single not in known:
          raise errors.UserError(
            f'{name}: must be one of {checks.show(known)}, got {single!r}'
          )
  return data.sel(labels)


def _is_mask(label):
  return np.ndim(label) > 0 and np.asarray(label).dtype == bool


def sequence_regret(
  dataset: xr.Dataset,
  tuner: str,
  eval_task: str,
  step: int,
  reference: str | None = None,
  estimator: str | None = None,
  learning_rate: float | None = None,
  prefix_init: str | None = None,
) -> np.ndarray:
  """Returns the cumulative regret of every sequence of one tuner, in nats.

  Args:
    dataset: As loaded.
    tuner: A name.
    eval_task: A name.
    step: A report step.
    reference: `oracle` or `bayes`, or a universal predictor of a task that was
      recorded; by default that of the task's headline (`measures.headline`).
    estimator: `sampled`, `exact` or `paired`; by default the headline's.
    learning_rate: One of the grid; by default the best, see `selection.best`.
    prefix_init: One of the grid; by default the best.

  Returns:
    float64 [runs, S], for all repetitions on all networks that count. A tuner
    without randomness has one repetition, one without a network one network.

  Raises:
    UserError: If a name is unknown, if the tuner was not run on the task or
      with the settings, or if all of its runs were stopped.
  """
  values, _, counted = regret_by_run(
    dataset,
    tuner,
    eval_task,
    step,
    reference,
    estimator,
    learning_rate,
    prefix_init,
  )
  return values[counted]


def regret_by_run(
  dataset: xr.Dataset,
  tuner: str,
  eval_task: str,
  step: int,
  reference: str | None = None,
  estimator: str | None = None,
  learning_rate: float | None = None,
  prefix_init: str | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Returns what `sequence_regret` does, by network and repetition.

  Args:
    dataset: See `sequence_regret`, as the other arguments.
    tuner: A name.
    eval_task: A name.
    step: A report step.
    reference: `oracle` or `bayes`, or a universal predictor of a task that was
      recorded; by default that of the task's headline (`measures.headline`).
    estimator: `sampled`, `exact` or `paired`; by default the headline's.
    learning_rate: One of the grid, or None for the best.
    prefix_init: One of the grid, or None for the best.

  Returns:
    float64 [P, R, S], the regrets on P networks in R repetitions; bool [P, R],
    the runs that there were; and bool [P, R], those that count.

  Raises:
    UserError: As `sequence_regret`.
  """
  dataset = selection.whole(dataset)
  checks.one_of('eval_task', eval_task, dataset.eval_task.values.tolist())
  usual = measures.headline(dataset, eval_task)
  reference, estimator = reference or usual[0], estimator or usual[1]
  for field, value in (
    ('tuner', tuner),
    ('eval_task', eval_task),
    ('reference', reference),
    ('estimator', estimator),
  ):
    checks.one_of(field, value, dataset[field].values.tolist())
  if not measures.has(dataset, eval_task, reference, estimator):
    reference, estimator = usual
    raise errors.UserError(
      f'reference: {eval_task} has no such estimate; its headline is '
      f'{reference!r}, {estimator!r}'
    )
  if step not in dataset.report_step:
    raise errors.UserError(
      f'step: must be one of {dataset.report_step.values.tolist()}, got '
      f'{step!r}'
    )
  if set(selection.AXES) <= set(dataset.dims):
    index = selection.position(dataset, tuner, learning_rate, prefix_init)
    dataset = dataset.isel(selection.at(index))
  elif learning_rate is not None or prefix_init is not None:
    raise errors.UserError(
      'learning_rate, prefix_init: the dataset holds only the settings that '
      'selection.choose chose; give the whole one'
    )
  chosen = select(
    dataset.sequence_regret,
    tuner=tuner,
    eval_task=eval_task,
    report_step=step,
    reference=reference,
    estimator=estimator,
  )
  axes = 'pretrain_seed', 'repetition'
  at = {'tuner': tuner, 'eval_task': eval_task}
  judged = select(dataset.judged, **at).transpose(*axes).values == 1
  if not judged.any():
    raise errors.UserError(f'tuner: {tuner} was not run on {eval_task}')
  counted = select(stopped.counted(dataset), **at).transpose(*axes).values
  if not counted.any():
    raise errors.UserError(
      f'tuner: no run of {tuner} on {eval_task} is left, all were stopped: '
      f'{stopped.WHY}'
    )
  values = chosen.transpose(*axes, 'sequence').values.astype(np.float64)
  return values, judged, counted
