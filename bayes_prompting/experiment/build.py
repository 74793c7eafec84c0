"""What a configuration describes, built: priors, predictors, methods."""

from collections.abc import Mapping
import contextlib
import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections

from bayes_prompting import checks
from bayes_prompting import errors
from bayes_prompting import keys
from bayes_prompting import predictors
from bayes_prompting import registry
from bayes_prompting import regret
from bayes_prompting import settings
from bayes_prompting import types
from bayes_prompting.experiment import contracts
from bayes_prompting.language import model as model_lib
from bayes_prompting.settings import plain
from bayes_prompting.system import devices
from bayes_prompting.training import fit
from bayes_prompting.training import mesh as mesh_lib
from bayes_prompting.training import validation


@dataclasses.dataclass(frozen=True)
class Method:
  """One way to adapt one predictor.

  Attributes:
    name: As in the paper, and in everything a user sees.
    tuners: What is adapted: one tuner for each initialisation that is tried,
      which differ in nothing but where they start from.
    predictor: The network, or the exact Bayesian predictor.
    is_bayes: Which of the two.
    learning_rates: The grid's; the first alone for a method that follows no
      gradient.
    repetitions: R, 1 for a method that uses no randomness.
    seeds: Pretraining seeds that it runs on; exact Bayes has 0 only.
    prior: Whose exact Bayesian predictor it is; None for the network.
  """

  name: str
  tuners: tuple[types.Tuner, ...]
  predictor: types.Predictor
  is_bayes: bool
  learning_rates: tuple[float, ...]
  repetitions: int
  seeds: range
  prior: types.TaskPrior | None = None

  @property
  def tuner(self) -> types.Tuner:
    """The first of them, for all that they share."""
    return self.tuners[0]

  @property
  def search(self) -> types.Search | None:
    """What proposes its candidates; None if all are scored, or none."""
    if self.tuner.candidates is None:
      return None
    candidates = self.tuner.candidates(self.predictor)
    return candidates if isinstance(candidates, types.Search) else None

  @property
  def enumerates(self) -> bool:
    """Whether all of its candidates are scored."""
    return self.tuner.candidates is not None and self.search is None

  @property
  def shape(self) -> tuple[int, int, int]:
    """The axes of its runs on one network, which lie on one flat axis.

    They are L learning rates, P initialisations, R repetitions, in row-major
    order. L or P is 1 for a method with nothing to choose on that axis.
    """
    return len(self.learning_rates), len(self.tuners), self.repetitions

  @property
  def num_runs(self) -> int:
    """L times P times R."""
    return math.prod(self.shape)


@dataclasses.dataclass(frozen=True)
class Lab:
  """Everything that an experiment needs, built once.

  Attributes:
    config: Plain values, resolved: what everything depends on.
    written: Plain values as the user has them, where an argument may follow a
      field. It is what a run records, so that it is a configuration still.
    priors: Task priors by name.
    network: The neural predictor.
    methods: Those that run, by name, in the order of reports.
    pretraining_task: Name of the task that networks are meta-trained on.
    target: Name of the task that is tuned to.
    num_seeds: Pretraining seeds.
    num_repetitions: Tuning repetitions of a method that uses randomness.
    learning_rates: The grid of learning rates of tuning.
    prefix_inits: The grid of initialisations of prefixes.
    pretraining: Settings of meta-training.
    tuning: Settings of tuning.
    report_steps: Steps of the summary, the headline's first.
    root: The run's root key.
  """

  config: dict[str, Any]
  written: dict[str, Any]
  priors: dict[str, types.TaskPrior]
  network: types.Predictor
  methods: dict[str, Method]
  pretraining_task: str
  target: str
  num_seeds: int
  num_repetitions: int
  learning_rates: tuple[float, ...]
  prefix_inits: tuple[str, ...]
  pretraining: fit.Settings
  tuning: fit.Settings
  report_steps: tuple[int, ...]
  root: types.Key

  @property
  def universal(self) -> dict[str, tuple[str, ...]]:
    """Names of the universal predictors of evaluation tasks that were recorded.

    By task. Others have an oracle and exact Bayes in their place.
    """
    recorded = {
      name: self.priors[name].recorded
      for name in self.config['evaluation']['tasks']
    }
    return {
      name: tuple(x.references) for name, x in recorded.items() if x is not None
    }

  def estimates(self, task: str) -> tuple[tuple[str, ...], str]:
    """Returns the references of an evaluation task, and its best estimator."""
    universal = self.universal.get(task)
    if universal is None:
      return regret.REFERENCES, 'paired'
    return universal, 'sampled'

  @property
  def reference_rows(self) -> tuple[str, ...]:
    """Predictors that stand in results beside the methods, in their order."""
    universal = self.universal
    known = len(universal) < len(self.config['evaluation']['tasks'])
    names = [*(settings.REFERENCES if known else ())]
    for own in universal.values():
      names += own
    return tuple(dict.fromkeys(names))

  @property
  def references(self) -> tuple[str, ...]:
    """All that regrets are measured against, on any evaluation task."""
    universal = self.universal
    known = len(universal) < len(self.config['evaluation']['tasks'])
    names = [*(regret.REFERENCES if known else ())]
    for own in universal.values():
      names += own
    return tuple(dict.fromkeys(names))

  def recorded(self) -> list[str]:
    """Says of each task that was recorded what was read, and what is used."""
    lines = {}
    for name, split, length in dict.fromkeys(_uses(self.config)):
      recorded = self.priors[name].recorded
      if recorded is None:
        continue
      used = f'{recorded.count(split, length)} windows of {length} for {split}'
      if short := recorded.too_short(split, length):
        used += f' ({short} sequence{"s" * (short > 1)} too short)'
      lines.setdefault(name, []).append(used)
    return [
      f'{name}: {self.priors[name].recorded.about}; {", ".join(used)}'
      for name, used in lines.items()
    ]

  def precision(self) -> contextlib.AbstractContextManager[None]:
    """Returns a context that computes at the configured matmul precision.

    The functions of `run` enter it themselves. Enter it to compute with what
    they left as they did: elsewhere JAX's own default holds, which on a GPU is
    TF32. Programs are compiled for each precision apart.
    """
    return jax.default_matmul_precision(
      self.config['compute']['matmul_precision']
    )

  def mesh(
    self, settings: fit.Settings, num_runs: int
  ) -> jax.sharding.Mesh | None:
    """Returns the devices of a fit of so many runs; None for a single one.

    Raises:
      UserError: See `mesh.choose`.
    """
    return mesh_lib.for_fit(
      self.config['compute'], num_runs, settings.batch_size
    )

  def row_mesh(self) -> jax.sharding.Mesh | None:
    """Returns the devices that evaluation and search split sequences over."""
    return mesh_lib.for_rows(self.config['compute'])


def build(
  config: ml_collections.ConfigDict, allow_plugins: bool = False
) -> Lab:
  """Checks a configuration and builds what it describes; touches no file.

  Args:
    config: See `settings.base_config`.
    allow_plugins: Whether it may name modules outside the package, which are
      then imported: one of the user's own may, one that was found in a file may
      not, unless the user says so. See `registry.plugins`.

  Raises:
    UserError: One line that names the field, its value and what is allowed.
  """
  with registry.plugins(allow_plugins):
    return _build(config)


def refused(
  config: ml_collections.ConfigDict, allow_plugins: bool = False
) -> dict[str, str]:
  """Returns which of `tuning.methods` the network refuses, and why, by name.

  One is refused that tunes what this network has not, such as norms. What is
  wrong with a method itself is a mistake as ever.

  Args:
    config: As for `build`.
    allow_plugins: As for `build`.

  Raises:
    UserError: As `build` does, for any other reason.
  """
  why = {}
  with registry.plugins(allow_plugins):
    _build(config, why)
  return why


def _build(config, refused=None):
  """Builds a lab; `refused`, if given, takes what its network refuses."""
  settings.validate(config)
  devices.check()
  written = plain.of(config)
  values = plain.resolved(written)
  # From here on a ConfigDict of any kind is one of ours, of plain values.
  config = plain.to_config(values)
  root = keys.root(config.seed)
  priors = _priors(config)
  pretraining_prior = priors[config.pretraining.task]
  for name in (config.tuning.target, *config.evaluation.tasks):
    _check_vocabulary(name, priors[name], config, pretraining_prior)
  _check_recorded(config, priors)
  network = _network(config, pretraining_prior.vocab_size)
  methods = {}
  for name in config.tuning.methods:
    try:
      with _naming(written, name):
        methods[name] = _method(name, config, priors, network)
    except errors.RefusedByNetwork as error:
      if refused is None:
        raise
      refused[name] = str(error)
  lab = Lab(
    config=values,
    written=written,
    priors=priors,
    network=network,
    methods=methods,
    pretraining_task=config.pretraining.task,
    target=config.tuning.target,
    num_seeds=config.pretraining.num_seeds,
    num_repetitions=config.tuning.num_repetitions,
    learning_rates=_learning_rates(config),
    prefix_inits=tuple(config.tuning.prefix_init),
    pretraining=_fit_settings(config.pretraining, config.compute),
    tuning=_fit_settings(config.tuning, config.compute),
    report_steps=settings.report_steps(config),
    root=root,
  )
  for method in methods.values():
    with _naming(written, method.name):
      try:
        _check_starts(lab, method)
      except errors.UserError as error:
        raise errors.UserError(f'methods.{method.name}.{error}') from None
  return lab


def _priors(config):
  """Builds all task priors."""
  priors = {}
  for name, spec in config.tasks.items():
    priors[name] = registry.make('task_priors', f'tasks.{name}', spec)
    if registry.is_own(spec.name):  # No test of ours has seen it.
      contracts.check_task_prior(f'tasks.{name} ({spec.name})', priors[name])
  for name in config.evaluation.reorderings:
    if priors[name].scored is not None:
      raise errors.UserError(
        f'evaluation.reorderings: {name!r} has tokens that are not scored; '
        'orders are compared of sequences that are scored as a whole'
      )
  return priors


def _check_recorded(config, priors):
  """Checks that recorded tasks have windows enough for all that is asked."""

  def check(name, use):
    recorded = priors[name].recorded
    if recorded is None:
      return
    try:
      use(recorded)
    except errors.UserError as error:
      raise errors.UserError(f'tasks.{name}.{error}') from None
    taken = {*recorded.references} & {*config.tuning.methods}
    if taken:
      raise errors.UserError(
        f'tuning.methods: {min(taken)} is what tasks.{name} is measured '
        'against, and always runs; give the method another name'
      )

  for name, split, length in _uses(config):
    check(name, lambda x, split=split, length=length: x.count(split, length))
  evaluation = config.evaluation
  for name in evaluation.tasks:
    check(
      name,
      lambda x: x.check(evaluation.num_sequences, evaluation.length),
    )


def _uses(config):
  """Yields the tasks that are used, with a part of each and the length."""
  pretraining, tuning, evaluation = (
    config[x] for x in ('pretraining', 'tuning', 'evaluation')
  )
  if pretraining['num_steps']:
    yield pretraining['task'], 'tuning', pretraining['length']
  yield tuning['target'], 'tuning', tuning['length']
  if tuning['early_stopping']['patience']:
    yield tuning['target'], 'validation', tuning['length']
  for name in evaluation['tasks']:
    yield name, 'evaluation', evaluation['length']


def _network(config, vocab_size):
  if config.network.language_model is not None:
    return _language_model(config.network.language_model, vocab_size)
  network = predictors.network(
    _torso(config),
    vocab_size,
    config.network.embedding_dim,
    tied_unembedding=config.network.tied_unembedding,
  )
  try:
    _weight_shapes(network)
  except errors.UserError as error:
    raise errors.UserError(f'network.torso.{error}') from None
  return network


def _language_model(spec, vocab_size):
  arguments = spec.to_dict()
  try:
    model = model_lib.load(arguments.pop('name'))
    network = model.predictor(**arguments)
  except errors.UserError as error:
    text = str(error)
    if text.startswith('model:'):
      text = text.replace('model', 'name', 1)
    raise errors.UserError(f'network.language_model.{text}') from None
  if network.vocab_size != vocab_size:
    raise errors.UserError(
      f'network.language_model.symbols: must be {vocab_size}, one for each '
      f'token of the tasks, got {checks.show(spec.symbols)}'
    )
  return network


def _torso(config):
  field, spec = 'network.torso', config.network.torso
  torso = registry.make('torsos', field, spec)
  if registry.is_own(spec.name):
    width = config.network.embedding_dim
    contracts.check_torso(f'{field} ({spec.name})', torso, width)
  return torso


def _method(name, config, priors, network):
  """Builds a method.

  Raises:
    RefusedByNetwork: If it tunes what the network has not.
    UserError: If something else is wrong with it.
  """
  fields = config.methods[name].to_dict()
  is_bayes = fields.pop('predictor', 'network') == 'bayes'
  predictor, prior = network, None
  if is_bayes:
    task = fields.pop('task', config.pretraining.task)
    prior = priors[task]
    if prior.recorded is not None:
      raise errors.UserError(
        f'methods.{name}: tasks.{task} was recorded, so that there is no exact '
        'Bayes of it; leave the method out of tuning.methods, or give it '
        f'another task ({", ".join(prior.recorded.references)} always run)'
      )
    predictor = predictors.bayesian(prior)
    _check_vocabulary(task, prior, config, priors[config.pretraining.task])
  tuning = config.tuning
  tuners = _tuners(f'methods.{name}', fields, tuning.prefix_init)
  try:
    tunes = jax.tree.leaves(_start_shapes(predictor, tuners[0]))
  except errors.UserError as error:
    kind = errors.UserError if is_bayes else errors.RefusedByNetwork
    raise kind(f'methods.{name}.{error}') from None
  learning_rates = _learning_rates(config)
  follows_gradient = tunes and tuners[0].trainable and tuning.num_steps > 0
  return Method(
    name,
    tuners,
    predictor,
    is_bayes,
    learning_rates if follows_gradient else learning_rates[:1],
    tuning.num_repetitions if tunes and tuners[0].random else 1,
    range(1 if is_bayes else config.pretraining.num_seeds),
    prior,
  )


def _learning_rates(config):
  return tuple(map(float, config.tuning.learning_rate))


def _check_vocabulary(name, prior, config, pretraining_prior):
  if prior.vocab_size != pretraining_prior.vocab_size:
    read = f' ({prior.recorded.about})' if prior.recorded else ''
    raise errors.UserError(
      f'tasks.{name}: has a vocabulary of {prior.vocab_size}{read}, '
      f'pretraining on {config.pretraining.task!r} has '
      f'{pretraining_prior.vocab_size}; all tasks of a run have one '
      'vocabulary: change this one, or '
      'pretraining.task (a context_tree takes any vocab_size)'
    )


@contextlib.contextmanager
def _naming(written, method):
  """Has an error name the field that a method's argument follows."""
  try:
    yield
  except errors.UserError as error:
    spec = written['methods'][method]
    for own, value in _references(f'methods.{method}', spec):
      if str(error).startswith(f'{own}:'):
        text = str(error).removeprefix(own)
        raise type(error)(f'{value[1:]} ({own}){text}') from None
    raise


def _references(field, value):
  """Yields what follows a field, in a spec and those inside it, by field."""
  if settings.is_reference(value):
    yield field, value
  elif isinstance(value, Mapping):
    for name, item in value.items():
      yield from _references(f'{field}.{name}', item)


def _tuners(field, spec, grid):
  """Builds a tuner for each initialisation of a method, one without any."""
  for names in plain.inits(spec):
    if names != grid and len(names) != 1:
      raise errors.UserError(
        f'{field}.init: must be one name, or follow '
        f'tuning.prefix_init={checks.show(grid)}, got {checks.show(names)}'
      )
  tuners = tuple(
    registry.make('tuners', field, x) for x in plain.each_init(spec)
  )
  # A search starts nowhere.
  return tuners if tuners[0].candidates is None else tuners[:1]


def _fit_settings(section, compute) -> fit.Settings:
  early = section.get('early_stopping') or {}
  stopping = {}
  if early.get('patience'):
    stopping = {
      'patience': early.patience,
      'validate_every': early.every,
      'num_validation': early.num_sequences,
    }
  return fit.Settings(
    num_steps=section.num_steps,
    batch_size=section.batch_size,
    length=section.length,
    num_sequences=section.get('num_sequences', 0),
    schedule=section.schedule,
    sequence_block=compute.sequence_block,
    run_block=compute.run_block,
    **stopping,
  )


def network_shapes(lab: Lab) -> types.PyTree:
  """Returns shapes and dtypes of the network's weights."""
  return _weight_shapes(lab.network)


def pretrained_shapes(lab: Lab) -> dict[str, types.PyTree]:
  """Returns shapes and dtypes of what meta-training gives for a seed."""
  shapes = {'params': network_shapes(lab)}
  if lab.pretraining.num_steps:
    shapes['losses'] = _float32(lab.pretraining.num_steps)
  return shapes


def tuned_shapes(lab: Lab, method: Method) -> dict[str, types.PyTree]:
  """Returns shapes and dtypes of what tuning by a method gives for a seed.

  All runs of a method lie on one leading axis of `tunable`, see `Method.shape`;
  `losses` is [num_steps, runs]. With early stopping there are also
  `validation_losses` [C, runs] and `best_step` [runs]. Of a search there are
  `candidate_losses` [R, M]; `candidates`, with leading axes [R, M], are those
  that a search has proposed.
  """
  shapes = {
    'tunable': jax.tree.map(
      lambda x: jax.ShapeDtypeStruct((method.num_runs, *x.shape), x.dtype),
      _start_shapes(method.predictor, method.tuner),
    )
  }
  if method.tuner.candidates is not None:
    total = num_candidates(method)
    shapes['candidate_losses'] = _float32(method.repetitions, total)
    if method.search is not None:
      shapes['candidates'] = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(
          (method.repetitions, total, *x.shape), x.dtype
        ),
        _start_shapes(method.predictor, method.tuner),
      )
  elif (
    jax.tree.leaves(shapes) and method.tuner.trainable and lab.tuning.num_steps
  ):
    shapes['losses'] = _float32(lab.tuning.num_steps, method.num_runs)
    if lab.tuning.patience:
      shapes['validation_losses'] = _float32(
        len(validation_steps(lab)), method.num_runs
      )
      shapes['best_step'] = jax.ShapeDtypeStruct((method.num_runs,), jnp.int32)
  return shapes


def validation_steps(lab: Lab) -> tuple[int, ...]:
  """Returns after which updates of tuning runs are validated; () if never."""
  if not lab.tuning.patience or not lab.tuning.num_steps:
    return ()
  return validation.steps(lab.tuning.num_steps, lab.tuning.validate_every)


def num_candidates(method: Method) -> int:
  """Returns M, how many candidates a method chooses among."""
  if method.search is not None:
    return method.search.num_candidates
  candidates = jax.eval_shape(lambda: method.tuner.candidates(method.predictor))
  return len(jax.tree.leaves(candidates)[0])


def searches(lab: Lab) -> dict[str, dict[str, str | int]]:
  """Returns for each method that searches how, and what that takes.

  Only a name and sizes: the `search`, how many `candidates` it scores for a
  repetition, and its `cost` in scores of one.
  """
  found = {}
  for name, method in lab.methods.items():
    if method.tuner.candidates is not None:
      total, plan = num_candidates(method), method.search
      found[name] = {
        'search': 'all' if plan is None else plan.name,
        'candidates': total,
        'cost': total if plan is None else plan.cost,
      }
  return found


# Traced once for each predictor and tuner, which stay the same objects from one
# build to the next (`registry.make`, `predictors.network`).
@functools.lru_cache(maxsize=256)
def _weight_shapes(predictor):
  return jax.eval_shape(predictor.init, jax.random.key(0))


@functools.lru_cache(maxsize=1024)
def _start_shapes(predictor, tuner):
  """Returns shapes of a tunable; raises what the tuner or `bind` refuses."""

  def start(key, params):
    tunable = tuner.init(key, predictor, params)
    if tuner.candidates is not None:
      tuner.candidates(predictor)
    return tunable, tuner.bind(predictor, params, tunable)

  key = jax.random.key(0)
  return jax.eval_shape(start, key, _weight_shapes(predictor))[0]


def _float32(*shape):
  return jax.ShapeDtypeStruct(shape, jnp.float32)


def _check_starts(lab, method):
  """Checks that all starts of a method can be fitted as one."""
  if len(method.tuners) == 1:
    return
  starts = [_start_shapes(method.predictor, x) for x in method.tuners]
  if any(start != starts[0] for start in starts):
    raise errors.UserError(
      f'init: every one of {lab.prefix_inits} must start from a tunable of '
      'the same shape'
    )
