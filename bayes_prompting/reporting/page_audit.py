"""The audits of a report: what `dynamics.audit` left, as text for tables."""

from collections.abc import Mapping
import pathlib
from typing import Any

from bayes_prompting import errors
from bayes_prompting.reporting import page_parts
from bayes_prompting.system import files

# The class of each status's badge, and a sign beside its colour.
STATUSES = {
  'passes': ('good', '✓'),
  'fails': ('bad', '✗'),
  'not judged': ('none', '–'),
}


def read(folder: pathlib.Path) -> dict[str, Any] | None:
  """Returns the audits of a run, as plain values; None where none was made.

  Args:
    folder: `audit` of a workdir, with `audit.json` and figures.

  Returns:
    `audits`, each with `name`, `about`, `verdict` and `rows`, which have the
    text of a table's cells; `figures`; and `csv`, the text of `audit.csv`.

  Raises:
    UserError: If a file cannot be read, or is none of ours.
  """
  file = folder / 'audit.json'
  if not file.is_file():
    return None
  audits = files.read_json(file, 'workdir').get('audits')
  try:
    shown = [_audit(audit) for audit in audits]
  except (KeyError, TypeError, ValueError, AttributeError):
    raise errors.UserError(
      f'workdir: cannot read {str(file)!r} as audits; move it aside, and make '
      'them again: bayes-prompting audit'
    ) from None
  return {
    'audits': shown,
    'figures': page_parts.figures(folder),
    'csv': files.read_text(folder / 'audit.csv', 'workdir'),
  }


def _audit(audit: Mapping[str, Any]) -> dict[str, Any]:
  return {
    'name': f'{audit["method"]}, network {audit["network"]}',
    'about': (
      f'{audit["num_sequences"]} sequences of length {audit["length"]} from '
      f'{audit["task"]}; a check fails above {audit["tolerance"]:g} nats'
    ),
    'verdict': str(audit['verdict']),
    'rows': [_row(check) for check in audit['checks']],
  }


def _row(check: Mapping[str, Any]) -> dict[str, Any]:
  kind, sign = STATUSES[check['status']]
  value, low, high = (_number(check[name]) for name in ('value', 'low', 'high'))
  return {
    'title': str(check['title']),
    'measured': f'{value} [{low}, {high}]' if value else '',
    'unit': str(check['unit']),
    'p': _number(check['adjusted']),
    'status': check['status'],
    'kind': kind,
    'sign': sign,
    'counts': 'yes' if check['counts'] else 'no',
    'sentence': str(check['sentence']),
  }


def _number(value: float | None) -> str:
  """Returns a number in two digits; '' for one that JSON lacks."""
  return '' if value is None else f'{value:.2g}'.replace('-', '−')
