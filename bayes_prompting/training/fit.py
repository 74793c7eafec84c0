"""The one loop: gradient descent on a tunable, for meta-training and tuning.

Updates run in chunks without a round trip to the host. A chunk is two programs:
one samples its batches, the other predicts and updates. They are apart because
sampling takes a quarter of the time to compile, and all tuners of a target
share it. Each is compiled once for all repetitions, learning rates, chunks and
networks of one shape. Sequences and runs are computed in blocks that suit the
backend, and split over a mesh if there is one. Meta-training is the same loop
with the tuner "all weights" from a random start.

A run is a repetition at a learning rate, from a start. All runs lie on one flat
axis [R]; a grid of settings is fitted by repeating the repetitions along it.
"""

from collections.abc import Callable, Sequence
import dataclasses
import functools
import numbers
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from bayes_prompting import errors
from bayes_prompting import keys
from bayes_prompting import regret
from bayes_prompting import types
from bayes_prompting.training import blocks
from bayes_prompting.training import mesh as mesh_lib
from bayes_prompting.training import validation as validation_lib

# Raise it when numbers change: networks and results depend on it.
NUMERICS = 1

# Runs at once on a CPU: one after another each has the caches for itself.
_RUN_BLOCK = 1
# Elsewhere all at once, up to so many tokens: some 7 GiB of activations of the
# paper's Transformer.
_RUN_TOKENS = 2**19


@dataclasses.dataclass(frozen=True)
class Settings:
  """How a fit goes about it; everything but the learning rates.

  Attributes:
    num_steps: Updates; 0 leaves everything as it starts.
    batch_size: B, sequences for every update.
    length: N, tokens of a sequence that are scored.
    num_sequences: Size of a fixed sample that every batch is drawn from, with
      replacement, each repetition its own; 0 draws fresh sequences every time.
    schedule: `constant`, or `cosine`, which decays to zero.
    clip_norm: Gradients are clipped to this global norm, taken over the tunable
      tree only.
    chunk_size: Updates of a chunk, at most (see `chunk_size`); a matter
      of speed and reporting only.
    sequence_block: Sequences whose gradient is taken at once; 0 is automatic.
    run_block: Runs that are one vmapped program; 0 is automatic.
    patience: Validations in a row without anything better after which a run
      ends, and keeps what did best; 0: no validation (`validation`).
    validate_every: Updates from one validation to the next.
    num_validation: Sequences of a validation.
  """

  num_steps: int
  batch_size: int
  length: int
  num_sequences: int = 0
  schedule: str = 'constant'
  clip_norm: float = 1.0
  chunk_size: int = 50
  sequence_block: int = 0
  run_block: int = 0
  patience: int = 0
  validate_every: int = 50
  num_validation: int = 256


@dataclasses.dataclass(frozen=True)
class Problem:
  """What is fitted: all that a program is compiled for, beside shapes.

  Attributes:
    predictor: What is adapted.
    tuner: What of it is adapted. One that is not trainable does no updates.
    task_prior: Where the data comes from. The programs that start and update
      are compiled without it.
    settings: How long, on what batches, with which schedule.
    positions: Those that are scored, in programs that have no `task_prior`;
      None for all.
  """

  predictor: types.Predictor
  tuner: types.Tuner
  task_prior: types.TaskPrior
  settings: Settings
  positions: tuple[int, ...] | None = None


@dataclasses.dataclass(frozen=True)
class _Sampling:
  """What the batches of a chunk are drawn by: a program for all tuners."""

  task_prior: types.TaskPrior
  num_steps: int
  batch_size: int
  length: int
  num_sequences: int
  run_block: int


class Runs(NamedTuple):
  """The runs of a fit, made by `runs`.

  Attributes:
    repetitions: uint32 [R], which streams of random numbers each run has.
    learning_rates: float32 [R], Adam's step size at the start of the schedule.
  """

  repetitions: types.Array
  learning_rates: types.Array


class Carry(NamedTuple):
  """What updates change, leading axis [R].

  Attributes:
    tunable: What is tuned.
    opt_state: Optax's.
    alive: bool [R]. A run whose loss or gradient was not finite is stopped: it
      stays at its last tunable before that.
  """

  tunable: types.Tunable
  opt_state: optax.OptState
  alive: types.Array


class FitState(NamedTuple):
  """All that a fit needs to go on: with the key, the next step follows.

  Attributes:
    carry: What the updates so far made.
    step: How many there were.
    validation: What validation has found so far; None without any.
  """

  carry: Carry
  step: int
  validation: validation_lib.Progress | None = None

  @property
  def tunable(self) -> types.Tunable:
    """What is tuned, leading axis [R]: the best by validation, or the last."""
    if self.validation is not None:
      return self.validation.best
    return self.carry.tunable


class Recorder:
  """Hears how work goes on, and keeps it; this one keeps and says nothing.

  Attributes:
    every: Updates between two states that are kept, at most; 0 keeps none.
  """

  every: int = 0

  def restore(
    self, template: Callable[[int], types.PyTree]
  ) -> tuple[int, types.PyTree] | None:
    """Returns the newest state that was kept, and its step; None without one.

    Args:
      template: Returns shapes and dtypes of the state after so many steps.
    """
    del template

  def report(self, done: int, losses: np.ndarray) -> None:
    """Hears that so many steps are done.

    Args:
      done: Steps done.
      losses: [steps, R], of the steps since the last report, in nats.
    """

  def validated(self, done: int, losses: np.ndarray, ended: np.ndarray) -> None:
    """Hears of a validation.

    Args:
      done: Steps done.
      losses: [R], in nats a sequence; NaN of runs that have ended before.
      ended: bool [R], the runs that have ended by now.
    """

  def due(self, done: int) -> bool:
    """Returns whether a state after so many steps is to be kept."""
    del done
    return False

  def keep(self, done: int, tree: types.PyTree) -> None:
    """Keeps a state that is due. What it raises ends the work.

    Args:
      done: Steps done.
      tree: Arrays on the host, or what must be copied before this returns.
    """


def runs(
  repetitions: int | Sequence[int], learning_rates: float | Sequence[float]
) -> Runs:
  """Returns the runs of a fit.

  Args:
    repetitions: Their number, or the index of each run's; one may come twice.
    learning_rates: One for all runs, or one for each.

  Raises:
    UserError: If there are not as many learning rates as runs.
  """
  if isinstance(repetitions, numbers.Integral):
    repetitions = range(repetitions)
  indices = np.asarray(list(repetitions), np.uint32)
  rates = np.asarray(learning_rates, np.float32)
  if rates.ndim and len(rates) != len(indices):
    raise errors.UserError(
      f'learning_rates: must be one for each of {len(indices)} runs, got '
      f'{len(rates)}'
    )
  return Runs(indices, np.broadcast_to(rates, indices.shape))


def start(
  key: types.Key,
  problem: Problem,
  params: types.Params,
  repetitions: Sequence[int],
) -> FitState:
  """Returns where a fit starts from, before any update.

  Starts of tuners that share their `bind` can be joined along the axis [R] and
  fitted as one, see `concatenate`.

  Args:
    key: Root of the streams; not consumed.
    problem: What will be fitted.
    params: The predictor's weights.
    repetitions: [R], the index of each run's.
  """
  repetitions = np.asarray(repetitions, np.uint32)
  # All that a start depends on: other fits share its program.
  settings = Settings(0, 1, 1, schedule=problem.settings.schedule)
  problem = dataclasses.replace(problem, task_prior=None, settings=settings)
  return FitState(_start(problem, key, params, repetitions), step=0)


def concatenate(states: Sequence[FitState]) -> FitState:
  """Joins states after the same number of updates along the axis [R]."""
  if len(states) == 1:
    return states[0]
  return FitState(_concatenate([x.carry for x in states]), states[0].step)


@jax.jit
def _concatenate(trees):
  return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *trees)


@functools.partial(jax.jit, static_argnames='problem')
def _start(problem, key, params, repetitions):
  def of_run(repetition):
    tunable = problem.tuner.init(
      keys.stream(key, 'init', repetition), problem.predictor, params
    )
    # The state of the optimizer does not depend on the rate.
    return tunable, _optimizer(problem.settings, 1.0).init(tunable)

  alive = jnp.ones(len(repetitions), bool)
  return Carry(*jax.vmap(of_run)(repetitions), alive)


def fit(
  key: types.Key,
  problem: Problem,
  params: types.Params,
  runs: Runs,
  *,
  state: FitState | None = None,
  stop: int | None = None,
  recorder: Recorder | None = None,
  mesh: jax.sharding.Mesh | None = None,
) -> tuple[FitState, np.ndarray]:
  """Minimises the log loss on a task prior over the tunable of a tuner.

  The loss is summed over the N positions that are scored and averaged over the
  batch, in nats.
  Repetition r starts from the stream (key, 'init', r) and draws the data of
  step k from (key, 'data', r, k), or by it from a fixed sample, drawn from
  (key, 'sample', r); however many runs there are beside it, and at whatever
  learning rate: the runs of one repetition are paired.

  Args:
    key: Root of the streams; not consumed. Fits that share it share their
      random numbers, which pairs their results.
    problem: What is fitted.
    params: The predictor's weights; an argument, never written to.
    runs: Repetitions and learning rates.
    state: A state of the same fit to go on from, or a start that was made with
      other tuners of the same `bind`. Its buffers are donated.
    stop: The step to stop at, if earlier than `settings.num_steps`.
    recorder: Is told of losses, keeps states, and gives back what it kept.
    mesh: Devices to split runs and batches over (`mesh.for_fit`); its axes
      divide R and B. It changes results by no more than rounding.

  Returns:
    The state at the end, its runs split over the mesh if there is one, and
    losses [steps, R] of the steps since `state`, with those that the recorder
    kept. A run that was stopped, because its loss or its gradient was not
    finite, has that loss, or NaN, at this update and NaN at all later ones. A
    run that validation has ended has `validation.ENDED` at all later ones.

  Raises:
    UserError: If the tuner has candidates, which are for `search.search`, if
      the schedule is unknown, or if the mesh does not divide runs or batch.
  """
  if problem.tuner.candidates is not None:
    raise errors.UserError(
      'tuner: it chooses among candidates; use search.search'
    )
  settings, num_runs = problem.settings, len(runs.repetitions)
  mesh_lib.check(mesh, num_runs, settings.batch_size)
  recorder = recorder or Recorder()
  if state is None:
    state = start(key, problem, params, runs.repetitions)
  num_steps = settings.num_steps if problem.tuner.trainable else 0
  stop = num_steps if stop is None else min(stop, num_steps)
  before = np.zeros((0, num_runs), np.float32)
  if stop:  # Else there is nothing to record.
    state, before = _resume(recorder, state, before, settings)
  # What starts is made whole, then split: a grid joins starts of few runs each.
  params = mesh_lib.put(mesh, params)
  carry = mesh_lib.put(mesh, state.carry, 'repetition')
  step, losses, pending = state.step, [before], None
  chunk = chunk_size(settings, num_runs)
  chunk = max(min(chunk, recorder.every or chunk, num_steps), 1)
  validates = bool(settings.patience and stop)
  if validates:
    chunk = min(chunk, settings.validate_every)
  run_chunk = (
    _run_chunk_keeping if jax.config.jax_debug_nans else _run_chunk_donating
  )

  sampling = _Sampling(
    problem.task_prior,
    chunk,
    settings.batch_size,
    settings.length,
    settings.num_sequences,
    run_block(settings, num_runs),
  )

  # The updates do not depend on where their batches come from.
  positions = problem.task_prior.positions(settings.length)
  updated = dataclasses.replace(problem, task_prior=None, positions=positions)

  def report(done, count, new_losses, ended=False):
    new_losses = np.asarray(new_losses)[:count]
    losses.append(np.where(ended, np.float32(validation_lib.ENDED), new_losses))
    recorder.report(done, losses[-1])

  if len(before):
    recorder.report(step, before)
  progress, ended, at = state.validation, np.zeros(num_runs, bool), ()
  if validates:
    at = validation_lib.steps(num_steps, settings.validate_every)
    held_out = validation_lib.draw(
      key,
      problem.task_prior.of_split('validation'),
      settings.num_validation,
      settings.length,
    )
    held_out = mesh_lib.put(mesh, held_out)
    if progress is None:
      progress = validation_lib.validate(
        None, step, updated, params, carry.tunable, held_out, mesh
      )
    else:
      best = mesh_lib.put(mesh, progress.best, 'repetition')
      progress = progress._replace(best=best)
    ended = progress.ended > 0
    for done, row in zip(at, progress.losses, strict=False):
      recorder.validated(
        done, row, (0 < progress.ended) & (progress.ended <= done)
      )
  while step < stop and not ended.all():
    if len(losses[-1]) and not np.isfinite(losses[-1][-1]).any():
      break  # All runs are stopped: nothing changes any more.
    count = min(chunk, stop - step)
    if validates:
      following = at[np.searchsorted(at, step, side='right')]
      count = min(count, following - step)
    tokens = _draw(sampling, key, runs.repetitions, step, mesh)
    carry, new_losses = run_chunk(
      updated, params, runs, carry, tokens, count, mesh
    )
    step += count
    # Reported one chunk late: the device goes on while the host writes.
    if pending is not None:
      report(*pending)
    pending = (step, count, new_losses, ended)
    if step in at:
      report(*pending)
      pending = None
      progress = validation_lib.validate(
        progress, step, updated, params, carry.tunable, held_out, mesh
      )
      ended = progress.ended > 0
      recorder.validated(step, progress.losses[-1], ended)
    if recorder.due(step):
      if pending is not None:
        report(*pending)
        pending = None
      kept = mesh_lib.to_host(mesh, (carry, progress))
      recorder.keep(step, _record(*kept, np.concatenate(losses)))
  if pending is not None:
    report(*pending)
  if step < stop:
    left = stop - step
    report(stop, left, np.full((left, num_runs), np.nan, np.float32), ended)
  state = FitState(carry, max(step, stop), progress)
  return state, np.concatenate(losses)


def _record(carry, progress, losses):
  """Returns what is kept of a fit under way."""
  record = {'state': tuple(carry), 'losses': losses}
  if progress is not None:
    record['validation'] = tuple(progress)
  return record


def _resume(recorder, state, nothing, settings):
  """Returns the state to go on from, and the losses [steps, R] before it."""
  num_runs = len(state.carry.alive)

  def template(step):
    losses = jax.ShapeDtypeStruct((step, num_runs), np.float32)
    progress = None
    if settings.patience:
      at = validation_lib.steps(settings.num_steps, settings.validate_every)
      count = int(np.searchsorted(at, step, side='right'))
      progress = validation_lib.Progress(
        state.carry.tunable,
        jax.ShapeDtypeStruct((count, num_runs), np.float32),
        *(jax.ShapeDtypeStruct((num_runs,), np.int32) for _ in range(2)),
      )
    return jax.eval_shape(
      lambda x: _record(*x), (state.carry, progress, losses)
    )

  kept = recorder.restore(template)
  if kept is None:
    return state, nothing
  step, tree = kept
  progress = None
  if settings.patience:
    best, *others = tree['validation']
    progress = validation_lib.Progress(best, *map(np.asarray, others))
  state = FitState(Carry(*tree['state']), step, progress)
  return state, np.asarray(tree['losses'])


def chunk_size(settings: Settings, num_runs: int) -> int:
  """Returns the updates between two looks at the host.

  On a CPU runs come one after another, and a chunk of many would take minutes,
  in which the process could not be told to end.
  """
  if jax.default_backend() != 'cpu':
    return settings.chunk_size
  return max(settings.chunk_size // num_runs, 1)


def run_block(settings: Settings, num_runs: int) -> int:
  """Returns how many of the runs of a device are one vmapped program."""
  return blocks.size(
    settings.run_block,
    _RUN_BLOCK,
    num_runs,
    elsewhere=_RUN_TOKENS // (settings.batch_size * settings.length),
  )


def _optimizer(settings, rate):
  """Returns Adam with clipped gradients, at a rate that may be traced."""
  match settings.schedule:
    case 'constant':
      schedule = optax.constant_schedule(rate)
    case 'cosine':
      schedule = optax.cosine_decay_schedule(rate, max(settings.num_steps, 1))
    case other:
      raise errors.UserError(
        f'schedule: must be constant or cosine, got {other!r}'
      )
  return optax.chain(
    optax.clip_by_global_norm(settings.clip_norm), optax.adam(schedule)
  )


@functools.partial(jax.jit, static_argnames=('sampling', 'mesh'))
def _draw(sampling, key, repetitions, first_step, mesh):
  """Draws the batches of a chunk, int32 [R, T, B, N], split over a mesh."""
  draw = mesh_lib.over_runs(
    mesh,
    functools.partial(_batches, sampling=sampling, mesh=mesh),
    in_axes=(None, 0, None),
    out_axes=mesh_lib.BATCHES,
  )
  return draw(key, repetitions, first_step)


def _batches(key, repetitions, first_step, sampling, mesh):
  """Does `_draw`; on a mesh what one device does, its part of each batch."""

  def of_step(repetition, step):
    step_key = keys.stream(key, 'data', repetition, step)
    # One key a sequence: the same sequences, however the batch is split.
    batch_keys = jax.random.split(step_key, sampling.batch_size)
    if sampling.num_sequences:
      # A sequence is a function of its number: nothing has to be stored.
      indices = jax.vmap(
        lambda k: jax.random.randint(
          k, (), 0, sampling.num_sequences, jnp.int32
        )
      )(batch_keys)
      batch_keys = keys.sample(key, repetition, indices)
    return jax.vmap(
      lambda k: sampling.task_prior.sample(k, sampling.length).tokens
    )(mesh_lib.own_part(mesh, batch_keys))

  def of_run(repetition):
    steps = first_step + jnp.arange(sampling.num_steps, dtype=jnp.int32)
    return jax.lax.map(functools.partial(of_step, repetition), steps)

  return blocks.vmap(of_run, sampling.run_block, repetitions)


def _updates(params, runs, carry, tokens, num_steps, problem, mesh):
  """Does the first num_steps (traced) updates of a chunk.

  On a mesh this is what one device does: its part of the runs, on its part of
  every batch.
  """
  predictor, tuner, settings = (
    problem.predictor,
    problem.tuner,
    problem.settings,
  )
  sequence_block = blocks.size(
    settings.sequence_block,
    predictor.sequence_block(tokens.shape[-1]),
    settings.batch_size,
  )

  def sequence_losses(context, tokens):
    log_probs = predictor.read(context, tokens)
    return regret.log_loss(log_probs, tokens, problem.positions)

  def penalised_losses(contexts, tokens):
    context, untuned, tunable = contexts
    log_probs = predictor.read(context, tokens)
    loss = regret.log_loss(log_probs, tokens, problem.positions)
    scored = (
      regret.at(x, problem.positions, axis=-2)
      for x in (log_probs, predictor.read(untuned, tokens))
    )
    return loss + tuner.penalty(tunable, *scored)

  def loss_fn(tunable, tokens):
    length = tokens.shape[-1]
    bound, state = tuner.bind(predictor, params, tunable)
    context = predictor.prepare(bound, state, length)
    if tuner.penalty is None:
      return blocks.mean(sequence_losses, context, tokens, sequence_block)
    untuned = predictor.prepare(params, predictor.start(params), length)
    contexts = context, jax.lax.stop_gradient(untuned), tunable
    return blocks.mean(penalised_losses, contexts, tokens, sequence_block)

  def update(rate, tunable, opt_state, tokens):
    loss, gradient = jax.value_and_grad(loss_fn)(tunable, tokens)
    loss, gradient = mesh_lib.average(mesh, (loss, gradient))
    changes, new_state = _optimizer(settings, rate).update(
      gradient, opt_state, tunable
    )
    new = optax.apply_updates(tunable, changes), new_state
    finite = jnp.isfinite(loss) & jnp.isfinite(optax.tree.norm(gradient))
    return new, loss, finite

  def run(rate, carry, tokens):
    def body(i, loop):
      old, alive, losses = loop
      new, loss, finite = update(rate, *old, tokens[i])
      # What goes wrong is said where it did, and nothing follows from it.
      said = jnp.where(alive & (finite | ~jnp.isfinite(loss)), loss, jnp.nan)
      alive &= finite
      kept = jax.tree.map(lambda a, b: jnp.where(alive, a, b), new, old)
      return kept, alive, losses.at[i].set(said)

    # The bound is traced, so that a last, shorter chunk needs no new program.
    losses = jnp.zeros(len(tokens), jnp.float32)
    *old, alive = carry
    (tunable, opt_state), alive, losses = jax.lax.fori_loop(
      0, num_steps, body, (tuple(old), alive, losses)
    )
    return Carry(tunable, opt_state, alive), losses

  rates = runs.learning_rates
  block = run_block(settings, len(rates))
  carry, losses = blocks.vmap(run, block, rates, carry, tokens)
  return carry, losses.T


def _run_chunk(problem, params, runs, carry, tokens, num_steps, mesh=None):
  """Does `_updates`, the runs and the batches split over a mesh."""
  updates = mesh_lib.over_runs(
    mesh,
    functools.partial(_updates, problem=problem, mesh=mesh),
    in_axes=(None, 0, 0, mesh_lib.BATCHES, None),
    out_axes=(0, 1),
  )
  carry, losses = updates(params, runs, carry, tokens, num_steps)
  return carry, mesh_lib.replicate(mesh, losses)


_run_chunk_donating = jax.jit(
  _run_chunk,
  static_argnames=('problem', 'mesh'),
  donate_argnames='carry',
)
# For JAX's debug_nans, which runs a program again, from the same arguments, to
# find the operation that gave a NaN.
_run_chunk_keeping = jax.jit(_run_chunk, static_argnames=('problem', 'mesh'))
