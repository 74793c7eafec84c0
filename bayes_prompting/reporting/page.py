"""A report of one run or of many, as one page that needs no other file.

Reads results, figures and records that runs left; never trains or evaluates.
The page holds everything: plotly's library, all numbers, all images.
"""

from collections.abc import Mapping, Sequence
import os
import pathlib
import shlex
import sys
from typing import Any

import jinja2
import jinja2.utils
import plotly.offline
import xarray as xr

import bayes_prompting
from bayes_prompting import errors
from bayes_prompting import results
from bayes_prompting.reporting import page_claims
from bayes_prompting.reporting import page_curves
from bayes_prompting.reporting import page_parts
from bayes_prompting.results import runs as runs_lib
from bayes_prompting.results import summary
from bayes_prompting.storage import workdir as workdir_lib
from bayes_prompting.system import files
from bayes_prompting.system import locks

METHODS = {  # What each tunes, by kind.
  'references': {
    'Oracle': 'knows the source of every sequence; its regret is 0',
    'TargetBayes': 'exact Bayes for the target: optimal there',
    'EvalBayes': 'exact Bayes for the evaluated task, where that is another',
    'PreBayes': 'exact Bayes for the pretraining task',
    'PreBayesPT': 'the same with its best hard prefix',
    'NoTuning': 'the network as pretraining left it',
    'RandomPF': 'the network with random tokens before the sequence',
  },
  'prompts (the state of the network)': {
    'HardPT': 'tokens: the best of all prefixes',
    'SimplexPT': 'a prefix of mixtures of tokens',
    'RealPT': 'a prefix of any real rows over tokens',
    'SoftPT': 'a prefix of embeddings',
    'StatePT': 'the state itself: in principle the best that a prompt can do',
  },
  'weights (the map of the network)': {
    'EmbedWT': 'the embedding',
    'UnembedWT': 'the unembedding',
    'Un+EmbedWT': 'embedding and unembedding',
    'LoRAWT': 'low-rank updates of weights',
    'FullWT': 'all weights',
  },
}


def write(workdir: str | os.PathLike[str]) -> pathlib.Path:
  """Writes `report.html` into a folder, under its name once it is whole.

  The same files make the same page. A run among others that cannot be read is
  left out: the page names it, a warning says why.

  Args:
    workdir: A run's folder (`config.json`, `results.nc`), or one whose
      subfolders are.

  Returns:
    The path of the page.

  Raises:
    UserError: If the folder holds no run, or none that can be read, or cannot
      be written to.
  """
  root = pathlib.Path(workdir).expanduser()
  page = render(root)
  path = root / 'report.html'
  with locks.lock(root):
    files.write_text(path, page, 'workdir')
  return path


def render(workdir: str | os.PathLike[str]) -> str:
  """Returns the page, see `write`."""
  root = pathlib.Path(workdir).expanduser()
  paths, unfinished = find(root)
  alone = paths == [root]
  runs, damaged = _runs(paths)
  # The claims were judged with all of them, whatever can be read now.
  configs = [config for config in map(_config, paths) if config]
  claims = page_claims.read(root / 'claims.csv')
  settings = {run['name']: run['settings'] for run in runs}
  name = root.resolve().name
  environment = jinja2.Environment(
    loader=jinja2.PackageLoader('bayes_prompting.reporting'),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
  )
  environment.filters['uri'] = page_parts.text_uri
  return environment.get_template('report.html.jinja').render(
    name=name,
    workdir=shlex.quote(name),
    flags=_flags(root, configs),
    smaller=page_claims.smaller(configs),
    snippet_path=repr(f'{name}/{"" if alone else "RUN/"}config.json'),
    alone=alone,
    runs=runs,
    unfinished=unfinished,
    damaged=damaged,
    claims=claims,
    figures=[] if alone else page_parts.figures(root / 'figures'),
    differences=page_parts.differences(settings),
    methods=_methods(runs),
    version=bayes_prompting.__version__,
    data=_json([{'name': run['name'], **run['curves']} for run in runs]),
    plotly=plotly.offline.get_plotlyjs(),
  )


def _flags(
  root: pathlib.Path, configs: Sequence[Mapping[str, Any]]
) -> str | None:
  """Returns what more `launch.paper` was told, as far as the runs agree.

  None for runs that something else started: which they were is not known.
  """
  record = root / 'paper.json'
  if not record.is_file():
    return None
  common = files.read_json(record, 'workdir')
  flags = [f' --{name}' for name, value in common.items() if value]
  for section, name in (
    ('pretraining', 'num_seeds'),
    ('tuning', 'num_repetitions'),
  ):
    values = {config[section][name] for config in configs}
    if len(values) == 1:
      flags.append(f' --{name}={values.pop()}')
  return ''.join(flags)


def find(root: pathlib.Path) -> tuple[list[pathlib.Path], list[str]]:
  """Returns the finished runs of a folder, and names of unfinished ones.

  Raises:
    UserError: If there is no finished run.
  """
  alone = (root / 'config.json').is_file()
  started = [root] if alone else runs_lib.folders(root)
  finished = [x for x in started if (x / 'results.nc').is_file()]
  unfinished = [x.name for x in started if x not in finished]
  if finished:
    return finished, unfinished
  raise errors.UserError(
    f'workdir: {str(root)!r} holds no finished run, nor does a folder in it '
    f'(config.json and results.nc; {len(started)} only started); let '
    'launch.experiment or launch.sweep finish one'
  )


def _config(path: pathlib.Path) -> dict[str, Any] | None:
  """Returns a run's configuration, None if it cannot be read."""
  try:
    return workdir_lib.read_config(path)
  except errors.UserError:
    return None


def _runs(
  paths: Sequence[pathlib.Path],
) -> tuple[list[dict[str, Any]], list[str]]:
  """Returns what the page says of each run, and names of those it cannot read.

  Raises:
    UserError: What is wrong with the first, if none can be read.
  """
  runs, damaged = [], {}
  for path in paths:
    try:
      runs.append(_run(path))
    except errors.UserError as error:
      damaged[path.name] = error
  if not runs:
    raise next(iter(damaged.values()))
  for error in damaged.values():
    print(f'warning: {error}; not in the report', file=sys.stderr)
  return runs, list(damaged)


def _run(path: pathlib.Path) -> dict[str, Any]:
  """Returns all that the page says of a run, as plain values."""
  record = workdir_lib.read_record(path)
  workdir_lib.read_config(path)  # Has the sizes that the page tells of.
  try:
    dataset = results.load(path)
    return _parts(path, record, dataset)
  except errors.UserError:
    raise
  # The file may be cut off, or anything else by that name.
  except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
    text = ' '.join(str(error).split())[:200]
    raise errors.UserError(
      f"workdir: cannot read {str(path / 'results.nc')!r} as a run's results "
      f'({type(error).__name__}: {text}); run it again'
    ) from None


def _parts(
  path: pathlib.Path, record: Mapping[str, Any], dataset: xr.Dataset
) -> dict[str, Any]:
  curves = page_curves.data(dataset)
  methods = {look['name']: look for look in curves['methods']}
  config = record['config']
  return {
    'name': path.resolve().name,
    'target': curves['target'],
    'about': _about(config),
    'curves': curves,
    'looks': methods,
    'marks': {mark['step']: mark['name'] for mark in curves['marks']},
    'notes': page_parts.notes(dataset),
    'tables': page_parts.tables(dataset, list(methods)),
    'summary': _summary(path, dataset),
    'figures': page_parts.figures(path / 'figures'),
    'settings': page_parts.settings(record),
    'record': files.read_text(path / 'config.json', 'workdir'),
    'own': config.get('methods', {}),
  }


def _about(config: Mapping[str, Any]) -> str:
  """Returns one line on a run: network, tasks, how long it was trained."""

  def value(section, field):
    return page_parts.shown(config.get(section, {}).get(field, '?'))

  trained = f'pretrained on {value("pretraining", "task")}'
  if value('pretraining', 'num_steps') == '0':
    trained = 'not pretrained'
  return (
    f'{value("network", "torso")}, {trained}, tuned to '
    f'{value("tuning", "target")} in {value("tuning", "num_steps")} updates; '
    f'{value("evaluation", "num_sequences")} sequences of length '
    f'{value("evaluation", "length")} on each task'
  )


def _summary(path: pathlib.Path, dataset: xr.Dataset) -> str:
  """Returns the run's summary.csv, made anew if it has gone."""
  file = path / 'summary.csv'
  if file.is_file():
    return files.read_text(file, 'workdir')
  frame = summary.summarize(dataset)
  return frame.to_csv(index=False, float_format=summary.FLOAT_FORMAT)


def _methods(runs: Sequence[Mapping[str, Any]]) -> dict[str, list[dict]]:
  """Returns the methods that any run has, by kind, with look and text."""
  looks = {}
  for run in runs:
    looks |= {name: x for name, x in run['looks'].items() if name not in looks}
  found = {}
  for kind, texts in METHODS.items():
    found[kind] = [
      {**looks.pop(name), 'text': text}
      for name, text in texts.items()
      if name in looks
    ]
  specs = {name: spec for run in runs for name, spec in run['own'].items()}
  found['others'] = [
    {**look, 'text': page_parts.shown(specs.get(name, '')) or 'not recorded'}
    for name, look in looks.items()
  ]
  return {kind: rows for kind, rows in found.items() if rows}


def _json(value: Any) -> str:
  """Returns JSON that can stand in a script: without <, >, & and quotes."""
  return jinja2.utils.htmlsafe_json_dumps(
    value, separators=(',', ':'), allow_nan=False
  )
