"""The frontier as a page in Markdown: winners, rankings, and marks."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from bayes_prompting.settings import plans
from bayes_prompting.studies.frontier import claims as study_claims
from bayes_prompting.studies.frontier import figures
from bayes_prompting.studies.frontier import table as study_table

MARK = '●'
_MOST_NAMED = 4  # Of tuners that are nearly as good.


def render(
  cells: pd.DataFrame, sections: pd.DataFrame, devices: Sequence[str]
) -> str:
  """Returns the page.

  Args:
    cells: What `table.cells` returns.
    sections: What `table.of_torsos` returns of it.
    devices: What the seconds were measured on.
  """
  overall = study_table.overall(sections)
  kinds = figures.in_order(overall.target, figures.KINDS)
  lines = [
    '# Every way to adapt, on one scale',
    '',
    'This page is made by `bayes-prompting frontier` from `networks.csv`, and '
    'overwritten by it. `frontier.csv` has the same for each torso and world, '
    'with intervals over networks. The worlds of a torso, and then the torsos, '
    'are put together by geometric means. What is below '
    f'{study_table.LEAST:g} nats counts as that.',
    '',
    '![Regret of each tuner against what it takes](figures/frontier.png)',
    '',
    '## What is best',
    '',
    f'The least regret within {study_claims.TUNING} tokens; in brackets those '
    f'that come within {study_claims.WITHIN:g} nats of it, and the one among '
    'them that tunes the fewest numbers. Of worlds those count that were tried '
    f'with {study_claims.FEW} sequences.',
    '',
    *_winners(study_table.winners(cells), kinds),
    '',
    '## Rankings',
    '',
    f'*Regret* is above Bayes of the target, in nats within '
    f'{study_claims.TUNING} tokens; *later* within {study_claims.LAST}. '
    '*Forgotten* is what the network loses on its pretraining task within '
    f'{study_claims.PRETRAINING} tokens beyond what it lost before, as long as '
    'what was tuned is in place. *Multiply-adds* are those of the matrix '
    'products of one update, or of scoring one candidate. *Seconds* are of all '
    f'updates, without compiling{_on(devices)}. *Sequences* is how '
    f'many of the target bring the regret within {study_claims.WITHIN:g} nats, '
    f'in the world that asks for most. {MARK} marks what no other tuner '
    'dominates in all of these at once, seconds apart, in the two digits of '
    'the table.',
  ]
  for kind in kinds:
    lines += ['', f'### {figures.KINDS.get(kind, kind).capitalize()}', '']
    lines += _ranking(overall[overall.target == kind], sections)
    lines += _untuned(cells[cells.target == kind])
  return '\n'.join(lines) + '\n'


def title(torso: str) -> str:
  """Returns the name of a kind of network for readers."""
  name, kind = plans.torso_and_kind(torso)
  return figures.TITLES.get(torso, f'{name} {kind}'.strip())


def _on(devices):
  return f', on {", ".join(devices)}' if devices else ', and were not measured'


def _winners(winners, kinds):
  """Returns a table with a row for each situation, and torsos side by side."""
  torsos = figures.in_order((x.torso for x in winners), figures.TITLES)
  if not torsos:
    return ['No world was tried with few sequences yet.']
  lines = [
    f'| target | sequences | {" | ".join(map(title, torsos))} |',
    '|---' * (2 + len(torsos)) + '|',
  ]
  by_place = {(x.target, x.size, x.torso): x for x in winners}
  for kind in kinds:
    for size in dict.fromkeys(x.size for x in winners):
      cells = [_winner(by_place.get((kind, size, x))) for x in torsos]
      if any(cells):
        name = figures.KINDS.get(kind, kind)
        lines.append(f'| {name} | {size:,} | {" | ".join(cells)} |')
  return lines


def _winner(winner):
  if winner is None:
    return ''
  text = f'**{winner.best}** {nats(winner.regret)}'
  if not winner.near:
    return text
  named = ', '.join(winner.near[:_MOST_NAMED])
  more = len(winner.near) - _MOST_NAMED
  named += f', {more} more' if more > 0 else ''
  return f'{text} ({named}; smallest {winner.smallest})'


def _ranking(rows, sections):
  torsos = figures.in_order(sections.torso, figures.TITLES)
  kind = rows.target.iloc[0]
  heads = ['', 'tuner', 'regret', *(f'{title(x)}' for x in torsos), 'later']
  heads += ['forgotten', 'tuned numbers', 'multiply-adds', 'seconds']
  lines = [f'| {" | ".join([*heads, "sequences"])} |']
  lines.append('|---' * (len(heads) + 1) + '|')
  of_kind = sections[sections.target == kind].set_index(['torso', 'tuner'])
  for row in rows.itertuples():
    by_torso = [
      nats(of_kind.regret[torso, row.tuner])
      if (torso, row.tuner) in of_kind.index
      else ''
      for torso in torsos
    ]
    cells = [
      f'{row.rank}',
      f'{row.tuner}{f" {MARK}" * row.undominated}',
      nats(row.regret),
      *by_torso,
      nats(row.later),
      nats(row.forgotten),
      study_table.count(row.tuned_numbers),
      study_table.count(row.multiply_adds),
      study_table.count(row.seconds),
      sequences(row.sequences),
    ]
    lines.append(f'| {" | ".join(cells)} |')
  return lines


def _untuned(cells):
  """Returns what networks lose without any tuning, as a paragraph."""
  base = cells[cells.tuner == study_table.BASE]
  by_torso = dict([*base.groupby('torso')])
  said = [
    f'{nats(study_table.geometric(by_torso[x].regret))} ({title(x)})'
    for x in figures.in_order(by_torso, figures.TITLES)
  ]
  return ['', f'Untuned networks lose {", ".join(said)}.'] if said else []


def nats(value: float) -> str:
  """Returns nats in two digits; '' for NaN."""
  if np.isnan(value):
    return ''
  if study_table.two_digits(value) <= study_table.LEAST:
    return f'≤ {study_table.LEAST:g}'
  return study_table.count(value)


def sequences(value: float) -> str:
  """Returns how many sequences are needed; '' for NaN."""
  if np.isinf(value):
    return f'more than {study_claims.MOST:,}'
  return '' if np.isnan(value) else f'{value:,.0f}'
