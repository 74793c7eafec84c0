"""How near prompts come to a target: exact Bayes, and networks beside it.

Drawn from plain numbers, so that networks of any results can be put in.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from matplotlib import figure as mpl_figure
from matplotlib import lines as mpl_lines
from matplotlib import patches as mpl_patches
from matplotlib import ticker as mpl_ticker
import numpy as np

from bayes_prompting.reporting import style
from bayes_prompting.results import stopped

_OUTSIDE = '#f3e7f0'
_LINES = (style.SOLID, style.DASH, style.DOT, style.DASHDOT)


class Panel(NamedTuple):
  """What prompts lose on one target, above Bayes of the target, in nats.

  Attributes:
    prefix_lengths: [P], K.
    gaps: [P], of the best hard prefix of each length, for exact Bayes.
    family: Of the best posterior of the prior, over all pseudo-counts; None
      where it is not known.
    length: N, the tokens that are summed over.
    networks: {label: {K: [runs]}}; the last word of a label, as of 'LSTM
      SoftPT', is the method whose colour it has.
    left_out: Of networks, how many runs were stopped and are not there; by
      the label, or what says more.
  """

  prefix_lengths: Sequence[int]
  gaps: Sequence[float]
  family: float | None
  length: int
  networks: Mapping[str, Mapping[int, Sequence[float]]] = {}
  left_out: Mapping[str, stopped.LeftOut] = {}


@style.styled
def gap(panels: Mapping[str, Panel]) -> mpl_figure.Figure:
  """Draws the gap to Bayes of the target against the length of the prefix.

  What is under the level of the best pseudo-counts is no posterior of the
  prior: a network there has left the Bayesian family.

  Args:
    panels: By title, each a target.
  """
  figure, axes = style.panels(len(panels), 2.7, 2)
  # The names in the legend are long.
  figure.set_figwidth(2.3 * min(len(panels), 2) + 2.6)
  exact, networks = {}, {}
  for ax, (title, panel) in zip(axes, panels.items(), strict=True):
    exact |= _exact(ax, panel)
    networks |= _networks(ax, panel)
    _scale(ax, panel)
    exact |= _levels(ax, panel)
    ax.set(title=title, xlabel='prefix length\n(tokens, or rows of a network)')
  lengths = sorted({panel.length for panel in panels.values()})
  tokens = ' or '.join(map(str, lengths))
  for ax in axes[::2]:
    ax.set_ylabel(f'loss above Bayes of target\n(nats over {tokens} tokens)')

  style.legend(figure, [*exact.values(), *networks.values()])
  left_out = {
    f'{label}, {title}': left
    for title, panel in panels.items()
    for label, left in panel.left_out.items()
  }
  style.footnote(figure, stopped.footnote(left_out))
  return figure


def _exact(ax, panel):
  """Draws the best hard prefixes of exact Bayes; returns their legend."""
  look = style.looks(['PreBayesPT'])['PreBayesPT'] | {'markersize': 3}
  label = 'exact Bayes, best hard prefix'
  (line,) = ax.plot(panel.prefix_lengths, panel.gaps, label=label, **look)
  if np.isinf(panel.gaps).all():
    ax.text(0.5, 0.5, 'infinite', transform=ax.transAxes, ha='center')
  return {label: line}


def _networks(ax, panel):
  """Draws means, and every run as a dot; returns their legend."""
  handles, seen = {}, []
  for label, by_length in panel.networks.items():
    method = label.split()[-1]
    look = dict(style.looks([method])[method])
    # Torsos with the same method differ in their line.
    count = seen.count(method)
    look['linestyle'] = _LINES[count % len(_LINES)]
    look['mfc'] = 'white' if count % 2 else look['color']
    seen.append(method)
    lengths = sorted(by_length)
    means = [np.mean(by_length[length]) for length in lengths]
    (handles[label],) = ax.plot(lengths, means, label=label, zorder=3, **look)
    for length in lengths:
      runs = by_length[length]
      across = np.full(len(runs), length)
      ax.plot(across, runs, '.', color=look['color'], ms=3, alpha=0.5)
  return handles


def _scale(ax, panel):
  """Scales the axes from nothing, with room below it for its line."""
  every = [*panel.gaps, panel.family or 0.0]
  for by_length in panel.networks.values():
    every += [value for runs in by_length.values() for value in runs]
  top = 1.06 * style.limit(every)
  ax.set_ylim(-0.04 * top, top)
  ax.xaxis.set_major_locator(mpl_ticker.MaxNLocator(6, integer=True))


def _levels(ax, panel):
  """Marks Bayes of the target, and the family; returns their legend."""
  look = style.looks(['TargetBayes'])['TargetBayes'] | {'marker': ''}
  label = 'Bayes of the target'
  ax.axhline(0, zorder=2, **look)  # On the family's, where that is zero.
  handles = {label: mpl_lines.Line2D([], [], label=label, **look)}
  if panel.family is None or not np.isfinite(panel.family):
    return handles
  look = {'color': '#8a4f80', 'linestyle': style.SOLID, 'lw': 1.0}
  label = 'exact Bayes, best pseudo-counts'
  ax.axhline(panel.family, zorder=1, **look)
  handles[label] = mpl_lines.Line2D([], [], label=label, **look)
  low, high = ax.get_ylim()
  if panel.family > 0.02 * (high - low):
    ax.axhspan(0, panel.family, color=_OUTSIDE, lw=0, zorder=0)
    label = 'no posterior of the prior'
    handles[label] = mpl_patches.Patch(color=_OUTSIDE, label=label)
  return handles
