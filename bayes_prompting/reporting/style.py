"""What figures share: the looks of methods, axes, panels, files.

Figures are made and drawn under a style of our own, which takes nothing from
the user's matplotlibrc. Their text is never read as mathematics: a name is a
name, whatever is in it.
"""

from collections.abc import Callable, Iterable, Mapping
import functools
import io
import math
import os
import pathlib
import re
import textwrap
import zlib

import matplotlib
from matplotlib import artist as mpl_artist
from matplotlib import figure as mpl_figure
from matplotlib import path as mpl_path
from matplotlib import textpath as mpl_textpath
from matplotlib import ticker as mpl_ticker
import numpy as np

from bayes_prompting import errors
from bayes_prompting.results import measures
from bayes_prompting.system import console
from bayes_prompting.system import files

SOLID, DASH, DASHDOT, DOT = '-', (0, (5, 2)), (0, (5, 1, 1, 1)), (0, (1, 1))
# Colour, line and marker of the package's methods, in the order of legends.
# References and untuned predictors are black to grey, prefix tuners blue,
# those of states green, weight tuners yellow to brown, both at once violet.
# Colour-blind readers can tell them apart too.
_LOOKS = {
  'Oracle': ('#000000', DOT, ''),
  'TargetBayes': ('#000000', DASH, ''),
  'EvalBayes': ('#000000', DASHDOT, ''),
  'CTW': ('#000000', DASH, 'd'),
  'KT': ('#000000', DOT, 'v'),
  'PreBayes': ('#4d4d4d', DASH, ''),
  'PreBayesPT': ('#6a6a6a', DASHDOT, 'P'),
  'NoTuning': ('#a3a3a3', SOLID, 'X'),
  'RandomPF': ('#7cc4ea', DASHDOT, 'v'),
  'HardPT': ('#4a9fe0', SOLID, 's'),
  'SimplexPT': ('#1f77c4', DASH, '^'),
  'RealPT': ('#2b4fb0', SOLID, 'D'),
  'SoftPT': ('#16206e', SOLID, 'o'),
  'StatePT': ('#009e73', SOLID, '*'),
  'OffsetPT': ('#009e73', DASH, 'P'),
  'DeepPT': ('#5b7f1c', SOLID, 'd'),
  'DeepMLPPT': ('#5b7f1c', DASH, 'h'),
  'PrefilledPT': ('#5b7f1c', DASHDOT, 'p'),
  'EmbedWT': ('#f2b134', DASHDOT, 'v'),
  'UnembedWT': ('#ee8a00', DASH, '^'),
  'Un+EmbedWT': ('#d55e00', SOLID, 'D'),
  'LoRAWT': ('#a33515', SOLID, 's'),
  'DoRAWT': ('#a33515', DASH, '<'),
  'VeRAWT': ('#a33515', DASHDOT, '>'),
  'IA3WT': ('#d55e00', DASH, 'P'),
  'BitFitWT': ('#f2b134', SOLID, 'p'),
  'NormWT': ('#ee8a00', DASHDOT, 'h'),
  'FullWT': ('#5c1a06', SOLID, 'o'),
  'SoftPT+LoRAWT': ('#7b4fb5', SOLID, 'd'),
}
_LINES = (SOLID, DASH, DASHDOT, SOLID, DASH, DASHDOT)
_FURTHER = [  # For a user's own methods.
  (color, line, marker)
  for line, marker in zip(_LINES, 'hp8<>d', strict=True)
  for color in ('#cc79a7', '#882255', '#7b4fb5', '#d64b8f')
]
FONT = 7
_NAMED_POWERS = 4  # Along an axis in x.
INFINITY = '∞'
STOPPED = {'marker': 'x', 'linestyle': '', 'ms': 4, 'zorder': 5}
# What is the process's, not a figure's.
_NOT_STYLE = (
  *('backend', 'date.epoch', 'docstring', 'interactive', 'savefig.directory'),
  *('timezone', 'tk', 'toolbar', 'webagg'),
)
_DEFAULTS = {
  name: value
  for name, value in matplotlib.rcParamsDefault.items()
  if not name.startswith(_NOT_STYLE)
}
styled = matplotlib.rc_context(
  {
    **_DEFAULTS,
    'font.size': FONT,
    'axes.labelsize': 8,
    'axes.titlesize': 8,
    'axes.linewidth': 0.7,
    'axes.spines.top': False,
    'axes.spines.right': False,
    'legend.frameon': False,
    'legend.handlelength': 3.5,
    'legend.labelspacing': 0.3,
    'lines.linewidth': 1.2,
    'lines.markersize': 3.5,
    'hatch.linewidth': 0.8,
    'pdf.fonttype': 42,  # Text stays text.
    # A task may be called `cost$_$`. Nothing of ours needs mathtext.
    'text.parse_math': False,
  }
)


class Figure(mpl_figure.Figure):
  """A figure that is drawn in our style, by whomever and wherever."""

  @mpl_artist.allow_rasterization
  @styled
  def draw(self, renderer):
    """Draws the figure, see `matplotlib.figure.Figure.draw`."""
    for ax in self.axes:
      for axis in (ax.xaxis, ax.yaxis):
        _without_mathtext(axis)
    super().draw(renderer)


def _without_mathtext(axis):
  """Has the ticks of a log axis written as plain text."""
  for put, formatter in (
    (axis.set_major_formatter, axis.get_major_formatter()),
    (axis.set_minor_formatter, axis.get_minor_formatter()),
  ):
    if type(formatter) is mpl_ticker.LogFormatterSciNotation:
      put(_PlainLogFormatter(formatter))


class _PlainLogFormatter(mpl_ticker.LogFormatterSciNotation):
  """Names the ticks that Matplotlib would name, as 0.01 or 10⁻⁶."""

  def __init__(self, formatter):
    vars(self).update(vars(formatter))

  def __call__(self, x, pos=None):
    if not super().__call__(x, pos):
      return ''
    exponent = math.log10(abs(x)) if x else 0.0
    if -5 < exponent < 4 or not exponent.is_integer():
      return f'{x:g}'
    power = f'{exponent:.0f}'.translate(_SUPERSCRIPT)
    return f'{"-" if x < 0 else ""}10{power}'


_SUPERSCRIPT = str.maketrans('-0123456789', '⁻⁰¹²³⁴⁵⁶⁷⁸⁹')


@functools.cache
def glyph(text: str) -> mpl_path.Path:
  """Returns a marker that is a character, or a few."""
  outline = mpl_textpath.TextPath((0, 0), text, usetex=False)
  box = outline.get_extents()
  center = (box.min + box.max) / 2
  return mpl_path.Path(outline.vertices - center, outline.codes)


def looks(methods: Iterable[str]) -> dict[str, dict[str, object]]:
  """Returns how a line of each method is drawn, in the order of legends.

  A user's own methods come last. Their look depends on their name and, where
  two would look the same, on their order.
  """
  methods = list(methods)
  chosen = {name: _LOOKS[name] for name in _LOOKS if name in methods}
  for name in methods:
    first = zlib.crc32(name.encode()) % len(_FURTHER)
    nearest = _FURTHER[first:] + _FURTHER[:first]
    free = [look for look in nearest if look not in chosen.values()]
    chosen.setdefault(name, (free or nearest)[0])
  fields = ('color', 'linestyle', 'marker')
  return {n: dict(zip(fields, x, strict=True)) for n, x in chosen.items()}


def bits(ax):
  """Adds an axis in bits to the right of one in nats."""
  other = ax.secondary_yaxis(
    'right',
    functions=(lambda x: x / measures.BITS, lambda x: x * measures.BITS),
  )
  other.set_ylabel('bits a token', fontsize=FONT)
  other.tick_params(labelsize=FONT)


def legend_methods(by_task, left_out=()):
  """Returns the looks of all methods that were run on any task.

  Args:
    by_task: What `regret_by_task` returns.
    left_out: Methods that are named too, even if none of their runs counts.
  """
  shown = [method for methods in by_task.values() for method in methods]
  return looks(dict.fromkeys([*shown, *left_out]))


def limit(values):
  """Returns the upper end of an axis from 0 that ignores a few outliers."""
  values = np.asarray(values)[np.isfinite(values)]
  if not values.max(initial=0.0) > 0:
    return 1.0
  usual = values[values <= 5 * np.quantile(values, 0.75)]
  return usual.max(initial=0.0) or values.max()


def panels(count, height=2.6, columns=3, **kwargs):
  """Makes a figure of `count` panels, at most `columns` of them in a row."""
  columns = min(count, columns)
  rows = math.ceil(count / columns)
  size = (2.0 * columns + 1.6 + 0.8 * (columns == 1), height * rows)
  figure = Figure(figsize=size, layout='constrained')
  axes = figure.subplots(rows, columns, squeeze=False, **kwargs).ravel()
  for ax in axes[count:]:
    ax.remove()
  for ax in axes:
    ax.tick_params(labelsize=FONT)
  return figure, axes[:count]


def legend(figure, handles):
  """Puts a legend to the right of all panels; the figure grows to hold it."""
  need = 0.145 * len(handles) + 0.2
  figure.set_figheight(max(figure.get_figheight(), need))
  figure.legend(handles=handles, loc='outside right center')


def handles(ax):
  """Returns the lines of a panel that have a label."""
  # Matplotlib's own way leaves out what a user has called `_mine`; but its own
  # labels, of lines without one, are `_child0` and so on.
  return [x for x in ax.lines if not re.fullmatch(r'_child\d+', x.get_label())]


def footnote(figure, text, key='', legend=None):
  """Writes a text below all panels; the figure grows to hold it.

  Args:
    figure: The figure.
    text: Of any length; '' for none.
    key: A line above the text, for which the figure does not grow.
    legend: A legend below the panels. If given, the text stands above it.
  """
  width = int(17 * figure.get_figwidth())
  lines = textwrap.wrap(text, width, break_on_hyphens=False)
  figure.set_figheight(figure.get_figheight() + 0.13 * len(lines))
  lines = [*textwrap.wrap(key, width), *lines]
  if lines and legend is None:
    figure.supxlabel('\n'.join(lines), fontsize=FONT)
  elif lines:
    legend.set_title('\n'.join(lines), {'size': FONT})


def title(dataset, task):
  """Returns the title of a task's panel."""
  above = measures.above(dataset, task)
  target = ' (target)' if dataset.attrs.get('target') == task else ''
  return f'{task}{target}{"," * bool(above and target)}{above}'


def symlog(ax, values, noise=0.0, axis='y'):
  """Scales an axis so that all values show.

  Args:
    ax: The panel.
    values: What is drawn.
    noise: The axis is linear at least up to here.
    axis: `y`, or `x`.

  Returns:
    What the label of the axis must say about its scale; '' if it is linear.
  """
  finite = values[np.isfinite(values)]
  top = finite.max(initial=0.0)
  if not top > 0:
    return ''
  small = max(np.quantile(finite[finite > 0], 0.05), top / 1e4)
  linear = 10.0 ** np.floor(np.log10(small))
  if noise > 0:
    digit = 10.0 ** np.floor(np.log10(noise))
    linear = max(linear, np.ceil(noise / digit) * digit)
  if linear >= top:
    return ''
  scale = getattr(ax, f'set_{axis}scale')
  scale('symlog', linthresh=linear, linscale=1.0 if axis == 'x' else 0.5)
  if axis == 'x':  # Names stand side by side: four of them have room.
    powers = np.arange(np.log10(linear), np.log10(top) + 1e-9)
    powers = 10.0 ** powers[:: math.ceil(len(powers) / _NAMED_POWERS)]
    ax.set_xticks([0, *powers], [f'{x:g}' for x in (0, *powers)])
  ax.set(**{f'{axis}lim': (min(finite.min(), -0.1 * linear), 2 * top)})
  return f',\nlog scale, linear below {linear:g}'.replace('e-0', 'e-')


def curve(ax, x, quartiles, label, look, every=0.15):
  """Draws a median, its quartile band, and a mark where it turns infinite."""
  low, median, high = quartiles
  finite, color = np.isfinite(median), look['color']
  if finite.any():
    median = np.where(finite, median, np.nan)
    # Broken lines lie on top, so that two lines that coincide are both seen.
    order = 2 if look['linestyle'] == SOLID else 3
    ax.plot(x, median, label=label, markevery=every, zorder=order, **look)
  # A band needs finite ends: this one is beyond any axis.
  high, band = np.minimum(high, 1e12), {'alpha': 0.15, 'lw': 0}
  ax.fill_between(x, low, high, where=finite, color=color, **band)
  if not finite.all():
    infinity = glyph(INFINITY)
    above = sum(line.get_marker() is infinity for line in ax.lines)
    look = {'color': color, 'marker': infinity, 'markersize': 8}
    across = ax.get_xaxis_transform()
    ax.plot(x[~finite][0], 0.97 - 0.05 * above, transform=across, **look)


def mark_stopped(ax, x, color):
  """Puts a cross on the horizontal axis at x, where runs were stopped."""
  across = ax.get_xaxis_transform()
  ax.plot(x, 0, transform=across, clip_on=False, color=color, **STOPPED)


@styled
def write_all(
  makers: Mapping[str, Callable[[], mpl_figure.Figure]],
  folder: str | os.PathLike[str],
) -> list[pathlib.Path]:
  """Makes figures one after another, and writes each as PNG and as PDF.

  A file gets its name only once it is whole. The same figure gives the same
  bytes. A figure that fails does not keep the others from being written.

  Args:
    makers: A function that makes each figure, by the name of its files.
    folder: Where the files go; made if missing.

  Returns:
    The paths that were written.

  Raises:
    UserError: If the folder cannot be made, or if some were not drawn or
      written; the line names them. All others are written by then.
  """
  folder = pathlib.Path(folder)
  files.make_folder(folder, 'figures')
  paths, failed = [], {}
  with console.bar('figures', len(makers), 'figure') as bar:
    for name, make in makers.items():
      try:
        paths += _write(make(), folder, name)
      except Exception as error:
        failed[name] = error
      bar.update()
  if failed:
    why = '; '.join(
      f'{name} ({type(error).__name__}: {files.why(error)})'
      for name, error in failed.items()
    )
    first = next(iter(failed.values()))
    raise errors.UserError(f'figures: not drawn: {why}') from first
  return paths


def _write(figure, folder, name):
  """Writes a figure in both formats; returns the paths."""
  paths = []
  for suffix, dated in (('png', 'Software'), ('pdf', 'CreationDate')):
    path = folder / f'{name}.{suffix}'
    # In memory, so that an error of drawing is not taken for the disk's.
    drawn = io.BytesIO()
    figure.savefig(drawn, format=suffix, dpi=150, metadata={dated: None})
    # Bytes rather than a view of them, see `results.save`.
    files.write_bytes(path, drawn.getvalue(), 'figures')
    paths.append(path)
  return paths
