"""Where the prompts of networks stand among those of exact Bayes.

Of results files: what networks lose after their prompts, beside the best hard
prefix of every length and the best posterior of the prior, which need none.
"""

from collections.abc import Mapping, Sequence
import functools
import json
import os
import pathlib

import xarray as xr

from bayes_prompting import errors
from bayes_prompting import registry
from bayes_prompting import types
from bayes_prompting.reporting import style
from bayes_prompting.results import runs as runs_lib
from bayes_prompting.settings import plain
from bayes_prompting.studies.paper import figures as paper_figures
from bayes_prompting.studies.paper import promptability_figure
from bayes_prompting.theory import hard_prefixes
from bayes_prompting.theory import pseudo_counts

METHODS = ('HardPT', 'SoftPT')


def panel(
  runs: Mapping[str, Sequence[xr.Dataset]],
) -> promptability_figure.Panel:
  """Returns a panel of `promptability_figure.gap`, with networks in it.

  The best exact prefixes are of up to 8 tokens, or of as many as networks have,
  as far as is cheap.

  Args:
    runs: Results by the name of the network ('LSTM'), all of one pretraining
      task, target and tuning length. Of their methods those of `METHODS` are
      placed, and the same with a suffix, as in 'SoftPT-12'. Of several results
      of a network with the same method and length, the first.

  Raises:
    UserError: If there is none, or they are of different tasks; or if there is
      no exact answer: a task without a statistic, too many histories.
  """
  worlds = [_world(run) for found in runs.values() for run in found]
  if not worlds or any(world != worlds[0] for world in worlds):
    raise errors.UserError(
      'runs: must be one or more of the same pretraining task, target and '
      f'tuning length, got {worlds!r}'
    )
  prior, target = tasks(next(x for found in runs.values() for x in found))
  length = worlds[0][-1]
  networks, left_out = {}, {}
  for name, found in runs.items():
    for method, rows, lost in (x for run in found for x in _prompts(run)):
      by_length = networks.setdefault(f'{name} {method}', {})
      by_length.setdefault(rows, lost)
    for run in found:
      for method, left in paper_figures.losses(run).left_out.items():
        if method.partition('-')[0] in METHODS:
          left_out[f'{name} {method}'] = left
  longest = max((max(x) for x in networks.values()), default=0)
  gaps = hard_prefixes.Gaps(prior, target, length)
  curve = hard_prefixes.curve_of(
    gaps, max(longest, hard_prefixes.LONGEST), required=False
  )
  best = pseudo_counts.best(gaps)
  return promptability_figure.Panel(
    prefix_lengths=curve.lengths.tolist(),
    gaps=curve.gaps.tolist(),
    family=None if best is None else best.gap,
    length=length,
    networks=networks,
    left_out=left_out,
  )


def tasks(run: xr.Dataset) -> tuple[types.TaskPrior, types.TaskPrior]:
  """Returns the pretraining task and the target of results, built."""
  *specs, _ = _world(run)
  prior, target = (registry.make('task_priors', 'task', x) for x in specs)
  return prior, target


def make_all(
  folder: str | os.PathLike[str], into: str | os.PathLike[str]
) -> list[pathlib.Path]:
  """Draws `promptability` of the paper's runs in a folder, as PNG and PDF.

  A panel for each target, with the pretrained networks of the paper's size, and
  their sweeps of the prefix length, as far as there are any. What cannot be
  drawn is said in a printed line and left out.

  Returns:
    The paths that were written.
  """
  panels = {}
  for target, title in paper_figures.TARGETS.items():
    runs = {
      title_of: [
        runs_lib.load(folder, f'{torso}{target}{suffix}')
        for suffix in ('', '-prefix_lengths')
      ]
      for torso, title_of in paper_figures.TORSOS.items()
    }
    runs = {name: [x for x in found if x] for name, found in runs.items()}
    if not any(runs.values()):
      continue
    try:
      panels[title] = panel(runs)
    except errors.UserError as error:
      print(f'promptability: no panel of {title!r}: {error}')
  if not panels:
    return []
  draw = functools.partial(promptability_figure.gap, panels)
  return style.write_all({'promptability': draw}, into)


def _config(run):
  return plain.to_config(json.loads(run.attrs['config']))


def _world(run):
  """Returns the specs of the pretraining task and the target, and N."""
  config = _config(run)
  names = config.pretraining.task, config.tuning.target
  specs = (config.tasks[name].to_dict() for name in names)
  return *specs, int(run.attrs['tuning_length'])


def _prompts(run):
  """Yields method, K, and [nats of each network] of what is placed."""
  config = _config(run)
  for name, lost in paper_figures.losses(run).tuning.items():
    method, _, _ = name.partition('-')
    if method in METHODS:
      yield method, config.methods[name].length, lost.tolist()
