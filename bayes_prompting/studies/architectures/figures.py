"""The study of architectures in pictures, and as a table in Markdown."""

from collections.abc import Mapping, Sequence
import functools
import os
import pathlib
import types

from matplotlib import figure as mpl_figure
import ml_collections
import numpy as np
import pandas as pd

from bayes_prompting.claims import judge as judging
from bayes_prompting.claims import tables
from bayes_prompting.reporting import style
from bayes_prompting.results import evidence
from bayes_prompting.settings import plans
from bayes_prompting.studies.architectures import claims as study_claims
from bayes_prompting.system import files

Configs = Mapping[str, ml_collections.ConfigDict]

TITLES = {
  'lstm': 'LSTM',
  'gru': 'GRU',
  'transformer': 'Transformer',
  'linear_recurrence': 'Linear recurrence (LRU)',
  'selective_ssm': 'Selective SSM (Mamba-2)',
  'selective_ssm_plain': 'Selective SSM, no convolution',
  'linear_attention': 'Linear attention',
  'retention': 'Retention (RetNet)',
  'gated_delta': 'Gated delta rule',
  'mlstm': 'mLSTM (xLSTM)',
  'rwkv7': 'RWKV-7',
  'hybrid': 'Hybrid (Griffin)',
}
# Of each claim, the head of its column.
_HEADS = {
  'is_bayes_coins': 'Bayes of coins',
  'is_bayes_chains': 'Bayes of chains',
  'is_bayes_switching': 'Bayes of switching coins',
  'exchangeable': 'order does not count',
  'soft_reaches': 'coin: SoftPT reaches',
  'soft_beats_hard': 'coin: SoftPT beats HardPT',
  'state_gains_little': 'coin: StatePT gains little',
  'soft_lasts': 'coin: SoftPT lasts',
  'soft_does_not_reach': 'mixture: SoftPT does not reach',
  'lorawt_reaches': 'mixture: LoRAWT reaches',
  'fullwt_reaches': 'mixture: FullWT reaches',
  'untrained_is_close': 'untrained: SoftPT is close',
  'untrained_lasts': 'untrained: SoftPT lasts',
}
# By family: gates, attention, linear recurrences, matrix states, and both.
_LOOKS = {
  'lstm': ('#16206e', style.SOLID, 'o'),
  'gru': ('#4a9fe0', style.SOLID, 's'),
  'transformer': ('#000000', style.SOLID, 'X'),
  'linear_recurrence': ('#009e73', style.SOLID, 'D'),
  'selective_ssm': ('#5b7f1c', style.SOLID, '^'),
  'selective_ssm_plain': ('#5b7f1c', style.DASH, 'v'),
  'linear_attention': ('#ee8a00', style.SOLID, '<'),
  'retention': ('#ee8a00', style.DASH, '>'),
  'gated_delta': ('#a33515', style.SOLID, 'P'),
  'mlstm': ('#7b4fb5', style.SOLID, 'h'),
  'rwkv7': ('#cc79a7', style.SOLID, '*'),
  'hybrid': ('#7a7a7a', style.DASHDOT, 'p'),
}
_SHADES = {
  judging.HOLDS: '#cfe8d3',
  judging.FAILS: '#f3c9c5',
  judging.UNDECIDED: '#f4e7bd',
  judging.NOT_RUN: '#ffffff',
}
_LEAST = 1e-5  # Nats. Smaller losses are drawn here.


def title(network: str) -> str:
  """Returns the name of a kind of network for readers."""
  torso, kind = plans.torso_and_kind(network)
  return TITLES.get(torso, torso) + ', 2 layers' * (kind == 'deep')


def _cells(judged):
  """Returns judged claims by network, then by the name of the claim."""
  rows = {}
  for one in judged:
    rows.setdefault(one.network, {})[one.claim.name] = one
  return {
    network: row
    for network, row in rows.items()
    if any(one.ran for one in row.values())
  }


@style.styled
def overview(judged: Sequence[judging.Judged]) -> mpl_figure.Figure:
  """Draws architectures as rows and claims as columns, with verdicts as shades.

  Args:
    judged: What `claims.judge` returns, of some networks that were run.
  """
  rows = _cells(judged)
  heads = list(_HEADS)
  # Inches: the heads lean to the right, beyond the last column.
  width, height = 9.4, 0.24 * len(rows) + 2.1
  left, wide, low = 2.1, 5.4, 0.5
  figure = style.Figure(figsize=(width, height))
  ax = figure.add_axes(
    (left / width, low / height, wide / width, 0.24 * len(rows) / height)
  )
  for y, row in enumerate(rows.values()):
    for x, name in enumerate(heads):
      one = row[name]
      ax.fill_between(
        [x, x + 1],
        y,
        y + 1,
        color=_SHADES[one.verdict],
        lw=0,
      )
      if one.ran:
        ax.text(
          x + 0.5, y + 0.52, _number(one), ha='center', va='center', fontsize=6
        )
  for x in range(len(heads) + 1):
    ax.axvline(x, color='white', lw=1)
  for y in range(len(rows) + 1):
    ax.axhline(y, color='white', lw=1)
  ax.set(xlim=(0, len(heads)), ylim=(len(rows), 0))
  ax.set_yticks(np.arange(len(rows)) + 0.5, [title(x) for x in rows])
  ax.set_xticks(
    np.arange(len(heads)) + 0.5,
    [_column(next(iter(rows.values()))[name]) for name in heads],
    rotation=38,
    ha='left',
    rotation_mode='anchor',
  )
  ax.tick_params(top=True, labeltop=True, bottom=False, labelbottom=False)
  ax.tick_params(length=0)
  for spine in ax.spines.values():
    spine.set_visible(False)
  _key(figure, width, height)
  return figure


def _column(one):
  """Returns a claim's head with its bound."""
  unit = '' if one.claim.unit == 'nats' else f', {one.claim.unit}'
  return f'{_HEADS[one.claim.name]} ({one.claim.bound}{unit})'


def _number(one):
  value = one.estimate.value
  if 0 < value < 1e-3:
    return f'{value:.0e}'.replace('e-0', 'e-')
  return f'{value:.2g}'


def _key(figure, width, height):
  """Says below the table what its shades and numbers are."""
  x = 0.1
  for verdict in (judging.HOLDS, judging.FAILS, judging.UNDECIDED):
    figure.text(
      x / width,
      0.32 / height,
      verdict,
      fontsize=style.FONT,
      bbox={'facecolor': _SHADES[verdict], 'edgecolor': 'none', 'pad': 2},
    )
    x += 0.2 + 0.062 * len(verdict)
  figure.text(
    0.1 / width,
    0.1 / height,
    'Numbers are nats, or a share where it says so: of the typical network '
    '(geometric mean), of differences the mean.',
    fontsize=style.FONT,
  )


def table(judged: Sequence[judging.Judged]) -> str:
  """Returns the same as Markdown: intervals over networks, in brackets."""
  rows = _cells(judged)
  heads = ['architecture', *_HEADS.values()]
  lines = [f'| {" | ".join(heads)} |', '|---' * len(heads) + '|']
  first = next(iter(rows.values()))
  bounds = [str(first[name].claim.bound) for name in _HEADS]
  lines.append(f'| must be | {" | ".join(bounds)} |')
  for network, row in rows.items():
    cells = [_cell(row[name]) for name in _HEADS]
    lines.append(f'| {title(network)} | {" | ".join(cells)} |')
  return '\n'.join(lines) + '\n'


def _cell(one):
  if not one.ran:
    return judging.NOT_RUN
  (row,) = judging.table([one]).itertuples()
  return f'**{one.verdict}**: {tables.interval(row)}'


@style.styled
def fading(table: pd.DataFrame, networks: Sequence[str]) -> mpl_figure.Figure:
  """Draws what a prompt loses a step, the further it lies back.

  The prompt was tuned to the first 50 steps. A line is an architecture at the
  geometric mean of its networks, a mark the middle of some steps.

  Args:
    table: Rows of evidence of one version.
    networks: Which are drawn.
  """
  figure, axes = style.panels(2, 3.0, 2, sharey=True)
  handles = []
  for ax, (experiment, head) in zip(
    axes,
    (
      (study_claims.COINS, 'SoftPT'),
      (study_claims.UNTRAINED, 'SoftPT, untrained network'),
    ),
    strict=True,
  ):
    for look, network in zip(_looks(networks), networks, strict=True):
      steps, rates = _rates(table, experiment.format(network=network), 'SoftPT')
      if len(steps):
        (line,) = ax.plot(steps, rates, label=title(network), **look)
        if ax is axes[0]:
          handles.append(line)
    ax.axvline(study_claims.TUNING, color='#888888', lw=0.7, ls=style.DOT)
    ax.set(title=head, xlabel='step', xscale='log', yscale='log')
    ax.set_xticks((25, 50, 100, 200, 400), (25, 50, 100, 200, 400))
    ax.set_xticks([], minor=True)
  axes[0].set_ylabel('regret above TargetBayes (nats a step)')
  style.legend(figure, handles)
  return figure


def _looks(networks):
  """Returns how the line of each architecture is drawn."""
  others = style.looks([x for x in networks if x not in _LOOKS])
  names = ('color', 'linestyle', 'marker')
  return [
    others.get(x) or dict(zip(names, _LOOKS[x], strict=True)) for x in networks
  ]


def _rates(table, experiment, tuner):
  """Returns the middles of some steps, and what is lost a step among them."""
  rows = evidence.at(
    table,
    experiment=experiment,
    tuner=tuner,
    task='target',
    reference='bayes',
    estimator='exact',
  )
  means = rows[rows.repetitions > 0].pivot_table(
    index='pretrain_seed', columns='step', values='mean'
  )
  means = means.dropna()  # Of all steps, or of none.
  if means.empty:
    return [], []
  steps = np.array([0, *means.columns])
  lost = np.diff(means.to_numpy(np.float64), axis=1, prepend=0.0)
  rates = np.maximum(lost / np.diff(steps), _LEAST)
  return (steps[1:] + steps[:-1]) / 2, np.exp(np.log(rates).mean(0))


@style.styled
def updates(
  table: pd.DataFrame,
  networks: Sequence[str],
  configs: Configs = types.MappingProxyType({}),
) -> mpl_figure.Figure:
  """Draws how far networks are from Bayes after so many updates.

  Args:
    table: Rows of evidence of one version.
    networks: Which are drawn.
    configs: What was run, by experiment: a quick one had fewer updates. By
      default it is the plan.
  """
  worlds = study_claims.IS_BAYES
  figure, axes = style.panels(len(worlds), 3.0, 3)
  handles, ticks = {}, {*study_claims.UPDATES}
  for ax, (world, bound) in zip(axes, worlds.items(), strict=True):
    ax.axhspan(_LEAST, bound, color='#e9f3e9', lw=0, zorder=0)
    for look, network in zip(_looks(networks), networks, strict=True):
      values = _after_updates(table, network, world, configs)
      if values:
        (handles[network],) = ax.plot(
          *zip(*values.items(), strict=True), **look
        )
        handles[network].set_label(title(network))
        ticks |= {*values}
    ax.set(title=world, xlabel='updates', xscale='log', yscale='log')
    low = min([bound, *(y for line in ax.lines for y in line.get_ydata())])
    ax.set_ylim(bottom=low / 2)
  for ax in axes:
    ax.set_xlim(min(ticks) / 1.4, max(ticks) * 1.4)
    ax.set_xticks(sorted(ticks), sorted(ticks))
    ax.set_xticks([], minor=True)
  axes[0].set_ylabel(
    f'KL from exact Bayes\n(nats in {study_claims.PRETRAINING} tokens)'
  )
  style.legend(figure, list(handles.values()))
  return figure


def _after_updates(table, network, world, configs):
  """Returns how far a network is from Bayes, by the updates that it had."""
  values = {}
  for count in study_claims.UPDATES:
    name = f'{network}-{world}'
    if count != study_claims.UPDATES[-1]:
      name += f'-after{count}'
    mean = judging.Mean('NoTuning', name, study_claims.PRETRAINING, 'world')
    rows = mean.rows(table)
    rows = rows[rows.repetitions > 0]
    if len(rows):
      if name in configs:
        count = configs[name].pretraining.num_steps
      logs = np.log(rows['mean'].to_numpy(np.float64))
      values[count] = np.exp(logs.mean())
  return values


def draw(
  table_of_rows: pd.DataFrame,
  judged: Sequence[judging.Judged],
  into: str | os.PathLike[str],
  configs: Configs = types.MappingProxyType({}),
) -> list[pathlib.Path]:
  """Writes the figures, as PNG and PDF, and the table beside their folder.

  Args:
    table_of_rows: Rows of evidence of one version.
    judged: The claims.
    into: A folder.
    configs: What was run, see `updates`.

  Returns:
    The paths that were written.
  """
  networks = list(_cells(judged))
  if not networks:
    return []
  path = pathlib.Path(into).parent / 'table.md'
  files.write_text(path, table(judged), 'results')
  shallow = [x for x in networks if not plans.torso_and_kind(x)[1]]
  makers = {
    'overview': functools.partial(overview, judged),
    'fading': functools.partial(fading, table_of_rows, shallow),
    'updates': functools.partial(updates, table_of_rows, shallow, configs),
  }
  return [path, *style.write_all(makers, into)]
