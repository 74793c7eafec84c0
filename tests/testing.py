"""What tests share: tiny predictors, and enumeration of all sequences.

What is made here is immutable and kept: functions of predictors and priors are
static arguments of jit, so that the same object is compiled for once.
"""

import functools
import itertools
import pathlib
import re

import jax
import numpy as np

from bayes_prompting import errors
from bayes_prompting import predictors
from bayes_prompting import registry

ROOT = pathlib.Path(__file__).parents[1]


def blocks(name: str) -> list[str]:
  """Returns the blocks of Python in a document, by its path from the root."""
  text = (ROOT / name).read_text('utf-8')
  return re.findall(r'```python\n(.*?)```', text, re.DOTALL)


def task_prior(name, **kwargs):
  """Returns a task prior of the package."""
  return registry.make('task_priors', 'test', {'name': name, **kwargs})


def tuner(name, **kwargs):
  """Returns a tuner of the package."""
  return registry.make('tuners', 'test', {'name': name, **kwargs})


@functools.cache
def random_coins():
  """Returns the uniform prior over coins."""
  return task_prior('dirichlet_categorical', concentration=(1.0, 1.0))


@functools.cache
def single_coin():
  """Returns the paper's single coin."""
  return task_prior('categorical', probabilities=(0.2, 0.8))


@functools.cache
def two_coins():
  """Returns the paper's mixture of two coins."""
  return task_prior(
    'categorical_mixture',
    weights=(0.5, 0.5),
    probabilities=((0.2, 0.8), (0.8, 0.2)),
  )


@functools.cache
def network(torso='lstm', vocab_size=2, embedding_dim=4, seed=0, **kwargs):
  """Returns a tiny network and its random weights."""
  if torso in ('lstm', 'linear'):
    kwargs.setdefault('width', 5)
  if torso == 'transformer':
    kwargs.setdefault('num_heads', 2)
  module = registry.make('torsos', 'test', {'name': torso, **kwargs})
  predictor = predictors.network(module, vocab_size, embedding_dim)
  return predictor, jax.jit(predictor.init)(jax.random.key(seed))


# Torsos that tuners are tried on. Not every tuner takes every one.
TORSOS = ('lstm', 'transformer', 'linear', 'selective_ssm')


def network_if(tuner, torso):
  """Returns a tiny network and its weights; None if a tuner refuses it."""
  kwargs = {'num_heads': 4, 'state_dim': 4} if torso == 'selective_ssm' else {}
  predictor, params = network(torso, **kwargs)
  key = jax.random.key(0)
  try:
    jax.eval_shape(lambda key: tuner.init(key, predictor, params), key)
  except errors.UserError:
    return None
  return predictor, params


def network_for(tuner):
  """Returns the first of these networks that a tuner takes."""
  tried = (network_if(tuner, torso) for torso in TORSOS)
  return next(network for network in tried if network is not None)


def all_sequences(vocab_size, length):
  """Returns all V^N sequences, int32 [V^N, N]."""
  tokens = itertools.product(range(vocab_size), repeat=length)
  return np.asarray(list(tokens), np.int32).reshape(-1, length)


def assert_trees_identical(one, other):
  """Asserts that two trees are bit-identical."""
  assert jax.tree.structure(one) == jax.tree.structure(other)
  for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
    np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


def assert_results_agree(one, other):
  """Asserts that two results files agree within rounding."""
  assert one.sizes == other.sizes
  for name in one.data_vars:
    if one[name].dtype.kind == 'f':
      np.testing.assert_allclose(one[name], other[name], rtol=1e-4, atol=2e-4)
    else:
      np.testing.assert_array_equal(one[name], other[name])
