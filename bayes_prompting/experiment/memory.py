"""How much memory a run needs, and a refusal before any of it is taken.

The estimate is arithmetic on shapes. Nothing is computed, and programs are only
traced for short sequences. The estimate is there to refuse at once what cannot
be, with the field to blame. It does not tell whether a run that nearly fills
the machine will fit; `docs/reliability.md` compares it with real runs.
"""

from collections.abc import Iterator, Mapping
import contextlib
import functools
import math
import os
import pathlib
import re
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from bayes_prompting import errors
from bayes_prompting import regret
from bayes_prompting import results
from bayes_prompting import settings
from bayes_prompting import types
from bayes_prompting.experiment import build
from bayes_prompting.experiment import evaluation
from bayes_prompting.settings import plain
from bayes_prompting.training import blocks
from bayes_prompting.training import fit as fit_lib

_FLOAT = 4
# A label of a coordinate, in a list of Python's; a candidate's label is a text.
_LABEL, _CANDIDATE = 40, 240
# Adam holds a tunable, two moments, their next versions, and a gradient.
_COPIES = 7
# Exact Bayes holds about so many arrays of its largest size; it is traced for
# sequences of these lengths, and no longer ones.
_BAYES_COPIES, _SHORTER, _SHORT = 2, 16, 32
# What a number is compared with that the base configuration lacks.
_USUAL = 100
# How much is computed at once grows with these.
_BLOCKS = ('compute.sequence_block', 'compute.run_block')


class Part(NamedTuple):
  """Something that takes memory.

  Attributes:
    name: What it is, in words.
    fields: Those of the configuration that it grows with.
    size: In bytes.
    phase: When it is held: in `pretraining`, `tuning` or `evaluation`, or in a
      section of one (`tuning/SoftPT`); empty if it is held to the end.
    place: `host` or `device`; on a CPU they are the same.
  """

  name: str
  fields: tuple[str, ...]
  size: int
  phase: str = ''
  place: str = 'device'


def estimate(lab: build.Lab) -> int:
  """Returns the bytes that a run holds when it holds most."""
  return sum(part.size for part in at_peak(parts(lab)))


def check(lab: build.Lab, available: Mapping[str, int] | None = None) -> None:
  """Refuses a run that needs more memory than there is; takes none itself.

  Args:
    lab: What is to be run.
    available: Free bytes by place; `free()` by default.

  Raises:
    UserError: One line with what takes the most, and the field to blame.
  """
  available = free() if available is None else available
  all_parts = parts(lab)
  for place, free_size in available.items():
    is_one = 'device' not in available
    held = at_peak([x for x in all_parts if is_one or x.place == place])
    needed = sum(part.size for part in held)
    if needed <= free_size:
      continue
    worst = max(held, key=lambda part: part.size)
    values = _numbers(lab.config)
    usual = _numbers(plain.resolved(plain.of(settings.base_config())))
    field = max(
      worst.fields, key=lambda x: values[x] / (usual.get(x) or _USUAL)
    )
    where = 'this machine' if place == 'host' else 'the device'
    raise errors.UserError(
      f'{field}: {values[field]} takes about {show(worst.size)} for '
      f'{worst.name}, of {show(needed)} in all; {where} has {show(free_size)} '
      'free; make it smaller'
    )


def at_peak(every: list[Part]) -> list[Part]:
  """Returns the parts that are held at once, when most memory is."""
  moments = [
    [x for x in every if x.phase in ('', phase, phase.partition('/')[0])]
    for phase in {x.phase for x in every}
  ]
  return max(moments, key=lambda held: sum(x.size for x in held), default=[])


def show(size: int) -> str:
  """Returns a size as one reads it, such as 7.5 TB."""
  units = ('B', 'kB', 'MB', 'GB', 'TB', 'PB', 'EB')
  power = min(int(math.log10(max(size, 1)) // 3), len(units) - 1)
  return f'{size / 1000**power:.3g} {units[power]}'


def parts(lab: build.Lab) -> list[Part]:
  """Returns everything that takes memory in a run."""
  return [*_of_networks(lab), *_of_evaluation(lab), *_of_results(lab)]


def _numbers(values: Mapping[str, Any], path: str = '') -> dict[str, int]:
  """Returns by field whole numbers that are sizes, and lengths of lists."""
  numbers = {}
  for name, value in values.items():
    if isinstance(value, Mapping):
      numbers |= _numbers(value, f'{path}{name}.')
    elif isinstance(value, list):
      numbers[path + name] = len(value)
    elif type(value) is int and name != 'seed':
      numbers[path + name] = value
  return numbers


def _fields(lab, section):
  """Names the fields of a section that hold numbers."""
  return tuple(x for x in _numbers(lab.config) if x.startswith(f'{section}.'))


def _of_networks(lab):
  """What meta-training and tuning take, and what they leave."""
  network, num_seeds = _fields(lab, 'network'), lab.num_seeds
  fields = ('pretraining.num_seeds', *network)
  size = _bytes(build.network_shapes(lab))
  yield Part('the networks', fields, num_seeds * size)
  if lab.pretraining.num_steps:
    yield from _of_fit(lab, 'pretraining', 'pretraining', network, size)
  for name, method in lab.methods.items():
    shapes, phase = build.tuned_shapes(lab, method), f'tuning/{name}'
    # Where an argument follows a field, that field is to blame.
    sizes = _numbers(lab.config)
    followed = [
      value[1:]
      for _, value in sorted(lab.written['methods'][name].items())
      if settings.is_reference(value) and value[1:] in sizes
    ]
    own = ('tuning.num_repetitions', 'tuning.learning_rate', *followed)
    own += _fields(lab, f'methods.{name}')
    size = _bytes(shapes['tunable'])
    left = size * len(method.seeds)
    yield Part(f'what {name} tunes', (*own, *fields), left)
    if 'candidate_losses' in shapes:
      total = _CANDIDATE * build.num_candidates(method)
      if method.search is not None:
        total = sum(
          map(_bytes, (shapes['candidates'], shapes['candidate_losses']))
        )
        total *= len(method.seeds)
      yield Part(f'the candidates of {name}', own, total, place='host')
      draws = lab.config['tuning']['search_draws']
      draws = method.repetitions * min(draws, lab.tuning.num_sequences or draws)
      length = lab.priors[lab.target].num_tokens(lab.tuning.length)
      size = _share(2 * _FLOAT * draws * (length + 1))
      drawn = ('tuning.search_draws', 'tuning.length', 'tuning.num_repetitions')
      yield Part(f'the draws of {name}', drawn, size, phase)
    elif 'losses' in shapes:
      tuned = (*own, *network)
      yield from _of_fit(lab, 'tuning', phase, tuned, size, method.num_runs)


def _of_fit(lab, section, phase, fields, tunables, num_runs=1):
  """What the optimizer holds, and the activations of all that runs at once."""
  fit, name = getattr(lab, section), phase.rpartition('/')[2]
  task = lab.pretraining_task if section == 'pretraining' else lab.target
  length = lab.priors[task].num_tokens(fit.length)
  optimizer = _share(_COPIES * tunables)
  yield Part(f'the weights of {name}', fields, optimizer, phase)
  size = _activations(lab, fit.batch_size, length, for_gradient=True)
  size *= fit_lib.run_block(fit, num_runs)
  # The tokens of all updates of a chunk are drawn before it.
  updates = fit_lib.chunk_size(fit, num_runs) * num_runs
  size = _share(size + _FLOAT * updates * fit.batch_size * length)
  sizes = (f'{section}.batch_size', f'{section}.length')
  fields = (*sizes, *_BLOCKS, *_fields(lab, 'network'))
  yield Part(f'the activations of {name}', fields, size, phase)


def _activations(lab, sequences, length, for_gradient=False):
  """Returns the bytes of the activations of the sequences in one block.

  They are the state of every position, and what every matrix makes of it; only
  a gradient needs them all, a prediction one at a time. Where the state grows
  with every position, as keys and values do, pairs of positions are scored.
  """
  outputs, widest, state, scores = _of_position(lab.network)
  block = blocks.size(
    lab.config['compute']['sequence_block'],
    lab.network.sequence_block(length),
    sequences,
  )
  each = (outputs if for_gradient else widest) + state + length * scores
  return _FLOAT * block * length * each


@functools.lru_cache(maxsize=64)
def _of_position(network):
  """Returns how many numbers a position has of each kind, by shapes alone."""
  params = jax.eval_shape(network.init, jax.random.key(0))
  row = jax.ShapeDtypeStruct((1, network.vocab_size), jnp.float32)
  width = jax.eval_shape(network.embed, params, row).shape[1]
  outputs = [
    math.prod(x.shape[1:]) for x in jax.tree.leaves(params) if x.ndim > 1
  ]
  if 'unembedding' not in params:  # The embedding makes the logits, too.
    outputs.append(network.vocab_size)
  prefixes = [
    jax.ShapeDtypeStruct((rows, width), jnp.float32) for rows in range(4)
  ]
  first, second = (
    jax.tree.leaves(jax.eval_shape(network.prefill, params, prefix))
    for prefix in prefixes[:2]
  )
  state, scores = sum(x.size for x in first), 0
  if any(x.shape != y.shape for x, y in zip(first, second, strict=True)):
    # A product of matrices that has H numbers for each pair of positions has
    # H N^2, whose second difference is 2 H: scores, and their exponentials.
    fewer, some, more = (
      _product_size(jax.make_jaxpr(network.prefill)(params, prefix).jaxpr)
      for prefix in prefixes[1:]
    )
    scores = max(0, fewer - 2 * some + more)
  return sum(outputs), max(outputs, default=0), state, scores


def _product_size(program: Any) -> int:
  """Returns how many numbers all products of matrices of a program have."""
  return sum(
    equation.outvars[0].aval.size
    for equation in _equations(program)
    if equation.primitive.name == 'dot_general'
  )


def _of_evaluation(lab):
  """What evaluation holds of a task, and of one method's regrets on it."""
  length, sequences = (
    lab.config['evaluation'][x] for x in ('length', 'num_sequences')
  )
  sizes = ('evaluation.num_sequences', 'evaluation.length')
  longest = length
  for name in lab.config['evaluation']['tasks']:
    fields = (*sizes, *_fields(lab, f'tasks.{name}'))
    tokens = lab.priors[name].num_tokens(length)
    longest = max(longest, tokens)
    at_once = sequences
    if lab.priors[name].recorded is not None:
      at_once = min(sequences, evaluation.UNIVERSAL_BLOCK)
    size = _BAYES_COPIES * at_once * _largest(lab.priors[name], tokens)
    said, phase = f'exact predictions on {name}', f'evaluation/{name}'
    yield Part(said, fields, _share(size), phase)
  estimates = len(lab.references) * len(regret.ESTIMATORS)
  # Tokens, and Bayes' regret; what the source, Bayes and a method predict; the
  # regret of each step, and its sum so far.
  each = _FLOAT * (2 + 3 * lab.network.vocab_size + 2 * estimates)
  fields = (*sizes, *_fields(lab, f'tasks.{lab.pretraining_task}'))
  size = _share(each * sequences * longest)
  yield Part('the sequences of evaluation', fields, size, 'evaluation')
  size = _share(_activations(lab, sequences, longest))
  fields = (*sizes, *_BLOCKS, *_fields(lab, 'network'))
  yield Part('the activations of evaluation', fields, size, 'evaluation')
  runs = max((x.num_runs for x in lab.methods.values()), default=1)
  size = estimates * (len(lab.report_steps) * sequences + 4 * length)
  fields = (*sizes, 'tuning.num_repetitions', 'tuning.learning_rate')
  size *= 2 * _FLOAT * runs
  yield Part('the regrets of a method', fields, size, 'evaluation')


def _largest(prior: types.TaskPrior, length: int) -> int:
  """Returns the bytes of the largest array of exact Bayes on a sequence.

  It is that of two short sequences, continued as a line.
  """

  def sizes(length):
    def predict(tokens):
      none = jnp.zeros((0, prior.vocab_size), jnp.float32)
      return prior.predict(prior.prefill(none), tokens)

    tokens = jax.ShapeDtypeStruct((length,), jnp.int32)
    return list(_written(jax.make_jaxpr(predict)(tokens).jaxpr))

  pairs = zip(sizes(_SHORTER), sizes(_SHORT), strict=False)
  steps = (length - _SHORT) / (_SHORT - _SHORTER)
  return int(max(long + steps * (long - short) for short, long in pairs))


def _written(program: Any) -> Iterator[int]:
  """Yields the bytes of each array that a program makes, in its order."""
  for equation in _equations(program):
    yield from (_bytes(variable.aval) for variable in equation.outvars)


def _equations(program: Any) -> Iterator[Any]:
  """Yields the equations of a program and of those inside it, in order."""
  for equation in program.eqns:
    yield equation
    for inner in jax.tree.leaves(list(equation.params.values())):
      inner = getattr(inner, 'jaxpr', inner)
      if hasattr(inner, 'eqns'):
        yield from _equations(inner)


def _of_results(lab):
  """The results, which are made whole at once, and their labels."""
  searches = [x for x in lab.methods.values() if x.enumerates]
  field_of = {
    'tuner': 'tuning.methods',
    'pretrain_seed': 'pretraining.num_seeds',
    'learning_rate': 'tuning.learning_rate',
    'prefix_init': 'tuning.prefix_init',
    'repetition': 'tuning.num_repetitions',
    'eval_task': 'evaluation.tasks',
    'step': 'evaluation.length',
    'sequence': 'evaluation.num_sequences',
    'pretraining_step': 'pretraining.num_steps',
    'tuning_step': 'tuning.num_steps',
    'candidate': 'tuning.max_candidates',
  }
  values = _numbers(lab.config)
  size_of = {axis: values[field] for axis, field in field_of.items()} | {
    'tuner': len(lab.reference_rows) + len(lab.methods),
    'reference': len(lab.references),
    'estimator': len(regret.ESTIMATORS),
    'report_step': len(lab.report_steps),
    'validation_step': len(build.validation_steps(lab)),
    'candidate': max(map(build.num_candidates, searches), default=0),
  }
  for name, (axes, _) in results.VARIABLES.items():
    if not results.is_present(name, size_of):
      continue
    fields = tuple(field_of[axis] for axis in axes if axis in field_of)
    size = _FLOAT * math.prod(size_of[axis] for axis in axes)
    yield Part('the results', fields, size, 'evaluation', 'host')
    if axes[-1] in ('pretraining_step', 'tuning_step', 'candidate'):
      yield Part('the losses', fields, size, place='host')
  for axis, field in field_of.items():
    yield Part('labels', (field,), _LABEL * size_of[axis], place='host')


def _bytes(tree):
  """Returns the bytes of arrays, or of their shapes."""
  return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(tree))


def _share(size):
  """Returns a device's part of what is split over all; CPUs share memory."""
  cpu = jax.default_backend() == 'cpu'
  return size if cpu else size // jax.local_device_count()


def free(root: str | os.PathLike[str] = '/') -> dict[str, int]:
  """Returns the free memory in bytes of the `host`, and of a `device`.

  What is not known is missing; so is the device where it is a CPU.

  Args:
    root: Where the files of the system are: /proc and /sys.
  """
  here = {}
  host = min(_host(pathlib.Path(root)), default=None)
  if host is not None:
    here['host'] = host
  device = jax.local_devices()[0]
  if device.platform != 'cpu':
    stats = device.memory_stats() or {}
    if 'bytes_limit' in stats:
      here['device'] = int(stats['bytes_limit'] - stats.get('bytes_in_use', 0))
  return here


def _host(root: pathlib.Path) -> Iterator[int]:
  """Yields what the system leaves free, and every limit on this process."""
  information = _read(root / 'proc/meminfo')
  available = re.search(r'(?m)^MemAvailable:\s+(\d+) kB', information)
  if available:
    yield int(available[1]) * 1024
  elif hasattr(os, 'sysconf'):  # No Linux.
    with contextlib.suppress(OSError, ValueError):
      yield os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE')
  groups = _read(root / 'proc/self/cgroup')
  for controllers, group in re.findall(r'(?m)^\d+:([^:]*):(.*)$', groups):
    top, names = root / 'sys/fs/cgroup', ('memory.max', 'memory.current')
    if 'memory' in controllers.split(','):  # Version 1.
      top /= 'memory'
      names = ('memory.limit_in_bytes', 'memory.usage_in_bytes')
    elif controllers:
      continue
    # A limit of a group holds for all groups in it. A container may see the
    # groups above its own neither by name nor at all.
    folder = top / group.lstrip('/')
    for place in (folder, *folder.parents):
      limit, used = (_read(place / name).strip() for name in names)
      if limit.isdecimal() and used.isdecimal():  # Not `max`.
        # What is used may be a cache of files, which gives way.
        yield max(int(limit) - int(used), int(limit) // 2)
      if place == top:
        break


def _read(path):
  """Returns the text of a file; an empty one if there is no such file."""
  try:
    return path.read_text('utf-8', 'replace')
  except OSError:
    return ''
