"""Tables of judged claims: for a terminal, as Markdown and as CSV."""

from collections.abc import Iterable
import io
import os
import pathlib
from typing import Any

import numpy as np
import pandas as pd

from bayes_prompting.claims import judge
from bayes_prompting.settings import plans
from bayes_prompting.system import files


def interval(row: Any) -> str:
  """Returns value and interval as text."""
  if np.isnan(row.value):
    return ''
  if row.networks == 0:
    value = f'{row.value:.3g}' if row.unit != 'nats' else f'{row.value:.4f}'
    return value + ' exact' * bool(row.low == row.high)
  value, *ends = map(digits, (row.value, row.low, row.high))
  if np.isnan(row.low):  # Of one network.
    return value
  return f'{value} [{", ".join(ends)}]'


def digits(value: float) -> str:
  """Returns a number with three decimals, or two digits where those are 0."""
  return f'{value:.3f}' if abs(value) >= 0.01 or not value else f'{value:.2g}'


def absent(verdicts: Iterable[tuple[str, str]]) -> list[str]:
  """Returns the torsos of which nothing was run, if something was of others.

  A reader of one torso does not want to look for it among many empty rows.

  Args:
    verdicts: Of each claim about a kind of network: the network, the verdict.
  """
  ran = {}
  for network, verdict in verdicts:
    torso, _ = plans.torso_and_kind(network)
    ran[torso] = ran.get(torso, False) or verdict != judge.NOT_RUN
  return [x for x in ran if not ran[x]] if any(ran.values()) else []


def _present(table):
  """Returns the rows about torsos that were run, and the others' names."""
  left_out = absent(zip(table.network, table.verdict, strict=True))
  torsos = [plans.torso_and_kind(x)[0] for x in table.network]
  return table[[x not in left_out for x in torsos]], left_out


def text(table: pd.DataFrame) -> str:
  """Returns the table for a terminal, with the number of each verdict."""
  table, left_out = _present(table)
  ran = table[table.verdict != judge.NOT_RUN]
  lines = [
    f'{row.verdict:<14} {row.claim} ({row.network}): {interval(row)} '
    f'{row.unit}, bound {row.bound}{_size(row)}'
    for row in ran.itertuples()
  ]
  counts = table.verdict.value_counts()
  said = [f'{counts[x]} {x}' for x in judge.VERDICTS if x in counts]
  lines.append(f'Claims: {", ".join(said)}.')
  if left_out:
    lines.append(f'Nothing was run of {", ".join(left_out)}.')
  return '\n'.join(lines)


def markdown(table: pd.DataFrame) -> str:
  """Returns the table as Markdown, torsos side by side, without reasons.

  In brackets stand 95% intervals, then networks x repetitions and how many
  stopped runs are left out. Torsos of which nothing was run stand below.
  """
  table, left_out = _present(table)
  split = [plans.torso_and_kind(x) for x in table.network]
  table = table.assign(
    torso=[torso for torso, _ in split], kind=[kind for _, kind in split]
  )
  columns = list(dict.fromkeys(table.torso))
  lines = [
    f'| claim | must be | {" | ".join(columns)} |',
    '|---' * (2 + len(columns)) + '|',
  ]
  for (_, text, kind, bound), rows in table.groupby(
    ['name', 'claim', 'kind', 'bound'], sort=False
  ):
    by_torso = {row.torso: _cell(row) for row in rows.itertuples()}
    cells = ' | '.join(by_torso.get(torso, '') for torso in columns)
    note = f' ({kind})' if kind and kind not in text.lower() else ''
    lines.append(f'| {text}{note} | {bound} | {cells} |')
  if left_out:
    lines += ['', f'Nothing was run of {", ".join(left_out)}.']
  return '\n'.join(lines) + '\n'


def _cell(row):
  """Returns a verdict as Markdown, with the numbers that it rests on."""
  if row.verdict == judge.NOT_RUN:
    return judge.NOT_RUN
  unit = '' if row.unit in ('nats', 'verdicts') else f' ({row.unit})'
  return f'**{row.verdict}**: {interval(row)}{unit}{_size(row)}'


def _size(row):
  """Returns networks x repetitions in brackets; '' for an exact number."""
  said = []
  if row.networks:
    said.append(f'{row.networks} x {row.repetitions}')
  if row.networks == 1:
    said.append('this network alone')
  if row.stopped > 0:
    said.append(f'{int(row.stopped)} stopped')
  return f' ({", ".join(said)})' if said else ''


def save(table: pd.DataFrame, folder: str | os.PathLike[str]) -> None:
  """Writes `claims.csv` and `claims.md`, each under its name once whole.

  Raises:
    UserError: If one cannot be written.
  """
  folder = pathlib.Path(folder)
  rows = table.to_csv(index=False, float_format='%.6g')
  # Both have the same digits, so that one can be made from the other.
  rounded = pd.read_csv(io.StringIO(rows))
  for name, text in (('claims.csv', rows), ('claims.md', markdown(rounded))):
    files.write_text(folder / name, text, 'workdir')
