"""Choosing the best of many candidates: all hard prefixes, or those proposed.

Candidates are scored on one common set of draws. A tuner gives all of them, or
a `types.Search` that proposes some by the scores of earlier ones.
"""

from collections.abc import Sequence
import functools
import itertools
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

# Sequences that candidates of a pool are scored on at once.
_AT_ONCE = 1024
# Each round begins elsewhere among the draws, by this part of them (the golden
# ratio): what bad luck in few draws threw out of one may pass in another.
_SHIFT = 0.618


class Ranking(NamedTuple):
  """The outcome of a search.

  Attributes:
    tunable: The best candidate of each repetition, leading axis [R].
    losses: float32 [R, M], mean log loss of every candidate in nats, summed
      over the N positions; inf for one that rules out what was drawn.
    candidates: What was scored, leading axes [R, M], where it was proposed;
      None where these were all candidates, the same for each repetition.
  """

  tunable: types.Tunable
  losses: np.ndarray
  candidates: types.Tunable | None = None


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


def _slopes(predictor, params, plan, memory, tokens, positions, block):
  """Returns how the loss on tokens [D, N] changes where a search asks for it.

  What is not finite tells nothing, and is zero.
  """

  def loss(relaxed):
    bound, state = plan.bind_relaxed(predictor, params, relaxed)
    context = predictor.prepare(bound, state, tokens.shape[-1])

    def losses(context, draws):
      return regret.log_loss(predictor.read(context, draws), draws, positions)

    return blocks.mean(losses, context, tokens, block)

  relaxed = plan.relax(memory)
  if not len(tokens):
    return jax.tree.map(jnp.zeros_like, relaxed)
  gradient = jax.grad(loss)(relaxed)
  return jax.tree.map(lambda x: jnp.where(jnp.isfinite(x), x, 0), gradient)


def _chosen(predictor, params, tuner, plan, pool, tokens, positions):
  """Returns those [C] of a pool [P] that pass all stages but the last."""
  sums, used = jnp.zeros(plan.pool, jnp.float32), 0
  for (count, share), (fewer, _) in itertools.pairwise(plan.stages):
    few = int(len(tokens) * share)
    if few > used:
      more = tokens[used:few]

      def loss(candidate, draws=more):
        bound, state = tuner.bind(predictor, params, candidate)
        log_probs = predictor.predict(bound, state, draws)
        return regret.log_loss(log_probs, draws, positions).sum()

      at_once = min(count, max(1, _AT_ONCE // len(more)))
      sums += jax.lax.map(loss, pool, batch_size=at_once)
      used = few
    sums = jnp.where(jnp.isnan(sums), jnp.inf, sums)
    best = jnp.argsort(sums, stable=True)[:fewer]
    pool = jax.tree.map(lambda leaf, i=best: leaf[i], pool)
    sums = sums[best]
  return pool


@functools.partial(jax.jit, static_argnames='plan')
def _start(key, plan, repetitions):
  """Returns what a search remembers at first, leading axis [R]."""

  def of_repetition(repetition):
    return plan.start(keys.stream(key, 'propose', repetition, 0))

  return jax.lax.map(of_repetition, repetitions)


@functools.partial(
  jax.jit,
  static_argnames=(
    'predictor',
    'tuner',
    'plan',
    'positions',
    'sequence_block',
    'mesh',
  ),
)
def _round(
  key,
  predictor,
  params,
  tuner,
  plan,
  repetitions,
  number,
  memory,
  tokens,
  positions,
  sequence_block,
  mesh=None,
):
  """Proposes, scores and learns: memory, candidates [R, C], losses [R, C]."""

  def of_repetition(args):
    repetition, memory, tokens = args
    slopes = None
    shift = number * int(_SHIFT * len(tokens)) % len(tokens)
    shifted = jnp.roll(tokens, -shift, axis=0)
    if plan.relax is not None:
      some = shifted[: len(tokens) // 4]
      slopes = _slopes(
        predictor, params, plan, memory, some, positions, sequence_block
      )
    own = keys.stream(key, 'propose', repetition, number)
    memory, candidates = plan.propose(own, memory, slopes)
    candidates = _chosen(
      predictor, params, tuner, plan, candidates, shifted, positions
    )
    losses = _score(
      predictor,
      params,
      tuner,
      candidates,
      tokens[None],
      positions,
      sequence_block,
      mesh,
    )[:, 0]
    known = jnp.where(jnp.isnan(losses), jnp.inf, losses)
    return plan.learn(memory, candidates, known), candidates, losses

  done = jax.lax.map(of_repetition, (repetitions, memory, tokens))
  return mesh_lib.replicate(mesh, done)


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
      that searches that share it score on the same draws. Round t of a search
      that proposes has (key, 'propose', r, t).
    problem: What is adapted. Of its settings `length`, `num_sequences` and
      `sequence_block` count: with a fixed sample the draws are its first
      sequences.
    params: The predictor's weights.
    repetitions: Their number, or their indices.
    num_draws: Independent sequences, the same for all candidates.
    candidate_block: Candidates that are scored between two looks at the host; a
      search that proposes has its own.
    recorder: Is told how many candidates are scored, keeps their losses, and
      gives back what it kept. Steps are candidates, of each repetition.
    mesh: Devices to split the draws over, for no more than rounding.

  Returns:
    For each repetition the candidate with the smallest loss (the first of
    equals), and the losses of all.

  Raises:
    UserError: If the tuner has no candidates.
  """
  settings = problem.settings
  if isinstance(repetitions, int):
    repetitions = range(repetitions)
  repetitions = np.asarray(list(repetitions), np.uint32)
  num_draws = min(num_draws, settings.num_sequences or num_draws)
  tokens = _draw(
    key,
    problem.task_prior,
    num_draws,
    settings.length,
    repetitions,
    settings.num_sequences > 0,
  )
  return on_draws(
    key,
    problem,
    params,
    repetitions,
    tokens,
    candidate_block=candidate_block,
    recorder=recorder,
    mesh=mesh,
  )


def on_draws(
  key: types.Key,
  problem: fit.Problem,
  params: types.Params,
  repetitions: Sequence[int],
  tokens: types.Array,
  *,
  candidate_block: int = 8,
  recorder: fit.Recorder | None = None,
  mesh: jax.sharding.Mesh | None = None,
) -> Ranking:
  """Scores candidates on tokens [R, D, N] of your choice, see `search`.

  Of the problem's task prior only the scored positions count.
  """
  predictor, tuner, settings = (
    problem.predictor,
    problem.tuner,
    problem.settings,
  )
  if tuner.candidates is None:
    raise errors.UserError('tuner: it has no candidates; use fit.fit')
  recorder = recorder or fit.Recorder()
  repetitions = np.asarray(list(repetitions), np.uint32)
  sequence_block = blocks.size(
    settings.sequence_block,
    predictor.sequence_block(tokens.shape[-1]),
    tokens.shape[1],
  )
  positions = problem.task_prior.positions(settings.length)
  params, tokens = mesh_lib.put(mesh, (params, tokens))
  candidates = tuner.candidates(predictor)
  if isinstance(candidates, types.Search):

    def one_round(number, memory):
      return _round(
        key,
        predictor,
        params,
        tuner,
        candidates,
        repetitions,
        np.uint32(number),
        memory,
        tokens,
        positions,
        sequence_block,
        mesh,
      )

    memory = mesh_lib.put(mesh, _start(key, candidates, repetitions))
    return _proposed(candidates, one_round, memory, recorder)

  def score(block):
    return _score(
      predictor, params, tuner, block, tokens, positions, sequence_block, mesh
    )

  candidates = jax.tree.map(np.asarray, candidates)
  return _all(candidates, score, len(repetitions), candidate_block, recorder)


def _all(candidates, score, num_repetitions, candidate_block, recorder):
  """Scores all candidates [M], block by block."""
  total = len(jax.tree.leaves(candidates)[0])
  losses = [np.zeros((0, num_repetitions), np.float32)]
  kept = recorder.restore(
    lambda step: {
      'losses': jax.ShapeDtypeStruct((num_repetitions, step), np.float32)
    }
  )
  if kept is not None:
    losses.append(np.asarray(kept[1]['losses']).T)
    recorder.report(kept[0], losses[-1])
  for first in range(len(losses[-1]), total, candidate_block):
    # The last block is filled up with its first candidate: one program.
    index = np.arange(first, first + candidate_block)
    index = np.where(index < total, index, first)
    scored = score(jax.tree.map(lambda leaf, i=index: leaf[i], candidates))
    losses.append(np.asarray(scored)[: total - first])
    done = min(first + candidate_block, total)
    recorder.report(done, losses[-1])
    if recorder.due(done):
      recorder.keep(done, {'losses': np.concatenate(losses).T})
  losses = np.concatenate(losses).T
  best = _best(losses)
  return Ranking(jax.tree.map(lambda leaf: leaf[best], candidates), losses)


def _proposed(plan, one_round, memory, recorder):
  """Goes through the rounds of a search, each repetition by its own memory."""

  def shapes(step):
    of_candidate = jax.eval_shape(
      lambda memory: one_round(1, memory)[1:], memory
    )
    candidates, losses = jax.tree.map(
      lambda x: jax.ShapeDtypeStruct((x.shape[0], step, *x.shape[2:]), x.dtype),
      of_candidate,
    )
    of_memory = jax.tree.map(
      lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), memory
    )
    return {'candidates': candidates, 'losses': losses, 'memory': of_memory}

  def joined(trees):
    return jax.tree.map(lambda *x: np.concatenate(x, axis=1), *trees)

  scored, done = [], 0
  kept = recorder.restore(shapes)
  if kept is not None:
    done, tree = kept
    memory = tree['memory']
    scored.append(
      jax.tree.map(np.asarray, (tree['candidates'], tree['losses']))
    )
    recorder.report(done, scored[-1][1].T)
  for number in range(done // plan.block + 1, plan.rounds + 1):
    memory, *block = one_round(number, memory)
    scored.append(jax.tree.map(np.asarray, tuple(block)))
    done = number * plan.block
    recorder.report(done, scored[-1][1].T)
    if recorder.due(done):
      candidates, losses = joined(scored)
      memory = jax.tree.map(np.asarray, memory)
      recorder.keep(
        done, {'candidates': candidates, 'losses': losses, 'memory': memory}
      )
  candidates, losses = joined(scored)
  index = np.arange(len(losses)), _best(losses)
  tunable = jax.tree.map(lambda leaf: leaf[index], candidates)
  return Ranking(tunable, losses, candidates)


def _best(losses):
  """Returns the index [R] of the least of losses [R, M], the first of equals.

  What cannot be scored ranks last.
  """
  return np.argmin(np.where(np.isnan(losses), np.inf, losses), axis=-1)
