"""Figures of a results file, for print; nothing here trains or evaluates.

Every function takes the Dataset of `results` and returns a new
`matplotlib.figure.Figure`, without pyplot and its global state. A method looks
the same in all of them. Medians and quartiles are over all repetitions of all
pretraining seeds; a run that turned NaN on its way counts as infinite.
"""

from collections.abc import Iterable
import io
import math
import os
import pathlib
import zlib

import matplotlib
from matplotlib import figure as mpl_figure
from matplotlib import lines as mpl_lines
import numpy as np
import xarray as xr

from bayes_prompting import checks
from bayes_prompting import types

_SOLID, _DASH, _DASHDOT, _DOT = '-', (0, (5, 2)), (0, (5, 1, 1, 1)), (0, (1, 1))
# Colour, line and marker of the package's methods, in the order of legends:
# references and untuned predictors black to grey, prefix tuners blue, StatePT
# green, weight tuners yellow to brown, apart for colour-blind readers too.
_LOOKS = {
    'Oracle': ('#000000', _DOT, ''),
    'TargetBayes': ('#000000', _DASH, ''),
    'EvalBayes': ('#000000', _DASHDOT, ''),
    'PreBayes': ('#7a7a7a', _DASH, ''),
    'PreBayesPT': ('#7a7a7a', _DASHDOT, 'P'),
    'NoTuning': ('#9a9a9a', _SOLID, 'X'),
    'RandomPF': ('#7cc4ea', _DASHDOT, 'v'),
    'HardPT': ('#4a9fe0', _SOLID, 's'),
    'SimplexPT': ('#1f77c4', _DASH, '^'),
    'RealPT': ('#2b4fb0', _SOLID, 'D'),
    'SoftPT': ('#16206e', _SOLID, 'o'),
    'StatePT': ('#009e73', _SOLID, '*'),
    'EmbedWT': ('#f2b134', _DASHDOT, 'v'),
    'UnembedWT': ('#ee8a00', _DASH, '^'),
    'Un+EmbedWT': ('#d55e00', _SOLID, 'D'),
    'LoRAWT': ('#a33515', _SOLID, 's'),
    'FullWT': ('#5c1a06', _SOLID, 'o'),
}
_FURTHER = [  # For methods of your own.
    (color, line, marker)
    for line, marker in zip([_SOLID, _DASH, _DASHDOT] * 2, 'hpH<>d')
    for color in ('#cc79a7', '#882255', '#7b4fb5', '#d64b8f')
]
_SMALL = 7
_styled = matplotlib.rc_context({
    'font.size': _SMALL,
    'axes.labelsize': 8,
    'axes.titlesize': 8,
    'axes.linewidth': 0.7,
    'axes.spines.top': False,
    'axes.spines.right': False,
    'legend.frameon': False,
    'legend.handlelength': 3.5,
    'lines.linewidth': 1.2,
    'lines.markersize': 3.5,
    'pdf.fonttype': 42,  # Text stays text.
})


def looks(methods: Iterable[str]) -> dict[str, dict[str, object]]:
  """Returns how a line of each method is drawn, in the order of legends.

  Methods of your own come last, with a look that depends on their name (and,
  where two would look the same, on their order).
  """
  methods = list(methods)
  found = {name: _LOOKS[name] for name in _LOOKS if name in methods}
  for name in methods:
    first = zlib.crc32(name.encode()) % len(_FURTHER)
    nearest = _FURTHER[first:] + _FURTHER[:first]
    free = [look for look in nearest if look not in found.values()]
    found.setdefault(name, (free or nearest)[0])
  fields = ('color', 'linestyle', 'marker')
  return {n: dict(zip(fields, x, strict=True)) for n, x in found.items()}


def _ran(dataset, variable):
  """Returns the looks of the methods of which a variable holds anything."""
  if variable not in dataset:
    return {}
  dims = [dim for dim in dataset[variable].dims if dim != 'method']
  ran = dataset.method.values[dataset[variable].notnull().any(dims).values]
  every = looks(dataset.method.values.tolist())
  return {name: look for name, look in every.items() if name in ran}


def _runs(array):
  """Returns float64 [runs, X], what was run, X the last dimension."""
  runs = array.values.reshape(-1, array.shape[-1]).astype(np.float64)
  runs = runs[~np.isnan(runs).all(-1)]
  return np.where(np.isnan(runs), np.inf, runs)


def _regret(dataset, quantity, method, task):
  """Returns [runs, step], regret against the oracle, paired."""
  labels = dict(reference='oracle', estimator='paired')
  return _runs(dataset[quantity].sel(method=method, eval_task=task, **labels))


def _quartiles(runs):
  """Quartiles [3, X] of [runs, X]; where some are infinite, the nearest run."""
  levels = (0.25, 0.5, 0.75)
  finite = np.isfinite(runs).all(0)
  linear = np.quantile(np.where(finite, runs, 0.0), levels, axis=0)
  nearest = np.quantile(runs, levels, axis=0, method='nearest')
  return np.where(finite, linear, nearest)


def _limit(values):
  """Returns where an axis from 0 ends, so that few outliers do not rule it."""
  values = np.asarray(values)[np.isfinite(values)]
  if not values.max(initial=0.0) > 0:
    return 1.0
  usual = values[values <= 5 * np.quantile(values, 0.75)]
  return usual.max(initial=0.0) or values.max()


def _panels(count, height=2.6, **kwargs):
  """Makes a figure of `count` panels, at most three in a row."""
  columns = min(count, 3)
  rows = math.ceil(count / columns)
  size = (2.1 * columns + 1.5, height * rows)
  figure = mpl_figure.Figure(figsize=size, layout='constrained')
  axes = figure.subplots(rows, columns, squeeze=False, **kwargs).ravel()
  for ax in axes:
    ax.tick_params(labelsize=_SMALL)
  for ax in axes[count:]:
    ax.remove()
  return figure, axes[:count]


def _title(dataset, task):
  return f'{task} (target)' if dataset.attrs.get('target') == task else task


def _curve(ax, x, quartiles, label, look):
  """Draws a median and its quartile band, without what is infinite."""
  low, median, high = quartiles
  finite = np.isfinite(median)
  ax.plot(
      x, np.where(finite, median, np.nan), label=label, markevery=0.15, **look
  )
  # An infinite quartile is drawn as one beyond any axis.
  high = np.minimum(high, 1e12)
  color = look['color']
  ax.fill_between(x, low, high, where=finite, color=color, alpha=0.15, lw=0)


def _smooth(runs):
  """Running median of [runs, T] over the updates within 10%.

  Returns:
    Indices [P], evenly spread over a log axis, and the medians [runs, P].
  """
  total = runs.shape[-1]
  updates = np.geomspace(1, total, min(total, 300)).round().astype(int)
  updates = np.unique(updates)
  windows = [runs[:, u - 1 - u // 10 : u + u // 10] for u in updates]
  return updates - 1, np.stack([np.median(w, -1) for w in windows], -1)


@_styled
def losses(dataset: xr.Dataset) -> mpl_figure.Figure:
  """Draws the loss of pretraining by seed, and that of tuning by method.

  Raises:
    UserError: If the Dataset has no losses (nothing was trained).
  """
  methods = _ran(dataset, 'tuning_loss')
  pretrained = 'pretraining_loss' in dataset
  if not methods and not pretrained:
    raise types.UserError('dataset: holds no losses; nothing was trained')
  figure, axes = _panels(pretrained + 2 * bool(methods))
  if pretrained:
    seeds = dataset.pretrain_seed.values
    colors = matplotlib.colormaps['cividis'](np.linspace(0, 0.8, len(seeds)))
    steps = dataset.pretraining_step.values
    for seed, color in zip(seeds, colors, strict=True):
      runs = _runs(dataset.pretraining_loss.sel(pretrain_seed=[seed]))
      index, smooth = _smooth(runs)
      axes[0].plot(steps, runs[0], color=color, alpha=0.25, lw=0.5)
      label = f'pretraining, seed {seed}'
      axes[0].plot(steps[index], smooth[0], color=color, label=label)
    axes[0].set_title('pretraining')
  if methods:
    _tuning_losses(dataset, methods, *axes[-2:])
  for ax in axes:
    ax.set(xscale='log', xlabel='update (log scale)')
  axes[0].set_ylabel(
      'loss (nats per sequence),\nrunning median over updates within 10%'
  )
  figure.legend(*axes[-1].get_legend_handles_labels(), loc='outside right')
  return figure


def _tuning_losses(dataset, methods, ax, late):
  """Draws tuning losses: all updates, and the last nine in ten closer up."""
  steps = dataset.tuning_step.values
  lowest, last = np.inf, []
  for method, look in methods.items():
    index, smooth = _smooth(_runs(dataset.tuning_loss.sel(method=method)))
    quartiles = _quartiles(smooth)
    for panel in (ax, late):
      _curve(panel, steps[index], quartiles, method, look)
  return lowest, last


@_styled
def regret_curves(dataset: xr.Dataset, quantity: str) -> mpl_figure.Figure:
  """Draws paired regret against the oracle over the steps, task by task.

  Args:
    dataset: As loaded.
    quantity: `instantaneous_regret` or `cumulative_regret`.

  Raises:
    UserError: If `quantity` is another.
  """
  allowed = ('instantaneous_regret', 'cumulative_regret')
  checks.one_of('quantity', quantity, allowed)
  tasks = dataset.eval_task.values.tolist()
  methods = _ran(dataset, quantity)
  curves = {}
  for task in tasks:
    for method in methods:
      runs = _regret(dataset, quantity, method, task)
      if len(runs):
        curves[task, method] = _quartiles(runs)
  figure, axes = _panels(len(tasks), sharey=True)
  unit = 'nats per step' if quantity == 'instantaneous_regret' else 'nats'
  scale = _symlog(axes[0], np.stack([q[1] for q in curves.values()]))
  steps = dataset.step.values
  for ax, task in zip(axes, tasks, strict=True):
    for method, look in methods.items():
      if (task, method) in curves:
        _curve(ax, steps, curves[task, method], method, look)
    ax.set(title=_title(dataset, task), xlabel='step')
  axes[0].set_ylabel(f'{quantity.replace("_", " ")} ({unit}){scale}')
  handles = []
  for method, look in methods.items():
    drawn = [q[1] for (_, m), q in curves.items() if m == method]
    label = method if np.isfinite(drawn).all() else f'{method} (infinite)'
    handles.append(mpl_lines.Line2D([], [], label=label, **look))
  figure.legend(handles=handles, loc='outside right')
  return figure
