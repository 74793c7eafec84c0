"""A weighted mixture of any priors: worlds of several kinds."""

from collections.abc import Mapping
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bayes_prompting import checks
from bayes_prompting import errors
from bayes_prompting import registry
from bayes_prompting import types
from bayes_prompting.task_priors import _exchangeable
from bayes_prompting.task_priors import _tables

# Raise it when numbers change: networks and results depend on it.
NUMERICS = 1

EXAMPLES = (
  {
    'components': {
      'coins': {
        'weight': 0.7,
        'name': 'dirichlet_categorical',
        'concentration': (1.0, 1.0),
      },
      'coin': {
        'weight': 0.3,
        'name': 'categorical',
        'probabilities': (0.9, 0.1),
      },
    }
  },
  {
    'components': {
      'dice': {
        'weight': 0.5,
        'name': 'dirichlet_categorical',
        'concentration': (1.0, 2.0, 0.5),
      },
      'some': {
        'weight': 0.5,
        'name': 'categorical_mixture',
        'weights': (0.5, 0.5),
        'probabilities': ((0.5, 0.5, 0.0), (0.0, 0.5, 0.5)),
      },
    }
  },
  {  # Of several orders.
    'components': {
      'coins': {
        'weight': 0.4,
        'name': 'dirichlet_categorical',
        'concentration': (1.0, 1.0),
      },
      'chains': {
        'weight': 0.6,
        'name': 'markov_mixture',
        'weights': (0.5, 0.5),
        'tables': (((1.0, 0.0), (0.5, 0.5)), ((0.2, 0.8), (0.9, 0.1))),
      },
    }
  },
  {  # Without a statistic.
    'components': {
      'coin': {
        'weight': 0.5,
        'name': 'categorical',
        'probabilities': (1.0, 0.0),
      },
      'segments': {
        'weight': 0.5,
        'name': 'switching',
        'hazard': 0.3,
        'concentration': (1.0, 1.0),
      },
    }
  },
)


def make(components: Mapping[str, Mapping[str, Any]]) -> types.TaskPrior:
  """Builds the mixture of M priors.

  The posterior weight of a component is proportional to its weight times the
  evidence that it gives to the history, the product of its own predictions; the
  predictive is their mean under these weights.

  Args:
    components: Specs of priors with one vocabulary, by a name for each, and in
      each of them its `weight`; these sum to 1, and zeros are legal.

  Raises:
    UserError: If there is none, or if they do not fit each other.
  """
  priors, weights = _components(components)
  vocab_size = priors[0].vocab_size
  with np.errstate(divide='ignore'):
    log_weights = np.log(weights)

  statistic, support = (
    _statistic(priors, log_weights),
    _support(priors, weights),
  )
  tables = [prior.sample_table for prior in priors]
  sample_table = _table_sampler(tables, log_weights)
  if all(prior.exchangeable for prior in priors):
    return _exchangeable.make(
      vocab_size=vocab_size,
      sample_source=lambda key: sample_table(key)[0],
      log_predictive=statistic.log_predictive,
      log_evidence=statistic.log_evidence,
      source_entropy=statistic.source_entropy,
      support=support,
    )

  def sample(key, length):
    draw = [lambda k, p=prior: p.sample(k, length) for prior in priors]
    return _draw_one(key, draw, log_weights)

  def read(states, tokens):
    """Log probabilities [M, N, V] of all components, and of tokens [M, N]."""
    found = jnp.stack(
      [p.predict(s, tokens) for p, s in zip(priors, states, strict=True)]
    )
    index = jnp.broadcast_to(tokens, found.shape[:2])[..., None]
    return found, jnp.take_along_axis(found, index, axis=-1)[..., 0]

  def prefill(rows):
    rows = jnp.asarray(rows, jnp.float32)
    none = [prior.prefill(rows[:0]) for prior in priors]
    _, seen = read(none, rows.argmax(-1).astype(jnp.int32))
    # Rows that are not one-hot count as their most likely token, for all.
    rows = jax.nn.one_hot(rows.argmax(-1), vocab_size, dtype=jnp.float32)
    return {
      'log_joint': log_weights.astype(np.float32) + seen.sum(-1),
      'states': [prior.prefill(rows) for prior in priors],
    }

  def predict(state, tokens):
    found, seen = read(state['states'], tokens)
    before = jnp.pad(seen, ((0, 0), (1, 0)))[:, :-1].cumsum(-1)
    return _mix(state['log_joint'][:, None] + before, found)

  def observe(state, token):
    _, seen = read(state['states'], token[None])
    states = zip(priors, state['states'], strict=True)
    return {
      'log_joint': state['log_joint'] + seen[:, 0],
      'states': [prior.observe(x, token) for prior, x in states],
    }

  steps = all(prior.observe is not None for prior in priors)
  return types.TaskPrior(
    vocab_size=vocab_size,
    sample=sample,
    prefill=prefill,
    predict=predict,
    statistic=statistic,
    support=support,
    sample_table=sample_table,
    observe=observe if steps else None,
  )


def _draw_one(key, samplers, log_weights):
  """Draws from one of several samplers, chosen by their weights."""
  component, key = jax.random.split(key)
  which = jax.random.categorical(component, log_weights.astype(np.float32))
  # As numbers: under vmap all draw and one is kept, which JAX's check for keys
  # that are used twice does not know to be harmless.
  impl = jax.random.key_impl(key)

  def draw(sampler, numbers):
    return sampler(jax.random.wrap_key_data(numbers, impl=impl))

  branches = [functools.partial(draw, sampler) for sampler in samplers]
  return jax.lax.switch(which, branches, jax.random.key_data(key))


def _components(components):
  """Builds the priors [M]; also returns their weights [M]."""
  if not isinstance(components, Mapping) or not components:
    raise errors.UserError(
      'components: must be one or more specs of task priors by name, got '
      f'{checks.show(components)}'
    )
  priors, weights = [], []
  for name, spec in components.items():
    field = f'components.{name}'
    if not isinstance(spec, Mapping):
      raise errors.UserError(
        f'{field}: must be the spec of a task prior with a weight, got '
        f'{checks.show(spec)}'
      )
    spec = dict(spec)
    if 'weight' not in spec:
      raise errors.UserError(f'{field}.weight: missing')
    weights.append(spec.pop('weight'))
    priors.append(registry.make('task_priors', field, spec))
    if priors[-1].vocab_size != priors[0].vocab_size:
      raise errors.UserError(
        f'{field}: has a vocabulary of {priors[-1].vocab_size}, the first '
        f'component has {priors[0].vocab_size}'
      )
  return priors, checks.weights('components.*.weight', weights, len(priors))


def _mix(log_joint, log_probs):
  """Mixes log probabilities [M, ..., V] by weights [M, ...] up to a factor."""
  evidence = jax.nn.logsumexp(log_joint, axis=0, keepdims=True)
  posterior = log_joint - jnp.where(evidence > -jnp.inf, evidence, 0.0)
  return jax.nn.logsumexp(posterior[..., None] + log_probs, axis=0)


def _statistic(priors, log_weights):
  """Unites the statistics of all; None if one has none."""
  parts = [prior.statistic for prior in priors]
  if None in parts:
    return None
  if all(prior.exchangeable for prior in priors):  # The counts, for all.
    start, counts, update = parts[0].start, parts[0].counts, parts[0].update

    def split(values):
      return [values] * len(parts)

  else:  # Side by side. No entry can be raised alone, so none is a count.
    start = sum((part.start for part in parts), ())
    counts = (False,) * len(start)
    ends = np.cumsum([len(part.start) for part in parts])

    def split(values):
      begins = [0, *ends[:-1]]
      return [values[..., i:j] for i, j in zip(begins, ends, strict=True)]

    def update(values, tokens):
      pairs = zip(parts, split(values), strict=True)
      return np.concatenate([p.update(v, tokens) for p, v in pairs], axis=-1)

  def each(name, values):
    pairs = zip(parts, split(values), strict=True)
    return jnp.stack([getattr(part, name)(v) for part, v in pairs])

  def log_joint(values):
    evidence = each('log_evidence', values)
    weights = log_weights.astype(values.dtype)
    return weights.reshape(-1, *[1] * (evidence.ndim - 1)) + evidence

  def source_entropy(values):
    posterior = jax.nn.softmax(log_joint(values), axis=0)
    # What is impossible may have no entropy.
    terms = jnp.where(posterior > 0, each('source_entropy', values), 0.0)
    return jnp.sum(posterior * terms, axis=0)

  return types.Statistic(
    start=start,
    counts=counts,
    update=update,
    log_predictive=lambda x: _mix(log_joint(x), each('log_predictive', x)),
    log_evidence=lambda x: jax.nn.logsumexp(log_joint(x), axis=0),
    source_entropy=source_entropy,
  )


def _support(priors, weights):
  """Unites the supports of all with a weight; None if one has none."""
  parts = [p.support for p, w in zip(priors, weights, strict=True) if w > 0]
  if None in parts:
    return None
  return types.Support(
    points=_tables.distinct(sum((part.points for part in parts), ())),
    finite=all(part.finite for part in parts),
    covers=lambda table: any(part.covers(table) for part in parts),
  )


def _table_sampler(samplers, log_weights):
  """Draws a table; None if one has none, or if they are of several orders.

  As a table of another order a source would have other first tokens.
  """
  if None in samplers:
    return None
  shapes = {jax.eval_shape(draw, jax.random.key(0)).shape for draw in samplers}
  if len(shapes) > 1:
    return None
  return lambda key: _draw_one(key, samplers, log_weights)
