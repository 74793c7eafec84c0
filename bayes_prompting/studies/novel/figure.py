"""What methods lose on targets that the prior knows, and does not know.

Regret is above the exact Bayes predictor of the target, so that 0 is optimal.
Beside the networks stands what exact theory says of every prompt of a Bayesian
predictor (`promptability`).
"""

from collections.abc import Mapping
import functools
import json
import os
import pathlib
from typing import NamedTuple

from matplotlib import figure as mpl_figure
from matplotlib import lines as mpl_lines
from matplotlib import patches as mpl_patches
import numpy as np
import xarray as xr

from bayes_prompting import registry
from bayes_prompting.reporting import style
from bayes_prompting.results import runs as runs_lib
from bayes_prompting.studies.paper import figures as paper_figures
from bayes_prompting.theory import promptability

_TORSOS = {'lstm': 'LSTM', 'transformer': 'Transformer'}
# Columns: what a run is called between its prefix and its torso, and a title.
_CASES = {
  'chain_known': 'chains → a chain',
  'chain': 'coins → a chain',
  'coin_known': 'all coins → a coin',
  'coin': 'two coins → a third',
}
_VERDICTS = {
  'exact': 'a prompt is exact',
  'limit': 'prompts reach it\nin a limit',
  'not_promptable': 'no prompt reaches it',
  'out_of_support': 'outside of\nthe support',
}
_LEAST = 1e-4  # Nats; what is smaller is drawn here.
_SPARE = ('Oracle', 'TargetBayes', 'EvalBayes', 'PreBayes', 'PreBayesPT')
_OUTSIDE = '#f3e7f0'
_FAMILY = {'color': '#8a4f80', 'linestyle': style.SOLID, 'lw': 1.0}


class Exact(NamedTuple):
  """What exact Bayes loses to Bayes of the target, in nats by that length.

  Attributes:
    verdict: See `promptability.Promptability`.
    none: Without a prompt.
    prefix: After the best hard prefix of the length that was tuned.
    family: At the best pseudo-counts, the least of any posterior found; None
      where they were not searched.
  """

  verdict: str
  none: float
  prefix: float
  family: float | None


class Run(NamedTuple):
  """One case with one network: what was measured, and what is exact."""

  losses: paper_figures.Losses
  exact: Exact


def read(dataset: xr.Dataset) -> Run:
  """Reads a results file, and computes what is exact of its two tasks.

  Raises:
    UserError: Where there is no exact answer, see `promptability`.
  """
  config = json.loads(dataset.attrs['config'])
  priors = [
    registry.make('task_priors', name, config['tasks'][name])
    for name in (config['pretraining']['task'], config['tuning']['target'])
  ]
  tuning = config['tuning']
  found = promptability.promptability(
    *priors, tuning['length'], tuning['prefix_length']
  )
  exact = Exact(
    found.verdict,
    float(found.curve.gaps[0]),
    float(found.curve.gaps[tuning['prefix_length']]),
    found.pseudo and float(found.pseudo.gap),
  )
  return Run(paper_figures.losses(dataset), exact)


@style.styled
def overview(runs: Mapping[str, Run]) -> mpl_figure.Figure:
  """Draws what each method loses by the tuning length, a panel for each case.

  Args:
    runs: By `CASE-NETWORK`; a case without any has no panel.
  """
  cases = {
    case: {t: runs[f'{case}-{t}'] for t in _TORSOS if f'{case}-{t}' in runs}
    for case in _CASES
  }
  cases = {case: found for case, found in cases.items() if found}
  every = [run for found in cases.values() for run in found.values()]
  named = dict.fromkeys(
    m for run in every for m in (*run.losses.tuning, *run.losses.left_out)
  )
  looks = style.looks(m for m in named if m not in _SPARE)
  figure, axes = style.panels(
    len(cases), 0.22 * len(looks) + 1.35, len(cases), sharex=True, sharey=True
  )
  for ax, (case, found) in zip(axes, cases.items(), strict=True):
    exact = next(iter(found.values())).exact
    ax.set_title(f'{_CASES[case]}\n({_VERDICTS[exact.verdict]})', va='bottom')
    _levels(ax, exact)
    for torso, run in found.items():
      _dots(ax, run.losses.tuning, looks, torso)
  axes[0].set_xscale('log')
  axes[0].set_xlim(left=_LEAST / 1.5)
  axes[0].set_yticks(range(len(looks)), looks)
  axes[0].set_ylim(len(looks) - 0.5, -0.5)
  for ax in axes:
    ax.set_xlabel(
      'regret above Bayes of the\n'
      f'target by step {every[0].losses.steps[0]} (nats)'
    )
  torsos = {t: None for found in cases.values() for t in found}
  legend = _legend(figure, torsos)
  shown = {
    f'{case}-{torso}': run.losses
    for case, found in cases.items()
    for torso, run in found.items()
  }
  style.footnote(figure, paper_figures.footnote(shown), legend=legend)
  return figure


def _levels(ax, exact):
  """Marks what is exact."""
  for value, look in (
    (exact.none, _look('PreBayes')),
    (exact.prefix, _look('PreBayesPT')),
    (exact.family, _FAMILY),
  ):
    if value is not None and _LEAST < value < np.inf:
      ax.axvline(value, zorder=1, **look)
  if exact.family is not None and exact.family > _LEAST:
    ax.axvspan(_LEAST / 10, exact.family, color=_OUTSIDE, lw=0, zorder=0)


def _look(method):
  return style.looks([method])[method] | {'marker': '', 'lw': 1.0}


def _dots(ax, tuning, looks, torso):
  """Draws the networks of one torso, those of the second below and hollow."""
  for row, (method, look) in enumerate(looks.items()):
    if method in tuning:
      second = list(_TORSOS).index(torso)
      values = np.maximum(tuning[method], _LEAST)
      height = np.full(len(values), row + 0.3 * second - 0.15)
      face = 'white' if second else look['color']
      ax.plot(values, height, 'o', color=look['color'], mfc=face, ms=4)


def _legend(figure, torsos):
  """Says what dots, lines and the shade are; returns the legend."""
  handles = [
    mpl_lines.Line2D(
      *([], []),
      color='#444444',
      marker='o',
      linestyle='',
      mfc='white' if torso == 'transformer' else '#444444',
      label=f'{_TORSOS[torso]}: a dot is a network',
    )
    for torso in torsos
  ]
  for label, look in (
    ('exact Bayes, no prompt', _look('PreBayes')),
    ('exact Bayes, best hard prefix', _look('PreBayesPT')),
    ('exact Bayes, best pseudo-counts', _FAMILY),
  ):
    handles.append(mpl_lines.Line2D([], [], label=label, **look))
  label = 'no posterior of the prior'
  handles.append(mpl_patches.Patch(color=_OUTSIDE, label=label))
  ncols = max(1, int(figure.get_figwidth() / 2.4))
  place = {'loc': 'outside lower center', 'ncols': ncols}
  return figure.legend(handles=handles, **place)


def make_all(
  folder: str | os.PathLike[str], into: str | os.PathLike[str]
) -> list[pathlib.Path]:
  """Writes the figure of the runs `novel-CASE-NETWORK` in a folder.

  Returns:
    The paths that were written; none without any run.
  """
  found = runs_lib.load_kind(folder, 'novel', _CASES, _TORSOS)
  runs = {case: read(dataset) for case, dataset in found.items()}
  if not runs:
    return []
  make = functools.partial(overview, runs)
  return style.write_all({'novel': make}, into)
