"""The main job: meta-train, tune, evaluate; configuration in, results out."""

from collections.abc import Callable
import contextlib
import functools
import json
import os
from typing import Any, NamedTuple

import jax
import ml_collections
import xarray as xr

import bayes_prompting
from bayes_prompting import checks
from bayes_prompting import errors
from bayes_prompting import results
from bayes_prompting import types
from bayes_prompting.experiment import build
from bayes_prompting.experiment import evaluation
from bayes_prompting.experiment import exactly
from bayes_prompting.experiment import fingerprint
from bayes_prompting.experiment import memory
from bayes_prompting.experiment import recorder
from bayes_prompting.experiment import tuning
from bayes_prompting.results import summary
from bayes_prompting.settings import plain
from bayes_prompting.storage import checkpoints
from bayes_prompting.storage import curves
from bayes_prompting.storage import resume
from bayes_prompting.storage import workdir as workdir_lib
from bayes_prompting.system import compilation
from bayes_prompting.system import console
from bayes_prompting.system import distributed
from bayes_prompting.system import files
from bayes_prompting.system import locks

Lab = build.Lab
Workdir = workdir_lib.Workdir


class Preset(NamedTuple):
  """What a configuration was before any field of it was changed.

  Attributes:
    name: Of the preset, such as `quick`, or of a user's file.
    config: Its configuration.
  """

  name: str
  config: ml_collections.ConfigDict


def as_configured(function):
  """Has a function of a lab compute at its precision, and debug as it says.

  Args:
    function: Its first argument is a lab.
  """

  @functools.wraps(function)
  def wrapped(lab, *args, **kwargs):
    with contextlib.ExitStack() as stack:
      stack.enter_context(lab.precision())
      if lab.config['debug']['nans']:
        stack.enter_context(jax.debug_nans(True))
      return function(lab, *args, **kwargs)

  return wrapped


@contextlib.contextmanager
def _alone_in(folder, lab):
  """Keeps other processes from writing to a run's folder."""

  def enter(stack):
    stack.enter_context(locks.lock(folder.path))
    # Another process may have moved the folder aside since it was claimed.
    workdir_lib.check(folder.path, fingerprint.record(lab.config))

  with contextlib.ExitStack() as stack:
    if folder is not None:
      distributed.on_first(lambda: enter(stack))
    yield


def run(
  config: ml_collections.ConfigDict,
  workdir: str | os.PathLike[str] | None = None,
  overwrite: bool = False,
  preset: Preset | None = None,
) -> xr.Dataset:
  """Runs a whole experiment; what is finished in the workdir is not run again.

  Compiled programs are kept between processes, see `compilation.use_cache`.

  Args:
    config: See `settings.base_config`.
    workdir: Where everything is kept; with None nothing is written.
    overwrite: Move an older run in the workdir aside, under a dated name.
    preset: What the configuration was before any field of it was changed, for
      the workdir to tell; it does not matter for the run.

  Returns:
    The results, see `bayes_prompting.results`.

  Raises:
    UserError: If the configuration or the workdir will not do; before anything
      is written.
  """
  compilation.use_cache()
  lab, folder = open_run(config, workdir, overwrite, preset=preset)
  return finish(lab, folder)


def finish(
  lab: Lab, folder: Workdir | None, require: bool = False
) -> xr.Dataset:
  """Does what is left of a run, and writes results, summary and figures.

  Summary and figures are made again where one is missing or changed, or was
  made from other results, or by another version of the package.

  Args:
    lab: What to do.
    folder: Where everything is kept; nothing is written with None.
    require: Raise UserError where something would have to be trained or tuned.
  """
  with _alone_in(folder, lab):
    dataset = None
    if folder is not None:
      dataset = distributed.on_first(lambda: _load_results(folder))
    if dataset is None:
      for line in lab.recorded():
        console.say(line)
      networks = meta_train(lab, folder, require)
      tuned = tune(lab, networks, folder, require)
      dataset = evaluate(lab, networks, tuned)
      for sentence in summary.edge_notes(dataset):
        console.warn(sentence)
      if folder is not None:
        distributed.on_first(lambda: results.save(dataset, folder.results))
    if folder is not None:
      checkpoints.remove(folder.under_way)
      distributed.on_first(lambda: _report(dataset, folder))
    return dataset


def _load_results(folder):
  """Returns the results of a run that is finished, else None."""
  if not folder.results.exists():
    return None
  dataset = results.load(folder.results)
  console.say(f'Finished already: {folder.path}')
  return dataset


def _report(dataset, folder):
  """Writes summary and figures, unless they are there, of these results."""
  made_from = {
    'results': files.digest(folder.results),
    'version': bayes_prompting.__version__,
  }
  if _is_reported(folder, made_from):
    return
  summary.save(summary.summarize(dataset), folder.summary)
  with console.optional('figures'):
    # Imported late: Matplotlib may refuse its own settings.
    from bayes_prompting.reporting import figures

    paths = figures.make_all(dataset, folder.figures)
    digests = {
      os.path.relpath(path, folder.path): files.digest(path)
      for path in (folder.summary, *paths)
    }
    text = json.dumps(made_from | {'files': digests}, indent=2) + '\n'
    files.write_text(folder.figures_note, text, 'figures')


def _is_reported(folder, made_from):
  """Returns whether all was made from these results, and is as it was."""
  if not folder.figures_note.is_file():
    return False
  try:
    note = files.read_json(folder.figures_note)
    return note == made_from | {
      'files': {x: files.digest(folder.path / x) for x in note['files']}
    }
  except (errors.UserError, OSError, KeyError, TypeError):
    return False


def open_run(
  config: ml_collections.ConfigDict,
  workdir: str | os.PathLike[str] | None,
  overwrite: bool = False,
  pretrained: bool = False,
  preset: Preset | None = None,
) -> tuple[Lab, Workdir | None]:
  """Builds what a configuration describes, then claims its workdir.

  With `pretrained` it raises UserError, before anything is written, where a
  network would have to be trained. A new workdir tells the `preset`.
  """
  _check_preset(preset)
  compilation.make_room()  # One process may open hundreds of runs.
  finished = distributed.on_first(lambda: _is_finished(workdir, overwrite))
  lab = distributed.together(lambda: _build(config, finished))
  distributed.agree('configuration', plain.fingerprint(lab.config))
  if workdir is None:
    return lab, None
  return lab, distributed.on_first(
    lambda: _open_workdir(lab, workdir, overwrite, pretrained, preset)
  )


def _check_preset(preset):
  if preset is None:
    return
  if not isinstance(preset, Preset):
    raise errors.UserError(
      'preset: must be a Preset of a name and a configuration, got '
      f'{checks.show(preset)}'
    )
  if not isinstance(preset.name, str):
    raise errors.UserError(
      f'preset: its name must be text, got {checks.show(preset.name)}'
    )
  if not isinstance(preset.config, ml_collections.ConfigDict):
    raise errors.UserError(
      'preset: its configuration must be a ConfigDict, got '
      f'{checks.show(preset.config)}'
    )


def _is_finished(workdir, overwrite):
  """Returns whether a workdir holds results, which will not be made anew."""
  if workdir is None or overwrite:
    return False
  return Workdir(checks.path('workdir', workdir)).results.exists()


def _build(config, finished):
  """Builds the lab; if there is work left, checks that it suits the machine."""
  lab = build.build(config, allow_plugins=True)
  if finished:
    return lab
  memory.check(lab)
  lab.mesh(lab.pretraining, 1)
  for method in lab.methods.values():
    lab.mesh(lab.tuning, method.num_runs)
  lab.row_mesh()
  return lab


def _open_workdir(lab, workdir, overwrite, pretrained, preset):
  path = checks.path('workdir', workdir)
  if pretrained and not (path / 'config.json').exists():
    _check_pretrained(lab, Workdir(path))
  record = fingerprint.record(lab.config) | {'config': lab.written}
  if preset is not None:
    # A preset that is no configuration by itself may be one once overridden.
    with contextlib.suppress(errors.UserError):
      before = plain.of(preset.config)
      told = workdir_lib.preset(preset.name, lab.written, before)
      record |= {'preset': told}
  return workdir_lib.claim(path, record, overwrite)


def _check_pretrained(lab, folder):
  for seed in range(lab.num_seeds):
    shared = folder.networks / fingerprint.network_hash(lab.config, seed)
    if not checkpoints.exists(shared):
      raise errors.MissingNetwork(
        f'workdir: no run at {str(folder.path)!r}, and no network of this '
        f'configuration beside it ({str(shared)!r}); pretrain first'
      )


@as_configured
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
  with _alone_in(folder, lab):
    return [
      meta_train_one(lab, seed, folder, require)
      for seed in range(lab.num_seeds)
    ]


@as_configured
def meta_train_one(
  lab: Lab, seed: int, folder: Workdir | None = None, require: bool = False
) -> dict[str, Any]:
  """Does the same for one pretraining seed, whichever it is."""
  if lab.network.load is not None:  # Its weights are in a file already.
    return {'params': lab.network.load()}
  name = fingerprint.network_hash(lab.config, seed)
  own = {'config': lab.config, 'pretrain_seed': seed}
  title = f'pretraining-seed{seed}'
  places = []
  if folder is not None:
    places = [
      (folder.pretrained(seed), own),
      (folder.networks / name, {'hash': name}),
    ]

  def make():
    total = lab.pretraining.num_steps
    with recorder.Recorder(title, total, lab.config, folder, [title]) as record:
      return tuning.meta_train(lab, seed, record)

  return resume.restore_or_make(
    places,
    build.pretrained_shapes(lab),
    {'hash': name, **own},
    make,
    require,
    None if folder is None else folder.unfinished(title),
  )


@as_configured
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
    By method and pretraining seed, what `build.tuned_shapes` says.
  """
  tuned = {}
  with _alone_in(folder, lab):
    for method in lab.methods.values():
      for seed in method.seeds:
        params = {} if method.is_bayes else networks[seed]['params']
        tuned[method.name, seed] = tune_one(
          lab, method, seed, params, folder, require
        )
  return tuned


@as_configured
def tune_one(
  lab: Lab,
  method: build.Method,
  seed: int,
  params: types.Params,
  folder: Workdir | None = None,
  require: bool = False,
  clock: Callable[[float], None] | None = None,
) -> dict[str, Any]:
  """Adapts one network by one method, see `tune`.

  Args:
    lab: What to do.
    method: One of its methods.
    seed: The network's pretraining seed.
    params: Its weights.
    folder: As of `tune`.
    require: As of `tune`.
    clock: Hears the seconds of an update, or of a candidate, where it is tuned
      now (`recorder.Recorder.seconds`).
  """
  title = f'{method.name}-seed{seed}'
  metadata = {
    'method': method.name,
    'pretrain_seed': seed,
    'config': lab.config,
  }

  def make():
    with _recorder(lab, method, title, folder) as record:
      tuned = tuning.tune(lab, method, seed, params, record)
    if clock is not None:
      clock(record.seconds)
    return tuned

  return resume.restore_or_make(
    [] if folder is None else [(folder.tuned(method.name, seed), metadata)],
    build.tuned_shapes(lab, method),
    metadata,
    make,
    require,
    None if folder is None else folder.unfinished(title),
  )


def _recorder(lab, method, title, folder):
  """Returns the recorder of one method on one network."""
  if method.tuner.candidates is not None:
    total = build.num_candidates(method)
    return recorder.Recorder(title, total, lab.config, folder, unit='prefix')
  rates = method.learning_rates
  inits = lab.prefix_inits[: len(method.tuners)]
  # Each setting of a grid has a curve; what there is one of is not said.
  names = [
    title + f'-lr{rate}' * (len(rates) > 1) + f'-{init}' * (len(inits) > 1)
    for rate in rates
    for init in inits
  ]
  total = lab.tuning.num_steps
  return recorder.Recorder(title, total, lab.config, folder, names)


@as_configured
def evaluate(
  lab: Lab,
  networks: list[dict[str, Any]],
  tuned: dict[tuple[str, int], dict[str, Any]],
) -> xr.Dataset:
  """Judges every method on every evaluation task, see `evaluation.judge`.

  What exact Bayes loses is exact where it can be, see `exactly`.
  """
  total = len(lab.config['evaluation']['tasks'])
  with curves.Progress('evaluation', total, 'task') as bar:
    dataset = evaluation.judge(lab, networks, tuned, bar)
    exactly.put(dataset, lab, tuned)
  read = fingerprint.files(lab.config)
  return dataset.assign_attrs(files=json.dumps(read))
