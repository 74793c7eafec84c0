"""Figures of many runs together: the paper's result in one picture.

Regret here is what a method loses to the Bayes predictor of the target (exact
KL, see `regret`), so that 0 is optimal in every panel. The dots of a method are
its pretrained networks, each the mean over its repetitions. Runs that were
stopped (`counting`) are left out, and a note says how many.
"""

from collections.abc import Mapping
import functools
import os
import pathlib
from typing import NamedTuple

from matplotlib import figure as mpl_figure
from matplotlib import lines as mpl_lines
from matplotlib import patches as mpl_patches
import numpy as np
import xarray as xr

from bayes_prompting.reporting import style as style_lib
from bayes_prompting.results import runs as runs_lib
from bayes_prompting.results import selection
from bayes_prompting.results import stopped
from bayes_prompting.studies.paper import claims as paper_claims

TORSOS = {'lstm': 'LSTM', 'transformer': 'Transformer'}
# Columns of the overview: what follows the torso in a run's name, and a title.
_COLUMNS = {
  '-single_coin': 'single coin',
  '-two_coin_mixture': 'two-coin mixture',
  '_untrained-single_coin': 'single coin,\nuntrained network',
}
TARGETS = {
  '-single_coin': 'single coin',
  '-two_coin_mixture': 'two-coin mixture',
}
_LEAST = 1e-4  # Nats; what is smaller is drawn here.


class Losses(NamedTuple):
  """What the methods of one run lose on its target.

  Attributes:
    tuning: {method: [P]}, nats to TargetBayes by the tuning length, of each
      pretrained network.
    last: The same at the end of the evaluation.
    steps: Both lengths.
    left_out: {method: how many runs were stopped}, of those that have any.
  """

  tuning: dict[str, np.ndarray]
  last: dict[str, np.ndarray]
  steps: tuple[int, int]
  left_out: Mapping[str, stopped.LeftOut] = {}


def losses(dataset: xr.Dataset) -> Losses:
  """Reads from a results file what its methods lose on its target."""
  dataset = selection.choose(dataset)
  labels = {
    'eval_task': dataset.attrs['target'],
    'reference': 'bayes',
    'estimator': 'exact',
  }
  steps = int(dataset.attrs['tuning_length']), int(dataset.step.values[-1])
  regret = dataset.cumulative_regret.sel(labels | {'step': list(steps)})
  counted = stopped.counted(dataset).sel(eval_task=labels['eval_task'])
  found = []
  for step in range(len(steps)):
    one = regret.isel(step=step).fillna(np.inf)
    one = one.where(counted).mean('repetition')
    by_method = {
      method: values[~np.isnan(values)].astype(np.float64)
      for method, values in zip(one.method.values, one.values, strict=True)
    }
    found.append({m: x for m, x in by_method.items() if len(x)})
  left_out = stopped.left_out(dataset, labels['eval_task'])
  return Losses(*found, steps, left_out)


@style_lib.styled
def overview(runs: Mapping[str, Losses]) -> mpl_figure.Figure:
  """Draws what each method loses, a panel for each torso and target.

  Args:
    runs: By name; those that are not there leave their panel empty.
  """
  columns = [
    kind for kind in _COLUMNS if any(torso + kind in runs for torso in TORSOS)
  ]
  shown = [
    runs[t + kind] for t in TORSOS for kind in columns if t + kind in runs
  ]
  named = dict.fromkeys(
    m for run in shown for m in (*run.tuning, *run.left_out)
  )
  references = ('Oracle', 'TargetBayes', 'EvalBayes', 'RandomPF')
  looks = style_lib.looks(m for m in named if m not in references)
  height = 0.15 * len(looks) + 0.75
  figure, axes = style_lib.panels(
    len(TORSOS) * len(columns),
    height,
    len(columns),
    sharex=True,
    sharey=True,
  )
  for ax, (torso, kind) in zip(
    axes, [(t, k) for t in TORSOS for k in columns], strict=True
  ):
    ax.axvspan(0, paper_claims.REACHES, color='#e9f3e9', lw=0, zorder=0)
    ax.set_title(f'{TORSOS[torso]}, {_COLUMNS[kind]}')
    if torso + kind in runs:
      _dots(ax, runs[torso + kind], looks)
    else:
      ax.text(0.5, 0.5, 'not run', transform=ax.transAxes, ha='center')
  axes[0].set_xscale('log')
  axes[0].set_xlim(left=_LEAST / 1.5)
  axes[0].set_yticks(range(len(looks)), looks)
  axes[0].invert_yaxis()
  steps = shown[0].steps
  for ax in axes[-len(columns) :]:
    ax.set_xlabel('regret above TargetBayes\n(nats, log scale)')
  legend = style_lib.legend_below(figure, _overview_legend(steps))
  names = [t + kind for t in TORSOS for kind in columns]
  said = footnote({x: runs[x] for x in names if x in runs})
  style_lib.footnote(figure, said, legend=legend)
  return figure


def footnote(runs: Mapping[str, Losses]) -> str:
  """Returns what a figure says of what it leaves out of runs, by name."""
  return stopped.footnote(
    stopped.together({name: run.left_out for name, run in runs.items()})
  )


def _dots(ax, run, looks):
  for row, (method, look) in enumerate(looks.items()):
    if method not in run.tuning:
      text = 'stopped' if method in run.left_out else '–'
      ax.text(0.02, row, text, transform=ax.get_yaxis_transform(), va='center')
      continue
    color = look['color']
    now = np.maximum(run.tuning[method], _LEAST)
    later = np.maximum(run.last[method], _LEAST)
    ends = [np.mean(now), np.mean(later)]
    if np.isfinite(ends).all():
      ax.plot(ends, [row, row], color=color, lw=0.8, alpha=0.6)
    ax.plot(later, np.full(len(later), row), 'o', color=color, mfc='white')
    ax.plot(now, np.full(len(now), row), 'o', color=color)


def _overview_legend(steps):
  gray = {'color': '#444444'}
  dot = {**gray, 'marker': 'o', 'linestyle': ''}
  return [
    mpl_lines.Line2D([], [], label=f'after {steps[0]} steps', **dot),
    mpl_lines.Line2D(
      [], [], label=f'after {steps[1]} steps', mfc='white', **dot
    ),
    mpl_lines.Line2D([], [], label='from mean to mean', lw=0.8, **gray),
    mpl_lines.Line2D(
      [], [], label='not run', marker='$-$', linestyle='', **gray
    ),
    mpl_patches.Patch(
      color='#e9f3e9',
      label=f'"reaches": under {paper_claims.REACHES} nats',
    ),
  ]


@style_lib.styled
def prefix_lengths(runs: Mapping[str, Losses]) -> mpl_figure.Figure:
  """Draws what SoftPT loses against the length of its prefix.

  Args:
    runs: By name; sweeps are `NETWORK-TARGET-prefix_lengths`, and beside each
      the main run of the same network is drawn as levels.
  """
  pairs = _swept(runs)
  figure, axes = style_lib.panels(len(pairs), 2.5, 2, sharex=True, sharey=True)
  handles = {}
  for ax, (torso, kind) in zip(axes, pairs, strict=True):
    run = runs[f'{torso}{kind}-prefix_lengths']
    handles |= _lengths(ax, run) | _levels(ax, run, runs.get(torso + kind))
    ax.set(title=f'{TORSOS[torso]},\n{TARGETS[kind]}', yscale='log')
    ax.set_xlabel('rows of the prefix')
  for ax in axes[::2]:
    ax.set_ylabel('regret above TargetBayes (nats)')
  style_lib.legend(figure, list(handles.values()))
  names = [f'{torso}{kind}-prefix_lengths' for torso, kind in pairs]
  style_lib.footnote(figure, footnote({name: runs[name] for name in names}))
  return figure


def _swept(runs):
  """Returns torso and target of each sweep that there is."""
  return [
    (torso, kind)
    for kind in TARGETS
    for torso in TORSOS
    if f'{torso}{kind}-prefix_lengths' in runs
  ]


def _lengths(ax, run):
  """Draws one sweep; returns its legend."""
  lengths = sorted(
    int(m.removeprefix('SoftPT-')) for m in run.tuning if 'SoftPT-' in m
  )
  look = style_lib.looks(['SoftPT'])['SoftPT']
  handles = {}
  for part, step, style in zip(
    (run.tuning, run.last),
    run.steps,
    ({}, {'mfc': 'white', 'linestyle': style_lib.DASH}),
    strict=True,
  ):
    values = [part[f'SoftPT-{length}'] for length in lengths]
    label = f'SoftPT, after {step} steps'
    (handles[label],) = ax.plot(
      lengths, [np.mean(x) for x in values], label=label, **(look | style)
    )
    for length, found in zip(lengths, values, strict=True):
      across = np.full(len(found), length)
      ax.plot(across, found, '.', color=look['color'], ms=3, alpha=0.5)
  ax.set_xscale('log')
  ax.set_xticks(lengths, lengths)
  ax.set_xticks([], minor=True)
  return handles


def _levels(ax, run, beside):
  """Draws what other methods lose; returns their legend."""
  handles = {}
  for method, levels in (
    ('NoTuning', run),
    ('HardPT', beside),
    ('FullWT', beside),
  ):
    if levels and method in levels.tuning:
      handles[method] = ax.axhline(
        np.mean(levels.tuning[method]),
        color=style_lib.looks([method])[method]['color'],
        lw=1,
        ls=style_lib.DASHDOT,
        label=f'{method}, after {run.steps[0]} steps',
      )
  return handles


def make_all(
  folder: str | os.PathLike[str], into: str | os.PathLike[str]
) -> list[pathlib.Path]:
  """Writes every figure that the runs in a folder allow, as PNG and PDF.

  Returns:
    The paths that were written.
  """
  runs = {
    name: losses(runs_lib.load(folder, name)) for name in runs_lib.runs(folder)
  }
  makers = {}
  if any(torso + kind in runs for torso in TORSOS for kind in _COLUMNS):
    makers['overview'] = overview
  if _swept(runs):
    makers['prefix_lengths'] = prefix_lengths
  return style_lib.write_all(
    {name: functools.partial(make, runs) for name, make in makers.items()}, into
  )
