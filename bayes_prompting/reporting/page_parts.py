"""Parts of a report as plain values: tables, figures, settings.

Everything here is text, numbers, lists and dicts. The template lays them out
and escapes them.
"""

import base64
from collections.abc import Mapping, Sequence
import io
import pathlib
import re
from typing import Any
import urllib.parse

import jinja2
import PIL
from PIL import Image
import xarray as xr

from bayes_prompting import errors
from bayes_prompting import results
from bayes_prompting import settings as config_lib
from bayes_prompting.results import measures
from bayes_prompting.results import selection
from bayes_prompting.results import stopped
from bayes_prompting.results import summary
from bayes_prompting.settings import plain

_CAPTIONS = (  # Pattern of a file's name, title, caption.
  (
    r'losses',
    'Training losses',
    'Loss of pretraining by network, and of tuning by method; lower is better. '
    'A curve that still falls at its end had too few updates. Where tuning '
    'stopped early, the loss on held out sequences stands beside it, with a '
    'star where it was least.',
  ),
  (
    r'(cumulative|instantaneous)_regret',
    '{} regret over the steps',
    'Medians over all runs with quartile bands, task by task. Vertical lines '
    'mark the lengths of sequences in tuning and in pretraining.',
  ),
  (
    r'cumulative_regret_step(\d+)',
    'Cumulative regret after {} steps',
    'Bar and number: median; black line: quartiles; dots: single runs; dashed '
    'line: Bayes-optimal.',
  ),
  (
    r'hard_prefix_ranking',
    'Ranking of hard prefixes',
    'Loss of every prefix of tokens above that of the best, by rank; then the '
    'best prefixes by name.',
  ),
  (
    r'overview',
    'What every method loses on its target',
    'Nats above the Bayes predictor of the target, a dot for each pretrained '
    'network. Filled dots: after the tuning length; open dots: at the end of '
    'the evaluation. In the shaded region a method counts as Bayes-optimal.',
  ),
  (
    r'prefix_lengths',
    'SoftPT with longer prefixes',
    'Nats above the Bayes predictor of the target, by the number of prefix '
    'rows. Lines are means over networks, dots single networks.',
  ),
  (
    r'dynamics_trajectories',
    'Memory of the network under each prompt',
    'The first two principal components of the memory of the untuned network '
    'while it reads random sources. In that plane each prompt has a path: rows '
    'of the prefix by number, then the mean over sequences of the target. One '
    'panel shows how far each path is from the plane.',
  ),
  (
    r'dynamics_meaning',
    'What each method means',
    'The Dirichlet posterior that best explains the predictions: its mean, its '
    'strength in virtual tokens, and its misfit on the target and on the '
    'pretraining task. A large misfit means that no such posterior exists.',
  ),
  (
    r'dynamics_prefix_rows',
    'Rows of the prefixes',
    'Norm of each row, and its distance and similarity to the nearest '
    'embedding of a token.',
  ),
  (
    r'tuning_grid',
    'Grid of settings',
    'Tuning loss and regret at every learning rate and initialisation that was '
    'tried. Other figures and tables show the one with the least tuning loss.',
  ),
  (
    r'(.+)-seed(\d+)',  # Of `dynamics.audit`.
    'Audit of {}, network {}',
    'How far each check is from zero, with 95% intervals; hollow marks do not '
    'count. Then where its own continuations lead it, how much the order of a '
    'history counts, how often came what was expected, what explains its '
    'predictions, and what a change of the source costs.',
  ),
)
_NOTHING = '–'  # In place of the value of a field that is not there.
# Limits of a figure in the page. With so many colours a hundredth of the pixels
# is off by more than 14 of 255, and none by more than 40.
_COLORS = 64
_MAX_WIDTH = 1600  # Pixels.


def environment() -> jinja2.Environment:
  """Returns what pages are rendered by: all text is escaped, no name unset."""
  return jinja2.Environment(
    loader=jinja2.PackageLoader('bayes_prompting.reporting'),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
  )


def _regret_cell(row: Any) -> str:
  """Returns a regret as the headline table of a run prints it."""
  text = summary.cell(row).replace('+-', '±')
  return text.replace('inf', '∞').replace('-', '−')


def tables(dataset: xr.Dataset, methods: Sequence[str]) -> list[dict[str, Any]]:
  """Returns the headline at every report step, see `measures`.

  Args:
    dataset: As loaded.
    methods: Those to show, in their order.

  Returns:
    For each step: `step`, `tasks`, what each is `above` (such as ' above CTW',
    or ''), `axes` (those of the grid with a choice) and `rows`. A row has
    `tuner`, `cells` by task ('' where it was not run), `networks`,
    `repetitions` of each network, and chosen `settings` by axis.
  """
  axes = [axis for axis in selection.AXES if dataset.sizes.get(axis, 1) > 1]
  chosen = selection.choose(dataset)
  frame = summary.headline(chosen)
  ran = (chosen.judged == 1).any('eval_task')
  tasks = dataset.eval_task.values.tolist()
  above = [measures.above(dataset, task) for task in tasks]
  by_step = []
  for step in dataset.report_step.values.tolist():
    rows = []
    for method in methods:
      regrets = frame[(frame.step == step) & (frame.tuner == method)]
      cells = {row.eval_task: _regret_cell(row) for row in regrets.itertuples()}
      runs = results.select(ran, tuner=method).transpose('pretrain_seed', ...)
      chosen_at = regrets[axes].iloc[0] if len(regrets) else {}
      rows.append(
        {
          'tuner': method,
          'cells': [cells.get(task, '') for task in tasks],
          'networks': int(runs.any('repetition').sum()),
          'repetitions': int(runs.sum('repetition').max()),
          'settings': [_setting(chosen_at.get(axis, '')) for axis in axes],
        }
      )
    by_step.append(
      {'step': step, 'tasks': tasks, 'above': above, 'axes': axes, 'rows': rows}
    )
  return by_step


def notes(dataset: xr.Dataset) -> list[str]:
  """Returns the caveats about a run's numbers, see `summary.notes`."""
  return summary.notes(dataset, selection.choose(dataset))


def any_stopped(dataset: xr.Dataset) -> bool:
  """Returns whether statistics, at the settings shown, leave out runs."""
  return bool(stopped.notes(selection.choose(dataset)))


def _setting(value: Any) -> str:
  """Returns a setting as text; '' for a method without one."""
  return str(value) if isinstance(value, str) or value > 0 else ''


def figures(folder: pathlib.Path) -> list[dict[str, Any]]:
  """Returns every PNG of a folder: title, caption, data URI, size in pixels.

  A palette makes the images smaller; the eye hardly sees it in a drawing.

  Raises:
    UserError: If one cannot be read.
  """
  images = []
  for path in sorted(folder.glob('*.png'), key=_natural):
    try:
      content, (width, height) = _small_png(path)
    except (OSError, ValueError, PIL.UnidentifiedImageError) as error:
      raise errors.UserError(
        f'workdir: cannot read {str(path)!r} as a PNG image ({error})'
      ) from None
    title, caption = _captioned(path.stem)
    images.append(
      {
        'title': title,
        'caption': caption,
        'uri': 'data:image/png;base64,' + base64.b64encode(content).decode(),
        'width': width,
        'height': height,
      }
    )
  return images


def _natural(path):
  """Returns a key that sorts step50 before step100."""
  parts = re.split(r'(\d+)', path.stem)
  return [(int(x), '') if x.isdecimal() else (0, x) for x in parts]


def _small_png(path):
  """Returns a PNG file, with a palette if that is smaller, and its size."""
  original = path.read_bytes()
  image = Image.open(io.BytesIO(original)).convert('RGBA')
  paper = Image.new('RGBA', image.size, 'white')
  image = Image.alpha_composite(paper, image).convert('RGB')
  wide = image.width > _MAX_WIDTH
  if wide:
    height = round(image.height * _MAX_WIDTH / image.width)
    image = image.resize((_MAX_WIDTH, height), Image.Resampling.LANCZOS)
  small = io.BytesIO()
  # Maximum coverage keeps the colours of thin lines, k-means those of areas.
  method, refine = Image.Quantize.MAXCOVERAGE, 3
  palette = image.quantize(_COLORS, method, refine, dither=Image.Dither.NONE)
  palette.save(small, 'png', optimize=True)
  small = small.getvalue()
  return small if wide or len(small) < len(original) else original, image.size


def _captioned(stem: str) -> tuple[str, str]:
  """Returns title and caption of a figure from its file's name."""
  for pattern, title, caption in _CAPTIONS:
    match = re.fullmatch(pattern, stem)
    if match:
      return title.format(*map(_capitalized, match.groups())), caption
  title = re.sub(r'[_\s-]+', ' ', stem).strip()
  return _capitalized(title), ''


def _capitalized(text):
  """Returns text with a capital; others, of names, stay as they are."""
  return text[:1].upper() + text[1:]


def shown(value: Any) -> str:
  """Returns a configuration's value as text; a spec looks like a call."""
  if isinstance(value, Mapping):
    named = dict(value)
    name = named.pop('name', '')
    inside = ', '.join(f'{key}={shown(item)}' for key, item in named.items())
    return f'{name}({inside})' if name else inside
  if isinstance(value, list | tuple):
    return f'({", ".join(map(shown, value))})'
  return str(value)


def settings(record: Mapping[str, Any]) -> dict[str, dict[str, str]]:
  """Returns what a run recorded, as text by section and field."""
  sections = {'general': {}}
  for name, value in record['config'].items():
    if isinstance(value, Mapping):
      sections[name] = {field: shown(item) for field, item in value.items()}
    else:
      sections['general'][name] = shown(value)
  for field, title in (
    ('numerical', 'versions and device'),
    ('other', 'machine, other versions'),
  ):
    if isinstance(record.get(field), Mapping):
      sections[title] = {k: shown(item) for k, item in record[field].items()}
  return {title: fields for title, fields in sections.items() if fields}


def preset(record: Mapping[str, Any]) -> dict[str, Any]:
  """Returns in what a run differs from its preset, and from the defaults.

  Args:
    record: What a run recorded.

  Returns:
    `name` of the preset, '' where none was recorded; `changed`, in what the run
    differs from it; and `defaults`, in what it differs from `base_config` of
    this version. Both are rows of field, value there, and value of the run.
  """
  now, told = plain.fields(record['config']), record.get('preset', {})
  usual = plain.fields(plain.of(config_lib.base_config()))
  # The preset had what the run has, but for what was changed and added.
  before = {x: v for x, v in now.items() if x not in told.get('added', ())}
  before |= told.get('changed', {})
  return {
    'name': str(told.get('name', '')),
    'changed': _changed(before, now),
    'defaults': _changed(usual, now),
  }


def _changed(before, now):
  """Returns a row for each field: its name, its value before, and now."""
  rows = []
  for field in dict.fromkeys([*before, *now]):
    values = [x.get(field, _NOTHING) for x in (before, now)]
    if values[0] != values[1]:
      rows.append((field, *map(shown, values)))
  return rows


def differences(
  every: Mapping[str, Mapping[str, Mapping[str, str]]],
) -> dict[str, Any]:
  """Returns the settings in which several runs differ.

  Args:
    every: What `settings` returns, by run.

  Returns:
    `fields`, and `rows`: the value of each field by run, '' where a run has
    none.
  """
  flat = {
    run: {
      f'{section}.{field}': value
      for section, fields in sections.items()
      for field, value in fields.items()
    }
    for run, sections in every.items()
  }
  fields = dict.fromkeys(field for run in flat.values() for field in run)
  differ = [
    field
    for field in fields
    if len({run.get(field) for run in flat.values()}) > 1
  ]
  rows = {
    name: [run.get(field, '') for field in differ] for name, run in flat.items()
  }
  return {'fields': [x.removeprefix('general.') for x in differ], 'rows': rows}


def text_uri(text: str, kind: str) -> str:
  """Returns text as a data URI of a MIME type."""
  # Shorter than base64: of a CSV file little but the line ends is quoted.
  return f'data:{kind};charset=utf-8,' + urllib.parse.quote(text, ',/:+-[]()=')
