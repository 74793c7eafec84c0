"""The main job: meta-train, tune, evaluate; configuration in, results out."""

import functools
import math
import os
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import xarray as xr

from bayes_prompting import adapting
from bayes_prompting import blocks
from bayes_prompting import checkpoints
from bayes_prompting import checks
from bayes_prompting import compilation
from bayes_prompting import distributed
from bayes_prompting import errors
from bayes_prompting import figures
from bayes_prompting import fitting
from bayes_prompting import judging
from bayes_prompting import keys
from bayes_prompting import lab as lab_lib
from bayes_prompting import memory
from bayes_prompting import plain
from bayes_prompting import predictor as predictor_lib
from bayes_prompting import registry
from bayes_prompting import regret
from bayes_prompting import results
from bayes_prompting import sharding
from bayes_prompting import summary
from bayes_prompting import trees
from bayes_prompting import types
from bayes_prompting import updates
from bayes_prompting import workdir as workdir_lib

Lab = lab_lib.Lab
Workdir = workdir_lib.Workdir


def _at_precision(function):
  """Has a function of a lab compute at the precision that it configures."""

  @functools.wraps(function)
  def wrapped(lab, *args, **kwargs):
    with lab.precision():
      return function(lab, *args, **kwargs)

  return wrapped


def run(
  config: ml_collections.ConfigDict,
  workdir: str | os.PathLike[str] | None = None,
  overwrite: bool = False,
) -> xr.Dataset:
  """Runs a whole experiment; what is finished in the workdir is not run again.

  Compiled programs are kept between processes, see `compilation.use_cache`.

  Args:
    config: See `settings.base`.
    workdir: Where everything is kept; with None nothing is written.
    overwrite: Move an older run in the workdir aside, under a dated name.

  Returns:
    The results, see `bayes_prompting.results`.

  Raises:
    UserError: If the configuration or the workdir will not do; before anything
      is written.
  """
  compilation.use_cache()
  lab, folder = open_run(config, workdir, overwrite)
  return finish(lab, folder)


def finish(
  lab: Lab, folder: Workdir | None, require: bool = False
) -> xr.Dataset:
  """Does what is left of a run, and writes results, summary and figures.

  Args:
    lab: What to do.
    folder: Where everything is kept; nothing is written with None.
    require: Raise UserError where something would have to be trained or tuned.
  """
  dataset = None
  if folder is not None:
    dataset = distributed.on_first(lambda: _load_results(folder))
  if dataset is None:
    networks = meta_train(lab, folder, require)
    tuned = tune(lab, networks, folder, require)
    dataset = evaluate(lab, networks, tuned)
    if folder is not None:
      distributed.on_first(lambda: results.save(dataset, folder.results))
  if folder is not None:
    distributed.on_first(lambda: _report(dataset, folder))
  return dataset


def _load_results(folder):
  """Returns the results of a run that is finished, else None."""
  if not folder.results.exists():
    return None
  print(f'Finished already: {folder.path}')
  return results.load(folder.results)


def _report(dataset, folder):
  summary.save(summary.summarize(dataset), folder.summary)
  figures.make_all(dataset, folder.figures)


def open_run(
  config: ml_collections.ConfigDict,
  workdir: str | os.PathLike[str] | None,
  overwrite: bool = False,
  pretrained: bool = False,
) -> tuple[Lab, Workdir | None]:
  """Builds what a configuration describes, then claims its workdir.

  With `pretrained` it raises UserError, before anything is written, where a
  network would have to be trained.
  """
  lab = distributed.together(lambda: _build(config))
  distributed.agree('configuration', plain.fingerprint(lab.config))
  if workdir is None:
    return lab, None
  return lab, distributed.on_first(
    lambda: _open_workdir(lab, workdir, overwrite, pretrained)
  )


def _build(config):
  """Builds the lab, and checks that it suits the machine."""
  lab = lab_lib.build(config)
  memory.check(lab)
  lab.mesh(lab.pretraining, 1)
  for method in lab.methods.values():
    lab.mesh(lab.tuning, math.prod(lab.shape(method)))
  lab.row_mesh()
  return lab


def _open_workdir(lab, workdir, overwrite, pretrained):
  path = checks.path('workdir', workdir)
  if pretrained and not (path / 'config.json').exists():
    _check_pretrained(lab, Workdir(path))
  record = workdir_lib.record(lab.config)
  return workdir_lib.claim(path, record, overwrite)


def _check_pretrained(lab, folder):
  for seed in range(lab.num_seeds):
    shared = folder.networks / network_hash(lab, seed)
    if not checkpoints.exists(shared):
      raise errors.MissingNetwork(
        f'workdir: no run at {str(folder.path)!r}, and no network of this '
        f'configuration beside it ({str(shared)!r}); pretrain first'
      )


def network_hash(lab: Lab, seed: int) -> str:
  """Returns the hash of everything that a pretrained network depends on."""
  task = lab.pretraining_task
  pretraining = dict(lab.config['pretraining'])
  del pretraining['num_seeds']
  return plain.fingerprint(
    {
      'code': registry.code(
        [
          *(blocks, fitting, keys, predictor_lib, regret),
          *(sharding, trees, types, updates),
          *registry.modules('task_priors', lab.config['tasks'][task]),
          registry.module('torsos', lab.config['network']['torso']['name']),
          registry.module('tuners', 'weights'),
        ]
      ),
      'network': lab.config['network'],
      'task': lab.config['tasks'][task],
      'pretraining': pretraining,
      'seed': lab.config['seed'],
      'pretrain_seed': seed,
      # Of how it is computed, all that touches the rounding of a single run.
      'compute': {
        name: value
        for name, value in lab.config['compute'].items()
        if name != 'run_block'
      },
      'numerical': workdir_lib.provenance()['numerical'],
    }
  )


@_at_precision
def meta_train(
  lab: Lab, folder: Workdir | None = None, require: bool = False
) -> list[dict[str, Any]]:
  """Meta-trains a network for each seed, or takes it from an earlier run.

  Networks are kept beside the workdir, in `networks/`, under a hash of
  everything that they depend on, and copied into the workdir.

  Args:
    lab: What to do.
    folder: Where to keep it; nowhere with None.
    require: Raise UserError where a network would have to be trained.

  Returns:
    For each seed `params` and `losses` [num_steps], in nats a sequence.
  """
  trained = []
  for seed in range(lab.num_seeds):
    template = lab_lib.pretrained_shapes(lab)
    name = network_hash(lab, seed)
    metadata = {'hash': name, 'config': lab.config, 'pretrain_seed': seed}

    def train(seed=seed, name=name, template=template, metadata=metadata):
      return _restore_or_make(
        None if folder is None else folder.networks / name,
        template,
        metadata,
        lambda: _meta_train_one(lab, seed, folder),
        require,
      )

    own = None if folder is None else folder.pretrained(seed)
    trained.append(_restore_or_make(own, template, metadata, train))
  return trained


def _restore_or_make(path, template, metadata, make, require=False):
  """Returns what was kept at `path`; else makes it, and keeps it there."""
  if path is not None and checkpoints.exists(path):
    return checkpoints.restore(path, template)
  # What holds no array (NoTuning) is made anew each time.
  keep = path is not None and bool(jax.tree.leaves(template))
  if keep and require:
    raise errors.UserError(
      f'workdir: no checkpoint at {str(path)!r}; run the part before first '
      '(pretrain, then tune, then evaluate)'
    )
  found = make()
  if keep:
    checkpoints.save(path, found, metadata)
  return found


def _meta_train_one(lab, seed, folder):
  """Runs `fit` with the tuner "all weights" from a random start."""
  key = keys.stream(lab.root, 'pretraining')
  tuner = registry.make(
    'tuners', 'pretraining', {'name': 'weights', 'start': 'random'}
  )
  # Only its structure is used: the tuner brings new weights.
  template = jax.tree.map(
    lambda x: jnp.zeros(x.shape, x.dtype), lab_lib.network_shapes(lab)
  )
  tunable, losses = adapting.fit(
    f'pretraining-seed{seed}',
    lab.pretraining,
    folder,
    lab.mesh(lab.pretraining, 1),
    key=key,
    predictor=lab.network,
    params=template,
    tuner=tuner,
    task_prior=lab.priors[lab.pretraining_task],
    repetitions=[seed],
  )
  tunable = jax.tree.map(lambda x: x[0], tunable)
  params, _ = tuner.bind(lab.network, template, tunable)
  found = {'params': params}
  if len(losses):
    found['losses'] = losses[:, 0]
  return found


@_at_precision
def tune(
  lab: Lab,
  networks: list[dict[str, Any]],
  folder: Workdir | None = None,
  require: bool = False,
) -> dict[tuple[str, int], dict[str, Any]]:
  """Adapts every network to the target by every method.

  Args:
    lab: What to do.
    networks: What `meta_train` returns.
    folder: Where to keep it, and where finished methods are taken from.
    require: Raise UserError where something would have to be tuned.

  Returns:
    By method and pretraining seed, `tunable` with leading axes [L, P, R] (see
    `lab.Lab.shape`), and where there are any `losses` [num_steps, L, P, R] of
    tuning, or `candidate_losses` [R, M] of a search, in nats a sequence.
  """
  tuned = {}
  for method in lab.methods.values():
    for seed in lab.seeds(method):
      params = {} if method.is_bayes else networks[seed]['params']
      tuned[method.name, seed] = _restore_or_make(
        None if folder is None else folder.tuned(method.name, seed),
        lab_lib.tuned_shapes(lab, method),
        {'method': method.name, 'pretrain_seed': seed, 'config': lab.config},
        lambda m=method, s=seed, p=params: adapting.tune(lab, m, s, p, folder),
        require,
      )
  return tuned


@_at_precision
def evaluate(
  lab: Lab,
  networks: list[dict[str, Any]],
  tuned: dict[tuple[str, int], dict[str, Any]],
) -> xr.Dataset:
  """Judges every method on every evaluation task, see `judging.judge`."""
  return judging.judge(lab, networks, tuned)
