"""Regrets of a tuned predictor on sequences with a known source."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from bayes_prompting import keys
from bayes_prompting import regret
from bayes_prompting import types
from bayes_prompting.theory import expectation
from bayes_prompting.training import blocks
from bayes_prompting.training import mesh as mesh_lib

# Raise it when numbers change: networks and results depend on it.
NUMERICS = 1


class Task(NamedTuple):
  """An evaluation task: common sequences, and what the references say of them.

  Attributes:
    tokens: int32 [S, N].
    oracle_log_probs: float32 [S, N, V].
    bayes_log_probs: float32 [S, N, V], of the prior that the sources are from.
    bayes_oracle_regret: float32 [S, N], what Bayes loses to the oracle, in nats
      a step: its expectation where that has a closed form, the same for all
      sequences; else its value on each sequence.
  """

  tokens: types.Array
  oracle_log_probs: types.Array
  bayes_log_probs: types.Array
  bayes_oracle_regret: types.Array


class Regrets(NamedTuple):
  """Regrets in nats, per repetition, reference and estimator.

  Axes: R repetitions, 2 references (oracle, bayes), 3 estimators (sampled,
  exact, paired), N steps, T report steps, S sequences. Standard errors are over
  sequences.
  """

  instantaneous: types.Array  # [R, 2, 3, N], mean over sequences.
  instantaneous_sem: types.Array  # [R, 2, 3, N].
  cumulative: types.Array  # [R, 2, 3, N], sum over the steps so far.
  cumulative_sem: types.Array  # [R, 2, 3, N].
  sequences: types.Array  # [R, 2, 3, T, S], cumulative at the report steps.


@functools.partial(jax.jit, static_argnames=('task_prior', 'num', 'length'))
def _sample(key, task_prior, num, length):
  """Samples episodes, what Bayes predicts, and its regret to the oracle."""
  episodes = jax.vmap(lambda k: task_prior.sample(k, length))(
    jax.random.split(key, num)
  )
  predict = jax.vmap(task_prior.predict, in_axes=(None, 0))
  none = jnp.zeros((0, task_prior.vocab_size), jnp.float32)
  bayes = predict(task_prior.prefill(none), episodes.tokens)
  oracle = episodes.oracle_log_probs
  own = regret.token_log_probs(oracle, episodes.tokens)
  own = own - regret.token_log_probs(bayes, episodes.tokens)
  return episodes, bayes, own


def make_task(
  key: types.Key,
  task_prior: types.TaskPrior,
  num_sequences: int,
  length: int,
  mesh: jax.sharding.Mesh | None = None,
) -> Task:
  """Samples the sequences of an evaluation task.

  Args:
    key: Consumed.
    task_prior: Where they come from.
    num_sequences: S.
    length: N.
    mesh: Where it will be evaluated, if on several devices.
  """
  expected = expectation.expected_regret(task_prior, task_prior, length)
  episodes, bayes, own = _sample(key, task_prior, num_sequences, length)
  if expected is not None:
    # Never negative; what is came from predictions rounded to float32.
    expected = jnp.maximum(jnp.asarray(expected, jnp.float32), 0.0)
    own = jnp.broadcast_to(expected, own.shape)
  task = Task(episodes.tokens, episodes.oracle_log_probs, bayes, own)
  return mesh_lib.put(mesh, task)


def _summarise(regrets: types.Array, report_steps: tuple[int, ...]) -> Regrets:
  """Reduces [2, 3, S, N] regrets of one repetition."""
  cumulative = jnp.cumsum(regrets, axis=-1)
  at_report = cumulative[..., jnp.asarray(report_steps) - 1]
  return Regrets(
    instantaneous=regrets.mean(-2),
    instantaneous_sem=regret.standard_error(regrets, axis=-2),
    cumulative=cumulative.mean(-2),
    cumulative_sem=regret.standard_error(cumulative, axis=-2),
    sequences=jnp.swapaxes(at_report, -1, -2),
  )


@functools.partial(
  jax.jit,
  static_argnames=('predictor', 'tuner', 'report_steps', 'block', 'mesh'),
)
def _evaluate(
  predictor, params, tuner, tunables, task, report_steps, block, mesh
):
  def one(repetition):
    tunable = jax.tree.map(lambda leaf: leaf[repetition], tunables)
    bound, state = tuner.bind(predictor, params, tunable)
    context = predictor.prepare(bound, state, task.tokens.shape[1])
    log_probs = mesh_lib.map_rows(
      mesh, predictor.read, context, task.tokens, block
    )
    regrets = regret.regrets(
      log_probs,
      task.tokens,
      task.oracle_log_probs,
      task.bayes_log_probs,
      task.bayes_oracle_regret,
    )
    return _summarise(regrets, report_steps)

  # A tunable without leaves (NoTuning) has one repetition.
  count = next((len(leaf) for leaf in jax.tree.leaves(tunables)), 1)
  return mesh_lib.replicate(mesh, jax.lax.map(one, jnp.arange(count)))


def evaluate(
  predictor: types.Predictor,
  params: types.Params,
  tuner: types.Tuner,
  tunables: types.Tunable,
  task: Task,
  report_steps: tuple[int, ...],
  block: int = 0,
  mesh: jax.sharding.Mesh | None = None,
) -> Regrets:
  """Returns the regrets of every repetition of a tuned predictor on a task.

  Args:
    predictor: Neural or Bayesian.
    params: Its weights.
    tuner: Whose `bind` says what runs.
    tunables: Leading axis [R].
    task: The sequences, common to all that is compared.
    report_steps: Steps, counted from 1, at which the cumulative regret of every
      sequence is kept.
    block: Sequences that are predicted at once; a matter of speed only, and
      automatic with 0.
    mesh: Devices to split the sequences over, for no more than rounding.
  """
  block = blocks.size(
    block, predictor.sequence_block(task.tokens.shape[1]), len(task.tokens)
  )
  params, tunables, task = mesh_lib.put(mesh, (params, tunables, task))
  return _evaluate(
    predictor, params, tuner, tunables, task, report_steps, block, mesh
  )


@functools.partial(jax.jit, static_argnames='report_steps')
def evaluate_oracle(task: Task, report_steps: tuple[int, ...]) -> Regrets:
  """Returns the regrets of the oracle itself, with R = 1."""
  regrets = regret.oracle_regrets(
    task.tokens, task.oracle_log_probs, task.bayes_log_probs
  )
  return jax.tree.map(lambda x: x[None], _summarise(regrets, report_steps))


def task_key(key: types.Key, name: str) -> types.Key:
  """Returns the key of the evaluation task of that name."""
  return keys.stream(key, 'evaluation', name)
