"""The figure of task diversity: what networks are against the pool's size.

It is drawn from a folder of runs of `configs/diversity.py`, from their results
files alone.
"""

from collections.abc import Sequence
import functools
import os
import pathlib

from matplotlib import figure as mpl_figure
from matplotlib import ticker as mpl_ticker
import numpy as np

from bayes_prompting.reporting import style
from bayes_prompting.studies import common

# Titles and methods of the panels by task; the last one is of the target.
_PANELS = {
  'pool': (
    "coins of the pool:\nloss above the pool's Bayes",
    ('PriorBayes', 'NoTuning'),
  ),
  'random_coins': (
    "new coins:\nloss above the prior's Bayes",
    ('PreBayes', 'NoTuning'),
  ),
}
_PROMPTS = (
  'prompts for one new coin:\nloss above its Bayes',
  ('NoTuning', 'HardPT', 'PreBayesPT', 'SoftPT'),
)


@style.styled
def diversity(runs: Sequence[common.FinishedRun]) -> mpl_figure.Figure:
  """Draws what networks are, and are prompted to, against the pool's size.

  A torso has a row. Its panels are of sequences of the pool, of the prior that
  the pool came from, and of the target. Dots are runs, and lines go through
  their means.
  """
  by_torso = common.by_torso(runs)
  figure, axes = style.panels(3 * len(by_torso), 2.9, 3)
  handles = {}
  for row, (torso, some) in enumerate(by_torso.items()):
    target = some[0].target
    for ax, task in zip(axes[3 * row :], (*_PANELS, target), strict=False):
      title, methods = _PANELS.get(task, _PROMPTS)
      for method in methods:
        handles |= common.line(ax, some, task, method)
      sizes = sorted({run.size for run in some})
      if task == target:
        y = [np.mean([r.nearest for r in some if r.size == n]) for n in sizes]
        label = "the pool's nearest coin, for certain"
        handles |= common.exact_line(ax, sizes, y, label)
      ax.set_title(f'{torso}, {title}')
      ax.set_xlabel('coins in the pool')
      ax.set_ylabel(f'nats over {some[0].steps[task]} tokens')
      _scale(ax, sizes)
  legend = common.tall_legend_below(figure, handles)
  named = {f'{run.torso}-{run.size}': run for run in runs}
  style.footnote(figure, common.left_out(named), legend=legend)
  return figure


def _scale(ax, sizes):
  """Scales both axes by logarithms, with a tick for every other size."""
  ax.set_xscale('log', base=2)
  ax.set_yscale('log')
  ax.set_ylim(bottom=common.LEAST / 1.5)
  shown = sizes if len(sizes) < 7 else sizes[::2]
  ax.set_xticks(shown, shown)
  ax.xaxis.set_minor_locator(mpl_ticker.NullLocator())


def make_all(
  folder: str | os.PathLike[str], into: str | os.PathLike[str]
) -> list[pathlib.Path]:
  """Writes the figure of the study's runs in a folder, as PNG and PDF.

  Returns:
    The paths that were written; none without any run.
  """
  runs = common.finished_runs(folder, 'diversity')
  if not runs:
    return []
  draw = functools.partial(diversity, runs)
  return style.write_all({'diversity': draw}, into)
