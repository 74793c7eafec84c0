"""One network adapted by one method: all of a grid and all repetitions at once.

Between the fit, which knows runs on one flat axis, and the experiment, which
keeps them by learning rate, initialisation and repetition.
"""

from collections.abc import Mapping, Sequence
import contextlib
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bayes_prompting import errors
from bayes_prompting import types
from bayes_prompting.experiment import build
from bayes_prompting.experiment import fingerprint
from bayes_prompting.settings import plain
from bayes_prompting.storage import curves as curves_lib
from bayes_prompting.storage import resume as resume_lib
from bayes_prompting.storage import workdir
from bayes_prompting.training import fit as fit_lib
from bayes_prompting.training import mesh as mesh_lib
from bayes_prompting.training import search


def fit(
  title: str,
  settings: fit_lib.Settings,
  folder: workdir.Workdir | None,
  mesh: jax.sharding.Mesh | None,
  config: Mapping[str, Any],
  parts: Sequence[str] = ('',),
  resume: fit_lib.FitState | None = None,
  **kwargs: Any,
) -> tuple[types.Tunable, np.ndarray]:
  """Runs `fitting.fit` with a progress bar, and its curves as they come.

  What an earlier process left of the same fit goes on where it was.

  Args:
    title: Of the bar, and the name of the curve.
    settings: Of the fit.
    folder: Where curves and checkpoints are written; nowhere with None.
    mesh: Devices of the fit.
    config: Of the run; its sections `checkpoints` and `debug` hold.
    parts: What follows the title in the names of several curves, which have
      equally many of the runs, in their order.
    resume: Where it starts from, as for `fitting.fit`.
    **kwargs: Further arguments of `fitting.fit`.

  Returns:
    The tunable at the end, off the mesh, with a leading axis [R], and the
    losses [steps, R].

  Raises:
    UserError: If `debug.check_finite` is set and a loss is not finite.
    Interrupted: If the process is to end; what was done is kept.
  """
  kwargs['settings'] = settings
  state = fit_lib.start(**_of_start(kwargs)) if resume is None else resume
  if not settings.num_steps or not kwargs['tuner'].trainable:
    state, losses = fit_lib.fit(**kwargs, resume=state, mesh=mesh)
    return mesh_lib.to_host(mesh, state.tunable), losses
  with contextlib.ExitStack() as stack:
    keeper = stack.enter_context(
      _keeper(title, settings.num_steps, folder, config)
    )
    state, before = _resumed(keeper, state)
    progress = stack.enter_context(
      curves_lib.Progress(title, settings.num_steps, done=state.step)
    )
    place = None if folder is None else folder.curves
    curves = [
      stack.enter_context(curves_lib.Curve(place, title + part))
      for part in parts
    ]

    look = _stops(title, config['debug']['check_finite'])

    def on_chunk(done, losses):
      first_step = done - len(losses) + 1
      some = np.split(losses, len(curves), axis=-1)
      for curve, part in zip(curves, some, strict=True):
        curve.append(first_step, part)
      look(first_step, losses)
      progress(done, losses[-1:])

    def on_due(state, losses):
      losses = np.concatenate([before, losses])
      keeper.keep(state.step, _kept(mesh, state, losses))

    on_chunk(state.step, before)
    state, losses = fit_lib.fit(
      **kwargs,
      resume=state,
      mesh=mesh,
      on_chunk=on_chunk,
      due=keeper.due,
      on_due=on_due,
      look_every=config['checkpoints']['every'],
    )
  losses = np.concatenate([before, losses])
  return mesh_lib.to_host(mesh, state.tunable), losses


def _of_start(kwargs):
  """The arguments of a fit that say where it starts."""
  names = 'key', 'predictor', 'params', 'tuner', 'settings', 'repetitions'
  return {name: kwargs[name] for name in names}


def _keeper(title, total, folder, config):
  """Keeps the states of one piece of work in a run's folder."""
  path = None if folder is None else folder.unfinished(title)
  belongs = {'title': title, **fingerprint.record(config)}
  belongs['config'] = plain.comparable(belongs['config'])
  del belongs['other']  # Says nothing of numbers.
  return resume_lib.Keeper(path, belongs, total, **config['checkpoints'])


def _kept(mesh, state, losses):
  """What a checkpoint of a fit under way holds."""
  parts = state.tunable, state.opt_state, state.alive
  return {'state': mesh_lib.to_host(mesh, parts), 'losses': losses}


def _resumed(keeper, state):
  """Returns the state to go on from, and the losses [steps, R] before it."""
  runs = len(state.alive)

  def template(step):
    losses = jax.ShapeDtypeStruct((step, runs), np.float32)
    return jax.eval_shape(lambda: _kept(None, state, losses))

  found = keeper.restore(template)
  if found is None:
    return state, np.zeros((0, runs), np.float32)
  step, tree = found
  parts = jax.tree.map(jnp.asarray, tree['state'])
  return fit_lib.FitState(*parts, step), np.asarray(tree['losses'])


def _stops(title, check):
  """Returns what says which runs are stopped; with `check` it ends the run."""
  said = set()

  def look(first_step, losses):
    bad = ~np.isfinite(losses)
    for run in np.flatnonzero(bad.any(0)).tolist():
      if run in said:
        continue
      said.add(run)
      row = int(bad[:, run].argmax())
      line = (
        f'{title}: run {run} of {losses.shape[1]} is stopped at update '
        f'{first_step + row}, its loss ({losses[row, run]}) or the norm of its '
        'gradient is not finite'
      )
      if check:
        raise errors.UserError(f'{line} (debug.check_finite)')
      resume_lib.warn(line)

  return look


def tune(
  lab: build.Lab,
  method: build.Method,
  seed: int,
  params: types.Params,
  folder: workdir.Workdir | None,
) -> dict[str, Any]:
  """Adapts one network by one method; returns as `lab.tuned_shapes` says.

  Args:
    lab: What to do.
    method: One of its methods.
    seed: The network's pretraining seed.
    params: Its weights.
    folder: Where curves are written; nowhere with None.
  """
  common = {
    'key': lab.tuning_key(seed),
    'predictor': method.predictor,
    'params': params,
  }
  target, title = lab.priors[lab.target], f'{method.name}-seed{seed}'
  if method.tuner.candidates is not None:
    return _search(
      lab, method, seed, folder, title, task_prior=target, **common
    )
  rates, (_, inits, runs) = lab.rates(method), lab.shape(method)
  # Whatever the settings, a repetition has the same keys, in the start and in
  # the data: settings are compared on the same random numbers.
  starts = [
    fit_lib.start(**common, tuner=x, settings=lab.tuning, repetitions=runs)
    for x in method.tuners
  ]
  tunable, losses = fit(
    title,
    lab.tuning,
    folder,
    lab.mesh(lab.tuning, math.prod(lab.shape(method))),
    lab.config,
    _names(lab, method),
    **common,
    tuner=method.tuner,
    task_prior=target,
    repetitions=list(range(runs)) * inits * len(rates),
    learning_rates=np.repeat(rates, inits * runs),
    resume=fit_lib.concatenate(starts * len(rates)),
  )
  found = {'tunable': unflatten(lab, method, tunable)}
  if len(losses):
    found['losses'] = losses.reshape(-1, *lab.shape(method))
  return found


def _search(lab, method, seed, folder, title, **common):
  """Searches the candidates of a method, for all repetitions at once."""
  count = len(jax.tree.leaves(method.tuner.candidates(method.predictor))[0])
  with contextlib.ExitStack() as stack:
    keeper = stack.enter_context(_keeper(title, count, folder, lab.config))
    runs = lab.repetitions(method)
    found = keeper.restore(
      lambda step: {'losses': jax.ShapeDtypeStruct((runs, step), np.float32)}
    )
    progress = stack.enter_context(
      curves_lib.Progress(title, count, 'prefix', found[0] if found else 0)
    )

    def on_block(losses):
      done = losses.shape[1]
      progress(done)
      if keeper.due(done):
        keeper.keep(done, {'losses': losses})

    ranking = search.search(
      **common,
      tuner=method.tuner,
      length=lab.tuning.length,
      repetitions=runs,
      num_draws=lab.config['tuning']['search_draws'],
      num_sequences=lab.tuning.num_sequences,
      resume=None if found is None else found[1]['losses'],
      on_block=on_block,
      mesh=lab.row_mesh(),
    )
  return {
    'tunable': unflatten(lab, method, ranking.tunable),
    'candidate_losses': ranking.losses,
  }


def _names(lab, method):
  """Names the settings of a grid; what there is one of is not said."""
  rates, inits = lab.rates(method), lab.prefix_inits[: len(method.tuners)]
  return [
    f'-lr{rate}' * (len(rates) > 1) + f'-{init}' * (len(inits) > 1)
    for rate in rates
    for init in inits
  ]


@jax.jit
def flatten(tree: types.PyTree) -> types.PyTree:
  """Makes one axis of runs of the leading axes [L, P, R] of all leaves."""
  return jax.tree.map(lambda x: x.reshape(-1, *x.shape[3:]), tree)


def unflatten(
  lab: build.Lab, method: build.Method, tree: types.PyTree
) -> types.PyTree:
  """Makes leading axes [L, P, R] of the one axis of a method's runs."""
  return _unflatten(tree, lab.shape(method))


@functools.partial(jax.jit, static_argnames='axes')
def _unflatten(tree, axes):
  return jax.tree.map(lambda x: x.reshape(*axes, *x.shape[1:]), tree)
