"""An offset is added where memory is read, and changes nothing it remembers."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bayes_prompting import errors
from bayes_prompting import predictors
from bayes_prompting import registry
from tests import testing
from tests.torsos import by_hand
from tests.torsos import test_gated_delta
from tests.torsos import test_hybrid
from tests.torsos import test_linear_attention
from tests.torsos import test_linear_recurrence
from tests.torsos import test_mlstm
from tests.torsos import test_rwkv7
from tests.torsos import test_selective_ssm

RECURRENT = {'blocks': ('recurrent',), 'state_dim': 3, 'mlp_dim': 0}


def linear(params, u, offset=None):
  complex_offset = offset['real'] + 1j * offset['imaginary'] if offset else 0
  return test_linear_recurrence.recur_by_hand(params, u, 'lru', complex_offset)


# torso, its arguments, and its equations with (params, u, offset=...).
CASES = (
  (
    'selective_ssm',
    {'num_heads': 2, 'state_dim': 3, 'expand': 1},
    functools.partial(test_selective_ssm.scan_by_hand, expand=1),
  ),
  ('gated_delta', {'num_heads': 2}, test_gated_delta.write_by_hand),
  (
    'linear_attention',
    {'num_heads': 2},
    test_linear_attention.attend_by_hand,
  ),
  (
    'linear_attention',
    {'num_heads': 2, 'decay': 'fixed'},
    test_linear_attention.retain_by_hand,
  ),
  ('linear_recurrence', {'state_dim': 3}, linear),
  (
    'mlstm',
    {'num_heads': 2, 'forget': 'exponential'},
    functools.partial(test_mlstm.mix_by_hand, forget='exponential'),
  ),
  (
    'rwkv7',
    {'num_heads': 2, 'rank': 3, 'widening': 0},
    test_rwkv7.time_mix_by_hand,
  ),
  ('hybrid', RECURRENT, test_hybrid.recurrent_by_hand),
)


@pytest.mark.parametrize(('name', 'kwargs', 'equations'), CASES)
def test_against_the_equations(name, kwargs, equations):
  y, (state,), params, (offset,) = by_hand.offset_outputs(name, **kwargs)
  mixer = lambda params, u: equations(params, u, offset=offset)[0]
  expected = by_hand.stack(params, by_hand.X, mixer)
  np.testing.assert_allclose(y, expected, atol=2e-4)
  none = by_hand.stack(params, by_hand.X, lambda *args: equations(*args)[0])
  assert np.abs(y - none).max() > 0.05
  # It is remembered, and nothing else is remembered for it.
  testing.assert_trees_identical(state.pop('offset'), offset)
  _, (without,), _ = by_hand.outputs(name, **kwargs)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), state, without
  )


def test_every_torso_that_takes_one_is_tested():
  taken = {
    name
    for name in registry.names('torsos')
    if hasattr(registry.make('torsos', 'test', {'name': name}), 'empty_offset')
  }
  assert taken == {name for name, *_ in CASES}


@functools.cache
def program(torso, plain):
  predictor = predictors.network(torso, 2, by_hand.WIDTH, plain)
  tokens = testing.all_sequences(2, 3)

  @jax.jit
  def run(key, scale):
    params = predictor.init(key)
    offset = jax.tree.map(
      lambda x: (
        scale * jnp.cos(jnp.arange(x.size, dtype=jnp.float32)).reshape(x.shape)
      ),
      predictor.empty_offset(params),
    )

    def predict(offset):
      return predictor.predict(params, predictor.start(params, offset), tokens)

    steps = []
    state = predictor.start(params, offset)
    carry, log_probs = predictor.begin(params, state, tokens[5, :1], 2)
    for token in tokens[5, 1:]:
      steps.append(log_probs)
      carry, log_probs = predictor.step(params, carry, token)
    slopes = jax.grad(lambda x: predict(x)[..., 0].sum())(offset)
    unchanged = predictor.predict(params, predictor.start(params), tokens)
    return predict(offset), slopes, jnp.stack(steps), unchanged

  return run


@pytest.mark.parametrize(('name', 'kwargs', 'unused'), CASES)
def test_fast_plain_and_stepwise_are_the_same(name, kwargs, unused):
  torso = registry.make('torsos', 'test', {'name': name, **kwargs})
  fast, plain = (
    program(torso, x)(jax.random.key(0), np.float32(1)) for x in (False, True)
  )
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=2e-5),
    fast[:3],
    plain[:3],
  )
  np.testing.assert_allclose(fast[2], fast[0][5, 1:], atol=1e-5)
  assert all(np.abs(x).max() > 1e-6 for x in jax.tree.leaves(fast[1]))
  # Of zeros nothing is left, to the bit.
  zero = program(torso, False)(jax.random.key(0), np.float32(0))
  np.testing.assert_array_equal(zero[0], zero[3])


@pytest.mark.parametrize(
  ('name', 'kwargs'),
  [
    ('lstm', {}),
    ('gru', {}),
    ('transformer', {}),
    ('linear', {}),
    ('hybrid', {'blocks': ('attention',)}),
  ],
)
def test_others_are_refused(name, kwargs):
  torso = registry.make('torsos', 'test', {'name': name, **kwargs})
  predictor = predictors.network(torso, 2, by_hand.WIDTH)
  with pytest.raises(errors.UserError, match='state_offset.*selective_ssm'):
    testing.tuner('state_offset').init(jax.random.key(0), predictor, {})


def test_a_predictor_without_takes_no_offset():
  predictor, params = testing.network('linear')
  with pytest.raises(errors.UserError, match='^offset: .*reads no memory'):
    predictor.start(params, ())
