"""Figures of a results file, for print.

Every function takes the Dataset of `results` alone and returns a new
`matplotlib.figure.Figure`, without pyplot and its global state. A method looks
the same in all figures and is shown at the best settings of its grid, see
`selection.best`. Regret is the paired one against the oracle; a task that was
recorded has the loss above a universal predictor, see `measures`. Medians and
quartiles are over all repetitions of all pretraining seeds that count. Runs
that were stopped do not count; a note below the figure says how many they are.
A regret that is NaN counts as infinite.
"""

import functools
import os
import pathlib
import textwrap

import matplotlib
from matplotlib import cm as mpl_cm
from matplotlib import colors as mpl_colors
from matplotlib import figure as mpl_figure
from matplotlib import lines as mpl_lines
from matplotlib import ticker as mpl_ticker
import numpy as np
import xarray as xr

from bayes_prompting import checks
from bayes_prompting import errors
from bayes_prompting import results
from bayes_prompting.reporting import series
from bayes_prompting.reporting import style
from bayes_prompting.reporting import tuning_grid
from bayes_prompting.results import measures
from bayes_prompting.results import selection
from bayes_prompting.results import stopped

# What no method can beat: a line across the bars.
_OPTIMAL = ('TargetBayes', 'EvalBayes')
_EXCESS = 'loss above the best prefix\n(nats per sequence)'


@style.styled
def losses(dataset: xr.Dataset) -> mpl_figure.Figure:
  """Draws the loss of pretraining by seed, and that of tuning by method.

  Where tuning stopped early there is the loss of validation too, with a star
  where each run did best: that is what was kept. A run that was stopped is left
  out of medians and quartiles. A cross on the axis marks the update at which it
  was stopped.

  Args:
    dataset: As loaded.

  Raises:
    UserError: If the Dataset has no losses, because nothing was trained.
  """
  dataset = selection.choose(dataset)
  pretrained = series.holds(dataset, 'pretraining_loss')
  tuned = series.holds(dataset, 'tuning_loss')
  validated = tuned and series.holds(dataset, 'validation_loss')
  if not pretrained and not tuned:
    raise errors.UserError('dataset: has no losses, nothing was trained')
  count = pretrained + 2 * tuned + validated
  figure, axes = style.panels(count, columns=max(count, 3))
  if pretrained:
    _pretraining_losses(axes[0], dataset)
  if tuned:
    _tuning_losses(*axes[pretrained : pretrained + 2], dataset)
  if validated:
    _validation_losses(axes[-1], dataset)
  axes[0].set_ylabel(
    'loss (nats per sequence),\nrunning median (±10% of updates)'
  )
  handles = [
    line for ax in axes[: 1 + pretrained] for line in style.handles(ax)
  ]
  left_out = stopped.left_out(dataset)
  if left_out or dataset.pretraining_stopped.notnull().any():
    cross = {'color': 'black', **style.STOPPED}
    handles.append(mpl_lines.Line2D([], [], label='a run was stopped', **cross))
  style.legend(figure, handles)
  style.footnote(figure, stopped.footnote(left_out))
  return figure


def _mark_stopped(axes, updates, color):
  """Puts a cross on the axis at every update at which a run was stopped."""
  for update in updates[~np.isnan(updates)]:
    for ax in axes:
      if update >= ax.get_xlim()[0]:
        style.mark_stopped(ax, update, color)


def _pretraining_losses(ax, dataset):
  """Draws the loss of each seed, as it is and smoothed."""
  loss = dataset.pretraining_loss
  loss = loss.where(np.isfinite(loss))
  colors = matplotlib.colormaps['cividis'](np.linspace(0, 0.8, len(loss)))
  steps = loss.pretraining_step.values
  for of_seed, color in zip(loss, colors, strict=True):
    index, smooth = series.smooth(of_seed.values[None])
    label = f'pretraining, seed {of_seed.pretrain_seed.item()}'
    ax.plot(steps, of_seed, color=color, alpha=0.25, lw=0.5)
    ax.plot(steps[index], smooth[0], color=color, label=label)
  ax.set(title='pretraining', xscale='log', xlabel='update (log scale)')
  for step, color in zip(dataset.pretraining_stopped, colors, strict=True):
    _mark_stopped([ax], np.ravel(step), color)


def _tuning_losses(ax, late, dataset):
  """Draws all updates of tuning, and once more the last nine tenths."""
  loss = dataset.tuning_loss
  steps, curves = loss.tuning_step.values, {}
  index, _ = series.smooth(np.zeros((1, len(steps))))
  if series.holds(dataset, 'validation_loss'):
    held = _held(loss.values.reshape(-1, len(steps)))
    steps = steps[: held.shape[1]]
    held = held.reshape(*loss.shape[:-1], len(steps))
    loss = loss.isel(tuning_step=slice(len(steps))).copy(data=held)
    index, _ = series.smooth(np.zeros((1, len(steps))))
  tuned = series.by_method(
    loss.where(stopped.counted(dataset).any('eval_task'))
  )
  for method, look in style.looks(tuned).items():
    index, smooth = series.smooth(tuned[method])
    curves[method] = series.quartiles(smooth)
    for panel in (ax, late):
      style.curve(panel, steps[index], curves[method], method, look)
  first = np.searchsorted(index, len(steps) // 10)
  ax.set(xscale='log', xlabel='update (log scale)')
  late.set(xlabel='update')
  late.set_xlim(left=steps[index[first]])
  judged = (dataset.judged == 1).any('eval_task')
  for method, look in style.looks(loss.tuner.values.tolist()).items():
    updates = dataset.stopped.where(judged).sel(tuner=method).values.ravel()
    _mark_stopped([ax, late], updates, look['color'])
  for panel, start, title in (
    (ax, 0, 'tuning'),
    (late, first, 'tuning, later'),
  ):
    panel.set_title(title)
    if not curves:
      continue
    medians = np.stack([median[start:] for _, median, _ in curves.values()])
    finite = medians[np.isfinite(medians)]
    if not finite.size:
      continue
    top = finite.min() + style.limit(finite - finite.min())
    margin = 0.05 * (top - finite.min())
    panel.set_ylim(finite.min() - margin, top + margin)
    above = (medians > top).any(-1)
    names = ', '.join(m for m, out in zip(curves, above, strict=True) if out)
    note = textwrap.wrap(f'leaves the axis: {names}', 36) if names else []
    panel.set_title('\n'.join([title, *note]))


def _validation_losses(ax, dataset):
  """Draws the loss on sequences that are held out, up to where runs end."""
  counted = stopped.counted(dataset).any('eval_task')
  loss = dataset.validation_loss.where(counted)
  steps = loss.validation_step.values
  for method in series.held(loss):
    runs = loss.sel(tuner=method).values.reshape(-1, len(steps))
    ran = ~np.isnan(runs).all(-1)
    runs = _held(runs[ran].astype(np.float64))
    quartiles = series.quartiles(runs)
    look = style.looks(loss.tuner.values.tolist())[method]
    style.curve(ax, steps[: runs.shape[1]], quartiles, method, look)
    best = dataset.best_step.sel(tuner=method).values.ravel()[ran]
    star = {'marker': '*', 'ms': 6, 'ls': '', 'color': look['color']}
    ax.plot(best, np.nanmin(runs, axis=-1), **star)
  ax.set(title='validation (stars: kept)', xlabel='update')


def _held(runs):
  """Cuts curves [runs, X] where all have ended; one that has stays level."""
  ends = np.isfinite(runs).any(0)
  runs = runs[:, : len(ends) - ends[::-1].argmax()]
  last = np.where(np.isfinite(runs), np.arange(runs.shape[1]), 0)
  last = np.maximum.accumulate(last, axis=1)
  return np.take_along_axis(runs, last, 1)


@style.styled
def regret_curves(
  dataset: xr.Dataset, quantity: str = 'cumulative_regret'
) -> mpl_figure.Figure:
  """Draws regret over the steps, task by task.

  Args:
    dataset: As loaded.
    quantity: `instantaneous_regret` or `cumulative_regret`.

  Raises:
    UserError: If `quantity` is another.
  """
  allowed = ('instantaneous_regret', 'cumulative_regret')
  checks.one_of('quantity', quantity, allowed)
  dataset = selection.choose(dataset)
  curves = {
    task: {method: series.quartiles(runs) for method, runs in by_method.items()}
    for task, by_method in series.regret_by_task(dataset, quantity).items()
  }
  methods = style.legend_methods(curves)
  figure, axes = style.panels(len(curves), sharey=series.alike(dataset))
  medians = {
    task: [(method, quartiles[1]) for method, quartiles in by_method.items()]
    for task, by_method in curves.items()
  }
  for kind in filter(None, measures.of_kind(dataset)):
    values = [median for task in kind for _, median in medians[task]]
    shown = [ax for ax, task in zip(axes, curves, strict=True) if task in kind]
    scale = ''
    if measures.above(dataset, kind[0]):
      _scale_above(shown, values)
    else:
      for ax in shown:
        scale = style.symlog(ax, np.concatenate(values))
    name, unit = series.regret_label(dataset, kind[0], quantity)
    for ax in axes[::3] if series.alike(dataset) else shown:
      ax.set_ylabel(f'{name} ({unit}){scale}')
  for ax, (task, by_method) in zip(axes, curves.items(), strict=True):
    for method, quartiles in by_method.items():
      style.curve(ax, dataset.step.values, quartiles, method, methods[method])
    ax.set(title=style.title(dataset, task), xlabel='step')
    guides = _lengths(ax, dataset)
  infinite = {
    method
    for of_task in medians.values()
    for method, median in of_task
    if np.isinf(median).any()
  }
  handles = [
    mpl_lines.Line2D([], [], label=m + ' (infinite)' * (m in infinite), **look)
    for m, look in methods.items()
  ]
  style.legend(figure, handles + guides)
  style.footnote(figure, stopped.footnote(stopped.left_out(dataset)))
  return figure


def _scale_above(axes, values):
  """Scales panels of losses above a universal predictor: 0 is within them.

  The first few steps, where all is noise, may leave the axis.
  """
  late = np.concatenate([[0.0], *(x[len(x) // 10 :] for x in values)])
  late = late[np.isfinite(late)]
  margin = 0.05 * (late.max() - late.min()) or 1.0
  for ax in axes:
    ax.set_ylim(late.min() - margin, late.max() + margin)
    style.bits(ax)


def _lengths(ax, dataset):
  """Marks the lengths of tuning and pretraining; returns their legend."""
  handles = []
  for length, name in series.lengths(dataset).items():
    line = style.DASH if name.startswith('tuning') else style.DOT
    look = {'color': '#b0b0b0', 'linestyle': line, 'lw': 0.9}
    ax.axvline(length, zorder=0, **look)
    label = f'{name} ({length})'
    handles.append(mpl_lines.Line2D([], [], label=label, **look))
  return handles


@style.styled
def regret_bars(
  dataset: xr.Dataset, step: int | None = None
) -> mpl_figure.Figure:
  """Draws cumulative regret after some steps, task by task.

  Args:
    dataset: As loaded.
    step: After how many steps, counted from 1; by default the first report
      step, the tuning length, as in a table.

  Raises:
    UserError: If the Dataset has no such step.
  """
  dataset = selection.choose(dataset)
  steps = dataset.step.values
  if step is None:
    step = int(dataset.report_step.values.flat[0])  # One may be selected.
  if step not in steps:
    raise errors.UserError(
      f'step: must be from {steps[0]} to {steps[-1]}, got {step!r}'
    )
  index = steps.tolist().index(step)
  by_task = series.regret_by_task(dataset, 'cumulative_regret')
  left_out = stopped.left_out(dataset)
  methods = style.legend_methods(by_task, left_out)
  runs = {
    task: {method: values[:, index] for method, values in by_method.items()}
    for task, by_method in by_task.items()
  }
  height = 0.16 * len(methods) + 1.2
  figure, axes = style.panels(
    len(runs), height, sharex=series.alike(dataset), sharey=True
  )
  axis_of = dict(zip(runs, axes, strict=True))
  for kind in filter(None, measures.of_kind(dataset)):
    values = [x for task in kind for x in runs[task].values()]
    above = measures.above(dataset, kind[0])
    for task in kind:
      ax, left = axis_of[task], stopped.left_out(dataset, task)
      scale, limit = _bar_scale(ax, np.concatenate(values))
      exact = _exact(dataset, task)
      _bars(ax, runs[task], methods, left, limit, exact, bool(above))
      ax.set_title(style.title(dataset, task))
      text = f'cumulative regret\nafter {step} steps (nats{scale})'
      if above:
        text = f'mean loss{above}\nover {step} steps (nats a token{scale})'
      ax.set_xlabel(text)
  axes[0].set_yticks(range(len(methods)), methods)
  axes[0].invert_yaxis()
  key = 'Bar, number: median; black line: quartiles; dots: single runs'
  if {*_OPTIMAL} & {*methods}:
    key += '; dashed: Bayes-optimal'
  if any(np.isinf(x).any() for of in runs.values() for x in of.values()):
    key += '; hatched: infinite'
  if measures.note(dataset):
    key += '. Above a universal predictor numbers are nats | bits a token'
  style.footnote(figure, stopped.footnote(left_out), key)
  return figure


def _bar_scale(ax, values):
  """Scales the axis of bars, from zero to the largest value of a run.

  Regrets differ by orders of magnitude: on a linear axis the largest leaves
  nothing to see of those that matter. Losses above another predictor, which go
  far below zero, differ by what each adds: they have a linear axis.

  Returns:
    What the label must say of the scale, and the upper end of the axis.
  """
  finite = values[np.isfinite(values)]
  positive = finite[finite > 0]
  scale = ''
  spread = len(positive) and positive.max() > 10 * np.quantile(positive, 0.05)
  if spread and -finite.min() < 0.1 * positive.max():
    scale = style.symlog(ax, values, axis='x')
  beyond = 1.6 if scale else 1.06  # Room for the dots of the last runs.
  limit = beyond * finite.max(initial=0.0)
  # Where all are below zero the axis ends a little above it.
  limit = limit or -0.06 * finite.min(initial=0.0) or 1.0
  ax.set_xlim(beyond * finite.min(initial=0.0), limit)
  if not scale:
    ax.locator_params(axis='x', nbins=6)
  return scale.replace('\n', ' ').replace('scale, ', 'scale,\n'), limit


def _exact(dataset, task):
  """Returns the methods whose regret on a task is no mean over sequences."""
  reference, _ = measures.headline(dataset, task)
  exact = results.exact(dataset).sel(eval_task=task, reference=reference)
  return exact.tuner.values[exact.values].tolist()


def _bars(ax, runs, methods, left_out, limit, exact, in_bits):
  """Draws the bars of one task from {method: [runs]}, up to a limit."""
  right = {'transform': ax.get_yaxis_transform(), 'va': 'center'}
  for row, method in enumerate(methods):
    if method not in runs:
      ax.text(1.02, row, 'stopped' if method in left_out else '–', **right)
      continue
    low, median, high = series.quartiles(runs[method][:, None])[:, 0]
    bar = ax.barh(row, min(median, limit), 0.72, label=method, lw=0, alpha=0.8)
    bar[0].set(facecolor=methods[method]['color'], edgecolor='white')
    small = f'{round(median, 3) + 0.0:.3f}'  # Without a minus before zero.
    value = small if median < 1 else f'{median:#.3g}'.rstrip('.')
    if method in exact and low == high:
      value += ' exact'
    if in_bits:
      value = f'{median + 0.0:.3f} | {median / measures.BITS + 0.0:.3f}'
    ax.text(1.02, row, value, **right)
    if np.isinf(median):
      bar[0].set_hatch('////')
    if len(runs[method]) > 1:
      ends = np.minimum([low, high], limit)
      ax.plot(ends, [row, row], color='black', lw=1)
      jitter = row + np.linspace(-0.22, 0.22, len(runs[method]))
      finite = np.where(np.isinf(runs[method]), np.nan, runs[method])
      ax.plot(finite, jitter, 'o', ms=2.2, mfc='white', mec='black', mew=0.5)
    if method in _OPTIMAL:
      ax.axvline(median, color='black', linestyle=style.DASH, lw=0.9)


@style.styled
def hard_prefix_ranking(dataset: xr.Dataset) -> mpl_figure.Figure:
  """Draws the loss of every hard prefix by rank, and the best of them by name.

  A prefix's colour says how often it holds the most frequent token of the best
  prefix of all.

  Raises:
    UserError: If the Dataset has no candidates, because nothing was searched,
      or if all networks that were searched were stopped.
  """
  if not series.holds(dataset, 'candidate_loss'):
    raise errors.UserError('dataset: has no candidates, nothing was searched')
  dataset = selection.choose(dataset)
  counted = stopped.counted(dataset).any('eval_task')
  loss = dataset.candidate_loss.where(counted)  # A search has no grid.
  if not loss.notnull().any():
    raise errors.UserError(
      'dataset: has no candidates of a network that counts, all were stopped'
    )
  ranked = {method: _rank(loss, method) for method in series.by_method(loss)}
  tokens = {m: _tokens(labels) for m, (labels, _) in ranked.items()}
  best = next(iter(tokens.values()))[0]
  token = max(sorted(set(best)), key=best.count)
  longest = max(len(row) for rows in tokens.values() for row in rows)
  colors = mpl_colors.ListedColormap(
    matplotlib.colormaps['viridis'](np.linspace(0, 0.92, longest + 1))
  )
  norm = mpl_colors.BoundaryNorm(np.arange(longest + 2) - 0.5, longest + 1)
  figure, axes = style.panels(2 * len(ranked), columns=2)
  for i, (method, (labels, quartiles)) in enumerate(ranked.items()):
    shades = colors([row.count(token) for row in tokens[method]])
    _ranks(axes[2 * i], method, quartiles[1], shades)
    _best(axes[2 * i + 1], method, labels[:12], quartiles[:, :12], shades)
  figure.colorbar(
    mpl_cm.ScalarMappable(norm, colors),
    ax=axes,
    label=f'number of tokens "{token}" in the prefix',
    ticks=mpl_ticker.MaxNLocator(integer=True),
    aspect=30,
  )
  left_out = stopped.left_out(dataset)
  style.footnote(
    figure, stopped.footnote({m: left_out[m] for m in ranked if m in left_out})
  )
  return figure


def _rank(loss, method):
  """Returns labels [M] and quartiles [3, M] of excess loss, the best first."""
  # Candidates of other methods are absent, not infinite.
  loss = loss.sel({'tuner': [method]}).dropna('candidate', how='all')
  runs = series.by_method(loss)[method]
  best = runs.min(-1, keepdims=True)
  quartiles = series.quartiles(runs - np.where(np.isinf(best), 0.0, best))
  order = np.argsort(quartiles[1], kind='stable')
  return loss.candidate.values[order].tolist(), quartiles[:, order]


def _tokens(labels):
  """Splits labels of candidates, '0110' or '0-11-10', into their tokens."""
  # A label may be one token of several digits. Then labels differ in length.
  digits = len({len(label) for label in labels}) == 1
  dashes = any('-' in label for label in labels)
  return [list(x) if digits and not dashes else x.split('-') for x in labels]


def _ranks(ax, method, excess, shades):
  """Draws excess losses [M] by rank, infinite ones as crosses at the top."""
  rank, finite = np.arange(1, len(excess) + 1), np.isfinite(excess)
  top = 1.1 * excess[finite].max(initial=0.0) or 1.0
  ax.scatter(rank[finite], excess[finite], 9, shades[finite], lw=0)
  heights = np.full((~finite).sum(), top)
  crosses = {'marker': 'x', 'lw': 0.8}
  ax.scatter(rank[~finite], heights, 9, shades[~finite], **crosses)
  note = f' (×: {len(heights)} infinite)' if len(heights) else ''
  ax.set_title(f'{method}, all {len(excess)} prefixes{note}')
  ax.set(xlabel='rank', ylabel=_EXCESS)


def _best(ax, method, labels, quartiles, shades):
  """Draws the first few candidates, each with its tokens and quartiles."""
  low, median, high = np.where(np.isfinite(quartiles), quartiles, np.nan)
  rows = range(len(labels))
  ax.hlines(rows, low, high, colors='black', lw=1)
  ax.scatter(median, rows, 18, shades[: len(rows)], zorder=3)
  ax.set_yticks(rows, labels, family='monospace')
  ax.invert_yaxis()
  ax.set(title=f'{method}, the best', xlabel=_EXCESS)


def make_all(
  dataset: xr.Dataset, folder: str | os.PathLike[str]
) -> list[pathlib.Path]:
  """Writes every figure that the Dataset allows, see `style.write_all`."""
  makers = {}
  if series.holds(dataset, 'pretraining_loss') or series.holds(
    dataset, 'tuning_loss'
  ):
    makers['losses'] = losses
  for quantity in ('instantaneous_regret', 'cumulative_regret'):
    makers[quantity] = functools.partial(regret_curves, quantity=quantity)
  for step in dataset.report_step.values.tolist():
    name = f'cumulative_regret_step{step}'
    makers[name] = functools.partial(regret_bars, step=step)
  if series.holds(dataset, 'candidate_loss'):
    makers['hard_prefix_ranking'] = hard_prefix_ranking
  chosen = selection.choose(dataset)
  makers = {name: functools.partial(m, chosen) for name, m in makers.items()}
  if tuning_grid.has_grid(dataset):
    makers['tuning_grid'] = lambda: tuning_grid.tuning_grid(dataset)
  return style.write_all(makers, folder)
