"""What a prompt does inside a network, and what it means.

The study reads the checkpoints of a finished workdir and never trains. It
returns a Dataset, kept as `dynamics.nc`, from which `figures` draws:

* The *cloud*: the memory of the untuned network (`types.Predictor.trace`: cells
  of an LSTM, activations of a Transformer) while it reads sequences of the
  pretraining prior. Its first two principal components span the *plane*.
* The *paths* in that plane of every method that keeps the network's weights:
  prompts, and no tuning. A path runs through the beginning of the sequence and
  the rows of the prefix, and on through tokens of the target.
* The *meaning* of every run: the Dirichlet posterior that best explains the
  adapted predictor's predictions (`dirichlet_fit`). It is fitted on sequences
  of the target. Its misfit is measured there and on the pretraining task.
* The place of each prefix row among the embeddings of tokens.

Dimensions: `tuner`, `pretrain_seed`, `repetition`, `task` (target,
pretraining), `token` of the vocabulary, `row` of a prefix (from 1), `component`
of the plane (from 1), `step` (tokens seen, from 0), `prefix_step` (rows seen,
where 0 is the beginning of the sequence), `source` (a sequence of the cloud),
`example` (single sequences of the target). Entries that do not exist are NaN.
A tuner without randomness has the same values in every repetition, one without
a network for every seed; `studied` is 1 at the first of these alone.
Every method is shown at the best settings of its grid, see `selection.best`.
Runs that were stopped are left out; the attribute `left_out` names them.
"""

import collections
import os
import pathlib

import numpy as np
import xarray as xr

from bayes_prompting import checks
from bayes_prompting import errors
from bayes_prompting import results
from bayes_prompting.dynamics import dirichlet_fit
from bayes_prompting.dynamics import probe
from bayes_prompting.experiment import loading
from bayes_prompting.results import stopped
from bayes_prompting.storage import workdir
from bayes_prompting.system import console
from bayes_prompting.system import locks

SCHEMA_VERSION = 2
TASKS = ('target', 'pretraining')

_RUN = ('tuner', 'pretrain_seed', 'repetition')
# Every variable: its dimensions, its units, and what it is.
VARIABLES = {
  'cloud': (
    ('source', 'step', 'component'),
    '1',
    'untuned memory in the plane, on sequences of the pretraining prior',
  ),
  'source_probability': (
    ('source', 'step'),
    '1',
    'probability that the source gives to token 0 as the next',
  ),
  'explained_variance': (('component',), '1', 'share of the cloud'),
  'cloud_distance': (
    ('step',),
    '1',
    'distance of the cloud from the plane, root mean square over sources',
  ),
  'untuned_path': (
    ('step', 'component'),
    '1',
    'memory in the plane on the target without a prompt, mean over sequences',
  ),
  'prefix_path': (
    ('tuner', 'prefix_step', 'component'),
    '1',
    'memory in the plane after the beginning of sequence and each row',
  ),
  'prefix_distance': (('tuner', 'prefix_step'), '1', 'from the plane'),
  'token_path': (
    ('tuner', 'step', 'component'),
    '1',
    'memory in the plane after the prefix and each token, mean over sequences '
    'of the target',
  ),
  'token_distance': (
    ('tuner', 'step'),
    '1',
    'distance from the plane, root mean square over sequences',
  ),
  'example_path': (
    ('tuner', 'example', 'step', 'component'),
    '1',
    'as token_path, of single sequences',
  ),
  'studied': (
    _RUN,
    '1',
    '1 where a run was studied: where it is not 1, others repeat a run',
  ),
  'alpha': (
    (*_RUN, 'token'),
    '1',
    'concentrations of the posterior that best explains the predictions',
  ),
  'virtual_counts': (
    (*_RUN, 'token'),
    '1',
    'alpha less the concentrations of the pretraining prior',
  ),
  'unbounded': (
    _RUN,
    '1',
    '1 where alpha is as large as was searched: a limit',
  ),
  'misfit': (
    (*_RUN, 'task'),
    'nats',
    'KL from the predictions to those of alpha, summed over the tuning length, '
    'mean over sequences',
  ),
  'row_norm': ((*_RUN, 'row'), '1', 'norm of each row of the prefix'),
  'row_nearest': ((*_RUN, 'row'), '1', 'the token with the nearest embedding'),
  'row_distance': ((*_RUN, 'row'), '1', 'distance to that embedding'),
  'row_cosine': ((*_RUN, 'row'), '1', 'cosine similarity to that embedding'),
  'token_norm': (
    ('pretrain_seed', 'token'),
    '1',
    'norm of the embedding of each token',
  ),
  'concentration': (
    ('token',),
    '1',
    'of the pretraining prior, if it is a Dirichlet',
  ),
  'target_mean': (
    ('token',),
    '1',
    'probability that sources of the target give to each token, mean over '
    'sequences and steps',
  ),
}

# Every file has these, whatever ran.
_NEEDED = ('cloud', 'untuned_path', 'token_norm', 'target_mean')
_ATTRIBUTES = (
  'target',
  'pretraining_task',
  'tuning_length',
  'pretraining_length',
  'path_seed',
  'path_repetition',
)


def study(
  path: str | os.PathLike[str],
  seed: int = 0,
  repetition: int = 0,
  num_sequences: int = 128,
  num_sources: int = 256,
  allow_plugins: bool = False,
) -> xr.Dataset:
  """Looks inside the networks of a finished run.

  Meaning and rows are studied for all seeds and repetitions, plane and paths
  for one. Sequences are as long as in tuning, and the same for all methods.

  Args:
    path: The workdir.
    seed: The pretraining seed of plane and paths.
    repetition: The tuning repetition of the paths. A method with fewer
      repetitions shows its last.
    num_sequences: S, sequences of each task for meaning and paths.
    num_sources: Sequences of the pretraining prior in the cloud.
    allow_plugins: See `loading.load`.

  Returns:
    The Dataset that the module's docstring describes.

  Raises:
    UserError: If there is no such run, seed or repetition, if the run is
      unfinished, or if every repetition was stopped.
  """
  checks.integer('num_sequences', num_sequences, 1)
  checks.integer('num_sources', num_sources, 1)
  lab, folder = loading.load(path, allow_plugins)
  for field, value, count in (
    ('seed', seed, lab.num_seeds),
    ('repetition', repetition, lab.num_repetitions),
  ):
    if value not in range(count):
      raise errors.UserError(f'{field}: must be below {count}, got {value!r}')
  for name in (lab.target, lab.pretraining_task):
    if lab.priors[name].scored is not None:
      raise errors.UserError(
        f'tasks.{name}: has tokens that are not scored; what happens inside a '
        'network is shown for sequences that are scored as a whole'
      )
  with lab.precision():
    arrays, left_out = _arrays(
      lab, folder, (seed, repetition), num_sequences, num_sources
    )
  return _dataset(lab, arrays).assign_attrs(
    schema_version=SCHEMA_VERSION,
    target=lab.target,
    pretraining_task=lab.pretraining_task,
    tuning_length=lab.tuning.length,
    pretraining_length=lab.pretraining.length,
    path_seed=seed,
    path_repetition=repetition,
    left_out=stopped.footnote(left_out),
  )


def _arrays(lab, folder, shown, num_sequences, num_sources):
  """Returns the variables that exist, by name, and what is left out by method.

  Args:
    lab: The configuration, built.
    folder: Its workdir.
    shown: Seed and repetition of the paths.
    num_sequences: S.
    num_sources: Of the cloud.
  """
  networks = [loading.pretrained(lab, folder, s) for s in range(lab.num_seeds)]
  prior = dirichlet_fit.concentration(lab.priors[lab.pretraining_task])
  plane, arrays = probe.cloud(lab, networks[shown[0]], num_sources)
  target, pretraining = (
    probe.sample(lab, task, name, num_sequences, lab.tuning.length)
    for name, task in zip(
      TASKS, (lab.target, lab.pretraining_task), strict=True
    )
  )
  arrays['concentration'] = prior
  arrays['target_mean'] = probe.source_probabilities(
    lab, lab.target, target
  ).mean((0, 1))
  arrays['token_norm'] = [probe.token_norms(lab, x) for x in networks]
  sequences = np.stack([target.tokens, pretraining.tokens])
  arrays['untuned_path'] = probe.untuned_path(
    lab, networks[shown[0]], plane, sequences[0]
  )
  of_runs, of_methods, num_stopped = {}, {}, collections.Counter()
  for run in probe.runs(lab, folder, networks):
    if run.stopped:
      num_stopped[run.method.name] += 1
      continue
    index = [*lab.methods].index(run.method.name)
    position = index, run.seed, run.repetition
    _put(of_runs, {'studied': 1}, *position)
    # What does not depend on networks, or on chance, holds for all of them.
    holds_at = (
      index,
      None if run.method.is_bayes else run.seed,
      None if run.method.repetitions == 1 else run.repetition,
    )
    _put(of_runs, probe.meaning(run, sequences, prior), *holds_at)
    _put(of_runs, probe.prefix(run), *holds_at)
    last = run.method.repetitions - 1
    if position[1:] == (shown[0], min(shown[1], last)):
      _put(of_methods, probe.paths(run, plane, sequences[0]), index)
  if not of_runs:
    raise errors.UserError(
      f'workdir: no run of {str(folder.path)!r} counts, all were stopped: '
      f'{stopped.WHY}'
    )
  leading = len(lab.methods), lab.num_seeds, lab.num_repetitions
  for variables, axes in ((of_runs, leading), (of_methods, leading[:1])):
    arrays |= {name: _stack(put, axes) for name, put in variables.items()}
  return arrays, {
    name: stopped.LeftOut(count, len(method.seeds) * method.repetitions)
    for name, method in lab.methods.items()
    if (count := num_stopped[name])
  }


def _put(variables, values, *position):
  for name, value in values.items():
    variables.setdefault(name, {})[position] = value


def _stack(by_position, leading):
  """Joins {position: array} in one array, with NaN where there is none.

  None in a position is everywhere on this axis.
  """
  shape = np.max([np.shape(values) for values in by_position.values()], axis=0)
  array = np.full((*leading, *shape.astype(int)), np.nan)
  for position, values in by_position.items():
    at = (slice(None) if i is None else i for i in position)
    array[(*at, *map(slice, np.shape(values)))] = values
  return array


def _dataset(lab, arrays):
  """Returns the Dataset, with labels, units and descriptions."""
  dataset = xr.Dataset(
    {
      name: (
        dims,
        np.asarray(arrays[name], np.float32),
        {'units': units, 'long_name': text},
      )
      for name, (dims, units, text) in VARIABLES.items()
      if name in arrays
    }
  )
  first = {'row': 1, 'component': 1}
  labels = {
    dim: np.arange(size) + first.get(dim, 0)
    for dim, size in dataset.sizes.items()
  }
  return dataset.assign_coords(
    labels | {'tuner': [*lab.methods], 'task': [*TASKS]}
  )


def save(dataset: xr.Dataset, path: str | os.PathLike[str]) -> None:
  """Writes the Dataset to a netCDF file, see `results.save`."""
  results.save(dataset, path, 'dynamics')


def load(path: str | os.PathLike[str]) -> xr.Dataset:
  """Reads a file of dynamics.

  Args:
    path: A `dynamics.nc`, or a workdir that holds one.

  Raises:
    UserError: If there is no such file, or if it is damaged, of another schema,
      or not a file of dynamics.
  """
  needed = {name: VARIABLES[name][0] for name in _NEEDED}
  return results.read(path, 'dynamics.nc', SCHEMA_VERSION, needed, _ATTRIBUTES)


def ensure(
  path: str | os.PathLike[str], allow_plugins: bool = False
) -> xr.Dataset:
  """Returns the dynamics of a finished run; studies and draws it if need be.

  Args:
    path: The workdir; the figures go to its `figures`.
    allow_plugins: See `loading.load`.

  Raises:
    UserError: As `study` and `load`.
  """
  folder = workdir.Workdir(pathlib.Path(path).expanduser().absolute())
  if folder.dynamics.exists():
    return load(folder.dynamics)
  dataset = study(folder.path, allow_plugins=allow_plugins)
  with locks.lock(folder.path):
    with console.optional('figures of dynamics'):
      # Imported late: Matplotlib may refuse its own settings.
      from bayes_prompting.dynamics import figures

      figures.make_all(dataset, folder.figures)
    # The file comes last: where it exists, the figures do too.
    save(dataset, folder.dynamics)
  return dataset
