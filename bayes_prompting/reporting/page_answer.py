"""The answer of a report: which method lost least, by how much, how sure.

Numbers are those of `results.ranking`; here they become text.
"""

from collections.abc import Sequence
import math
from typing import Any

import numpy as np
import xarray as xr

from bayes_prompting.results import ranking as ranking_lib
from bayes_prompting.results import selection
from bayes_prompting.results import summary

_BAYES = ('TargetBayes', 'EvalBayes')
_NAMED = 3  # A sentence names so many methods, and counts the rest.
_MOST_DIGITS = 6  # After the point.
_ROUNDING = 1e-9  # Nats; what is smaller needs no digits.
_TIED = 'cannot be told apart'
# By what an interval decides: the class of the badge, a sign, and words.
_BADGES = {
  True: ('good', '✓', 'told apart'),
  False: ('open', '?', _TIED),
  None: ('none', '–', 'no interval'),
}


def answers(dataset: xr.Dataset) -> list[dict[str, Any]]:
  """Returns what the page says of each task, the target first.

  Args:
    dataset: As loaded, or as `selection.choose` leaves it.

  Returns:
    For each task what `answer` returns, at the first report step.
  """
  chosen = selection.choose(dataset)
  target = chosen.attrs.get('target')
  tasks = sorted(chosen.eval_task.values.tolist(), key=lambda x: x != target)
  step = int(chosen.report_step.values[0])
  found = [
    answer(ranking_lib.rank(chosen, task, step), task == target)
    for task in tasks
  ]
  # Most often it is the same of all tasks, and said once.
  for other in found[1:]:
    if other['sure'] == found[0]['sure']:
      other['sure'] = ''
  return found


def answer(ranking: ranking_lib.Ranking, is_target: bool) -> dict[str, Any]:
  """Returns the text about one task, as plain values.

  Args:
    ranking: Of the task.
    is_target: Whether methods were tuned to it.

  Returns:
    `task`; `is_target`; `step`; `unit`; `above`, such as `CTW`, or ''; `best`,
    the name of the best method, or ''; `sentence`, which goes on where that
    name ends; `comparisons` of the best with the next, with no tuning and with
    the reference, each with `tuner`, `what`, `text`, `interval` and `badge`;
    `sure`, what the intervals say and do not; `rows` of the ranking, each with
    `rank`, `tuner`, `regret` and `behind` (a number, and its interval), `badge`
    and `runs`; and the rows of the best and the next, `own` and `next`, or
    None.
  """
  scale = _Scale(ranking)
  ranked = ranking.ranked
  best = ranked[0] if ranked else None
  rows = [_row(standing, scale) for standing in ranking.standings]
  by_name = {row['tuner']: row for row in rows}
  return {
    'task': ranking.task,
    'is_target': is_target,
    'step': ranking.step,
    'unit': scale.unit,
    'above': ranking.above,
    'best': best.tuner if best else '',
    'sentence': _sentence(ranking, scale, is_target),
    'comparisons': _comparisons(ranking, scale),
    'sure': _sure(ranking),
    'rows': rows,
    'next': by_name[ranked[1].tuner] if len(ranked) > 1 else None,
    'own': by_name[best.tuner] if best else None,
  }


class _Scale:
  """How the numbers of a task are written: in nats, or in nats a token."""

  def __init__(self, ranking: ranking_lib.Ranking):
    self.unit = 'nats a token' if ranking.above else 'nats'
    self._divisor = ranking.step if ranking.above else 1
    self._least = 4 if ranking.above else 3

  def number(self, value: float, digits: int | None = None) -> str:
    """Writes a number."""
    value /= self._divisor
    if math.isnan(value):
      return 'not a number'
    if math.isinf(value):
      return '∞' if value > 0 else '−∞'
    text = f'{value:.{self._least if digits is None else digits}f}'
    if not float(text):  # There is no minus zero.
      text = text.removeprefix('-')
    return text.replace('-', '−')

  def parts(
    self, difference: ranking_lib.Difference, absolute: bool = False
  ) -> tuple[str, str]:
    """Writes a mean, and its interval in brackets, or what stands there.

    Args:
      difference: A regret, or a difference of two.
      absolute: Write one below zero with the other sign.
    """
    mean, *ends = difference.difference, difference.low, difference.high
    if absolute and mean < 0:
      mean, ends = -mean, [-end for end in reversed(ends)]
    # Two digits that count, and one of the interval's half.
    finite = [abs(x) for x in (mean, *ends) if math.isfinite(x)]
    needed = [
      digit - math.floor(math.log10(size / self._divisor))
      for digit, size in ((1, max(finite, default=0)), (0, ends[1] - mean))
      if _ROUNDING < size < math.inf
    ]
    digits = min(max(self._least, *needed, 0), _MOST_DIGITS)
    interval = ''
    if difference.over == 'nothing':
      interval = 'exact'
    elif not np.isnan(ends).any():
      interval = '[' + ', '.join(self.number(x, digits) for x in ends) + ']'
    return self.number(mean, digits), interval


def _apart(difference: ranking_lib.Difference) -> bool | None:
  """Returns whether two methods are told apart; infinity needs no interval."""
  if math.isinf(difference.difference):
    return True
  return ranking_lib.apart(difference)


def _badge(difference: ranking_lib.Difference | None) -> dict[str, str] | None:
  """Returns what the interval of a difference to the best decides."""
  if difference is None:
    return None
  parts = _BADGES[_apart(difference)]
  return dict(zip(('kind', 'sign', 'text'), parts, strict=True))


def _row(standing, scale):
  regret, behind = standing.regret, standing.behind
  runs = '–'
  if standing.networks:
    runs = f'{standing.networks} × {standing.repetitions}'
  elif standing.repetitions > 1:  # Of exact Bayes with a prefix.
    runs = str(standing.repetitions)
  return {
    'rank': standing.rank,
    'tuner': standing.tuner,
    'regret': ('stopped', '') if regret is None else scale.parts(regret),
    'behind': ('', '') if behind is None else scale.parts(behind),
    'badge': _badge(behind),
    'runs': runs,
  }


def _sentence(ranking, scale, is_target):
  """Returns the sentence about the best, which goes on behind its name."""
  ranked = ranking.ranked
  if not ranked:
    return f'No method was tuned, or none counts, on {ranking.task}.'
  best, *others = ranked
  what = f'loss above {ranking.above}' if ranking.above else 'regret'
  mean, interval = scale.parts(best.regret)
  if not any(math.isfinite(x.regret.difference) for x in ranked):
    return (
      f'is first by name alone: on {ranking.task} no tuned method has a finite '
      f'{what} after {ranking.step} steps.'
    )
  shown = f'{mean} {interval}'.rstrip()
  own = f'its {what} over {ranking.step} steps is {shown} {scale.unit}'
  if not others:
    return f'alone was tuned. On {ranking.task} {own}.'
  # Where runs were stopped, the means of two may be over other runs.
  ahead = [
    x.tuner
    for x in others
    if x.behind and x.behind.difference < 0 and _apart(x.behind)
  ]
  if ahead:
    return (
      f'has the least mean on {ranking.task}: {own}. But {_listed(ahead)} lost '
      'less on the runs that both have.'
    )
  tied = [x.tuner for x in others if x.behind is None or not _apart(x.behind)]
  if tied:
    return (
      f'loses least on {ranking.task}, but {_TIED} from {_listed(tied)}: {own}.'
    )
  won = 'wins' if is_target else 'loses least'
  return f'{won} on {ranking.task}: {own}.'


def _listed(names: Sequence[str]) -> str:
  """Returns names as text, some of many."""
  shown = [*names[:_NAMED]]
  if len(names) > _NAMED + 1:
    shown.append(f'{len(names) - _NAMED} more')
  elif len(names) > _NAMED:
    shown.append(names[_NAMED])
  return ' and '.join(filter(None, (', '.join(shown[:-1]), shown[-1])))


def _comparisons(ranking, scale):
  """Returns how the best compares with the next, no tuning and Bayes.

  A difference is written from the other's side, as what it loses more or less.
  """
  ranked = ranking.ranked
  if not ranked or not math.isfinite(ranked[0].regret.difference):
    return []
  references = (ranking.above,) if ranking.above else _BAYES
  known = 'a universal predictor' if ranking.above else 'exact Bayes'
  pairs = [
    ('the next', ranked[1] if len(ranked) > 1 else None),
    ('the untuned network', ranking.of(summary.UNTUNED)),
    (known, ranking.of(*references)),
  ]
  comparisons = []
  for what, standing in pairs:
    if standing is None or standing.behind is None:
      continue
    mean, interval = scale.parts(standing.behind, absolute=True)
    side = 'less' if standing.behind.difference < 0 else 'more'
    comparisons.append(
      {
        'tuner': standing.tuner,
        'what': what,
        'text': f'loses {mean} {scale.unit} {side}',
        'interval': interval,
        'badge': _badge(standing.behind),
      }
    )
  return comparisons


def _sure(ranking: ranking_lib.Ranking) -> str:
  """Returns what the intervals of a ranking are about, and what not."""
  ranked = ranking.ranked
  if not ranked:
    return ''
  networks = max(x.networks for x in ranked)
  repetitions = max(x.repetitions for x in ranked)
  sequences = f'the {ranking.sequences} sequences of the evaluation'
  if networks > 1:
    tuned = f', each tuned up to {repetitions} times' * (repetitions > 1)
    return (
      f'{networks} networks{tuned}: an interval is over networks, or over '
      f'{sequences} if that is wider. So it is about networks that are trained '
      'like these.'
    )
  if repetitions > 1:
    return (
      f'One network, tuned up to {repetitions} times: an interval is over '
      f'these repetitions, or over {sequences} if that is wider. It says '
      'nothing about other networks.'
    )
  return (
    f'One network, tuned once: an interval is over {sequences} alone. It says '
    'nothing about other networks, nor about another tuning of this one.'
  )
