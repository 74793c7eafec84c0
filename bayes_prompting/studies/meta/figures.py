"""Learned starts and made tasks, in two pictures."""

from collections.abc import Iterable
import functools
import os
import re

from matplotlib import figure as mpl_figure
import numpy as np
import pandas as pd

from bayes_prompting.claims import intervals
from bayes_prompting.reporting import style
from bayes_prompting.results import evidence
from bayes_prompting.studies import common
from bayes_prompting.studies.frontier import claims as frontier_claims
from bayes_prompting.studies.frontier import figures as frontier_figures
from bayes_prompting.studies.meta import claims as study_claims

BASE = 'NoTuning'  # What is forgotten is what is lost beyond it.
_TARGETS = {'near': 'a typical coin', 'far': 'a rare coin'}
_LOOKS = {
  'SoftPT': ('#16206e', style.SOLID, 'o'),
  'NearPT': ('#4a9fe0', style.DASH, '>'),
  'MetaPlainPT': ('#ee8a00', style.DASH, 'D'),
  'MetaPT': ('#a33515', style.SOLID, 's'),
}
_NAME = re.compile(r'(\w+)-(\w+)-(near|far)(?:-n(\d+))?')
_MADE = re.compile(r'(\w+)-(\w+)-pseudo(\d+)')
_WIDTH, _NARROW = 5.0, 6.0  # Inches: at least, and of two columns of legend.


def draw(table: pd.DataFrame, folder: str | os.PathLike[str]) -> None:
  """Draws what the rows of evidence allow.

  Args:
    table: Evidence of one version of everything, see `evidence.current`.
    folder: Where the figures go.
  """
  exact = evidence.at(table, reference='bayes', estimator='exact')
  makers = {}
  named = exact.experiment.str.fullmatch
  if named(_NAME.pattern).any():
    makers['starts'] = functools.partial(starts, exact)
  if named(_MADE.pattern).any():
    makers['made'] = functools.partial(made, exact)
  if makers:
    style.write_all(makers, folder)


def _values(rows, tuner, experiment, task, step) -> pd.Series:
  """Returns a mean for each network, by its seed."""
  chosen = evidence.at(
    rows, tuner=tuner, experiment=experiment, task=task, step=step
  )
  return chosen.set_index('pretrain_seed')['mean'].astype(np.float64)


def _legend(figure, ax):
  handles = style.handles(ax)
  return figure.legend(
    handles=handles,
    loc='outside lower center',
    ncols=2 if figure.get_figwidth() < _NARROW else len(handles),
  )


def _matches(rows, pattern) -> Iterable[re.Match]:
  names = dict.fromkeys(rows.experiment)
  return [x for x in map(pattern.fullmatch, names) if x]


@style.styled
def starts(rows: pd.DataFrame) -> mpl_figure.Figure:
  """Draws regret on the target, and what is forgotten, against tuning data."""
  names = _matches(rows, _NAME)
  cells = sorted(
    {(x[1], x[3]) for x in names}, key=lambda x: (x[0], x[1] != 'near')
  )
  looks = {
    name: dict(zip(('color', 'linestyle', 'marker'), look, strict=True))
    for name, look in _LOOKS.items()
  }
  figure = style.Figure(
    figsize=(max(2.3 * len(cells) + 0.4, _WIDTH), 4.4), layout='constrained'
  )
  axes = figure.subplots(
    2, len(cells), squeeze=False, sharex=True, sharey='row'
  )
  for (torso, target), (above, below) in zip(cells, axes.T, strict=True):
    sizes = sorted(
      (int(x[4] or frontier_claims.MOST), x[0])
      for x in names
      if (x[1], x[3]) == (torso, target)
    )
    for tuner, look in looks.items():
      regrets, forgotten = {}, {}
      for size, experiment in sizes:
        world = experiment, 'world', study_claims.PRETRAINING
        regrets[size] = _values(
          rows, tuner, experiment, 'target', study_claims.TUNING
        ).to_numpy()
        lost = _values(rows, tuner, *world) - _values(rows, BASE, *world)
        forgotten[size] = lost.dropna().to_numpy()
      common.curve_of_networks(above, regrets, look, tuner)
      common.curve_of_networks(below, forgotten, look, tuner)
    title = frontier_figures.TITLES.get(torso, torso)
    above.set_title(f'{title}\n{_TARGETS[target]}')
    for ax in (above, below):
      ax.set(xscale='log', yscale='log')
    above.axhline(study_claims.WITHIN, color='#bbbbbb', lw=0.7, ls=style.DOT)
    below.set_xlabel('sequences of the target')
  axes[0, 0].set_ylabel('regret on the target (nats)')
  axes[1, 0].set_ylabel('forgotten (nats)')
  legend = _legend(figure, axes[0, 0])
  style.footnote(
    figure,
    'Lines: the typical of networks; dots: each. Forgotten is what is lost on '
    'the pretraining task, beyond the untuned network. Dotted: '
    f'{study_claims.WITHIN:g} nats. Nats below {common.LEAST_OF_NETWORKS:g} '
    'are drawn there.',
    legend=legend,
  )
  return figure


@style.styled
def made(rows: pd.DataFrame) -> mpl_figure.Figure:
  """Draws what made tasks cost on the world itself, against their sequences."""
  names = _matches(rows, _MADE)
  cells = sorted({(x[1], x[2]) for x in names})
  look = style.looks((BASE,))[BASE]
  figure = style.Figure(
    figsize=(max(2.3 * len(cells) + 0.4, _WIDTH), 2.9), layout='constrained'
  )
  axes = figure.subplots(1, len(cells), squeeze=False, sharey=True)[0]
  on_world = {'task': 'world', 'step': study_claims.PRETRAINING}
  for (torso, world), ax in zip(cells, axes, strict=True):
    sizes = sorted(
      (int(x[3]), x[0]) for x in names if (x[1], x[2]) == (torso, world)
    )
    for tuner, its_look, label in (
      ('PreBayes', _EXACT, 'exact Bayes of made tasks'),
      (BASE, look, 'network trained on them'),
    ):
      values = {
        size: _values(rows, tuner, name, **on_world).to_numpy()
        for size, name in sizes
      }
      common.curve_of_networks(ax, values, its_look, label)
    true = _values(rows, BASE, f'{torso}-{world}-true', **on_world)
    if len(true):
      level = intervals.over_networks(true.to_numpy(), 'log').value
      ax.axhline(
        level,
        color=look['color'],
        ls=style.DOT,
        label='on the world itself',
      )
    ax.set(
      xscale='log', yscale='log', xlabel='sequences that tasks are made of'
    )
    title = frontier_figures.TITLES.get(torso, torso)
    ax.set_title(f'{title}\n{study_claims.WORLDS.get(world, world)}')
  axes[0].set_ylabel('regret on the world (nats)')
  legend = _legend(figure, axes[0])
  style.footnote(
    figure,
    f'Above Bayes of the world, within {study_claims.PRETRAINING} tokens. '
    'Lines: the typical of networks; dots: each.',
    legend=legend,
  )
  return figure


_EXACT = {'color': common.EXACT, 'linestyle': style.DASH, 'marker': 's'}
