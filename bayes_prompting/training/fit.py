"""The one loop: gradient descent on a tunable, for meta-training and tuning.

Data is sampled inside jit, updates run in chunks without a round trip to the
host, and one program is compiled for all repetitions, learning rates, chunks
and networks of one shape. Sequences and runs are computed in blocks that suit
the backend. Meta-training is the same loop with the tuner "all weights" from a
random start.

A run is a repetition at a learning rate, from a start. All runs lie on one flat
axis [R]; a grid of settings is fitted by repeating the repetitions along it.
"""

from collections.abc import Callable, Sequence
import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax

from bayes_prompting import errors
from bayes_prompting import keys
from bayes_prompting import types
from bayes_prompting.training import mesh as mesh_lib
from bayes_prompting.training import updates

# Raise it when numbers change: networks and results depend on it.
NUMERICS = 1

Settings = updates.Settings
OnChunk = Callable[[int, np.ndarray], None]
OnState = Callable[['FitState', np.ndarray], None]


@dataclasses.dataclass(frozen=True)
class FitState:
  """All that a fit needs to go on: with the key, the next step follows.

  Attributes:
    tunable: Leading axis [R].
    opt_state: Optax's, leading axis [R].
    alive: bool [R]. A run whose loss or gradient was not finite is stopped: it
      stays at its last tunable before that.
    step: Updates done.
  """

  tunable: types.Tunable
  opt_state: optax.OptState
  alive: types.Array
  step: int


def start(
  key: types.Key,
  predictor: types.Predictor,
  params: types.Params,
  tuner: types.Tuner,
  settings: Settings,
  repetitions: int | Sequence[int],
) -> FitState:
  """Returns where `fit` starts from with these arguments, before any update.

  Starts of tuners that share their `bind` can be joined along the axis [R] and
  fitted as one, see `concatenate`.
  """
  found = _start(
    key,
    predictor,
    params,
    tuner,
    _without_rate(settings),
    _indices(repetitions),
  )
  return FitState(*found, step=0)


def concatenate(states: Sequence[FitState]) -> FitState:
  """Joins states after the same number of updates along the axis [R]."""
  if len(states) == 1:
    return states[0]
  parts = [(state.tunable, state.opt_state, state.alive) for state in states]
  return FitState(*_concatenate(parts), states[0].step)


@jax.jit
def _concatenate(trees):
  return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *trees)


def _indices(repetitions):
  """Returns uint32 [R]."""
  if isinstance(repetitions, int):
    repetitions = range(repetitions)
  return jnp.asarray(list(repetitions), jnp.uint32)


def _without_rate(settings):
  """The part of the settings that a program is compiled for."""
  return dataclasses.replace(settings, learning_rate=1.0)


@functools.partial(jax.jit, static_argnames=('predictor', 'tuner', 'settings'))
def _start(key, predictor, params, tuner, settings, repetitions):
  def one(repetition):
    tunable = tuner.init(
      keys.stream(key, 'init', repetition), predictor, params
    )
    return tunable, updates.optimizer(settings).init(tunable)

  return *jax.vmap(one)(repetitions), jnp.ones(len(repetitions), bool)


def fit(
  key: types.Key,
  predictor: types.Predictor,
  params: types.Params,
  tuner: types.Tuner,
  task_prior: types.TaskPrior,
  settings: Settings,
  repetitions: int | Sequence[int],
  *,
  learning_rates: Sequence[float] | None = None,
  resume: FitState | None = None,
  stop: int | None = None,
  on_chunk: OnChunk | None = None,
  due: Callable[[int], bool] | None = None,
  on_due: OnState | None = None,
  look_every: int | None = None,
  mesh: jax.sharding.Mesh | None = None,
) -> tuple[FitState, np.ndarray]:
  """Minimises the log loss on a task prior over the tunable of a tuner.

  The loss is summed over the N positions and averaged over the batch, in nats.
  Repetition r starts from the stream (key, 'init', r) and draws the data of
  step k from (key, 'data', r, k), or by it from a fixed sample, drawn from
  (key, 'sample', r); however many runs there are beside it, and at whatever
  learning rate: the runs of one repetition are paired.

  Args:
    key: Root of the streams; not consumed. Fits that share it share their
      random numbers, which pairs their results.
    predictor: What is adapted.
    params: Its weights; an argument, never written to.
    tuner: What of it is adapted. One that is not trainable does no updates.
    task_prior: Where the data comes from.
    settings: How long, on what batches, with which optimizer.
    repetitions: Their number, or the index of each run's; one may come twice.
    learning_rates: The rate of each run, in place of that of the settings.
    resume: A state of the same fit to go on from, or a start that was made with
      other tuners of the same `bind`. Its buffers are donated.
    stop: The step to stop at, if earlier than `settings.num_steps`.
    on_chunk: Called with (steps done, losses [steps, R] of this chunk).
    due: Asked after every chunk, with the steps done, whether to call `on_due`.
    on_due: Called with the state, and losses [steps done now, R], to keep them;
      it must copy what it keeps. What it raises ends the fit.
    look_every: The most updates of a chunk, where those of the settings, which
      programs are compiled for, are too many.
    mesh: Devices to split runs and batches over (`sharding.for_fit`); its axes
      divide R and B. It changes results by no more than rounding.

  Returns:
    The state at the end, its runs split over the mesh if there is one, and
    losses [steps done now, R]. A run that was stopped, because its loss or its
    gradient was not finite, has that loss, or NaN, at this update and NaN at
    all later ones.

  Raises:
    UserError: If the tuner has candidates, which are for `searching.search`,
      if there are not as many learning rates as runs, or if the mesh does not
      divide runs or batch.
  """
  if tuner.candidates is not None:
    raise errors.UserError(
      'tuner: it chooses among candidates; use searching.search'
    )
  repetitions = _indices(repetitions)
  if learning_rates is None:
    learning_rates = [settings.learning_rate] * len(repetitions)
  if len(learning_rates) != len(repetitions):
    raise errors.UserError(
      f'learning_rates: must be one for each of {len(repetitions)} runs, got '
      f'{len(learning_rates)}'
    )
  mesh_lib.check(mesh, len(repetitions), settings.batch_size)
  rates = jnp.asarray(learning_rates, jnp.float32)
  settings = _without_rate(settings)
  if resume is None:
    resume = start(key, predictor, params, tuner, settings, repetitions)
  # What starts is made whole, then split: a grid joins starts of few runs each.
  params = mesh_lib.put(mesh, params)
  tunable, opt_state, alive = mesh_lib.put(
    mesh, (resume.tunable, resume.opt_state, resume.alive), 'repetition'
  )
  step = resume.step
  num_steps = settings.num_steps if tuner.trainable else 0
  stop = num_steps if stop is None else min(stop, num_steps)
  chunk_size = updates.chunk_size(settings, len(repetitions))
  chunk_size = min(chunk_size, look_every or chunk_size)
  debugging = jax.config.jax_debug_nans
  run_chunk = updates.run_chunk_keeping if debugging else updates.run_chunk
  losses, pending = [np.zeros((0, len(repetitions)), np.float32)], None

  def report(done, todo, chunk):
    losses.append(np.asarray(chunk)[:todo])
    if on_chunk is not None:
      on_chunk(done, losses[-1])

  while step < stop:
    if len(losses[-1]) and not np.isfinite(losses[-1][-1]).any():
      break  # All runs are stopped: nothing changes any more.
    todo = min(chunk_size, stop - step)
    tunable, opt_state, alive, chunk = run_chunk(
      key,
      predictor,
      params,
      tuner,
      task_prior,
      settings,
      repetitions,
      rates,
      tunable,
      opt_state,
      alive,
      step,
      todo,
      mesh,
    )
    step += todo
    # Reported one chunk late: the device goes on while the host writes.
    if pending is not None:
      report(*pending)
    pending = (step, todo, chunk)
    if due is not None and due(step):
      report(*pending)
      pending = None
      state = FitState(tunable, opt_state, alive, step)
      on_due(state, np.concatenate(losses))
  if pending is not None:
    report(*pending)
  if step < stop:
    left = stop - step
    report(stop, left, np.full((left, len(repetitions)), np.nan, np.float32))
  state = FitState(tunable, opt_state, alive, max(step, stop))
  return state, np.concatenate(losses)
