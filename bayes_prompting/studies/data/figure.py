"""The figure of the data study: regret against how much data a tuner saw.

It is drawn from a folder of runs of `configs/data.py`, from their results files
alone.
"""

from collections.abc import Sequence
import functools
import os
import pathlib

from matplotlib import figure as mpl_figure
from matplotlib import ticker as mpl_ticker
import numpy as np

from bayes_prompting import settings
from bayes_prompting.reporting import style
from bayes_prompting.studies import common


def sample_bound(size: float) -> float:
  """Returns what exact Bayes loses on a coin after a sample of that coin.

  With n sequences of N tosses in its context it loses log((n + 1) / n) / 2 nats
  on the next N. One parameter has the redundancy log(tosses) / 2 (Rissanen,
  1986) if there are many tosses; this is the redundancy of n + 1 sequences less
  that of n.
  """
  return 0.5 * np.log1p(1 / size)


@style.styled
def data(runs: Sequence[common.FinishedRun]) -> mpl_figure.Figure:
  """Draws what tuners lose on fresh sequences against how many they saw.

  A torso has a panel. Dots are repetitions, each with a sample of its own.
  """
  by_torso = common.by_torso(runs)
  figure, axes = style.panels(len(by_torso), 3.4, 2, sharey=True)
  figure.set_figwidth(4.2 * len(axes) + 0.4)
  handles = {}
  for ax, (torso, some) in zip(axes, by_torso.items(), strict=True):
    handles |= _panel(ax, some)
    ax.set_title(torso)
  step = runs[0].steps[runs[0].target]
  loss = 'loss above Bayes of the target'
  axes[0].set_ylabel(f'{loss}\n(nats over {step} tokens)')
  legend = common.tall_legend_below(figure, handles)
  named = {f'{run.torso}-{run.size}': run for run in runs}
  style.footnote(figure, common.left_out(named), legend=legend)
  return figure


def _panel(ax, runs):
  """Draws the runs of one torso; returns {label: handle}."""
  task, step = runs[0].target, runs[0].steps[runs[0].target]
  sizes = sorted({run.size for run in runs if run.size})
  fresh = 8 * sizes[-1] if sizes else 1
  methods = {method for run in runs for method in run.losses[task]}
  handles = {}
  for method in style.looks(sorted(methods - {*settings.REFERENCES})):
    handles |= common.line(ax, runs, task, method, fresh)
  if sizes:
    x = np.geomspace(sizes[0], sizes[-1], 100)
    x = x[sample_bound(x) >= common.LEAST]
    label = 'exact Bayes after them'
    handles |= common.exact_line(ax, x, sample_bound(x), label)
  ax.set(xscale='log', yscale='log')
  ticks = {size: f'{size}' for size in sizes}
  if any(run.size == 0 for run in runs):
    ticks[fresh] = 'fresh'
    ax.axvline(fresh / 8**0.5, color='#cccccc', lw=0.7, zorder=0)
  ax.set_xticks([*ticks], [*ticks.values()], rotation=45, ha='right')
  ax.xaxis.set_minor_locator(mpl_ticker.NullLocator())
  ax.set_ylim(bottom=common.LEAST / 1.5)
  ax.set_xlabel(f'sequences of the target, {step} tokens each')
  return handles


def make_all(
  folder: str | os.PathLike[str], into: str | os.PathLike[str]
) -> list[pathlib.Path]:
  """Writes the figure of the study's runs in a folder, as PNG and PDF.

  Returns:
    The paths that were written; none without any run.
  """
  runs = common.finished_runs(folder, 'data')
  if not runs:
    return []
  draw = functools.partial(data, runs)
  return style.write_all({'data': draw}, into)
