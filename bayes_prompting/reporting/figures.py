"""Figures of a results file, for print; nothing here trains or evaluates.

Every function takes the Dataset of `results` and returns a new
`matplotlib.figure.Figure`, without pyplot and its global state. A method looks
the same in all of them, and is shown at the best settings of the grid, see
`grid.best`. Regret is the paired one against the oracle. Medians and quartiles
are over all repetitions of all pretraining seeds that count (`counting`); of
others a note below says how many there are. A regret that is NaN counts as
infinite.
"""

import functools
import os
import pathlib

from matplotlib import figure as mpl_figure
from matplotlib import lines as mpl_lines
import numpy as np
import xarray as xr

from bayes_prompting import checks
from bayes_prompting import errors
from bayes_prompting.reporting import loss_figure
from bayes_prompting.reporting import search_figure
from bayes_prompting.reporting import style
from bayes_prompting.reporting import tuning_grid
from bayes_prompting.results import selection
from bayes_prompting.results import stopped

# All figures of a run under one roof.
losses = loss_figure.losses
hard_prefix_ranking = search_figure.hard_prefix_ranking


@style.styled
def regret_curves(dataset: xr.Dataset, quantity: str) -> mpl_figure.Figure:
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
    task: {method: style.quartiles(runs) for method, runs in found.items()}
    for task, found in style.regret_by_task(dataset, quantity).items()
  }
  methods = style.legend_methods(curves)
  figure, axes = style.panels(len(curves), sharey=True)
  every = [(m, q[1]) for found in curves.values() for m, q in found.items()]
  scale = style.symlog(axes[0], np.concatenate([median for _, median in every]))
  for ax, (task, found) in zip(axes, curves.items(), strict=True):
    for method, quartiles in found.items():
      style.curve(ax, dataset.step.values, quartiles, method, methods[method])
    ax.set(title=style.title(dataset, task), xlabel='step')
    guides = _lengths(ax, dataset)
  unit = 'nats' if quantity == 'cumulative_regret' else 'nats per step'
  for ax in axes[::3]:
    ax.set_ylabel(f'{quantity.replace("_", " ")} ({unit}){scale}')
  infinite = {method for method, median in every if np.isinf(median).any()}
  handles = [
    mpl_lines.Line2D([], [], label=m + ' (infinite)' * (m in infinite), **look)
    for m, look in methods.items()
  ]
  style.legend(figure, handles + guides)
  style.footnote(figure, stopped.footnote(stopped.left_out(dataset)))
  return figure


def _lengths(ax, dataset):
  """Marks the lengths of tuning and pretraining; returns their legend."""
  handles = []
  for name, line in (('tuning', style.DASH), ('pretraining', style.DOT)):
    length = dataset.attrs.get(f'{name}_length')
    if length is not None and length <= dataset.step.values[-1]:
      look = {'color': '#b0b0b0', 'linestyle': line, 'lw': 0.9}
      ax.axvline(length, zorder=0, **look)
      label = f'{name} length ({length})'
      handles.append(mpl_lines.Line2D([], [], label=label, **look))
  return handles


@style.styled
def regret_bars(dataset: xr.Dataset, step: int) -> mpl_figure.Figure:
  """Draws cumulative regret after some steps, task by task.

  Args:
    dataset: As loaded.
    step: After how many steps, counted from 1.

  Raises:
    UserError: If the Dataset has no such step.
  """
  steps = dataset.step.values
  if step not in steps:
    raise errors.UserError(
      f'step: must be from {steps[0]} to {steps[-1]}, got {step!r}'
    )
  dataset = selection.choose(dataset)
  index = steps.tolist().index(step)
  found = style.regret_by_task(dataset, 'cumulative_regret')
  left_out = stopped.left_out(dataset)
  methods = style.legend_methods(found, left_out)
  height = 0.16 * len(methods) + 1.1
  figure, axes = style.panels(len(found), height, sharey=True)
  for ax, (task, runs) in zip(axes, found.items(), strict=True):
    here = {m: values[:, index] for m, values in runs.items()}
    _bars(ax, here, methods, stopped.left_out(dataset, task))
    ax.set_title(style.title(dataset, task))
    ax.set_xlabel(f'cumulative regret\nafter {step} steps (nats)')
  axes[0].set_yticks(range(len(methods)), methods)
  axes[0].invert_yaxis()
  key = (
    'Bar, number: median; black line: quartiles; dots: single runs; '
    'dashed: Bayes-optimal; //: beyond the axis; hatched: infinite'
  )
  style.footnote(figure, stopped.footnote(left_out), key)
  return figure


def _bars(ax, runs, methods, left_out):
  """Draws the bars of one task, of {method: [runs]}."""
  quartiles = {m: style.quartiles(x[:, None])[:, 0] for m, x in runs.items()}
  limit = 1.1 * style.limit([value for q in quartiles.values() for value in q])
  right = {'transform': ax.get_yaxis_transform(), 'va': 'center'}
  for row, method in enumerate(methods):
    if method not in runs:
      ax.text(1.02, row, 'stopped' if method in left_out else '–', **right)
      continue
    low, median, high = quartiles[method]
    bar = ax.barh(row, min(median, limit), 0.72, label=method, lw=0, alpha=0.8)
    bar[0].set(facecolor=methods[method]['color'], edgecolor='white')
    small = f'{round(median, 3) + 0.0:.3f}'  # Without a minus before zero.
    value = small if median < 1 else f'{median:#.3g}'.rstrip('.')
    ax.text(1.02, row, value, **right)
    if np.isinf(median):
      bar[0].set_hatch('////')
    elif median > limit:
      ax.text(0.9, row, '//', color='white', weight='bold', **right)
    if len(runs[method]) > 1:
      ends = np.minimum([low, high], limit)
      ax.plot(ends, [row, row], color='black', lw=1)
      if max(runs[method]) > limit >= median:  # A single run is beyond.
        ax.text(0.97, row, '//', color='black', ha='right', **right)
      jitter = row + np.linspace(-0.22, 0.22, len(runs[method]))
      ax.plot(
        runs[method], jitter, 'o', ms=2.2, mfc='white', mec='black', mew=0.5
      )
    if method in ('TargetBayes', 'EvalBayes'):
      ax.axvline(median, color='black', linestyle=style.DASH, lw=0.9)
  ax.set_xlim(min(0.0, *(low for low, _, _ in quartiles.values())), limit)


def make_all(
  dataset: xr.Dataset, folder: str | os.PathLike[str]
) -> list[pathlib.Path]:
  """Writes every figure that the Dataset allows, see `drawing.write_all`."""
  makers = {}
  if style.holds(dataset, 'pretraining_loss') or style.holds(
    dataset, 'tuning_loss'
  ):
    makers['losses'] = losses
  for quantity in ('instantaneous_regret', 'cumulative_regret'):
    makers[quantity] = functools.partial(regret_curves, quantity=quantity)
  for step in dataset.report_step.values.tolist():
    name = f'cumulative_regret_step{step}'
    makers[name] = functools.partial(regret_bars, step=step)
  if style.holds(dataset, 'candidate_loss'):
    makers['hard_prefix_ranking'] = hard_prefix_ranking
  chosen = selection.choose(dataset)
  makers = {name: functools.partial(m, chosen) for name, m in makers.items()}
  if tuning_grid.has_grid(dataset):
    makers['tuning_grid'] = lambda: tuning_grid.tuning_grid(dataset)
  return style.write_all(makers, folder)
