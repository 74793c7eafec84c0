"""The claims of a report: a CSV file of them, as text for its table."""

from collections.abc import Iterable, Mapping, Sequence
import csv
import io
import itertools
import math
import pathlib
from typing import Any

from bayes_prompting import errors
from bayes_prompting import settings

# Of each verdict: the class of its badge, and a sign beside its colour.
VERDICTS = {
  'holds': ('good', '✓'),
  'does not hold': ('bad', '✗'),
  'undecided': ('open', '?'),
  'not run': ('none', '–'),
}
# Of which nothing is shown.
_HIDDEN = ('sequences', 'name')
# What is folded away below a claim, and the columns of its table after it: a
# heading, and the columns of the file that it is made of.
_DETAILS = (
  ('decided by', 'quantity'),
  ('why this bound', 'reason'),
  ('run', 'experiment'),
)
_COLUMNS = (
  ('Network', ('network',)),
  ('Measured [95% interval]', ('value', 'low', 'high', 'unit')),
  ('Bound', ('bound',)),
  ('Verdict', ('verdict',)),
  ('Networks × repetitions', ('networks', 'repetitions', 'stopped')),
)


# Where runs are small, and what of.
_SIZES = {
  ('pretraining', 'num_steps'): 'updates of pretraining',
  ('tuning', 'num_steps'): 'updates of tuning',
  ('tuning', 'batch_size'): 'sequences a batch of tuning',
  ('evaluation', 'num_sequences'): 'sequences of evaluation',
}


def smaller(configs: Iterable[Mapping[str, Any]]) -> str:
  """Returns in what runs are smaller than the paper's, '' if in nothing.

  Args:
    configs: Of the runs, plain. No update of pretraining at all is an untrained
      network, and not small.
  """
  paper, configs, found = settings.base_config(), list(configs), []
  for (section, field), what in _SIZES.items():
    wanted = paper[section][field]
    values = {config[section][field] for config in configs}
    values = sorted(value for value in values if 0 < value < wanted)
    if values:
      shown = ' or '.join(map(str, values))
      found.append(f'{shown} {what}, not {wanted}')
  return '; '.join(found)


def _shown_number(text: str) -> str:
  """Returns a number of a CSV file in three digits; other text as it is."""
  try:
    value = float(text)
  except ValueError:
    return text
  if math.isnan(value):
    return ''
  if math.isinf(value):
    return '∞' if value > 0 else '−∞'
  return f'{value:.3g}'


def _cell(heading: str, row: Mapping[str, str]) -> str:
  """Returns the text of a cell."""
  parts = next(parts for name, parts in _COLUMNS if name == heading)
  first, *others = (row.get(part, '') for part in parts)
  if heading == 'Networks × repetitions':
    *counts, left_out = first, *others
    shown = ' × '.join(x for x in counts if x not in ('', '0'))
    if first == '1':
      shown += ' (this network alone)'
    if left_out not in ('', '0'):
      shown += f' ({left_out} stopped)'
    return shown.strip()
  if heading != 'Measured [95% interval]':
    return first
  low, high, unit = map(_shown_number, others)
  interval = f'[{low}, {high}]' if low or high else ''
  value = _shown_number(first)
  return ' '.join(filter(None, (value, interval, unit))) if value else '–'


def _claim(rows: Sequence[Mapping[str, str]]) -> dict[str, Any]:
  """Returns the text of a claim, and what is folded away below it.

  Args:
    rows: All that are about it; what they say differently is told of each.
  """
  details = []
  for name, part in _DETAILS:
    texts = [row.get(part, '') for row in rows]
    if len(set(texts)) > 1:
      networks = [row.get('network', '') for row in rows]
      texts = [f'{x} ({n})' for x, n in zip(texts, networks, strict=True) if x]
    details.append((name, '; '.join(dict.fromkeys(filter(None, texts)))))
  return {
    'text': rows[0].get('claim', ''),
    'details': [pair for pair in details if pair[1]],
    'span': len(rows),
  }


def read(path: pathlib.Path) -> dict[str, Any] | None:
  """Reads a claims table.

  Args:
    path: A CSV file with a header row. Columns that are not known are shown by
      their names.

  Returns:
    `headings`, `rows`, `counts` by verdict, and the file's `text`; None if
    there is no such file. A row has `cells` in their order, its `verdict`, the
    badge's `kind` and `sign`, and, if it is the first of several about one
    claim, `claim`: `text`, `details` (pairs of texts) and `span`, how many.

  Raises:
    UserError: If it cannot be read.
  """
  if not path.is_file():
    return None
  try:
    text = path.read_text(encoding='utf-8-sig')
    table = [*csv.reader(io.StringIO(text), strict=True)]
  except (OSError, UnicodeDecodeError, csv.Error) as error:
    raise errors.UserError(
      f'workdir: cannot read {str(path)!r} as a table of claims ({error})'
    ) from None
  header = table[0] if table else []
  rows = [dict(zip(header, row, strict=False)) for row in table[1:] if row]
  used = {'claim', *(part for _, part in _DETAILS), *_HIDDEN}
  used |= {part for _, parts in _COLUMNS for part in parts}
  known = [heading for heading, parts in _COLUMNS if set(parts) & set(header)]
  further = [name for name in header if name not in used]
  found, counts = [], dict.fromkeys(VERDICTS, 0)
  for _, group in itertools.groupby(rows, lambda row: row.get('claim', '')):
    group = [*group]
    for number, row in enumerate(group):
      verdict = row.get('verdict', '').strip()
      counts[verdict] = counts.get(verdict, 0) + 1
      kind, sign = VERDICTS.get(verdict, ('none', '–'))
      cells = [_cell(heading, row) for heading in known]
      found.append(
        {
          'claim': None if number else _claim(group),
          'cells': cells + [row.get(name, '') for name in further],
          'verdict': verdict,
          'kind': kind,
          'sign': sign,
        }
      )
  counts = {name: count for name, count in counts.items() if name and count}
  headings = [*known, *further]
  return {'headings': headings, 'rows': found, 'counts': counts, 'text': text}
