"""Regrets of tuned predictors on sequences with a known source: the results."""

from collections.abc import Callable
import functools
import itertools
import json
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from bayes_prompting import keys
from bayes_prompting import predictors
from bayes_prompting import registry
from bayes_prompting import regret
from bayes_prompting import results
from bayes_prompting import types
from bayes_prompting.experiment import build
from bayes_prompting.theory import expectation
from bayes_prompting.training import blocks
from bayes_prompting.training import mesh as mesh_lib

# Raise it when numbers change: networks and results depend on it.
NUMERICS = 1

# Sequences that universal predictors see at once.
UNIVERSAL_BLOCK = 16


class Task(NamedTuple):
  """An evaluation task: common sequences, and what the references say of them.

  A task whose sequences were recorded has no oracle, and no exact Bayes: it has
  universal predictors in their place, see `types.Recorded`.

  Attributes:
    tokens: int32 [S, M]. N of them are scored.
    oracle_log_probs: float32 [S, N, V]; None if it was recorded, as the next
      two.
    bayes_log_probs: float32 [S, N, V], of the prior that the sources are from.
    bayes_oracle_regret: float32 [S, N], what Bayes loses to the oracle, in nats
      a step: its expectation where that has a closed form, the same for all
      sequences; else its value on each sequence.
    scored: int32 [N], positions in M; None if all are, and M is N.
    universal: float32 [F, S, N], log probability in nats that each of F
      universal predictors gave to the tokens; None if it was not recorded.
  """

  tokens: types.Array
  oracle_log_probs: types.Array | None
  bayes_log_probs: types.Array | None
  bayes_oracle_regret: types.Array | None
  scored: types.Array | None = None
  universal: types.Array | None = None


class Regrets(NamedTuple):
  """Regrets in nats, per repetition, reference and estimator.

  Axes: R repetitions, 2 references (oracle, bayes; or the F universal ones of a
  task that was recorded), 3 estimators (sampled, exact, paired), N steps, T
  report steps, S sequences. Standard errors are over sequences.
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
  own = regret.token_log_probs(episodes.oracle_log_probs, episodes.tokens)
  own = own - regret.token_log_probs(bayes, episodes.tokens)
  positions = task_prior.positions(length)
  oracle, bayes, own = (
    regret.at(x, positions, axis=1)
    for x in (episodes.oracle_log_probs, bayes, own)
  )
  return episodes.tokens, oracle, bayes, own


@functools.partial(jax.jit, static_argnames=('recorded', 'num', 'length'))
def _recorded(key, recorded, num, length):
  """Draws windows, each once, and what universal predictors say of them."""
  tokens = recorded.draw(key, 'evaluation', num, length)
  # A few at once: a universal predictor compares all tokens with all.
  universal = [
    jax.lax.map(
      lambda x, predict=predict: regret.token_log_probs(predict(x), x),
      tokens,
      batch_size=min(UNIVERSAL_BLOCK, num),
    )
    for predict in recorded.references.values()
  ]
  return tokens, jnp.stack(universal)


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
    length: N, tokens that are scored.
    mesh: Where it will be evaluated, if on several devices.

  Raises:
    UserError: If fewer were recorded.
  """
  recorded = task_prior.recorded
  if recorded is not None:
    recorded.check(num_sequences, length)
    tokens, universal = _recorded(key, recorded, num_sequences, length)
    task = Task(tokens, None, None, None, universal=universal)
    return mesh_lib.put(mesh, task)
  expected = expectation.expected_regret(task_prior, task_prior, length)
  tokens, oracle, bayes, own = _sample(key, task_prior, num_sequences, length)
  if expected is not None:
    # Never negative; what is came from predictions rounded to float32.
    expected = np.maximum(expected.astype(np.float32), np.float32(0))
    own = np.broadcast_to(expected, own.shape)
  positions = task_prior.positions(length)
  if positions is not None:
    positions = np.asarray(positions, np.int32)
  return mesh_lib.put(mesh, Task(tokens, oracle, bayes, own, positions))


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


@functools.partial(jax.jit, static_argnames=('predictor', 'bind'))
def _bind(predictor, bind, params, tunables):
  """Binds every run: its own weights [R, ...] and states [R, ...].

  Its own weights are None where a tuner changes none: a prompt.
  """

  def of_run(tunable):
    bound, state = bind(predictor, params, tunable)
    # A tuner hands on the leaves that it leaves alone.
    leaves = [jax.tree.leaves(tree) for tree in (bound, params)]
    same = len(leaves[0]) == len(leaves[1]) and all(
      new is old for new, old in zip(*leaves, strict=True)
    )
    return None if same else bound, state

  return jax.lax.map(of_run, tunables)


@functools.partial(
  jax.jit,
  static_argnames=('predictor', 'bind', 'report_steps', 'block', 'mesh'),
)
def _evaluate(predictor, bind, params, bound, task, report_steps, block, mesh):
  """Evaluates all runs; one program for all methods of one state shape.

  Where nothing is tuned, `bound` is the empty tunable of the one run, which
  `bind` binds; else `bind` is None.
  """

  def of_run(own):
    own_params, state = own
    context = predictor.prepare(
      params if own_params is None else own_params, state, task.tokens.shape[1]
    )
    log_probs = mesh_lib.map_rows(
      mesh, predictor.read, context, task.tokens, block
    )
    log_probs = regret.at(log_probs, task.scored, axis=1)
    tokens = regret.at(task.tokens, task.scored, axis=1)
    if task.universal is not None:
      regrets = regret.above(
        regret.token_log_probs(log_probs, tokens), task.universal
      )
    else:
      regrets = regret.regrets(
        log_probs,
        tokens,
        task.oracle_log_probs,
        task.bayes_log_probs,
        task.bayes_oracle_regret,
      )
    return _summarise(regrets, report_steps)

  if bind is None:
    regrets = jax.lax.map(of_run, bound)
  else:
    regrets = of_run(bind(predictor, params, bound))
    regrets = jax.tree.map(lambda x: x[None], regrets)
  return mesh_lib.replicate(mesh, regrets)


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
  bind, bound = tuner.bind, tunables
  if jax.tree.leaves(tunables):
    bind, bound = None, _bind(predictor, tuner.bind, params, tunables)
    if bound[0] is not None:
      params = None  # Each run has its own.
  params, bound, task = mesh_lib.put(mesh, (params, bound, task))
  return _evaluate(
    predictor, bind, params, bound, task, report_steps, block, mesh
  )


@functools.partial(jax.jit, static_argnames='report_steps')
def evaluate_oracle(task: Task, report_steps: tuple[int, ...]) -> Regrets:
  """Returns the regrets of the oracle itself, with R = 1."""
  regrets = regret.oracle_regrets(
    regret.at(task.tokens, task.scored, axis=1),
    task.oracle_log_probs,
    task.bayes_log_probs,
  )
  return jax.tree.map(lambda x: x[None], _summarise(regrets, report_steps))


@functools.partial(jax.jit, static_argnames='report_steps')
def evaluate_universal(
  task: Task, report_steps: tuple[int, ...]
) -> list[Regrets]:
  """Returns the regrets of each universal predictor itself, with R = 1."""
  return [
    jax.tree.map(
      lambda x: x[None],
      _summarise(regret.above(own, task.universal), report_steps),
    )
    for own in task.universal
  ]


def judge(
  lab: build.Lab,
  networks: list[dict[str, Any]],
  tuned: dict[tuple[str, int], dict[str, Any]],
  on_task: Callable[[int], None] = lambda done: None,
) -> xr.Dataset:
  """Judges every method on every evaluation task by its regret.

  Args:
    lab: What was done.
    networks: What `run.meta_train` returns.
    tuned: What `run.tune` returns.
    on_task: Called with how many tasks are done, after each.

  Returns:
    The results, see `results.dataset`.
  """
  sizes = lab.config['evaluation']
  universal = lab.universal
  labels = {
    name: _candidate_labels(method)
    for name, method in lab.methods.items()
    if method.enumerates
  }
  builder = results.Builder(
    {
      'tuner': [*lab.reference_rows, *lab.methods],
      'pretrain_seed': range(lab.num_seeds),
      'learning_rate': lab.learning_rates,
      'prefix_init': lab.prefix_inits,
      'repetition': range(lab.num_repetitions),
      'eval_task': sizes['tasks'],
      'reference': lab.references,
      'estimator': regret.ESTIMATORS,
      'step': range(1, sizes['length'] + 1),
      'report_step': lab.report_steps,
      'sequence': range(sizes['num_sequences']),
      'pretraining_step': range(1, lab.pretraining.num_steps + 1),
      'tuning_step': range(1, lab.tuning.num_steps + 1),
      'validation_step': build.validation_steps(lab),
      'candidate': dict.fromkeys(itertools.chain(*labels.values())),
    }
  )
  for seed, network in enumerate(networks):
    if 'losses' in network:
      builder.put_losses(network['losses'], seed)
  for (name, seed), outcome in tuned.items():
    seed = _network(lab.methods[name], seed)
    if 'losses' in outcome:
      losses = _by_setting(lab.methods[name].shape, outcome['losses'].T)
      builder.put_losses(losses, seed, name)
    if 'validation_losses' in outcome:
      shape = lab.methods[name].shape
      at = {'tuner': name, 'pretrain_seed': seed}
      held_out = _by_setting(shape, outcome['validation_losses'].T)
      builder.put('validation_loss', held_out, **at)
      builder.put('best_step', _by_setting(shape, outcome['best_step']), **at)
    if name in labels:
      builder.put(
        'candidate_loss',
        outcome['candidate_losses'],
        tuner=name,
        pretrain_seed=seed,
        candidate=labels[name],
      )
  for done, task in enumerate(sizes['tasks'], 1):
    for name, seed, regrets in _judge_task(lab, networks, tuned, task):
      shape = lab.methods[name].shape if name in lab.methods else (1, 1, 1)
      builder.put_regrets(
        name,
        seed,
        task,
        _by_setting(shape, regrets),
        universal.get(task, regret.REFERENCES),
      )
    on_task(done)
  attributes = {
    'config': json.dumps(lab.written),
    'target': lab.target,
    'pretraining_task': lab.pretraining_task,
    'tuning_length': lab.tuning.length,
    'pretraining_length': lab.pretraining.length,
    'searches': json.dumps(build.searches(lab)),
  }
  if universal:
    attributes['universal'] = json.dumps(universal)
  best = _bayes_loss(lab)
  if best is not None:
    attributes['target_bayes_loss'] = best
  return builder.build(attributes)


def _by_setting(shape, tree):
  """Makes axes [L, P, R] of the one axis of a method's runs."""
  return jax.tree.map(
    lambda x: np.asarray(x).reshape(*shape, *x.shape[1:]), tree
  )


def _network(method, seed):
  """Returns the seed of a method's network; None if it has no network."""
  return None if method.is_bayes else seed


def _bayes_loss(lab):
  """Returns the least expected loss of tuning, where it has a closed form."""
  target, length = lab.priors[lab.target], lab.tuning.length
  losses = expectation.expected_losses(target, target, length)
  return None if losses is None else float(losses.bayes.sum())


def task_of(lab: build.Lab, name: str) -> Task:
  """Samples an evaluation task of a run by its name: the same every time."""
  sizes = lab.config['evaluation']
  return make_task(
    keys.stream(lab.root, 'evaluation', name),
    lab.priors[name],
    sizes['num_sequences'],
    sizes['length'],
    lab.row_mesh(),
  )


def reference(lab: build.Lab, name: str) -> str:
  """Returns what Bayes of an evaluation task is called in results."""
  return 'TargetBayes' if name == lab.target else 'EvalBayes'


def _references(lab, name, task):
  """Yields (name, None, regrets) of what other predictors are compared with."""
  steps, mesh = lab.report_steps, lab.row_mesh()
  if name in lab.universal:
    each = evaluate_universal(task, steps)
    for own, regrets in zip(lab.universal[name], each, strict=True):
      yield own, None, regrets
    return
  yield 'Oracle', None, evaluate_oracle(task, steps)
  untuned = registry.make('tuners', 'references', {'name': 'none'})
  bayes = predictors.bayesian(lab.priors[name])
  yield (
    reference(lab, name),
    None,
    evaluate(bayes, {}, untuned, {}, task, steps, mesh=mesh),
  )


def _judge_task(lab, networks, tuned, name):
  """Yields (method, seed, regrets with a leading axis of runs) on one task.

  The seed is None for what has no network.
  """
  task, steps, mesh = task_of(lab, name), lab.report_steps, lab.row_mesh()
  yield from _references(lab, name, task)
  for (method_name, seed), outcome in tuned.items():
    method = lab.methods[method_name]
    params = {} if method.is_bayes else networks[seed]['params']
    yield (
      method_name,
      _network(method, seed),
      evaluate(
        method.predictor,
        params,
        method.tuner,
        outcome['tunable'],
        task,
        steps,
        mesh=mesh,
      ),
    )


def _candidate_labels(method):
  """Returns a text for each candidate: its tokens in a row."""
  rows = np.asarray(
    jax.tree.leaves(method.tuner.candidates(method.predictor))[0]
  )
  separator = '' if method.predictor.vocab_size <= 10 else '-'
  return [separator.join(map(str, row)) for row in rows.tolist()]
