"""The claims of a report: a CSV file of them, as text for its table."""

from collections.abc import Mapping
import csv
import io
import math
import pathlib
from typing import Any

from bayes_prompting import errors

# Of each verdict: the class of its badge, and a sign beside its colour.
VERDICTS = {
  'holds': ('good', '✓'),
  'does not hold': ('bad', '✗'),
  'undecided': ('open', '?'),
  'not run': ('none', '–'),
}
# Of which nothing is shown.
_HIDDEN = ('sequences', 'name')
# Columns of a claims table: heading, and those of the file that it is made of.
_COLUMNS = (
  ('Verdict', ('verdict',)),
  ('Claim', ('claim', 'reason')),
  ('Network', ('network',)),
  ('Quantity', ('quantity',)),
  ('Value [95% interval]', ('value', 'low', 'high', 'unit')),
  ('Claimed', ('bound',)),
  ('Networks × repetitions', ('networks', 'repetitions')),
  ('Experiment', ('experiment',)),
)


def _shown_number(text: str) -> str:
  """Returns a number of a CSV file in four digits; other text as it is."""
  try:
    value = float(text)
  except ValueError:
    return text
  if math.isnan(value):
    return ''
  if math.isinf(value):
    return '∞' if value > 0 else '−∞'
  return f'{value:.4g}'


def _claim_cell(heading: str, row: Mapping[str, str]) -> dict[str, str]:
  """Returns `text`, and small print `note` if any, of a cell."""
  parts = next(parts for name, parts in _COLUMNS if name == heading)
  first, *others = (row.get(part, '') for part in parts)
  if heading == 'Claim':
    return {'text': first, 'note': others[0]}
  if heading == 'Networks × repetitions':
    return {'text': ' × '.join(filter(None, (first, *others)))}
  if heading != 'Value [95% interval]':
    return {'text': first}
  low, high, unit = map(_shown_number, others)
  interval = f'[{low}, {high}]' if low or high else ''
  value = _shown_number(first)
  if not value:
    return {'text': '–'}
  return {'text': ' '.join(filter(None, (value, interval, unit)))}


def read(path: pathlib.Path) -> dict[str, Any] | None:
  """Reads a claims table.

  Args:
    path: A CSV file with a header row. Columns that are not known are shown by
      their names.

  Returns:
    `headings`, `rows` (each with `cells` in their order, its `verdict` and the
    badge's `kind` and `sign`), `counts` by verdict, and the file's `text`; None
    if there is no such file.

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
  used = {part for _, parts in _COLUMNS for part in parts}
  known = [heading for heading, parts in _COLUMNS if set(parts) & set(header)]
  further = [name for name in header if name not in {*used, *_HIDDEN}]
  found, counts = [], dict.fromkeys(VERDICTS, 0)
  for row in rows:
    verdict = row.get('verdict', '').strip()
    counts[verdict] = counts.get(verdict, 0) + 1
    kind, sign = VERDICTS.get(verdict, ('none', '–'))
    cells = [_claim_cell(heading, row) for heading in known]
    cells += [{'text': row.get(name, '')} for name in further]
    found.append(
      {'cells': cells, 'verdict': verdict, 'kind': kind, 'sign': sign}
    )
  counts = {name: count for name, count in counts.items() if name and count}
  headings = [*known, *further]
  return {'headings': headings, 'rows': found, 'counts': counts, 'text': text}
