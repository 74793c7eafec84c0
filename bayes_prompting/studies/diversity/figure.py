"""Figures of two experiments: task diversity, and regret against data.

Drawn from folders of runs of `configs/diversity.py` and `configs/data.py`, from
their results files alone. What is drawn is the exact KL to the Bayes predictor
of the task that the sequences come from, in nats, so that 0 is optimal.
"""

from collections.abc import Mapping, Sequence
import functools
import json
import os
import pathlib
from typing import NamedTuple

from matplotlib import figure as mpl_figure
from matplotlib import lines as mpl_lines
from matplotlib import ticker as mpl_ticker
import numpy as np
import xarray as xr

from bayes_prompting import errors
from bayes_prompting import registry
from bayes_prompting.reporting import style
from bayes_prompting.results import runs as runs_lib
from bayes_prompting.results import selection
from bayes_prompting.results import stopped

KINDS = ('diversity', 'data')
_TORSOS = {'lstm': 'LSTM', 'transformer': 'Transformer'}
_LEAST = 1e-4  # Nats; what is smaller is drawn here.
_REFERENCES = {'Oracle', 'TargetBayes', 'EvalBayes'}
_EXACT = '#8a4f80'  # As `promptability_figure` has the best posterior.
_NAMES = {
  'PreBayes': "PreBayes, the pool's Bayes",
  'PriorBayes': "PriorBayes, the prior's Bayes",
  'PreBayesPT': 'PreBayesPT, of exact Bayes',
  'NoTuning': 'NoTuning, the network',
}
# Titles and methods of the panels of diversity, by the task; last the target.
_PANELS = {
  'pool': (
    "coins of the pool:\nloss above the pool's Bayes",
    ('PriorBayes', 'NoTuning'),
  ),
  'random_coins': (
    "new coins:\nloss above the prior's Bayes",
    ('PreBayes', 'NoTuning'),
  ),
}
_PROMPTS = (
  'prompts for one new coin:\nloss above its Bayes',
  ('NoTuning', 'HardPT', 'PreBayesPT', 'SoftPT'),
)


class Run(NamedTuple):
  """What one run says.

  Attributes:
    torso: Its name.
    size: Coins of the pool, or sequences of the sample (0: fresh ones).
    target: The task that is tuned to.
    losses: {task: {method: [runs]}}, nats above Bayes of the task, summed over
      the tokens of `steps`: every network, and every repetition.
    steps: {task: N}.
    left_out: {method: how many runs were stopped}, and are not in `losses`.
    nearest: What Bayes that is certain of the coin of the pool that is nearest
      to the target loses on it, in nats over N; NaN without a pool.
  """

  torso: str
  size: int
  target: str
  losses: Mapping[str, Mapping[str, np.ndarray]]
  steps: Mapping[str, int]
  nearest: float = np.nan
  left_out: Mapping[str, stopped.LeftOut] = {}


def kind(dataset: xr.Dataset) -> str:
  """Returns which of the two experiments a results file is of."""
  config = json.loads(dataset.attrs['config'])
  task = config['tasks'][config['pretraining']['task']]
  return 'diversity' if task['name'] == 'finite_pool' else 'data'


def read(dataset: xr.Dataset) -> Run:
  """Reads a run of either experiment.

  The target is read at the length of tuning, other tasks at the last step.
  """
  dataset = selection.choose(dataset)
  config = json.loads(dataset.attrs['config'])
  target = dataset.attrs['target']
  last = int(dataset.step.values[-1])
  steps = dict.fromkeys(dataset.eval_task.values.tolist(), last)
  steps[target] = int(dataset.attrs['tuning_length'])
  losses = {task: _losses(dataset, task, n) for task, n in steps.items()}
  torso = config['network']['torso']['name']
  left_out = stopped.left_out(dataset)
  if kind(dataset) == 'data':
    size = config['tuning'].get('num_sequences', 0)
    return Run(torso, size, target, losses, steps, left_out=left_out)
  pool = config['tasks'][config['pretraining']['task']]
  nearest = steps[target] * _nearest(pool, config['tasks'][target])
  size = pool['size']
  return Run(torso, size, target, losses, steps, nearest, left_out)


def _losses(dataset, task, step):
  """Returns {method: [runs]} of one task, that count; NaN is infinite."""
  regret = dataset.cumulative_regret.sel(
    eval_task=task, reference='bayes', estimator='exact', step=step
  )
  counted = stopped.counted(dataset).sel(eval_task=task)
  found = {}
  for method in dataset.method.values.tolist():
    values = regret.sel({'method': method}).values.astype(np.float64)
    values = values[counted.sel({'method': method}).values]
    if len(values):
      found[method] = np.where(np.isnan(values), np.inf, values)
  return found


def _nearest(pool, target):
  """Returns the least KL from a single source to one of a pool, in nats."""
  priors = [registry.make('task_priors', '', spec) for spec in (target, pool)]
  (source,), coins = (map(np.ravel, prior.support.points) for prior in priors)
  seen = source > 0
  with np.errstate(divide='ignore'):
    log_ratios = [np.log(source[seen]) - np.log(coin[seen]) for coin in coins]
  return min(float((source[seen] * ratio).sum()) for ratio in log_ratios)


def sample_bound(size: float) -> float:
  """Returns what exact Bayes loses on a coin after a sample of that coin.

  With n sequences of N tosses in its context it loses log((n + 1) / n) / 2 nats
  on the next N: the redundancy of one parameter, log(tosses) / 2 (Rissanen,
  1986), of n + 1 sequences less that of n, for n N much greater than 1.
  """
  return 0.5 * np.log1p(1 / size)


@style.styled
def diversity(runs: Sequence[Run]) -> mpl_figure.Figure:
  """Draws what networks are, and are prompted to, against the pool's size.

  A row for each torso; panels are sequences of the pool, of the prior that it
  came from, and of the target. Dots are runs, lines go through their means.
  """
  by_torso = _by_torso(runs)
  figure, axes = style.panels(3 * len(by_torso), 2.9, 3)
  handles = {}
  for row, (torso, some) in enumerate(by_torso.items()):
    target = some[0].target
    for ax, task in zip(axes[3 * row :], (*_PANELS, target), strict=False):
      title, methods = _PANELS.get(task, _PROMPTS)
      for method in methods:
        handles |= _line(ax, some, task, method)
      sizes = sorted({run.size for run in some})
      if task == target:
        y = [np.mean([r.nearest for r in some if r.size == n]) for n in sizes]
        label = "the pool's nearest coin, for certain"
        handles |= _exact_line(ax, sizes, y, label)
      ax.set_title(f'{torso}, {title}')
      ax.set_xlabel('coins in the pool')
      ax.set_ylabel(f'nats over {some[0].steps[task]} tokens')
      _scale(ax, sizes)
  legend = _legend_below(figure, handles)
  style.footnote(figure, _left_out(runs), legend=legend)
  return figure


def _left_out(runs):
  """Returns what the note says of runs that were stopped."""
  by_run = {f'{run.torso}-{run.size}': run.left_out for run in runs}
  return stopped.footnote(stopped.together(by_run))


def _by_torso(runs):
  """Returns the runs of each torso, by its title."""
  found = {torso: [] for torso in sorted({run.torso for run in runs})}
  for run in runs:
    found[run.torso].append(run)
  return {_TORSOS.get(torso, torso): some for torso, some in found.items()}


def _line(ax, runs, task, method, fresh=None):
  """Draws a method's runs as dots, and their means; returns its legend.

  Args:
    ax: Where.
    runs: Of one torso.
    task: Whose loss.
    method: If no run has it, nothing is drawn.
    fresh: Where size 0 is drawn, apart from the line; a size like others
      without it.
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
    values = np.maximum(values, _LEAST)
    dot = {'color': look['color'], 'ms': 2.5, 'alpha': 0.45}
    ax.plot(np.full(len(values), x), values, '.', **dot)
  means = {n: max(np.mean(values), _LEAST) for n, values in by_size.items()}
  if fresh is not None and 0 in means:
    ax.plot([fresh], [means.pop(0)], **{**look, 'linestyle': ''})
  # Broken lines on top: where two coincide, both are seen.
  order = 3 if look['linestyle'] == style.SOLID else 4
  ax.plot([*means], [*means.values()], **look, zorder=order)
  label = _NAMES.get(method, method)
  return {label: mpl_lines.Line2D([], [], label=label, **look)}


def _exact_line(ax, x, y, label):
  """Draws what is known without a run; returns its legend."""
  look = {'color': _EXACT, 'lw': 1.0, 'linestyle': style.DOT, 'label': label}
  (line,) = ax.plot(x, np.maximum(y, _LEAST), zorder=2, **look)
  return {label: line}


def _scale(ax, sizes):
  """Scales both axes by logarithms, with a tick for every other size."""
  ax.set_xscale('log', base=2)
  ax.set_yscale('log')
  ax.set_ylim(bottom=_LEAST / 1.5)
  shown = sizes if len(sizes) < 7 else sizes[::2]
  ax.set_xticks(shown, shown)
  ax.xaxis.set_minor_locator(mpl_ticker.NullLocator())


@style.styled
def data(runs: Sequence[Run]) -> mpl_figure.Figure:
  """Draws what tuners lose on fresh sequences against how many they saw.

  A panel for each torso. Dots are repetitions, each with a sample of its own.
  """
  by_torso = _by_torso(runs)
  figure, axes = style.panels(len(by_torso), 3.4, 2, sharey=True)
  figure.set_figwidth(4.2 * len(axes) + 0.4)
  handles = {}
  for ax, (torso, some) in zip(axes, by_torso.items(), strict=True):
    task, step = some[0].target, some[0].steps[some[0].target]
    sizes = sorted({run.size for run in some if run.size})
    fresh = 8 * sizes[-1] if sizes else 1
    methods = {m for run in some for m in run.losses[task]} - _REFERENCES
    for method in style.looks(sorted(methods)):
      handles |= _line(ax, some, task, method, fresh)
    if sizes:
      x = np.geomspace(sizes[0], sizes[-1], 100)
      x = x[sample_bound(x) >= _LEAST]
      handles |= _exact_line(ax, x, sample_bound(x), 'exact Bayes after them')
    ax.set(xscale='log', yscale='log', title=torso)
    ticks = {size: f'{size}' for size in sizes}
    if any(run.size == 0 for run in some):
      ticks[fresh] = 'fresh'
      ax.axvline(fresh / 8**0.5, color='#cccccc', lw=0.7, zorder=0)
    ax.set_xticks([*ticks], [*ticks.values()], rotation=45, ha='right')
    ax.xaxis.set_minor_locator(mpl_ticker.NullLocator())
    ax.set_ylim(bottom=_LEAST / 1.5)
    ax.set_xlabel(f'sequences of the target, {step} tokens each')
  loss = 'loss above Bayes of the target'
  axes[0].set_ylabel(f'{loss}\n(nats over {step} tokens)')
  legend = _legend_below(figure, handles)
  style.footnote(figure, _left_out(runs), legend=legend)
  return figure


def _legend_below(figure, handles):
  """Puts a legend in two or three columns below all panels; returns it."""
  columns = 3 if figure.get_figwidth() > 6 else 2  # What fits in a row.
  rows = -(-len(handles) // columns)
  figure.set_figheight(figure.get_figheight() + 0.16 * rows)
  shown = [*handles.values()]
  place = {'loc': 'outside lower center', 'ncols': columns}
  return figure.legend(handles=shown, **place)


def make(
  what: str, folder: str | os.PathLike[str], into: str | os.PathLike[str]
) -> list[pathlib.Path]:
  """Writes the figure of all finished runs of an experiment in a folder.

  Args:
    what: 'diversity' or 'data'.
    folder: That holds the runs.
    into: Where PNG and PDF go.

  Returns:
    The paths that were written.

  Raises:
    UserError: If no run of this experiment is there.
  """
  found = []
  for name in runs_lib.runs(folder):
    dataset = runs_lib.load(folder, name)
    if kind(dataset) == what:
      found.append(read(dataset))
  if not found:
    raise errors.UserError(
      f'workdir: no finished run of configs/{what}.py in {str(folder)!r}'
    )
  draw = {'diversity': diversity, 'data': data}[what]
  return style.write_all({what: functools.partial(draw, found)}, into)
