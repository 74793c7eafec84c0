"""The page of claims: each with its networks, interval, bound and verdict.

It is one file that needs no network. A reader may set another bound, and the
verdicts follow; without JavaScript they are those of the bounds as set.
"""

from collections.abc import Mapping, Sequence
import math
import os
import pathlib
import types

import numpy as np

import bayes_prompting
from bayes_prompting.claims import judge
from bayes_prompting.claims import tables
from bayes_prompting.reporting import page_claims
from bayes_prompting.reporting import page_parts
from bayes_prompting.settings import plans
from bayes_prompting.system import files

NAME = 'report.html'
_WIDTH = 600  # Of a strip, in its own units.
_LEAST = 1e-4  # What is smaller is drawn here, on a logarithmic axis.


def write(
  judged: Sequence[judge.Judged],
  folder: str | os.PathLike[str],
  title: str,
  about: str,
  commands: Sequence[tuple[str, str]] = (),
  rows: int = 0,
  titles: Mapping[str, str] = types.MappingProxyType({}),
) -> pathlib.Path:
  """Writes the page into a folder, see `render`.

  Returns:
    Its path.

  Raises:
    UserError: If it cannot be written.
  """
  path = pathlib.Path(folder) / NAME
  page = render(judged, title, about, commands, rows, titles)
  files.write_text(path, page, 'report')
  return path


def render(
  judged: Sequence[judge.Judged],
  title: str,
  about: str,
  commands: Sequence[tuple[str, str]] = (),
  rows: int = 0,
  titles: Mapping[str, str] = types.MappingProxyType({}),
) -> str:
  """Returns the page.

  Args:
    judged: What `judge.judge` returns.
    title: Of the page.
    about: A sentence or two on what was run.
    commands: What is to be said of a command, and the command.
    rows: How many rows of evidence there are.
    titles: Of torsos whose names are no titles, such as `lstm`.
  """
  left_out = tables.absent((one.network, one.verdict) for one in judged)
  judged = [
    one
    for one in judged
    if plans.torso_and_kind(one.network)[0] not in left_out
  ]
  by_claim = {}
  for one in judged:
    by_claim.setdefault(one.claim.name, []).append(one)
  counts = {x: sum(one.verdict == x for one in judged) for x in judge.VERDICTS}
  environment = page_parts.environment()
  return environment.get_template('claims.html.jinja').render(
    title=title,
    about=about,
    left_out=[titles.get(torso, torso) for torso in left_out],
    claims=[_claim(several, titles) for several in by_claim.values()],
    counts={verdict: count for verdict, count in counts.items() if count},
    commands=commands,
    rows=rows,
    verdicts=page_claims.VERDICTS,
    version=bayes_prompting.__version__,
  )


def _claim(several, titles):
  """Returns what the page says of a claim about some kinds of network."""
  claim = several[0].claim
  axis = _Axis(several)
  at = axis.place(claim.bound.number)
  shade = (0, at) if claim.bound.sign == '<' else (at, _WIDTH - at)
  return {
    'name': claim.name,
    'text': claim.text,
    'quantity': claim.quantity,
    'reason': claim.reason,
    'unit': claim.unit,
    'sign': claim.bound.sign,
    'bound': f'{claim.bound.number:g}',
    'log': axis.log,
    'low': f'{axis.low:.6g}',
    'high': f'{axis.high:.6g}',
    'at': at,
    'shade': shade,
    'ticks': axis.ticks(),
    'rows': [_row(one, axis, titles) for one in several],
  }


def _row(one, axis, titles):
  """Returns what the page says of a claim about one kind of network."""
  estimate, (torso, kind_of) = one.estimate, plans.torso_and_kind(one.network)
  ends = [estimate.low, estimate.high]
  known = not np.isnan(ends).any()
  kind, sign = page_claims.VERDICTS[one.verdict]
  return {
    'network': f'{titles.get(torso, torso)} {kind_of}'.strip(),
    'low': f'{ends[0]:.9g}' if known else '',
    'high': f'{ends[1]:.9g}' if known else '',
    'networks': [axis.place(x) for x in one.values if not np.isnan(x)],
    'interval': [axis.place(x) for x in ends] if known else None,
    'mean': axis.place(estimate.value) if np.isfinite(estimate.value) else None,
    'verdict': one.verdict,
    'kind': kind,
    'sign': sign,
    'said': _said(one),
  }


def _said(one):
  """Returns the numbers of a row, as text."""
  if not one.ran:
    return ''
  estimate = one.estimate
  if one.exact:
    return f'{estimate.value:.4f}, exact'
  parts = [f'{estimate.value:.3g}']
  if not math.isnan(estimate.low):
    parts = [f'{estimate.value:.3g} [{estimate.low:.3g}, {estimate.high:.3g}]']
  if one.claim.scale == 'log' and math.isfinite(estimate.arithmetic):
    parts.append(f'mean {estimate.arithmetic:.3g}')
  networks = f'{estimate.networks} network{"s" * (estimate.networks != 1)}'
  if one.repetitions > 1:
    networks += f', at least {one.repetitions} tunings of each'
  parts.append(networks)
  if one.stopped:
    parts.append(f'{one.stopped} runs stopped and left out')
  if one.to_decide:
    parts.append(one.to_decide)
  return '; '.join(parts)


class _Axis:
  """Where the numbers of a claim are on its strips.

  Attributes:
    log: Whether it is logarithmic.
    low: Its left end.
    high: Its right end.
  """

  def __init__(self, several):
    claim = several[0].claim
    self.log = claim.scale == 'log' and not any(x.exact for x in several)
    seen = [claim.bound.number]
    for one in several:
      seen += [*one.values, one.estimate.value]
      seen += [one.estimate.low, one.estimate.high]
    seen = [float(x) for x in seen if np.isfinite(x)]
    if self.log:
      seen = [max(x, _LEAST) for x in seen]
      self.low, self.high = min(seen) / 1.6, max(seen) * 1.6
    else:
      room = 0.08 * ((max(seen) - min(seen)) or 1.0)
      self.low, self.high = min(seen) - room, max(seen) + room

  def place(self, value):
    """Returns where a number is; at an end if it is outside."""
    ends = self.low, self.high
    value = min(max(float(value), self.low), self.high)
    if self.log:
      value, *ends = map(math.log, (value, *ends))
    return round(_WIDTH * (value - ends[0]) / (ends[1] - ends[0]), 1)

  def ticks(self):
    """Returns some round numbers on it, each with where it is."""
    if self.log:
      decades = range(
        math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1
      )
      few = self.high / self.low > 100
      values = [
        digit * 10.0**decade
        for decade in decades
        for digit in ((1,) if few else (1, 2, 5))
      ]
    else:
      span = self.high - self.low
      step = 10 ** math.floor(math.log10(span / 3))
      step *= next(x for x in (1, 2, 5, 10) if span / (step * x) <= 6)
      first = math.ceil(self.low / step)
      values = [
        step * i for i in range(first, math.floor(self.high / step) + 1)
      ]
    return [
      (self.place(x), f'{x:.6g}') for x in values if self.low <= x <= self.high
    ]
