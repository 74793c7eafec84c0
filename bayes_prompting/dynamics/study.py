"""What a prompt does inside a network, and what it means.

Reads the checkpoints of a finished workdir, never trains. What it finds is a
Dataset, kept as `dynamics.nc`, of which `dynamics_figure` draws:

* The *plane* of the first two principal components of the network's memory
  (`types.Predictor.trace`: cells of an LSTM, activations of a Transformer)
  while, untuned, it reads sequences of the pretraining prior: the *cloud*.
* In that plane the *paths* of all methods that leave the network's weights as
  they are, prompts and no tuning: through the beginning of sequence and the
  rows of the prefix, and on through tokens of the target.
* The *meaning* of every run: the Dirichlet posterior that best explains what
  the adapted predictor says (`posterior`), fitted on sequences of the target,
  and how far it is from what it says there and on the pretraining task.
* Where the rows of prefixes lie among the embeddings of tokens.

Dimensions: `method`, `pretrain_seed`, `repetition`, `task` (target,
pretraining), `token` of the vocabulary, `row` of a prefix (from 1), `component`
of the plane (from 1), `step` (tokens seen, from 0), `prefix_step` (rows seen,
from 0, which is after the beginning of sequence), `source` (a sequence of the
cloud), `example` (single sequences of the target). What there is not is NaN.
Every method is shown at the best settings of its grid, see `grid.best`. Runs
that were stopped are left out; `left_out` of the attributes says which.
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
from bayes_prompting.dynamics import figures as dynamics_figures
from bayes_prompting.dynamics import probe
from bayes_prompting.experiment import loading
from bayes_prompting.results import stopped as stopped_lib
from bayes_prompting.storage import workdir
from bayes_prompting.system import locks

SCHEMA_VERSION = 1
TASKS = ('target', 'pretraining')

_RUN = ('method', 'pretrain_seed', 'repetition')
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
    ('method', 'prefix_step', 'component'),
    '1',
    'memory in the plane after the beginning of sequence and each row',
  ),
  'prefix_distance': (('method', 'prefix_step'), '1', 'from the plane'),
  'token_path': (
    ('method', 'step', 'component'),
    '1',
    'memory in the plane after the prefix and each token, mean over sequences '
    'of the target',
  ),
  'token_distance': (
    ('method', 'step'),
    '1',
    'distance from the plane, root mean square over sequences',
  ),
  'example_path': (
    ('method', 'example', 'step', 'component'),
    '1',
    'as token_path, of single sequences',
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

# Those that every file has, whatever ran.
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

  Meaning and rows are of all seeds and repetitions, plane and paths of one.
  Sequences are as long as in tuning, and the same for all methods.

  Args:
    path: The workdir.
    seed: The pretraining seed of plane and paths.
    repetition: The tuning repetition of the paths; the first of a method that
      has but one.
    num_sequences: S, of each task, that meaning and paths are taken on.
    num_sources: Sequences of the pretraining prior in the cloud.
    allow_plugins: See `loading.load`.

  Returns:
    The Dataset, see above.

  Raises:
    UserError: If there is no such run, seed or repetition, or it is unfinished;
      or if no run counts.
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
    left_out=stopped_lib.footnote(left_out),
  )


def _arrays(lab, folder, shown, num_sequences, num_sources):
  """Returns all variables, by name, and of each method what is left out.

  Variables that there is nothing of are not among them.

  Args:
    lab: What ran.
    folder: Where it lies.
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
  arrays['target_mean'] = np.exp(target.oracle_log_probs).mean((0, 1))
  arrays['token_norm'] = [probe.token_norms(lab, x) for x in networks]
  sequences = np.stack([target.tokens, pretraining.tokens])
  arrays['untuned_path'] = probe.untuned_path(
    lab, networks[shown[0]], plane, sequences[0]
  )
  of_runs, of_methods, stopped = {}, {}, collections.Counter()
  for run in probe.runs(lab, folder, networks):
    if run.stopped:
      stopped[run.method.name] += 1
      continue
    index = [*lab.methods].index(run.method.name)
    _put(of_runs, probe.meaning(run, sequences, prior), index, *run.of)
    _put(of_runs, probe.prefix(run), index, *run.of)
    if run.of == (shown[0], min(shown[1], lab.repetitions(run.method) - 1)):
      _put(of_methods, probe.paths(run, plane, sequences[0]), index)
  if not of_runs:
    raise errors.UserError(
      f'workdir: no run of {str(folder.path)!r} counts, all were stopped: '
      f'{stopped_lib.WHY}'
    )
  leading = len(lab.methods), lab.num_seeds, lab.num_repetitions
  for found, axes in ((of_runs, leading), (of_methods, leading[:1])):
    arrays |= {name: _stack(parts, axes) for name, parts in found.items()}
  return arrays, {
    name: stopped_lib.LeftOut(
      count, len(lab.seeds(method)) * lab.repetitions(method)
    )
    for name, method in lab.methods.items()
    if (count := stopped[name])
  }


def _put(found, values, *position):
  for name, value in values.items():
    found.setdefault(name, {})[position] = value


def _stack(found, leading):
  """Joins {position: array} in one array, with NaN where there is none."""
  shape = np.max([np.shape(values) for values in found.values()], axis=0)
  array = np.full((*leading, *shape.astype(int)), np.nan)
  for position, values in found.items():
    array[(*position, *map(slice, np.shape(values)))] = values
  return array


def _dataset(lab, arrays):
  """Names the dimensions, and says what each variable is."""
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
    labels | {'method': [*lab.methods], 'task': [*TASKS]}
  )


def save(dataset: xr.Dataset, path: str | os.PathLike[str]) -> None:
  """Writes the Dataset to a netCDF file, see `results.save`."""
  results.save(dataset, path, 'dynamics')


def load(path: str | os.PathLike[str]) -> xr.Dataset:
  """Reads a file of dynamics.

  Args:
    path: A `dynamics.nc`, or a workdir that holds one.

  Raises:
    UserError: If there is none, or if it is damaged, of another schema, or not
      a file of dynamics.
  """
  needed = {name: VARIABLES[name][0] for name in _NEEDED}
  return results.read(path, 'dynamics.nc', SCHEMA_VERSION, needed, _ATTRIBUTES)


def ensure(
  path: str | os.PathLike[str], allow_plugins: bool = False
) -> xr.Dataset:
  """Returns the dynamics of a finished run; made, and drawn, if not there yet.

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
    # The file last: where it is, all has been done.
    dynamics_figures.make_all(dataset, folder.figures)
    save(dataset, folder.dynamics)
  return dataset
