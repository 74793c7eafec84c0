"""The figure of a search: how all hard prefixes rank, and which are best."""

import matplotlib
from matplotlib import cm as mpl_cm
from matplotlib import colors as mpl_colors
from matplotlib import figure as mpl_figure
from matplotlib import ticker as mpl_ticker
import numpy as np
import xarray as xr

from bayes_prompting import errors
from bayes_prompting.reporting import style
from bayes_prompting.results import selection
from bayes_prompting.results import stopped

_EXCESS = 'loss above the best prefix\n(nats per sequence)'


@style.styled
def hard_prefix_ranking(dataset: xr.Dataset) -> mpl_figure.Figure:
  """Draws the loss of every hard prefix by rank, and the best of them by name.

  A prefix is coloured by how often it has the token that is the most frequent
  in the best prefix of all.

  Raises:
    UserError: If the Dataset has no candidates (nothing was searched).
  """
  if not style.holds(dataset, 'candidate_loss'):
    raise errors.UserError('dataset: has no candidates, nothing was searched')
  dataset = selection.choose(dataset)
  counted = stopped.counted(dataset).any('eval_task')
  loss = dataset.candidate_loss.where(counted)  # A search has no grid.
  if not loss.notnull().any():
    raise errors.UserError(
      'dataset: has no candidates of a network that counts, all were stopped'
    )
  ranked = {method: _rank(loss, method) for method in style.by_method(loss)}
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
  left = stopped.left_out(dataset)
  style.footnote(
    figure, stopped.footnote({m: left[m] for m in ranked if m in left})
  )
  return figure


def _rank(loss, method):
  """Returns labels [M] and quartiles [3, M] of excess loss, the best first."""
  # The candidates of another method are not infinite, but absent.
  loss = loss.sel({'method': [method]}).dropna('candidate', how='all')
  runs = style.by_method(loss)[method]
  best = runs.min(-1, keepdims=True)
  quartiles = style.quartiles(runs - np.where(np.isinf(best), 0.0, best))
  order = np.argsort(quartiles[1], kind='stable')
  return loss.candidate.values[order].tolist(), quartiles[:, order]


def _tokens(labels):
  """Splits labels of candidates, '0110' or '0-11-10', into their tokens."""
  # Labels of one token each may have more digits, but then not all as many.
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
