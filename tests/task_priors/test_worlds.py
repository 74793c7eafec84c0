"""Priors made of other priors: pools of drawn sources, and unions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bayes_prompting import errors
from bayes_prompting import registry
from bayes_prompting.theory import expectation
from tests import testing

COINS = {'name': 'dirichlet_categorical', 'concentration': (1.0, 1.0)}
COIN = {'name': 'categorical', 'probabilities': (0.2, 0.8)}
TWO = {
  'name': 'categorical_mixture',
  'weights': (0.5, 0.5),
  'probabilities': ((0.2, 0.8), (0.8, 0.2)),
}


def masses(prior, tokens):
  """Log mass of every sequence of a batch."""
  none = jnp.zeros((0, prior.vocab_size))
  found = jax.vmap(prior.predict, in_axes=(None, 0))(
    prior.prefill(none), tokens
  )
  picked = np.take_along_axis(np.asarray(found), tokens[..., None], -1)
  return picked[..., 0].astype(np.float64).sum(-1)


def union(**components):
  return testing.task_prior('union', components=components)


def test_a_pool_is_the_mixture_of_its_sources():
  pool = testing.task_prior('finite_pool', base=COINS, size=4, seed=3)
  assert pool.support.finite and len(pool.support.points) == 4
  chances = np.array([table[0, 1] for table in pool.support.points])
  tokens = testing.all_sequences(2, 5)
  ones = tokens.sum(-1)[:, None]
  expected = np.mean(chances**ones * (1 - chances) ** (5 - ones), axis=-1)
  np.testing.assert_allclose(np.exp(masses(pool, tokens)), expected, 1e-4)


def test_a_larger_pool_holds_a_smaller_and_seeds_differ():
  def points(size, seed):
    prior = testing.task_prior('finite_pool', base=COINS, size=size, seed=seed)
    return np.array([table[0, 0] for table in prior.support.points])

  np.testing.assert_array_equal(points(7, 0)[:3], points(3, 0))
  assert not np.isclose(points(3, 0), points(3, 1)).any()
  # They are drawn from the prior: uniform coins.
  many = points(2000, 5)
  assert abs(many.mean() - 0.5) < 0.03 and abs(many.var() - 1 / 12) < 0.01


def test_the_bayes_predictor_of_a_large_pool_is_that_of_its_prior():
  coins = testing.random_coins()
  gaps = []
  for size in (2, 64, 1024):
    pool = testing.task_prior('finite_pool', base=COINS, size=size)
    losses = expectation.expected_losses(coins, pool, 20)
    own = expectation.expected_losses(pool, pool, 20)
    gaps.append(losses.bayes.sum() - own.bayes.sum())
  assert gaps[0] > 0.5 > gaps[1] > gaps[2] > 0
  assert gaps[2] < 0.02


def test_a_pool_of_unions_mixes_tables():
  base = {
    'name': 'union',
    'components': {
      'coins': {'weight': 0.5, **COINS},
      'coin': {'weight': 0.5, **COIN},
    },
  }
  pool = testing.task_prior('finite_pool', base=base, size=50)
  assert pool.support.covers(np.array([[0.2, 0.8]]))
  # Of the sources, each once, only the coin was drawn many times.
  assert 10 < 51 - len(pool.support.points) < 40


def test_a_union_of_one_is_that_one():
  tokens = testing.all_sequences(2, 5)
  np.testing.assert_allclose(
    masses(union(coins={'weight': 1.0, **COINS}), tokens),
    masses(testing.random_coins(), tokens),
    atol=1e-5,
  )


def test_the_mass_of_a_union_is_the_mean_of_the_masses():
  tokens = testing.all_sequences(2, 6)
  found = union(
    a={'weight': 0.2, **COINS},
    b={'weight': 0.3, **COIN},
    c={'weight': 0.5, **TWO},
    d={'weight': 0.0, **COINS},
  )
  parts = testing.random_coins(), testing.single_coin(), testing.two_coins()
  expected = sum(
    w * np.exp(masses(p, tokens))
    for w, p in zip((0.2, 0.3, 0.5), parts, strict=True)
  )
  np.testing.assert_allclose(np.exp(masses(found, tokens)), expected, 1e-4)


def test_a_component_that_is_ruled_out_is_out_of_it():
  always = {'name': 'categorical', 'probabilities': (0.0, 1.0)}
  found = union(a={'weight': 0.5, **always}, b={'weight': 0.5, **COIN})
  none = found.prefill(jnp.zeros((0, 2)))
  after = np.exp(found.predict(none, jnp.array([1, 0, 1])))
  posterior = 0.5 / (0.5 + 0.5 * 0.8)  # Of the one that never shows a zero.
  np.testing.assert_allclose(after[1, 1], posterior + (1 - posterior) * 0.8)
  np.testing.assert_allclose(after[2], (0.2, 0.8), atol=1e-6)
  both = union(a={'weight': 1.0, **always}, b={'weight': 0.0, **COIN})
  gone = both.predict(both.prefill(jnp.zeros((0, 2))), jnp.array([0, 1]))
  assert np.isneginf(gone[1]).all()


def test_what_a_union_covers():
  found = union(a={'weight': 0.5, **TWO}, b={'weight': 0.5, **COIN})
  assert found.support.finite and len(found.support.points) == 2
  assert found.support.covers(np.array([[0.8, 0.2]]))
  assert not found.support.covers(np.array([[0.5, 0.5]]))
  without = union(a={'weight': 0.0, **TWO}, b={'weight': 1.0, **COIN})
  assert not without.support.covers(np.array([[0.8, 0.2]]))


@pytest.mark.parametrize(
  ('name', 'kwargs', 'field'),
  [
    ('finite_pool', {'base': 'coins', 'size': 3}, 'base: must be the spec'),
    ('finite_pool', {'base': COINS, 'size': 0}, 'size: must be a whole'),
    ('finite_pool', {'base': COINS, 'size': 2, 'seed': -1}, 'seed: must be'),
    ('finite_pool', {'base': {**COINS, 'a': 1}, 'size': 2}, "base .*'a'"),
    ('union', {'components': {}}, 'components: must be one or more'),
    ('union', {'components': {'a': 3}}, 'components.a: must be the spec'),
    ('union', {'components': {'a': COINS}}, 'components.a.weight: missing'),
    (
      'union',
      {'components': {'a': {'weight': 0.5, **COINS}}},
      r'components.\*.weight: .* sum to 1',
    ),
    (
      'union',
      {
        'components': {
          'a': {'weight': 0.5, **COINS},
          'b': {
            'weight': 0.5,
            'name': 'categorical',
            'probabilities': (0.2, 0.3, 0.5),
          },
        }
      },
      'components.b: has a vocabulary of 3, the first component has 2',
    ),
  ],
)
def test_refuses_what_is_no_prior(name, kwargs, field):
  with pytest.raises(errors.UserError, match=field) as info:
    testing.task_prior(name, **kwargs)
  assert '\n' not in str(info.value)


def _names(modules):
  return [module.__name__.rpartition('.')[2] for module in modules]


def test_the_modules_of_a_spec_are_all_that_it_is_made_of():
  spec = {
    'name': 'finite_pool',
    'base': {'name': 'union', 'components': {'a': {'weight': 1.0, **COINS}}},
    'size': 2,
    'list': [{'name': 'hmm_mixture'}],
    'other': {'name': 'gauss'},  # Of a user's own prior, and no spec.
    'name_of': {'name': {'name': 'switching'}},
  }
  found = registry.modules('task_priors', spec)
  assert sorted(_names(found)) == [
    'dirichlet_categorical',
    'finite_pool',
    'hmm_mixture',
    'switching',
    'union',
  ]


def test_what_a_module_is_hashed_with():
  (pool,) = registry.modules('task_priors', {'name': 'finite_pool'})
  helpers = registry.numerics([pool])
  assert {
    f'task_priors.{name}'
    for name in ('_table_mixture', '_markov', '_exchangeable', '_tables')
  } <= set(helpers)


def test_coins_and_chains_in_one_world_are_no_pool():
  chains = {'name': 'dirichlet_markov', 'order': 1, 'concentration': (1.0, 1.0)}
  components = {
    'coins': {'weight': 0.5, **COINS},
    'chains': {'weight': 0.5, **chains},
  }
  with pytest.raises(errors.UserError, match='base: .* of one order'):
    testing.task_prior(
      'finite_pool', base={'name': 'union', 'components': components}, size=2
    )
