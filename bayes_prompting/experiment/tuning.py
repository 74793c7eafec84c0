"""Meta-trains a network, and adapts one by a method: the loop, told what to do.

Nothing here touches a file: who wants to see or keep how it goes on hands in a
recorder.
"""

from typing import Any

import jax
import numpy as np

from bayes_prompting import keys
from bayes_prompting import registry
from bayes_prompting import trees
from bayes_prompting import types
from bayes_prompting.experiment import build
from bayes_prompting.training import fit
from bayes_prompting.training import mesh as mesh_lib
from bayes_prompting.training import search
from bayes_prompting.training import validation

# Raise it when numbers change: networks and results depend on it.
NUMERICS = 1


def meta_train(
  lab: build.Lab, seed: int, recorder: fit.Recorder | None = None
) -> dict[str, Any]:
  """Meta-trains one network: `fit` with all weights, from a random start.

  Args:
    lab: What to do.
    seed: The pretraining seed.
    recorder: Hears how it goes on.

  Returns:
    As `build.pretrained_shapes` says: `params`, and `losses` [num_steps] in
    nats a sequence if there was any update.
  """
  tuner = registry.make(
    'tuners', 'pretraining', {'name': 'weights', 'start': 'random'}
  )
  problem = fit.Problem(
    lab.network, tuner, lab.priors[lab.pretraining_task], lab.pretraining
  )
  # Only its structure is used: the tuner brings new weights.
  template = jax.tree.map(
    lambda x: np.zeros(x.shape, x.dtype), build.network_shapes(lab)
  )
  mesh = lab.mesh(lab.pretraining, 1)
  state, losses = fit.fit(
    keys.stream(lab.root, 'pretraining'),
    problem,
    template,
    fit.runs([seed], lab.config['pretraining']['learning_rate']),
    recorder=recorder,
    mesh=mesh,
  )
  weights = {
    path: jax.device_put(np.asarray(leaf)[0])
    for path, leaf in mesh_lib.to_host(mesh, state.tunable).items()
  }
  trained = {'params': trees.replace(template, weights)}
  if len(losses):
    trained['losses'] = losses[:, 0]
  return trained


def tune(
  lab: build.Lab,
  method: build.Method,
  seed: int,
  params: types.Params,
  recorder: fit.Recorder | None = None,
) -> dict[str, Any]:
  """Adapts one network by one method, all its settings and repetitions at once.

  Args:
    lab: What to do.
    method: One of its methods.
    seed: The network's pretraining seed.
    params: Its weights.
    recorder: Hears how it goes on.

  Returns:
    As `build.tuned_shapes` says: `tunable`, and `losses` of tuning (with
    `validation_losses` and `best_step` if it stops early) or
    `candidate_losses` of a search, in nats a sequence, with the `candidates`
    that it has proposed.
  """
  # All methods share the root of their streams: their starts are drawn from the
  # same keys, and they see the same data, which pairs them.
  key = keys.stream(lab.root, 'tuning', seed)
  problem = fit.Problem(
    method.predictor, method.tuner, lab.priors[lab.target], lab.tuning
  )
  if method.tuner.candidates is not None:
    ranking = search.search(
      key,
      problem,
      params,
      method.repetitions,
      num_draws=lab.config['tuning']['search_draws'],
      recorder=recorder,
      mesh=lab.row_mesh(),
    )
    tuned = {'tunable': ranking.tunable, 'candidate_losses': ranking.losses}
    if ranking.candidates is not None:
      tuned['candidates'] = ranking.candidates
    return tuned
  tunable_shapes = build.tuned_shapes(lab, method)['tunable']
  if not jax.tree.leaves(tunable_shapes):
    return {'tunable': tunable_shapes}  # NoTuning: nothing is tuned.
  rates, inits, repetitions = method.shape
  # Whatever the settings, a repetition has the same keys, in the start and in
  # the data: settings are compared on the same random numbers.
  starts = [
    fit.start(
      key,
      fit.Problem(method.predictor, x, problem.task_prior, lab.tuning),
      params,
      range(repetitions),
    )
    for x in method.tuners
  ]
  mesh = lab.mesh(lab.tuning, method.num_runs)
  state, losses = fit.fit(
    key,
    problem,
    params,
    fit.runs(
      list(range(repetitions)) * inits * rates,
      np.repeat(method.learning_rates, inits * repetitions),
    ),
    state=fit.concatenate(starts * rates),
    recorder=recorder,
    mesh=mesh,
  )
  tuned = {'tunable': mesh_lib.to_host(mesh, state.tunable)}
  if len(losses):
    tuned['losses'] = losses
  if state.validation is not None:
    count = len(build.validation_steps(lab))
    tuned['validation_losses'] = validation.padded(state.validation, count)
    tuned['best_step'] = state.validation.best_step
  return tuned
