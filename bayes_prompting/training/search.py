"""Choosing the best of finitely many candidates, as all hard prefixes."""

from collections.abc import Sequence
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bayes_prompting import errors
from bayes_prompting import keys
from bayes_prompting import regret
from bayes_prompting import types
from bayes_prompting.training import blocks
from bayes_prompting.training import fit
from bayes_prompting.training import mesh as mesh_lib

# Raise it when numbers change: networks and results depend on it.
NUMERICS = 1


class Ranking(NamedTuple):
  """The outcome of a search.

  Attributes:
    tunable: The best candidate of each repetition, leading axis [R].
    losses: float32 [R, M], mean log loss of every candidate in nats, summed
      over the N positions; inf for one that rules out what was drawn.
  """

  tunable: types.Tunable
  losses: np.ndarray


@functools.partial(
  jax.jit, static_argnames=('task_prior', 'num', 'length', 'fixed')
)
def _draw(key, task_prior, num, length, repetitions, fixed=False):
  """Draws int32 [R, num, length] tokens."""

  def one(repetition):
    stream = keys.stream(key, 'search', repetition)
    each = jax.random.split(stream, num)
    if fixed:
      each = keys.sample(key, repetition, jnp.arange(num))
    return jax.vmap(lambda k: task_prior.sample(k, length).tokens)(each)

  return jax.vmap(one)(repetitions)


@functools.partial(
  jax.jit,
  static_argnames=('predictor', 'tuner', 'positions', 'sequence_block', 'mesh'),
)
def _score(
  predictor,
  params,
  tuner,
  candidates,
  tokens,
  positions,
  sequence_block,
  mesh=None,
):
  """Scores [C] candidates on tokens [R, D, N]: mean losses [C, R]."""

  def candidate_losses(candidate):
    bound, state = tuner.bind(predictor, params, candidate)
    context = predictor.prepare(bound, state, tokens.shape[-1])

    def losses(context, draws):
      log_probs = predictor.read(context, draws)
      return regret.log_loss(log_probs, draws, positions)

    # The draws of all repetitions in blocks: activations stay in the cache.
    rows = tokens.reshape(-1, tokens.shape[-1])
    found = mesh_lib.map_rows(mesh, losses, context, rows, sequence_block)
    return found.reshape(tokens.shape[:2]).mean(-1)

  return mesh_lib.replicate(mesh, jax.lax.map(candidate_losses, candidates))


def search(
  key: types.Key,
  problem: fit.Problem,
  params: types.Params,
  repetitions: int | Sequence[int],
  *,
  num_draws: int = 2048,
  candidate_block: int = 8,
  recorder: fit.Recorder | None = None,
  mesh: jax.sharding.Mesh | None = None,
) -> Ranking:
  """Scores all candidates of a tuner on one common set of independent draws.

  Args:
    key: Root of the streams; repetition r draws from (key, 'search', r), so
      that searches that share it score on the same draws.
    problem: What is adapted. Of its settings `length`, `num_sequences` and
      `sequence_block` count: with a fixed sample the draws are its first
      sequences.
    params: The predictor's weights.
    repetitions: Their number, or their indices.
    num_draws: Independent sequences, the same for all candidates.
    candidate_block: Candidates that are scored between two looks at the host.
    recorder: Is told how many candidates are scored, keeps their losses, and
      gives back what it kept. Steps are candidates.
    mesh: Devices to split the draws over, for no more than rounding.

  Returns:
    For each repetition the candidate with the smallest loss (the first of
    equals), and the losses of all.

  Raises:
    UserError: If the tuner has no candidates.
  """
  predictor, tuner, settings = (
    problem.predictor,
    problem.tuner,
    problem.settings,
  )
  if tuner.candidates is None:
    raise errors.UserError('tuner: it has no candidates; use fit.fit')
  recorder = recorder or fit.Recorder()
  if isinstance(repetitions, int):
    repetitions = range(repetitions)
  repetitions = np.asarray(list(repetitions), np.uint32)
  candidates = jax.tree.map(np.asarray, tuner.candidates(predictor))
  total = len(jax.tree.leaves(candidates)[0])
  num_draws = min(num_draws, settings.num_sequences or num_draws)
  tokens = _draw(
    key,
    problem.task_prior,
    num_draws,
    settings.length,
    repetitions,
    settings.num_sequences > 0,
  )
  sequence_block = blocks.size(
    settings.sequence_block,
    predictor.sequence_block(tokens.shape[-1]),
    num_draws,
  )
  positions = problem.task_prior.positions(settings.length)
  params, tokens = mesh_lib.put(mesh, (params, tokens))
  losses = [np.zeros((0, len(repetitions)), np.float32)]
  kept = recorder.restore(
    lambda step: {
      'losses': jax.ShapeDtypeStruct((len(repetitions), step), np.float32)
    }
  )
  if kept is not None:
    losses.append(np.asarray(kept[1]['losses']).T)
    recorder.report(kept[0], losses[-1])
  for first in range(len(losses[-1]), total, candidate_block):
    # The last block is filled up with its first candidate: one program.
    index = np.arange(first, first + candidate_block)
    index = np.where(index < total, index, first)
    block = jax.tree.map(lambda leaf, i=index: leaf[i], candidates)
    scored = _score(
      predictor, params, tuner, block, tokens, positions, sequence_block, mesh
    )
    losses.append(np.asarray(scored)[: total - first])
    done = min(first + candidate_block, total)
    recorder.report(done, losses[-1])
    if recorder.due(done):
      recorder.keep(done, {'losses': np.concatenate(losses).T})
  losses = np.concatenate(losses).T
  # What cannot be scored ranks last.
  best = np.argmin(np.where(np.isnan(losses), np.inf, losses), axis=-1)
  return Ranking(jax.tree.map(lambda leaf: leaf[best], candidates), losses)
