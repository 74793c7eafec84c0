"""What takes memory in a run: its parts, and the fields that they grow with.

Arithmetic on shapes, and on what the programs of an update and of an evaluation
hold at once as they are written (`sizes.held`).
"""

from collections.abc import Mapping
import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp

from bayes_prompting import regret
from bayes_prompting import results
from bayes_prompting import settings
from bayes_prompting import types
from bayes_prompting.experiment import build
from bayes_prompting.experiment import sizes
from bayes_prompting.training import blocks
from bayes_prompting.training import updates

_FLOAT = 4
# A label of a coordinate in a list of Python's; one of a candidate, a text.
_LABEL, _CANDIDATE = 40, 240
# Adam's: the tunable, two moments and a gradient; two more while they change.
_COPIES = 6
# Sequences for which sampling is looked at: what they share is little then.
_SEQUENCES = 8


@dataclasses.dataclass(frozen=True)
class Part:
  """Something that takes memory.

  Attributes:
    name: What it is, in words.
    fields: Of the configuration, those that it grows with.
    size: In bytes.
    phase: When it is held: in `pretraining`, `tuning` or `evaluation`, or in a
      part of one (`tuning/SoftPT`); empty if to the end.
    place: `host` or `device`; on a CPU they are the same.
  """

  name: str
  fields: tuple[str, ...]
  size: int
  phase: str = ''
  place: str = 'device'


def find(values: Mapping[str, Any], field: str) -> Any:
  """Returns what a field has in plain values; None if it is not there."""
  for name in field.split('.'):
    if not isinstance(values, Mapping) or name not in values:
      return None
    values = values[name]
  return values


def by_arithmetic(lab: build.Lab) -> list[Part]:
  """Returns what takes memory, as far as sizes and shapes alone tell."""
  weights = sizes.of(build.network_shapes(lab))
  network = ('network.embedding_dim', *_numbers(lab, 'network.torso'))
  kept = ('pretraining.num_seeds', *network)
  parts = [Part('the networks', kept, lab.num_seeds * weights)]
  if lab.pretraining.num_steps:
    size = _COPIES * weights
    parts.append(Part('meta-training', network, size, 'pretraining'))
  for method in lab.methods.values():
    parts += _of_method(lab, method)
  return [*parts, *_losses(lab), *_results(lab), *_regrets(lab)]


def _numbers(lab, path):
  """Names the fields of a spec that are whole numbers, or the shared ones."""
  found, spec = [], find(lab.config, path)
  for name, value in spec.items():
    if isinstance(value, int) and not isinstance(value, bool):
      shared = f'tuning.{settings.SHARED.get(name)}'
      follows = path.startswith('methods.') and value == find(
        lab.config, shared
      )
      found.append(shared if follows else f'{path}.{name}')
  return found


def _share(size):
  """Returns a device's part of what is split over all of them."""
  if jax.default_backend() == 'cpu':  # They have one memory.
    return size
  return size // jax.local_device_count()


def _of_method(lab, method):
  """What tuning by a method leaves, and what it takes meanwhile."""
  tuner, runs = method.tuner, math.prod(lab.shape(method))
  seeds = len(lab.seeds(method))
  shapes = {} if method.is_bayes else build.network_shapes(lab)
  one = sizes.of(
    jax.eval_shape(
      lambda key, params: tuner.init(key, method.predictor, params),
      lab.root,
      shapes,
    )
  )
  numbers = _numbers(lab, f'methods.{method.name}')
  network = ('network.embedding_dim', *_numbers(lab, 'network.torso'))
  phase = f'tuning/{method.name}'
  grid = ('tuning.num_repetitions', 'tuning.learning_rate')
  fields = (*grid, *numbers, 'pretraining.num_seeds', *network)
  parts = [Part(f'what {method.name} tunes', fields, one * runs * seeds)]
  if tuner.candidates is not None:
    parts += _of_search(lab, method, numbers or grid)
  elif tuner.trainable and lab.tuning.num_steps:
    size = _share(_COPIES * one * runs)
    parts.append(Part(f'tuning by {method.name}', fields, size, phase))
  return parts


def _of_search(lab, method, numbers):
  """What a search over all candidates takes."""
  runs, seeds = lab.repetitions(method), len(lab.seeds(method))
  candidates = jax.eval_shape(lambda: method.tuner.candidates(method.predictor))
  total = len(jax.tree.leaves(candidates)[0])
  draws = lab.config['tuning']['search_draws']
  draws = min(draws, lab.tuning.num_sequences or draws)
  # Made, and once more as labels; their losses also in the results.
  each = _CANDIDATE + 2 * _FLOAT * runs * seeds
  tokens = 2 * _FLOAT * runs * draws * (lab.tuning.length + 1)
  on = ('tuning.search_draws', 'tuning.length', 'tuning.num_repetitions')
  phase = f'tuning/{method.name}'
  return [
    Part(
      f'the candidates of {method.name}',
      tuple(numbers),
      2 * sizes.of(candidates) + total * each,
      place='host',
    ),
    Part(f'the draws of {method.name}', on, _share(tokens), phase),
  ]


def _losses(lab):
  """Losses of all updates, on the host to the end."""
  steps = lab.pretraining.num_steps
  fields = ('pretraining.num_steps', 'pretraining.num_seeds')
  # Once more in the results, with labels.
  size = steps * (2 * _FLOAT * lab.num_seeds + _LABEL)
  found = [Part('the losses of meta-training', fields, size, place='host')]
  runs = sum(
    math.prod(lab.shape(method)) * len(lab.seeds(method))
    for method in lab.methods.values()
    if method.tuner.trainable
  )
  fields = ('tuning.num_steps', 'tuning.num_repetitions')
  size = lab.tuning.num_steps * (_FLOAT * runs + _LABEL)
  return [*found, Part('the losses of tuning', fields, size, place='host')]


def _results(lab):
  """The results, which are made whole at once (`results.Builder`)."""
  section = lab.config['evaluation']
  dims = {
    'method': (len(settings.REFERENCES) + len(lab.methods), 'tuning.methods'),
    'pretrain_seed': (lab.num_seeds, 'pretraining.num_seeds'),
    'learning_rate': (len(lab.learning_rates), 'tuning.learning_rate'),
    'prefix_init': (len(lab.prefix_inits), 'tuning.prefix_init'),
    'repetition': (lab.num_repetitions, 'tuning.num_repetitions'),
    'eval_task': (len(section['tasks']), 'evaluation.tasks'),
    'reference': (len(regret.REFERENCES), None),
    'estimator': (len(regret.ESTIMATORS), None),
    'step': (section['length'], 'evaluation.length'),
    'report_step': (len(lab.report_steps), None),
    'sequence': (section['num_sequences'], 'evaluation.num_sequences'),
    'tuning_step': (lab.tuning.num_steps, 'tuning.num_steps'),
  }
  parts = []
  for _, (names, *_) in results.VARIABLES.items():
    if set(names) <= dims.keys():  # The others are of losses and candidates.
      size = _FLOAT * math.prod(dims[name][0] for name in names)
      fields = tuple(dims[name][1] for name in names if dims[name][1])
      parts.append(Part('the results', fields, size, 'evaluation', 'host'))
  for name in ('step', 'sequence', 'repetition', 'pretrain_seed'):
    size, field = dims[name]
    labels = Part('labels', (field,), _LABEL * size, 'evaluation', 'host')
    parts.append(labels)
  return parts


def _regrets(lab):
  """What evaluation holds of a task, and of one method's regrets on it."""
  section = lab.config['evaluation']
  length, sequences = section['length'], section['num_sequences']
  vocab_size = lab.network.vocab_size
  fields = (
    'evaluation.num_sequences',
    'evaluation.length',
    f'tasks.{lab.pretraining_task}',
  )
  estimates = len(regret.REFERENCES) * len(regret.ESTIMATORS)
  # Tokens and Bayes' regret; what the source, Bayes and a method predict; the
  # regret of each step, and the sums so far.
  each = _FLOAT * (2 + 3 * vocab_size + 2 * estimates)
  runs = max((math.prod(lab.shape(x)) for x in lab.methods.values()), default=1)
  of_run = estimates * (len(lab.report_steps) * sequences + 4 * length)
  return [
    Part(
      'the sequences of evaluation',
      fields,
      _share(each * sequences * length),
      'evaluation',
    ),
    Part(
      'the regrets of a method',
      (*fields[:2], 'tuning.num_repetitions', 'tuning.learning_rate'),
      2 * _FLOAT * runs * of_run,
      'evaluation',
    ),
  ]


def by_tracing(lab: build.Lab) -> list[Part]:
  """Returns what programs hold at once, by how they are written."""
  parts, section = _of_fits(lab), lab.config['evaluation']
  for name in section['tasks']:
    each = _of_sampling(lab.priors[name], section['length'])
    fields = ('evaluation.num_sequences', 'evaluation.length', f'tasks.{name}')
    parts.append(
      Part(
        f'exact predictions on {name}',
        (*fields, *_numbers(lab, f'tasks.{name}')),
        _share(each * section['num_sequences']),
        f'evaluation/{name}',
      )
    )
  return parts


def _of_fits(lab):
  """The activations of both fits, for all runs that are computed at once."""
  trained = [
    math.prod(lab.shape(method))
    for method in lab.methods.values()
    if method.tuner.trainable and not method.is_bayes
  ]
  fits = {
    name: (fit, runs)
    for name, fit, runs in (
      ('pretraining', lab.pretraining, 1),
      ('tuning', lab.tuning, max(trained, default=0)),
    )
    if fit.num_steps and runs
  }
  if not fits:
    return []
  # One program is looked at, that of the longer sequences: it takes a second.
  longest = max((fit for fit, _ in fits.values()), key=lambda fit: fit.length)
  each = _of_gradient(lab, longest) / (_block(lab, longest) * longest.length)
  network = ('network.embedding_dim', *_numbers(lab, 'network.torso'))
  parts = []
  for name, (fit, runs) in fits.items():
    activations = each * _block(lab, fit) * fit.length
    tokens = _FLOAT * fit.batch_size * (fit.length + 4)
    at_once = updates.run_block(fit, runs)
    fields = [f'{name}.{x}' for x in ('batch_size', 'length')]
    fields += ['compute.sequence_block', 'compute.run_block', *network]
    size = _share(int(at_once * (activations + tokens)))
    parts.append(Part(f'the activations of {name}', tuple(fields), size, name))
  return parts


def _block(lab, fit):
  """Returns how many sequences a gradient is taken of at once."""
  preferred = lab.network.sequence_block(fit.length)
  return blocks.size(fit.sequence_block, preferred, fit.batch_size)


def _of_gradient(lab, fit):
  """Bytes of the gradient of a network, for one block of sequences."""
  network, block = lab.network, _block(lab, fit)

  def of_length(length):
    def loss(params, tokens):
      context = network.prepare(params, network.start(params), length)
      return regret.log_loss(network.read(context, tokens), tokens).mean()

    tokens = jax.ShapeDtypeStruct((block, length), jnp.int32)
    shapes = build.network_shapes(lab)
    return sizes.held(jax.value_and_grad(loss), shapes, tokens)

  return sizes.at_length(of_length, fit.length)


def _of_sampling(prior: types.TaskPrior, length: int) -> int:
  """Bytes a sequence of drawing those of an evaluation, and of exact Bayes."""
  none = jnp.zeros((0, prior.vocab_size), jnp.float32)

  def of_length(length):
    def sample(keys):
      episodes = jax.vmap(lambda key: prior.sample(key, length))(keys)
      predict = jax.vmap(prior.predict, in_axes=(None, 0))
      return episodes, predict(prior.prefill(none), episodes.tokens)

    keys = jax.eval_shape(
      lambda: jax.random.split(jax.random.key(0), _SEQUENCES)
    )
    return sizes.held(sample, keys)

  return sizes.at_length(of_length, length) // _SEQUENCES
