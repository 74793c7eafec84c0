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
from bayes_prompting.task_priors import _mixture
from bayes_prompting.task_priors import _sources
from bayes_prompting.task_priors import _tables

# Raise it when numbers change: networks and results depend on it.
NUMERICS = 2

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

  The posterior weight of component m, up to a factor that all share, is its
  weight times the product of its own predictions of the history x. The
  predictive is the mean of theirs:

      W_m ~ w_m prod_t P_m(x_t | x_<t)
      P(v | x) = sum_m W_m P_m(v | x)

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
      read=functools.partial(_read_counts, priors, log_weights),
    )

  def sample(key, length):
    draw = [lambda k, p=prior: p.sample(k, length) for prior in priors]
    return _draw_one(key, draw, log_weights)

  def each(states, tokens):
    """Returns what every component predicts, [N, M, V]."""
    pairs = zip(priors, states, strict=True)
    return jnp.stack([p.predict(state, tokens) for p, state in pairs], axis=1)

  def prefill(rows):
    rows = jnp.asarray(rows, jnp.float32)
    none = [prior.prefill(rows[:0]) for prior in priors]
    tokens = rows.argmax(-1).astype(jnp.int32)
    where = tokens[:, None, None]
    seen = jnp.take_along_axis(each(none, tokens), where, axis=-1)[..., 0]
    # Rows that are not one-hot count as their most likely token, for all.
    rows = jax.nn.one_hot(rows.argmax(-1), vocab_size, dtype=jnp.float32)
    joint = log_weights.astype(np.float32) + seen.sum(0)
    return {
      'log_joint': _mixture.log_posterior(joint),
      'states': [prior.prefill(rows) for prior in priors],
    }

  def predict(state, tokens):
    of_components = each(state['states'], tokens)
    return _mixture.read(state['log_joint'], of_components, tokens)

  def observe(state, token):
    seen = each(state['states'], token[None])[0, :, token]  # [M]
    states = zip(priors, state['states'], strict=True)
    return {
      'log_joint': _mixture.log_posterior(state['log_joint'] + seen),
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
    scored=priors[0].scored,
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
    prior = registry.make('task_priors', field, spec)
    priors.append(_sources.check(field, prior))
    if priors[-1].vocab_size != priors[0].vocab_size:
      raise errors.UserError(
        f'{field}: has a vocabulary of {priors[-1].vocab_size}, the first '
        f'component has {priors[0].vocab_size}'
      )
    # Of three tokens: what is scored from the second on may be every other one.
    if priors[-1].positions(3) != priors[0].positions(3):
      raise errors.UserError(
        f'{field}: must score tokens at the same positions as the first '
        'component'
      )
  return priors, checks.weights('components.*.weight', weights, len(priors))


def _read_counts(priors, log_weights, counts, before, tokens):
  """Returns predictions [N, V] where counts say all, see `_exchangeable`."""
  parts = [prior.statistic for prior in priors]
  evidence = jnp.stack([part.log_evidence(counts) for part in parts])
  of_components = jnp.stack(
    [part.log_predictive(before) for part in parts], axis=1
  )
  joint = _mixture.log_joint(log_weights, evidence)
  return _mixture.read(joint, of_components, tokens)


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

  def each(name, values, axis=-1):
    pairs = zip(parts, split(values), strict=True)
    return jnp.stack([getattr(part, name)(v) for part, v in pairs], axis)

  def log_joint(values):  # [..., M]
    return _mixture.log_joint(log_weights, each('log_evidence', values))

  def log_predictive(values):
    of_components = each('log_predictive', values, axis=-2)
    return _mixture.log_predictive(log_joint(values), of_components)

  def source_entropy(values):
    joint, entropies = log_joint(values), each('source_entropy', values)
    # What is impossible may have no entropy.
    possible = _mixture.log_posterior(joint) > -jnp.inf
    return _mixture.mean(joint, jnp.where(possible, entropies, 0.0))

  return types.Statistic(
    start=start,
    counts=counts,
    update=update,
    log_predictive=log_predictive,
    log_evidence=lambda x: jax.nn.logsumexp(log_joint(x), axis=-1),
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
