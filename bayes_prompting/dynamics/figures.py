"""Figures of what prompts do inside a network, and of what they mean.

Every function takes the Dataset of `study` alone and returns a new
`matplotlib.figure.Figure`.
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

from bayes_prompting import errors
from bayes_prompting.reporting import series
from bayes_prompting.reporting import style

_HALO = [patheffects.withStroke(linewidth=2.2, foreground='white')]
_PALE, _DARK = '#d9d9d9', '#808080'
_START = {'marker': 'o', 'ms': 6.5, 'mfc': 'none', 'mec': 'black', 'ls': ''}


@style.styled
def trajectories(dataset: xr.Dataset) -> mpl_figure.Figure:
  """Draws the network's memory in its plane, and where prompts take it.

  The first two panels show the cloud: coloured by the tokens seen, then by the
  probability that the source gives to token 0. The third shows how far
  everything is from the plane. Then each prompt has a panel. A thin line runs
  from the beginning of the sequence through the rows of the prefix, which have
  numbers. A thick line goes on through tokens of the target, the mean over
  sequences, beside the same path without a prompt.

  Raises:
    UserError: If there is no path, because no method keeps the weights.
  """
  if not series.holds(dataset, 'token_path'):
    raise errors.UserError('dataset: has no paths, no method keeps the weights')
  looks = style.looks(series.held(dataset.token_path))
  untuned = dataset.untuned_path.values
  prompts = [
    method
    for method in looks
    if not np.allclose(dataset.token_path.sel(tuner=method), untuned)
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
  first, second = dataset.explained_variance.values
  for ax in (*axes[:2], *axes[3:]):
    ax.set_xlabel(f'component 1 ({first:.0%})')
    ax.set_ylabel(f'component 2 ({second:.0%})')
  line = mpl_lines.Line2D
  handles = [
    *(line([], [], label=method, **look) for method, look in looks.items()),
    line([], [], label='beginning of sequence', **_START),
    line([], [], label='target, untuned', color=_DARK, lw=1.6),
    line([], [], label='pretraining task, untuned', color=_PALE, lw=4),
  ]
  style.legend(figure, handles)
  style.footnote(figure, dataset.attrs.get('left_out', ''))
  return figure


def _cloud(ax, dataset, values, colors, label):
  """Scatters the cloud by a value of each point, in random order."""
  points = dataset.cloud.values.reshape(-1, 2)
  order = np.random.default_rng(0).permutation(len(points))
  scatter = ax.scatter(
    *points[order].T,
    2,
    values.ravel()[order],
    cmap=colors,
    vmin=0,
    lw=0,
    rasterized=True,
  )
  whole = np.issubdtype(values.dtype, np.integer)
  ticks = mpl_ticker.MaxNLocator(integer=True) if whole else None
  ax.figure.colorbar(scatter, ax=ax, label=label, aspect=30, ticks=ticks)


def _distances(ax, dataset, looks):
  """Draws distances from the plane; rows of a prefix lie before step 0."""
  step = dataset.step.values
  ax.plot(step, dataset.cloud_distance, color=_PALE, lw=4, zorder=0)
  for method, look in looks.items():
    of_method = dataset.sel(tuner=method)
    ax.plot(step, of_method.token_distance, **look | {'marker': ''})
    if series.holds(of_method, 'prefix_distance'):
      rows = of_method.prefix_distance.dropna('prefix_step').values
      before = np.arange(len(rows)) - len(rows) + 1
      thin = {'lw': 0.8, 'linestyle': style.SOLID, 'ms': 2.5}
      ax.plot(before, rows, **look | thin)
  ax.axvline(0, color=_DARK, lw=0.7, linestyle=style.DOT, zorder=0)
  ax.set(title='out of the plane', ylim=(0, None))
  ax.set(xlabel='rows, then tokens', ylabel='distance')


def _path(ax, dataset, method, look):
  """Draws the path of one method over the cloud."""
  points = dataset.cloud.values.reshape(-1, 2)
  ax.scatter(*points.T, 2, _PALE, lw=0, rasterized=True)
  of_method, color = dataset.sel(tuner=method), look['color']
  path = of_method.token_path.values
  thick = {'lw': 1.4, 'path_effects': _HALO}
  ax.plot(*dataset.untuned_path.values.T, color=_DARK, **thick)
  ax.plot(*path.T, color=color, **thick)
  ax.plot(*dataset.untuned_path.values[0], zorder=5, **_START)
  ax.plot(*path[0], ms=5, zorder=6, path_effects=_HALO, **look)
  if series.holds(of_method, 'prefix_path'):
    rows = of_method.prefix_path.dropna('prefix_step').values
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
  # All panels frame the paths of all methods, not the whole cloud.
  names = ('untuned_path', 'prefix_path', 'token_path')
  every = np.concatenate(
    [dataset[x].values.reshape(-1, 2) for x in names if x in dataset]
  )
  low, high = np.nanmin(every, 0), np.nanmax(every, 0)
  margin = 0.08 * (high - low)
  ax.set_xlim(low[0] - margin[0], high[0] + margin[0])
  ax.set_ylim(low[1] - margin[1], high[1] + margin[1])


@style.styled
def meaning(dataset: xr.Dataset) -> mpl_figure.Figure:
  """Draws the Dirichlet that best explains each method, and its misfit.

  Every run is a mark. A hollow mark is a limit: the best fit is at an end of
  what was searched. Of two tokens the mean of token 0 is drawn; of more, each
  token's number marks its mean.
  """
  looks = style.looks(series.held(dataset.alpha))
  height = 0.2 * len(looks) + 1.1
  figure, axes = style.panels(3, height, sharey=True)
  for row, (method, look) in enumerate(looks.items()):
    of_method, color = dataset.sel(tuner=method), look['color']
    alpha = of_method.alpha.values.reshape(-1, dataset.sizes['token'])
    ran = of_method.studied.values.ravel() == 1
    alpha = alpha[ran]
    limit = of_method.unbounded.values.ravel()[ran] == 1
    misfit = of_method.misfit.values.reshape(-1, 2)[ran]
    y = row + np.linspace(-0.2, 0.2, len(alpha)) * (len(alpha) > 1)
    _means(axes[0], alpha, y, limit, color)
    _marks(axes[1], alpha.sum(-1), y, limit, color)
    _marks(axes[2], misfit[:, 0], y, limit & False, color)
    axes[2].plot(misfit[:, 1], y, '|', ms=7, mew=1.2, color=color)
    strength = np.median(np.where(limit, np.inf, alpha.sum(-1)))
    _write(axes[1], row, _short(strength, 1))
    _write(axes[2], row, ' | '.join(_short(np.median(m), 3) for m in misfit.T))
  axes[0].set_yticks(range(len(looks)), looks)
  axes[0].set_ylim(len(looks) - 0.4, -0.6)
  _write(axes[1], -0.9, 'median')
  _write(axes[2], -0.9, 'medians')
  handles = _mean_lines(axes[0], dataset) + _strength_lines(axes[1], dataset)
  _scale_strength(axes[1])
  _scale_misfit(axes[2], dataset)
  gray = {'color': _DARK, 'ls': ''}
  handles += [
    mpl_lines.Line2D([], [], marker='o', ms=4, label='on the target', **gray),
    mpl_lines.Line2D(
      [], [], marker='|', ms=7, mew=1.2, label='on the pretraining task', **gray
    ),
  ]
  if (dataset.unbounded == 1).any():
    hollow = {'marker': 'o', 'ms': 4, 'mfc': 'white'}
    handles.append(mpl_lines.Line2D([], [], label='a limit', **hollow, **gray))
  style.legend(figure, handles)
  style.footnote(figure, dataset.attrs.get('left_out', ''))
  return figure


def _scale_strength(ax):
  ax.set_xscale('log')
  low, high = ax.get_xlim()
  ax.set_xlim(low / 1.3, high * 1.3)
  if high / low < 30:  # Powers of ten alone would leave one tick, or none.
    ax.xaxis.set_major_locator(mpl_ticker.LogLocator(subs=(1, 2, 5)))
    ax.xaxis.set_major_formatter(mpl_ticker.StrMethodFormatter('{x:g}'))
  ax.xaxis.set_minor_locator(mpl_ticker.NullLocator())
  ax.set_xlabel('strength |α|')


def _scale_misfit(ax, dataset):
  """Scales the axis of misfits, from zero to the largest there is."""
  top = max(float(dataset.misfit.max()), 0.01)
  ax.set_xscale('symlog', linthresh=1e-3, linscale=0.6)
  ax.set_xlim(0, 2 * top)
  ticks = [0, *10.0 ** np.arange(-2, np.log10(2 * top), 2)]
  ax.set_xticks(ticks, [f'{tick:g}' for tick in ticks])
  ax.xaxis.set_minor_locator(mpl_ticker.NullLocator())
  ax.set_xlabel(
    f'misfit over {dataset.attrs["tuning_length"]} steps\n'
    '(nats; linear below 0.001)'
  )


def _marks(ax, x, y, hollow, color):
  """Draws a mark for every run, hollow for some."""
  for run_x, run_y, is_hollow in zip(x, y, hollow, strict=True):
    face = 'white' if is_hollow else color
    look = {'ms': 4, 'mec': color, 'mfc': face, 'mew': 0.8}
    ax.plot(run_x, run_y, 'o', clip_on=False, **look)


def _means(ax, alpha, y, hollow, color):
  mean = alpha / alpha.sum(-1, keepdims=True)
  if mean.shape[-1] == 2:
    _marks(ax, mean[:, 0], y, hollow, color)
    return
  for token, values in enumerate(mean.T):
    marker = style.glyph(f'{token}')
    ax.plot(values, y, marker=marker, ms=5, ls='', color=color, mew=0.3)


def _short(value, decimals):
  """Writes a number of at least zero, with so many decimals at most."""
  if np.isinf(value):
    return style.INFINITY
  digits = decimals if value < 10 else 1 if value < 100 else 0
  return f'{value:.{digits}f}'


def _write(ax, row, text):
  """Writes numbers beside a row."""
  ax.text(1.03, row, text, transform=ax.get_yaxis_transform(), va='center')


def _mean_lines(ax, dataset):
  """Marks the means of target and pretraining prior; returns their legend."""
  tokens = 1 if dataset.sizes['token'] == 2 else dataset.sizes['token']
  name = 'token 0' if tokens == 1 else 'each token'
  ax.set(xlabel=f'mean probability\nof {name}', xlim=(0, 1))
  prior = dataset.concentration.values
  handles = []
  for values, label, line in (
    (dataset.target_mean.values, 'mean of the target', style.DASH),
    (prior / prior.sum(), 'pretraining prior', style.DOT),
  ):
    look = {'color': _DARK, 'linestyle': line, 'lw': 0.9}
    if np.isnan(values).any():
      continue
    for value in values[:tokens]:
      ax.axvline(value, zorder=0, **look)
    handles.append(mpl_lines.Line2D([], [], label=label, **look))
  return handles


def _strength_lines(ax, dataset):
  """Marks the prior's strength, and with K more tokens; returns its legend."""
  strength = dataset.concentration.values.sum()
  if np.isnan(strength):
    return []
  ax.axvline(strength, color=_DARK, linestyle=style.DOT, lw=0.9, zorder=0)
  if not series.holds(dataset, 'row_norm'):
    return []
  rows = dataset.sizes['row']
  look = {'color': _DARK, 'linestyle': style.DASHDOT, 'lw': 0.9}
  ax.axvline(strength + rows, zorder=0, **look)
  label = f'prior and {rows} real tokens'
  return [mpl_lines.Line2D([], [], label=label, **look)]


@style.styled
def prefix_rows(dataset: xr.Dataset) -> mpl_figure.Figure:
  """Draws where the rows of prefixes lie among the embeddings of tokens.

  Norms and distances are medians over all runs, with quartiles. The table is of
  the run whose paths are drawn.

  Raises:
    UserError: If no method has a prefix.
  """
  if not series.holds(dataset, 'row_norm'):
    raise errors.UserError('dataset: has no prefixes')
  looks = style.looks(series.held(dataset.row_norm))
  figure, axes = style.panels(3, 0.22 * len(looks) + 1.7)
  rows = dataset.row.values
  for ax, name in zip(axes, ('row_norm', 'row_distance'), strict=False):
    for method, look in looks.items():
      runs = dataset[name].sel(tuner=method).values.reshape(-1, len(rows))
      runs = runs[dataset.studied.sel(tuner=method).values.ravel() == 1]
      runs = runs[:, ~np.isnan(runs).any(0)]
      quartiles = series.quartiles(runs)
      length = runs.shape[1]
      style.curve(ax, rows[:length], quartiles, method, look, every=1)
    ax.set(xlabel='row of the prefix', ylim=(0, None))
    ax.xaxis.set_major_locator(mpl_ticker.MaxNLocator(integer=True))
  axes[0].set_ylabel('norm')
  axes[1].set_ylabel('distance to\nthe nearest token')
  norms = dataset.token_norm.values.ravel()
  axes[0].axhspan(norms.min(), norms.max(), color=_PALE, lw=0, zorder=0)
  _nearest_tokens(axes[2], dataset, looks)
  handles = style.handles(axes[0])
  tokens = mpl_lines.Line2D([], [], color=_PALE, lw=5, label='norms of tokens')
  style.legend(figure, [*handles, tokens])
  style.footnote(figure, dataset.attrs.get('left_out', ''))
  return figure


def _nearest_tokens(ax, dataset, looks):
  """Writes the nearest token of each row, coloured by cosine similarity."""
  seed, repetition = (
    dataset.attrs[f'path_{name}'] for name in ('seed', 'repetition')
  )
  runs = dataset.sel(pretrain_seed=seed, repetition=repetition, tuner=[*looks])
  cosine, token = runs.row_cosine.values, runs.row_nearest.values
  image = ax.imshow(cosine, vmin=-1, vmax=1, cmap='cividis', aspect='auto')
  for (y, x), number in np.ndenumerate(token):
    if np.isfinite(number):
      shade = 'black' if cosine[y, x] > -0.3 else 'white'
      ax.text(x, y, f'{number:.0f}', color=shade, ha='center', va='center')
  rows = dataset.row.values
  ax.set_xticks(range(len(rows)), rows)
  ax.set_yticks(range(len(looks)), looks)
  ax.set(title='nearest token', xlabel='row of the prefix')
  ax.figure.colorbar(image, ax=ax, label='cosine similarity to it', aspect=20)


def make_all(
  dataset: xr.Dataset, folder: str | os.PathLike[str]
) -> list[pathlib.Path]:
  """Writes every figure that the Dataset allows, see `style.write_all`."""
  makers = {'dynamics_meaning': meaning}
  if series.holds(dataset, 'token_path'):
    makers['dynamics_trajectories'] = trajectories
  if series.holds(dataset, 'row_norm'):
    makers['dynamics_prefix_rows'] = prefix_rows
  return style.write_all(
    {name: functools.partial(make, dataset) for name, make in makers.items()},
    folder,
  )
