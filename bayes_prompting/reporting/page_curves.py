"""Curves of regret as plain data, for the interactive plot of a report.

The curves are those of `figures.regret_curves`: paired regret against the
oracle, every method at its best settings, medians and quartiles over all
repetitions of all pretraining seeds, the same colours, lines and markers.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from bayes_prompting.reporting import dark
from bayes_prompting.reporting import series
from bayes_prompting.reporting import style
from bayes_prompting.results import measures
from bayes_prompting.results import selection
from bayes_prompting.results import stopped

QUANTITIES = ('cumulative_regret', 'instantaneous_regret')
# Significant digits. Most numbers of the page are quartiles: they have fewer.
MEDIAN_DIGITS, BAND_DIGITS = 4, 3
_ROUNDING = 1e-12  # Nats; a closed sum is in float64.
_LINE_WIDTH = 2  # Pixels; matplotlib measures dashes in line widths.
_SYMBOLS = {  # Plotly's names of matplotlib's markers.
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


def plotly_look(look: Mapping[str, Any]) -> dict[str, Any]:
  """Returns a look of `style.looks` in plotly's terms.

  Args:
    look: With `color`, `linestyle` ('-' or matplotlib's pair of an offset and
      lengths) and `marker`.

  Returns:
    `color`, `dark` (the colour on a dark page), `dash` (lengths in pixels, or
    `solid`), `symbol` ('' for none).
  """
  line = look['linestyle']
  dash = 'solid'
  if line != style.SOLID:
    dash = ','.join(f'{_LINE_WIDTH * length}px' for length in line[1])
  symbol = _SYMBOLS.get(look['marker'], '')
  colors = {'color': look['color'], 'dark': dark.color(look['color'])}
  return {**colors, 'dash': dash, 'symbol': symbol}


def numbers(
  values: np.ndarray, digits: int = MEDIAN_DIGITS
) -> list[float | int | None]:
  """Rounds to significant digits; infinite values and NaN become None."""
  rounded = []
  for value in np.asarray(values, np.float64).tolist():
    short = float(f'{value:.{digits}g}')
    if not np.isfinite(short):
      rounded.append(None)
    else:  # 0 and 12 are shorter than -0.0 and 12.0.
      whole = short.is_integer() and abs(short) < 1e6
      rounded.append(int(short) if whole else short)
  return rounded


def _curve(quartiles: np.ndarray) -> list[list[float | int | None]]:
  """Returns median, low and high of quartiles [3, X]; a median if all agree."""
  # Rounding of what is zero would take decades of a logarithmic axis.
  quartiles = np.where(np.abs(quartiles) < _ROUNDING, 0.0, quartiles)
  median = numbers(quartiles[1])
  if (quartiles == quartiles[1]).all():
    return [median]
  return [median, *(numbers(band, BAND_DIGITS) for band in quartiles[::2])]


def _curves(
  runs: Mapping[str, np.ndarray], methods: Sequence[str]
) -> list[list[list[float | int | None]] | None]:
  """Returns a curve for each method; None for one of which no run counts."""
  return [
    _curve(series.quartiles(runs[method])) if method in runs else None
    for method in methods
  ]


def data(dataset: xr.Dataset) -> dict[str, Any]:
  """Returns all curves of one run, as JSON can hold them.

  Args:
    dataset: As loaded, or as `selection.choose` leaves it.

  Returns:
    `target`; `steps` [X]; `marks`, the lengths of training by name, if they are
    among the steps; `methods`, in the order of legends, each with its `name`
    and look; `tasks`, each with its `name`, what it is `above` (such as 'above
    CTW', a mean a token; '' for the oracle) and, by quantity, `curves` in the
    order of methods. A curve is None if no run of the method counts. Otherwise
    it holds median, lower and upper quartile [X] in nats, or the median alone
    if all runs agree. None inside a curve is an infinite regret, or NaN.
  """
  dataset = selection.choose(dataset)
  by_quantity = {
    name: series.regret_by_task(dataset, name) for name in QUANTITIES
  }
  left_out = stopped.left_out(dataset)
  looks = style.legend_methods(by_quantity[QUANTITIES[0]], left_out)
  marks = [
    {'name': name, 'step': length}
    for length, name in series.lengths(dataset).items()
  ]
  return {
    'target': str(dataset.attrs.get('target', '')),
    'steps': dataset.step.values.tolist(),
    'marks': marks,
    'methods': [{'name': m, **plotly_look(x)} for m, x in looks.items()],
    'tasks': [
      {
        'name': task,
        'above': measures.above(dataset, task).strip(),
        'curves': {
          quantity: _curves(by_task[task], list(looks))
          for quantity, by_task in by_quantity.items()
        },
      }
      for task in dataset.eval_task.values.tolist()
    ],
  }
