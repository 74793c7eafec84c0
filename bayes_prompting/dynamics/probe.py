"""One run of a method, probed: its memory, its predictions, its prefix."""

from collections.abc import Iterator, Sequence
import functools
from typing import NamedTuple

import jax
import numpy as np

from bayes_prompting import keys
from bayes_prompting import types
from bayes_prompting.dynamics import dirichlet_fit
from bayes_prompting.dynamics import geometry
from bayes_prompting.experiment import build
from bayes_prompting.experiment import loading
from bayes_prompting.storage import workdir

_EXAMPLES = 4  # Single paths that are kept.


class Run(NamedTuple):
  """One method as it left a predictor.

  Attributes:
    method: Which.
    of: The pretraining seed, and the repetition.
    given: The predictor's weights before.
    params: Those that it runs with.
    state: The state that it starts from.
    rows: [K, E], the prefix; None without one.
    stopped: Whether it does not count, see `counting`.
  """

  method: build.Method
  of: tuple[int, int]
  given: types.Params
  params: types.Params
  state: types.State
  rows: types.Array | None
  stopped: bool = False


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


def runs(
  lab: build.Lab,
  folder: workdir.Workdir,
  networks: Sequence[types.Params],
) -> Iterator[Run]:
  """Loads what every method left of each network, in every repetition."""
  for method in lab.methods.values():
    for seed in lab.seeds(method):
      given = {} if method.is_bayes else networks[seed]
      tuner, tunables = loading.tuned(lab, folder, method, seed)
      stopped = loading.stopped(lab, folder, method, seed)
      for repetition in range(lab.repetitions(method)):
        tunable = jax.tree.map(lambda x, r=repetition: x[r], tunables)
        bound = _bind(method.predictor, tuner, given, tunable)
        of = seed, repetition
        yield Run(method, of, given, *bound, bool(stopped[repetition]))


def _keeps_weights(run):
  """Returns whether a run changed the state alone: a prompt, or nothing."""
  given, params = jax.tree.leaves(run.given), jax.tree.leaves(run.params)
  return all(map(np.array_equal, given, params))


def cloud(
  lab: build.Lab, params: types.Params, num_sources: int
) -> tuple[geometry.Plane, dict[str, np.ndarray]]:
  """Fits the plane of a network; see `dynamics` for what else is returned."""
  length = lab.tuning.length
  # One more token than is read: its source's probability goes with the last.
  task = lab.pretraining_task
  episodes = sample(lab, task, 'cloud', num_sources, length + 1)
  start, embeddings = _start(lab.network, params)
  rows = embeddings[episodes.tokens[:, :length]]
  memory = np.asarray(_trace(lab.network, params, start, rows))
  plane = geometry.fit_plane(memory.reshape(-1, memory.shape[-1]))
  points, distance = geometry.project(plane, memory)
  return plane, {
    'cloud': points,
    'source_probability': np.exp(episodes.oracle_log_probs[..., 0]),
    'explained_variance': plane.explained,
    'cloud_distance': _root_mean_square(distance),
  }


def paths(
  run: Run, plane: geometry.Plane, tokens: types.Array
) -> dict[str, np.ndarray]:
  """Returns the paths of one run in the plane, on tokens [S, N].

  {} of predictors that show no memory, and of other weights: where they have
  theirs says nothing in this plane.
  """
  predictor = run.method.predictor
  if predictor.trace is None or not _keeps_weights(run):
    return {}
  found = {}
  if run.rows is not None:
    start, _ = _start(predictor, run.given)
    memory = _trace(predictor, run.given, start, run.rows[None])
    path, distance = geometry.project(plane, memory[0])
    found |= {'prefix_path': path, 'prefix_distance': distance}
  path, distance = _read(predictor, run.given, run.state, plane, tokens)
  return found | {
    'token_path': path.mean(0),
    'token_distance': _root_mean_square(distance),
    'example_path': path[:_EXAMPLES],
  }


def untuned_path(
  lab: build.Lab,
  params: types.Params,
  plane: geometry.Plane,
  tokens: types.Array,
) -> np.ndarray:
  """Returns the mean path [1 + N, 2] of a network without a prompt."""
  start, _ = _start(lab.network, params)
  return _read(lab.network, params, start, plane, tokens)[0].mean(0)


def _read(predictor, params, state, plane, tokens):
  """Returns paths [S, 1 + N, 2] on tokens, and distances [S, 1 + N]."""
  _, embeddings = _start(predictor, params)
  memory = _trace(predictor, params, state, embeddings[tokens])
  return geometry.project(plane, memory)


def _root_mean_square(distances):
  return np.sqrt((distances**2).mean(0))


def meaning(
  run: Run, sequences: types.Array, prior_concentration: types.Array
) -> dict[str, np.ndarray]:
  """Returns what the predictions of one run mean, see `posterior`.

  Args:
    run: What predicts.
    sequences: int32 [2, S, N], of the target and of the pretraining task.
    prior_concentration: [V], of the pretraining prior; may be NaN.
  """
  predictor = run.method.predictor
  tokens = sequences.reshape(-1, sequences.shape[-1])
  log_probs = np.asarray(_predict(predictor, run.params, run.state, tokens))
  target, pretraining = log_probs.reshape(*sequences.shape, -1)
  best = dirichlet_fit.explain(target, sequences[0])
  other = dirichlet_fit.misfit(best.alpha, pretraining, sequences[1])
  return {
    'alpha': best.alpha,
    'virtual_counts': best.alpha - prior_concentration,
    'unbounded': best.unbounded,
    'misfit': np.array([best.misfit, other]),
  }


def prefix(run: Run) -> dict[str, np.ndarray]:
  """Returns where the rows of a prefix lie among tokens, {} without one."""
  if run.rows is None or run.method.is_bayes:
    return {}  # Bayes has no embeddings, its rows are the tokens.
  _, embeddings = _start(run.method.predictor, run.given)
  return geometry.compare_rows(run.rows, embeddings)


def token_norms(lab: build.Lab, params: types.Params) -> np.ndarray:
  """Returns the norm of the embedding of each token, [V]."""
  return np.linalg.norm(_start(lab.network, params)[1], axis=-1)
