"""What demonstrations, prompts and weights leave to lose, as a picture."""

from collections.abc import Mapping, Sequence

from matplotlib import figure as mpl_figure
import numpy as np

from bayes_prompting.reporting import style
from bayes_prompting.studies import common
from bayes_prompting.studies.architectures import figures as architectures
from bayes_prompting.studies.demonstrations import claims as study_claims
from bayes_prompting.studies.demonstrations import curves

_LEAST = 1e-3  # Nats. Smaller regrets are drawn here.
_SAID = (
  'Of the typical network (geometric mean); bars are 95% intervals over '
  f'networks. Grey, dotted: {study_claims.WITHIN:g} nats. What is below '
  f'{_LEAST:g} nats is drawn there.'
)
_WIDTH = 2.4  # Inches of a label in the legend.


def title(network: str) -> str:
  """Returns the name of a kind of network for readers."""
  return architectures.title(network)


@style.styled
def shown(
  points: Mapping[tuple[str, str, curves.Curve], curves.Points],
  networks: Sequence[str],
) -> mpl_figure.Figure:
  """Draws regrets against how much was shown.

  A row of panels is a kind of network, a column a question of
  `curves.QUESTIONS`.

  Args:
    points: What `curves.points` returns.
    networks: Which are drawn.
  """
  questions = curves.QUESTIONS
  figure = style.Figure(
    figsize=(1.95 * len(questions), 2.1 * len(networks) + 0.3),
    layout='constrained',
  )
  axes = figure.subplots(
    len(networks), len(questions), squeeze=False, sharex='col', sharey='col'
  )
  handles = {}
  for row, network in zip(axes, networks, strict=True):
    for ax, question in zip(row, questions, strict=True):
      handles |= _panel(ax, points, question, network)
      ax.set_ylabel(f'above {question.above}\n(nats)')
    row[0].set_ylabel(f'{title(network)}\n{row[0].get_ylabel()}')
  for ax, question in zip(axes[0], questions, strict=True):
    ax.set_title(question.title)
  for ax, question in zip(axes[-1], questions, strict=True):
    ax.set_xlabel(question.shown)
  handles = [handles[x] for x in curves.labels() if x in handles]
  legend = common.legend_below(figure, handles, _WIDTH)
  style.footnote(figure, _SAID, legend=legend)
  return figure


def _panel(ax, points, question, network):
  """Draws a question of one kind of network; returns {label: handle}."""
  ax.set(yscale='log')
  ax.tick_params(labelsize=style.FONT)
  ax.axhline(study_claims.WITHIN, color='#bbbbbb', lw=0.7, ls=style.DOT)
  # Numbers double from one place to the next, but nothing is a place, too.
  ax.set_xticks(range(len(question.sizes)), question.sizes)
  ax.set_xlim(-0.4, len(question.sizes) - 0.6)
  handles = {}
  for curve in question.curves:
    of_curve = points.get((network, question.title, curve))
    if of_curve is None:
      continue
    look = _look(curve)
    places = [question.sizes.index(size) for size in of_curve]
    value, low, high = (
      np.maximum([getattr(x, end) for x in of_curve.values()], _LEAST)
      for end in ('value', 'low', 'high')
    )
    # Broken lines are on top, so that both show where two coincide.
    order = 2 if look['linestyle'] == style.SOLID else 3
    (handle,) = ax.plot(places, value, label=curve.label, zorder=order, **look)
    if not curve.alone:
      known = ~np.isnan(low)
      # What is infinite has no end.
      high = np.where(np.isfinite(high), high, value)
      ax.vlines(
        np.array(places)[known],
        low[known],
        high[known],
        color=look['color'],
        lw=0.8,
      )
    handles[curve.label] = handle
  return handles


def _look(curve):
  """Returns how a curve is drawn: as its tuner is everywhere, or broken."""
  look = dict(style.looks([curve.tuner])[curve.tuner])
  if curve.spread:
    look |= {'linestyle': style.DOT, 'marker': 'o', 'markerfacecolor': 'white'}
  if curve.alone:
    look |= {'linestyle': style.DASH, 'marker': ''}
  return look
