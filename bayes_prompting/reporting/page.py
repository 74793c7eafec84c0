"""A report of one run or of many, as one page that needs no other file.

The report reads the results, figures and records of runs; it never trains or
evaluates. The page holds everything: plotly's library, all numbers, all images.
It opens with the answer, see `page_answer`; curves, tables, figures and
settings come after it.
"""

from collections.abc import Mapping, Sequence
import os
import pathlib
import shlex
from typing import Any

import jinja2.utils
import plotly.offline
import xarray as xr

import bayes_prompting
from bayes_prompting import errors
from bayes_prompting import results
from bayes_prompting.reporting import page_answer
from bayes_prompting.reporting import page_audit
from bayes_prompting.reporting import page_claims
from bayes_prompting.reporting import page_curves
from bayes_prompting.reporting import page_parts
from bayes_prompting.results import evidence
from bayes_prompting.results import measures
from bayes_prompting.results import runs as run_folders
from bayes_prompting.results import summary
from bayes_prompting.storage import workdir as workdirs
from bayes_prompting.system import console
from bayes_prompting.system import files
from bayes_prompting.system import locks

METHODS = {  # What each method tunes, or is, by kind.
  'references': {
    'Oracle': 'a predictor that knows the source; its regret is 0',
    'TargetBayes': 'exact Bayes for the target; optimal on the target',
    'EvalBayes': 'exact Bayes for an evaluated task that is not the target',
    'CTW': 'context-tree weighting, of the sequence so far alone',
    'KT': 'the estimator of Krichevsky and Trofimov: CTW without contexts',
    'PreBayes': 'exact Bayes for the pretraining task',
    'PreBayesPT': 'PreBayes with its best hard prefix',
    'NoTuning': 'the pretrained network',
    'RandomPF': 'the pretrained network with a prefix of random tokens',
  },
  'prompts (the state of the network)': {
    'HardPT': 'a prefix of tokens: the best of all',
    'SimplexPT': 'a prefix of probabilities over tokens',
    'RealPT': 'a prefix of real numbers over tokens',
    'SoftPT': 'a prefix of embeddings',
    'StatePT': 'the state itself; in principle no prompt can do better',
    'OffsetPT': 'what is added to the memory wherever it is read',
    'DeepPT': 'keys and values of each layer',
    'DeepMLPPT': 'keys and values of each layer, made by an MLP',
    'PrefilledPT': 'keys and values of each layer, from those of the target',
  },
  'weights (the map of the network)': {
    'EmbedWT': 'the embedding',
    'UnembedWT': 'the unembedding',
    'Un+EmbedWT': 'embedding and unembedding',
    'LoRAWT': 'low-rank updates of weights',
    'FullWT': 'all weights',
    'BitFitWT': 'all biases',
    'NormWT': 'all weights of norms',
    'IA3WT': 'a scale of each output of the torso',
    'DoRAWT': 'magnitudes of weights, and directions by low-rank updates',
    'VeRAWT': 'scales of random low-rank updates',
  },
  'both': {
    'SoftPT+LoRAWT': 'a prefix of embeddings, and low-rank updates of weights',
  },
}


def write(workdir: str | os.PathLike[str]) -> pathlib.Path:
  """Writes `report.html` into a folder; the file appears once it is whole.

  The same files give the same page. If one of several runs cannot be read, the
  page leaves it out and names it, and a warning says why.

  Args:
    workdir: A run's folder (with `config.json` and `results.nc`), or a folder
      of such folders.

  Returns:
    The path of the page.

  Raises:
    UserError: If the folder holds no run that can be read, or cannot be written
      to.
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
  # The claims were judged with all runs, even those that cannot be read now.
  configs = [config for config in map(_config, paths) if config]
  claims = page_claims.read(root / 'claims.csv')
  settings = {run['name']: run['settings'] for run in runs}
  name = root.resolve().name
  first = [] if alone else [runs[0]['name']]
  environment = page_parts.environment()
  environment.filters['uri'] = page_parts.text_uri
  return environment.get_template('report.html.jinja').render(
    name=name,
    workdir=shlex.quote(name),
    rows=(root / evidence.NAME).is_file(),
    smaller=page_claims.smaller(configs),
    snippet_path=repr(os.path.join(name, *first, 'config.json')),
    alone=alone,
    runs=runs,
    unfinished=unfinished,
    damaged=damaged,
    claims=claims,
    figures=[] if alone else page_parts.figures(root / 'figures'),
    differences=page_parts.differences(settings),
    methods=_methods(runs),
    recorded=next((run['recorded'] for run in runs if run['recorded']), ''),
    oracle=any(run['oracle'] for run in runs),
    version=bayes_prompting.__version__,
    data=_json([{'name': run['name'], **run['curves']} for run in runs]),
    plotly=plotly.offline.get_plotlyjs(),
  )


def find(root: pathlib.Path) -> tuple[list[pathlib.Path], list[str]]:
  """Returns the finished runs of a folder, and the names of unfinished ones.

  Raises:
    UserError: If there is no finished run.
  """
  alone = (root / 'config.json').is_file()
  started = [root] if alone else run_folders.folders(root)
  finished = [x for x in started if (x / 'results.nc').is_file()]
  unfinished = [x.name for x in started if x not in finished]
  if finished:
    return finished, unfinished
  raise errors.UserError(
    f'workdir: {str(root)!r} holds no finished run, nor does a folder in it '
    f'(config.json and results.nc; {len(started)} only started); let '
    'bayes-prompting run or bayes-prompting sweep finish one'
  )


def _config(path: pathlib.Path) -> dict[str, Any] | None:
  """Returns a run's configuration; None if it cannot be read."""
  try:
    return workdirs.read_config(path)
  except errors.UserError:
    return None


def _runs(
  paths: Sequence[pathlib.Path],
) -> tuple[list[dict[str, Any]], list[str]]:
  """Returns what the page says of each run, and the names of damaged runs.

  Raises:
    UserError: If no run can be read. The error is that of the first.
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
    console.warn(f'{error}; not in the report')
  return runs, list(damaged)


def _run(path: pathlib.Path) -> dict[str, Any]:
  """Returns all that the page says of a run, as plain values."""
  record = workdirs.read_record(path)
  workdirs.read_config(path)  # Refuses a record without the sizes shown below.
  try:
    dataset = results.load(path)
    return _parts(path, record, dataset)
  except errors.UserError:
    raise
  # The file may be cut off, or be anything else of that name.
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
    'answers': page_answer.answers(dataset),
    'about': _about(config),
    'curves': curves,
    'looks': methods,
    'marks': {mark['step']: mark['name'] for mark in curves['marks']},
    'notes': page_parts.notes(dataset),
    'stopped': page_parts.any_stopped(dataset),
    'recorded': measures.note(dataset),
    'oracle': bool(measures.of_kind(dataset)[0]),
    'tables': page_parts.tables(dataset, list(methods)),
    'summary': _summary(path, dataset),
    'figures': page_parts.figures(path / 'figures'),
    'audit': page_audit.read(path / 'audit'),
    'settings': page_parts.settings(record),
    'preset': page_parts.preset(record),
    'record': files.read_text(path / 'config.json', 'workdir'),
    'own': config.get('methods', {}),
  }


def _about(config: Mapping[str, Any]) -> str:
  """Returns one line on a run: network, tasks, number of updates."""

  def value(section, field):
    return page_parts.shown(config.get(section, {}).get(field, '?'))

  trained = f'pretrained on {value("pretraining", "task")}'
  if value('pretraining', 'num_steps') == '0':
    trained = 'not pretrained'
  network = value('network', 'torso')
  if model := config.get('network', {}).get('language_model'):
    network = page_parts.shown(model)  # In its place.
  return (
    f'{network}, {trained}, tuned to '
    f'{value("tuning", "target")} in {value("tuning", "num_steps")} updates; '
    f'{value("evaluation", "num_sequences")} sequences of length '
    f'{value("evaluation", "length")} on each task'
  )


def _summary(path: pathlib.Path, dataset: xr.Dataset) -> str:
  """Returns the run's summary.csv; makes it anew if it is gone."""
  file = path / 'summary.csv'
  if file.is_file():
    return files.read_text(file, 'workdir')
  frame = summary.summarize(dataset)
  return frame.to_csv(index=False, float_format=summary.FLOAT_FORMAT)


def _methods(runs: Sequence[Mapping[str, Any]]) -> dict[str, list[dict]]:
  """Returns the methods of all runs by kind, each with its look and text."""
  looks = {}
  for run in runs:
    looks |= {name: x for name, x in run['looks'].items() if name not in looks}
  by_kind = {}
  for kind, texts in METHODS.items():
    by_kind[kind] = [
      {**looks.pop(name), 'text': text}
      for name, text in texts.items()
      if name in looks
    ]
  specs = {name: spec for run in runs for name, spec in run['own'].items()}
  by_kind['others'] = [
    {**look, 'text': page_parts.shown(specs.get(name, '')) or 'not recorded'}
    for name, look in looks.items()
  ]
  return {kind: rows for kind, rows in by_kind.items() if rows}


def _json(value: Any) -> str:
  """Returns JSON that can stand in a script, without <, >, & and quotes."""
  return jinja2.utils.htmlsafe_json_dumps(
    value, separators=(',', ':'), allow_nan=False
  )
