"""Parts of a report as plain values: tables, figures, settings.

Everything here is text, numbers, lists and dicts, for the template to lay out;
nothing is escaped, which is the template's part.
"""

import base64
from collections.abc import Mapping, Sequence
import io
import pathlib
import re
from typing import Any
import urllib.parse

import PIL
from PIL import Image
import xarray as xr

from bayes_prompting import errors
from bayes_prompting import results
from bayes_prompting.results import selection
from bayes_prompting.results import summary

_CAPTIONS = (  # What a figure shows, by the name of its file.
  (
    r'losses',
    'Training losses',
    'Loss of pretraining, by network, and of tuning, by method; lower is '
    'better, and a curve that still falls at its end had too few updates.',
  ),
  (
    r'(cumulative|instantaneous)_regret',
    '{} regret over the steps',
    'Medians over all runs with quartile bands, task by task; vertical lines '
    'mark the lengths of the sequences in tuning and in pretraining.',
  ),
  (
    r'cumulative_regret_step(\d+)',
    'Cumulative regret after {} steps',
    'Bar and number: median; black line: quartiles; dots: single runs; dashed: '
    'Bayes-optimal.',
  ),
  (
    r'hard_prefix_ranking',
    'Ranking of hard prefixes',
    'Loss of every prefix of tokens above the best one, by rank, and the best '
    'of them by name.',
  ),
  (
    r'overview',
    'What every method loses on its target',
    'Nats above the Bayes predictor of the target, a dot for each pretrained '
    'network; filled after the tuning length, open at the end of the '
    'evaluation. In the shaded region a method counts as having reached it.',
  ),
  (
    r'prefix_lengths',
    'SoftPT with longer prefixes',
    'Nats above the Bayes predictor of the target against the rows of the '
    'prefix; lines are means over networks, dots single networks.',
  ),
  (
    r'dynamics_trajectories',
    'Memory of the network under each prompt',
    'The first two principal components of what the network remembers while it '
    'reads random sources, and in that plane the path of each prompt: rows of '
    'the prefix by number, then the mean over sequences of the target. How far '
    'a prompt leaves the plane is a panel of its own.',
  ),
  (
    r'dynamics_meaning',
    'What each method means',
    'The Dirichlet posterior that best explains the predictions: its mean, its '
    'strength in virtual tokens, and the misfit that says when there is none, '
    'on the target and on the pretraining task.',
  ),
  (
    r'dynamics_prefix_rows',
    'Rows of the prefixes',
    'Norms, and distance and similarity to the nearest embedding of a token.',
  ),
  (
    r'tuning_grid',
    'Grid of settings',
    'Tuning loss and regret at every learning rate and initialisation that was '
    'tried; reports show the one with the smallest tuning loss.',
  ),
)
# Of a figure in the page. With these colours a hundredth of its pixels is off
# by more than 14 of 255, none by more than 40.
_COLORS = 64
_MAX_WIDTH = 1600  # Pixels.


def _regret_cell(row: Any) -> str:
  """Returns a regret as the headline table of a run prints it."""
  text = summary.cell(row).replace('+-', '±')
  return text.replace('inf', '∞').replace('-', '−')


def tables(dataset: xr.Dataset, methods: Sequence[str]) -> list[dict[str, Any]]:
  """Returns the headline at every report step: paired regret to the oracle.

  Args:
    dataset: As loaded.
    methods: Those to show, in their order.

  Returns:
    For each step `step`, `tasks`, `axes` (of the grid, those with a choice) and
    `rows`: `method`, `cells` by task ('' where it was not run), `networks`,
    `repetitions` of each, and chosen `settings` by axis.
  """
  axes = [axis for axis in selection.AXES if dataset.sizes.get(axis, 1) > 1]
  chosen = selection.choose(dataset)
  frame = summary.headline(chosen)
  ran = (chosen.judged == 1).any('eval_task')
  tasks = dataset.eval_task.values.tolist()
  found = []
  for step in dataset.report_step.values.tolist():
    rows = []
    for method in methods:
      here = frame[(frame.step == step) & (frame.method == method)]
      cells = {row.eval_task: _regret_cell(row) for row in here.itertuples()}
      runs = results.select(ran, method=method).transpose('pretrain_seed', ...)
      settings = here[axes].iloc[0] if len(here) else {}
      rows.append(
        {
          'method': method,
          'cells': [cells.get(task, '') for task in tasks],
          'networks': int(runs.any('repetition').sum()),
          'repetitions': int(runs.sum('repetition').max()),
          'settings': [_setting(settings.get(axis, '')) for axis in axes],
        }
      )
    found.append({'step': step, 'tasks': tasks, 'axes': axes, 'rows': rows})
  return found


def notes(dataset: xr.Dataset) -> list[str]:
  """Returns what must be said of a run's numbers, see `summary.notes`."""
  return summary.notes(dataset, selection.choose(dataset))


def _setting(value: Any) -> str:
  """Returns a setting as text, none for a method without."""
  return str(value) if isinstance(value, str) or value > 0 else ''


def figures(folder: pathlib.Path) -> list[dict[str, Any]]:
  """Returns every PNG of a folder: title, caption, data URI, size in pixels.

  They are made smaller by a palette, which the eye hardly sees in a drawing.

  Raises:
    UserError: If one cannot be read.
  """
  found = []
  for path in sorted(folder.glob('*.png'), key=_natural):
    try:
      content, (width, height) = _small_png(path)
    except (OSError, ValueError, PIL.UnidentifiedImageError) as error:
      raise errors.UserError(
        f'workdir: cannot read {str(path)!r} as a PNG image ({error})'
      ) from None
    title, caption = _captioned(path.stem)
    found.append(
      {
        'title': title,
        'caption': caption,
        'uri': 'data:image/png;base64,' + base64.b64encode(content).decode(),
        'width': width,
        'height': height,
      }
    )
  return found


def _natural(path):
  """Sorts step50 before step100."""
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
  # Keeps the colours of thin lines; then the means (k-means) those of areas.
  method, refine = Image.Quantize.MAXCOVERAGE, 3
  palette = image.quantize(_COLORS, method, refine, dither=Image.Dither.NONE)
  palette.save(small, 'png', optimize=True)
  small = small.getvalue()
  return small if wide or len(small) < len(original) else original, image.size


def _captioned(stem: str) -> tuple[str, str]:
  """Returns title and caption of a figure, by the name of its file."""
  for pattern, title, caption in _CAPTIONS:
    match = re.fullmatch(pattern, stem)
    if match:
      return title.format(*(x.capitalize() for x in match.groups())), caption
  title = re.sub(r'[_\s-]+', ' ', stem).strip()
  return title[:1].upper() + title[1:], ''


def shown(value: Any) -> str:
  """Returns a value of a configuration as text; a spec as a call."""
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
  found = {'general': {}}
  for name, value in record['config'].items():
    if isinstance(value, Mapping):
      found[name] = {field: shown(item) for field, item in value.items()}
    else:
      found['general'][name] = shown(value)
  for part, title in (
    ('numerical', 'versions and device'),
    ('other', 'machine, other versions'),
  ):
    if isinstance(record.get(part), Mapping):
      found[title] = {k: shown(item) for k, item in record[part].items()}
  return {title: fields for title, fields in found.items() if fields}


def differences(
  every: Mapping[str, Mapping[str, Mapping[str, str]]],
) -> dict[str, Any]:
  """Returns in what several runs differ.

  Args:
    every: What `settings` returns, by run.

  Returns:
    `fields`, and `rows`: by run the value of each of them, '' where it has
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
  # Shorter than base64: of a CSV file little but its ends of lines is quoted.
  return f'data:{kind};charset=utf-8,' + urllib.parse.quote(text, ',/:+-[]()=')
