"""What a run left in its workdir, loaded: networks, and what was tuned.

A folder may come from somebody else. What it holds is data: its configuration
may name no module outside the package, unless `allow_plugins` says that it may
(see `registry.plugins`), and nothing in it is unpickled.
"""

import os
import pathlib

import jax
import numpy as np

from bayes_prompting import checks
from bayes_prompting import errors
from bayes_prompting import types
from bayes_prompting.experiment import build
from bayes_prompting.experiment import fingerprint
from bayes_prompting.results import selection
from bayes_prompting.results import stopped as stopped_lib
from bayes_prompting.settings import plain
from bayes_prompting.storage import checkpoints
from bayes_prompting.storage import workdir
from bayes_prompting.system import console
from bayes_prompting.system import devices


def load(
  path: str | os.PathLike[str], allow_plugins: bool = False
) -> tuple[build.Lab, workdir.Workdir]:
  """Opens a run by its folder alone, to read it.

  Args:
    path: The workdir.
    allow_plugins: Whether its configuration may have modules outside the
      package imported, which runs their code.

  Raises:
    UserError: If the folder holds no run, or one that names such a module.
  """
  folder = workdir.Workdir(pathlib.Path(path).expanduser().absolute())
  record = workdir.read_record(folder.path)
  devices.check()  # Here, where it is not taken for a fault of the file.
  config = record['config']
  try:
    if not isinstance(config, dict):
      raise errors.UserError(f'config: must be a mapping, got {config!r:.80}')
    lab = build.build(plain.to_config(config), allow_plugins)
  except errors.UserError as error:
    place = str(folder.path / 'config.json')
    raise errors.UserError(f'workdir: {place!r}: {error}') from None
  # What was trained is read by the functions of today.
  changed = plain.difference(
    record.get('numerics'), fingerprint.run_numerics(lab.config)
  )
  if changed:
    console.warn(
      f'{str(folder.path)!r} was computed by other versions of modules (there '
      f'and here, {changed}); its numbers may not come again'
    )
  return lab, folder


def load_network(
  path: str | os.PathLike[str], seed: int = 0, allow_plugins: bool = False
) -> tuple[types.Predictor, types.Params]:
  """Loads a pretrained network from a workdir.

  Args:
    path: The workdir.
    seed: The pretraining seed.
    allow_plugins: See `load`.

  Returns:
    The predictor and its weights.

  Raises:
    UserError: If there is no such run or seed.
  """
  lab, folder = load(path, allow_plugins)
  return lab.network, pretrained(lab, folder, seed)


def pretrained(
  lab: build.Lab, folder: workdir.Workdir, seed: int = 0
) -> types.Params:
  """Loads as `load_network`, from a run that is open already."""
  if seed not in range(lab.num_seeds):
    raise errors.UserError(f'seed: must be below {lab.num_seeds}, got {seed!r}')
  if lab.network.load is not None:
    return lab.network.load()
  found = checkpoints.restore(
    folder.pretrained(seed), build.pretrained_shapes(lab)
  )
  return found['params']


def load_tuned(
  path: str | os.PathLike[str],
  method: str,
  seed: int = 0,
  learning_rate: float | None = None,
  prefix_init: str | None = None,
  allow_plugins: bool = False,
) -> tuple[types.Tuner, types.Tunable]:
  """Loads what a method tuned from a workdir.

  Args:
    path: The workdir.
    method: Its name, e.g. `SoftPT`.
    seed: The pretraining seed.
    learning_rate: Of the grid; by default the best, see `selection.best`.
    prefix_init: Of the grid; by default the best.
    allow_plugins: See `load`.

  Returns:
    The tuner, and its tunable with a leading axis [R].

  Raises:
    UserError: If there is no such run, method, seed or setting, or it is not
      finished.
  """
  lab, folder = load(path, allow_plugins)
  found = lab.methods[checks.one_of('method', method, lab.methods)]
  return tuned(lab, folder, found, seed, learning_rate, prefix_init)


def tuned(
  lab: build.Lab,
  folder: workdir.Workdir,
  method: build.Method,
  seed: int = 0,
  learning_rate: float | None = None,
  prefix_init: str | None = None,
) -> tuple[types.Tuner, types.Tunable]:
  """Loads as `load_tuned`, from a run that is open already."""
  if seed not in method.seeds:
    raise errors.UserError(
      f'seed: {method.name} ran on {len(method.seeds)}, from 0; got {seed!r}'
    )
  at = position(lab, folder, method, learning_rate, prefix_init)
  tunable = _restore(lab, folder, method, seed)['tunable']
  runs = _runs(method, at)
  return (
    method.tuners[at[1]],
    jax.tree.map(lambda leaf: np.asarray(leaf)[runs], tunable),
  )


def _runs(method, at):
  """Returns the slice of a method's runs at a position of the grid."""
  rates, inits, repetitions = method.shape
  first = np.ravel_multi_index(at, (rates, inits)) * repetitions
  return slice(first, first + repetitions)


def _restore(lab, folder, method, seed):
  """Restores all that a method left of a seed, all runs on one axis."""
  shapes = build.tuned_shapes(lab, method)
  if not jax.tree.leaves(shapes):
    return shapes  # NoTuning: nothing is tuned.
  return checkpoints.restore(folder.tuned(method.name, seed), shapes)


def position(
  lab: build.Lab,
  folder: workdir.Workdir,
  method: build.Method,
  learning_rate: float | None = None,
  prefix_init: str | None = None,
) -> tuple[int, int]:
  """Returns the best position of the grid, of those with the labels given."""
  labels = method.learning_rates, lab.prefix_inits[: len(method.tuners)]
  wanted = learning_rate, prefix_init
  ran = np.ones((len(method.seeds), *method.shape), bool)
  ran = selection.restrict(ran, method.name, labels, wanted)
  losses, stopped = np.zeros(ran.shape), ()
  if ran.any((0, 3)).sum() > 1 and 'losses' in build.tuned_shapes(lab, method):
    # The choice is one for all seeds, as in the report.
    losses = [
      np.asarray(_restore(lab, folder, method, seed)['losses']).T
      for seed in method.seeds
    ]
    losses = selection.final_loss(np.stack(losses)).reshape(ran.shape)
    stopped = _stopped_networks(lab, folder, method)
  return selection.first_best(losses, ran, stopped)


def _stopped_networks(lab, folder, method):
  """Returns of which seeds of a method pretraining was stopped."""
  return [
    not method.is_bayes and _network_stopped(lab, folder, seed)
    for seed in method.seeds
  ]


def _network_stopped(lab, folder, seed):
  shapes = build.pretrained_shapes(lab)
  if 'losses' not in shapes:
    return False
  losses = checkpoints.restore(folder.pretrained(seed), shapes)['losses']
  return bool(stopped_lib.stopped_step(losses) > 0)


def stopped(
  lab: build.Lab,
  folder: workdir.Workdir,
  method: build.Method,
  seed: int = 0,
  at: tuple[int, int] | None = None,
) -> np.ndarray:
  """Returns which repetitions do not count, bool [R].

  They were stopped, or the pretraining of their network was; see
  `results.stopped`.

  Args:
    lab: What ran.
    folder: Where it lies.
    method: Which method.
    seed: The pretraining seed.
    at: The position on the axes of the grid; the best settings without it.
  """
  runs = method.repetitions
  if not method.is_bayes and _network_stopped(lab, folder, seed):
    return np.ones(runs, bool)
  if 'losses' not in build.tuned_shapes(lab, method):
    return np.zeros(runs, bool)
  at = at or position(lab, folder, method)
  losses = np.asarray(_restore(lab, folder, method, seed)['losses'])
  return stopped_lib.stopped_step(losses[:, _runs(method, at)].T) > 0


def load_predictor(
  path: str | os.PathLike[str],
  method: str,
  seed: int = 0,
  repetition: int = 0,
  learning_rate: float | None = None,
  prefix_init: str | None = None,
  allow_plugins: bool = False,
) -> tuple[types.Predictor, types.Params, types.State]:
  """Loads what ran: a predictor as a method left it.

  Args:
    path: The workdir.
    method: Its name, e.g. `SoftPT` or `PreBayesPT`.
    seed: The pretraining seed.
    repetition: The tuning repetition.
    learning_rate: Of the grid; by default the best, see `selection.best`.
    prefix_init: Of the grid; by default the best.
    allow_plugins: See `load`.

  Returns:
    Predictor, weights and state, so that `predictor.predict(params, state,
    tokens)` are its log probabilities [B, N, V].

  Raises:
    UserError: If there is no such run, method, seed, repetition or setting.
  """
  lab, folder = load(path, allow_plugins)
  found = lab.methods[checks.one_of('method', method, lab.methods)]
  tuner, tunable = tuned(lab, folder, found, seed, learning_rate, prefix_init)
  one = of_repetition(lab, found, tunable, repetition)
  params = {} if found.is_bayes else pretrained(lab, folder, seed)
  return found.predictor, *tuner.bind(found.predictor, params, one)


def of_repetition(
  lab: build.Lab,
  method: build.Method,
  tunable: types.Tunable,
  repetition: int,
) -> types.Tunable:
  """Returns one of the repetitions [R] that `tuned` loads.

  Raises:
    UserError: If there is no such repetition.
  """
  if repetition not in range(method.repetitions):
    raise errors.UserError(
      f'repetition: {method.name} has {method.repetitions}, from 0; got '
      f'{repetition!r}'
    )
  return jax.tree.map(lambda leaf: leaf[repetition], tunable)
