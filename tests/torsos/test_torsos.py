"""Every torso is held to its contract, and each to its mathematics."""

import functools
import inspect

from flax import linen as nn
from flax.linen import recurrent
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bayes_prompting import errors
from bayes_prompting import predictors
from bayes_prompting import registry
from bayes_prompting import regret
from bayes_prompting import trees
from bayes_prompting.torsos import _fast
from bayes_prompting.torsos import _layers
from bayes_prompting.torsos import transformer
from tests import testing
from tests.torsos.by_hand import LENGTH
from tests.torsos.by_hand import WIDTH
from tests.torsos.by_hand import X
from tests.torsos.by_hand import moved


@pytest.fixture
def torso(torsos_spec):
  return registry.make('torsos', 'test', torsos_spec)


@pytest.fixture
def x():
  return X


# Of the rows of X: as they are, and the past in another order.
ORDERS = ((0, 1, 2, 3, 4), (2, 0, 3, 1, 4))


@functools.cache
def initial(torso):
  """Returns a torso's own first weights."""
  init = jax.jit(torso.init)
  return jax.device_get(
    init(jax.random.key(0), X, torso.empty_state(WIDTH))['params']
  )


@functools.cache
def weights(torso, vocab_size=3, tied=False):
  """Returns weights of the network around a torso, moved, on the host.

  Of the torso they are its own; the others take no program to draw.
  """
  predictor = predictors.network(torso, vocab_size, WIDTH, False, tied)
  rng = np.random.default_rng(0)
  params = jax.tree.map(
    lambda x: rng.normal(size=x.shape, scale=0.4).astype(np.float32),
    jax.eval_shape(predictor.init, jax.random.key(0)),
  )
  params['torso'] = initial(torso)
  return jax.tree.map(lambda x: x + 0.1 * np.cos(x * 50), params)


@functools.cache
def initialised(torso):
  """Returns a jitted (x, state) -> (y, state), and the empty state."""
  params = {'params': initial(torso)}
  run = jax.jit(lambda x, state: torso.apply(params, x, state))
  return run, torso.empty_state(WIDTH)


# Of so many rows each.
PARTS = (0, 1, 4)


@functools.cache
def in_parts(torso):
  """Returns a jitted x -> ((y, state) of all at once, the same in parts)."""
  params = {'params': initial(torso)}

  @jax.jit
  def run(x):
    state = torso.empty_state(WIDTH)
    parts = []
    whole = torso.apply(params, x, state)
    for rows in jnp.split(x, np.cumsum(PARTS)[:-1]):
      part, state = torso.apply(params, rows, state)
      parts.append(part)
    return whole, (jnp.concatenate(parts), state)

  return run


def test_what_has_two_axes_is_the_matrix_of_a_dense_layer(torso):
  # LoRA adapts what has two axes, and the estimate of memory counts it.
  matrices = set()

  def note(call, args, kwargs, context):
    if isinstance(context.module, nn.Dense | recurrent.DenseParams):
      matrices.add('/'.join((*context.module.path, 'kernel')))
    return call(*args, **kwargs)

  with nn.intercept_methods(note):
    shapes = jax.eval_shape(
      torso.init, jax.random.key(0), X, torso.empty_state(WIDTH)
    )
  leaves = trees.by_path(shapes['params'])
  assert {path for path, leaf in leaves.items() if leaf.ndim > 1} == matrices
  tuner = testing.tuner('lora', rank=1)
  adapted = jax.eval_shape(
    lambda key: tuner.init(
      key, None, {'torso': jax.tree.map(jnp.zeros_like, shapes['params'])}
    ),
    jax.random.key(1),
  )
  assert adapted.keys() == {f'torso/{path}' for path in matrices}


def test_running_in_parts_is_running_once(torso, x):
  whole, parts = in_parts(torso)(x)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), parts, whole
  )


def test_is_causal(torso, x):
  (before, _), _ = in_parts(torso)(x)
  # Not by a constant: LayerNorm does not see one.
  changed = x.copy()
  changed[3] += np.arange(WIDTH) % 3
  (after, _), _ = in_parts(torso)(changed)
  np.testing.assert_allclose(after[:3], before[:3], atol=1e-6)
  assert not np.allclose(after[3], before[3])


@pytest.mark.keys  # See conftest.py.
def test_every_weight_is_drawn_with_a_key_of_its_own(torso, x):
  empty = torso.empty_state(WIDTH)
  params = jax.jit(torso.init)(jax.random.key(7), x, empty)['params']
  # Two matrices of one shape that are equal were drawn with one key.
  drawn = [
    np.asarray(leaf).tobytes()
    for leaf in jax.tree.leaves(params)
    if leaf.ndim > 1 and np.unique(leaf).size > 1
  ]
  assert len({*drawn}) == len(drawn)


def test_state_is_float_arrays(torso, x):
  (_, state), _ = in_parts(torso)(x)
  for leaf in jax.tree.leaves((torso.empty_state(WIDTH), state)):
    assert leaf.dtype == jnp.float32


def test_with_64_bits_all_of_it_has_32(torso):
  predictor = predictors.network(torso, 3, WIDTH)

  def run(key, tokens):
    params = predictor.init(key)

    def loss(params):
      state = predictor.start(params)
      log_probs = predictor.predict(params, state, tokens[None])
      carry = predictor.begin(params, state, tokens[:1], 2)
      ahead = predictor.step(params, carry[0], tokens[1])
      return log_probs.sum(), (state, log_probs, carry[1], ahead[1])

    return params, jax.value_and_grad(loss, has_aux=True)(params)

  with jax.enable_x64(True):
    tokens = jax.ShapeDtypeStruct((4,), jnp.int64)
    traced = jax.eval_shape(run, jax.random.key(0), tokens)
  for leaf in jax.tree.leaves(traced):
    assert leaf.dtype == jnp.float32


# Two tokens that may be a prefix, and seven more, of which the last is never
# fed; then the same with another token in the place CHANGED.
CHANGED = 4
TOKENS = np.array([[2, 0, 1, 0, 2, 2, 1, 0, 0], [2, 0, 1, 0, 1, 2, 1, 0, 0]])


@functools.cache
def predictions(torso):
  """Returns log probabilities of TOKENS by all ways to them.

  Returns:
    Of both sequences from the start; of the first one from the state behind a
    prefix of two tokens; and from there step by step: after none of the tokens,
    after three at once, and after each of the next three.
  """
  predictor = predictors.network(torso, 3, WIDTH)
  tokens = TOKENS[0, 2:-1].astype(np.int32)

  @jax.jit
  def run(params):
    whole = predictor.predict(params, predictor.start(params), TOKENS)
    rows = np.eye(3, dtype=np.float32)[TOKENS[0, :2]]
    state = predictor.prefill(params, predictor.embed(params, rows))
    split = predictor.predict(params, state, TOKENS[:1, 2:])[0]
    _, first = predictor.begin(params, state, tokens[:0], 0)
    carry, log_probs = predictor.begin(params, state, tokens[:3], 3)
    _, later = jax.lax.scan(
      lambda carry, token: predictor.step(params, carry, token),
      carry,
      tokens[3:],
    )
    return whole, split, jnp.concatenate([first[None], log_probs[None], later])

  return jax.device_get(run(weights(torso)))


def test_whole_predictor_is_causal(torso):
  # Changing token t leaves predictions up to and including t unchanged.
  (before, after), *_ = predictions(torso)
  same, next_one = slice(CHANGED + 1), CHANGED + 1
  np.testing.assert_allclose(after[same], before[same], atol=1e-6)
  assert not np.allclose(after[next_one], before[next_one])


def test_prefill_then_predict_is_one_pass_over_both(torso):
  (whole, _), split, _ = predictions(torso)
  np.testing.assert_allclose(split, whole[2:], atol=1e-5)


def test_steps_are_one_pass(torso):
  # What is expected after each of six tokens, three of them at once.
  (whole, _), _, steps = predictions(torso)
  np.testing.assert_allclose(steps, whole[[2, 5, 6, 7, 8]], atol=1e-5)


def test_a_state_far_from_any_past_makes_numbers(torso):
  # A state that is tuned goes anywhere: predictions and slopes stay finite.
  run, arguments, shift = fast_and_plain(torso)
  for seed, scale in ((0, 1.0), (1, 100.0), (2, 1e4)):
    rng = np.random.default_rng(seed)
    far = jax.tree.map(
      lambda x, rng=rng, scale=scale: (
        scale * rng.normal(size=x.shape).astype(x.dtype)
      ),
      shift,
    )
    found, expected = run(*arguments, far)
    for leaf in jax.tree.leaves((found, expected)):
      assert np.isfinite(leaf).all()
    np.testing.assert_allclose(found[1], expected[1], rtol=1e-3, atol=1e-3)


def predictions_and_gradients(predictor, params, prefix, tokens, shift):
  """Log probabilities, and the loss's gradient to weights, prefix and state."""

  def loss(params, prefix, shift):
    state = predictor.prefill(params, prefix)
    state = jax.tree.map(jnp.add, state, shift)
    log_probs = predictor.predict(params, state, tokens)
    return regret.log_loss(log_probs, tokens).mean(), log_probs

  gradients = jax.grad(loss, argnums=(0, 1, 2), has_aux=True)
  return gradients(params, prefix, shift)


@functools.cache
def fast_and_plain(
  torso, vocab_size=3, length=LENGTH, prefix_length=2, num_sequences=3, **tied
):
  """Returns a program for both paths, and what to call it with.

  The last of its arguments, a shift of the state behind the prefix, is zero.
  """
  fast, plain = (
    predictors.network(torso, vocab_size, WIDTH, plain, *tied.values())
    for plain in (False, True)
  )
  rng = np.random.default_rng(2)
  params = weights(torso, vocab_size, **tied)
  prefix = rng.normal(size=(prefix_length, WIDTH)).astype(np.float32)
  tokens = rng.integers(0, vocab_size, (num_sequences, length), np.int32)
  shapes = jax.eval_shape(fast.prefill, params, prefix)
  shift = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes)

  @jax.jit
  def both(*args):
    return [predictions_and_gradients(x, *args) for x in (fast, plain)]

  return both, (params, prefix, tokens), shift


def assert_fast_is_plain(torso, atol=1e-5, **kwargs):
  both, arguments, shift = fast_and_plain(torso, **kwargs)
  found, expected = both(*arguments, shift)
  largest = max(np.abs(x).max(initial=0) for x in jax.tree.leaves(expected[0]))
  # Of a gradient that cancels, rounding of what cancels is left.
  slacks = jax.tree.map(lambda _: largest / 10, expected[0]), 0

  def near(actual, wanted, slack):
    scale = np.abs(wanted).max(initial=1e-3) + slack
    np.testing.assert_allclose(actual / scale, wanted / scale, atol=atol)

  jax.tree.map(near, found, expected, slacks)


def test_fast_path_is_the_plain_one(torso):
  assert_fast_is_plain(torso)


def test_fast_path_is_the_plain_one_with_a_tied_unembedding():
  torso = registry.make('torsos', 'test', {'name': 'transformer'})
  assert_fast_is_plain(torso, tied=True)


def test_fast_path_of_one_token_which_is_never_fed(torso, torsos_spec):
  name = torsos_spec['name']
  example = registry.module('torsos', name).EXAMPLES[0]
  if torsos_spec == {
    'name': name,
    **example,
  }:  # The shapes are all that counts.
    assert_fast_is_plain(torso, length=1, prefix_length=0)


def test_fast_path_of_a_long_sequence_without_prefix(torso, torsos_spec):
  spec = {name: torsos_spec.get(name) for name in ('name', 'forget')}
  if spec == {'name': 'mlstm', 'forget': 'exponential'}:
    pytest.skip(
      'products of its gates grow, and a norm takes the growth away again: '
      'gradients to gates are sums over all positions that cancel, of which '
      'few digits are left, whatever computes them'
    )
  # A gradient is a sum over all positions, whose rounding errors add up; those
  # to the gates of an mLSTM cancel as well.
  atol = 1e-3 if torsos_spec['name'] == 'mlstm' else 1e-4
  assert_fast_is_plain(
    torso, length=2000, prefix_length=0, num_sequences=1, atol=atol
  )


@pytest.mark.parametrize(
  ('kwargs', 'vocab_size', 'length'),
  [
    ({}, 2, 70),
    ({}, 70, 4),
    ({'positions': 'alibi', 'norm': 'rms', 'num_kv_heads': 1}, 2, 70),
    ({'positions': 'rope', 'mlp': 'swiglu', 'num_kv_heads': 1}, 70, 4),
  ],
)
def test_fast_path_of_a_transformer_in_other_worlds(kwargs, vocab_size, length):
  # More than attend in one group; more tokens than are put into a table.
  torso = registry.make('torsos', 'test', {'name': 'transformer', **kwargs})
  assert_fast_is_plain(
    torso, vocab_size=vocab_size, length=length, prefix_length=1
  )


def test_fast_path_reads_less_than_was_prepared(torso):
  if not hasattr(torso, 'prepare'):
    pytest.skip('has no fast path, which is optional')
  rows = jnp.asarray(X[:2])
  state = torso.empty_state(WIDTH)
  variables = {'params': weights(torso)['torso']}

  @jax.jit
  def both(tokens):
    table = torso.apply(variables, rows, state, 6, method='prepare')
    read = lambda x: torso.apply(variables, table, x, method='read')
    one = lambda x: torso.apply(variables, rows[x], state)[0]
    return read(tokens[:, :1]), read(tokens), jax.vmap(one)(tokens)

  first, found, expected = both(np.array([[0, 1], [1, 1], [1, 0]]))
  np.testing.assert_allclose(found, expected, atol=1e-5)
  np.testing.assert_allclose(first, expected[:, :1], atol=1e-5)


def test_fast_derivatives_are_jax_s_own():
  rng = np.random.default_rng(0)
  x = rng.normal(0, 3, (3, 4, 5)).astype(np.float32)
  w = rng.normal(size=(5, 6)).astype(np.float32)
  weights = np.cos(np.arange(72.0, dtype=np.float32)).reshape(3, 4, 6)
  dims = (((2,), (0,)), ((), ()))

  def value_and_gradients(product, gelu):
    def fn(x, w):
      return (gelu(product(x, w, dims)) * weights).sum()

    return jax.jit(jax.value_and_grad(fn, argnums=(0, 1)))(x, w)

  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
    value_and_gradients(_fast.dot_general, _fast.gelu),
    value_and_gradients(jax.lax.dot_general, nn.gelu),
  )


def test_the_plain_path_has_forward_derivatives(torso):
  predictor = predictors.network(torso, 3, WIDTH, plain=True)

  def tangent(params):
    def predict(params):
      return predictor.predict(params, predictor.start(params), TOKENS)

    return jax.jvp(predict, (params,), (params,))[1]

  # What has none, such as `jax.custom_vjp`, cannot even be traced.
  assert jax.eval_shape(tangent, weights(torso)).shape == (*TOKENS.shape, 3)


def test_attention_survives_scores_of_any_size():
  # The past outweighs the present by far, or the present the past: the
  # softmax that is put together of both neither overflows nor loses either.
  torso = registry.make('torsos', 'test', {'name': 'transformer'})
  fast = predictors.network(torso, 2, WIDTH)
  plain = predictors.network(torso, 2, WIDTH, plain=True)
  tokens = np.array([[0, 1, 1, 0]])

  @jax.jit
  def both(params, scale):
    state = fast.start(params)
    ((past),) = state['torso']
    far = {**state, 'torso': ({**past, 'key': scale * past['key']},)}
    return [x.predict(params, far, tokens) for x in (fast, plain)]

  for scale in (-1e4, 1e4):
    found, expected = both(weights(torso, 2), scale)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert np.isfinite(found).all()


def lstm_by_hand(params, x):
  """The equations of Hochreiter and Schmidhuber, one step at a time."""
  width = params['hi']['bias'].shape[0]
  c = h = np.zeros(width)
  outputs = []
  for row in np.asarray(x, np.float64):
    gates = {
      g: row @ params[f'i{g}']['kernel']
      + h @ params[f'h{g}']['kernel']
      + params[f'h{g}']['bias']
      for g in 'ifgo'
    }
    sigmoid = {g: 1 / (1 + np.exp(-gates[g])) for g in 'ifo'}
    c = sigmoid['f'] * c + sigmoid['i'] * np.tanh(gates['g'])
    h = sigmoid['o'] * np.tanh(c)
    outputs.append(h)
  return np.stack(outputs), c


def test_lstm_against_its_equations(x):
  torso = registry.make('torsos', 'test', {'name': 'lstm', 'width': 6})
  empty = torso.empty_state(WIDTH)
  variables = jax.jit(torso.init)(jax.random.key(0), x, empty)
  found, ((cell, _),) = jax.jit(torso.apply)(variables, x, empty)
  params = jax.tree.map(
    lambda leaf: np.asarray(leaf, np.float64), variables['params']['layer_0']
  )
  expected, expected_cell = lstm_by_hand(params, x)
  np.testing.assert_allclose(found, expected, atol=1e-5)
  np.testing.assert_allclose(cell, expected_cell, atol=1e-5)


def layer_norm(x, epsilon, scale=1.0, bias=0.0):
  centred = x - x.mean(-1, keepdims=True)
  variance = (centred**2).mean(-1, keepdims=True)
  return centred / np.sqrt(variance + epsilon) * scale + bias


def rms_norm(x, epsilon, scale):
  return x / np.sqrt((x**2).mean(-1, keepdims=True) + epsilon) * scale


def turned(row, position, base):
  """RoPE: pairs of channels as complex numbers, each turned by its angle."""
  half = len(row) // 2
  angles = position * base ** (-2 * np.arange(half) / len(row))
  pairs = (row[:half] + 1j * row[half:]) * np.exp(1j * angles)
  return np.concatenate([pairs.real, pairs.imag])


def gelu(x):
  """In its tanh form (Hendrycks and Gimpel, arXiv 1606.08415)."""
  return x / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def transformer_by_hand(params, x, options):
  """The papers' equations, position by position and head by head."""
  num_heads = options['num_heads']
  num_kv_heads = options.get('num_kv_heads', num_heads)
  positions = options.get('positions', 'sinusoidal')
  norms = {'layer': layer_norm, 'rms': rms_norm}
  norm, epsilon = norms[options.get('norm', 'layer')], 1e-6
  is_after = options.get('norm_place', 'before') == 'after'
  size = x.shape[1] // num_heads
  if positions == 'sinusoidal':
    x = x + transformer.sinusoids(0, *x.shape)

  def attention(layer, y):
    query, key, value = (
      y @ layer[name]['kernel'] for name in ('query', 'key', 'value')
    )
    if options.get('query_key_norm', True):
      query = norm(query, epsilon, **layer['query_norm'])
      key = norm(key, epsilon, **layer['key_norm'])
    attended = np.zeros_like(x)
    for n in range(len(x)):
      for head in range(num_heads):
        shared = head * num_kv_heads // num_heads
        part, shared = (slice(i * size, (i + 1) * size) for i in (head, shared))
        scores = np.zeros(n + 1)
        for m in range(n + 1):
          one, other = query[n, part], key[m, shared]
          if positions == 'rope':
            one, other = turned(one, n, 1e4), turned(other, m, 1e4)
          scores[m] = one @ other / np.sqrt(size)
          if positions == 'alibi':
            scores[m] -= 2 ** (-8 * (head + 1) / num_heads) * (n - m)
        weights = np.exp(scores - scores.max())
        weights /= weights.sum()
        attended[n, part] = weights @ value[: n + 1, shared]
    return attended @ layer['attention_output']['kernel']

  def mlp(layer, y):
    if 'mlp_in' not in layer:
      return 0.0
    hidden, kind = y @ layer['mlp_in']['kernel'], options.get('mlp', 'gelu')
    if kind == 'gelu':
      hidden = gelu(hidden)
    else:
      gate = y @ layer['mlp_gate']['kernel']
      silu = gate / (1 + np.exp(-gate))
      hidden = {'swiglu': silu, 'geglu': gelu(gate)}[kind] * hidden
    return hidden @ layer['mlp_out']['kernel']

  num_layers = options.get('num_layers', 1)
  for i in range(num_layers):
    layer = params[f'layer_{i}']
    if is_after:
      x = norm(x + attention(layer, x), epsilon, **layer['attention_norm'])
      if options.get('mlp_dim') != 0:
        x = norm(x + mlp(layer, x), epsilon, **layer['mlp_norm'])
      continue
    x = x + attention(layer, norm(x, epsilon, **layer['attention_norm']))
    if options.get('mlp_dim') != 0:
      x = x + mlp(layer, norm(x, epsilon, **layer['mlp_norm']))
    if i == num_layers - 1 or options.get('output_norm') != 'last':
      x = norm(x, epsilon, **layer['output_norm'])
  return x


@pytest.mark.parametrize(
  ('options', 'queries'),
  [
    (transformer.EXAMPLES[0], transformer._QUERIES),
    # With two queries in a group there are three groups, the last of one.
    *((options, 2) for options in transformer.EXAMPLES),
    *(
      ({'num_heads': 2, 'mlp_dim': 0, 'norm_place': place}, 2)
      for place in transformer.NORM_PLACES
    ),
  ],
)
def test_transformer_against_its_equations(x, options, queries, monkeypatch):
  monkeypatch.setattr(transformer, '_QUERIES', queries)
  torso = registry.make('torsos', 'test', {'name': 'transformer', **options})
  empty = torso.empty_state(WIDTH)

  @jax.jit
  def run(key, x):
    variables = moved(torso.init(key, x, empty))
    return variables, torso.apply(variables, x, empty)[0]

  variables, found = run(jax.random.key(0), x)
  params = jax.tree.map(
    lambda leaf: np.asarray(leaf, np.float64), variables['params']
  )
  # A bias that is nowhere would be missing by hand, too.
  biased = {
    name
    for layer in params.values()
    for name, weights in layer.items()
    if 'bias' in weights
  }
  if options.get('norm') == 'rms':
    assert not biased
  else:
    norms = {'attention_norm', 'mlp_norm', 'output_norm'}
    if options.get('norm_place') == 'after':
      norms.remove('output_norm')
    if options.get('mlp_dim') == 0:
      norms.remove('mlp_norm')
    assert biased == norms
  expected = transformer_by_hand(params, np.asarray(x, np.float64), options)
  np.testing.assert_allclose(found, expected, atol=1e-4)


def test_grouped_heads_keep_fewer_keys_and_values():
  torso = registry.make(
    'torsos', 'test', {'name': 'transformer', 'num_kv_heads': 2}
  )
  shapes = {leaf.shape for leaf in jax.tree.leaves(torso.empty_state(8))}
  assert shapes == {(0, 2, 2)}


def test_a_swiglu_of_any_width_and_one_final_norm_are_those_of_llama():
  # 576 wide with a hidden layer of 1536 is no whole multiple.
  llama = {
    **{'name': 'transformer', 'num_heads': 9, 'num_kv_heads': 3},
    **{'num_layers': 2, 'positions': 'rope', 'rope_base': 1e5, 'norm': 'rms'},
    **{'norm_epsilon': 1e-5, 'query_key_norm': False, 'output_norm': 'last'},
    **{'mlp': 'swiglu', 'mlp_dim': 1536},
  }
  torso = registry.make('torsos', 'test', llama)
  shapes = jax.eval_shape(
    lambda key: torso.init(key, np.zeros((3, 576)), torso.empty_state(576)),
    jax.random.key(0),
  )
  found = {
    path: leaf.shape for path, leaf in trees.by_path(shapes['params']).items()
  }
  of_layer = {
    'attention_norm/scale': (576,),
    'query/kernel': (576, 576),
    'key/kernel': (576, 192),
    'value/kernel': (576, 192),
    'attention_output/kernel': (576, 576),
    'mlp_norm/scale': (576,),
    'mlp_gate/kernel': (576, 1536),
    'mlp_in/kernel': (576, 1536),
    'mlp_out/kernel': (1536, 576),
  }
  assert found == {
    f'layer_{i}/{name}': shape
    for i in range(2)
    for name, shape in of_layer.items()
  } | {'layer_1/output_norm/scale': (576,)}


def test_rotations_make_products_of_distances_alone():
  # Of four positions, far from zero: the last two are the first two, moved.
  query, key = np.random.default_rng(0).normal(size=(2, 1, 6))
  turns = [_layers.rotations(n, 1, 6, 100.0) for n in (3, 1, 503, 501)]

  @jax.jit
  def products(query, key, turns):
    near, far = turns[:2], turns[2:]
    return [
      (_layers.rotate(query, q) * _layers.rotate(key, k)).sum()
      for q, k in (near, far, near[::-1])
    ]

  near, far, backwards = products(query, key, turns)
  np.testing.assert_allclose(far, near, atol=1e-4)
  for found, positions in ((near, (3, 1)), (backwards, (1, 3))):
    q, k = map(turned, (query[0], key[0]), positions, (100.0, 100.0))
    np.testing.assert_allclose(found, q @ k, atol=1e-5)


def test_slopes_are_those_of_the_paper():
  np.testing.assert_allclose(_layers.slopes(8), 0.5 ** np.arange(1, 9))


@pytest.mark.parametrize('positions', transformer.POSITIONS)
def test_order_matters_where_positions_are_told(positions, x):
  # Without positions, one layer sees the past as a set.
  torso = registry.make(
    'torsos', 'test', {'name': 'transformer', 'positions': positions}
  )
  run, empty = initialised(torso)
  last, shuffled = (run(x[[*rows]], empty)[0][-1] for rows in ORDERS)
  same = np.allclose(last, shuffled, atol=1e-5)
  assert same == (positions == 'none')


def test_sinusoids_have_sines_first_then_cosines():
  waves = transformer.sinusoids(3, 4, 6)
  for n, row in enumerate(waves, 3):
    angles = [n, n / 1e4 ** (1 / 3), n / 1e4 ** (2 / 3)]
    np.testing.assert_allclose(row[:3], np.sin(angles), atol=1e-6)
    np.testing.assert_allclose(row[3:], np.cos(angles), atol=1e-6)


def test_positions_go_on_after_a_prefix():
  np.testing.assert_array_equal(
    transformer.sinusoids(0, 7, 6)[4:], transformer.sinusoids(4, 3, 6)
  )


def test_default_initialisers():
  # Flax's: the claims on untrained networks depend on them.
  _, params = testing.network('lstm', embedding_dim=64, width=64)
  cell = params['torso']['layer_0']
  recurrent = np.asarray(cell['hi']['kernel'], np.float64)
  np.testing.assert_allclose(recurrent @ recurrent.T, np.eye(64), atol=1e-5)
  for bias in ('hi', 'hf', 'hg', 'ho'):
    assert not np.any(cell[bias]['bias'])
  # LeCun normal: variance 1 / fan_in, truncated at two standard deviations.
  kernel = np.asarray(cell['ii']['kernel'])
  assert abs(kernel.std() * 8 - 1) < 0.05
  assert not np.any(params['unembedding']['bias'])


@pytest.mark.parametrize(
  ('name', 'kwargs', 'field'),
  [
    ('lstm', {'width': 0}, 'width'),
    ('lstm', {'num_layers': 0}, 'num_layers'),
    ('transformer', {'num_heads': 1.5}, 'num_heads'),
    ('transformer', {'widening': True}, 'widening'),
    ('linear', {'width': -1}, 'width'),
    ('transformer', {'mlp_dim': -1}, 'mlp_dim'),
    (
      'transformer',
      {'mlp_dim': 5, 'widening': 4},
      'mlp_dim: is in place of widening, got 5 with widening=4',
    ),
    ('transformer', {'num_kv_heads': 8}, 'must divide num_heads=4, got 8'),
    ('transformer', {'num_kv_heads': 0}, 'num_kv_heads'),
    (
      'transformer',
      {'num_heads': 4, 'num_kv_heads': 3},
      'num_kv_heads.* got 3',
    ),
    ('transformer', {'positions': 'learned'}, 'positions.*sinusoidal'),
    ('transformer', {'positions': 'rope', 'rope_base': 0}, 'rope_base'),
    (
      'transformer',
      {'positions': 'alibi', 'rope_base': 10},
      'rope_base.*alibi',
    ),
    ('transformer', {'norm': 'batch'}, 'norm.*layer, rms'),
    ('transformer', {'norm_place': 'inside'}, 'norm_place'),
    ('transformer', {'norm_epsilon': 0}, 'norm_epsilon'),
    ('transformer', {'query_key_norm': 1}, 'query_key_norm'),
    ('transformer', {'output_norm': 'none'}, 'output_norm'),
    (
      'transformer',
      {'norm_place': 'after', 'output_norm': 'last'},
      'output_norm.*norm_place',
    ),
    ('transformer', {'mlp': 'relu'}, 'mlp.*gelu'),
    ('lstm', {'positions': 'rope'}, 'positions'),
  ],
)
def test_refuses_arguments_that_make_no_sense(name, kwargs, field):
  with pytest.raises(errors.UserError, match=field) as caught:
    registry.make('torsos', 'test', {'name': name, **kwargs})
  assert '\n' not in str(caught.value)


# Of nothing, which there may be; of all else there must be one.
MAY_BE_ZERO = {'mlp_dim', 'convolution', 'widening'}


@pytest.mark.parametrize('name', registry.names('torsos'))
def test_sizes_and_names_that_no_torso_has(name):
  module = registry.module('torsos', name)
  parameters = inspect.signature(module.make).parameters.values()
  wrong = {x.name: [] for x in parameters}
  for parameter in parameters:
    if isinstance(parameter.default, bool):
      wrong[parameter.name] += [2, 'yes']
    elif isinstance(parameter.default, int | float):
      wrong[parameter.name] += [-1, '4']
      if isinstance(parameter.default, int):
        wrong[parameter.name].append(1.5)
      if parameter.name not in MAY_BE_ZERO:
        wrong[parameter.name].append(0)
    elif isinstance(parameter.default, str):
      wrong[parameter.name] += ['no such thing', 3]
  if 'width' not in wrong:
    assert 'embedding_dim' in module.ELSEWHERE['width']
    wrong['width'] = [4]
  assert any(wrong.values())
  for field, values in wrong.items():
    for value in values:
      with pytest.raises(errors.UserError, match=field) as caught:
        registry.make('torsos', 'test', {'name': name, field: value})
      assert '\n' not in str(caught.value)


@pytest.mark.parametrize('name', registry.names('torsos'))
def test_heads_must_divide_the_channels(name):
  module = registry.module('torsos', name)
  if 'num_heads' not in inspect.signature(module.make).parameters:
    pytest.skip('has no heads')
  with pytest.raises(errors.UserError, match='num_heads.* divide the .*width'):
    testing.network(name, embedding_dim=7, num_heads=4)


def test_rotary_embeddings_need_pairs_of_channels():
  with pytest.raises(errors.UserError, match='have 3 each, which is odd'):
    testing.network('transformer', embedding_dim=6, positions='rope')


def test_a_network_has_the_weights_of_its_torso_alone(torso):
  # As a part of a network a torso says what its empty state is, too.
  predictor = predictors.network(torso, 3, WIDTH)
  whole = jax.eval_shape(predictor.init, jax.random.key(0))['torso']
  empty = torso.empty_state(WIDTH)
  alone = jax.eval_shape(torso.init, jax.random.key(0), X, empty)['params']
  assert jax.tree.structure(whole) == jax.tree.structure(alone)
