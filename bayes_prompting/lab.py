"""What a configuration describes, built: priors, predictors, methods."""

import contextlib
import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections

from bayes_prompting import errors
from bayes_prompting import fitting
from bayes_prompting import keys
from bayes_prompting import predictor as predictor_lib
from bayes_prompting import registry
from bayes_prompting import settings
from bayes_prompting import types


@dataclasses.dataclass(frozen=True)
class Method:
  """One way to adapt one predictor.

  Attributes:
    name: As in the paper, and in everything a user sees.
    tuner: What is adapted.
    predictor: The network, or the exact Bayesian predictor.
    is_bayes: Which of the two; the latter has no pretraining seeds.
  """

  name: str
  tuner: types.Tuner
  predictor: types.Predictor
  is_bayes: bool


@dataclasses.dataclass(frozen=True)
class Lab:
  """Everything that an experiment needs, built once.

  Attributes:
    config: Plain values.
    priors: Task priors by name.
    network: The neural predictor.
    methods: Those that run, by name, in the order of reports.
    pretraining: Settings of meta-training.
    tuning: Settings of tuning.
    report_steps: Steps of the summary, the headline's first.
    root: The run's root key.
  """

  config: dict[str, Any]
  priors: dict[str, types.TaskPrior]
  network: types.Predictor
  methods: dict[str, Method]
  pretraining: fitting.Settings
  tuning: fitting.Settings
  report_steps: tuple[int, ...]
  root: types.Key

  @property
  def num_seeds(self) -> int:
    """Pretraining seeds."""
    return self.config['pretraining']['num_seeds']

  @property
  def num_repetitions(self) -> int:
    """Tuning repetitions of a method that uses randomness."""
    return self.config['tuning']['num_repetitions']

  @property
  def pretraining_task(self) -> str:
    """Name of the task that the network is meta-trained on."""
    return self.config['pretraining']['task']

  @property
  def target(self) -> str:
    """Name of the task that is tuned to."""
    return self.config['tuning']['target']

  def repetitions(self, method: Method) -> int:
    """Returns R of a method: 1 if it uses no randomness."""
    return self.num_repetitions if method.tuner.random else 1

  def seeds(self, method: Method) -> range:
    """Returns the pretraining seeds that a method runs on."""
    return range(1 if method.is_bayes else self.num_seeds)

  def precision(self) -> contextlib.AbstractContextManager[None]:
    """Returns a context that computes at the configured matmul precision.

    The functions of `experiment` enter it themselves. Enter it to compute with
    what they left as they did: elsewhere JAX's own default holds, which on a
    GPU is TF32. Programs are compiled for each precision apart.
    """
    return jax.default_matmul_precision(
      self.config['compute']['matmul_precision']
    )

  def tuning_key(self, seed: int) -> types.Key:
    """Returns the root of all streams of tuning on one network.

    All methods share it: they start from the same random tokens and see the
    same data, which pairs them.
    """
    return keys.stream(self.root, 'tuning', seed)


def build(config: ml_collections.ConfigDict) -> Lab:
  """Checks a configuration and builds what it describes; touches no file.

  Raises:
    UserError: One line that names the field, its value and what is allowed.
  """
  settings.validate(config)
  root = jax.random.key(config.seed)
  values = settings.plain(config)
  specs = settings.from_plain(values)
  priors = {
    name: registry.make('task_priors', f'tasks.{name}', task)
    for name, task in specs.tasks.items()
  }
  used = (config.tuning.target, *config.evaluation.tasks)
  pretraining_prior = priors[config.pretraining.task]
  for name in used:
    if priors[name].vocab_size != pretraining_prior.vocab_size:
      raise errors.UserError(
        f'tasks.{name}: has a vocabulary of {priors[name].vocab_size}, '
        f'pretraining on {config.pretraining.task!r} has '
        f'{pretraining_prior.vocab_size}'
      )
  torso = registry.make('torsos', 'network.torso', specs.network.torso)
  network = predictor_lib.network(
    torso, pretraining_prior.vocab_size, config.network.embedding_dim
  )
  predictors = {
    'network': network,
    'bayes': predictor_lib.bayesian(pretraining_prior),
  }
  methods = {}
  for name in config.tuning.methods:
    fields = specs.methods[name].to_dict()
    which = fields.pop('predictor', 'network')
    tuner = registry.make('tuners', f'methods.{name}', fields)
    methods[name] = Method(name, tuner, predictors[which], which == 'bayes')
  lab = Lab(
    config=values,
    priors=priors,
    network=network,
    methods=methods,
    pretraining=_fit_settings(config.pretraining, config.compute),
    tuning=_fit_settings(config.tuning, config.compute),
    report_steps=settings.report_steps(config),
    root=root,
  )
  _try_shapes(lab)
  return lab


def _fit_settings(section, compute) -> fitting.Settings:
  return fitting.Settings(
    num_steps=section.num_steps,
    batch_size=section.batch_size,
    length=section.length,
    learning_rate=float(section.learning_rate),
    schedule=section.schedule,
    sequence_block=compute.sequence_block,
    run_block=compute.run_block,
  )


def network_shapes(lab: Lab) -> types.PyTree:
  """Returns shapes and dtypes of the network's weights."""
  return jax.eval_shape(lab.network.init, lab.root)


def pretrained_shapes(lab: Lab) -> dict[str, types.PyTree]:
  """Returns shapes and dtypes of what meta-training gives for a seed."""
  shapes = {'params': network_shapes(lab)}
  if lab.pretraining.num_steps:
    shapes['losses'] = _float32(lab.pretraining.num_steps)
  return shapes


def tuned_shapes(lab: Lab, method: Method) -> dict[str, types.PyTree]:
  """Returns shapes and dtypes of what tuning by a method gives for a seed."""

  def start(key):
    return method.tuner.init(key, method.predictor, method.predictor.init(key))

  count = lab.repetitions(method)
  shapes = {
    'tunable': jax.tree.map(
      lambda x: jax.ShapeDtypeStruct((count, *x.shape), x.dtype),
      jax.eval_shape(start, lab.root),
    )
  }
  if method.tuner.candidates is not None:
    candidates = jax.eval_shape(
      lambda: method.tuner.candidates(method.predictor)
    )
    total = len(jax.tree.leaves(candidates)[0])
    shapes['candidate_losses'] = _float32(count, total)
  elif method.tuner.trainable and lab.tuning.num_steps:
    shapes['losses'] = _float32(lab.tuning.num_steps, count)
  return shapes


def _float32(*shape):
  return jax.ShapeDtypeStruct(shape, jnp.float32)


def _try_shapes(lab):
  """Traces every method once, so that what cannot work is said at once."""
  try:
    network_shapes(lab)
  except errors.UserError as error:
    raise errors.UserError(f'network.torso.{error}') from None
  for method in lab.methods.values():

    def bind(key, method=method):
      params = method.predictor.init(key)
      tunable = method.tuner.init(key, method.predictor, params)
      if method.tuner.candidates is not None:
        method.tuner.candidates(method.predictor)
      return method.tuner.bind(method.predictor, params, tunable)

    try:
      jax.eval_shape(bind, lab.root)
    except errors.UserError as error:
      raise errors.UserError(f'methods.{method.name}.{error}') from None
