"""Figures of `rankings`: which hard prefixes are best, and what they are like.

Runs are named `WORLD-NETWORK`, as `coins-lstm`. Methods have the colours that
they have in all figures.
"""

from collections.abc import Mapping
import functools
import os
import pathlib

import matplotlib
from matplotlib import colors as mpl_colors
from matplotlib import figure as mpl_figure
from matplotlib import lines as mpl_lines
import numpy as np

from bayes_prompting.reporting import style
from bayes_prompting.results import runs as run_folders
from bayes_prompting.studies import common
from bayes_prompting.studies.prompts import rankings

_WORLDS = {
  'coins': 'coins → 0.8',
  'markov': 'chains → a chain',
  'switching': 'switching → 0.65',
  'faster': 'switching → faster',
}
_MARKERS = 'os^Dv<>'  # One for each network.
_DRAWN = '#cc79a7'  # Demonstrations.
_SHOWN = 6  # Prefixes of each kind.
_NONE = {'marker': 'X', 'ms': 4.5}
_TOKENS = ('#f2efe6', '#3b4a6b', '#cc79a7', '#009e73')

Runs = Mapping[str, rankings.Rankings]


@style.styled
def ranks(runs: Runs) -> mpl_figure.Figure:
  """Draws what every prefix loses under networks against exact Bayes.

  A run has a panel, and each of its networks a marker. Above a panel stands
  Spearman's correlation with exact Bayes, its mean and range over networks, and
  the most that the ties of exact Bayes allow.
  """
  worlds = common.by_case(runs, _WORLDS)
  torsos = [t for t in common.TITLES if any(t in x for x in worlds.values())]
  figure, axes = style.panels(
    len(torsos) * len(worlds), 2.15, columns=len(worlds)
  )
  every = np.concatenate([run.shares for run in runs.values()])
  norm = mpl_colors.LogNorm(every[every > 0].min(), every.max())
  colors = matplotlib.colormaps['viridis'].reversed()
  places = [(torso, world) for torso in torsos for world in worlds]
  for ax, (torso, world) in zip(axes, places, strict=True):
    title = f'{_WORLDS[world]}, {common.TITLES[torso]}'
    if torso not in worlds[world]:
      ax.set_title(title)
      ax.text(0.5, 0.5, 'not run', transform=ax.transAxes, ha='center')
      ax.axis('off')
      continue
    run = worlds[world][torso]
    values = run.bayes.mean
    for network, marker in zip(run.networks, _MARKERS, strict=False):
      look = {'marker': marker, 'lw': 0, 'alpha': 0.8}
      shades = colors(norm(np.maximum(run.shares, norm.vmin)))
      ax.scatter(values, network.mean, 9, shades, **look)
    ax.axline((values.min(),) * 2, slope=1, color='black', lw=0.7, zorder=0)
    ax.set_title(f'{title}\n{_correlation(run)}')
  for ax in axes[-len(worlds) :]:
    ax.set_xlabel('regret, exact Bayes\n(nats)')
  for ax in axes[:: len(worlds)]:
    ax.set_ylabel('regret, network (nats)')
  figure.colorbar(
    matplotlib.cm.ScalarMappable(norm, colors),
    ax=axes,
    label='probability of the prefix under the target',
    aspect=30,
  )
  style.footnote(figure, common.left_out(runs))
  return figure


def _correlation(run):
  table = rankings.agreement(run)
  values = table[table.kind == 'bayes'].spearman
  most = rankings.ceiling(run.bayes.mean)
  return (
    f'ρ = {values.mean():.2f} ({values.min():.2f} to '
    f'{values.max():.2f})\nties allow at most {most:.2f}'
  )


@style.styled
def demonstrations(runs: Runs) -> mpl_figure.Figure:
  """Draws what prefixes lose: the best, those drawn from the target, and none.

  A world has a panel, with a row for exact Bayes and one for each network. All
  prefixes are ticks; the worst are beyond the axis. The mean of demonstrations
  is over all prefixes, weighted by their probability under the target.
  """
  worlds = common.by_case(runs, _WORLDS)
  rows = 1 + max(
    sum(len(run.networks) for run in by_torso.values())
    for by_torso in worlds.values()
  )
  figure, axes = style.panels(
    len(worlds), 0.19 * rows + 0.9, len(worlds) if len(worlds) < 4 else 2
  )
  for ax, (world, by_torso) in zip(axes, worlds.items(), strict=True):
    first = next(iter(by_torso.values()))
    scores = {'exact Bayes': (first.bayes, rankings.BAYES)}
    for torso, run in by_torso.items():
      for number, network in enumerate(run.networks, 1):
        label = f'{common.TITLES[torso]} {number}'
        scores[label] = network, rankings.NETWORK
    for row, (score, methods) in enumerate(scores.values()):
      _row(ax, row, score, first.shares, methods)
    ax.set(title=_WORLDS[world], yticks=range(len(scores)))
    ax.set_yticklabels(scores)
    ax.set_ylim(len(scores) - 0.5, -0.5)
    ax.set_xlim(*_limits(scores, first.shares))
    ax.set_xlabel(
      f'regret above Bayes\nof the target by step {first.steps} (nats)'
    )
  legend = common.legend_below(figure, _demonstrations_legend(), 1.7)
  style.footnote(figure, common.left_out(runs), legend=legend)
  return figure


def _limits(scores, shares):
  """Returns an axis with room for all that is compared."""
  values = []
  for score, _ in scores.values():
    shown = rankings.demonstrations(score.mean, shares, score.none)
    values += [shown.best, shown.expected, shown.none]
  low, high = min(values), max(value for value in values if value < np.inf)
  return low - 0.1 * (high - low), high + 0.5 * (high - low)


def _row(ax, row, score, shares, methods):
  """Draws one predictor: all prefixes, the best, drawn ones and none."""
  shown = rankings.demonstrations(score.mean, shares, score.none)
  finite = score.mean[np.isfinite(score.mean)]
  height = np.full(len(finite), row)
  ax.plot(finite, height, '|', color='#bbbbbb', ms=5, mew=0.6, zorder=1)
  looks = style.looks(methods)
  for value, look in (
    (shown.best, looks[methods[0]]),
    (shown.none, looks[methods[1]] | _NONE),
    (shown.expected, {'color': _DRAWN, 'marker': 'd', 'ms': 5}),
  ):
    ax.plot(value, row, **look | {'linestyle': '', 'zorder': 3})


def _demonstrations_legend():
  looks = style.looks([*rankings.BAYES, *rankings.NETWORK])
  entries = {
    'best, exact Bayes': looks['PreBayesPT'],
    'best, network': looks['HardPT'],
    'mean of demonstrations': {'color': _DRAWN, 'marker': 'd', 'ms': 5},
    'no prefix': looks['NoTuning'] | _NONE,
    'every prefix': {'color': '#bbbbbb', 'marker': '|', 'ms': 5},
  }
  return [
    mpl_lines.Line2D([], [], label=label, **look | {'linestyle': ''})
    for label, look in entries.items()
  ]


@style.styled
def tokens(runs: Runs) -> mpl_figure.Figure:
  """Draws prefixes token by token: the best, and what the target shows.

  A world has a column. Beside a prefix stands what it loses under exact Bayes
  above the best, in nats. The drawn prefixes are a systematic sample: they are
  evenly spaced in the target's distribution over prefixes.
  """
  worlds = common.by_case(runs, _WORLDS)
  figure, axes = style.panels(len(worlds), 3.6, len(worlds))
  blocks = {world: _blocks(by_torso) for world, by_torso in worlds.items()}
  tops, top = {}, 0
  for label in next(iter(blocks.values())):
    tops[label] = top
    top += 1 + max(len(of_world[label]) for of_world in blocks.values())
  for ax, (world, by_torso) in zip(axes, worlds.items(), strict=True):
    _grid(ax, next(iter(by_torso.values())), blocks[world], tops)
    ax.set(title=_WORLDS[world], ylim=(top - 1, -0.3))
  for label, above in tops.items():
    look = {'rotation': 90, 'ha': 'right', 'va': 'top'}
    axes[0].text(-0.6, above, label, **look)
  handles = [
    mpl_lines.Line2D(
      *([], []), marker='s', ms=6, mec='#444444', linestyle='', **look
    )
    for look in (
      {'mfc': _TOKENS[0], 'label': 'token 0'},
      {'mfc': _TOKENS[1], 'label': 'token 1'},
    )
  ]
  label = 'number: loss above the best under exact Bayes (nats)'
  handles.append(mpl_lines.Line2D([], [], linestyle='', label=label))
  legend = common.legend_below(figure, handles, 2.2)
  style.footnote(figure, common.left_out(runs), legend=legend)
  return figure


def _blocks(by_torso):
  """Returns {label: indices of prefixes} of one world."""
  first = next(iter(by_torso.values()))
  levels = rankings.levels(first.bayes.mean)
  by_loss = np.lexsort((np.arange(len(first.shares)), levels))
  of_networks = [
    int(network.mean.argmin())
    for run in by_torso.values()
    for network in run.networks
  ]
  middles = (np.arange(_SHOWN) + 0.5) / _SHOWN * first.shares.sum()
  drawn = np.searchsorted(np.cumsum(first.shares), middles)
  return {
    'best, exact Bayes': by_loss[:_SHOWN].tolist(),
    'best, networks': of_networks,
    'drawn from target': drawn.tolist(),
  }


def _grid(ax, run, blocks, tops):
  """Draws blocks of prefixes from their tops down, with what each loses."""
  loss = run.bayes.mean - run.bayes.mean.min()
  length = run.prefixes.shape[1]
  for label, indices in blocks.items():
    for height, index in enumerate(indices, tops[label]):
      for place, token in enumerate(run.prefixes[index]):
        shade = _TOKENS[token % len(_TOKENS)]
        cell = matplotlib.patches.Rectangle(
          (place, height), 0.92, 0.86, fc=shade, ec='#444444', lw=0.4
        )
        ax.add_patch(cell)
      text = f'{loss[index]:.2f}'
      ax.text(length + 0.3, height + 0.45, text, va='center')
  ax.set_xlim(-0.2, length + 2.2)
  ax.axis('off')


def make_all(
  folder: str | os.PathLike[str], into: str | os.PathLike[str]
) -> list[pathlib.Path]:
  """Writes the figures of the runs `prompts-WORLD-NETWORK` in a folder.

  Returns:
    The paths that were written; none without any run.
  """
  datasets = run_folders.load_kind(folder, 'prompts', _WORLDS, common.TITLES)
  runs = {name: rankings.read(dataset) for name, dataset in datasets.items()}
  if not runs:
    return []
  makers = {'ranks': ranks, 'demonstrations': demonstrations, 'tokens': tokens}
  return style.write_all(
    {f'prompts_{n}': functools.partial(m, runs) for n, m in makers.items()},
    into,
  )
