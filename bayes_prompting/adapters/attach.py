"""Puts a shared file on the predictor that it was tuned on, and on no other."""

from collections.abc import Mapping
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
from bayes_prompting.experiment import fingerprint
from bayes_prompting.experiment import loading
from bayes_prompting.settings import plain
from bayes_prompting.storage import tensor_file
from bayes_prompting.system import devices

# Of a file's prefix length or rank. A network may make a table of so many
# positions before the shapes are compared.
_MOST_ROWS = 2**16

Source = str | os.PathLike[str] | tuple[types.Predictor, types.Params]


@dataclasses.dataclass(frozen=True)
class Adapter:
  """A file's content, on the predictor that it belongs to.

  Attributes:
    metadata: What the file says, plain values.
    predictor: The network, or exact Bayes.
    params: The predictor's weights before tuning.
    tuner: The tuner that adapts it.
    tunable: The tuned values, of one repetition.
    prior: Whose exact Bayesian predictor it is; None for a network.
  """

  metadata: dict[str, Any]
  predictor: types.Predictor
  params: types.Params
  tuner: types.Tuner
  tunable: types.Tunable
  prior: types.TaskPrior | None = None


def attach(
  path: str | os.PathLike[str],
  source: Source,
  allow_plugins: bool = False,
) -> Adapter:
  """Loads a file onto the predictor that it was tuned on.

  Args:
    path: The file.
    source: The workdir of any run with that network: the pretraining seed with
      the file's weights is used. Or predictor and weights, as
      `loading.load_network` returns them. A method of exact Bayes has no
      weights: it takes a workdir in which a task has the spec of its prior.
    allow_plugins: Whether the file and the workdir may have modules outside the
      package imported, which runs their code.

  Raises:
    UserError: If the file cannot be used, or was tuned on another predictor.
      The message names both.
  """
  arrays, metadata = record.read(path)
  devices.check()  # Here, where it is not taken for a fault of the file.
  place = f'file: {os.fspath(path)!r}: '
  with registry.plugins(allow_plugins):
    try:
      prior = None
      if metadata['network'] is None:
        prior = _prior(metadata['prior'], source)
        predictor, params = predictors.bayesian(prior), {}
      else:
        predictor, params = _network(metadata, source)
      tuner = _tuner(metadata['tuner'])
      tunable = _tunable(path, arrays, tuner, predictor, params)
    except errors.UserError as error:
      text = str(error).removeprefix(place)
      raise errors.UserError(f'{place}{text}') from None
  return Adapter(metadata, predictor, params, tuner, tunable, prior)


def _network(metadata, source):
  """Returns the network and the weights that a file belongs to."""
  network, run = metadata['network'], tensor_file.short(metadata['run'])
  if isinstance(source, tuple):
    predictor, candidates, place = source[0], [source[1]], 'the one given'
  else:
    lab, folder = loading.load(source)
    different = plain.difference(network['spec'], lab.config['network'])
    if different:
      raise errors.UserError(
        f'was tuned on another network (in run {run} and in {str(source)!r}, '
        f'{different})'
      )
    seeds = range(lab.num_seeds)
    candidates = [loading.pretrained(lab, folder, seed) for seed in seeds]
    predictor, place = lab.network, str(source)
  rows = jnp.zeros((1, predictor.vocab_size))
  width = jax.eval_shape(predictor.embed, candidates[0], rows).shape[-1]
  digests = [tensor_file.digest(params) for params in candidates]
  for what, wanted, offered in (
    ('a vocabulary of', network['vocab_size'], [predictor.vocab_size]),
    ('embeddings of width', network['spec'].get('embedding_dim'), [width]),
    ('weights', network['weights'], digests),
  ):
    if wanted not in offered:
      shown = [
        checks.show(value[:12] if isinstance(value, str) else value)
        for value in (wanted, *offered)
      ]
      raise errors.UserError(
        f'was tuned on a network with {what} {shown[0]} (run {run}), this one '
        f'has {", ".join(shown[1:])} ({place})'
      )
  return predictor, candidates[digests.index(network['weights'])]


def _prior(prior, source):
  """Returns the prior of a file of exact Bayes, as it is in a workdir."""
  name = tensor_file.short(prior['name'])
  if isinstance(source, tuple):
    raise errors.UserError(
      f'was tuned on exact Bayes of {name}; give a workdir with that task in '
      'place of a network'
    )
  lab, _ = loading.load(source)
  tasks, read = lab.config['tasks'], fingerprint.files(lab.config)
  for task, spec in tasks.items():
    if spec == prior['spec'] and read.get(task, {}) == prior['files']:
      return lab.priors[task]
  pretraining = lab.pretraining_task
  different = plain.difference(prior['spec'], tasks[pretraining])
  different = different or plain.difference(
    prior['files'], read.get(pretraining, {})
  )
  raise errors.UserError(
    f'was tuned on exact Bayes of {name}, but no task of {str(source)!r} has '
    f'its spec (there and in its {pretraining!r}, {different})'
  )


def _tuner(spec):
  """Builds the tuner of a file."""
  _check_rows(spec)
  return registry.make('tuners', 'tuner', plain.tuples(spec))


def _check_rows(spec):
  """Checks lengths and ranks of a spec, and of those inside it."""
  for name, value in spec.items():
    if isinstance(value, Mapping):
      _check_rows(value)
    elif (
      name in ('length', 'rank')
      and isinstance(value, int)
      and value > _MOST_ROWS
    ):
      raise errors.UserError(
        f'tuner.{name}: must be at most {_MOST_ROWS}, got '
        f'{tensor_file.short(value)}'
      )


def _tunable(path, arrays, tuner, predictor, params):
  """Returns the tunable of a file, with the shapes that the tuner makes."""
  shapes = jax.eval_shape(
    lambda key, params: tuner.init(key, predictor, params),
    jax.random.key(0),
    params,
  )
  tunable = tensor_file.fill(path, arrays, {'tunable': shapes})['tunable']
  # Only a hard prefix has whole numbers: its tokens.
  for leaf in jax.tree.leaves(tunable) if tuner.rows is not None else ():
    whole = np.issubdtype(leaf.dtype, np.integer)
    if whole and not ((0 <= leaf) & (leaf < predictor.vocab_size)).all():
      raise errors.UserError(
        f'has tokens {tensor_file.short(leaf.tolist())}; they must be from 0 '
        f'to {predictor.vocab_size - 1}'
      )
  return jax.tree.map(jnp.asarray, tunable)
