"""Checks of a configuration that need nothing built."""

from collections.abc import Mapping

import ml_collections

from bayes_prompting import checks
from bayes_prompting import errors
from bayes_prompting.settings import base
from bayes_prompting.settings import configuration
from bayes_prompting.settings import plain

# A method's name is that of files, beside those of pretraining.
_RESERVED = (*base.REFERENCES, 'pretrained', 'pretraining')


def _check_fields(config, wanted, path=''):
  """Checks that the fields of the fixed sections are there, and no others."""
  for name in config:
    if name not in wanted:
      checks.one_of(path or 'configuration', name, wanted)
  for name, value in wanted.items():
    field = f'{path}.{name}' if path else name
    if name not in config:
      raise errors.UserError(f'{field}: missing from the configuration')
    if not isinstance(value, Mapping | ml_collections.ConfigDict):
      continue
    if not isinstance(config[name], Mapping | ml_collections.ConfigDict):
      raise errors.UserError(
        f'{field}: must be a section, got {checks.show(config[name])}'
      )
    if field not in ('tasks', 'methods', 'network.torso'):
      _check_fields(config[name], value, field)


def validate(config: ml_collections.ConfigDict) -> None:
  """Checks all that can be checked without building anything.

  Raises:
    UserError: One line that names the field, its value and what is allowed.
  """
  if not isinstance(config, ml_collections.ConfigDict):
    raise errors.UserError(
      'configuration: must be a ConfigDict as base_config() returns, got '
      f'{checks.show(config)}'
    )
  # Numbers of other libraries are plain ones here.
  config = configuration.Configuration(config.to_dict())
  _check_fields(config, base.base_config())
  checks.integer('seed', config.seed, 0, 2**63 - 1)
  checks.integer(
    'network.embedding_dim',
    config.network.embedding_dim,
    1,
    checks.MOST_CHANNELS,
  )
  checks.one_of_two('network.tied_unembedding', config.network.tied_unembedding)
  _check_language_model(config)
  for section in ('pretraining', 'tuning'):
    part = config[section]
    checks.integer(f'{section}.num_steps', part.num_steps, 0)
    checks.integer(f'{section}.batch_size', part.batch_size, 1)
    checks.integer(f'{section}.length', part.length, 1)
    checks.one_of(f'{section}.schedule', part.schedule, base.SCHEDULES)
  pretraining = config.pretraining
  checks.positive('pretraining.learning_rate', pretraining.learning_rate)
  checks.integer('pretraining.num_seeds', pretraining.num_seeds, 1)
  tuning, evaluation = config.tuning, config.evaluation
  checks.positives('tuning.learning_rate', tuning.learning_rate)
  for init in checks.strings('tuning.prefix_init', tuning.prefix_init):
    checks.label('tuning.prefix_init', init)
  checks.integer('tuning.num_sequences', tuning.num_sequences, 0)
  for field, least in (('patience', 0), ('every', 1), ('num_sequences', 1)):
    checks.integer(
      f'tuning.early_stopping.{field}', tuning.early_stopping[field], least
    )
  for field in (
    'num_repetitions',
    'prefix_length',
    'lora_rank',
    'search_draws',
    'max_candidates',
  ):
    checks.integer(f'tuning.{field}', tuning[field], 1)
  checks.integer('evaluation.num_sequences', evaluation.num_sequences, 2)
  checks.integer('evaluation.length', evaluation.length, 1)
  if evaluation.length < tuning.length:
    raise errors.UserError(
      f'evaluation.length: must be at least tuning.length={tuning.length}, '
      f'got {evaluation.length}'
    )
  for step in checks.integers(
    'evaluation.report_steps', evaluation.report_steps
  ):
    checks.integer('evaluation.report_steps', step, 1, evaluation.length)
  for field in (
    'sequence_block',
    'run_block',
    'cpu_devices',
    'repetition_devices',
    'data_devices',
  ):
    checks.integer(f'compute.{field}', config.compute[field], 0)
  checks.integer('checkpoints.every', config.checkpoints.every, 0)
  checks.integer('checkpoints.keep', config.checkpoints.keep, 1)
  for field in ('check_finite', 'nans'):
    checks.one_of_two(f'debug.{field}', config.debug[field])
  precision = config.compute.matmul_precision
  if not isinstance(precision, str) or precision not in base.MATMUL_PRECISIONS:
    # All of them: the nearest by its letters to tf32 would be float32.
    raise errors.UserError(
      f'compute.matmul_precision: unknown {checks.show(precision)}; allowed: '
      f'{", ".join(base.MATMUL_PRECISIONS)}'
    )
  _check_names(config)
  plain.resolved(plain.of(config))


def _check_language_model(config):
  """Checks what can be said of a language model without reading it."""
  field, spec = 'network.language_model', config.network.language_model
  if spec is None:
    return
  if not isinstance(spec, Mapping | ml_collections.ConfigDict):
    raise errors.UserError(
      f'{field}: must be None or a spec with a name, got {checks.show(spec)}'
    )
  for name in spec:
    checks.one_of(field, name, ('name', *base.OF_LANGUAGE_MODEL))
  for name in ('name', 'symbols'):
    if name not in spec:
      raise errors.UserError(f'{field}.{name}: missing')
  checks.strings(f'{field}.symbols', spec.symbols)
  for name in ('name', 'separator', 'context'):
    if not isinstance(spec.get(name, ''), str):
      raise errors.UserError(
        f'{field}.{name}: must be text, got {checks.show(spec[name])}'
      )
  for name, allowed in (('num_steps', 0), ('num_seeds', 1)):
    if config.pretraining[name] != allowed:
      raise errors.UserError(
        f'pretraining.{name}: must be {allowed} with {field}, whose weights '
        f'come from a file, got {checks.show(config.pretraining[name])}'
      )


def _check_names(config):
  """Checks the names of tasks and methods against those that are described."""
  for kind in ('tasks', 'methods'):
    for name in config[kind]:
      checks.label(kind, name)
  tasks = tuple(config.tasks)
  checks.one_of('pretraining.task', config.pretraining.task, tasks)
  checks.one_of('tuning.target', config.tuning.target, tasks)
  for task in checks.strings('evaluation.tasks', config.evaluation.tasks):
    checks.one_of('evaluation.tasks', task, tasks)
  reordered = config.evaluation.reorderings
  if not isinstance(reordered, list | tuple) or reordered:
    for task in checks.strings('evaluation.reorderings', reordered):
      checks.one_of('evaluation.reorderings', task, config.evaluation.tasks)
  if config.tuning.target not in config.evaluation.tasks:
    raise errors.UserError(
      f'evaluation.tasks: must hold the target {config.tuning.target!r}, got '
      f'{checks.show(config.evaluation.tasks)}'
    )
  for name in checks.strings('tuning.methods', config.tuning.methods):
    if name in base.REFERENCES:
      raise errors.UserError(
        f'tuning.methods: {name} always runs; leave it out of the tuple'
      )
    checks.one_of('tuning.methods', name, tuple(config.methods))
  for kind in ('tasks', 'methods'):
    for name, value in config[kind].items():
      if not isinstance(value, Mapping | ml_collections.ConfigDict):
        raise errors.UserError(
          f'{kind}.{name}: must be a spec with a name, got {checks.show(value)}'
        )
  for name, value in config.methods.items():
    predictor = value.get('predictor', 'network')
    checks.one_of(f'methods.{name}.predictor', predictor, base.PREDICTORS)
    if predictor == 'bayes' and 'task' in value:
      checks.one_of(f'methods.{name}.task', value['task'], tuple(config.tasks))
    if name in _RESERVED:
      raise errors.UserError(
        f'methods: a method cannot be called {name!r}, as a reference or '
        'what pretraining leaves is'
      )
