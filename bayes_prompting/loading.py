"""What a run left in its workdir, loaded: networks, and what was tuned."""

import os
import pathlib

import jax
import numpy as np

from bayes_prompting import checkpoints
from bayes_prompting import checks
from bayes_prompting import errors
from bayes_prompting import grid
from bayes_prompting import lab as lab_lib
from bayes_prompting import plain
from bayes_prompting import types
from bayes_prompting import workdir as workdir_lib


def load(
  path: str | os.PathLike[str],
) -> tuple[lab_lib.Lab, workdir_lib.Workdir]:
  """Opens a run by its folder alone, to read it.

  Raises:
    UserError: If the folder holds no run.
  """
  record = workdir_lib.read_record(path)
  lab = lab_lib.build(plain.to_config(record['config']))
  return lab, workdir_lib.Workdir(pathlib.Path(path).absolute())


def load_network(
  path: str | os.PathLike[str], seed: int = 0
) -> tuple[types.Predictor, types.Params]:
  """Loads a pretrained network from a workdir.

  Args:
    path: The workdir.
    seed: The pretraining seed.

  Returns:
    The predictor and its weights.

  Raises:
    UserError: If there is no such run or seed.
  """
  lab, folder = load(path)
  return lab.network, pretrained(lab, folder, seed)


def pretrained(
  lab: lab_lib.Lab, folder: workdir_lib.Workdir, seed: int = 0
) -> types.Params:
  """Loads as `load_network`, from a run that is open already."""
  if seed not in range(lab.num_seeds):
    raise errors.UserError(f'seed: must be below {lab.num_seeds}, got {seed!r}')
  found = checkpoints.restore(
    folder.pretrained(seed), lab_lib.pretrained_shapes(lab)
  )
  return found['params']


def load_tuned(
  path: str | os.PathLike[str],
  method: str,
  seed: int = 0,
  learning_rate: float | None = None,
  prefix_init: str | None = None,
) -> tuple[types.Tuner, types.Tunable]:
  """Loads what a method tuned from a workdir.

  Args:
    path: The workdir.
    method: Its name, e.g. `SoftPT`.
    seed: The pretraining seed.
    learning_rate: Of the grid; by default the best, see `grid.best`.
    prefix_init: Of the grid; by default the best.

  Returns:
    The tuner, and its tunable with a leading axis [R].

  Raises:
    UserError: If there is no such run, method, seed or setting, or it is not
      finished.
  """
  lab, folder = load(path)
  found = lab.methods[checks.one_of('method', method, lab.methods)]
  return tuned(lab, folder, found, seed, learning_rate, prefix_init)


def tuned(
  lab: lab_lib.Lab,
  folder: workdir_lib.Workdir,
  method: lab_lib.Method,
  seed: int = 0,
  learning_rate: float | None = None,
  prefix_init: str | None = None,
) -> tuple[types.Tuner, types.Tunable]:
  """Loads as `load_tuned`, from a run that is open already."""
  if seed not in lab.seeds(method):
    raise errors.UserError(
      f'seed: {method.name} ran on {len(lab.seeds(method))}, from 0; got '
      f'{seed!r}'
    )
  rate, init = _position(lab, folder, method, learning_rate, prefix_init)
  found = _restore(lab, folder, method, seed)['tunable']
  return method.tuners[init], jax.tree.map(lambda leaf: leaf[rate, init], found)


def _restore(lab, folder, method, seed):
  """Restores all that a method left of a seed, with axes [L, P, R]."""
  shapes = lab_lib.tuned_shapes(lab, method)
  if not jax.tree.leaves(shapes):
    return shapes  # NoTuning: nothing is tuned.
  return checkpoints.restore(folder.tuned(method.name, seed), shapes)


def _position(lab, folder, method, learning_rate, prefix_init):
  """Returns the best position of the grid, of those with the labels given."""
  axes = lab.shape(method)
  labels = lab.rates(method), lab.prefix_inits[: axes[1]]
  wanted = learning_rate, prefix_init
  ran = np.ones((len(lab.seeds(method)), *axes), bool)
  ran = grid.restrict(ran, method.name, labels, wanted)
  losses = np.zeros(ran.shape)
  if ran.any((0, 3)).sum() > 1 and 'losses' in lab_lib.tuned_shapes(
    lab, method
  ):
    # The choice is one for all seeds, as in the report.
    losses = [
      _restore(lab, folder, method, seed)['losses']
      for seed in lab.seeds(method)
    ]
    losses = grid.final_loss(np.moveaxis(np.stack(losses), 1, -1))
  return grid.first_best(losses, ran)


def load_predictor(
  path: str | os.PathLike[str],
  method: str,
  seed: int = 0,
  repetition: int = 0,
  learning_rate: float | None = None,
  prefix_init: str | None = None,
) -> tuple[types.Predictor, types.Params, types.State]:
  """Loads what ran: a predictor as a method left it.

  Args:
    path: The workdir.
    method: Its name, e.g. `SoftPT` or `PreBayesPT`.
    seed: The pretraining seed.
    repetition: The tuning repetition.
    learning_rate: Of the grid; by default the best, see `grid.best`.
    prefix_init: Of the grid; by default the best.

  Returns:
    Predictor, weights and state, so that `predictor.predict(params, state,
    tokens)` are its log probabilities [B, N, V].

  Raises:
    UserError: If there is no such run, method, seed, repetition or setting.
  """
  tuner, tunable = load_tuned(path, method, seed, learning_rate, prefix_init)
  lab, _ = load(path)
  found = lab.methods[method]
  if repetition not in range(lab.repetitions(found)):
    raise errors.UserError(
      f'repetition: {method} has {lab.repetitions(found)}, from 0; got '
      f'{repetition!r}'
    )
  params = {} if found.is_bayes else load_network(path, seed)[1]
  one = jax.tree.map(lambda leaf: leaf[repetition], tunable)
  return found.predictor, *tuner.bind(found.predictor, params, one)
