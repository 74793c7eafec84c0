"""A shared file, put on the predictor that it was tuned on, and on no other."""

import dataclasses
import os
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bayes_prompting import checks
from bayes_prompting import errors
from bayes_prompting import predictors
from bayes_prompting import registry
from bayes_prompting import types
from bayes_prompting.adapters import record
from bayes_prompting.experiment import loading
from bayes_prompting.settings import plain
from bayes_prompting.storage import tensor_file

# Of the rows of a prefix and the rank of an adapter, in a file: a network may
# make a table of so many positions before shapes are compared.
_MOST = 2**16

Source = str | os.PathLike[str] | tuple[types.Predictor, types.Params]


@dataclasses.dataclass(frozen=True)
class Adapter:
  """What a file holds, on the predictor that it belongs to.

  Attributes:
    metadata: What it says of itself, plain values.
    predictor: The network, or exact Bayes.
    params: Its weights, as they were before tuning.
    tuner: What adapts it.
    tunable: What was tuned, of one repetition.
  """

  metadata: dict[str, Any]
  predictor: types.Predictor
  params: types.Params
  tuner: types.Tuner
  tunable: types.Tunable


def attach(
  path: str | os.PathLike[str],
  source: Source,
  allow_plugins: bool = False,
) -> Adapter:
  """Loads a file onto the predictor that it was tuned on.

  Args:
    path: The file.
    source: The workdir of any run with that network (of its pretraining seeds
      the one with these weights is taken), or predictor and weights as
      `loading.load_network` returns them. A method of exact Bayes has no
      weights: it takes a workdir in which a task has the same spec.
    allow_plugins: Whether the file and the workdir may have modules outside the
      package imported, which runs their code.

  Raises:
    UserError: If the file cannot be used, or was tuned on something else; both
      are named.
  """
  arrays, metadata = record.read(path)
  with registry.plugins(allow_plugins):
    try:
      predictor, params = _predictor(metadata, source)
      tuner = _tuner(metadata)
      tunable = _fill(path, arrays, tuner, predictor, params)
    except errors.UserError as error:
      text = str(error).removeprefix(f'file: {os.fspath(path)!r}: ')
      raise errors.UserError(f'file: {os.fspath(path)!r}: {text}') from None
  return Adapter(metadata, predictor, params, tuner, tunable)


def _predictor(metadata, source):
  """Returns predictor and weights that are those of a file."""
  if metadata['network'] is None:
    return _bayes(metadata['prior'], source), {}
  if isinstance(source, tuple):
    _check_network(metadata, source[0], [source[1]], 'the one given')
    return source
  lab, folder = loading.load(source)
  here = str(source)
  found = plain.difference(metadata['network']['spec'], lab.config['network'])
  if found:
    raise errors.UserError(
      f'was tuned on another network (in run '
      f'{tensor_file.short(metadata["run"])} and in {here!r}, {found})'
    )
  networks = [loading.pretrained(lab, folder, s) for s in range(lab.num_seeds)]
  which = _check_network(metadata, lab.network, networks, here)
  return lab.network, networks[which]


def _check_network(metadata, predictor, networks, here):
  """Returns which weights are those of a file; raises if none are."""
  there, run = metadata['network'], tensor_file.short(metadata['run'])
  width = jax.eval_shape(
    predictor.embed, networks[0], jnp.zeros((1, predictor.vocab_size))
  ).shape[-1]
  digests = [tensor_file.digest(params) for params in networks]
  for what, one, others in (
    ('a vocabulary of', there['vocab_size'], [predictor.vocab_size]),
    ('embeddings of width', there['spec'].get('embedding_dim'), [width]),
    ('weights', there['weights'], digests),
  ):
    if one not in others:
      sides = [_brief(one), ', '.join(map(_brief, others))]
      raise errors.UserError(
        f'was tuned on a network with {what} {sides[0]} (run {run}), this one '
        f'has {sides[1]} ({here})'
      )
  return digests.index(there['weights'])


def _brief(value):
  """Returns what tells a value from others, in one line."""
  return (
    checks.show(value[:12]) if isinstance(value, str) else checks.show(value)
  )


def _bayes(prior, source):
  """Returns exact Bayes of the prior of a file."""
  if isinstance(source, tuple):
    raise errors.UserError(
      f'was tuned on exact Bayes of {tensor_file.short(prior["name"])}; give a '
      'workdir with that task in place of a network'
    )
  lab, _ = loading.load(source)
  tasks = lab.config['tasks']
  names = [name for name, spec in tasks.items() if spec == prior['spec']]
  if not names:
    found = plain.difference(prior['spec'], tasks[lab.pretraining_task])
    raise errors.UserError(
      f'was tuned on exact Bayes of {tensor_file.short(prior["name"])}, which no '
      f'task of {str(source)!r} is (there and in its {lab.pretraining_task!r}, '
      f'{found})'
    )
  return predictors.bayesian(lab.priors[names[0]])


def _tuner(metadata):
  """Builds the tuner of a file."""
  spec = plain.tuples(metadata['tuner'])
  for name in ('length', 'rank'):
    value = spec.get(name)
    if isinstance(value, int) and value > _MOST:
      raise errors.UserError(
        f'tuner.{name}: must be at most {_MOST}, got {tensor_file.short(value)}'
      )
  return registry.make('tuners', 'tuner', spec)


def _fill(path, arrays, tuner, predictor, params):
  """Returns the tunable of a file, if it is one of a tuner."""

  def start(key, params):
    return tuner.init(key, predictor, params)

  shapes = jax.eval_shape(start, jax.random.key(0), params)
  tunable = tensor_file.fill(path, arrays, {'tunable': shapes})['tunable']
  if tuner.rows is not None:
    _check_tokens(tunable, predictor.vocab_size)
  return jax.tree.map(jnp.asarray, tunable)


def _check_tokens(prefix, vocab_size):
  """Checks the tokens of a hard prefix; other prefixes have none."""
  for leaf in jax.tree.leaves(prefix):
    whole = np.issubdtype(leaf.dtype, np.integer)
    if whole and not ((0 <= leaf) & (leaf < vocab_size)).all():
      raise errors.UserError(
        f'has tokens {tensor_file.short(leaf.tolist())}; they must be from 0 to '
        f'{vocab_size - 1}'
      )
