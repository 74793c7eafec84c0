"""Early stopping: keeps what does best on sequences that are held out.

Every so many updates the loss of each run is computed on fixed sequences, which
no update sees. The tunable with the smallest one is kept. A run ends when that
many validations in a row have brought nothing better as its patience says. What
a run keeps, and when it ends, depends on nothing but itself.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bayes_prompting import keys
from bayes_prompting import regret
from bayes_prompting import types
from bayes_prompting.training import blocks
from bayes_prompting.training import mesh as mesh_lib

# `fit.NUMERICS` is the version of these numbers too: one of their own would be
# a part of every network, and none is made by them.

# Stands for the loss of a run that has ended. No log loss is as small, so that
# it is told from the NaN of one that was stopped. `results.stopped` has it too.
ENDED = -1.0


class Progress(NamedTuple):
  """What validation has found so far, of R runs.

  Attributes:
    best: The tunable that did best, leading axis [R].
    losses: float32 [C, R], at each validation so far, in nats a sequence.
    best_step: int32 [R], the update after which each did best.
    ended: int32 [R], the update after which each ended; 0 if it goes on.
  """

  best: types.Tunable
  losses: np.ndarray
  best_step: np.ndarray
  ended: np.ndarray


def steps(num_steps: int, every: int) -> tuple[int, ...]:
  """Returns after which updates there is a validation: [C], from 0 on."""
  return (*range(0, num_steps, every), num_steps)


def draw(
  key: types.Key, task_prior: types.TaskPrior, num: int, length: int
) -> types.Array:
  """Draws the sequences int32 [S, N] that all runs are validated on.

  Of a task that was recorded they are windows of its part for validation, each
  once; there may be fewer than are asked for.

  Args:
    key: Root of the streams; not consumed.
    task_prior: Where they come from.
    num: S.
    length: N, tokens that are scored.
  """
  return _draw(keys.stream(key, 'validation'), task_prior, num, length)


@functools.partial(jax.jit, static_argnames=('task_prior', 'num', 'length'))
def _draw(key, task_prior, num, length):
  if task_prior.recorded is not None:
    return task_prior.recorded.draw(key, 'validation', num, length)
  return jax.vmap(lambda k: task_prior.sample(k, length).tokens)(
    jax.random.split(key, num)
  )


def validate(
  progress: Progress | None,
  step: int,
  problem: Any,
  params: types.Params,
  tunable: types.Tunable,
  tokens: types.Array,
  mesh: jax.sharding.Mesh | None,
) -> Progress:
  """Returns the progress after one more validation.

  Args:
    progress: Before it; None at the first.
    step: How many updates there were.
    problem: What is fitted, a `fit.Problem` without its `task_prior`.
    params: The predictor's weights.
    tunable: Leading axis [R].
    tokens: What `draw` returns.
    mesh: Devices that the runs are split over, if there are several.
  """
  losses = np.asarray(_losses(problem, params, tunable, tokens, mesh))
  if progress is None:
    runs = len(losses)
    none = np.zeros(runs, np.int32)
    # Whatever its loss is, each run begins with its start: a copy of it, since
    # the updates take its memory.
    best = _choose(np.ones(runs, bool), tunable, tunable)
    return Progress(best, losses[None], none, none)
  before = progress.losses
  going = progress.ended == 0
  least = np.where(np.isfinite(before), before, np.inf).min(0)
  better = going & (losses < least)
  best_step = np.where(better, np.int32(step), progress.best_step)
  validated = steps(problem.settings.num_steps, problem.settings.validate_every)
  since = len(before) - np.searchsorted(validated, best_step)
  ends = going & (since >= problem.settings.patience)
  return Progress(
    _choose(better, tunable, progress.best),
    # Whoever has ended is not validated any more.
    np.concatenate([before, np.where(going, losses, np.nan)[None]]),
    best_step.astype(np.int32),
    np.where(ends, np.int32(step), progress.ended).astype(np.int32),
  )


@jax.jit
def _choose(better, new, old):
  def choose(a, b):
    return jnp.where(better.reshape(-1, *(1,) * (a.ndim - 1)), a, b)

  return jax.tree.map(choose, new, old)


@functools.partial(jax.jit, static_argnames=('problem', 'mesh'))
def _losses(problem, params, tunable, tokens, mesh):
  """Returns the mean loss [R] of each run on tokens [S, N]."""
  predictor, tuner, settings = (
    problem.predictor,
    problem.tuner,
    problem.settings,
  )
  length, total = tokens.shape[1], len(tokens)
  block = blocks.size(
    settings.sequence_block, predictor.sequence_block(length), total
  )

  def sequence_losses(context, tokens):
    log_probs = predictor.read(context, tokens)
    return regret.log_loss(log_probs, tokens, problem.positions)

  def of_runs(params, tunable, tokens):
    def of_run(tunable):
      bound, state = tuner.bind(predictor, params, tunable)
      context = predictor.prepare(bound, state, length)
      return blocks.mean(sequence_losses, context, tokens, block)

    return jax.lax.map(of_run, tunable)

  each = mesh_lib.over_runs(mesh, of_runs, in_axes=(None, 0, None))
  return mesh_lib.replicate(mesh, each(params, tunable, tokens))


def padded(progress: Progress, count: int) -> np.ndarray:
  """Returns losses [count, R]: NaN where a run had ended before."""
  left = count - len(progress.losses)
  runs = progress.losses.shape[1]
  none = np.full((left, runs), np.nan, np.float32)
  return np.concatenate([progress.losses, none])
