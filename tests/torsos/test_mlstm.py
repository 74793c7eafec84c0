"""The mLSTM, held to its equations; its stabiliser changes nothing."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bayes_prompting.torsos import mlstm
from tests.torsos import by_hand

HEADS = 2
SIZE = by_hand.WIDTH // HEADS


def cell_by_hand(q, k, v, log_input, log_forget, offset=0):
  """Equations 19 to 26 of arXiv 2405.04517, of one head, not stabilised."""
  c, n, h = np.zeros((SIZE, SIZE)), np.zeros(SIZE), []
  k = k / np.sqrt(SIZE)
  for t in range(len(q)):
    i, f = np.exp(log_input[t]), np.exp(log_forget[t])
    c = f * c + i * np.outer(v[t], k[t])
    n = f * n + i * k[t]
    h.append((c + np.transpose(offset)) @ q[t] / max(abs(n @ q[t]), 1))
  return np.stack(h), c.T, n


def mix_by_hand(params, u, forget, offset=by_hand.NO_OFFSET):
  query, key, value = (
    np.split(u @ params[name]['kernel'], HEADS, axis=1)
    for name in ('query', 'key', 'value')
  )
  gate, log_input, log_forget = (
    u @ params[name]['kernel'] + params[name]['bias']
    for name in ('output_gate', 'input_gate', 'forget_gate')
  )
  if forget == 'sigmoid':
    log_forget = np.log(by_hand.sigmoid(log_forget))
  outputs, states = [], []
  for head in range(HEADS):
    h, c, n = cell_by_hand(
      *(x[head] for x in (query, key, value)),
      log_input[:, head],
      log_forget[:, head],
      offset[head],
    )
    outputs.append(by_hand.head_norm(h, params['head_norm'], head))
    states.append((c, n))
  y = np.concatenate(outputs, 1) * by_hand.sigmoid(gate)
  return y @ params['output']['kernel'], states


@pytest.mark.parametrize('forget', mlstm.FORGETS)
def test_against_the_equations(forget):
  y, (state,), params = by_hand.outputs(
    'mlstm', num_heads=HEADS, forget=forget, mlp_dim=3
  )
  mixer = functools.partial(mix_by_hand, forget=forget)
  expected = by_hand.stack(params, by_hand.X, lambda *args: mixer(*args)[0])
  np.testing.assert_allclose(y, expected, atol=2e-4)
  layer = params['layer_0']
  u = by_hand.rms_norm(by_hand.X, **layer['mixer_norm'])
  for head, (c, n) in enumerate(mixer(layer['mixer'], u)[1]):
    scale = np.exp(state['stabiliser'][head])
    close = {'rtol': 1e-5, 'atol': 1e-5}
    np.testing.assert_allclose(state['memory'][head] * scale, c, **close)
    np.testing.assert_allclose(state['normaliser'][head] * scale, n, **close)


def draw(log_input=0.0):
  rng = np.random.default_rng(0)
  normal = lambda *shape: rng.normal(size=shape).astype(np.float32)
  q, k, v = (normal(HEADS, 7, SIZE) for _ in range(3))
  gates = 3 * normal(HEADS, 7) + np.float32(log_input), -abs(normal(HEADS, 7))
  state = {
    'memory': normal(HEADS, SIZE, SIZE),
    'normaliser': normal(HEADS, SIZE),
    'stabiliser': np.zeros(HEADS, np.float32),
  }
  return (q, k, v, *gates), state


@functools.cache
def program(fast):
  @jax.jit
  def run(args, state):
    def loss(args, state):
      h, end = mlstm.cell(*args, state, fast, chunk=3)
      scale = jnp.exp(end['stabiliser'])[:, None]
      return (h**2).sum(), (h, end['normaliser'] * scale)

    return jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)(args, state)

  return run


@pytest.mark.parametrize('fast', [False, True])
def test_cell_against_the_equations(fast):
  args, state = draw()
  state = jax.tree.map(np.zeros_like, state)
  (_, (h, normaliser)), _ = program(fast)(args, state)
  for head in range(HEADS):
    expected, _, n = cell_by_hand(*(x[head].astype(np.float64) for x in args))
    np.testing.assert_allclose(h[head], expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(normaliser[head], n, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('fast', [False, True])
def test_the_stabiliser_changes_nothing(fast):
  # One and the same past, by another scale; gradients to the inputs, too.
  args, state = draw()
  shift = np.array([3.0, -2.0], np.float32)
  scale = np.exp(-shift)
  shifted = {
    'memory': state['memory'] * scale[:, None, None],
    'normaliser': state['normaliser'] * scale[:, None],
    'stabiliser': state['stabiliser'] + shift,
  }
  (_, (h, _)), (to_args, to_state) = program(fast)(args, state)
  (_, (other, _)), (to_others, to_shifted) = program(fast)(args, shifted)
  close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)
  close(other, h)
  jax.tree.map(close, to_others, to_args)
  close(to_shifted['memory'] * scale[:, None, None], to_state['memory'])
  # By its scale the past grows, all of C and n alike.
  grows = sum(
    (to_state[name] * state[name]).reshape(HEADS, -1).sum(1)
    for name in ('memory', 'normaliser')
  )
  close(to_state['stabiliser'], grows)
  close(to_shifted['stabiliser'], grows)


@pytest.mark.parametrize('fast', [False, True])
@pytest.mark.parametrize('log_input', [-200.0, 200.0])
def test_gates_of_any_size_make_numbers(fast, log_input):
  args, state = draw(log_input)
  state = jax.tree.map(np.zeros_like, state)
  no_query = np.zeros_like(args[0]), *args[1:]
  for given in (args, no_query):
    (_, (h, _)), gradients = program(fast)(given, state)
    for leaf in jax.tree.leaves((h, gradients)):
      assert np.isfinite(leaf).all()
