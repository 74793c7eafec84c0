"""Curves of regret as plain data, for the part of a report that one can zoom.

What is shown is what `figures.regret_curves` draws: paired regret against the
oracle, every method at its best settings, medians and quartiles over all
repetitions of all pretraining seeds, the same colours, lines and markers.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from bayes_prompting.reporting import style as style_lib
from bayes_prompting.results import selection
from bayes_prompting.results import stopped

QUANTITIES = ('cumulative_regret', 'instantaneous_regret')
DIGITS = 4  # Significant ones, of a median.
BAND_DIGITS = 3  # And of a quartile: most of the page's numbers are those.
_LINE_WIDTH = 2  # Pixels; matplotlib's dashes are in units of it.
_SYMBOLS = {  # matplotlib's markers, by plotly's names.
  'P': 'cross',
  'X': 'x',
  'v': 'triangle-down',
  '^': 'triangle-up',
  '<': 'triangle-left',
  '>': 'triangle-right',
  's': 'square',
  'D': 'diamond',
  'd': 'diamond-tall',
  'o': 'circle',
  '*': 'star',
  'h': 'hexagon',
  'p': 'pentagon',
  '8': 'octagon',
}


def look(style: Mapping[str, Any]) -> dict[str, Any]:
  """Returns a look of `drawing.looks` in plotly's terms.

  Args:
    style: With `color`, `linestyle` ('-' or matplotlib's pair of an offset and
      lengths) and `marker`.

  Returns:
    `color`, `dash` (in pixels, `solid` without), `symbol` ('' for none).
  """
  line = style['linestyle']
  dash = 'solid'
  if line != style_lib.SOLID:
    dash = ','.join(f'{_LINE_WIDTH * length}px' for length in line[1])
  symbol = _SYMBOLS.get(style['marker'], '')
  return {'color': style['color'], 'dash': dash, 'symbol': symbol}


def numbers(
  values: np.ndarray, digits: int = DIGITS
) -> list[float | int | None]:
  """Rounds to significant digits; what is not finite becomes None."""
  found = []
  for value in np.asarray(values, np.float64).tolist():
    short = float(f'{value:.{digits}g}')
    if not np.isfinite(short):
      found.append(None)
    else:  # 0 and 12 are shorter than -0.0 and 12.0.
      whole = short.is_integer() and abs(short) < 1e6
      found.append(int(short) if whole else short)
  return found


def _curve(quartiles: np.ndarray) -> list[list[float | int | None]]:
  """Returns median, low and high of quartiles [3, X]; a median if all agree."""
  median = numbers(quartiles[1])
  if (quartiles == quartiles[1]).all():
    return [median]
  return [median, *(numbers(band, BAND_DIGITS) for band in quartiles[::2])]


def _curves(
  runs: Mapping[str, np.ndarray], methods: Sequence[str]
) -> list[list[list[float | int | None]] | None]:
  """Returns a curve for each method, None for one of which no run counts."""
  return [
    _curve(style_lib.quartiles(runs[method])) if method in runs else None
    for method in methods
  ]


def data(dataset: xr.Dataset) -> dict[str, Any]:
  """Returns all curves of one run, as JSON can hold them.

  Args:
    dataset: As loaded, or what `grid.choose` left of it.

  Returns:
    `target`; `steps` [X]; `marks`, lengths of training by name, as far as
    steps go; `methods`, in the order of legends, each with its `name` and
    `look`; `tasks`, each with its `name` and, by quantity, `curves` in the
    order of methods: None if no run of it counts, else median, lower and upper
    quartile [X] in nats, or the median alone where there is one run. None in a
    curve is infinite, or a run that turned NaN.
  """
  dataset = selection.choose(dataset)
  by_quantity = {
    name: style_lib.regret_by_task(dataset, name) for name in QUANTITIES
  }
  left_out = stopped.left_out(dataset)
  looks = style_lib.legend_methods(by_quantity[QUANTITIES[0]], left_out)
  last = dataset.step.values[-1]
  marks = []
  for name in ('tuning', 'pretraining'):
    length = dataset.attrs.get(f'{name}_length')
    if length is not None and length <= last:
      marks.append({'name': f'{name} length', 'step': int(length)})
  return {
    'target': str(dataset.attrs.get('target', '')),
    'steps': dataset.step.values.tolist(),
    'marks': marks,
    'methods': [{'name': m, **look(style)} for m, style in looks.items()],
    'tasks': [
      {
        'name': task,
        'curves': {
          quantity: _curves(by_task[task], list(looks))
          for quantity, by_task in by_quantity.items()
        },
      }
      for task in dataset.eval_task.values.tolist()
    ],
  }
