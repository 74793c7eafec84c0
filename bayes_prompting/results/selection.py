"""Which settings of a grid a report shows: the best, by their tuning loss.

A run may tune every method at several learning rates and from several
initialisations of prefixes. These are the axes `learning_rate` and
`prefix_init` of the results. A method with nothing to choose on an axis stands
at its first position.

A report shows one position for each method: the one with the smallest *tuning
loss*, never the one with the smallest regret. The regrets are the test. To
choose by them would tune on the test, and report luck on its sequences as
skill, more of it for a method with more settings. The losses come from other
sequences.

A run that diverged (see `stopped`) says little about its settings but that
others are safer. So positions are ranked by how many of their runs diverged,
fewest first, and then by the mean loss of the others.
"""

from collections.abc import Sequence
import json
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from bayes_prompting import errors
from bayes_prompting.results import stopped as stopped_runs
from bayes_prompting.settings import plain

AXES = ('learning_rate', 'prefix_init')
# Other axes of runs, which statistics go over; a single label may stay.
_KEPT = ('tuner', 'pretrain_seed', 'repetition', 'eval_task')
# Variables of results without these axes.
_WITHOUT = (
  'pretraining_loss',
  'pretraining_stopped',
  'candidate_loss',
  'exact',
)


class Choice(NamedTuple):
  """A position of the grid.

  Attributes:
    learning_rate: The rate; NaN for a method that follows no gradient.
    prefix_init: The initialisation; '' for a method that has none.
    index: The position on the axes `learning_rate` and `prefix_init`.
  """

  learning_rate: float
  prefix_init: str
  index: tuple[int, int]


def final_loss(losses: np.ndarray) -> np.ndarray:
  """Returns the mean of losses [..., T] over the last tenth of the updates.

  A run that diverged, at whatever update, has NaN.
  """
  losses = np.asarray(losses)
  count = max(losses.shape[-1] // 10, 1)
  sound = np.isfinite(losses).all(-1)
  last = np.where(sound[..., None], losses[..., -count:], np.nan)
  return last.astype(np.float64).mean(-1)


def final_losses(results: xr.Dataset) -> xr.DataArray:
  """Returns the losses that say which settings are best, over all runs.

  Where tuning stopped early it is the least loss of validation, else that of
  `final_loss`; NaN of a run that diverged.
  """
  loss = results.tuning_loss
  final = xr.apply_ufunc(final_loss, loss, input_core_dims=[['tuning_step']])
  if 'validation_loss' not in results:
    return final
  held_out = results.validation_loss.min('validation_step')
  return xr.where(
    held_out.notnull(), held_out.where(results.stopped.isnull()), final
  )


def first_best(
  losses: np.ndarray, ran: np.ndarray, stopped: Sequence[bool] = ()
) -> tuple[int, int]:
  """Returns the best position: the fewest diverged, then the smallest loss.

  Args:
    losses: [S, L, P, R], final losses on each network, at each rate, from each
      initialisation, of each repetition. A loss that is not finite is of a run
      that diverged. The mean of the others ranks a position.
    ran: bool [S, L, P, R], what was run.
    stopped: bool [S], the networks whose pretraining was stopped; none by
      default. Runs on them do not count, unless there are no others.

  Returns:
    The position, the first of equal ones; (0, 0) if nothing was run.
  """
  if len(stopped):
    sound = ran & ~np.asarray(stopped, bool)[:, None, None, None]
    ran = sound if sound.any() else ran
  diverged = ran & ~np.isfinite(losses)
  count, lost = ran.sum((0, 3)), diverged.sum((0, 3))
  total = np.where(ran & ~diverged, losses, 0.0).sum((0, 3))
  mean = np.where(count > lost, total / np.maximum(count - lost, 1), np.inf)
  positions = [*map(tuple, np.argwhere(count > 0).tolist())]
  return min(positions, key=lambda i: (lost[i], mean[i]), default=(0, 0))


def restrict(
  ran: np.ndarray,
  method: str,
  labels: Sequence[Sequence[Any]],
  wanted: Sequence[Any],
) -> np.ndarray:
  """Restricts what was run to the wanted settings.

  Args:
    ran: bool [S, L, P, R].
    method: Its name, for messages.
    labels: The labels of the axes L and P.
    wanted: A label for each of these two axes, or None for any.

  Raises:
    UserError: If nothing was run with a wanted label.
  """
  for axis, label in enumerate(wanted, 1):
    if label is None:
      continue
    others = tuple({0, 1, 2, 3} - {axis})
    known = np.asarray(labels[axis - 1])
    tried = known[ran.any(others)].tolist()
    if label not in tried:
      raise errors.UserError(
        f'{AXES[axis - 1]}: {method} ran with {", ".join(map(str, tried))}; '
        f'got {label!r}'
      )
    ran = ran & np.expand_dims(known == label, others)
  return ran


def whole(dataset: xr.Dataset) -> xr.Dataset:
  """Returns results with both axes, of which `sel` may have dropped some.

  Raises:
    UserError: If it is no Dataset, or if another axis of the runs is gone.
  """
  if not isinstance(dataset, xr.Dataset):
    raise errors.UserError(
      'dataset: must be a whole results file, as bp.load_results(workdir) and '
      f'bp.run return it, got a {type(dataset).__name__}; its losses say what '
      'is best, so choose first, then select a variable'
    )
  for axis in _KEPT:
    if axis not in dataset.dims:
      raise errors.UserError(
        f'dataset: must have the axis {axis!r}, which is gone; it stays '
        f'if a list is selected, as in dataset.sel({axis}=[...])'
      )
  scalars = [
    axis for axis in AXES if axis in dataset.coords and not dataset[axis].ndim
  ]
  if not scalars:
    return dataset
  without = dataset[[name for name in _WITHOUT if name in dataset]]
  return dataset.expand_dims(scalars).assign(without.drop_vars(scalars))


def size(dataset: xr.Dataset) -> int:
  """Returns how many positions the grid of a results file has."""
  return int(np.prod([dataset.sizes.get(axis, 1) for axis in AXES]))


def position(
  dataset: xr.Dataset,
  method: str,
  learning_rate: float | None = None,
  prefix_init: str | None = None,
) -> tuple[int, int]:
  """Returns the best position of a method among those with the given labels.

  Raises:
    UserError: If the method was not run with these labels.
  """
  results = dataset.sel(tuner=method)
  dims = ('pretrain_seed', *AXES, 'repetition')
  ran = (results.judged == 1).any('eval_task').transpose(*dims).values
  labels = [results[axis].values for axis in AXES]
  ran = restrict(ran, method, labels, (learning_rate, prefix_init))
  losses = np.zeros(ran.shape)
  if 'tuning_loss' in results:
    losses = final_losses(results).transpose(*dims).values
  stopped = ()
  if stopped_runs.uses_network(results):
    stopped = dataset.pretraining_stopped.notnull().values
  return first_best(losses, ran, stopped)


def best(dataset: xr.Dataset) -> dict[str, Choice]:
  """Returns the best settings of every method of a results file.

  The best settings have the smallest tuning loss: its mean over the last tenth
  of the updates, all repetitions and all networks. Settings at which runs
  diverged come after those at which none did, see `first_best`.
  """
  choices = {}
  for name in dataset.tuner.values.tolist():
    index = position(dataset, name)
    choices[name] = Choice(*_labels(dataset, name, index), index)
  return choices


def at_edge(dataset: xr.Dataset) -> dict[str, str]:
  """Returns the methods whose best learning rate is at the grid's edge.

  Such a rate is the best of those that were tried, and a rate beyond the edge
  may well be better. Initialisations have no order, and so no edge.

  Args:
    dataset: As loaded, with its grid.

  Returns:
    'lowest' or 'highest' by method.
  """
  dataset = whole(dataset)
  if dataset.sizes.get('learning_rate', 1) < 2:
    return {}
  rates = dataset.learning_rate.values
  edges = {}
  for method, choice in best(dataset).items():
    judged = dataset.judged.sel(tuner=method) == 1
    ran = judged.any(set(judged.dims) - {'learning_rate'}).values
    tried = rates[ran]
    if len(tried) < 2:
      continue
    if choice.learning_rate == tried.min():
      edges[method] = 'lowest'
    elif choice.learning_rate == tried.max():
      edges[method] = 'highest'
  return edges


def _labels(dataset, method, index):
  """Returns the labels of a position, as far as they concern a method."""
  results = dataset.sel(tuner=method)
  rate, init = (
    results[axis].values.tolist()[i]
    for axis, i in zip(AXES, index, strict=True)
  )
  judged = results.judged == 1
  tried = [judged.any(set(judged.dims) - {axis}).sum() for axis in AXES]
  # A run that was stopped at its first update has no loss at all.
  trained = results.stopped.notnull().any()
  if 'tuning_loss' in results:
    trained |= results.tuning_loss.notnull().any()
  if not trained and tried[0] < 2:
    rate = np.nan
  if tried[1] > 1:
    return rate, init
  # There is one initialisation. It may be the method's own, or there is none.
  config = plain.resolved(json.loads(dataset.attrs.get('config', '{}')))
  grids = plain.inits(config.get('methods', {}).get(method, {}))
  return rate, grids[0][0] if grids else ''


def choose(dataset: xr.Dataset) -> xr.Dataset:
  """Returns a results file with every method at its best settings alone.

  Coordinates replace the axes of the grid: they say what was chosen for each
  method. Results without these axes are returned as they are.

  Raises:
    UserError: If it is only a part of a results file.
  """
  dataset = whole(dataset)
  if not set(AXES) <= set(dataset.dims):
    return dataset
  choices = best(dataset)
  coords = {
    axis: ('tuner', [getattr(choice, axis) for choice in choices.values()])
    for axis in AXES
  }
  if size(dataset) == 1:
    chosen = dataset.isel(dict.fromkeys(AXES, 0))
  else:
    chosen = xr.concat(
      [
        dataset.isel({'tuner': [i], **at(choice.index)}).drop_vars(AXES)
        for i, choice in enumerate(choices.values())
      ],
      'tuner',
      data_vars='minimal',
      coords='minimal',
      compat='override',
      join='override',
    )
  return chosen.drop_vars(AXES, errors='ignore').assign_coords(coords)


def at(index: Sequence[int]) -> dict[str, Any]:
  """Returns a position as xarray's `isel` takes it."""
  return dict(zip(AXES, index, strict=True))
