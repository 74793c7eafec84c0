"""What is learned over many targets, against mathematics."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bayes_prompting import errors
from bayes_prompting import regret
from bayes_prompting.training import fit
from bayes_prompting.tuners import meta
from tests import testing

COINS = {'name': 'dirichlet_categorical', 'concentration': (1.0, 1.0)}
SOFT = {'name': 'prefix', 'length': 2}
STEEP = np.array([3.0, 0.5, 1.0], np.float32)
AWAY = np.array([1.0, -1.0, 0.3], np.float32)


def loss(x, data):
  return 0.5 * (STEEP * (x - data) ** 2).sum()


def divergence(x, data):
  return 0.5 * ((x - AWAY) ** 2).sum() + 0.0 * data.sum()


def by_hand(start, log_weight, some, others, steps, rate):
  """In NumPy, of the two quadratics above."""
  x, weight, slope = start.copy(), np.exp(log_weight), np.zeros_like(start)
  for _ in range(steps):
    pull = x - AWAY
    gradient = STEEP * (x - some) + weight * pull
    scale = rate / max(np.linalg.norm(gradient), 1.0)
    x, slope = x - scale * gradient, slope - scale * pull
  gradient = STEEP * (x - others)
  return gradient, weight * gradient @ slope


def of_steps(steps, rate, **change):
  start = np.array([0.2, 0.1, -0.4], np.float32)
  some, others = np.eye(3, dtype=np.float32)[:2] * 0.5
  log_weight = np.float32(-0.7)
  gradients = jax.jit(
    lambda start, log_weight: meta.first_order(
      **{'loss': loss, 'divergence': divergence} | change,
      learned=(start, log_weight),
      data=(some, others),
      steps=steps,
      rate=rate,
    )
  )(start, log_weight)
  return gradients, (start, log_weight, some, others, steps, rate)


def test_the_gradient_of_first_order_is_that_of_numpy():
  gradients, args = of_steps(5, 0.3)
  wanted = by_hand(*args)
  np.testing.assert_allclose(gradients.start, wanted[0], rtol=1e-5)
  np.testing.assert_allclose(gradients.log_weight, wanted[1], rtol=1e-5)


def test_of_one_step_the_gradient_by_the_weight_is_exact():
  # A hundredth of everything: no gradient is clipped.
  gradients, args = of_steps(
    1,
    0.3,
    loss=lambda x, data: loss(x, data) / 100,
    divergence=lambda x, data: divergence(x, data) / 100,
  )
  start, log_weight, some, others, _, rate = args

  @jax.jit
  @jax.grad
  def exact(log_weight):
    pull = STEEP * (start - some) + jnp.exp(log_weight) * (start - AWAY)
    return loss(start - rate * pull / 100, others) / 100

  np.testing.assert_allclose(gradients.log_weight, exact(log_weight), rtol=1e-5)


def test_without_a_regulariser_nothing_pulls():
  gradients, args = of_steps(5, 0.3, divergence=None)
  start, _, *rest = args
  wanted, _ = by_hand(start, -np.inf, *rest)
  np.testing.assert_allclose(gradients.start, wanted, rtol=1e-5)
  assert gradients.log_weight == 0


def test_sequences_of_a_target_are_of_one_chain():
  # Token 1 follows 0 always, 2 follows 1, 0 follows 2; the first is uniform.
  table = jnp.log(jnp.roll(jnp.eye(3), 1, axis=1))
  drawn = np.asarray(
    jax.jit(lambda key: meta.sample(key, table, 600, 4))(jax.random.key(0))
  )
  np.testing.assert_array_equal(np.diff(drawn) % 3, np.ones((600, 3)))
  assert np.abs(np.bincount(drawn[:, 0]) - 200).max() < 5 * np.sqrt(400 / 3)


def tuned(tuner, params, predictor, start):
  """Fits from one start; returns what is tuned, and losses."""
  problem = fit.Problem(
    predictor, tuner, testing.single_coin(), fit.Settings(3, 4, 5)
  )
  key, runs = jax.random.key(1), fit.runs(1, 0.1)
  state = fit.start(key, problem, params, [0])
  carry = state.carry._replace(tunable=start(state.tunable))
  state, losses = fit.fit(
    key, problem, params, runs, state=fit.FitState(carry, 0)
  )
  return jax.device_get(state.tunable), losses


def test_a_fit_is_that_of_the_inner_tuner_and_the_regulariser_keeps_it_near():
  predictor, params = testing.network('lstm')
  plain = testing.tuner(**SOFT)
  rows = np.array([[[0.0, 1, 0, 0], [1.0, 0, 0, 0]]], np.float32)
  alone, losses = tuned(plain, params, predictor, lambda _: rows)
  kwargs = {'tuner': SOFT, 'targets': COINS, 'meta_steps': 0}
  regularised = testing.tuner('meta', weight=1.0, **kwargs)
  # No regulariser: the same, bit for bit.
  zero = testing.tuner('meta', weight=0.0, **kwargs)
  assert zero.penalty is None
  again, same = tuned(zero, params, predictor, lambda _: {'tuned': rows})
  np.testing.assert_array_equal(again['tuned'], alone)
  np.testing.assert_array_equal(losses, same)

  def at(weight):
    log_weight = np.log(np.full(1, weight + 1e-30, np.float32))
    start = {'tuned': rows, 'log_weight': log_weight}
    return tuned(regularised, params, predictor, lambda _: start)

  # A weight of nothing is the same but for rounding.
  nothing, same = at(0.0)
  np.testing.assert_allclose(nothing['tuned'], alone, atol=1e-5)
  np.testing.assert_allclose(losses, same, rtol=1e-5)
  # The weight is no part of what is tuned, and pulls.
  much, penalised = at(100.0)
  np.testing.assert_allclose(np.exp(much['log_weight']), 100.0, rtol=1e-5)
  assert penalised[0] > losses[0]
  tokens = testing.all_sequences(2, 5)

  @jax.jit
  def divergence(rows):
    untuned = predictor.predict(params, predictor.start(params), tokens)
    bound = plain.bind(predictor, params, rows)
    return regret.kl(untuned, predictor.predict(*bound, tokens)).mean()

  assert divergence(much['tuned'][0]) < divergence(alone[0])


def test_a_start_that_was_learned_is_nearer_to_all_targets():
  """Coins that fall on 1 almost always, for a network that knows none."""
  predictor, params = testing.network('lstm')
  targets = {'name': 'dirichlet_categorical', 'concentration': (1.0, 19.0)}
  size = {'tasks': 2, 'sequences': 4, 'sequence_length': 5, 'inner_steps': 2}
  tokens = testing.all_sequences(2, 5)
  often = (tokens * np.log(0.95) + (1 - tokens) * np.log(0.05)).sum(-1)

  def expected_loss(meta_steps):
    tuner = testing.tuner(
      'meta', tuner=SOFT, targets=targets, meta_steps=meta_steps, **size
    )

    @jax.jit
    def of_start(key):
      tunable = tuner.init(key, predictor, params)
      bound = tuner.bind(predictor, params, tunable)
      losses = regret.log_loss(predictor.predict(*bound, tokens), tokens)
      return (np.exp(often) * losses).sum(), tunable['log_weight']

    return of_start(jax.random.key(3))

  (before, weight), (after, learned) = expected_loss(0), expected_loss(100)
  assert after < before - 0.05
  assert learned != weight  # It is learned, too.


def test_draws_are_the_same_with_64_bits():
  predictor, params = testing.network('lstm')
  tuner = testing.tuner('meta', tuner=SOFT, targets=COINS)
  with jax.enable_x64(True):
    program = jax.make_jaxpr(lambda key: tuner.init(key, predictor, params))(
      jax.random.key(0)
    )
  assert 'bit_width=64' not in str(program)


@pytest.mark.parametrize(
  'change, message',
  [
    ({'tuner': {'name': 'hard_prefix'}}, 'tuner: is not trained'),
    (
      {'tuner': {'name': 'meta', 'tuner': SOFT, 'targets': COINS}},
      'tuner: has a regulariser',
    ),
    (
      {
        'targets': {
          'name': 'switching',
          'hazard': 0.1,
          'concentration': (1.0, 1.0),
        }
      },
      'targets: must be a prior whose sources are tables',
    ),
  ],
)
def test_what_cannot_be_learned_is_refused(change, message):
  with pytest.raises(errors.UserError, match=message):
    testing.tuner('meta', **{'tuner': SOFT, 'targets': COINS} | change)


def test_another_vocabulary_is_refused():
  predictor, params = testing.network('lstm', vocab_size=3)
  tuner = testing.tuner('meta', tuner=SOFT, targets=COINS)
  with pytest.raises(errors.UserError, match='targets: has a vocabulary of 2'):
    jax.eval_shape(
      lambda key: tuner.init(key, predictor, params), jax.random.key(0)
    )


def test_a_composition_has_the_regularisers_of_its_tuners():
  kwargs = {'tuner': SOFT, 'targets': COINS, 'meta_steps': 0}
  both = testing.tuner(
    'compose',
    tuners={
      'prompt': {'name': 'meta', **kwargs},
      'weights': {'name': 'lora', 'rank': 1},
    },
  )
  one = testing.tuner('meta', **kwargs)
  tunable = {'log_weight': np.float32(0.5)}
  log_probs = np.log(np.full((3, 4, 2), 0.5, np.float32))
  skewed = np.log(np.tile(np.float32([0.9, 0.1]), (3, 4, 1)))
  np.testing.assert_array_equal(
    both.penalty({'prompt': tunable, 'weights': {}}, log_probs, skewed),
    one.penalty(tunable, log_probs, skewed),
  )
  wanted = np.exp(0.5) * 4 * (0.9 * np.log(1.8) + 0.1 * np.log(0.2))
  np.testing.assert_allclose(
    one.penalty(tunable, log_probs, skewed), wanted, rtol=1e-5
  )
