"""The claims of a report: reads their CSV file as text for a table."""

from collections.abc import Iterable, Mapping, Sequence
import csv
import io
import itertools
import math
import pathlib
from typing import Any

from bayes_prompting import errors
from bayes_prompting import settings

# The class of each verdict's badge, and a sign beside its colour.
VERDICTS = {
  'holds': ('good', '✓'),
  'does not hold': ('bad', '✗'),
  'undecided': ('open', '?'),
  'not run': ('none', '–'),
}
# Columns of the file that are not shown.
_HIDDEN = ('values', 'scale', 'mean', 'name')
# Details that are folded away below a claim: a name, and the file's column.
_DETAILS = (
  ('decided by', 'quantity'),
  ('why this bound', 'reason'),
  ('what would decide it', 'to_decide'),
  ('run', 'experiment'),
)
# Columns of the page's table: a heading, and the file's columns behind it.
_COLUMNS = (
  ('Network', ('network',)),
  ('Measured [95% interval]', ('value', 'low', 'high', 'unit')),
  ('Bound', ('bound',)),
  ('Verdict', ('verdict',)),
  ('Networks × repetitions', ('networks', 'repetitions', 'stopped')),
)
# Sizes in which a run may be smaller than the paper's.
_SIZES = {
  ('pretraining', 'num_steps'): 'updates of pretraining',
  ('tuning', 'num_steps'): 'updates of tuning',
  ('tuning', 'batch_size'): 'sequences a batch of tuning',
  ('evaluation', 'num_sequences'): 'sequences of evaluation',
}


def smaller(configs: Iterable[Mapping[str, Any]]) -> str:
  """Returns in what runs are smaller than the paper's; '' if in nothing.

  Args:
    configs: The runs' configurations, plain. A run without any update of
      pretraining has an untrained network; it does not count as small.
  """
  paper, configs, differences = settings.base_config(), list(configs), []
  for (section, field), what in _SIZES.items():
    wanted = paper[section][field]
    values = {config[section][field] for config in configs}
    values = sorted(value for value in values if 0 < value < wanted)
    if values:
      shown = ' or '.join(map(str, values))
      differences.append(f'{shown} {what}, not {wanted}')
  return '; '.join(differences)


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
  first, *others = (row.get(column, '') for column in dict(_COLUMNS)[heading])
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
    rows: All rows about the claim. A detail in which they differ is told with
      the network of each row.
  """
  details = []
  for name, column in _DETAILS:
    texts = [row.get(column, '') for row in rows]
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
    path: A CSV file with a header row. Unknown columns are shown under their
      own names.

  Returns:
    `headings`, `rows`, `counts` by verdict, and the file's `text`; None if
    there is no such file. A row has `cells` in the order of headings, its
    `verdict`, and the badge's `kind` and `sign`. The first row about a claim
    has `claim`: its `text`, `details` (pairs of texts), and `span`, the number
    of rows about it. In other rows `claim` is None.

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
  used = {'claim', *dict(_DETAILS).values(), *_HIDDEN}
  used |= {column for _, columns in _COLUMNS for column in columns}
  known = [name for name, columns in _COLUMNS if set(columns) & set(header)]
  further = [name for name in header if name not in used]
  shown, counts = [], dict.fromkeys(VERDICTS, 0)
  for _, group in itertools.groupby(rows, lambda row: row.get('claim', '')):
    group = [*group]
    for number, row in enumerate(group):
      verdict = row.get('verdict', '').strip()
      counts[verdict] = counts.get(verdict, 0) + 1
      kind, sign = VERDICTS.get(verdict, ('none', '–'))
      cells = [_cell(heading, row) for heading in known]
      shown.append(
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
  return {'headings': headings, 'rows': shown, 'counts': counts, 'text': text}
