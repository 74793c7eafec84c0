"""Figures of what prompts do inside a network; of the Dataset alone.

Every function takes the Dataset of `dynamics` and returns a new
`matplotlib.figure.Figure`, see `figures`.
"""

import functools
import os
import pathlib

from matplotlib import figure as mpl_figure
from matplotlib import lines as mpl_lines
from matplotlib import patheffects
from matplotlib import ticker as mpl_ticker
import numpy as np
import xarray as xr

from bayes_prompting import drawing
from bayes_prompting import errors

_HALO = [patheffects.withStroke(linewidth=2.4, foreground='white')]
_PALE = '#d9d9d9'
_DARK = '#808080'
# Of more tokens than this each has no line of its own.
_FEW = 4


@drawing.styled
def trajectories(dataset: xr.Dataset) -> mpl_figure.Figure:
  """Draws the network's memory in its plane, and where prompts take it.

  The cloud is drawn twice, by the tokens seen and by the source's bias. Below,
  the path of each method: a thin line through the beginning of sequence (ring)
  and the rows of its prefix (markers), then a thick one, the mean over
  sequences of the target. Beside it, how far all that is from the plane.

  Raises:
    UserError: If no path was taken (no method that keeps the weights).
  """
  if not drawing.holds(dataset, 'token_path'):
    raise errors.UserError('dataset: has no paths, no method keeps the weights')
  figure, axes = drawing.panels(4, 2.9, columns=2)
  figure.set_figwidth(7.2)
  steps = np.broadcast_to(dataset.step.values, dataset.source_probability.shape)
  _cloud(axes[0], dataset, steps, 'viridis', 'tokens seen')
  probability = dataset.source_probability.values
  label = "source's probability of token 0"
  _cloud(axes[1], dataset, probability, 'cividis', label)
  looks = drawing.looks(_held(dataset.token_path))
  _paths(axes[2], dataset, looks)
  _distances(axes[3], dataset, looks)
  for ax in axes[:3]:
    _name_plane(ax, dataset)
  for letter, ax in zip('abcd', axes, strict=True):
    ax.set_title(letter, loc='left', weight='bold')
  lines = [mpl_lines.Line2D([], [], label=m, **x) for m, x in looks.items()]
  start = mpl_lines.Line2D([], [], label='beginning of sequence', **_START)
  cloud = mpl_lines.Line2D([], [], label='untuned, pretraining task', **_CLOUD)
  drawing.legend(figure, [*lines, start, cloud])
  return figure


_START = {'marker': 'o', 'ms': 7, 'mfc': 'none', 'mec': 'black', 'ls': ''}
_CLOUD = {'marker': 'o', 'ms': 4, 'color': _PALE, 'ls': '', 'mew': 0}


def _held(array):
  """Returns the methods of which an array holds anything."""
  ran = array.notnull().any([dim for dim in array.dims if dim != 'method'])
  return array.method.values[ran.values].tolist()


def _cloud(ax, dataset, values, colors, label):
  """Scatters the cloud by a value of each point, in no order."""
  points = dataset.cloud.values.reshape(-1, 2)
  order = np.random.default_rng(0).permutation(len(points))
  found = ax.scatter(
    *points[order].T,
    2.5,
    values.ravel()[order],
    cmap=colors,
    lw=0,
    rasterized=True,
  )
  ax.figure.colorbar(found, ax=ax, label=label, aspect=30)


def _paths(ax, dataset, looks):
  """Draws the path of each method, over the cloud."""
  points = dataset.cloud.values.reshape(-1, 2)
  ax.scatter(*points.T, 2.5, _PALE, lw=0, rasterized=True)
  for order, (method, look) in enumerate(looks.items(), 3):
    one = dataset.sel({'method': method})
    thin = look | {'lw': 0.8, 'linestyle': drawing.SOLID, 'zorder': order + 20}
    if drawing.holds(one, 'prefix_path'):
      ax.plot(*one.prefix_path.values.T, path_effects=_HALO, **thin)
      ax.plot(*one.prefix_path.values[0], zorder=60, **_START)
    path = one.token_path.values
    thick = look | {'lw': 1.6, 'marker': '', 'zorder': order}
    ax.plot(*path.T, path_effects=_HALO, **thick)
    ax.plot(*path[0], ms=5, path_effects=_HALO, **thin)
  _frame(ax, dataset)


def _frame(ax, dataset):
  """Frames the paths, not the whole cloud."""
  found = [
    dataset[name].values.reshape(-1, 2)
    for name in ('prefix_path', 'token_path')
    if name in dataset
  ]
  found = np.concatenate(found)
  low, high = np.nanmin(found, 0), np.nanmax(found, 0)
  margin = 0.08 * (high - low)
  ax.set(
    xlim=(low[0] - margin[0], high[0] + margin[0]),
    ylim=(low[1] - margin[1], high[1] + margin[1]),
  )


def _name_plane(ax, dataset):
  for axis, share in zip('xy', dataset.explained_variance.values, strict=True):
    number = {'x': 1, 'y': 2}[axis]
    ax.set(**{f'{axis}label': f'component {number} ({share:.0%} of variance)'})


def _distances(ax, dataset, looks):
  """Draws distances from the plane; rows of a prefix lie before step 0."""
  step = dataset.step.values
  ax.plot(step, dataset.cloud_distance, color=_PALE, lw=4, zorder=0)
  for method, look in looks.items():
    one = dataset.sel({'method': method})
    ax.plot(step, one.token_distance, **look | {'marker': ''})
    if drawing.holds(one, 'prefix_distance'):
      rows = one.prefix_distance.dropna('prefix_step').values
      before = np.arange(len(rows)) - len(rows) + 1
      ax.plot(before, rows, **look | {'lw': 0.8, 'linestyle': drawing.SOLID})
  ax.axvline(0, color=_DARK, lw=0.7, linestyle=drawing.DOT, zorder=0)
  ax.set(
    xlabel='rows of the prefix | tokens seen', ylabel='distance from plane'
  )
  ax.set_ylim(bottom=0)


@drawing.styled
def meaning(dataset: xr.Dataset) -> mpl_figure.Figure:
  """Draws the Dirichlet that best explains each method, and its misfit.

  Every run is a mark, hollow where the best is a limit, at an end of what was
  searched. The mean is that of token 0; of more than two tokens each has its
  number for a mark.
  """
  looks = drawing.looks(_held(dataset.alpha))
  height = 0.2 * len(looks) + 1.1
  figure, axes = drawing.panels(3, height, sharey=True)
  for row, (method, look) in enumerate(looks.items()):
    alpha, limit, misfit = _runs_of(dataset, method)
    y = row + np.linspace(-0.2, 0.2, len(alpha)) * (len(alpha) > 1)
    _means(axes[0], alpha, y, limit, look['color'])
    _marks(axes[1], alpha.sum(-1), y, limit, look['color'])
    _marks(axes[2], misfit[:, 0], y, limit & False, look['color'])
    axes[2].plot(misfit[:, 1], y, '|', ms=7, mew=1.2, color=look['color'])
    _write(axes[1], row, [_median(alpha.sum(-1))])
    _write(axes[2], row, map(_median, misfit.T))
  axes[0].set_yticks(range(len(looks)), looks)
  axes[0].set_ylim(len(looks) - 0.4, -0.6)
  handles = _mean_lines(axes[0], dataset) + _strength_lines(axes[1], dataset)
  axes[1].set_xscale('log')
  axes[1].set_xlabel('strength $|\\alpha|$')
  axes[2].set_xscale('symlog', linthresh=1e-3, linscale=0.3)
  axes[2].set_xlim(left=0)
  axes[2].set_xlabel(
    f'misfit over {dataset.attrs["tuning_length"]} steps\n'
    '(nats; linear below 0.001)'
  )
  axes[2].xaxis.set_major_locator(
    mpl_ticker.FixedLocator([0, 1e-3, 1e-2, 1e-1, 1, 10, 100])
  )
  gray = {'color': _DARK, 'ls': ''}
  handles += [
    mpl_lines.Line2D([], [], marker='o', ms=4, label='on the target', **gray),
    mpl_lines.Line2D(
      [], [], marker='|', ms=7, mew=1.2, label='on the pretraining task', **gray
    ),
    mpl_lines.Line2D(
      [], [], marker='o', ms=4, mfc='white', label='a limit', **gray
    ),
  ]
  drawing.legend(figure, handles)
  return figure


def _runs_of(dataset, method):
  """Returns alpha [runs, V], at_bound [runs] and misfit [runs, 2]."""
  one = dataset.sel({'method': method})
  alpha = one.alpha.values.reshape(-1, dataset.sizes['token'])
  ran = ~np.isnan(alpha).any(-1)
  limit = one.at_bound.values.ravel() == 1
  return alpha[ran], limit[ran], one.misfit.values.reshape(-1, 2)[ran]


def _marks(ax, x, y, hollow, color, marker='o'):
  for one, height, empty in zip(x, y, hollow, strict=True):
    face = 'white' if empty else color
    ax.plot(one, height, marker, ms=4, mec=color, mfc=face, mew=0.8)


def _means(ax, alpha, y, hollow, color):
  mean = alpha / alpha.sum(-1, keepdims=True)
  if mean.shape[-1] == 2:
    _marks(ax, mean[:, 0], y, hollow, color)
    return
  for token, values in enumerate(mean.T):
    ax.plot(values, y, marker=f'${token}$', ms=5, ls='', color=color, mew=0.3)


def _median(values):
  return f'{np.median(values):.2g}'


def _write(ax, row, numbers):
  """Writes numbers beside a row."""
  text = ' | '.join(numbers)
  ax.text(1.03, row, text, transform=ax.get_yaxis_transform(), va='center')


def _mean_lines(ax, dataset):
  """Marks the means of target and pretraining prior; returns their legend."""
  tokens = 1 if dataset.sizes['token'] == 2 else dataset.sizes['token']
  name = 'token 0' if tokens == 1 else 'each token'
  ax.set(xlabel=f'mean probability\nof {name}', xlim=(0, 1))
  prior = dataset.concentration.values
  found = []
  for values, label, line in (
    (dataset.target_mean.values, 'mean of the target', drawing.DASH),
    (prior / prior.sum(), 'pretraining prior', drawing.DOT),
  ):
    look = {'color': _DARK, 'linestyle': line, 'lw': 0.9}
    if np.isnan(values).any():
      continue
    for value in values[:tokens]:
      ax.axvline(value, zorder=0, **look)
    found.append(mpl_lines.Line2D([], [], label=label, **look))
  return found


def _strength_lines(ax, dataset):
  """Marks the prior's strength, and with K more tokens; returns its legend."""
  strength = dataset.concentration.values.sum()
  if np.isnan(strength):
    return []
  ax.axvline(strength, color=_DARK, linestyle=drawing.DOT, lw=0.9, zorder=0)
  if not drawing.holds(dataset, 'row_norm'):
    return []
  rows = dataset.sizes['row']
  look = {'color': _DARK, 'linestyle': drawing.DASHDOT, 'lw': 0.9}
  ax.axvline(strength + rows, zorder=0, **look)
  label = f'prior and {rows} real tokens'
  return [mpl_lines.Line2D([], [], label=label, **look)]


@drawing.styled
def prefix_rows(dataset: xr.Dataset) -> mpl_figure.Figure:
  """Draws where the rows of prefixes lie among the embeddings of tokens.

  Norms and distances are medians over all runs, with quartiles; the table is of
  the run whose paths are drawn.

  Raises:
    UserError: If no method has a prefix.
  """
  if not drawing.holds(dataset, 'row_norm'):
    raise errors.UserError('dataset: has no prefixes')
  looks = drawing.looks(_held(dataset.row_norm))
  figure, axes = drawing.panels(3, 0.22 * len(looks) + 1.7)
  rows = dataset.row.values
  for ax, name in zip(axes, ('row_norm', 'row_distance'), strict=False):
    for method, look in looks.items():
      runs = dataset[name].sel({'method': method}).values.reshape(-1, len(rows))
      runs = runs[~np.isnan(runs).all(-1)]
      runs = runs[:, ~np.isnan(runs).any(0)]
      quartiles = drawing.quartiles(runs)
      at = rows[: runs.shape[1]]
      drawing.curve(ax, at, quartiles, method, look, every=1)
    ax.set(xlabel='row of the prefix', ylim=(0, None))
    ax.xaxis.set_major_locator(mpl_ticker.MaxNLocator(integer=True))
  axes[0].set_ylabel('norm')
  axes[1].set_ylabel("distance to the nearest token's embedding")
  norms = dataset.token_norm.values.ravel()
  axes[0].axhspan(norms.min(), norms.max(), color=_PALE, lw=0, zorder=0)
  _table(axes[2], dataset, looks)
  handles = axes[0].get_legend_handles_labels()[0]
  tokens = mpl_lines.Line2D(
    [], [], color=_PALE, lw=5, label='tokens, all norms'
  )
  drawing.legend(figure, [*handles, tokens])
  return figure


def _table(ax, dataset, looks):
  """Writes the nearest token of each row, over its cosine similarity."""
  seed, repetition = (
    dataset.attrs[f'path_{name}'] for name in ('seed', 'repetition')
  )
  runs = dataset.sel({'pretrain_seed': seed, 'method': [*looks]})
  # A method of a single repetition has the first.
  chosen, first = (runs.sel(repetition=r) for r in (repetition, 0))
  cosine, token = (
    np.where(np.isnan(chosen[name]), first[name], chosen[name])
    for name in ('row_cosine', 'row_nearest')
  )
  image = ax.imshow(cosine, vmin=-1, vmax=1, cmap='cividis', aspect='auto')
  for (y, x), number in np.ndenumerate(token):
    if np.isfinite(number):
      shade = 'black' if cosine[y, x] > 0 else 'white'
      ax.text(x, y, f'{number:.0f}', color=shade, ha='center', va='center')
  rows = dataset.row.values
  ax.set_xticks(range(len(rows)), rows)
  ax.set_yticks(range(len(looks)), looks)
  ax.set(title='nearest token', xlabel='row of the prefix')
  ax.figure.colorbar(image, ax=ax, label='cosine similarity to it', aspect=20)


def make_all(
  dataset: xr.Dataset, folder: str | os.PathLike[str]
) -> list[pathlib.Path]:
  """Writes every figure that the Dataset allows, see `drawing.write_all`."""
  makers = {'dynamics_meaning': meaning}
  if drawing.holds(dataset, 'token_path'):
    makers['dynamics_trajectories'] = trajectories
  if drawing.holds(dataset, 'row_norm'):
    makers['dynamics_prefix_rows'] = prefix_rows
  return drawing.write_all(
    {name: functools.partial(make, dataset) for name, make in makers.items()},
    folder,
  )
