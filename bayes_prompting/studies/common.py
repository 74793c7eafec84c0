"""What the studies share: reading finished runs, and parts of their figures.

Losses here are the exact KL to the Bayes predictor of the task that the
sequences come from, in nats. So 0 is optimal in every figure.
"""

from collections.abc import Iterable, Mapping, Sequence
import json
import os
from typing import Any, NamedTuple

from matplotlib import lines as mpl_lines
import numpy as np
import xarray as xr

from bayes_prompting import registry
from bayes_prompting.claims import intervals
from bayes_prompting.reporting import style
from bayes_prompting.results import runs as run_folders
from bayes_prompting.results import selection
from bayes_prompting.results import stopped
from bayes_prompting.settings import plain

# The torsos that studies compare, and their titles.
TITLES = {'lstm': 'LSTM', 'transformer': 'Transformer'}
LEAST = 1e-4  # Nats. Smaller losses are drawn here.
LEAST_OF_NETWORKS = 1e-3  # The same of `curve_of_networks`.
EXACT = '#8a4f80'  # The colour of what is exact, without a network.
OUTSIDE = '#f3e7f0'  # The shade where no posterior of the prior comes.
_LABELS = {
  'PreBayes': "PreBayes, the pool's Bayes",
  'PriorBayes': "PriorBayes, the prior's Bayes",
  'PreBayesPT': 'PreBayesPT, of exact Bayes',
  'NoTuning': 'NoTuning, the network',
}


class FinishedRun(NamedTuple):
  """What one run of the diversity or the data study says.

  Attributes:
    torso: Its name.
    size: Coins of the pool, or sequences of the sample (0: fresh ones).
    target: The task that is tuned to.
    losses: {task: {method: [runs]}}, nats above Bayes of the task, summed over
      the tokens of `steps`, for every network and every repetition.
    steps: {task: N}.
    nearest: What a predictor loses on the target, in nats over N, that is
      certain of the pool's nearest coin; NaN without a pool.
    left_out: {method: how many runs were stopped}; these are not in `losses`.
  """

  torso: str
  size: int
  target: str
  losses: Mapping[str, Mapping[str, np.ndarray]]
  steps: Mapping[str, int]
  nearest: float = np.nan
  left_out: Mapping[str, stopped.LeftOut] = {}


def finished_runs(
  folder: str | os.PathLike[str], study: str
) -> list[FinishedRun]:
  """Reads all finished runs of the study 'diversity' or 'data' in a folder."""
  datasets = (run_folders.load(folder, x) for x in run_folders.runs(folder))
  return [read(dataset) for dataset in datasets if study_of(dataset) == study]


def study_of(dataset: xr.Dataset) -> str:
  """Returns whether results are of the study 'diversity' or of 'data'."""
  config = plain.resolved(json.loads(dataset.attrs['config']))
  task = config['tasks'][config['pretraining']['task']]
  return 'diversity' if task['name'] == 'finite_pool' else 'data'


def read(dataset: xr.Dataset) -> FinishedRun:
  """Reads a run of the diversity or the data study.

  Losses on the target are read at the length of tuning, losses on other tasks
  at the last step.
  """
  dataset = selection.choose(dataset)
  config = plain.resolved(json.loads(dataset.attrs['config']))
  target = dataset.attrs['target']
  last = int(dataset.step.values[-1])
  steps = dict.fromkeys(dataset.eval_task.values.tolist(), last)
  steps[target] = int(dataset.attrs['tuning_length'])
  if study_of(dataset) == 'data':
    size, nearest = config['tuning']['num_sequences'], np.nan
  else:
    pool = config['tasks'][config['pretraining']['task']]
    size = pool['size']
    nearest = steps[target] * _nearest(pool, config['tasks'][target])
  return FinishedRun(
    torso=config['network']['torso']['name'],
    size=size,
    target=target,
    losses={task: _losses(dataset, task, n) for task, n in steps.items()},
    steps=steps,
    nearest=nearest,
    left_out=stopped.left_out(dataset),
  )


def _losses(dataset, task, step):
  """Returns {method: [runs]} of the runs that count; NaN counts as infinite."""
  regret = dataset.cumulative_regret.sel(
    eval_task=task, reference='bayes', estimator='exact', step=step
  )
  counted = stopped.counted(dataset).sel(eval_task=task)
  by_method = {}
  for method in dataset.tuner.values.tolist():
    values = regret.sel(tuner=method).values.astype(np.float64)
    values = values[counted.sel(tuner=method).values]
    if len(values):
      by_method[method] = np.where(np.isnan(values), np.inf, values)
  return by_method


def _nearest(pool, target):
  """Returns the least KL from a single source to one of a pool, in nats."""
  priors = [registry.make('task_priors', '', spec) for spec in (target, pool)]
  (source,), coins = (map(np.ravel, prior.support.points) for prior in priors)
  seen = source > 0
  with np.errstate(divide='ignore'):
    log_ratios = [np.log(source[seen]) - np.log(coin[seen]) for coin in coins]
  return min(float((source[seen] * ratio).sum()) for ratio in log_ratios)


def by_torso(runs: Sequence[FinishedRun]) -> dict[str, list[FinishedRun]]:
  """Returns the runs of each torso, by the title of the torso."""
  grouped = {torso: [] for torso in sorted({run.torso for run in runs})}
  for run in runs:
    grouped[run.torso].append(run)
  return {TITLES.get(torso, torso): some for torso, some in grouped.items()}


def by_case(
  runs: Mapping[str, Any], cases: Iterable[str]
) -> dict[str, dict[str, Any]]:
  """Returns runs that are named CASE-TORSO as {case: {torso: run}}."""
  grouped = {
    case: {t: runs[f'{case}-{t}'] for t in TITLES if f'{case}-{t}' in runs}
    for case in cases
  }
  return {case: by_torso for case, by_torso in grouped.items() if by_torso}


def left_out(runs: Mapping[str, Any]) -> str:
  """Returns what a figure says of stopped runs; '' if none was stopped.

  Args:
    runs: By name, with an attribute `left_out` each.
  """
  return stopped.footnote(
    stopped.together({name: run.left_out for name, run in runs.items()})
  )


def line(ax, runs, task, method, fresh=None):
  """Draws a method's runs as dots and their means as a line, against the size.

  Args:
    ax: Where.
    runs: `FinishedRun`s of one torso.
    task: The task whose loss is drawn.
    method: If no run has this method, nothing is drawn.
    fresh: Where size 0 is drawn, apart from the line; by default it is a size
      like others.

  Returns:
    {label: handle} for a legend.
  """
  by_size = {}
  for run in runs:
    if method in run.losses.get(task, ()):
      by_size.setdefault(run.size, []).append(run.losses[task][method])
  if not by_size:
    return {}
  by_size = {size: np.concatenate(by_size[size]) for size in sorted(by_size)}
  look = style.looks([method])[method]
  for size, values in by_size.items():
    x = fresh if size == 0 and fresh is not None else size
    values = np.maximum(values, LEAST)
    dot = {'color': look['color'], 'ms': 2.5, 'alpha': 0.45}
    ax.plot(np.full(len(values), x), values, '.', **dot)
  means = {n: max(np.mean(values), LEAST) for n, values in by_size.items()}
  if fresh is not None and 0 in means:
    ax.plot([fresh], [means.pop(0)], **{**look, 'linestyle': ''})
  # Broken lines are on top, so that both show where two coincide.
  order = 3 if look['linestyle'] == style.SOLID else 4
  ax.plot([*means], [*means.values()], **look, zorder=order)
  label = _LABELS.get(method, method)
  return {label: mpl_lines.Line2D([], [], label=label, **look)}


def exact_line(ax, x, y, label):
  """Draws what is known without a run; returns {label: handle}."""
  look = {'color': EXACT, 'lw': 1.0, 'linestyle': style.DOT, 'label': label}
  (handle,) = ax.plot(x, np.maximum(y, LEAST), zorder=2, **look)
  return {label: handle}


def legend_below(figure, handles, column_width):
  """Puts a legend below all panels; returns it.

  Args:
    figure: Which.
    handles: Of the legend.
    column_width: Of the legend, in inches.
  """
  columns = max(1, int(figure.get_figwidth() / column_width))
  place = {'loc': 'outside lower center', 'ncols': columns}
  return figure.legend(handles=handles, **place)


def tall_legend_below(figure, handles):
  """Puts a legend below all panels, for which the figure grows; returns it.

  Args:
    figure: Which.
    handles: {label: handle}.
  """
  columns = 3 if figure.get_figwidth() > 6 else 2  # What fits in a row.
  rows = -(-len(handles) // columns)
  figure.set_figheight(figure.get_figheight() + 0.16 * rows)
  place = {'loc': 'outside lower center', 'ncols': columns}
  return figure.legend(handles=[*handles.values()], **place)


def curve_of_networks(
  ax, points: Mapping[float, np.ndarray], look: Mapping[str, Any], label: str
) -> None:
  """Draws the typical network over x as a line, and each network as a dot.

  Args:
    ax: A panel.
    points: {x: [networks]}, in nats; an x without networks is left out.
    look: Of the line, see `style.looks`.
    label: Of the line.
  """
  points = {
    x: np.maximum(y, LEAST_OF_NETWORKS) for x, y in points.items() if len(y)
  }
  if not points:
    return
  typical = [intervals.over_networks(y, 'log').value for y in points.values()]
  ax.plot([*points], typical, label=label, ms=4, **look)
  for x, values in points.items():
    ax.plot(
      [x] * len(values), values, '.', color=look['color'], ms=3, alpha=0.5
    )
