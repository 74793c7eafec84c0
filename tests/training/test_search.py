"""The search over all hard prefixes, against theory."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bayes_prompting import keys
from bayes_prompting import predictors
from bayes_prompting import regret
from bayes_prompting.theory import expectation
from bayes_prompting.theory import hard_prefixes
from bayes_prompting.training import fit
from bayes_prompting.training import search as search_lib
from bayes_prompting.tuners import _search
from tests import testing
from tests.slow import searches

pytestmark = pytest.mark.keys  # See conftest.py.

# Made anew for every use: no key is used twice.
root_key = functools.partial(jax.random.key, 2)


def search(
  predictor,
  params,
  target,
  length=6,
  repetitions=1,
  prefix_length=2,
  num_draws=512,
  tuner=None,
  **kwargs,
):
  own = {
    name: kwargs.pop(name)
    for name in ('num_sequences', 'sequence_block')
    if name in kwargs
  }
  problem = fit.Problem(
    predictor,
    tuner or testing.tuner('hard_prefix', length=prefix_length),
    target,
    fit.Settings(num_steps=0, batch_size=1, length=length, **own),
  )
  return search_lib.search(
    root_key(), problem, params, repetitions, num_draws=num_draws, **kwargs
  )


class Reports(fit.Recorder):
  def __init__(self):
    self.seen = []

  def report(self, done, losses):
    self.seen.append((done, losses.shape))


def test_best_prefix_of_bayes_for_the_coin_has_one_minority_token():
  bayes = predictors.bayesian(testing.random_coins())
  ranking = search(bayes, {}, testing.single_coin(), length=50, prefix_length=6)
  assert np.asarray(ranking.tunable[0]).sum() == 5
  # All its orders are equal to Bayes; a loss is the expected one within noise.
  tokens = testing.all_sequences(2, 6)
  target = testing.single_coin()
  expected = [
    expectation.expected_losses(testing.random_coins(), target, 50, row).bayes
    for row in ([0, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1], [0, 0, 0, 0, 0, 0])
  ]
  for row, curve in zip((0b011111, 0b111111, 0), expected, strict=True):
    assert (
      abs(ranking.losses[0, row] - curve.sum()) < 0.7
    )  # Noise common to all.
  gap = ranking.losses[0, 0b111111] - ranking.losses[0, 0b011111]
  np.testing.assert_allclose(
    gap, expected[1].sum() - expected[0].sum(), atol=0.1
  )
  for count in range(7):
    same = ranking.losses[0][tokens.sum(-1) == count]
    np.testing.assert_allclose(same, same[0], rtol=1e-5)


def test_a_fixed_sample_is_that_of_fits():
  predictor, params = testing.network('lstm')
  target = testing.single_coin()
  found = search(predictor, params, target, num_draws=50, num_sequences=3)
  numbers = keys.sample(root_key(), 0, jnp.arange(3))
  draws = jnp.stack([target.sample(k, 6).tokens for k in numbers])
  tuner = testing.tuner('hard_prefix', length=2)
  for row, loss in zip(
    tuner.candidates(predictor), found.losses[0], strict=True
  ):
    bound, state = tuner.bind(predictor, params, row)
    log_probs = predictor.predict(bound, state, draws)
    wanted = regret.log_loss(log_probs, draws).mean()
    np.testing.assert_allclose(loss, wanted, rtol=1e-5)


def test_losses_are_means_on_common_draws():
  predictor, params = testing.network('lstm')
  target = testing.single_coin()
  found = search(predictor, params, target, num_draws=50, sequence_block=16)
  draws = search_lib._draw(root_key(), target, 50, 6, jnp.arange(1))[0]
  assert len(np.unique(np.asarray(draws), axis=0)) > 10  # Independent draws.
  tuner = testing.tuner('hard_prefix', length=2)
  for candidate, loss in zip(
    tuner.candidates(predictor), found.losses[0], strict=True
  ):
    bound, state = tuner.bind(predictor, params, candidate)
    log_probs = predictor.predict(bound, state, draws)
    expected = regret.log_loss(log_probs, draws).mean()
    np.testing.assert_allclose(loss, expected, rtol=1e-5)


def test_blocks_make_no_difference():
  predictor, params = testing.network('lstm')
  args = (predictor, params, testing.single_coin())
  whole = search(*args)
  parts = search(*args, candidate_block=3, sequence_block=7)
  np.testing.assert_allclose(whole.losses, parts.losses, rtol=1e-5)


def test_repetitions_draw_on_their_own():
  predictor, params = testing.network('lstm')
  args = (predictor, params, testing.single_coin())
  three = search(*args, repetitions=3)
  alone = search(*args, repetitions=1)
  assert three.losses.shape == (3, 4)
  assert three.tunable.shape == (3, 2)
  np.testing.assert_allclose(three.losses[0], alone.losses[0], rtol=1e-5)
  assert not np.allclose(three.losses[0], three.losses[1])
  best = testing.all_sequences(2, 2)[three.losses.argmin(-1)]
  np.testing.assert_array_equal(three.tunable, best)


def test_an_impossible_prefix_ranks_last():
  prior = testing.task_prior(
    'categorical_mixture',
    weights=(0.5, 0.5),
    probabilities=((0.5, 0.5, 0.0), (0.4, 0.6, 0.0)),
  )
  target = testing.task_prior('categorical', probabilities=(0.5, 0.5, 0.0))
  found = search(predictors.bayesian(prior), {}, target)
  impossible = (testing.all_sequences(3, 2) == 2).any(-1)
  assert np.isposinf(found.losses[0, impossible]).all()
  assert np.isfinite(found.losses[0, ~impossible]).all()


def test_what_gives_nan_ranks_last():
  predictor, params = testing.network('lstm')
  tuner = testing.tuner('hard_prefix', length=2)
  outputs = [
    tuner.bind(predictor, params, candidate)[1]['output'][0]
    for candidate in tuner.candidates(predictor)
  ]
  middle = jnp.median(jnp.stack(outputs))

  def read(context, tokens):
    broken = context['output'][0] > middle
    return jnp.where(broken, jnp.nan, predictor.read(context, tokens))

  broken = dataclasses.replace(predictor, read=read)
  found = search(broken, params, testing.single_coin())
  assert np.isnan(found.losses).any() and not np.isnan(found.losses).all()
  best = testing.all_sequences(2, 2).tolist().index(found.tunable[0].tolist())
  assert found.losses[0, best] == np.nanmin(found.losses[0])


def test_reports_progress():
  predictor, params = testing.network('linear')
  recorder = Reports()
  search(
    predictor,
    params,
    testing.single_coin(),
    candidate_block=3,
    recorder=recorder,
  )
  assert recorder.seen == [(3, (3, 1)), (4, (1, 1))]


def proposing(name, max_candidates=40, length=6):
  return testing.tuner(
    'hard_prefix', length=length, search=name, max_candidates=max_candidates
  )


@pytest.mark.parametrize('name', _search.NAMES)
def test_a_search_scores_what_it_proposes_on_common_draws(name):
  predictor, params = testing.network('lstm')
  tuner = proposing(name)
  plan = tuner.candidates(predictor)
  assert plan.name == name
  assert plan.cost <= 40
  found = search(
    predictor, params, testing.single_coin(), tuner=tuner, num_draws=64
  )
  assert found.losses.shape == (1, plan.num_candidates)
  draws = search_lib._draw(
    root_key(), testing.single_coin(), 64, 6, np.arange(1)
  )

  @jax.jit
  def by_hand(prefix):
    bound, state = tuner.bind(predictor, params, prefix)
    log_probs = predictor.predict(bound, state, draws[0])
    return regret.log_loss(log_probs, draws[0]).mean()

  for number in (0, plan.num_candidates - 1, int(found.losses.argmin())):
    loss = by_hand(found.candidates[0, number])
    np.testing.assert_allclose(found.losses[0, number], loss, rtol=1e-5)
  best = found.candidates[0, found.losses[0].argmin()]
  np.testing.assert_array_equal(found.tunable[0], best)


@pytest.mark.parametrize('name', _search.NAMES)
@pytest.mark.parametrize('budget', [1, 2, 8, 9, 100, 4096])
@pytest.mark.parametrize('vocab_size, length', [(2, 1), (2, 25), (300, 3)])
def test_no_search_takes_more_than_its_budget(name, budget, vocab_size, length):
  plan = _search.make(name, vocab_size, length, budget)
  assert 0 < plan.num_candidates <= plan.cost <= budget
  assert plan.block <= plan.pool
  # The same for the same arguments: one program.
  assert plan is _search.make(name, vocab_size, length, budget)


def test_a_search_takes_the_best_of_a_pool_by_few_draws():
  predictor, params = testing.network('lstm')
  plan = proposing('evolution').candidates(predictor)
  tuner = proposing('evolution')
  pool = jnp.asarray(testing.all_sequences(2, 7)[:, :6])  # Each twice.
  assert len(pool) == plan.pool
  tokens = jnp.asarray(testing.all_sequences(2, 6))
  few = tokens[: 64 * plan.block // plan.pool]

  @jax.jit
  @jax.vmap
  def losses(prefix):
    bound, state = tuner.bind(predictor, params, prefix)
    return regret.log_loss(predictor.predict(bound, state, few), few).mean()

  chosen = search_lib._chosen(
    predictor, params, tuner, plan, pool, tokens, None
  )
  least = np.sort(losses(pool))[: plan.block]
  np.testing.assert_allclose(losses(chosen), least, rtol=1e-6)


def test_those_that_lose_least_pass_from_stage_to_stage():
  predictor, params = testing.network('lstm')
  tuner = proposing('race')
  plan = dataclasses.replace(
    tuner.candidates(predictor), stages=((64, 1 / 16), (9, 1 / 4), (2, 1.0))
  )
  pool = jnp.asarray(testing.all_sequences(2, 6))
  tokens = jnp.asarray(testing.all_sequences(2, 6))[::-1]

  @jax.jit
  @jax.vmap
  def losses(prefix):  # [P, D]
    bound, state = tuner.bind(predictor, params, prefix)
    return regret.log_loss(predictor.predict(bound, state, tokens), tokens)

  table = np.asarray(losses(pool))
  first = np.argsort(table[:, :4].sum(1))[:9]
  wanted = first[np.argsort(table[first, :16].sum(1))[:2]]
  chosen = search_lib._chosen(
    predictor, params, tuner, plan, pool, tokens, None
  )
  np.testing.assert_array_equal(chosen, pool[wanted])
  # Of 64, 9 and 2, on 1/16, 3/16 more, and on all.
  assert plan.cost == np.ceil(plan.rounds * (4 + 9 * 3 / 16 + 2))


@pytest.mark.parametrize('vocab_size, length', [(2, 12), (10, 3), (64, 2)])
def test_a_race_has_heats_for_all_and_then_goes_on(vocab_size, length):
  total = vocab_size**length
  budget = total // 10
  assert _search.race_reaches_all(vocab_size, length, budget)
  assert not _search.race_reaches_all(vocab_size, length, budget // 3)
  plan = _search.make('race', vocab_size, length, budget)
  memory, step = jax.jit(plan.start)(root_key()), jax.jit(plan.propose)
  learn, pools, last = jax.jit(plan.learn), [], []
  for number in range(plan.rounds):
    memory, pool = step(jax.random.key(number + 9), memory, None)
    # It loses what is wrong of its tokens; the best is all zeros.
    pool = np.asarray(pool)
    losses = (pool != 0).sum(-1).astype(np.float32)
    best = np.argsort(losses, kind='stable')[: plan.block]
    memory = learn(memory, pool[best], losses[best])
    (pools if number < -(-total // plan.pool) else last).append(pool)
  assert len(np.unique(np.concatenate(pools), axis=0)) == total
  # Then comes what is near the best, and was not scored on all draws before.
  scored = np.asarray(memory['prefixes'])[: len(pools) * plan.block]
  apart = (last[0][:, None] != scored[None]).sum(-1).min(1)
  assert (apart[:length] == 1).all()


def test_a_race_finds_the_best_at_a_tenth_of_the_cost():
  """The other searches, and 200 problems, are in tests.slow.searches."""
  for number in range(2):
    losses = searches.table(number, 'counts', 4, 6)
    index, loss, plan = searches.solve(number, 'auto', 'counts', 4, 6)
    assert plan.name == 'race' and plan.cost <= 409
    np.testing.assert_allclose(loss, losses[index], rtol=1e-3)
    assert losses[index] <= losses.min() + searches.ROUNDING


def test_slopes_are_the_gradient_of_the_mean_loss():
  predictor, params = testing.network('lstm')
  plan = proposing('coordinate').candidates(predictor)
  memory = plan.start(root_key())
  tokens = jnp.asarray(testing.all_sequences(2, 3))

  @jax.jit
  def by_hand(rows):
    state = predictor.prefill(params, predictor.embed(params, rows))
    log_probs = predictor.predict(params, state, tokens)
    return regret.log_loss(log_probs, tokens, (1, 2)).mean()

  rows = jax.nn.one_hot(memory['tokens'], 2)
  slopes = search_lib._slopes(
    predictor, params, plan, memory, tokens, (1, 2), block=3
  )
  np.testing.assert_allclose(slopes, jax.grad(by_hand)(rows), atol=1e-6)


def test_a_search_finds_the_best_prefix_of_25_tokens_over_coins():
  prior, target = testing.random_coins(), testing.single_coin()
  bayes = predictors.bayesian(prior)
  ranking = hard_prefixes.optimal_hard_prefix(prior, target, 25)
  regrets = {
    sum(prefix): loss
    for prefix, loss in zip(ranking.prefixes, ranking.regrets, strict=True)
  }
  tuner = testing.tuner('hard_prefix', length=25, max_candidates=120)
  assert tuner.candidates(bayes).name == 'coordinate'
  found = search(bayes, {}, target, length=50, num_draws=2048, tuner=tuner)
  gap = regrets[int(found.tunable.sum())] - ranking.regrets[0]
  assert gap < 0.01


class Keeping(fit.Recorder):
  """Keeps one state, and gives it back to who comes next."""

  def __init__(self, at):
    self.at, self.kept = at, None

  def restore(self, template):
    if self.kept is not None:
      wanted = template(self.at)
      jax.tree.map(
        lambda x, y: np.testing.assert_equal(x.shape, y.shape),
        wanted,
        self.kept,
      )
      return self.at, self.kept

  def due(self, done):
    return done == self.at and self.kept is None

  def keep(self, done, tree):
    self.kept = jax.tree.map(np.array, tree)


@pytest.mark.parametrize('name', _search.NAMES)
def test_a_search_goes_on_bit_for_bit(name):
  predictor, params = testing.network('lstm')
  tuner = proposing(name)
  args = predictor, params, testing.single_coin()
  plan = tuner.candidates(predictor)
  record = Keeping(plan.block * 2)
  kwargs = {'tuner': tuner, 'num_draws': 64, 'repetitions': 2}
  whole = search(*args, **kwargs, recorder=record)
  assert record.kept is not None
  testing.assert_trees_identical(
    whole, search(*args, **kwargs, recorder=record)
  )
  # A repetition proposes and draws what it would alone.
  second = search(*args, **kwargs | {'repetitions': [1]})
  np.testing.assert_array_equal(whole.candidates[1:], second.candidates)


@pytest.mark.parametrize('name', ['coordinate', 'evolution'])
def test_no_prefix_is_proposed_twice(name):
  plan = _search.make(name, 3, 10, 60)
  memory, step = jax.jit(plan.start)(root_key()), jax.jit(plan.propose)
  learn, pools = jax.jit(plan.learn), []
  for number in range(plan.rounds):
    key = jax.random.key(number + 9)
    memory, pool = step(key, memory, jnp.zeros((10, 3)))
    losses = pool[: plan.block].sum(-1).astype(jnp.float32)
    memory = learn(memory, pool[: plan.block], losses)
    pools.append(np.asarray(pool))
  pools = np.concatenate(pools)
  assert len(np.unique(pools, axis=0)) == len(pools)


def test_a_beam_keeps_the_best_extensions_once():
  """By hand, on a loss that wants 2, 1, 0 in this order."""
  plan = _search.make('beam', 3, 3, 4096)
  wanted = jnp.array([2, 1, 0])
  loss = jax.jit(
    lambda pool: (pool != wanted[None]).sum(-1).astype(jnp.float32)
  )
  memory = plan.start(root_key())
  step, learn = jax.jit(plan.propose), jax.jit(plan.learn)
  for number in range(plan.rounds):
    memory, pool = step(jax.random.key(number + 9), memory, None)
    memory = learn(memory, pool, loss(pool))
    assert (
      len(np.unique(memory['next'][jnp.isfinite(memory['losses'])], axis=0))
      == jnp.isfinite(memory['losses']).sum()
    )
  np.testing.assert_array_equal(memory['beam'][0], wanted)


def test_coordinate_ascent_gets_no_worse_before_it_is_stuck():
  plan = _search.make('coordinate', 3, 10, 60)
  step, learn = jax.jit(plan.propose), jax.jit(plan.learn)
  memory, before = jax.jit(plan.start)(root_key()), np.inf
  for number in range(plan.rounds):
    # The slopes are those of the loss: the best neighbours come first.
    slopes = -jax.nn.one_hot(jnp.arange(10) % 3, 3)
    memory, pool = step(jax.random.key(number + 9), memory, slopes)
    first = np.asarray(pool[: plan.block])
    losses = (first != np.arange(10) % 3).sum(-1).astype(np.float32)
    memory = learn(memory, first, losses)
    # One more token is right each round, which a random change rarely does.
    assert memory['loss'] < before or before == 0
    before = min(before, float(memory['loss']))


@pytest.mark.parametrize('name', _search.NAMES)
def test_a_search_that_was_made_inside_a_program_outlives_it(name):
  made = []

  def program():
    made.append(_search.make(name, 2, 7, 41))
    return 0

  jax.eval_shape(program)
  (plan,) = made
  slopes = jnp.zeros((7, 2))

  def propose(key):
    start_key, key = jax.random.split(key)
    return plan.propose(key, plan.start(start_key), slopes)[1]

  shape = jax.eval_shape(propose, root_key())
  assert shape.shape == (plan.pool, 7)
