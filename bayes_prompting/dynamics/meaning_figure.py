"""Figures of what prompts mean: posteriors, and the rows of prefixes.

Every function takes the Dataset of `dynamics` and returns a new
`matplotlib.figure.Figure`, see `figures`.
"""

from matplotlib import figure as mpl_figure
from matplotlib import lines as mpl_lines
from matplotlib import ticker as mpl_ticker
import numpy as np
import xarray as xr

from bayes_prompting import errors
from bayes_prompting.reporting import style

_PALE, _DARK = '#d9d9d9', '#808080'


@style.styled
def meaning(dataset: xr.Dataset) -> mpl_figure.Figure:
  """Draws the Dirichlet that best explains each method, and its misfit.

  Every run is a mark, hollow where the best is a limit, at an end of what was
  searched. The mean is that of token 0; of more than two tokens each has its
  number for a mark.
  """
  looks = style.looks(style.held(dataset.alpha))
  height = 0.2 * len(looks) + 1.1
  figure, axes = style.panels(3, height, sharey=True)
  for row, (method, look) in enumerate(looks.items()):
    alpha, limit, misfit = _runs_of(dataset, method)
    y = row + np.linspace(-0.2, 0.2, len(alpha)) * (len(alpha) > 1)
    _means(axes[0], alpha, y, limit, look['color'])
    _marks(axes[1], alpha.sum(-1), y, limit, look['color'])
    _marks(axes[2], misfit[:, 0], y, limit & False, look['color'])
    axes[2].plot(misfit[:, 1], y, '|', ms=7, mew=1.2, color=look['color'])
    strength = np.median(np.where(limit, np.inf, alpha.sum(-1)))
    _write(axes[1], row, _short(strength, 1))
    _write(axes[2], row, ' | '.join(_short(np.median(m), 3) for m in misfit.T))
  axes[0].set_yticks(range(len(looks)), looks)
  axes[0].set_ylim(len(looks) - 0.4, -0.6)
  _write(axes[1], -0.9, 'median')
  _write(axes[2], -0.9, 'medians')
  handles = _mean_lines(axes[0], dataset) + _strength_lines(axes[1], dataset)
  axes[1].set_xscale('log')
  low, high = axes[1].get_xlim()
  axes[1].set_xlim(low / 1.3, high * 1.3)
  if high / low < 30:  # Powers of ten alone would leave one tick, or none.
    axes[1].xaxis.set_major_locator(mpl_ticker.LogLocator(subs=(1, 2, 5)))
    axes[1].xaxis.set_major_formatter(mpl_ticker.StrMethodFormatter('{x:g}'))
  axes[1].xaxis.set_minor_locator(mpl_ticker.NullLocator())
  axes[1].set_xlabel('strength $|\\alpha|$')
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


def _runs_of(dataset, method):
  """Returns alpha [runs, V], unbounded [runs] and misfit [runs, 2]."""
  one = dataset.sel({'method': method})
  alpha = one.alpha.values.reshape(-1, dataset.sizes['token'])
  ran = ~np.isnan(alpha).any(-1)
  limit = one.unbounded.values.ravel() == 1
  return alpha[ran], limit[ran], one.misfit.values.reshape(-1, 2)[ran]


def _marks(ax, x, y, hollow, color, marker='o'):
  for one, height, empty in zip(x, y, hollow, strict=True):
    face = 'white' if empty else color
    ax.plot(
      one, height, marker, ms=4, mec=color, mfc=face, mew=0.8, clip_on=False
    )


def _means(ax, alpha, y, hollow, color):
  mean = alpha / alpha.sum(-1, keepdims=True)
  if mean.shape[-1] == 2:
    _marks(ax, mean[:, 0], y, hollow, color)
    return
  for token, values in enumerate(mean.T):
    ax.plot(values, y, marker=f'${token}$', ms=5, ls='', color=color, mew=0.3)


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
  found = []
  for values, label, line in (
    (dataset.target_mean.values, 'mean of the target', style.DASH),
    (prior / prior.sum(), 'pretraining prior', style.DOT),
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
  ax.axvline(strength, color=_DARK, linestyle=style.DOT, lw=0.9, zorder=0)
  if not style.holds(dataset, 'row_norm'):
    return []
  rows = dataset.sizes['row']
  look = {'color': _DARK, 'linestyle': style.DASHDOT, 'lw': 0.9}
  ax.axvline(strength + rows, zorder=0, **look)
  label = f'prior and {rows} real tokens'
  return [mpl_lines.Line2D([], [], label=label, **look)]


@style.styled
def prefix_rows(dataset: xr.Dataset) -> mpl_figure.Figure:
  """Draws where the rows of prefixes lie among the embeddings of tokens.

  Norms and distances are medians over all runs, with quartiles; the table is of
  the run whose paths are drawn.

  Raises:
    UserError: If no method has a prefix.
  """
  if not style.holds(dataset, 'row_norm'):
    raise errors.UserError('dataset: has no prefixes')
  looks = style.looks(style.held(dataset.row_norm))
  figure, axes = style.panels(3, 0.22 * len(looks) + 1.7)
  rows = dataset.row.values
  for ax, name in zip(axes, ('row_norm', 'row_distance'), strict=False):
    for method, look in looks.items():
      runs = dataset[name].sel({'method': method}).values.reshape(-1, len(rows))
      runs = runs[~np.isnan(runs).all(-1)]
      runs = runs[:, ~np.isnan(runs).any(0)]
      quartiles = style.quartiles(runs)
      at = rows[: runs.shape[1]]
      style.curve(ax, at, quartiles, method, look, every=1)
    ax.set(xlabel='row of the prefix', ylim=(0, None))
    ax.xaxis.set_major_locator(mpl_ticker.MaxNLocator(integer=True))
  axes[0].set_ylabel('norm')
  axes[1].set_ylabel('distance to the nearest token')
  norms = dataset.token_norm.values.ravel()
  axes[0].axhspan(norms.min(), norms.max(), color=_PALE, lw=0, zorder=0)
  _table(axes[2], dataset, looks)
  handles = axes[0].get_legend_handles_labels()[0]
  tokens = mpl_lines.Line2D([], [], color=_PALE, lw=5, label='norms of tokens')
  style.legend(figure, [*handles, tokens])
  style.footnote(figure, dataset.attrs.get('left_out', ''))
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
      shade = 'black' if cosine[y, x] > -0.3 else 'white'
      ax.text(x, y, f'{number:.0f}', color=shade, ha='center', va='center')
  rows = dataset.row.values
  ax.set_xticks(range(len(rows)), rows)
  ax.set_yticks(range(len(looks)), looks)
  ax.set(title='nearest token', xlabel='row of the prefix')
  ax.figure.colorbar(image, ax=ax, label='cosine similarity to it', aspect=20)
