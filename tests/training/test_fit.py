"""The loop: what it minimises, what it leaves alone, what it repeats."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from bayes_prompting import errors
from bayes_prompting import keys
from bayes_prompting import predictors
from bayes_prompting import registry
from bayes_prompting import settings as settings_lib
from bayes_prompting import trees
from bayes_prompting.training import fit as fit_lib
from tests import testing

pytestmark = pytest.mark.keys  # See conftest.py.

# Made anew for every use: no key is used twice.
root_key = functools.partial(jax.random.key, 5)
SETTINGS = fit_lib.Settings(num_steps=5, batch_size=4, length=3, chunk_size=2)
RATE = 0.05


def fit(
  tuner,
  repetitions=1,
  settings=SETTINGS,
  torso='linear',
  learning_rates=RATE,
  network=None,
  **kwargs,
):
  """Fits by the linear torso: compiling a recurrence takes far longer."""
  predictor, params = network or testing.network(torso)
  problem = fit_lib.Problem(predictor, tuner, testing.single_coin(), settings)
  runs = fit_lib.runs(repetitions, learning_rates)
  return fit_lib.fit(root_key(), problem, params, runs, **kwargs)


class Reports(fit_lib.Recorder):
  """Remembers what was reported: steps done, and how many losses."""

  def __init__(self):
    self.seen = []

  def report(self, done, losses):
    self.seen.append((done, len(losses)))


def programs():
  """How many programs of updates there are."""
  return fit_lib._run_chunk_donating._cache_size()


def repetition(tree, r):
  return jax.tree.map(lambda leaf: leaf[r], tree)


def predictions(tuner, tunable, torso='linear'):
  """What is compared: weights may drift where nothing depends on them."""
  predictor, params = testing.network(torso)
  bound = tuner.bind(predictor, params, tunable)
  return predictor.predict(*bound, testing.all_sequences(2, 3))


@pytest.mark.parametrize(
  ('torso', 'name', 'kwargs'),
  [
    ('lstm', 'prefix', {'length': 2}),
    # Of several arrays: they are clipped together.
    ('linear', 'weights', {'patterns': ('unembedding', 'embedding')}),
  ],
)
def test_is_adam_on_the_clipped_gradient_of_the_mean_summed_loss(
  torso, name, kwargs
):
  # The same updates by hand, one at a time, from the documented streams.
  predictor, params = testing.network(torso)
  tuner = testing.tuner(name, **kwargs)
  prior = testing.single_coin()
  # A clip that bites, in every step, on the norm of what is tuned.
  settings = dataclasses.replace(SETTINGS, clip_norm=0.01)
  state, losses = fit(tuner, settings=settings, torso=torso)
  transform = optax.chain(optax.clip_by_global_norm(0.01), optax.adam(0.05))

  @jax.jit
  def start(key):
    tunable = tuner.init(key, predictor, params)
    return tunable, transform.init(tunable)

  @jax.jit
  def update(tunable, opt_state, batch_keys):
    tokens = jax.vmap(lambda key: prior.sample(key, 3).tokens)(batch_keys)

    def loss(tunable):
      bound, state = tuner.bind(predictor, params, tunable)
      log_probs = predictor.predict(bound, state, tokens)
      picked = jnp.take_along_axis(log_probs, tokens[..., None], -1)
      return -picked.sum() / len(tokens)

    value, gradient = jax.value_and_grad(loss)(tunable)
    updates, opt_state = transform.update(gradient, opt_state)
    tunable = optax.apply_updates(tunable, updates)
    return tunable, opt_state, value, optax.tree.norm(gradient)

  tunable, opt_state = start(keys.stream(root_key(), 'init', 0))
  for step in range(SETTINGS.num_steps):
    batch_keys = jax.random.split(keys.stream(root_key(), 'data', 0, step), 4)
    tunable, opt_state, loss, norm = update(tunable, opt_state, batch_keys)
    assert norm > 0.01
    np.testing.assert_allclose(losses[step, 0], loss, rtol=1e-4)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a[0], b, atol=1e-4),
    state.tunable,
    tunable,
  )


def test_a_shorter_last_chunk_and_exactly_as_many_updates():
  recorder = Reports()
  state, losses = fit(testing.tuner('prefix', length=1), recorder=recorder)
  assert recorder.seen == [(2, 2), (4, 2), (5, 1)]
  assert state.step == 5 and losses.shape == (5, 1)
  assert np.isfinite(losses).all()


@pytest.mark.parametrize('chunk_size', [1, 3, 50])
def test_chunks_make_no_difference(chunk_size):
  tuner = testing.tuner('prefix', length=2)
  expected, expected_losses = fit(tuner)
  settings = dataclasses.replace(SETTINGS, chunk_size=chunk_size)
  found, losses = fit(tuner, settings=settings)
  testing.assert_trees_identical(found.tunable, expected.tunable)
  np.testing.assert_array_equal(losses, expected_losses)


@pytest.mark.parametrize('schedule', settings_lib.SCHEDULES)
def test_stopped_and_resumed_is_uninterrupted_bit_for_bit(schedule):
  tuner = testing.tuner('lora', rank=1)
  settings = dataclasses.replace(SETTINGS, schedule=schedule)
  expected, expected_losses = fit(tuner, 2, settings)
  state, first = fit(tuner, 2, settings, stop=3)
  assert state.step == 3
  state, second = fit(tuner, 2, settings, state=state)
  testing.assert_trees_identical(state.carry, expected.carry)
  np.testing.assert_array_equal(
    np.concatenate([first, second]), expected_losses
  )


def test_the_same_twice_is_the_same_bit_for_bit():
  tuner = testing.tuner('weights')
  first, second = fit(tuner, 2), fit(tuner, 2)
  testing.assert_trees_identical(first[0].tunable, second[0].tunable)
  np.testing.assert_array_equal(first[1], second[1])


def test_each_repetition_starts_from_a_stream_of_its_own():
  tuner = testing.tuner('prefix', length=8, init='normal')
  settings = dataclasses.replace(SETTINGS, num_steps=0)
  state, _ = fit(tuner, 3, settings)
  predictor, params = testing.network('linear')
  starts = [
    tuner.init(keys.stream(root_key(), 'init', r), predictor, params)
    for r in range(3)
  ]
  np.testing.assert_allclose(state.tunable, starts, rtol=1e-6)


def test_repetitions_do_not_depend_on_each_other():
  tuner = testing.tuner('prefix', length=2)
  alone, alone_losses = fit(tuner, 1)
  three, three_losses = fit(tuner, 3)
  last, last_losses = fit(tuner, [2])
  np.testing.assert_allclose(three_losses[:, :1], alone_losses, rtol=1e-5)
  np.testing.assert_allclose(three_losses[:, 2:], last_losses, rtol=1e-5)
  for one, other in (
    (repetition(three.tunable, 0), repetition(alone.tunable, 0)),
    (repetition(three.tunable, 2), repetition(last.tunable, 0)),
  ):
    np.testing.assert_allclose(
      predictions(tuner, one), predictions(tuner, other), atol=1e-4
    )
  assert not np.allclose(three_losses[:, 0], three_losses[:, 1])


def names_in(tunable):
  """Names of dicts at any depth, among them the paths of weights."""
  if not isinstance(tunable, dict):
    return set()
  return {*tunable}.union(*map(names_in, tunable.values()))


def test_every_tuner_tunes_its_tunable_and_nothing_else(tuners_spec):
  tuner = registry.make('tuners', 'test', tuners_spec)
  if tuner.candidates is not None:
    with pytest.raises(errors.UserError, match='search'):
      fit(tuner)
    return
  network = testing.network_if(tuner, 'linear') or testing.network_for(tuner)
  predictor, params = network
  before = jax.tree.map(np.array, params)
  state, losses = fit(tuner, 2, network=network)
  # What it was given is untouched, and what it does not tune is passed on.
  testing.assert_trees_identical(params, before)

  @jax.jit
  def ends(key, params, tunable):
    start = tuner.init(key, predictor, params)
    return start, tuner.bind(predictor, params, tunable)[0]

  key = keys.stream(root_key(), 'init', 1)
  start, bound = ends(key, params, repetition(state.tunable, 1))
  tuned = names_in(state.tunable)
  frozen = trees.by_path(before)
  for path, leaf in trees.by_path(bound).items():
    if path not in tuned:
      np.testing.assert_array_equal(leaf, frozen[path])
  # It moves where it is trainable, and only there.
  moved = [
    not np.allclose(a[1], b, atol=1e-4)
    for a, b in zip(
      jax.tree.leaves(state.tunable), jax.tree.leaves(start), strict=True
    )
  ]
  assert any(moved) == tuner.trainable
  assert len(losses) == (SETTINGS.num_steps if tuner.trainable else 0)


def test_zero_steps_leave_everything_as_it_starts():
  settings = dataclasses.replace(SETTINGS, num_steps=0)
  state, losses = fit(testing.tuner('weights'), settings=settings)
  _, params = testing.network('linear')
  assert losses.shape == (0, 1)
  found = repetition(state.tunable, 0)
  testing.assert_trees_identical(found, trees.by_path(params))


def test_compiles_once_for_all_chunks_networks_and_resumptions():
  tuner = testing.tuner('prefix', length=2)
  predictor, params = testing.network('linear')
  before = programs()
  for scale in (1.0, 0.5):
    other = jax.tree.map(lambda leaf, s=scale: s * leaf, params)
    problem = fit_lib.Problem(predictor, tuner, testing.single_coin(), SETTINGS)
    args = (root_key(), problem, other, fit_lib.runs(2, RATE))
    state, _ = fit_lib.fit(*args, stop=3)
    fit_lib.fit(*args, state=state)
  assert programs() == before + 1


@pytest.mark.parametrize('schedule', settings_lib.SCHEDULES)
def test_a_grid_of_rates_is_its_fits_one_by_one_in_one_program(schedule):
  tuner = testing.tuner('prefix', length=3)
  settings = dataclasses.replace(SETTINGS, schedule=schedule)
  runs, rates = [0, 1, 0, 1], [0.05, 0.05, 0.2, 0.2]
  before = programs()
  grid, losses = fit(tuner, runs, settings, 'linear', learning_rates=rates)
  # Other rates are other numbers, not another program.
  fit(tuner, runs, settings, 'linear', learning_rates=[0.1, 0.2, 0.3, 0.4])
  assert programs() == before + 1
  for i, rate in enumerate((0.05, 0.2)):
    alone, alone_losses = fit(tuner, 2, settings, 'linear', rate)
    np.testing.assert_allclose(
      losses[:, 2 * i : 2 * i + 2], alone_losses, rtol=1e-5
    )
    for r in range(2):
      np.testing.assert_allclose(
        predictions(tuner, repetition(grid.tunable, 2 * i + r), 'linear'),
        predictions(tuner, repetition(alone.tunable, r), 'linear'),
        atol=1e-4,
      )
  # And of one shape: the rate of the settings is no part of the program either.
  assert programs() == before + 2
  assert not np.allclose(losses[-1, :2], losses[-1, 2:])


def test_runs_of_a_repetition_are_paired():
  tuner, runs = testing.tuner('prefix', length=3), [0, 1, 0, 1]
  # The same start and the same first batch: the first loss is the same.
  rates = [0.05, 0.05, 0.2, 0.2]
  _, losses = fit(tuner, runs, torso='linear', learning_rates=rates)
  np.testing.assert_array_equal(losses[0, :2], losses[0, 2:])
  assert losses[0, 0] != losses[0, 1]
  # With rates too small to move, so are all later ones: the same data.
  rates = [1e-12, 1e-12, 1e-11, 1e-11]
  _, losses = fit(tuner, runs, torso='linear', learning_rates=rates)
  np.testing.assert_array_equal(losses[:, :2], losses[:, 2:])


def test_starts_of_several_tuners_are_fitted_as_one():
  predictor, params = testing.network('linear')
  tuners = [
    testing.tuner('prefix', length=2, init=init) for init in ('zeros', 'normal')
  ]
  target = testing.single_coin()
  starts = [
    fit_lib.start(
      root_key(),
      fit_lib.Problem(predictor, tuner, target, SETTINGS),
      params,
      range(2),
    )
    for tuner in tuners
  ]
  np.testing.assert_array_equal(starts[0].tunable, 0)
  joined = fit_lib.concatenate(starts)
  state, losses = fit(tuners[0], [0, 1, 0, 1], torso='linear', state=joined)
  assert state.step == SETTINGS.num_steps
  for i, tuner in enumerate(tuners):
    alone, alone_losses = fit(tuner, 2, torso='linear')
    some = losses[:, 2 * i : 2 * i + 2]
    np.testing.assert_allclose(some, alone_losses, rtol=1e-5)
    for r in range(2):
      np.testing.assert_allclose(
        predictions(tuner, repetition(state.tunable, 2 * i + r), 'linear'),
        predictions(tuner, repetition(alone.tunable, r), 'linear'),
        atol=1e-4,
      )


def test_each_run_has_one_rate():
  with pytest.raises(errors.UserError, match=r'learning_rates.*3 runs.*2'):
    fit(testing.tuner('prefix', length=2), 3, learning_rates=[0.1, 0.2])


def test_meta_training_makes_a_bayesian_predictor():
  # A coin is one of two that tell themselves apart at the first toss.
  prior = testing.task_prior(
    'categorical_mixture',
    weights=(0.25, 0.75),
    probabilities=((1.0, 0.0), (0.0, 1.0)),
  )
  predictor, params = testing.network('lstm')
  tuner = testing.tuner('weights', start='random')
  problem = fit_lib.Problem(
    predictor, tuner, prior, fit_lib.Settings(200, 32, 3)
  )
  state, _ = fit_lib.fit(root_key(), problem, params, fit_lib.runs(1, 0.03))
  trained = trees.replace(params, repetition(state.tunable, 0))
  tokens = jnp.array([[0, 0, 0], [1, 1, 1]])
  found = predictor.predict(trained, predictor.start(trained), tokens)
  bayes = predictors.bayesian(prior)
  expected = bayes.predict({}, bayes.start({}), tokens)
  np.testing.assert_allclose(np.exp(found), np.exp(expected), atol=0.05)


def test_tuning_the_counts_of_bayes_finds_the_coin():
  # Beyond networks: the same loop on the exact predictor. The best state for
  # a known coin is one with very many counts in its proportions.
  predictor = predictors.bayesian(testing.random_coins())
  problem = fit_lib.Problem(
    predictor,
    testing.tuner('state', length=4),
    testing.single_coin(),
    fit_lib.Settings(300, 64, 5),
  )
  state, _ = fit_lib.fit(root_key(), problem, {}, fit_lib.runs(1, 0.1))
  counts = np.asarray(state.tunable[0]) + 1
  np.testing.assert_allclose(counts / counts.sum(), [0.2, 0.8], atol=0.05)
  assert counts.sum() > 10


def test_a_fixed_sample_is_drawn_from_again_and_again():
  # Nothing moves at this rate: a loss says which sequence a batch of one was.
  settings = dataclasses.replace(SETTINGS, num_steps=40, batch_size=1, length=8)
  tuner = testing.tuner('prefix', length=1)

  def losses(num_sequences):
    sized = dataclasses.replace(settings, num_sequences=num_sequences)
    # A network with a memory, so that few sequences have the same loss.
    _, found = fit(tuner, 2, sized, 'lstm', learning_rates=1e-9)
    return [np.unique(x.round(3)) for x in found.T]

  one, two = losses(1), losses(2)
  assert [len(x) for x in one] == [1, 1] and one[0] != one[1]
  for first, both in zip(one, two, strict=True):
    assert len(both) == 2 and first in both  # A larger sample holds a smaller.
  assert all(len(x) > 5 for x in losses(0))


def test_a_cosine_schedule_ends_at_zero():
  settings = dataclasses.replace(SETTINGS, schedule='cosine', num_steps=4)
  tuner = testing.tuner('prefix', length=2)
  steps = [
    np.asarray(fit(tuner, settings=settings, stop=k)[0].tunable)
    for k in range(5)
  ]
  sizes = [np.abs(b - a).max() for a, b in zip(steps, steps[1:], strict=False)]
  # Adam moves by about the rate: 0.05 times (1 + cos(pi k / 4)) / 2.
  np.testing.assert_allclose(sizes[0], 0.05, rtol=0.05)
  assert sizes[-1] < 0.4 * sizes[0]


def overflowing(**kwargs):
  """Three runs; the second overflows after some updates. Returns as `fit`."""
  settings = dataclasses.replace(SETTINGS, num_steps=6)
  rates = [0.05, 3e38, 0.05]
  return fit(
    testing.tuner('weights'),
    [0, 0, 1],
    settings,
    learning_rates=rates,
    **kwargs,
  )


def test_a_run_that_overflows_is_stopped_and_the_others_go_on():
  state, losses = overflowing()
  settings = dataclasses.replace(SETTINGS, num_steps=6)
  expected, expected_losses = fit(testing.tuner('weights'), [0, 1], settings)
  assert state.carry.alive.tolist() == [True, False, True]
  np.testing.assert_array_equal(losses[:, [0, 2]], expected_losses)
  for row, other in ((0, 0), (2, 1)):
    testing.assert_trees_identical(
      repetition(state.tunable, row), repetition(expected.tunable, other)
    )
  # The first update that is not finite is said, and nothing after it.
  first = np.isfinite(losses[:, 1]).argmin()
  assert first > 0
  assert not np.isfinite(losses[first:, 1]).any()
  assert np.isnan(losses[first + 1 :, 1]).all()
  # It stays where its loss was finite last.
  before, _ = overflowing(stop=int(first))
  testing.assert_trees_identical(
    repetition(state.tunable, 1), repetition(before.tunable, 1)
  )


def test_a_stopped_run_is_resumed_as_stopped():
  expected, expected_losses = overflowing()
  state, first = overflowing(stop=4)
  state, second = overflowing(state=state)
  testing.assert_trees_identical(state.tunable, expected.tunable)
  np.testing.assert_array_equal(state.carry.alive, expected.carry.alive)
  np.testing.assert_array_equal(
    np.concatenate([first, second]), expected_losses
  )


@jax.custom_vjp
def without_gradient(x):
  return x


without_gradient.defvjp(lambda x: (x, None), lambda _, g: (g * jnp.nan,))


def test_a_gradient_that_is_not_finite_stops_a_run_at_its_start():
  tuner = testing.tuner('prefix', length=1)

  def bind(predictor, params, tunable):
    return tuner.bind(predictor, params, without_gradient(tunable))

  recorder = Reports()
  broken = dataclasses.replace(tuner, bind=bind)
  state, losses = fit(broken, 2, recorder=recorder)
  assert not state.carry.alive.any() and state.step == SETTINGS.num_steps
  assert losses.shape == (5, 2) and np.isnan(losses).all()
  expected, _ = fit(tuner, 2, stop=0)
  testing.assert_trees_identical(state.tunable, expected.tunable)
  # Nothing changes any more, so no more is computed; all is reported once.
  assert sum(size for _, size in recorder.seen) == 5
  assert recorder.seen[-1][0] == 5
