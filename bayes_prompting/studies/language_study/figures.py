"""What prompts and weights make of a language model, in two pictures."""

import functools
import os

from matplotlib import figure as mpl_figure
import numpy as np
import pandas as pd

from bayes_prompting.claims import intervals
from bayes_prompting.reporting import style
from bayes_prompting.results import evidence
from bayes_prompting.studies import common
from bayes_prompting.studies.language_study import claims as study_claims

_TARGETS = {
  'coin': 'one coin',
  'two_coins': 'two coins',
  'die': 'one die',
  'chain': 'one chain',
}
_TUNERS = ('HardPT', 'SoftPT', 'DeepPT', 'LoRAWT', 'SoftPT+LoRAWT')
# Beside methods: what is shown or said to the untuned model.
_SHOWN = {'16 tosses shown': '-shown16', '64 tosses shown': '-shown64'}
_SAID = {
  f'said: no. {name[-1]}': name.removeprefix('coin')
  for name in study_claims.SAID
}


def draw(table: pd.DataFrame, folder: str | os.PathLike[str]) -> None:
  """Draws what the rows of evidence allow.

  Args:
    table: Evidence of one version of everything, see `evidence.current`.
    folder: Where the figures go.
  """
  exact = evidence.at(table, reference='bayes', estimator='exact')
  makers = {}
  if exact.experiment.isin(_TARGETS).any():
    makers['regret'] = functools.partial(regret, exact)
  if exact.experiment.str.fullmatch(r'coin-[kn]\d+').any():
    makers['size'] = functools.partial(size, exact)
  if makers:
    style.write_all(makers, folder)


def losses(
  table: pd.DataFrame,
  tuner: str,
  experiment: str,
  step: int = study_claims.TUNING,
) -> np.ndarray:
  """Returns the regret of each tuning, [P], in nats; empty if none was run."""
  rows = evidence.at(
    table,
    tuner=tuner,
    experiment=experiment,
    task=experiment.partition('-')[0],
    step=step,
    reference='bayes',
    estimator='exact',
  )
  return rows['mean'].to_numpy(np.float64)


def lines(target: str) -> list[tuple[str, str, str]]:
  """Returns what is compared on a target: (label, method, experiment)."""
  before = {**_SAID, **_SHOWN} if target == 'coin' else {}
  return [
    ('PreBayes', 'PreBayes', target),
    ('NoTuning', 'NoTuning', target),
    *((label, 'NoTuning', target + end) for label, end in before.items()),
    *((name, name, target) for name in _TUNERS),
  ]


@style.styled
def regret(rows: pd.DataFrame) -> mpl_figure.Figure:
  """Draws the regret at the tuning length, of all methods, on each target."""
  targets = [x for x in _TARGETS if (rows.experiment == x).any()]
  labels = dict.fromkeys(
    label
    for target in targets
    for label, method, experiment in lines(target)
    if len(losses(rows, method, experiment))
  )
  order = [label for label, *_ in lines('coin') if label in labels]
  places = {label: -i for i, label in enumerate(order)}
  looks = style.looks(('NoTuning', *_TUNERS))
  figure = style.Figure(
    figsize=(1.5 * len(targets) + 1.8, 0.24 * len(order) + 1.1),
    layout='constrained',
  )
  axes = figure.subplots(1, len(targets), squeeze=False, sharey=True)[0]
  for target, ax in zip(targets, axes, strict=True):
    for label, method, experiment in lines(target):
      values = losses(rows, method, experiment)
      if not len(values):
        continue
      values = np.maximum(values, common.LEAST_OF_NETWORKS)
      color = common.EXACT
      if method in looks:
        color = looks[method]['color']
      typical = intervals.over_networks(values, 'log').value
      at = places[label]
      ax.plot(values, [at] * len(values), '.', color=color, ms=4, alpha=0.6)
      ax.plot([typical], [at], '|', color=color, ms=9, mew=1.6)
    exact = losses(rows, 'PreBayes', target)
    if len(exact):
      ax.axvline(exact[0], color=common.EXACT, lw=0.8, ls=style.DASH)
    ax.axvline(study_claims.FAR, color='#bbbbbb', lw=0.7, ls=style.DOT)
    ax.set(xscale='log', title=_TARGETS[target], xlabel='regret (nats)')
    ax.grid(axis='y', lw=0.4, color='#eeeeee')
    ax.set_axisbelow(True)
  axes[0].set_yticks([*places.values()], [*places])
  style.footnote(
    figure,
    f'Within {study_claims.TUNING} tokens, above exact Bayes of the target. '
    'Dots: each tuning; bars: the typical. Dashed: exact Bayes of all such '
    f'sources. Dotted: {study_claims.FAR:g} nats.',
  )
  return figure


@style.styled
def size(rows: pd.DataFrame) -> mpl_figure.Figure:
  """Draws regret on the coin against a prompt's rows, and sequences."""
  few, most = study_claims.SIZES, study_claims.MOST
  in_rows = {
    k: f'coin-k{k}' if k in study_claims.ROWS else 'coin'
    for k in sorted((*study_claims.ROWS, 6))
  }
  in_sequences = {n: f'coin-n{n}' for n in few} | {most: 'coin'}
  looks = style.looks(('SoftPT', 'LoRAWT'))
  figure = style.Figure(figsize=(6.0, 2.8), layout='constrained')
  axes = figure.subplots(1, 2, sharey=True)
  for ax, places, tuners, label in (
    (axes[0], in_rows, ('SoftPT',), 'rows of the prompt'),
    (axes[1], in_sequences, ('SoftPT', 'LoRAWT'), 'sequences of the coin'),
  ):
    for tuner in tuners:
      points = {x: losses(rows, tuner, name) for x, name in places.items()}
      common.curve_of_networks(ax, points, looks[tuner], tuner)
    for name, text in (('PreBayes', 'Laplace’s rule'), ('NoTuning', 'untuned')):
      for value in losses(rows, name, 'coin')[:1]:
        color = common.EXACT if name == 'PreBayes' else '#777777'
        ax.axhline(value, color=color, lw=0.8, ls=style.DASH, label=text)
    ax.set(xscale='log', yscale='log', xlabel=label)
    ax.set_xticks([*places], [f'{x}' for x in places], minor=False)
    ax.set_xticks([], minor=True)
  axes[0].set_ylabel('regret (nats)')
  style.footnote(
    figure,
    f'Within {study_claims.TUNING} tosses. Lines: the typical of tunings; '
    'dots: each.',
    legend=figure.legend(
      handles=style.handles(axes[1]), loc='outside lower center', ncols=4
    ),
  )
  return figure
