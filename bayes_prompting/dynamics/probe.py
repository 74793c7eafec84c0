"""Looks inside one run of a method: its memory, its predictions, its prefix.

Memory is a vector of D numbers (`types.Predictor.trace`). It is drawn in a
*plane*: that of the two principal components of the untuned network's memory.
"""

from collections.abc import Iterator, Sequence
import functools
from typing import NamedTuple

import jax
import numpy as np

from bayes_prompting import keys
from bayes_prompting import types
from bayes_prompting.dynamics import dirichlet_fit
from bayes_prompting.experiment import build
from bayes_prompting.experiment import loading
from bayes_prompting.storage import workdir

_EXAMPLES = 4  # Paths of single sequences that are kept.


class AdaptedRun(NamedTuple):
  """One repetition of a method on one network, ready to predict.

  Attributes:
    method: The method.
    seed: The pretraining seed of the network.
    repetition: The tuning repetition.
    untuned_params: The predictor's weights before tuning.
    params: The weights that it predicts with.
    state: The state that it starts from.
    rows: [K, E], the prefix; None for a method without one.
    stopped: Whether the run was stopped, and so does not count.
  """

  method: build.Method
  seed: int
  repetition: int
  untuned_params: types.Params
  params: types.Params
  state: types.State
  rows: types.Array | None
  stopped: bool = False


class Plane(NamedTuple):
  """The principal components of points in D dimensions.

  Attributes:
    mean: [D].
    axes: [2, D], orthonormal, the one with the most variance first. For D = 1
      the second is zero.
    explained: [2], share of the variance.
  """

  mean: np.ndarray
  axes: np.ndarray
  explained: np.ndarray


def fit_plane(points: types.Array) -> Plane:
  """Returns the plane that points [P, D] lie closest to.

  The largest entry of each axis is positive, so that pictures do not flip.
  """
  points = np.asarray(points, np.float64)
  mean = points.mean(0)
  _, values, axes = np.linalg.svd(points - mean, full_matrices=False)
  variance = values**2 / max((values**2).sum(), np.finfo(float).tiny)
  largest = np.take_along_axis(axes, np.abs(axes).argmax(1)[:, None], axis=1)
  axes = (axes * np.sign(largest))[:2]
  missing = 2 - len(axes)
  return Plane(
    mean,
    np.pad(axes, ((0, missing), (0, 0))),
    np.pad(variance[:2], (0, missing)),
  )


def project(plane: Plane, points: types.Array) -> tuple[np.ndarray, np.ndarray]:
  """Projects points [..., D] onto a plane.

  Returns:
    Coordinates in the plane [..., 2], and distances from it [...].
  """
  centred = np.asarray(points, np.float64) - plane.mean
  coordinates = centred @ plane.axes.T
  rest = centred - coordinates @ plane.axes
  return coordinates, np.linalg.norm(rest, axis=-1)


def compare_rows(
  rows: types.Array, embeddings: types.Array
) -> dict[str, np.ndarray]:
  """Compares rows of a prefix with the embeddings of tokens.

  Args:
    rows: [K, E].
    embeddings: [V, E].

  Returns:
    `row_norm`; `row_nearest`, the token with the nearest embedding; and
    `row_distance` and `row_cosine` to that embedding. Each is [K].
  """
  rows = np.asarray(rows, np.float64)
  embeddings = np.asarray(embeddings, np.float64)
  distances = np.linalg.norm(rows[:, None] - embeddings, axis=-1)
  nearest = distances.argmin(-1)
  norms = np.linalg.norm(rows, axis=-1)
  product = norms * np.linalg.norm(embeddings[nearest], axis=-1)
  cosine = (rows * embeddings[nearest]).sum(-1) / np.where(product, product, 1)
  return {
    'row_norm': norms,
    'row_nearest': nearest,
    'row_distance': distances.min(-1),
    'row_cosine': cosine,
  }


@functools.partial(jax.jit, static_argnames=('predictor', 'tuner'))
def _bind(predictor, tuner, params, tunable):
  rows = None
  if tuner.rows is not None:
    rows = tuner.rows(predictor, params, tunable)
  return *tuner.bind(predictor, params, tunable), rows


@functools.partial(jax.jit, static_argnames='predictor')
def _predict(predictor, params, state, tokens):
  return predictor.predict(params, state, tokens)


@functools.partial(jax.jit, static_argnames='predictor')
def _start(predictor, params):
  """Returns the state after no prefix, and the embeddings [V, E] of tokens."""
  tokens = np.eye(predictor.vocab_size, dtype=np.float32)
  return predictor.start(params), predictor.embed(params, tokens)


@functools.partial(jax.jit, static_argnames='predictor')
def _trace(predictor, params, state, rows):
  """Returns the memory [S, 1 + N, D] along rows [S, N, E]."""
  trace = jax.vmap(predictor.trace, in_axes=(None, None, 0))
  return trace(params, state, rows)


def sample(
  lab: build.Lab, task: str, stream: str, num: int, length: int
) -> types.Episode:
  """Draws episodes, with axes [num, length], from the prior of a task."""
  prior = lab.priors[task]
  draw = jax.jit(jax.vmap(lambda key: prior.sample(key, length)))
  key = keys.stream(lab.root, 'dynamics', stream)
  return draw(jax.random.split(key, num))


def source_probabilities(
  lab: build.Lab, task: str, episodes: types.Episode
) -> np.ndarray:
  """Returns the probability [..., N, V] that its source gave to each token.

  Of sequences that were recorded it is the mean of all their tokens.
  """
  if episodes.oracle_log_probs is not None:
    return np.exp(episodes.oracle_log_probs)
  vocab_size = lab.priors[task].vocab_size
  each = np.eye(vocab_size, dtype=np.float32)[np.asarray(episodes.tokens)]
  return np.broadcast_to(each.mean((0, 1)), each.shape)


def runs(
  lab: build.Lab,
  folder: workdir.Workdir,
  networks: Sequence[types.Params],
) -> Iterator[AdaptedRun]:
  """Loads every method on each network, in every repetition."""
  for method in lab.methods.values():
    for seed in method.seeds:
      untuned = {} if method.is_bayes else networks[seed]
      tuner, tunables = loading.tuned(lab, folder, method, seed)
      stopped = loading.stopped(lab, folder, method, seed)
      for repetition in range(method.repetitions):
        tunable = jax.tree.map(lambda x, r=repetition: x[r], tunables)
        bound = _bind(method.predictor, tuner, untuned, tunable)
        yield AdaptedRun(
          method, seed, repetition, untuned, *bound, bool(stopped[repetition])
        )


def cloud(
  lab: build.Lab, params: types.Params, num_sources: int
) -> tuple[Plane, dict[str, np.ndarray]]:
  """Fits the plane of a network to its memory of the pretraining prior.

  Returns:
    The plane; and `cloud`, `source_probability`, `explained_variance` and
    `cloud_distance`, as `study.VARIABLES` describes them.
  """
  length = lab.tuning.length
  # One more token than is read: its source's probability goes with the last.
  task = lab.pretraining_task
  episodes = sample(lab, task, 'cloud', num_sources, length + 1)
  start, embeddings = _start(lab.network, params)
  rows = embeddings[episodes.tokens[:, :length]]
  memory = np.asarray(_trace(lab.network, params, start, rows))
  plane = fit_plane(memory.reshape(-1, memory.shape[-1]))
  points, distance = project(plane, memory)
  return plane, {
    'cloud': points,
    'source_probability': source_probabilities(lab, task, episodes)[..., 0],
    'explained_variance': plane.explained,
    'cloud_distance': _root_mean_square(distance),
  }


def paths(
  run: AdaptedRun, plane: Plane, tokens: types.Array
) -> dict[str, np.ndarray]:
  """Returns the paths of one run in the plane, on tokens [S, N].

  The plane says nothing about a predictor that shows no memory, nor about one
  whose weights were tuned. For these the paths are {}.
  """
  predictor, untuned = run.method.predictor, run.untuned_params
  keeps_weights = all(
    map(np.array_equal, jax.tree.leaves(untuned), jax.tree.leaves(run.params))
  )
  if predictor.trace is None or not keeps_weights:
    return {}
  variables = {}
  if run.rows is not None:
    start, _ = _start(predictor, untuned)
    memory = _trace(predictor, untuned, start, run.rows[None])
    path, distance = project(plane, memory[0])
    variables |= {'prefix_path': path, 'prefix_distance': distance}
  path, distance = _read(predictor, untuned, run.state, plane, tokens)
  return variables | {
    'token_path': path.mean(0),
    'token_distance': _root_mean_square(distance),
    'example_path': path[:_EXAMPLES],
  }


def untuned_path(
  lab: build.Lab, params: types.Params, plane: Plane, tokens: types.Array
) -> np.ndarray:
  """Returns the mean path [1 + N, 2] of a network without a prompt."""
  start, _ = _start(lab.network, params)
  return _read(lab.network, params, start, plane, tokens)[0].mean(0)


def _read(predictor, params, state, plane, tokens):
  """Returns paths [S, 1 + N, 2] on tokens, and distances [S, 1 + N]."""
  _, embeddings = _start(predictor, params)
  return project(plane, _trace(predictor, params, state, embeddings[tokens]))


def _root_mean_square(distances):
  return np.sqrt((distances**2).mean(0))


def meaning(
  run: AdaptedRun, sequences: types.Array, prior_concentration: types.Array
) -> dict[str, np.ndarray]:
  """Fits the Dirichlet posterior that explains one run's predictions best.

  Args:
    run: What predicts.
    sequences: int32 [2, S, N], of the target and of the pretraining task.
    prior_concentration: [V], of the pretraining prior; may be NaN.

  Returns:
    `alpha`, `virtual_counts`, `unbounded` and `misfit`, as `study.VARIABLES`
    describes them.
  """
  predictor = run.method.predictor
  tokens = sequences.reshape(-1, sequences.shape[-1])
  log_probs = np.asarray(_predict(predictor, run.params, run.state, tokens))
  target, pretraining = log_probs.reshape(*sequences.shape, -1)
  best = dirichlet_fit.explain(target, sequences[0])
  misfit = dirichlet_fit.misfit(best.alpha, pretraining, sequences[1])
  return {
    'alpha': best.alpha,
    'virtual_counts': best.alpha - prior_concentration,
    'unbounded': best.unbounded,
    'misfit': np.array([best.misfit, misfit]),
  }


def prefix(run: AdaptedRun) -> dict[str, np.ndarray]:
  """Compares the rows of a run's prefix with tokens; {} without a prefix."""
  if run.rows is None or run.method.is_bayes:
    return {}  # Bayes has no embeddings: its rows are the tokens.
  _, embeddings = _start(run.method.predictor, run.untuned_params)
  return compare_rows(run.rows, embeddings)


def token_norms(lab: build.Lab, params: types.Params) -> np.ndarray:
  """Returns the norm of the embedding of each token, [V]."""
  return np.linalg.norm(_start(lab.network, params)[1], axis=-1)
