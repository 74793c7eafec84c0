"""One network adapted by one method: all of a grid and all repetitions at once.

Between the fit, which knows runs on one flat axis, and the experiment, which
keeps them by learning rate, initialisation and repetition.
"""

from collections.abc import Sequence
import contextlib
import functools
import math
from typing import Any

import jax
import numpy as np

from bayes_prompting import fitting
from bayes_prompting import lab as lab_lib
from bayes_prompting import metrics
from bayes_prompting import searching
from bayes_prompting import sharding
from bayes_prompting import types
from bayes_prompting import workdir as workdir_lib


def fit(
  title: str,
  settings: fitting.Settings,
  folder: workdir_lib.Workdir | None,
  mesh: jax.sharding.Mesh | None,
  parts: Sequence[str] = ('',),
  **kwargs: Any,
) -> tuple[types.Tunable, np.ndarray]:
  """Runs `fitting.fit` with a progress bar, and its curves as they come.

  Args:
    title: Of the bar, and the name of the curve.
    settings: Of the fit.
    folder: Where curves are written; nowhere with None.
    mesh: Devices of the fit.
    parts: What follows the title in the names of several curves, which have
      equally many of the runs, in their order.
    **kwargs: Further arguments of `fitting.fit`.

  Returns:
    The tunable at the end, off the mesh, with a leading axis [R], and the
    losses [steps, R].
  """
  kwargs.update(settings=settings, mesh=mesh)
  if not settings.num_steps or not kwargs['tuner'].trainable:
    state, losses = fitting.fit(**kwargs)
    return sharding.to_host(mesh, state.tunable), losses
  place = None if folder is None else folder.curves
  with contextlib.ExitStack() as stack:
    progress = stack.enter_context(metrics.Progress(title, settings.num_steps))
    curves = [
      stack.enter_context(metrics.Curve(place, title + part)) for part in parts
    ]

    def on_chunk(done, losses):
      some = np.split(losses, len(curves), axis=-1)
      for curve, part in zip(curves, some, strict=True):
        curve.append(done - len(losses) + 1, part)
      progress(done, float(losses[-1].mean()))

    state, losses = fitting.fit(**kwargs, on_chunk=on_chunk)
  return sharding.to_host(mesh, state.tunable), losses


def tune(
  lab: lab_lib.Lab,
  method: lab_lib.Method,
  seed: int,
  params: types.Params,
  folder: workdir_lib.Workdir | None,
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
    return _search(lab, method, title, task_prior=target, **common)
  rates, (_, inits, runs) = lab.rates(method), lab.shape(method)
  # Whatever the settings, a repetition has the same keys, in the start and in
  # the data: settings are compared on the same random numbers.
  starts = [
    fitting.start(**common, tuner=x, settings=lab.tuning, repetitions=runs)
    for x in method.tuners
  ]
  tunable, losses = fit(
    title,
    lab.tuning,
    folder,
    lab.mesh(lab.tuning, math.prod(lab.shape(method))),
    _names(lab, method),
    **common,
    tuner=method.tuner,
    task_prior=target,
    repetitions=list(range(runs)) * inits * len(rates),
    learning_rates=np.repeat(rates, inits * runs),
    resume=fitting.concatenate(starts * len(rates)),
  )
  found = {'tunable': unflatten(lab, method, tunable)}
  if len(losses):
    found['losses'] = losses.reshape(-1, *lab.shape(method))
  return found


def _search(lab, method, title, **common):
  """Searches the candidates of a method, for all repetitions at once."""
  count = len(jax.tree.leaves(method.tuner.candidates(method.predictor))[0])
  with metrics.Progress(title, count, 'prefix') as progress:
    ranking = searching.search(
      **common,
      tuner=method.tuner,
      length=lab.tuning.length,
      repetitions=lab.repetitions(method),
      num_draws=lab.config['tuning']['search_draws'],
      num_sequences=lab.tuning.num_sequences,
      on_block=lambda done, total: progress(done),
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
  lab: lab_lib.Lab, method: lab_lib.Method, tree: types.PyTree
) -> types.PyTree:
  """Makes leading axes [L, P, R] of the one axis of a method's runs."""
  return _unflatten(tree, lab.shape(method))


@functools.partial(jax.jit, static_argnames='axes')
def _unflatten(tree, axes):
  return jax.tree.map(lambda x: x.reshape(*axes, *x.shape[1:]), tree)
