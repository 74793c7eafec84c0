"""The main job: meta-train, tune, evaluate; configuration in, results out."""

import itertools
import json
import os
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import xarray as xr

from bayes_prompting import checkpoints
from bayes_prompting import checks
from bayes_prompting import errors
from bayes_prompting import evaluation
from bayes_prompting import figures
from bayes_prompting import fitting
from bayes_prompting import keys
from bayes_prompting import lab as lab_lib
from bayes_prompting import metrics
from bayes_prompting import predictor as predictor_lib
from bayes_prompting import registry
from bayes_prompting import regret
from bayes_prompting import results
from bayes_prompting import searching
from bayes_prompting import settings
from bayes_prompting import types
from bayes_prompting import workdir as workdir_lib

# Part of a network's hash: raised when the same settings give other networks.
_NETWORK_FORMAT = 1

Lab = lab_lib.Lab
Workdir = workdir_lib.Workdir


def run(
  config: ml_collections.ConfigDict,
  workdir: str | os.PathLike[str] | None = None,
  overwrite: bool = False,
) -> xr.Dataset:
  """Runs a whole experiment; what is finished in the workdir is not run again.

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
  lab, folder = open_run(config, workdir, overwrite)
  if folder is not None and folder.results.exists():
    dataset = results.load(folder.results)
  else:
    networks = meta_train(lab, folder)
    tuned = tune(lab, networks, folder)
    dataset = evaluate(lab, networks, tuned)
  if folder is not None:
    write(dataset, folder)
  return dataset


def open_run(
  config: ml_collections.ConfigDict,
  workdir: str | os.PathLike[str] | None,
  overwrite: bool = False,
) -> tuple[Lab, Workdir | None]:
  """Builds what a configuration describes, then claims its workdir."""
  lab = lab_lib.build(config)
  if workdir is None:
    return lab, None
  record = {
    'config': lab.config,
    'seed': lab.config['seed'],
    **workdir_lib.provenance(),
  }
  return lab, workdir_lib.claim(workdir, record, overwrite)


def network_hash(lab: Lab, seed: int) -> str:
  """Returns the hash of everything that a pretrained network depends on."""
  pretraining = dict(lab.config['pretraining'])
  del pretraining['num_seeds']
  return settings.fingerprint(
    {
      'format': _NETWORK_FORMAT,
      'network': lab.config['network'],
      'task': lab.config['tasks'][lab.pretraining_task],
      'pretraining': pretraining,
      'seed': lab.config['seed'],
      'pretrain_seed': seed,
      'numerical': workdir_lib.provenance()['numerical'],
    }
  )


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
    template = _pretrained_template(lab)
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


def _pretrained_template(lab):
  """Returns shapes and dtypes of what `meta_train` gives for a seed."""
  template = {'params': lab_lib.network_shapes(lab)}
  if lab.pretraining.num_steps:
    shape = (lab.pretraining.num_steps,)
    template['losses'] = jax.ShapeDtypeStruct(shape, jnp.float32)
  return template


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
  state, losses = _fit(
    f'pretraining-seed{seed}',
    lab.pretraining,
    folder,
    key=key,
    predictor=lab.network,
    params=template,
    tuner=tuner,
    task_prior=lab.priors[lab.pretraining_task],
    settings=lab.pretraining,
    repetitions=[seed],
  )
  tunable = jax.tree.map(lambda x: x[0], state.tunable)
  params, _ = tuner.bind(lab.network, template, tunable)
  found = {'params': params}
  if len(losses):
    found['losses'] = losses[:, 0]
  return found


def _fit(title, fit_settings, folder, **kwargs):
  """Runs `fit` with a progress bar, and its curve written as it comes."""
  if not fit_settings.num_steps or not kwargs['tuner'].trainable:
    return fitting.fit(**kwargs)
  curves = None if folder is None else folder.curves
  with (
    metrics.Progress(title, fit_settings.num_steps) as progress,
    metrics.Curve(curves, title) as curve,
  ):

    def on_chunk(done, losses):
      curve.append(done - len(losses) + 1, losses)
      progress(done, float(losses[-1].mean()))

    return fitting.fit(**kwargs, on_chunk=on_chunk)


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
    By method and pretraining seed, `tunable` with a leading axis [R], and where
    there are any `losses` [num_steps, R] of tuning, or `candidate_losses`
    [R, M] of a search, in nats a sequence.
  """
  tuned = {}
  for method in lab.methods.values():
    for seed in lab.seeds(method):
      params = {} if method.is_bayes else networks[seed]['params']
      tuned[method.name, seed] = _restore_or_make(
        None if folder is None else folder.tuned(method.name, seed),
        _tuned_template(lab, method),
        {'method': method.name, 'pretrain_seed': seed, 'config': lab.config},
        lambda m=method, s=seed, p=params: _tune_one(lab, m, s, p, folder),
        require,
      )
  return tuned


def _tuned_template(lab, method):
  """Returns shapes and dtypes of what `tune` gives for a method."""
  count = lab.repetitions(method)
  template = {'tunable': lab_lib.tunable_shapes(lab, method)}
  if method.tuner.candidates is not None:
    candidates = jax.eval_shape(
      lambda: method.tuner.candidates(method.predictor)
    )
    shape = (count, len(jax.tree.leaves(candidates)[0]))
    template['candidate_losses'] = jax.ShapeDtypeStruct(shape, jnp.float32)
  elif method.tuner.trainable and lab.tuning.num_steps:
    shape = (lab.tuning.num_steps, count)
    template['losses'] = jax.ShapeDtypeStruct(shape, jnp.float32)
  return template


def _tune_one(lab, method, seed, params, folder):
  """Adapts one network by one method, all repetitions at once."""
  common = {
    'key': lab.tuning_key(seed),
    'predictor': method.predictor,
    'params': params,
    'tuner': method.tuner,
    'task_prior': lab.priors[lab.target],
    'repetitions': lab.repetitions(method),
  }
  title = f'{method.name}-seed{seed}'
  if method.tuner.candidates is not None:
    count = len(jax.tree.leaves(method.tuner.candidates(method.predictor))[0])
    with metrics.Progress(title, count, 'prefix') as progress:
      ranking = searching.search(
        **common,
        length=lab.tuning.length,
        num_draws=lab.config['tuning']['search_draws'],
        on_block=lambda done, total: progress(done),
      )
    return {'tunable': ranking.tunable, 'candidate_losses': ranking.losses}
  state, losses = _fit(title, lab.tuning, folder, settings=lab.tuning, **common)
  found = {'tunable': state.tunable}
  if len(losses):
    found['losses'] = losses
  return found


def evaluate(
  lab: Lab,
  networks: list[dict[str, Any]],
  tuned: dict[tuple[str, int], dict[str, Any]],
) -> xr.Dataset:
  """Judges every method on every evaluation task by its regret.

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
      builder.put('pretraining_loss', network['losses'], pretrain_seed=seed)
  for (name, seed), found in tuned.items():
    at = {'method': name, 'pretrain_seed': seed}
    if 'losses' in found:
      builder.put('tuning_loss', found['losses'].T, **at)
    if 'candidate_losses' in found:
      losses = found['candidate_losses']
      builder.put('candidate_loss', losses, candidate=labels[name], **at)
  with metrics.Progress('evaluation', len(sizes['tasks']), 'task') as progress:
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
  return builder.build(attributes)


def _judge_task(lab, networks, tuned, name):
  """Yields (method, seed, regrets) of everything on one evaluation task."""
  sizes = lab.config['evaluation']
  prior = lab.priors[name]
  task = evaluation.make_task(
    evaluation.task_key(lab.root, name),
    prior,
    sizes['num_sequences'],
    sizes['length'],
  )
  steps = lab.report_steps
  yield 'Oracle', 0, evaluation.evaluate_oracle(task, steps)
  untuned = registry.make('tuners', 'references', {'name': 'none'})
  bayes = predictor_lib.bayesian(prior)
  reference = 'TargetBayes' if name == lab.target else 'EvalBayes'
  yield (
    reference,
    0,
    evaluation.evaluate(bayes, {}, untuned, {}, task, steps),
  )
  for (method_name, seed), found in tuned.items():
    method = lab.methods[method_name]
    params = {} if method.is_bayes else networks[seed]['params']
    yield (
      method_name,
      seed,
      evaluation.evaluate(
        method.predictor,
        params,
        method.tuner,
        found['tunable'],
        task,
        steps,
      ),
    )


def _candidate_labels(method):
  """Returns a text for each candidate: its tokens in a row."""
  rows = np.asarray(
    jax.tree.leaves(method.tuner.candidates(method.predictor))[0]
  )
  separator = '' if method.predictor.vocab_size <= 10 else '-'
  return [separator.join(map(str, row)) for row in rows.tolist()]


def write(dataset: xr.Dataset, folder: Workdir) -> None:
  """Writes results, summary and figures into a workdir."""
  if not folder.results.exists():
    results.save(dataset, folder.results)
  results.save_summary(results.summarize(dataset), folder.summary)
  figures.make_all(dataset, folder.figures)


def load(path: str | os.PathLike[str]) -> tuple[Lab, Workdir]:
  """Opens a run by its folder alone, to read it.

  Raises:
    UserError: If the folder holds no run.
  """
  record = workdir_lib.read_record(path)
  lab = lab_lib.build(settings.from_plain(record['config']))
  return lab, Workdir(pathlib.Path(path).absolute())


def load_network(
  path: str | os.PathLike[str], seed: int = 0
) -> tuple[types.Predictor, types.Params]:
  """Loads a pretrained network from a workdir.

  Args:
    path: The workdir.
    seed: The pretraining seed.

  Returns:
    The predictor and its weights.

  Raises:
    UserError: If there is no such run or seed.
  """
  lab, folder = load(path)
  found = checkpoints.restore(
    folder.pretrained(seed), _pretrained_template(lab)
  )
  return lab.network, found['params']


def load_tuned(
  path: str | os.PathLike[str], method: str, seed: int = 0
) -> tuple[types.Tuner, types.Tunable]:
  """Loads what a method tuned from a workdir.

  Args:
    path: The workdir.
    method: Its name, e.g. `SoftPT`.
    seed: The pretraining seed.

  Returns:
    The tuner, and its tunable with a leading axis [R]. With the network,
    `tuner.bind(predictor, params, one_of_them)` gives what ran.

  Raises:
    UserError: If there is no such run, method or seed.
  """
  lab, folder = load(path)
  checks.one_of('method', method, lab.methods)
  found = checkpoints.restore(
    folder.tuned(method, seed), _tuned_template(lab, lab.methods[method])
  )
  return lab.methods[method].tuner, found['tunable']
