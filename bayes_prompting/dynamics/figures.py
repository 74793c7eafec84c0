"""The figure of what prompts do inside a network, and all figures of dynamics.

Every function takes the Dataset of `dynamics` alone, see `figures`.
"""

import functools
import os
import pathlib

from matplotlib import figure as mpl_figure
from matplotlib import lines as mpl_lines
from matplotlib import patheffects
import numpy as np
import xarray as xr

from bayes_prompting import errors
from bayes_prompting.dynamics import meaning_figure
from bayes_prompting.reporting import style

_HALO = [patheffects.withStroke(linewidth=2.2, foreground='white')]
_PALE, _DARK = '#d9d9d9', '#808080'
_START = {'marker': 'o', 'ms': 6.5, 'mfc': 'none', 'mec': 'black', 'ls': ''}


@style.styled
def trajectories(dataset: xr.Dataset) -> mpl_figure.Figure:
  """Draws the network's memory in its plane, and where prompts take it.

  First the cloud, by the tokens seen and by the source's bias, with the shares
  of variance, and how far from the plane all is. Then a panel for each prompt:
  a thin line from the beginning of sequence through the rows of its prefix,
  with their numbers, and a thick one on through tokens of the target, the mean
  over sequences, beside that without a prompt.

  Raises:
    UserError: If no path was taken (no method that keeps the weights).
  """
  if not style.holds(dataset, 'token_path'):
    raise errors.UserError('dataset: has no paths, no method keeps the weights')
  looks = style.looks(style.held(dataset.token_path))
  untuned = dataset.untuned_path.values
  prompts = [
    method
    for method in looks
    if not np.allclose(dataset.token_path.sel({'method': method}), untuned)
  ]
  figure, axes = style.panels(3 + len(prompts), 2.2)
  figure.set_figwidth(7.8)
  steps = np.broadcast_to(dataset.step.values, dataset.source_probability.shape)
  _cloud(axes[0], dataset, steps, 'viridis', 'tokens seen')
  probability = dataset.source_probability.values
  _cloud(axes[1], dataset, probability, 'cividis', 'probability of token 0')
  axes[0].set_title('untuned, by time')
  axes[1].set_title('untuned, by source')
  _distances(axes[2], dataset, looks)
  for ax, method in zip(axes[3:], prompts, strict=True):
    _path(ax, dataset, method, looks[method])
  for ax in (*axes[:2], *axes[3:]):
    _name_plane(ax, dataset)
  style.legend(figure, _handles(dataset, looks))
  style.footnote(figure, dataset.attrs.get('left_out', ''))
  return figure


def _cloud(ax, dataset, values, colors, label):
  """Scatters the cloud by a value of each point, in no order."""
  points = dataset.cloud.values.reshape(-1, 2)
  order = np.random.default_rng(0).permutation(len(points))
  found = ax.scatter(
    *points[order].T,
    2,
    values.ravel()[order],
    cmap=colors,
    vmin=0,
    lw=0,
    rasterized=True,
  )
  ax.figure.colorbar(found, ax=ax, label=label, aspect=30)


def _distances(ax, dataset, looks):
  """Draws distances from the plane; rows of a prefix lie before step 0."""
  step = dataset.step.values
  ax.plot(step, dataset.cloud_distance, color=_PALE, lw=4, zorder=0)
  for method, look in looks.items():
    one = dataset.sel({'method': method})
    ax.plot(step, one.token_distance, **look | {'marker': ''})
    if style.holds(one, 'prefix_distance'):
      rows = one.prefix_distance.dropna('prefix_step').values
      before = np.arange(len(rows)) - len(rows) + 1
      thin = {'lw': 0.8, 'linestyle': style.SOLID, 'ms': 2.5}
      ax.plot(before, rows, **look | thin)
  ax.axvline(0, color=_DARK, lw=0.7, linestyle=style.DOT, zorder=0)
  ax.set(title='out of the plane', ylim=(0, None))
  ax.set(xlabel='rows, then tokens', ylabel='distance')


def _path(ax, dataset, method, look):
  """Draws the path of one method, over the cloud."""
  points = dataset.cloud.values.reshape(-1, 2)
  ax.scatter(*points.T, 2, _PALE, lw=0, rasterized=True)
  one, color = dataset.sel({'method': method}), look['color']
  thick = {'lw': 1.4, 'path_effects': _HALO}
  ax.plot(*dataset.untuned_path.values.T, color=_DARK, **thick)
  ax.plot(*one.token_path.values.T, color=color, **thick)
  ax.plot(*dataset.untuned_path.values[0], zorder=5, **_START)
  ax.plot(*one.token_path.values[0], ms=5, zorder=6, path_effects=_HALO, **look)
  if style.holds(one, 'prefix_path'):
    rows = one.prefix_path.dropna('prefix_step').values
    ax.plot(*rows.T, color=color, lw=0.8, path_effects=_HALO, zorder=4)
    for number, point in enumerate(rows[1:], 1):
      ax.plot(*point, zorder=4, ms=2.5, **look)
      ax.annotate(
        number,
        point,
        (4, 0),
        textcoords='offset points',
        color=color,
        va='center',
        size=6,
        path_effects=_HALO,
        zorder=7,
      )
  ax.set_title(method)
  _frame(ax, dataset)


def _frame(ax, dataset):
  """Frames the paths of all methods, not the whole cloud."""
  found = [
    dataset[name].values.reshape(-1, 2)
    for name in ('untuned_path', 'prefix_path', 'token_path')
    if name in dataset
  ]
  found = np.concatenate(found)
  low, high = np.nanmin(found, 0), np.nanmax(found, 0)
  margin = 0.08 * (high - low)
  ax.set_xlim(low[0] - margin[0], high[0] + margin[0])
  ax.set_ylim(low[1] - margin[1], high[1] + margin[1])


def _name_plane(ax, dataset):
  first, second = dataset.explained_variance.values
  ax.set_xlabel(f'component 1 ({first:.0%})')
  ax.set_ylabel(f'component 2 ({second:.0%})')


def _handles(dataset, looks):
  line = mpl_lines.Line2D
  return [
    *(line([], [], label=method, **look) for method, look in looks.items()),
    line([], [], label='beginning of sequence', **_START),
    line([], [], label='target, untuned', color=_DARK, lw=1.6),
    line([], [], label='pretraining task, untuned', color=_PALE, lw=4),
  ]


def make_all(
  dataset: xr.Dataset, folder: str | os.PathLike[str]
) -> list[pathlib.Path]:
  """Writes every figure that the Dataset allows, see `drawing.write_all`."""
  makers = {'dynamics_meaning': meaning_figure.meaning}
  if style.holds(dataset, 'token_path'):
    makers['dynamics_trajectories'] = trajectories
  if style.holds(dataset, 'row_norm'):
    makers['dynamics_prefix_rows'] = meaning_figure.prefix_rows
  return style.write_all(
    {name: functools.partial(make, dataset) for name, make in makers.items()},
    folder,
  )
