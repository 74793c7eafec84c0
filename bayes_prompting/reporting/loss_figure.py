"""The figure of training losses: of pretraining, and of tuning by method.

A run that was stopped (`counting`) is left out of medians and quartiles; a
cross on the axis says at which update it was.
"""

import textwrap

import matplotlib
from matplotlib import figure as mpl_figure
from matplotlib import lines as mpl_lines
import numpy as np
import xarray as xr

from bayes_prompting import errors
from bayes_prompting.reporting import style
from bayes_prompting.results import selection
from bayes_prompting.results import stopped

_CROSS = {'marker': 'x', 'color': 'black', 'linestyle': '', 'zorder': 5}


@style.styled
def losses(dataset: xr.Dataset) -> mpl_figure.Figure:
  """Draws the loss of pretraining by seed, and that of tuning by method.

  Raises:
    UserError: If the Dataset has no losses (nothing was trained).
  """
  dataset = selection.choose(dataset)
  pretrained = style.holds(dataset, 'pretraining_loss')
  tuned = style.holds(dataset, 'tuning_loss')
  if not pretrained and not tuned:
    raise errors.UserError('dataset: has no losses, nothing was trained')
  figure, axes = style.panels(pretrained + 2 * tuned)
  if pretrained:
    _pretraining_losses(axes[0], dataset)
  if tuned:
    _tuning_losses(*axes[-2:], dataset)
  axes[0].set_ylabel(
    'loss (nats per sequence),\nrunning median (±10% of updates)'
  )
  handles = [
    line
    for ax in axes[: 1 + pretrained]
    for line in ax.get_legend_handles_labels()[0]
  ]
  left = stopped.left_out(dataset)
  if left or dataset.pretraining_stopped.notnull().any():
    handles.append(
      mpl_lines.Line2D([], [], label='a run was stopped', **_CROSS)
    )
  style.legend(figure, handles)
  style.footnote(figure, stopped.footnote(left))
  return figure


def _mark_stopped(axes, steps, color):
  """Puts a cross on the axis at every update where a run was stopped."""
  for step in steps[~np.isnan(steps)]:
    for ax in axes:
      if step >= ax.get_xlim()[0]:
        where = {'transform': ax.get_xaxis_transform(), 'clip_on': False}
        ax.plot(step, 0, **where, **_CROSS | {'color': color})


def _pretraining_losses(ax, dataset):
  """Draws one curve a seed, and what it is smoothed from."""
  loss = dataset.pretraining_loss
  loss = loss.where(np.isfinite(loss))
  colors = matplotlib.colormaps['cividis'](np.linspace(0, 0.8, len(loss)))
  steps = loss.pretraining_step.values
  for one, color in zip(loss, colors, strict=True):
    index, smooth = style.smooth(one.values[None])
    label = f'pretraining, seed {one.pretrain_seed.item()}'
    ax.plot(steps, one, color=color, alpha=0.25, lw=0.5)
    ax.plot(steps[index], smooth[0], color=color, label=label)
  ax.set(title='pretraining', xscale='log', xlabel='update (log scale)')
  for step, color in zip(dataset.pretraining_stopped, colors, strict=True):
    _mark_stopped([ax], np.ravel(step), color)


def _tuning_losses(ax, late, dataset):
  """Draws all updates of tuning, and the last nine tenths closer up."""
  loss = dataset.tuning_loss
  steps, curves = loss.tuning_step.values, {}
  index, _ = style.smooth(np.zeros((1, len(steps))))
  tuned = style.by_method(loss.where(stopped.counted(dataset).any('eval_task')))
  for method, look in style.looks(tuned).items():
    index, smooth = style.smooth(tuned[method])
    curves[method] = style.quartiles(smooth)
    for panel in (ax, late):
      style.curve(panel, steps[index], curves[method], method, look)
  first = np.searchsorted(index, len(steps) // 10)
  ax.set(xscale='log', xlabel='update (log scale)')
  late.set(xlabel='update')
  late.set_xlim(left=steps[index[first]])
  for method, look in style.looks(loss.method.values.tolist()).items():
    steps = dataset.stopped.sel({'method': method}).values.ravel()
    _mark_stopped([ax, late], steps, look['color'])
  for panel, part, title in ((ax, 0, 'tuning'), (late, first, 'tuning, later')):
    panel.set_title(title)
    if not curves:
      continue
    medians = np.stack([median[part:] for _, median, _ in curves.values()])
    finite = medians[np.isfinite(medians)]
    if not finite.size:
      continue
    top = finite.min() + style.limit(finite - finite.min())
    margin = 0.05 * (top - finite.min())
    panel.set_ylim(finite.min() - margin, top + margin)
    above = (medians > top).any(-1)
    names = ', '.join(m for m, out in zip(curves, above, strict=True) if out)
    note = textwrap.wrap(f'leaves the axis: {names}', 36) if names else []
    panel.set_title('\n'.join([title, *note]))
