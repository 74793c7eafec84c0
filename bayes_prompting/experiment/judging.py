"""From what was trained and tuned to the results: every regret of a run."""

import functools
import itertools
import json
from typing import Any

import jax
import numpy as np
import xarray as xr

from bayes_prompting import predictors
from bayes_prompting import registry
from bayes_prompting import regret
from bayes_prompting import results
from bayes_prompting import settings
from bayes_prompting.experiment import build
from bayes_prompting.experiment import evaluation
from bayes_prompting.experiment import tuning
from bayes_prompting.storage import curves
from bayes_prompting.theory import expectation


def judge(
  lab: build.Lab,
  networks: list[dict[str, Any]],
  tuned: dict[tuple[str, int], dict[str, Any]],
) -> xr.Dataset:
  """Judges every method on every evaluation task by its regret.

  Args:
    lab: What was done.
    networks: What `experiment.meta_train` returns.
    tuned: What `experiment.tune` returns.

  Returns:
    The results, see `bayes_prompting.results`.
  """
  sizes = lab.config['evaluation']
  labels = {
    name: _candidate_labels(method)
    for name, method in lab.methods.items()
    if method.tuner.candidates is not None
  }
  builder = results.Builder(
    {
      'method': [*settings.REFERENCES, *lab.methods],
      'pretrain_seed': range(lab.num_seeds),
      'learning_rate': lab.learning_rates,
      'prefix_init': lab.prefix_inits,
      'repetition': range(lab.num_repetitions),
      'eval_task': sizes['tasks'],
      'reference': regret.REFERENCES,
      'estimator': regret.ESTIMATORS,
      'step': range(1, sizes['length'] + 1),
      'report_step': lab.report_steps,
      'sequence': range(sizes['num_sequences']),
      'pretraining_step': range(1, lab.pretraining.num_steps + 1),
      'tuning_step': range(1, lab.tuning.num_steps + 1),
      'candidate': dict.fromkeys(itertools.chain(*labels.values())),
    }
  )
  for seed, network in enumerate(networks):
    if 'losses' in network:
      builder.put_losses(network['losses'], seed)
  for (name, seed), found in tuned.items():
    at = {'method': name, 'pretrain_seed': seed}
    if 'losses' in found:
      builder.put_losses(np.moveaxis(found['losses'], 0, -1), **at)
    if 'candidate_losses' in found:
      losses = found['candidate_losses']
      builder.put('candidate_loss', losses, candidate=labels[name], **at)
  with curves.Progress('evaluation', len(sizes['tasks']), 'task') as progress:
    for done, name in enumerate(sizes['tasks'], 1):
      for method, seed, found in _judge_task(lab, networks, tuned, name):
        builder.put_regrets(method, seed, name, found)
      progress(done)
  attributes = {
    'config': json.dumps(lab.config),
    'target': lab.target,
    'pretraining_task': lab.pretraining_task,
    'tuning_length': lab.tuning.length,
    'pretraining_length': lab.pretraining.length,
  }
  best = _bayes_loss(lab)
  if best is not None:
    attributes['target_bayes_loss'] = best
  return builder.build(attributes)


def _bayes_loss(lab):
  """Returns the least expected loss of tuning, where it has a closed form."""
  target, length = lab.priors[lab.target], lab.tuning.length
  losses = expectation.expected_losses(target, target, length)
  return None if losses is None else float(losses.bayes.sum())


def _judge_task(lab, networks, tuned, name):
  """Yields (method, seed, regrets [L, P, R, ...]) of all on one task."""
  sizes = lab.config['evaluation']
  prior = lab.priors[name]
  mesh = lab.row_mesh()
  task = evaluation.make_task(
    evaluation.task_key(lab.root, name),
    prior,
    sizes['num_sequences'],
    sizes['length'],
    mesh,
  )
  steps = lab.report_steps
  one = functools.partial(jax.tree.map, lambda x: x[None, None])
  yield 'Oracle', 0, one(evaluation.evaluate_oracle(task, steps))
  untuned = registry.make('tuners', 'references', {'name': 'none'})
  bayes = predictors.bayesian(prior)
  reference = 'TargetBayes' if name == lab.target else 'EvalBayes'
  yield (
    reference,
    0,
    one(evaluation.evaluate(bayes, {}, untuned, {}, task, steps, mesh=mesh)),
  )
  for (method_name, seed), found in tuned.items():
    method = lab.methods[method_name]
    params = {} if method.is_bayes else networks[seed]['params']
    regrets = evaluation.evaluate(
      method.predictor,
      params,
      method.tuner,
      tuning.flatten(found['tunable']),
      task,
      steps,
      mesh=mesh,
    )
    yield method_name, seed, tuning.unflatten(lab, method, regrets)


def _candidate_labels(method):
  """Returns a text for each candidate: its tokens in a row."""
  rows = np.asarray(
    jax.tree.leaves(method.tuner.candidates(method.predictor))[0]
  )
  separator = '' if method.predictor.vocab_size <= 10 else '-'
  return [separator.join(map(str, row)) for row in rows.tolist()]
