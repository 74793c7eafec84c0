"""Where the prompts of networks stand among those of exact Bayes.

A figure shows what networks lose after their prompts, read from results files.
Beside them stand the best hard prefix of every length, and the best posterior
of the prior, which need no network.
"""

from collections.abc import Mapping, Sequence
import functools
import json
import os
import pathlib
from typing import NamedTuple

from matplotlib import figure as mpl_figure
from matplotlib import lines as mpl_lines
from matplotlib import patches as mpl_patches
from matplotlib import ticker as mpl_ticker
import ml_collections
import numpy as np
import xarray as xr

from bayes_prompting import errors
from bayes_prompting import registry
from bayes_prompting import types
from bayes_prompting.reporting import style
from bayes_prompting.results import losses
from bayes_prompting.results import stopped
from bayes_prompting.settings import plain
from bayes_prompting.studies import common
from bayes_prompting.studies.paper import figures as paper_figures
from bayes_prompting.system import console
from bayes_prompting.theory import gaps as prompt_gaps
from bayes_prompting.theory import hard_prefixes
from bayes_prompting.theory import pseudo_counts

METHODS = ('HardPT', 'SoftPT')
_LINES = (style.SOLID, style.DASH, style.DOT, style.DASHDOT)


class Panel(NamedTuple):
  """What prompts lose on one target, above Bayes of the target, in nats.

  Attributes:
    prefix_lengths: [P], K.
    gaps: [P], the gap of the best hard prefix of each length, for exact Bayes.
    family: The gap of the best posterior of the prior, over all pseudo-counts;
      None where it is not known.
    length: N, the tokens that losses are summed over.
    networks: {label: {K: [runs]}}. The last word of a label, as in 'LSTM
      SoftPT', is the method whose colour is used.
    left_out: {label: how many runs were stopped}; these are not in `networks`.
  """

  prefix_lengths: Sequence[int]
  gaps: Sequence[float]
  family: float | None
  length: int
  networks: Mapping[str, Mapping[int, Sequence[float]]] = {}
  left_out: Mapping[str, stopped.LeftOut] = {}


class Run(NamedTuple):
  """What is placed in a panel.

  Attributes:
    config: The configuration of a run, or of an experiment.
    lost: What its tuners lose on the target.
  """

  config: ml_collections.ConfigDict
  lost: losses.Losses


def read(dataset: xr.Dataset) -> Run:
  """Reads a results file."""
  config = plain.to_config(json.loads(dataset.attrs['config']))
  return Run(config, losses.losses(dataset))


def panel(runs: Mapping[str, Sequence[Run]]) -> Panel:
  """Returns a panel with the networks of some runs in it.

  The best exact prefixes have up to 8 tokens, or as many as the prefixes of
  networks, as far as that is cheap.

  Args:
    runs: By the name of the network ('LSTM'), all of one pretraining task,
      target and tuning length. The tuners of `METHODS` are placed, also with a
      suffix, as in 'SoftPT-12'. If several runs of a network have the same
      tuner and length, the first of them counts.

  Raises:
    UserError: If there are no runs, or they are of different tasks. Also if
      there is no exact answer: a task has no statistic, or there are too many
      histories.
  """
  every = [run for some in runs.values() for run in some]
  worlds = [_world(run) for run in every]
  if not worlds or any(world != worlds[0] for world in worlds):
    raise errors.UserError(
      'runs: must be one or more of the same pretraining task, target and '
      f'tuning length, got {worlds!r}'
    )
  prior, target = tasks(every[0])
  length = worlds[0][-1]
  networks, left_out = {}, {}
  for name, some in runs.items():
    for config, lost in some:
      methods = _resolved(config).methods
      for tuner, values in lost.tuning.items():
        kind = tuner.partition('-')[0]
        if kind in METHODS:
          by_length = networks.setdefault(f'{name} {kind}', {})
          by_length.setdefault(methods[tuner].length, values.tolist())
      left_out |= {
        f'{name} {tuner}': left
        for tuner, left in lost.left_out.items()
        if tuner.partition('-')[0] in METHODS
      }
  longest = max((max(x) for x in networks.values()), default=0)
  gaps = prompt_gaps.Gaps(prior, target, length)
  curve = hard_prefixes.curve_of(
    gaps, max(longest, hard_prefixes.LONGEST), required=False
  )
  best = pseudo_counts.best(gaps)
  return Panel(
    prefix_lengths=curve.lengths.tolist(),
    gaps=curve.gaps.tolist(),
    family=None if best is None else best.gap,
    length=length,
    networks=networks,
    left_out=left_out,
  )


def tasks(run: Run) -> tuple[types.TaskPrior, types.TaskPrior]:
  """Returns the pretraining task and the target of a run, built."""
  *specs, _ = _world(run)
  prior, target = (registry.make('task_priors', 'task', x) for x in specs)
  return prior, target


def _resolved(config):
  """Returns a configuration with values for what follows a field."""
  return plain.to_config(plain.resolved(plain.of(config)))


def _world(run):
  """Returns the specs of the pretraining task and the target, and N."""
  config = _resolved(run.config)
  names = config.pretraining.task, config.tuning.target
  specs = (config.tasks[name].to_dict() for name in names)
  return *specs, config.tuning.length


@style.styled
def gap(panels: Mapping[str, Panel]) -> mpl_figure.Figure:
  """Draws the gap to Bayes of the target against the length of the prefix.

  No posterior of the prior is under the level of the best pseudo-counts. A
  network there has left the Bayesian family.

  Args:
    panels: By title, one for each target.
  """
  figure, axes = style.panels(len(panels), 2.7, 2)
  # The names in the legend are long.
  figure.set_figwidth(2.3 * min(len(panels), 2) + 2.6)
  exact, networks = {}, {}
  for ax, (title, panel) in zip(axes, panels.items(), strict=True):
    exact |= _exact(ax, panel)
    networks |= _networks(ax, panel)
    _scale(ax, panel)
    exact |= _levels(ax, panel)
    ax.set(title=title, xlabel='prefix length\n(tokens, or rows of a network)')
  lengths = sorted({panel.length for panel in panels.values()})
  tokens = ' or '.join(map(str, lengths))
  for ax in axes[::2]:
    ax.set_ylabel(f'loss above Bayes of target\n(nats over {tokens} tokens)')
  style.legend(figure, [*exact.values(), *networks.values()])
  left_out = {
    f'{label}, {title}': left
    for title, panel in panels.items()
    for label, left in panel.left_out.items()
  }
  style.footnote(figure, stopped.footnote(left_out))
  return figure


def _exact(ax, panel):
  """Draws the best hard prefixes of exact Bayes; returns their legend."""
  look = style.looks(['PreBayesPT'])['PreBayesPT'] | {'markersize': 3}
  label = 'exact Bayes, best hard prefix'
  (line,) = ax.plot(panel.prefix_lengths, panel.gaps, label=label, **look)
  if np.isinf(panel.gaps).all():
    ax.text(0.5, 0.5, 'infinite', transform=ax.transAxes, ha='center')
  return {label: line}


def _networks(ax, panel):
  """Draws means, and every run as a dot; returns their legend."""
  handles, seen = {}, []
  for label, by_length in panel.networks.items():
    method = label.split()[-1]
    look = dict(style.looks([method])[method])
    # Torsos with the same method differ in their line.
    count = seen.count(method)
    look['linestyle'] = _LINES[count % len(_LINES)]
    look['mfc'] = 'white' if count % 2 else look['color']
    seen.append(method)
    lengths = sorted(by_length)
    means = [np.mean(by_length[length]) for length in lengths]
    (handles[label],) = ax.plot(lengths, means, label=label, zorder=3, **look)
    for length in lengths:
      runs = by_length[length]
      across = np.full(len(runs), length)
      ax.plot(across, runs, '.', color=look['color'], ms=3, alpha=0.5)
  return handles


def _scale(ax, panel):
  """Scales the axes from zero, with room below zero for its line."""
  every = [*panel.gaps, panel.family or 0.0]
  for by_length in panel.networks.values():
    every += [value for runs in by_length.values() for value in runs]
  top = 1.06 * style.limit(every)
  ax.set_ylim(-0.04 * top, top)
  ax.xaxis.set_major_locator(mpl_ticker.MaxNLocator(6, integer=True))


def _levels(ax, panel):
  """Marks Bayes of the target, and the family; returns their legend."""
  look = style.looks(['TargetBayes'])['TargetBayes'] | {'marker': ''}
  label = 'Bayes of the target'
  ax.axhline(0, zorder=2, **look)  # It covers the family's line at zero.
  handles = {label: mpl_lines.Line2D([], [], label=label, **look)}
  if panel.family is None or not np.isfinite(panel.family):
    return handles
  look = {'color': common.EXACT, 'linestyle': style.SOLID, 'lw': 1.0}
  label = 'exact Bayes, best pseudo-counts'
  ax.axhline(panel.family, zorder=1, **look)
  handles[label] = mpl_lines.Line2D([], [], label=label, **look)
  low, high = ax.get_ylim()
  if panel.family > 0.02 * (high - low):
    ax.axhspan(0, panel.family, color=common.OUTSIDE, lw=0, zorder=0)
    label = 'no posterior of the prior'
    handles[label] = mpl_patches.Patch(color=common.OUTSIDE, label=label)
  return handles


def panels(runs: Mapping[str, Run]) -> dict[str, Panel]:
  """Returns the panels of the paper's experiments, by the title of the target.

  A target has a panel. It shows the pretrained networks of the paper's size and
  their sweeps of the prefix length, as far as they were run. If a panel cannot
  be made, a printed line says why.

  Args:
    runs: By the name of the experiment.
  """
  by_title = {}
  for target, title in paper_figures.TARGETS.items():
    by_network = {
      network: [
        runs[f'{torso}{target}{suffix}']
        for suffix in ('', '-prefix_lengths')
        if f'{torso}{target}{suffix}' in runs
      ]
      for torso, network in common.TITLES.items()
    }
    if not any(by_network.values()):
      continue
    try:
      by_title[title] = panel(by_network)
    except errors.UserError as error:
      console.say(f'promptability: no panel of {title!r}: {error}')
  return by_title


def draw(
  runs: Mapping[str, Run], into: str | os.PathLike[str]
) -> list[pathlib.Path]:
  """Draws `promptability` of the paper's experiments, as PNG and PDF.

  Args:
    runs: By the name of the experiment, see `panels`.
    into: A folder.

  Returns:
    The paths that were written.
  """
  drawn = panels(runs)
  if not drawn:
    return []
  return style.write_all({'promptability': functools.partial(gap, drawn)}, into)
