"""Every tuner is held to its contract, and each to what it promises."""

import dataclasses
import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from bayes_prompting import errors
from bayes_prompting import keys
from bayes_prompting import predictors
from bayes_prompting import registry
from bayes_prompting import regret
from bayes_prompting import settings
from bayes_prompting import trees
from bayes_prompting.experiment import build
from bayes_prompting.settings import plain
from bayes_prompting.tuners import vera
from tests import testing

# Made anew for every use: no key is used twice.
root_key = functools.partial(jax.random.key, 3)
TOKENS = testing.all_sequences(2, 3)


_made = {}


@pytest.fixture
def tuner(tuners_spec):
  """One object for all tests of a spec, so that its programs serve them all."""
  name = repr(tuners_spec)
  if name not in _made:
    _made[name] = registry.make('tuners', 'test', tuners_spec)
  return _made[name]


# The tuners of the package that do not take any torso, and those they take.
TAKE = {'state_offset': {'selective_ssm'}, 'deep_prefix': {'transformer'}}


def test_these_torsos_are_taken(tuner, tuners_spec):
  taken = {
    torso for torso in testing.TORSOS if testing.network_if(tuner, torso)
  }
  assert taken == TAKE.get(tuners_spec['name'], {*testing.TORSOS})


@functools.cache
def bound_to(tuner, torso):
  """Returns weights, then what is bound and predicted; None if refused."""
  network = testing.network_if(tuner, torso)
  if network is None:
    return None
  predictor, params = network

  @jax.jit
  def run(key, params):
    tunable = tuner.init(key, predictor, params)
    bound, state = tuner.bind(predictor, params, tunable)
    return bound, predictor.predict(bound, state, TOKENS)

  return params, *jax.device_get(run(root_key(), params))


SEEDS = 8


@functools.cache
def together(tuner):
  """Returns starts, predictions and gradients of several keys at once.

  Gradients are None if nothing is trained. Whatever test comes first watches
  the keys.
  """
  predictor, params = testing.network_for(tuner)

  @jax.jit
  @jax.vmap
  def run(key):
    tunable = tuner.init(key, predictor, params)

    def predict(tunable):
      bound, state = tuner.bind(predictor, params, tunable)
      log_probs = predictor.predict(bound, state, TOKENS)
      return -log_probs[..., 0].sum(), log_probs

    if not tuner.trainable:
      return tunable, predict(tunable)[1], None
    gradient, log_probs = jax.grad(predict, has_aux=True)(tunable)
    return tunable, log_probs, gradient

  seeds = jax.random.split(root_key(), SEEDS)
  return jax.device_get(run(seeds))


@pytest.mark.parametrize('torso', testing.TORSOS)
def test_bind_gives_what_the_predictor_runs_with(tuner, torso, tuners_spec):
  name = tuners_spec['name']
  example = registry.module('tuners', name).EXAMPLES[0]
  if torso != 'lstm' and tuners_spec != {'name': name, **example}:
    return  # What torsos differ in is the same for all of a tuner's options.
  found = bound_to(tuner, torso)
  if found is None:
    return  # Which they are, is tested above.
  params, bound, log_probs = found
  assert jax.tree.structure(bound) == jax.tree.structure(params)
  assert jax.tree.map(jnp.shape, bound) == jax.tree.map(jnp.shape, params)
  np.testing.assert_allclose(np.exp(log_probs).sum(-1), 1.0, atol=1e-5)


@pytest.mark.keys  # See conftest.py.
def test_works_under_jit_and_vmap(tuner, tuners_spec):
  name = tuners_spec['name']
  if tuners_spec == {
    'name': name,
    **registry.module('tuners', name).EXAMPLES[0],
  }:
    predictor, params = testing.network_for(tuner)
    start = jax.tree.map(lambda x: x[1], together(tuner)[0])

    @jax.jit
    def run(tunable):
      return predictor.predict(*tuner.bind(predictor, params, tunable), TOKENS)

    np.testing.assert_allclose(run(start), together(tuner)[1][1], atol=1e-5)


@pytest.mark.keys  # See conftest.py.
def test_random_says_whether_the_key_makes_a_difference(tuner):
  starts = jax.tree.leaves(together(tuner)[0])
  if any(
    not np.array_equal(x, np.broadcast_to(x[:1], x.shape)) for x in starts
  ):
    assert tuner.random


def test_draws_are_the_same_with_64_bits(tuner):
  predictor, params = testing.network_for(tuner)
  with jax.enable_x64(True):
    program = jax.make_jaxpr(lambda key: tuner.init(key, predictor, params))(
      root_key()
    )
  named = 'bit_width=64' not in str(program)
  assert named, 'a draw has no dtype by name, such as jnp.int32 or jnp.float32'


@pytest.mark.keys  # See conftest.py.
def test_what_is_trainable_is_float_and_has_a_gradient(tuner):
  if not tuner.trainable:
    return
  leaves = jax.tree.leaves(together(tuner)[2])
  assert leaves
  assert all(leaf.dtype == jnp.float32 for leaf in leaves)
  assert any(np.any(leaf != 0) for leaf in leaves)
  assert all(np.all(np.isfinite(leaf)) for leaf in leaves)


def test_prefix_forms_are_what_they_say():
  predictor, params = testing.network('lstm', vocab_size=3)
  kernel, bias = params['embedding']['kernel'], params['embedding']['bias']
  z = jnp.array([[0.5, -1.0, 2.0], [0.0, 0.0, 1.0]], jnp.float32)
  expected = {
    'real': z @ kernel + bias[None],
    'simplex': jax.nn.softmax(z) @ kernel + bias[None],
  }
  for form, prefix in expected.items():
    tuner = testing.tuner('prefix', form=form, length=2)
    _, state = tuner.bind(predictor, params, z)
    wanted = predictor.prefill(params, prefix)
    jax.tree.map(
      lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), state, wanted
    )
  soft = testing.tuner('prefix', form='soft', length=2)
  _, state = soft.bind(predictor, params, expected['real'])
  testing.assert_trees_identical(
    state, predictor.prefill(params, expected['real'])
  )


@pytest.mark.parametrize('form', ['soft', 'real'])
def test_random_tokens_start_at_a_hard_prefix(form):
  predictor, params = testing.network('lstm', vocab_size=3)
  tuner = testing.tuner('prefix', form=form, length=4, init='random_token')
  _, state = tuner.bind(
    predictor, params, tuner.init(root_key(), predictor, params)
  )
  hard = testing.tuner('hard_prefix', length=4)

  @jax.vmap
  def distance(candidate):
    _, other = hard.bind(predictor, params, candidate)
    return jnp.abs(state['output'] - other['output']).max()

  distances = jax.jit(distance)(hard.candidates(predictor))
  assert min(distances) < 1e-6
  assert np.sort(distances)[1] > 1e-4  # And at just one of them.


def test_simplex_tokens_start_at_nine_tenths():
  predictor, params = testing.network('lstm', vocab_size=3)
  tuner = testing.tuner(
    'prefix', form='simplex', length=50, init='random_token'
  )
  mixtures = jax.nn.softmax(tuner.init(root_key(), predictor, params))
  expected = np.tile([0.05, 0.05, 0.9], (50, 1))
  np.testing.assert_allclose(np.sort(mixtures), expected, atol=1e-6)


@pytest.mark.parametrize(
  'form, width', [('soft', 4), ('real', 3), ('simplex', 3)]
)
def test_one_hot_rows_are_drawn_in_what_is_tuned(form, width):
  predictor, params = testing.network('lstm', vocab_size=3)
  tuner = testing.tuner('prefix', form=form, length=600, init='one_hot')
  rows = np.asarray(tuner.init(root_key(), predictor, params))
  assert rows.shape == (600, width)
  np.testing.assert_array_equal(
    np.sort(rows), np.tile(np.eye(width)[-1], (600, 1))
  )
  # Each coordinate equally often, within five standard deviations.
  spread = np.sqrt(600 * (1 / width) * (1 - 1 / width))
  assert np.abs(rows.sum(0) - 600 / width).max() < 5 * spread
  other = tuner.init(jax.random.key(4), predictor, params)
  assert not np.array_equal(rows, other)


@pytest.mark.parametrize(
  'name, more',
  [
    ('prefix', {'form': 'real', 'init': 'random_token'}),
    ('hard_prefix', {'choose': 'random'}),
  ],
)
def test_tokens_are_drawn_equally_often(name, more):
  predictor, params = testing.network('lstm', vocab_size=3)
  tuner = testing.tuner(name, length=600, **more)
  drawn = np.asarray(tuner.init(root_key(), predictor, params))
  tokens = drawn if drawn.ndim == 1 else drawn.argmax(-1)
  # Within five standard deviations of a third.
  counts = np.bincount(tokens, minlength=3)
  assert np.abs(counts - 200).max() < 5 * np.sqrt(600 * 2 / 9)


def test_prefixes_start_from_one_hot_rows_as_in_the_paper():
  predictor, params = testing.network('lstm')

  def starts(**init):
    for name, more in (
      ('prefix', {'form': 'soft'}),
      ('prefix', {'form': 'real'}),
      ('prefix', {'form': 'simplex'}),
      ('state', {}),
    ):
      tuner = testing.tuner(name, length=2, **more, **init)
      yield tuner.init(root_key(), predictor, params)

  testing.assert_trees_identical(list(starts()), list(starts(init='one_hot')))
  # The default of a tuner and that of a configuration are the same.
  config = settings.base_config()
  assert config.tuning.prefix_init == ('one_hot',)
  methods = plain.resolved(plain.of(config))['methods']
  for method in ('SimplexPT', 'RealPT', 'SoftPT', 'StatePT'):
    assert methods[method]['init'] == ['one_hot']


def test_state_tuning_starts_behind_the_rows_of_a_soft_prefix():
  predictor, params = testing.network('lstm')
  state, prefix = (
    testing.tuner(name, length=3) for name in ('state', 'prefix')
  )
  rows = prefix.init(root_key(), predictor, params)
  testing.assert_trees_identical(
    state.init(root_key(), predictor, params),
    prefix.bind(predictor, params, rows)[1],
  )


@pytest.mark.parametrize('form', ['soft', 'real', 'simplex'])
def test_prefix_initialisations(form):
  predictor, params = testing.network('lstm')

  def start(init):
    tuner = testing.tuner(
      'prefix', form=form, length=500, init=init, init_scale=0.5
    )
    return np.asarray(tuner.init(root_key(), predictor, params))

  assert not start('zeros').any()
  assert abs(start('normal').std() - 0.5) < 0.05
  uniform = start('uniform')
  assert uniform.min() < -0.48 and 0.48 < uniform.max()
  assert np.abs(uniform).max() <= 0.5


def test_weights_match_whole_names_only():
  predictor, params = testing.network('lstm')
  for pattern in ('embedding', 'unembedding'):
    tunable = testing.tuner('weights', patterns=(pattern,)).init(
      root_key(), predictor, params
    )
    assert set(tunable) == {f'{pattern}/kernel', f'{pattern}/bias'}


def test_a_tied_unembedding_cannot_be_tuned_alone():
  torso = registry.make('torsos', 'test', {'name': 'lstm', 'width': 4})
  predictor = predictors.network(torso, 2, 4, tied_unembedding=True)
  params = jax.eval_shape(predictor.init, jax.random.key(0))
  for name in ('weights', 'lora'):
    tuner = testing.tuner(name, patterns=('unembedding',))
    with pytest.raises(errors.UserError, match='unembedding.*mean embedding'):
      tuner.init(root_key(), predictor, params)
  tuner = testing.tuner('weights', patterns=('embedding',))
  tunable = tuner.init(root_key(), predictor, params)
  assert set(tunable) == {'embedding/kernel', 'embedding/bias'}


def test_full_weights_start_where_the_network_is():
  predictor, params = testing.network('transformer')
  tuner = testing.tuner('weights')
  bound, state = tuner.bind(
    predictor, params, tuner.init(root_key(), predictor, params)
  )
  testing.assert_trees_identical(bound, params)
  testing.assert_trees_identical(state, predictor.start(params))


# Tuners that change weights by a formula, of which the start is the identity.
FORMULAS = {
  'lora': {'rank': 1, 'alpha': 3.0, 'rank_stabilised': True},
  'dora': {'rank': 1, 'alpha': 3.0},
  'vera': {'rank': 5},
  'ia3': {'input_patterns': ('torso', 'unembedding')},
}


@pytest.mark.parametrize('torso', registry.names('torsos'))
def test_lora_dora_vera_ia3_are_the_identity_at_their_start(torso):
  example = registry.module('torsos', torso).EXAMPLES[0]
  module = registry.make('torsos', 'test', {'name': torso, **example})
  predictor = predictors.network(module, 2, 4)
  rng = np.random.default_rng(0)
  params = jax.tree.map(
    lambda x: rng.normal(size=x.shape).astype(np.float32),
    jax.eval_shape(predictor.init, root_key()),
  )
  # Weights are compared, and no state.
  predictor = dataclasses.replace(predictor, prefill=lambda *unused: ())

  @jax.jit
  @functools.partial(jax.vmap, in_axes=(0, None))
  def starts(key, params):
    bound = []
    for name, kwargs in FORMULAS.items():
      tuner = testing.tuner(name, **kwargs)
      tunable = tuner.init(keys.stream(key, name), predictor, params)
      bound.append(tuner.bind(predictor, params, tunable)[0])
    return bound

  split = jax.random.split(root_key(), 2)
  for bound in starts(split, params):
    for repetition in range(2):
      testing.assert_trees_identical(
        jax.tree.map(lambda x, at=repetition: x[at], bound), params
      )


@pytest.mark.parametrize('name', ['lora', 'dora'])
def test_every_matrix_of_a_lora_starts_from_a_key_of_its_own(name):
  predictor, params = testing.network('lstm')
  tunable = testing.tuner(name, rank=2).init(root_key(), predictor, params)
  assert tunable and all(factor['a'].any() for factor in tunable.values())
  starts = {np.asarray(factor['a']).tobytes() for factor in tunable.values()}
  assert len(starts) == len(tunable)


def test_lora_starts_with_a_variance_of_one_over_its_inputs():
  predictor, params = testing.network('linear', embedding_dim=25, width=400)
  tuner = testing.tuner('lora', rank=20)
  tunable = tuner.init(root_key(), predictor, params)
  ((path, factor),) = tunable.items()
  assert factor['a'].shape == (25, 20) and path.endswith('kernel')
  # Of 500 numbers the standard deviation is known within 3.2%.
  assert abs(np.std(factor['a']) * 5 - 1) < 0.15


def test_lora_adds_a_scaled_update_of_its_rank():
  predictor, params = testing.network('lstm')
  tuner = testing.tuner('lora', rank=2, alpha=6.0)
  tunable = tuner.init(root_key(), predictor, params)
  tunable = jax.tree.map(lambda x: x + 1.0 + jnp.cos(9 * x), tunable)
  bound, _ = tuner.bind(predictor, params, tunable)
  before, after = trees.by_path(params), trees.by_path(bound)
  for path, factor in tunable.items():
    update = np.asarray(after[path] - before[path], np.float64)
    expected = 3.0 * factor['a'] @ factor['b']
    np.testing.assert_allclose(update, expected, atol=1e-4)
    assert np.linalg.matrix_rank(update, tol=1e-3) <= 2
  for path in before.keys() - tunable.keys():
    np.testing.assert_array_equal(before[path], after[path])


def moved(tunable):
  """A tunable away from its start, all leaves different."""
  return jax.tree.map(lambda x: x + 0.5 + 0.3 * jnp.cos(9 * x), tunable)


def lora_forward(x, kernel, bias, tuned):
  """rsLoRA's equation: alpha / sqrt(rank)."""
  return x @ kernel + 3 / np.sqrt(2) * (x @ tuned['a'] @ tuned['b']) + bias


def dora_forward(x, kernel, bias, tuned):
  """Equation 5 of the paper; a column of a kernel is an output."""
  directed = kernel + 3 / 2 * tuned['a'] @ tuned['b']
  magnitude = np.linalg.norm(kernel, axis=0) + tuned['magnitude']
  return magnitude * (x @ directed) / np.linalg.norm(directed, axis=0) + bias


def vera_forward(x, kernel, bias, tuned):
  """Equation 2 of the paper, transposed."""
  a, b = (
    np.asarray(vera.random_factor(1, *arguments), np.float64)
    for arguments in (('a', len(kernel), 7), ('b', 7, kernel.shape[1]))
  )
  return x @ kernel + tuned['b'] * ((tuned['d'] * (x @ a)) @ b) + bias


def ia3_forward(x, kernel, bias, tuned):
  """Activations are scaled, on both sides."""
  return tuned['outputs'] * ((tuned['inputs'] * x) @ kernel + bias)


@pytest.mark.parametrize(
  'name, kwargs, forward',
  [
    (
      'lora',
      {'rank': 2, 'alpha': 3.0, 'rank_stabilised': True},
      lora_forward,
    ),
    ('dora', {'rank': 2, 'alpha': 3.0}, dora_forward),
    ('vera', {'rank': 7, 'seed': 1}, vera_forward),
    ('ia3', {'input_patterns': ('torso',)}, ia3_forward),
  ],
)
def test_lora_dora_vera_ia3_agree_with_their_papers(name, kwargs, forward):
  predictor, params = testing.network('linear')
  # Nothing is zero, as biases are at first.
  params = jax.tree.map(lambda x: x + 0.2 * jnp.cos(5 * x), params)
  tuner = testing.tuner(name, **kwargs)

  @jax.jit
  def run(key, params):
    tunable = moved(tuner.init(key, predictor, params))
    bound, state = tuner.bind(predictor, params, tunable)
    return tunable, bound, predictor.predict(bound, state, TOKENS)

  tunable, bound, log_probs = run(root_key(), params)
  exact = jax.tree.map(lambda x: np.asarray(x, np.float64), (params, tunable))
  (weights, ((path, tuned),)) = exact[0], exact[1].items()
  assert path == 'torso/dense/kernel'
  for layer in ('embedding', 'unembedding'):
    testing.assert_trees_identical(bound[layer], params[layer])

  def dense(layer, x):
    return x @ layer['kernel'] + layer['bias']

  # What is predicted at a token follows from the one before.
  before = np.concatenate([np.zeros((8, 1, 2)), np.eye(2)[TOKENS[:, :-1]]], 1)
  layer = weights['torso']['dense']
  hidden = forward(
    dense(weights['embedding'], before), layer['kernel'], layer['bias'], tuned
  )
  logits = dense(weights['unembedding'], hidden)
  expected = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
  np.testing.assert_allclose(log_probs, expected, rtol=1e-4, atol=1e-5)
  assert np.ptp(expected) > 0.1


@pytest.mark.parametrize('constant_norm', [True, False])
def test_dora_has_the_gradient_of_its_paper(constant_norm):
  predictor, params = testing.network('linear')
  tuner = testing.tuner('dora', rank=2, constant_norm=constant_norm)
  outer = np.cos(np.arange(20.0)).reshape(4, 5)

  @jax.jit
  def run(key, params):
    def loss(tunable):
      bound, _ = tuner.bind(predictor, params, tunable)
      return jnp.sum(bound['torso']['dense']['kernel'] * outer)

    tunable = moved(tuner.init(key, predictor, params))
    return tunable, jax.grad(loss)(tunable)

  (tuned,), (gradient,) = (
    [
      jax.tree.map(lambda x: np.asarray(x, np.float64), x)
      for x in tree.values()
    ]
    for tree in run(root_key(), params)
  )
  kernel = np.asarray(params['torso']['dense']['kernel'], np.float64)
  directed = kernel + tuned['a'] @ tuned['b']
  norm = np.linalg.norm(directed, axis=0)
  unit = directed / norm
  magnitude = np.linalg.norm(kernel, axis=0) + tuned['magnitude']
  # Equations 11, and 6 and 7.
  of_direction = magnitude / norm * outer
  if not constant_norm:
    of_direction -= magnitude / norm * unit * (unit * outer).sum(0)
  expected = {
    'a': of_direction @ tuned['b'].T,
    'b': tuned['a'].T @ of_direction,
    'magnitude': (unit * outer).sum(0),
  }
  for name, value in expected.items():
    np.testing.assert_allclose(gradient[name], value, rtol=1e-3, atol=1e-4)


def test_dora_of_a_column_of_zeros_is_finite():
  predictor, params = testing.network('linear')
  params = jax.tree.map(jnp.zeros_like, params)
  tuner = testing.tuner('dora', rank=2, constant_norm=False)

  @jax.jit
  def run(key, params):
    def loss(tunable):
      bound, _ = tuner.bind(predictor, params, tunable)
      return jnp.sum(bound['torso']['dense']['kernel']), bound

    tunable = tuner.init(key, predictor, params)
    return jax.grad(loss, has_aux=True)(tunable)

  gradient, bound = run(root_key(), params)
  testing.assert_trees_identical(bound, params)
  assert all(np.isfinite(x).all() for x in jax.tree.leaves(gradient))


def test_vera_has_the_same_random_factors_wherever_it_is_made():
  drawn = [
    np.asarray(vera.random_factor(*arguments))
    for arguments in (
      *[(0, 'a', 30, 40)] * 2,
      *((1, 'a', 30, 40), (0, 'b', 30, 40)),
    )
  ]
  np.testing.assert_array_equal(drawn[0], drawn[1])
  assert len({x.tobytes() for x in drawn}) == 3
  # Kaiming-uniform: a variance of 2 / fan_in.
  bound = np.sqrt(6 / 30)
  assert 0.99 * bound < np.abs(drawn[0]).max() <= bound
  assert abs(drawn[0].var() * 30 / 2 - 1) < 0.1
  # None of them is tuned.
  predictor, params = testing.network('linear')
  tunable = testing.tuner('vera', rank=7).init(root_key(), predictor, params)
  assert jax.tree.map(jnp.shape, tunable) == {
    'torso/dense/kernel': {'d': (7,), 'b': (5,)}
  }


def test_norms_are_no_matrices_and_kernels_in_heads_are():
  example = registry.module('torsos', 'linear_attention').EXAMPLES[1]
  predictor, params = testing.network('linear_attention', **example)
  leaves = trees.by_path(params)
  assert leaves['torso/layer_0/mixer/head_norm/scale'].ndim == 1
  for name in FORMULAS:
    tuner = testing.tuner(name, **FORMULAS[name] | {'patterns': ('torso',)})
    tunable = jax.eval_shape(
      lambda key, of=tuner: of.init(key, predictor, params), root_key()
    )
    names = {x.rpartition('/')[2] for x in tunable}
    assert names == {'kernel'}


def test_state_tuning_starts_at_the_state_of_random_tokens():
  predictor, params = testing.network('transformer')
  start = {'length': 3, 'init': 'random_token'}
  state = testing.tuner('state', **start).init(root_key(), predictor, params)
  # Keys and values at BOS and three tokens.
  assert state['torso'][0]['key'].shape[0] == 4
  prefix = testing.tuner('prefix', form='real', **start)
  wanted = prefix.bind(
    predictor, params, prefix.init(root_key(), predictor, params)
  )
  testing.assert_trees_identical(state, wanted[1])


def test_a_prefix_starts_from_the_tokens_that_are_given():
  predictor, params = testing.network('lstm', vocab_size=3)
  start = {'length': 3, 'init': 'tokens', 'tokens': (2, 0, 2)}
  hard = testing.tuner('hard_prefix', length=3)
  wanted = hard.bind(predictor, params, np.array([2, 0, 2], np.int32))[1]
  close = lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6)
  for name, form in (
    ('state', {}),
    ('prefix', {}),
    ('prefix', {'form': 'real'}),
  ):
    tuner = testing.tuner(name, **start, **form)
    tunable = tuner.init(root_key(), predictor, params)
    jax.tree.map(close, tuner.bind(predictor, params, tunable)[1], wanted)


def test_a_prefix_starts_from_a_sequence_of_a_task():
  predictor, params = testing.network('lstm')
  coin = {'name': 'categorical', 'probabilities': (0.2, 0.8)}
  tuner = testing.tuner(
    'prefix', form='real', length=400, init='tokens', tokens=coin
  )
  draw = jax.jit(lambda key: tuner.init(key, predictor, params))
  rows, other = draw(root_key()), draw(jax.random.key(4))
  assert {*np.unique(rows)} == {0, 1} and (rows.sum(1) == 1).all()
  # Within five standard deviations.
  assert abs(rows[:, 1].mean() - 0.8) < 5 * 0.02
  assert not np.array_equal(rows, other)


@pytest.mark.parametrize(
  ('kwargs', 'message'),
  [
    ({'init': 'tokens'}, "tokens: must be given with init='tokens'"),
    ({'tokens': (0, 1)}, "tokens: must be given with init='tokens'"),
    ({'init': 'tokens', 'tokens': (0, 1)}, 'as many as length=3'),
    ({'init': 'tokens', 'tokens': 'one'}, 'tokens'),
    (
      {'init': 'tokens', 'tokens': {'name': 'categorial'}},
      'tokens.name.*categorical',
    ),
  ],
)
@pytest.mark.parametrize('name', ['prefix', 'state', 'deep_prefix'])
def test_a_start_from_tokens_that_cannot_be_is_refused(name, kwargs, message):
  with pytest.raises(errors.UserError, match=message):
    testing.tuner(name, length=3, **kwargs)


@pytest.mark.parametrize(
  ('tokens', 'message'),
  [
    ((0, 1, 2), 'tokens: must be .* 0 to 1'),
    (
      {'name': 'categorical', 'probabilities': (0.2, 0.3, 0.5)},
      'tokens: the task has a vocabulary of 3, the predictor has 2',
    ),
  ],
)
def test_tokens_of_another_vocabulary_are_refused(tokens, message):
  tuner = testing.tuner('prefix', length=3, init='tokens', tokens=tokens)
  assert re.match(message, refusal(tuner))


def test_a_deep_prefix_starts_behind_the_rows_of_a_soft_prefix():
  predictor, params = testing.network('transformer', num_layers=2)
  tokens = {'length': 3, 'init': 'tokens', 'tokens': (1, 0, 0)}
  deep, soft = (testing.tuner(x, **tokens) for x in ('deep_prefix', 'prefix'))

  @jax.jit
  def states(key, params):
    return [
      tuner.bind(predictor, params, tuner.init(key, predictor, params))[1]
      for tuner, key in zip((deep, soft), jax.random.split(key), strict=True)
    ]

  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6),
    *states(root_key(), params),
  )


@pytest.mark.parametrize('mlp_dim', [0, 5])
def test_a_deep_prefix_leaves_the_beginning_of_sequence_alone(mlp_dim):
  predictor, params = testing.network('transformer', num_layers=2)
  tuner = testing.tuner('deep_prefix', length=3, mlp_dim=mlp_dim)

  @jax.jit
  def run(key, params):
    tunable = tuner.init(key, predictor, params)
    other = jax.tree.map(lambda x: x + 1 + jnp.cos(9 * x), tunable)
    bound = [tuner.bind(predictor, params, x)[1] for x in (tunable, other)]
    return predictor.start(params), *bound

  empty, first, second = run(root_key(), params)
  for layer in range(2):
    for name in ('key', 'value'):
      of_each = [x['torso'][layer][name] for x in (empty, first, second)]
      assert [len(x) for x in of_each] == [1, 4, 4]
      for state in of_each[1:]:
        np.testing.assert_array_equal(state[:1], of_each[0])
      # Each layer has entries of its own, for each position.
      assert (np.abs(of_each[1] - of_each[2])[1:] > 1e-6).any((1, 2)).all()
  # What the first token is predicted from is tuned, too.
  assert not np.array_equal(first['output'], second['output'])


def test_the_mlp_of_a_deep_prefix_is_that_of_its_paper():
  predictor, params = testing.network('transformer', num_layers=2)
  tuner = testing.tuner('deep_prefix', length=3, mlp_dim=5)

  @jax.jit
  def run(key, params):
    tunable = moved(tuner.init(key, predictor, params))
    return tunable, tuner.bind(predictor, params, tunable)[1]

  tunable, state = run(root_key(), params)
  tuned = jax.tree.map(lambda x: np.asarray(x, np.float64), tunable)
  hidden, output = (tuned['mlp'][name] for name in ('hidden', 'output'))
  made = np.tanh(tuned['rows'] @ hidden['kernel'] + hidden['bias'])
  made = made @ output['kernel'] + output['bias']
  assert tuned['rows'].shape == (3, 4) and made.shape == (3, 2 * 2 * 4)
  entries = [
    np.asarray(state['torso'][layer][name][1:]).reshape(3, -1)
    for layer in range(2)
    for name in ('key', 'value')
  ]
  np.testing.assert_allclose(np.concatenate(entries, 1), made, atol=1e-5)


@pytest.mark.parametrize('torso', ['lstm', 'linear'])
def test_a_deep_prefix_of_a_state_of_fixed_shape_is_refused(torso):
  message = refusal(testing.tuner('deep_prefix'), torso)
  assert re.match("name: 'deep_prefix' needs.*transformer.*'state'", message)


def test_state_tuning_of_bayes_tunes_its_counts():
  predictor = predictors.bayesian(testing.random_coins())
  tuner = testing.tuner('state', length=5)
  counts = tuner.init(root_key(), predictor, {})
  assert counts.shape == (2,) and counts.sum() == 5


def test_hard_candidates_are_all_prefixes_once():
  predictor, _ = testing.network('linear', vocab_size=3)
  found = testing.tuner('hard_prefix', length=3).candidates(predictor)
  np.testing.assert_array_equal(found, testing.all_sequences(3, 3))


def test_too_many_candidates_are_counted():
  predictor, _ = testing.network('linear')
  tuner = testing.tuner(
    'hard_prefix', length=5, max_candidates=31, search='all'
  )
  with pytest.raises(errors.UserError, match=r'2\^5 candidates.*31'):
    tuner.candidates(predictor)


def test_no_tuning_is_the_predictor_itself():
  predictor, params = testing.network('lstm')
  tuner = testing.tuner('none')
  bound, state = tuner.bind(
    predictor, params, tuner.init(root_key(), predictor, params)
  )
  assert bound is params
  testing.assert_trees_identical(state, predictor.start(params))


@pytest.mark.parametrize(
  ('name', 'kwargs', 'field'),
  [
    ('prefix', {'form': 'sof'}, 'form.*soft'),
    ('prefix', {'length': 0}, 'length'),
    ('prefix', {'init': 'random'}, 'init.*random_token'),
    ('prefix', {'init': 'one-hot'}, 'init.*one_hot'),
    ('prefix', {'init_scale': float('nan')}, 'init_scale'),
    ('state', {'length': -2}, 'length'),
    ('lora', {'rank': 0}, 'rank'),
    ('lora', {'alpha': -1.0}, 'alpha'),
    ('lora', {'rank_stabilised': True}, 'alpha.*rank_stabilised'),
    ('lora', {'alpha': 1.0, 'rank_stabilised': 1}, 'rank_stabilised.*True'),
    ('dora', {'rank': 1.5}, 'rank'),
    ('dora', {'alpha': 0.0}, 'alpha'),
    ('dora', {'constant_norm': 'no'}, 'constant_norm.*True'),
    ('vera', {'rank': 0}, 'rank'),
    ('vera', {'seed': -1}, 'seed'),
    ('vera', {'d_initial': 0}, 'd_initial'),
    ('ia3', {'patterns': ()}, 'patterns'),
    ('ia3', {'patterns': np.array(['key', 'value'])}, 'patterns'),
    ('ia3', {'input_patterns': 'torso'}, 'input_patterns'),
    ('weights', {'patterns': 'embedding'}, 'patterns'),
    ('weights', {'patterns': ()}, 'patterns'),
    ('hard_prefix', {'choose': 'worst'}, 'choose'),
  ],
)
def test_refuses_what_makes_no_sense(name, kwargs, field):
  with pytest.raises(errors.UserError, match=field):
    testing.tuner(name, **kwargs)


def refusal(tuner, torso='lstm'):
  """The one line with which a start is refused."""
  predictor, params = testing.network(torso)
  with pytest.raises(errors.UserError) as caught:
    tuner.init(root_key(), predictor, params)
  assert '\n' not in str(caught.value)
  return str(caught.value)


@pytest.mark.parametrize('name', ['weights', *FORMULAS])
def test_a_pattern_that_matches_nothing_is_refused(name):
  tuner = testing.tuner(name, patterns=('embeding',))
  assert re.match('patterns: .*embeding.*embedding', refusal(tuner))


def test_an_ia3_names_the_argument_whose_pattern_matches_nothing():
  tuner = testing.tuner('ia3', input_patterns=('mlp_out',))
  assert refusal(tuner).startswith("input_patterns: 'mlp_out'")
  tuner = testing.tuner('ia3', patterns=(), input_patterns=('bias',))
  assert refusal(tuner).startswith("input_patterns: 'bias'")


@pytest.mark.parametrize('name', FORMULAS)
def test_lora_dora_vera_ia3_of_biases_only_are_refused(name):
  tuner = testing.tuner(name, patterns=('bias',))
  assert 'two-dimensional' in refusal(tuner)


@pytest.mark.parametrize('name', ['lora', 'dora'])
def test_a_rank_above_a_matrix_is_refused(name):
  # The smallest side of a linear torso is its embedding of 4.
  testing.tuner(name, rank=4).init(root_key(), *testing.network('linear'))
  message = refusal(testing.tuner(name, rank=5), 'linear')
  assert message.startswith('rank: must be at most 4')
  assert 'torso/dense/kernel [4, 5]' in message and 'got 5' in message


def test_norms_that_are_not_there_are_refused():
  tuner = testing.tuner('weights', patterns=('*norm*',))
  assert "'*norm*' matches no weight" in refusal(tuner)


def test_the_document_lists_every_method_and_every_tuner():
  text = (testing.ROOT / 'docs' / 'tuners.md').read_text('utf-8')
  rows = re.findall(
    r'^\|[^|]*\| (`[^|]*) \|', text.partition('The tuners')[0], re.M
  )
  methods = set(re.findall(r'`([^`]+)`', ' '.join(rows)))
  config = settings.base_config()
  assert methods == {*config.methods, *settings.REFERENCES}
  tuners = re.findall(r'^\| `(\w+)`(?: \(| \|)', text, re.M)
  internal = {'none', 'clipped_with_all'}
  assert set(registry.names('tuners')) - internal <= set(tuners)


def test_the_lines_of_the_document_build():
  block, search = testing.blocks('docs/tuners.md')
  scope = {}
  exec(block, scope)
  config = scope['config']
  config.tuning.target = 'two_coin_mixture'
  config.tuning.methods = ('FromTokens', 'FromTarget')
  built = build.build(config).methods
  assert [x.repetitions for x in built.values()] == [10, 10]
  exec(search, scope)
  config = scope['config']
  config.tuning.methods = ('LongPT',)
  plan = build.build(config).methods['LongPT'].search
  assert (plan.name, plan.cost) == ('coordinate', 999)


def test_the_papers_methods_are_these():
  methods = settings.base_config().methods
  papers = {
    *('PreBayes', 'PreBayesPT', 'NoTuning', 'RandomPF', 'HardPT'),
    *('SimplexPT', 'RealPT', 'SoftPT', 'StatePT'),
    *('EmbedWT', 'UnembedWT', 'Un+EmbedWT', 'LoRAWT', 'FullWT'),
  }
  assert papers == {*settings.base_config().tuning.methods}
  assert set(methods) == papers | {
    # Ours.
    *('OffsetPT', 'DeepPT', 'DeepMLPPT', 'PrefilledPT'),
    *('BitFitWT', 'NormWT', 'IA3WT', 'DoRAWT', 'VeRAWT'),
    'SoftPT+LoRAWT',
  }


@pytest.mark.parametrize(
  'spec',
  [
    {'name': 'weights', 'patterns': ('unembedding',)},
    {'name': 'lora', 'rank': 2},
  ],
)
def test_a_clip_over_all_weights_counts_each_once(spec):
  predictor, params = testing.network('lstm')
  alone = testing.tuner(**spec)
  wide = testing.tuner('clipped_with_all', tuner=spec)

  def loss(params):
    log_probs = predictor.predict(params, predictor.start(params), TOKENS)
    return regret.log_loss(log_probs, TOKENS).mean()

  @jax.jit
  def gradients(key, params):
    of_tuners = []
    for tuner in (alone, wide):
      tunable = tuner.init(key, predictor, params)
      of_tuners.append(
        jax.grad(
          lambda x, tuner=tuner: loss(tuner.bind(predictor, params, x)[0])
        )(tunable)
      )
    norms = [optax.tree.norm(x) for x in (*of_tuners, jax.grad(loss)(params))]
    return of_tuners, norms

  (of_alone, of_wide), norms = gradients(root_key(), params)
  testing.assert_trees_identical(of_wide['tuned'], of_alone)
  # LoRA's own factors are there beside all weights.
  own = norms[0] if spec['name'] == 'lora' else 0.0
  assert norms[1] == pytest.approx(np.hypot(own, norms[2]), rel=1e-5)
  assert norms[1] > norms[0]


PROMPT = {'name': 'prefix', 'length': 2}
LORA = {'name': 'lora', 'rank': 1}


def test_a_composition_binds_weights_first_whatever_its_order():
  predictor, params = testing.network('lstm')
  prompt, lora = testing.tuner(**PROMPT), testing.tuner(**LORA)

  @jax.jit
  def both(key, params):
    first = testing.tuner('compose', tuners={'p': PROMPT, 'w': LORA})
    last = testing.tuner('compose', tuners={'w': LORA, 'p': PROMPT})
    tunable = jax.tree.map(
      lambda x: x + 0.3 * jnp.cos(9 * x), first.init(key, predictor, params)
    )
    adapted, _ = lora.bind(predictor, params, tunable['w'])
    by_hand = prompt.bind(predictor, adapted, tunable['p'])
    return by_hand, *(x.bind(predictor, params, tunable) for x in (first, last))

  by_hand, first, last = both(root_key(), params)
  testing.assert_trees_identical(first, by_hand)
  testing.assert_trees_identical(last, by_hand)


def test_a_composition_is_random_if_a_part_is():
  parts = {'a': {'name': 'state_offset'}, 'b': LORA}
  assert not testing.tuner('state_offset').random
  assert testing.tuner('compose', tuners=parts).random


def test_a_composition_starts_where_its_parts_do():
  predictor, params = testing.network('transformer')
  tuner = testing.tuner('compose', tuners={'p': PROMPT, 'w': LORA})
  bound, _ = tuner.bind(
    predictor, params, tuner.init(root_key(), predictor, params)
  )
  testing.assert_trees_identical(bound, params)


@pytest.mark.parametrize(
  'tuners, named',
  [
    ({'a': PROMPT, 'b': {'name': 'state'}}, 'a and b are prompts'),
    (
      {
        'a': {'name': 'compose', 'tuners': {'p': PROMPT, 'w': LORA}},
        'b': PROMPT,
      },
      'a and b are prompts, or compositions with one',
    ),
    (
      {'a': LORA, 'b': {'name': 'weights'}},
      'a and b both change torso/.*kernel',
    ),
    (
      {
        'a': {'name': 'weights', 'patterns': ('embedding',)},
        'b': {'name': 'weights', 'patterns': ('bias',)},
      },
      'a and b both change embedding/bias',
    ),
    (
      {'a': LORA, 'b': {'name': 'ia3'}},
      'a and b both change torso/.*kernel',
    ),
    (  # The scale of an output is one of its bias.
      {'a': {'name': 'ia3'}, 'b': {'name': 'weights', 'patterns': ('bias',)}},
      'a and b both change torso/.*bias',
    ),
    (
      {'a': {'name': 'vera'}, 'b': {'name': 'dora', 'rank': 1}},
      'a and b both change torso/.*kernel',
    ),
    (
      {'a': LORA, 'b': {'name': 'ia3', 'patterns': ('nothing',)}},
      "tuners.b.patterns: 'nothing' matches no weight",
    ),
  ],
)
def test_a_composition_that_overlaps_is_refused(tuners, named):
  predictor, params = testing.network('lstm')
  tuner = testing.tuner('compose', tuners=tuners)
  with pytest.raises(errors.UserError, match=named):
    tuner.init(root_key(), predictor, params)


def test_a_composition_of_disjoint_weights_changes_those_of_each():
  predictor, params = testing.network('lstm')
  tuner = testing.tuner(
    'compose',
    tuners={
      'a': {'name': 'lora', 'rank': 1, 'patterns': ('hi',)},
      'b': {'name': 'ia3', 'patterns': ('hf',)},
      'c': {'name': 'weights', 'patterns': ('unembedding/bias',)},
    },
  )

  @jax.jit
  def run(key, params):
    tunable = moved(tuner.init(key, predictor, params))
    return tuner.bind(predictor, params, tunable)[0]

  before, after = map(trees.by_path, (params, run(root_key(), params)))
  changed = {x for x in before if not np.array_equal(before[x], after[x])}
  # A bias of zero stays one, whatever its scale.
  assert changed == {
    *('torso/layer_0/hi/kernel', 'torso/layer_0/hf/kernel'),
    'unembedding/bias',
  }


NESTED = {'name': 'compose', 'tuners': {'p': PROMPT, 'w': LORA}}


def test_the_prompt_of_a_composition_in_another_is_not_lost():
  predictor, params = testing.network('lstm')
  ends = {'name': 'weights', 'patterns': ('unembedding',)}
  prompt, lora = testing.tuner(**PROMPT), testing.tuner(**LORA)

  @jax.jit
  def both(key, params):
    first = testing.tuner('compose', tuners={'n': NESTED, 'e': ends})
    last = testing.tuner('compose', tuners={'e': ends, 'n': NESTED})
    tunable = moved(first.init(key, predictor, params))
    adapted = trees.replace(params, tunable['e'])
    adapted, _ = lora.bind(predictor, adapted, tunable['n']['w'])
    by_hand = prompt.bind(predictor, adapted, tunable['n']['p'])
    return by_hand, *(x.bind(predictor, params, tunable) for x in (first, last))

  by_hand, first, last = both(root_key(), params)
  testing.assert_trees_identical(first, by_hand)
  testing.assert_trees_identical(last, by_hand)


@pytest.mark.parametrize(
  'tuners, named',
  [
    ({'a': PROMPT}, 'at least two'),
    ([PROMPT, LORA], 'mapping'),
    ({'a': 3, 'b': LORA}, 'tuners.a: must be the spec of'),
    ({'a\n': PROMPT, 'b': LORA}, 'tuners: a name must have'),
    ({'a': {'name': 'hard_prefix'}, 'b': LORA}, 'tuners.a: is not trained'),
    ({'a': {'name': 'prefix', 'length': 0}, 'b': LORA}, 'length'),
    ({'a': {'name': 'prefx'}, 'b': LORA}, 'tuners.a.*prefix'),
  ],
)
def test_a_composition_of_what_cannot_be_is_refused(tuners, named):
  with pytest.raises(errors.UserError, match=named):
    testing.tuner('compose', tuners=tuners)


def test_a_clip_over_all_weights_is_of_tuners_of_weights():
  predictor, params = testing.network('linear')
  tuner = testing.tuner('clipped_with_all', tuner=PROMPT)
  with pytest.raises(errors.UserError, match='tuner: .*of weights.*prefix'):
    tuner.init(root_key(), predictor, params)


@pytest.mark.parametrize('name', ['none', 'hard_prefix'])
def test_a_clip_over_all_weights_needs_a_gradient(name):
  with pytest.raises(errors.UserError, match=f'tuner: is not trained .*{name}'):
    testing.tuner('clipped_with_all', tuner={'name': name})
