"""The frontier as a picture: what tuners lose against what they take."""

from collections.abc import Iterable
import math

from matplotlib import figure as mpl_figure
from matplotlib import ticker as mpl_ticker
import numpy as np
import pandas as pd

from bayes_prompting.reporting import style
from bayes_prompting.studies.frontier import claims as study_claims
from bayes_prompting.studies.frontier import table as study_table

TITLES = {
  'lstm': 'LSTM',
  'transformer_deep': 'Transformer, 2 layers',
  'selective_ssm': 'Selective SSM (Mamba-2)',
}
KINDS = {
  'source': 'one source',
  'mixture': 'a mixture',
  'novel': 'a novel task',
}
_AXES = {
  'tuned_numbers': 'tuned numbers',
  'multiply_adds': 'multiply-adds\nan update',
  'seconds': 'seconds\nof a tuning',
  'sequences': f'sequences to come\nwithin {study_claims.WITHIN:g} nats',
  'later': f'regret by step {study_claims.LAST}\n(nats)',
  'forgotten': 'forgotten on the\npretraining task (nats)',
}
_NATS = ('later', 'forgotten')
_COLUMNS = 8  # Of the legend.
_NAMED = 4  # Ticks of an axis, at most.
# Where sequences are drawn that are not enough.
_MORE = 8 * study_claims.MOST
_SAID = (
  'Filled: no other tuner is at least as good in all of these at once, seconds '
  'apart, and better in one. Grey stairs: the least regret for so much of what '
  f'a panel shows. Dotted: {study_claims.WITHIN:g} nats. Nats below '
  f'{study_table.LEAST:g} are drawn there.'
)


def in_order(names: Iterable[str], known: Iterable[str]) -> list[str]:
  """Returns each name once, the known ones first and in their order."""
  names = list(dict.fromkeys(names))
  return sorted(names, key=[*known, *names].index)


@style.styled
def frontier(overall: pd.DataFrame) -> mpl_figure.Figure:
  """Draws the regret of each tuner against each thing that it takes.

  A row of panels is a kind of target. Filled marks are tuners that no other
  dominates in all criteria at once. A grey line goes through those that no
  other beats in the two of its panel.

  Args:
    overall: What `table.overall` returns.
  """
  kinds = in_order(overall.target, KINDS)
  looks = style.looks([*dict.fromkeys(overall.tuner)])
  figure = style.Figure(
    figsize=(1.75 * len(_AXES), 1.9 * len(kinds) + 0.5), layout='constrained'
  )
  axes = figure.subplots(
    len(kinds), len(_AXES), squeeze=False, sharex='col', sharey='row'
  )
  for row, kind in zip(axes, kinds, strict=True):
    rows = overall[overall.target == kind]
    for ax, name in zip(row, _AXES, strict=True):
      _panel(ax, rows, name, looks)
    row[0].set_ylabel(f'{KINDS.get(kind, kind)}\nregret (nats)')
  for ax, (name, label) in zip(axes[-1], _AXES.items(), strict=True):
    ax.set_xlabel(label)
    _scale(ax, name, overall[name])
  handles = [
    axes[0, 0].plot([], [], label=name, **{**look, 'linestyle': ''})[0]
    for name, look in looks.items()
  ]
  rows = -(-len(handles) // _COLUMNS)
  figure.set_figheight(figure.get_figheight() + 0.15 * rows)
  legend = figure.legend(
    handles=handles,
    loc='outside lower center',
    ncols=_COLUMNS,
    handlelength=1.0,
  )
  style.footnote(figure, _SAID, legend=legend)
  return figure


def _panel(ax, rows, name, looks):
  """Draws one kind of target against one thing that tuners take."""
  ax.set(yscale='log')
  ax.tick_params(labelsize=style.FONT)
  ax.axhline(study_claims.WITHIN, color='#bbbbbb', lw=0.7, ls=style.DOT)
  rows = rows[rows[name].notna()]
  places = rows.assign(
    x=[_place(name, x) for x in rows[name]],
    y=np.maximum(rows.regret, study_table.LEAST),
  )
  _front(ax, places)
  for point in places.itertuples():
    look = looks[point.tuner]
    ax.plot(
      point.x,
      point.y,
      marker=look['marker'] or 'o',
      color=look['color'],
      markerfacecolor=look['color'] if point.undominated else 'white',
      markeredgewidth=0.9,
      linestyle='',
      ms=5,
    )
  ax.yaxis.set_minor_formatter(mpl_ticker.NullFormatter())


def _place(name, value):
  """Returns where a number is drawn: what is never enough, on the right."""
  if name == 'sequences' and np.isinf(value):
    return float(_MORE)
  return max(value, study_table.LEAST) if name in _NATS else value


def _front(ax, places):
  """Draws the stairs through what is best for all that it takes no more."""
  finite = places[np.isfinite(places.x) & np.isfinite(places.y)]
  finite = finite.sort_values(['x', 'y'])
  best = finite[finite.y <= finite.y.cummin()]
  ax.plot(
    best.x, best.y, color='#c9c9c9', lw=1.0, drawstyle='steps-post', zorder=1
  )


def _scale(ax, name, values):
  if values.isna().all():  # Nobody has measured it.
    ax.set_xticks([])
    return
  ax.set_xscale('log')
  if name == 'sequences':
    ticks = {
      **{x: f'{x}' for x in (study_claims.FEW, 256)},
      study_claims.MOST: study_table.count(study_claims.MOST),
      _MORE: ' more',
    }
    ax.set_xticks([*ticks], [*ticks.values()])
    ax.set_xticks([], minor=True)
    ax.set_xlim(study_claims.FEW / 2, 2 * _MORE)
    return
  places = np.array([_place(name, x) for x in values.dropna()])
  places = places[np.isfinite(places) & (places > 0)]
  if len(places):
    ticks = _ticks(places.min(), places.max())
    ax.set_xticks(ticks, [study_table.count(x) for x in ticks])
    ax.set_xlim(places.min() / 1.3, places.max() * 1.3)
  ax.xaxis.set_minor_formatter(mpl_ticker.NullFormatter())


def _ticks(low, high):
  """Returns a few round numbers of an interval on a logarithmic axis."""
  powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
  digits = (1, 2, 5) if high / low < 30 else (1,)
  ticks = [x * 10.0**power for power in powers for x in digits]
  inside = [x for x in ticks if low / 1.3 <= x <= high * 1.3]
  return inside[:: -(-len(inside) // _NAMED)] if inside else [low]
