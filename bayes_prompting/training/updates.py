"""Updates by gradient descent: the compiled inside of a fit.

A chunk of updates is one program: data is sampled in it, sequences and runs are
computed in blocks that suit the backend, and split over a mesh if there is one.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import optax

from bayes_prompting import checks
from bayes_prompting import keys
from bayes_prompting import regret
from bayes_prompting import settings as settings_lib
from bayes_prompting import types
from bayes_prompting.training import blocks
from bayes_prompting.training import mesh as mesh_lib

# Raise it when numbers change: networks and results depend on it.
NUMERICS = 1

# Runs at once on a CPU: one after another each has the caches for itself.
_RUN_BLOCK = 1
# Elsewhere all at once, up to so many tokens: some 7 GiB of activations of the
# paper's Transformer.
_RUN_TOKENS = 2**19


@dataclasses.dataclass(frozen=True)
class Settings:
  """What a fit does.

  Attributes:
    num_steps: Updates; 0 leaves everything as it starts.
    batch_size: B, sequences for every update.
    length: N.
    learning_rate: Adam's step size, at the start of the schedule, of runs that
      are given none of their own.
    num_sequences: Of a fixed sample that every batch is drawn from, with
      replacement, each repetition its own; 0 has fresh sequences every time.
    schedule: `constant`, or `cosine`, which decays to zero.
    clip_norm: Gradients are clipped to this global norm, taken over the tunable
      tree only.
    chunk_size: Updates between two looks at the host, at most (see
      `chunk_size`); a matter of speed and reporting only.
    sequence_block: Sequences whose gradient is taken at once; 0 is automatic.
    run_block: Runs that are one vmapped program; 0 is automatic.
  """

  num_steps: int
  batch_size: int
  length: int
  learning_rate: float
  num_sequences: int = 0
  schedule: str = 'constant'
  clip_norm: float = 1.0
  chunk_size: int = 50
  sequence_block: int = 0
  run_block: int = 0


def chunk_size(settings: Settings, runs: int) -> int:
  """Returns the updates between two looks at the host.

  On a CPU runs come one after another, and a chunk of many would take minutes,
  in which the process could not be told to end.
  """
  if jax.default_backend() != 'cpu':
    return settings.chunk_size
  return max(settings.chunk_size // runs, 1)


def run_block(settings: Settings, runs: int) -> int:
  """Returns how many of the runs of a device are one vmapped program."""
  return blocks.size(
    settings.run_block,
    _RUN_BLOCK,
    runs,
    elsewhere=_RUN_TOKENS // (settings.batch_size * settings.length),
  )


def optimizer(
  settings: Settings, rate: types.Array | float | None = None
) -> optax.GradientTransformation:
  """Returns Adam with clipped gradients and the schedule of the settings.

  Args:
    settings: Whose schedule and clip are part of the program.
    rate: The schedule's start, which may be traced; by default the settings'.
      The state does not depend on it.
  """
  rate = settings.learning_rate if rate is None else rate
  match settings.schedule:
    case 'constant':
      schedule = optax.constant_schedule(rate)
    case 'cosine':
      schedule = optax.cosine_decay_schedule(rate, max(settings.num_steps, 1))
    case other:
      checks.one_of('schedule', other, settings_lib.SCHEDULES)
  return optax.chain(
    optax.clip_by_global_norm(settings.clip_norm), optax.adam(schedule)
  )


def _updates(
  key,
  params,
  repetitions,
  rates,
  tunable,
  opt_state,
  alive,
  first_step,
  num_steps,
  predictor,
  tuner,
  task_prior,
  settings,
  mesh,
):
  """Does updates first_step ... first_step + num_steps - 1 (both traced).

  The runs are uint32 [R] repetitions and float32 [R] rates, traced too. On a
  mesh this is what one device does: its part of the runs, on its part of every
  batch.
  """
  sequence_block = blocks.size(
    settings.sequence_block,
    predictor.sequence_block(settings.length),
    settings.batch_size,
  )

  def sequence_losses(context, tokens):
    return regret.log_loss(predictor.read(context, tokens), tokens)

  def loss_fn(tunable, tokens):
    bound, state = tuner.bind(predictor, params, tunable)
    context = predictor.prepare(bound, state, settings.length)
    return blocks.mean(sequence_losses, context, tokens, sequence_block)

  def update(repetition, rate, tunable, opt_state, step):
    step_key = keys.stream(key, 'data', repetition, step)
    sample = functools.partial(task_prior.sample, length=settings.length)
    # One key a sequence: the same sequences, however the batch is split.
    batch_keys = jax.random.split(step_key, settings.batch_size)
    if settings.num_sequences:
      # A sequence is a function of its number: nothing has to be stored.
      numbers = jax.vmap(
        lambda k: jax.random.randint(
          k, (), 0, settings.num_sequences, jnp.int32
        )
      )(batch_keys)
      batch_keys = keys.sample(key, repetition, numbers)
    tokens = jax.vmap(lambda k: sample(k).tokens)(
      mesh_lib.own_part(mesh, batch_keys)
    )
    loss, gradient = jax.value_and_grad(loss_fn)(tunable, tokens)
    loss, gradient = mesh_lib.average(mesh, (loss, gradient))
    changes, new_state = optimizer(settings, rate).update(
      gradient, opt_state, tunable
    )
    new = optax.apply_updates(tunable, changes), new_state
    finite = jnp.isfinite(loss) & jnp.isfinite(optax.tree.norm(gradient))
    return new, loss, finite

  def run(repetition, rate, tunable, opt_state, alive):
    def body(i, carry):
      old, alive, losses = carry
      new, loss, finite = update(repetition, rate, *old, first_step + i)
      # What goes wrong is said where it did, and nothing follows from it.
      said = jnp.where(alive & (finite | ~jnp.isfinite(loss)), loss, jnp.nan)
      alive &= finite
      kept = jax.tree.map(lambda a, b: jnp.where(alive, a, b), new, old)
      return kept, alive, losses.at[i].set(said)

    # The bound is traced, so that a last, shorter chunk needs no new program.
    losses = jnp.zeros(settings.chunk_size, jnp.float32)
    (tunable, opt_state), alive, losses = jax.lax.fori_loop(
      0, num_steps, body, ((tunable, opt_state), alive, losses)
    )
    return tunable, opt_state, alive, losses

  tunable, opt_state, alive, losses = blocks.vmap(
    run,
    run_block(settings, len(repetitions)),
    repetitions,
    rates,
    tunable,
    opt_state,
    alive,
  )
  return tunable, opt_state, alive, losses.T


def _run_chunk(
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
  first_step,
  num_steps,
  mesh=None,
):
  """Does `_updates`, the runs and the batches split over a mesh."""
  run = functools.partial(
    _updates,
    predictor=predictor,
    tuner=tuner,
    task_prior=task_prior,
    settings=settings,
    mesh=mesh,
  )
  run = mesh_lib.over_runs(
    mesh,
    run,
    in_axes=(None, None, 0, 0, 0, 0, 0, None, None),
    out_axes=(0, 0, 0, 1),
  )
  runs = repetitions, rates, tunable, opt_state, alive
  tunable, opt_state, alive, losses = run(
    key, params, *runs, first_step, num_steps
  )
  return tunable, opt_state, alive, mesh_lib.replicate(mesh, losses)


_STATIC = ('predictor', 'tuner', 'task_prior', 'settings', 'mesh')
run_chunk = jax.jit(
  _run_chunk,
  static_argnames=_STATIC,
  donate_argnames=('tunable', 'opt_state', 'alive'),
)
# For JAX's debug_nans, which runs a program again, from the same arguments, to
# find the operation that gave a NaN.
run_chunk_keeping = jax.jit(_run_chunk, static_argnames=_STATIC)
