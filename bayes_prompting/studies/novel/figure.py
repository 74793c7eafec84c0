"""The figure of what methods lose on targets in and outside of the prior.

Regret is above the exact Bayes predictor of the target, so 0 is optimal. Beside
the networks stands what theory says of every prompt of a Bayesian predictor,
see `promptability`.
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
from bayes_prompting import settings
from bayes_prompting.reporting import style
from bayes_prompting.results import losses
from bayes_prompting.results import runs as run_folders
from bayes_prompting.settings import plain
from bayes_prompting.studies import common
from bayes_prompting.theory import promptability

# The cases, as they stand in the names of runs, and the titles of their panels.
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
  'unknown': 'not known',
}
# Methods without a row: they need no network, or are the optimum itself.
_WITHOUT_ROW = (*settings.REFERENCES, 'PreBayes', 'PreBayesPT')
_FAMILY = {'color': common.EXACT, 'linestyle': style.SOLID, 'lw': 1.0}


class Exact(NamedTuple):
  """What exact Bayes loses to Bayes of the target, in nats.

  Losses are summed over the tuning length.

  Attributes:
    verdict: See `promptability.Promptability`.
    none: The loss without a prompt.
    prefix: The loss after the best hard prefix of the length that was tuned.
    family: The loss at the best pseudo-counts; None where they were not
      searched.
  """

  verdict: str
  none: float
  prefix: float
  family: float | None


class CaseRun(NamedTuple):
  """One case with one torso: what was measured, and what is exact."""

  losses: losses.Losses
  exact: Exact


def read(dataset: xr.Dataset) -> CaseRun:
  """Reads a results file, and computes what is exact for its two tasks.

  Where nothing is exact, its numbers are sampled, see `promptability`.

  Raises:
    UserError: If there are too many histories, see `promptability`.
  """
  config = plain.resolved(json.loads(dataset.attrs['config']))
  priors = [
    registry.make('task_priors', name, config['tasks'][name])
    for name in (config['pretraining']['task'], config['tuning']['target'])
  ]
  tuning = config['tuning']
  answer = promptability.promptability(
    *priors, tuning['length'], tuning['prefix_length']
  )
  exact = Exact(
    verdict=answer.verdict,
    none=float(answer.curve.gaps[0]),
    # The longest, where sampled prefixes end before.
    prefix=float(answer.curve.gaps[: tuning['prefix_length'] + 1][-1]),
    family=answer.pseudo and float(answer.pseudo.gap),
  )
  return CaseRun(losses.losses(dataset), exact)


@style.styled
def overview(runs: Mapping[str, CaseRun]) -> mpl_figure.Figure:
  """Draws what each method loses by the tuning length, a panel for each case.

  Args:
    runs: By `CASE-NETWORK`; a case without any has no panel.
  """
  cases = common.by_case(runs, _CASES)
  shown = {
    f'{case}-{torso}': run.losses
    for case, by_torso in cases.items()
    for torso, run in by_torso.items()
  }
  named = dict.fromkeys(
    method
    for lost in shown.values()
    for method in (*lost.tuning, *lost.left_out)
  )
  looks = style.looks(m for m in named if m not in _WITHOUT_ROW)
  figure, axes = style.panels(
    len(cases), 0.22 * len(looks) + 1.35, len(cases), sharex=True, sharey=True
  )
  step = next(iter(shown.values())).steps[0]
  for ax, (case, by_torso) in zip(axes, cases.items(), strict=True):
    exact = next(iter(by_torso.values())).exact
    ax.set_title(f'{_CASES[case]}\n({_VERDICTS[exact.verdict]})', va='bottom')
    ax.set_xlabel(f'regret above Bayes of the\ntarget by step {step} (nats)')
    _levels(ax, exact)
    for torso, run in by_torso.items():
      _dots(ax, run.losses.tuning, looks, torso)
  axes[0].set_xscale('log')
  axes[0].set_xlim(left=common.LEAST / 1.5)
  axes[0].set_yticks(range(len(looks)), looks)
  axes[0].set_ylim(len(looks) - 0.5, -0.5)
  torsos = dict.fromkeys(t for by_torso in cases.values() for t in by_torso)
  legend = common.legend_below(figure, _handles(torsos), 2.4)
  style.footnote(figure, common.left_out(shown), legend=legend)
  return figure


def _levels(ax, exact):
  """Marks what exact Bayes loses, and where no posterior of it comes."""
  for value, look in (
    (exact.none, _look('PreBayes')),
    (exact.prefix, _look('PreBayesPT')),
    (exact.family, _FAMILY),
  ):
    if value is not None and common.LEAST < value < np.inf:
      ax.axvline(value, zorder=1, **look)
  if exact.family is not None and exact.family > common.LEAST:
    ax.axvspan(
      common.LEAST / 10, exact.family, color=common.OUTSIDE, lw=0, zorder=0
    )


def _look(method):
  return style.looks([method])[method] | {'marker': '', 'lw': 1.0}


def _dots(ax, lost, looks, torso):
  """Draws the networks of one torso; those of the second are below, hollow."""
  for row, (method, look) in enumerate(looks.items()):
    if method in lost:
      second = list(common.TITLES).index(torso)
      values = np.maximum(lost[method], common.LEAST)
      height = np.full(len(values), row + 0.3 * second - 0.15)
      face = 'white' if second else look['color']
      ax.plot(values, height, 'o', color=look['color'], mfc=face, ms=4)


def _handles(torsos):
  """Returns the entries of the legend: dots, lines and the shade."""
  handles = [
    mpl_lines.Line2D(
      *([], []),
      color='#444444',
      marker='o',
      linestyle='',
      mfc='white' if torso == 'transformer' else '#444444',
      label=f'{common.TITLES[torso]}: a dot is a network',
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
  handles.append(mpl_patches.Patch(color=common.OUTSIDE, label=label))
  return handles


def make_all(
  folder: str | os.PathLike[str], into: str | os.PathLike[str]
) -> list[pathlib.Path]:
  """Writes the figure of the runs `novel-CASE-NETWORK` in a folder.

  Returns:
    The paths that were written; none without any run.
  """
  datasets = run_folders.load_kind(folder, 'novel', _CASES, common.TITLES)
  runs = {case: read(dataset) for case, dataset in datasets.items()}
  if not runs:
    return []
  make = functools.partial(overview, runs)
  return style.write_all({'novel': make}, into)
