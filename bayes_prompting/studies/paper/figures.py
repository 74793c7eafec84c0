"""Figures of many runs together: the paper's result in one picture.

Regret here is what a method loses to the Bayes predictor of the target (exact
KL, see `regret`), so 0 is optimal in every panel. A dot is a pretrained
network, at the mean over its repetitions. Runs that were stopped are left out,
and a note says how many.
"""

from collections.abc import Mapping, Sequence
import functools
import os
import pathlib
import textwrap

from matplotlib import figure as mpl_figure
from matplotlib import lines as mpl_lines
from matplotlib import patches as mpl_patches
from matplotlib import ticker as mpl_ticker
import numpy as np

from bayes_prompting import settings
from bayes_prompting.claims import judge as judging
from bayes_prompting.reporting import style
from bayes_prompting.results import losses
from bayes_prompting.studies import common
from bayes_prompting.studies.paper import claims as paper_claims

# Columns of the overview: the end of a run's name after its torso, and a title.
_COLUMNS = {
  '-single_coin': 'single coin',
  '-two_coin_mixture': 'two-coin mixture',
  '_untrained-single_coin': 'single coin,\nuntrained network',
}
TARGETS = {
  '-single_coin': 'single coin',
  '-two_coin_mixture': 'two-coin mixture',
}
# Methods without a row.
_WITHOUT_ROW = (*settings.REFERENCES, 'RandomPF')


@style.styled
def overview(runs: Mapping[str, losses.Losses]) -> mpl_figure.Figure:
  """Draws what each method loses, a panel for each torso and target.

  Args:
    runs: By name; a missing run leaves its panel empty.
  """
  columns = [
    column
    for column in _COLUMNS
    if any(torso + column in runs for torso in common.TITLES)
  ]
  places = [(torso, column) for torso in common.TITLES for column in columns]
  shown = {t + c: runs[t + c] for t, c in places if t + c in runs}
  named = dict.fromkeys(
    method for run in shown.values() for method in (*run.tuning, *run.left_out)
  )
  looks = style.looks(m for m in named if m not in _WITHOUT_ROW)
  height = 0.15 * len(looks) + 0.75
  figure, axes = style.panels(
    len(places), height, len(columns), sharex=True, sharey=True
  )
  for ax, (torso, column) in zip(axes, places, strict=True):
    ax.axvspan(0, paper_claims.REACHES, color='#e9f3e9', lw=0, zorder=0)
    ax.set_title(f'{common.TITLES[torso]}, {_COLUMNS[column]}')
    if torso + column in runs:
      _dots(ax, runs[torso + column], looks)
    else:
      ax.text(0.5, 0.5, 'not run', transform=ax.transAxes, ha='center')
  axes[0].set_xscale('log')
  axes[0].set_xlim(left=common.LEAST / 1.5)
  axes[0].set_yticks(range(len(looks)), looks)
  axes[0].invert_yaxis()
  for ax in axes[-len(columns) :]:
    ax.set_xlabel('regret above TargetBayes\n(nats, log scale)')
  steps = next(iter(shown.values())).steps
  legend = common.tall_legend_below(
    figure, {x.get_label(): x for x in _overview_legend(steps)}
  )
  style.footnote(figure, common.left_out(shown), legend=legend)
  return figure


def _dots(ax, run, looks):
  for row, (method, look) in enumerate(looks.items()):
    if method not in run.tuning:
      text = 'stopped' if method in run.left_out else '–'
      ax.text(0.02, row, text, transform=ax.get_yaxis_transform(), va='center')
      continue
    color = look['color']
    now = np.maximum(run.tuning[method], common.LEAST)
    later = np.maximum(run.last[method], common.LEAST)
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
    mpl_lines.Line2D([], [], label='not run', marker='_', linestyle='', **gray),
    mpl_patches.Patch(
      color='#e9f3e9',
      label=f'"reaches": under {paper_claims.REACHES} nats',
    ),
  ]


@style.styled
def prefix_lengths(runs: Mapping[str, losses.Losses]) -> mpl_figure.Figure:
  """Draws what SoftPT loses against the length of its prefix.

  Args:
    runs: By name; sweeps are `NETWORK-TARGET-prefix_lengths`, and beside each
      the main run of the same network is drawn as levels.
  """
  pairs = _swept(runs)
  figure, axes = style.panels(len(pairs), 2.5, 2, sharex=True, sharey=True)
  handles = {}
  for ax, (torso, target) in zip(axes, pairs, strict=True):
    run = runs[f'{torso}{target}-prefix_lengths']
    handles |= _lengths(ax, run) | _levels(ax, run, runs.get(torso + target))
    title = f'{common.TITLES[torso]},\n{TARGETS[target]}'
    ax.set(title=title, yscale='log')
    ax.set_xlabel('rows of the prefix')
  for ax in axes[::2]:
    ax.set_ylabel('regret above TargetBayes (nats)')
  style.legend(figure, list(handles.values()))
  names = [f'{torso}{target}-prefix_lengths' for torso, target in pairs]
  style.footnote(figure, common.left_out({name: runs[name] for name in names}))
  return figure


def _swept(runs):
  """Returns torso and target of each sweep that was run."""
  return [
    (torso, target)
    for target in TARGETS
    for torso in common.TITLES
    if f'{torso}{target}-prefix_lengths' in runs
  ]


def _lengths(ax, run):
  """Draws one sweep; returns its legend."""
  lengths = sorted(
    int(m.removeprefix('SoftPT-')) for m in run.tuning if 'SoftPT-' in m
  )
  look = style.looks(['SoftPT'])['SoftPT']
  handles = {}
  for lost, step, change in zip(
    (run.tuning, run.last),
    run.steps,
    ({}, {'mfc': 'white', 'linestyle': style.DASH}),
    strict=True,
  ):
    values = [lost[f'SoftPT-{length}'] for length in lengths]
    label = f'SoftPT, after {step} steps'
    (handles[label],) = ax.plot(
      lengths, [np.mean(x) for x in values], label=label, **(look | change)
    )
    for length, networks in zip(lengths, values, strict=True):
      across = np.full(len(networks), length)
      ax.plot(across, networks, '.', color=look['color'], ms=3, alpha=0.5)
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
        color=style.looks([method])[method]['color'],
        lw=1,
        ls=style.DASHDOT,
        label=f'{method}, after {run.steps[0]} steps',
      )
  return handles


def draw(
  runs: Mapping[str, losses.Losses], into: str | os.PathLike[str]
) -> list[pathlib.Path]:
  """Writes every figure that some experiments allow, as PNG and PDF.

  Args:
    runs: What tuners lose, by the name of the experiment.
    into: A folder.

  Returns:
    The paths that were written.
  """
  makers = {}
  if any(torso + end in runs for torso in common.TITLES for end in _COLUMNS):
    makers['overview'] = overview
  if _swept(runs):
    makers['prefix_lengths'] = prefix_lengths
  return style.write_all(
    {name: functools.partial(make, runs) for name, make in makers.items()}, into
  )


_MARKS = {
  judging.HOLDS: ('holds', '#2c7a3f'),
  judging.FAILS: ('does not hold', '#b3261e'),
  judging.UNDECIDED: ('undecided', '#8a6d00'),
}
_TORSO_COLORS = dict(zip(common.TITLES, ('#2f5d8a', '#b5651d'), strict=True))


@style.styled
def claims(judged: Sequence[judging.Judged]) -> mpl_figure.Figure:
  """Draws every claim that was run: networks, interval, bound and verdict.

  Each claim has an axis of its own, logarithmic where its interval is. A small
  dot is a network, the large one the typical network (or the mean), with its
  95% interval. The shaded side of the bound is where the claim holds.

  Args:
    judged: What `claims.judge` returns.
  """
  by_claim = {}
  for one in judged:
    if one.ran:
      by_claim.setdefault(one.claim.name, []).append(one)
  height = 0.3 + 0.62 * len(by_claim)
  figure = mpl_figure.Figure(figsize=(7.2, height))
  grid = figure.subplots(len(by_claim), 1, squeeze=False)[:, 0]
  for ax, several in zip(grid, by_claim.values(), strict=True):
    _claim(ax, several)
  figure.subplots_adjust(
    left=0.45,
    right=0.86,
    top=1 - 0.05 / height,
    bottom=0.25 / height,  # Room for the last one's ticks.
    hspace=1.15,
  )
  return figure


def _claim(ax, several):
  """Draws one claim, a line for each kind of network."""
  claim = several[0].claim
  log = claim.scale == 'log' and not any(x.exact for x in several)
  number = claim.bound.number
  seen = [number]
  for row, one in enumerate(several):
    torso = one.network.partition('_')[0]
    color = _TORSO_COLORS.get(torso, common.EXACT)
    values = np.maximum(one.values, common.LEAST) if log else one.values
    ax.plot(
      values, np.full(len(values), row), '.', color=color, ms=4, alpha=0.5
    )
    ends = np.array([one.estimate.low, one.estimate.high])
    if np.isfinite(ends).all():
      ends = np.maximum(ends, common.LEAST) if log else ends
      ax.plot(ends, [row, row], color=color, lw=1.6, solid_capstyle='butt')
      seen += ends.tolist()
    if np.isfinite(one.estimate.value):
      ax.plot(one.estimate.value, row, 'o', color=color, ms=5)
    seen += [one.estimate.value, *values]
    said, shade = _MARKS[one.verdict]
    label = common.TITLES.get(torso, one.network)
    if one.estimate.networks:
      label += f', {one.estimate.networks}'
    ax.text(
      1.01,
      row,
      f'{said} ({label})',
      transform=ax.get_yaxis_transform(),
      va='center',
      fontsize=6,
      color=shade,
    )
  _limits(ax, [x for x in seen if np.isfinite(x)], log)
  low, high = ax.get_xlim()
  inside = (low, number) if claim.bound.sign == '<' else (number, high)
  ax.axvspan(*inside, color='#e9f3e9', lw=0, zorder=0)
  ax.axvline(number, color='#444444', lw=0.8)
  ax.set_xlim(low, high)
  ax.set_ylim(len(several) - 0.4, -0.6)
  ax.set_yticks([])
  ax.tick_params(axis='x', labelsize=6, pad=1)
  lines = textwrap.wrap(claim.text, 58)
  ax.text(
    -0.02,
    0.5,
    '\n'.join([*lines, f'({claim.unit})']),
    transform=ax.transAxes,
    ha='right',
    va='center',
    fontsize=6.5,
  )


def _limits(ax, seen, log):
  """Scales an axis to what is drawn on it."""
  if log:
    ax.set_xscale('log')
    seen = [x for x in seen if x > 0]
    ax.set_xlim(min(seen) / 1.6, max(seen) * 1.6)
    # Over less than a decade the powers of ten alone would name nothing.
    decades = np.log10(max(seen) / min(seen))
    subs = (1.0,) if decades > 2 else (1.0, 2.0, 5.0)
    ax.xaxis.set_major_locator(mpl_ticker.LogLocator(subs=subs, numticks=9))
    ax.xaxis.set_major_formatter(lambda x, _: f'{x:g}')
    ax.xaxis.set_minor_formatter(mpl_ticker.NullFormatter())
  else:
    room = 0.08 * ((max(seen) - min(seen)) or 1.0)
    ax.set_xlim(min(seen) - room, max(seen) + room)


def draw_claims(
  judged: Sequence[judging.Judged], into: str | os.PathLike[str]
) -> list[pathlib.Path]:
  """Writes the figure of claims, as PNG and PDF, if any was run."""
  if not any(one.ran for one in judged):
    return []
  return style.write_all({'claims': functools.partial(claims, judged)}, into)
