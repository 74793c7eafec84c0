"""The figure of a grid of settings: the loss and the regret of each."""

from matplotlib import figure as mpl_figure
from matplotlib import lines as mpl_lines
import numpy as np
import xarray as xr

from bayes_prompting import errors
from bayes_prompting.reporting import series
from bayes_prompting.reporting import style
from bayes_prompting.results import measures
from bayes_prompting.results import selection
from bayes_prompting.results import stopped

# Predictors that are not tuned: the best possible one, and the start of tuning.
_LEVELS = ('TargetBayes', 'NoTuning')
_RING = {'marker': 'o', 'ms': 8, 'mfc': 'none', 'mec': 'black', 'mew': 0.9}
_LABELS = {
  'learning_rate': 'learning rate (log scale)',
  'prefix_init': 'prefix init',
}


def has_grid(dataset: xr.Dataset) -> bool:
  """Returns whether a run tried several settings and trained at them."""
  return selection.size(dataset) > 1 and series.holds(dataset, 'tuning_loss')


@style.styled
def tuning_grid(dataset: xr.Dataset) -> mpl_figure.Figure:
  """Draws final tuning loss, and regret on the target, against the settings.

  Learning rates lie along the axis, with a column for each initialisation; with
  a single rate, initialisations lie along the axis. For losses the figure shows
  the mean over runs, by which settings are chosen; for regrets the median; for
  both the quartiles. A ring marks the chosen setting, which all other figures
  show. Runs that were stopped are left out. A cross on the axis marks a setting
  at which all runs were stopped.

  Args:
    dataset: As loaded, with its grid.

  Raises:
    UserError: If it has no grid, or nothing was trained.
  """
  if not has_grid(dataset):
    raise errors.UserError('dataset: has no grid of settings that were trained')
  axes = list(selection.AXES)
  if dataset.sizes['learning_rate'] == 1:
    axes.reverse()
  losses, regrets = _losses(dataset, axes), _regrets(dataset, axes)
  all_stopped = _all_stopped(dataset, axes)
  if 'target_bayes_loss' in dataset.attrs and 'TargetBayes' in regrets:
    losses['TargetBayes'] = np.zeros((1, 1, 1))
  levels = set(_LEVELS) & set(regrets)
  looks = style.looks({*losses, *levels, *all_stopped})
  columns = dataset[axes[1]].values
  figure, panels = style.panels(
    2 * len(columns), 2.3, len(columns), sharex=True, sharey='row'
  )
  panels = panels.reshape(2, -1)
  choices = selection.best(dataset)
  for method, look in looks.items():
    chosen = dict(zip(selection.AXES, choices[method].index, strict=True))
    chosen = tuple(chosen[axis] for axis in axes)
    for row, by_method, center in (
      (panels[0], losses, np.mean),
      (panels[1], regrets, np.median),
    ):
      if method not in by_method:
        continue
      if method in _LEVELS:
        _draw_level(row, by_method[method], look)
      else:
        _draw(row, dataset[axes[0]], by_method[method], center, chosen, look)
    for row in panels if method in all_stopped else ():
      for ax, is_stopped in zip(row, all_stopped[method].T, strict=True):
        for x in _positions(dataset[axes[0]])[is_stopped]:
          style.mark_stopped(ax, x, look['color'])
  _label(panels, dataset, losses, regrets)
  _name_settings(panels, dataset, axes)
  handles = [mpl_lines.Line2D([], [], label=m, **x) for m, x in looks.items()]
  ring = mpl_lines.Line2D([], [], label='chosen, by its loss', ls='', **_RING)
  handles.append(ring)
  if all_stopped:
    cross = {**style.STOPPED, 'color': 'black', 'label': 'all were stopped'}
    handles.append(mpl_lines.Line2D([], [], **cross))
  style.legend(figure, handles)
  style.footnote(figure, stopped.footnote(stopped.left_out(dataset)))
  return figure


def _by_position(array, dataset, axes):
  """Returns {method: float64 [X, columns, runs]}, NaN where no run counts."""
  ran = stopped.counted(dataset).any('eval_task')
  array = array.where(array.notnull(), np.inf).where(ran)
  array = array.stack(run=('pretrain_seed', 'repetition'))
  array = array.transpose('tuner', *axes, 'run')
  return {
    name: values.astype(np.float64)
    for name, values in zip(array.tuner.values, array.values, strict=True)
    if not np.isnan(values).all()
  }


def _all_stopped(dataset, axes):
  """Returns {method: bool [X, columns]}, true where all runs were stopped.

  Methods without such a setting are left out.
  """
  over = ('pretrain_seed', 'repetition', 'eval_task')
  ran = (dataset.judged == 1).any(over)
  lost = (ran & ~stopped.counted(dataset).any(over)).transpose('tuner', *axes)
  trained = dataset.stopped.notnull().any(set(dataset.stopped.dims) - {'tuner'})
  return {
    method: where
    for method, where in zip(dataset.tuner.values, lost.values, strict=True)
    if trained.sel(tuner=method) and where.any()
  }


def _losses(dataset, axes):
  """Returns final losses by method, above the least loss if that is known."""
  loss = dataset.tuning_loss
  trained = loss.notnull().any(set(loss.dims) - {'tuner'})
  final = selection.final_losses(dataset)
  final = final - dataset.attrs.get('target_bayes_loss', 0.0)
  losses = _by_position(final, dataset, axes)
  return {m: losses[m] for m in losses if trained.sel(tuner=m)}


def _regrets(dataset, axes):
  """Returns the regret on the target after the tuning length, by method."""
  reference, estimator = measures.headline(dataset, _target(dataset))
  labels = {
    'eval_task': _target(dataset),
    'reference': reference,
    'estimator': estimator,
    'step': dataset.report_step.values[0],
  }
  return _by_position(dataset.cumulative_regret.sel(labels), dataset, axes)


def _target(dataset):
  return dataset.attrs.get('target', dataset.eval_task.values[0])


def _draw(row, settings, runs, center, chosen, look):
  """Draws one method, column by column, with a ring on the chosen setting."""
  x = _positions(settings)
  for column, ax in enumerate(row):
    ran = [i for i in np.argsort(x) if not np.isnan(runs[i, column]).all()]
    if not ran:
      continue
    curve = np.transpose([_summary(runs[i, column], center) for i in ran])
    style.curve(ax, x[ran], curve, None, look, every=1)
    if column == chosen[1] and chosen[0] in ran:
      index = ran.index(chosen[0])
      ax.plot(x[ran][index], curve[1, index], **_RING, zorder=4)


def _summary(runs, center):
  """Returns lower quartile, center and upper quartile of runs that count."""
  runs = runs[~np.isnan(runs)]
  low, _, high = series.quartiles(runs[:, None])[:, 0]
  return low, center(runs), high


def _draw_level(row, runs, look):
  """Draws a predictor that was not tuned as a line from end to end."""
  level = np.median(runs[~np.isnan(runs)])
  for ax in row:
    ax.axhline(level, color=look['color'], linestyle=look['linestyle'])


def _positions(settings):
  """Returns the coordinates of settings on the horizontal axis."""
  if settings.dtype.kind == 'f':
    return settings.values
  return np.arange(len(settings), dtype=np.float64)


def _label(panels, dataset, losses, regrets):
  """Scales and labels the vertical axes of both rows."""
  upper, lower = panels[:, 0]
  text, scale = 'final tuning loss\n(nats per sequence)', ''
  values = np.concatenate([[], *(runs.ravel() for runs in losses.values())])
  values = values[np.isfinite(values)]
  if 'target_bayes_loss' in dataset.attrs:
    text = 'final tuning loss\nabove TargetBayes (nats)'
    drawn = [
      _summary(runs, np.mean)
      for by_setting in losses.values()
      for runs in by_setting.reshape(-1, by_setting.shape[-1])
      if not np.isnan(runs).all()
    ]
    # A run's loss below the least possible shows how far luck reaches.
    noise = -values.min(initial=0.0)
    scale = style.symlog(upper, np.ravel(drawn), noise)
  elif len(values):
    low = values.min()
    high = low + 1.1 * style.limit(values - low)
    upper.set_ylim(low - 0.05 * (high - low), high)
  upper.set_ylabel(text + scale)
  values = np.concatenate([[], *(runs.ravel() for runs in regrets.values())])
  step = dataset.report_step.values[0]
  what = f'loss{measures.above(dataset, _target(dataset))}'
  what = 'regret' if what == 'loss' else what
  text = f'{what} on {_target(dataset)}\nafter {step} steps (nats)'
  lower.set_ylabel(text + style.symlog(lower, values))


def _name_settings(panels, dataset, axes):
  """Names the settings along the axis, one a tick, and the columns."""
  settings, columns = (dataset[axis].values for axis in axes)
  for ax in panels[1]:
    if axes[0] == 'learning_rate':
      ax.set_xscale('log')
      ax.set_xticks(settings, [f'{rate:g}' for rate in settings])
      ax.set_xticks([], minor=True)
    else:
      ax.set_xticks(range(len(settings)), settings)
    if len(settings) > 4:
      ax.tick_params(axis='x', rotation=45)
    ax.set_xlabel(_LABELS[axes[0]])
  if len(columns) > 1:
    for ax, name in zip(panels[0], columns, strict=True):
      ax.set_title(f'{_LABELS[axes[1]]} {name}')
    ax = panels[0, 0]
    ax.set_title(f'{ax.get_title()},\nor none to choose')
