"""Diagonal recurrences, and LRU and S5 held to their equations."""

import jax
import numpy as np
import pytest

from bayes_prompting.torsos import _diagonal
from bayes_prompting.torsos import linear_recurrence
from tests.torsos import by_hand


def linear_by_hand(params, u, variant, offset=0):
  """One step at a time, with complex numbers; returns y, and the last h."""
  real, phase = params['decay'], params['phase']
  kernel = np.array_split(params['input']['kernel'], 2, axis=1)
  b = (kernel[0] + 1j * kernel[1]).T
  kernel = np.array_split(params['output']['kernel'], 2, axis=0)
  c = (kernel[0] + 1j * kernel[1]).T
  if variant == 'lru':
    a = np.exp(-np.exp(real) + 1j * np.exp(phase))
    b = np.exp(params['scale'])[:, None] * b
  else:
    eigenvalues = -np.exp(real) + 1j * phase
    a = np.exp(eigenvalues * np.exp(params['steps']))
    b = ((a - 1) / eigenvalues)[:, None] * b
    c = 2 * c
  h, y = np.zeros(len(a), complex), []
  for row in u:
    h = a * h + b @ row
    y.append((c @ (h + offset)).real + params['skip'] * row)
  return np.stack(y), h


def recur_by_hand(params, u, variant, offset=0):
  """As `linear_by_hand`, and the gate behind it."""
  y, h = linear_by_hand(params, u, variant, offset)
  y = by_hand.gelu(y)
  gate = y @ params['gate']['kernel'] + params['gate']['bias']
  return y * by_hand.sigmoid(gate), h


@pytest.mark.parametrize('variant', linear_recurrence.VARIANTS)
def test_against_the_equations(variant):
  y, (state,), params = by_hand.outputs(
    'linear_recurrence', state_dim=3, variant=variant, mlp_dim=4
  )
  expected = by_hand.stack(
    params, by_hand.X, lambda *args: recur_by_hand(*args, variant)[0]
  )
  np.testing.assert_allclose(y, expected, atol=1e-5)
  layer = params['layer_0']
  _, h = recur_by_hand(
    layer['mixer'],
    by_hand.rms_norm(by_hand.X, **layer['mixer_norm']),
    variant,
  )
  np.testing.assert_allclose(state['real'] + 1j * state['imaginary'], h, 1e-4)


def test_hippo_is_the_normal_part_of_legs():
  eigenvalues, vectors = linear_recurrence.hippo(3)
  root = np.sqrt(2 * np.arange(6) + 1)
  # LegS (arXiv 2008.07669), and the rank-one part that is taken from it.
  legs = -np.tril(np.outer(root, root), -1) - np.diag(np.arange(6) + 1.0)
  normal = legs + np.outer(root, root) / 2
  np.testing.assert_allclose(normal @ normal.T, normal.T @ normal, atol=1e-9)
  np.testing.assert_allclose(normal @ vectors, vectors * eigenvalues, atol=1e-9)
  assert (eigenvalues.imag > 0).all()


def test_s5_starts_as_the_real_system_of_hippo():
  # x_t = exp(A d) x_{t-1} + A^-1 (exp(A d) - 1) B u_t and y_t = C x_t, with A
  # the real matrix of 2 P rows, and B and C the real matrices that are drawn.
  num_states, step = 3, 0.05
  root = np.sqrt(np.arange(2 * num_states) + 0.5)
  lower = np.tril(np.outer(root, root), -1)
  system = lower.T - lower - np.eye(2 * num_states) / 2
  power, term = np.eye(2 * num_states), np.eye(2 * num_states)
  for n in range(1, 30):
    term = term @ system * step / n
    power = power + term
  driven = np.linalg.solve(system, power - np.eye(2 * num_states))

  first, last = linear_recurrence._KERNELS['s5'](num_states)
  (key_b, key_c), width = jax.random.split(jax.random.key(0)), by_hand.WIDTH
  drawn = jax.jit(
    lambda b, c: [
      jax.random.normal(b, (width, 2 * num_states)),
      jax.random.normal(c, (width, 2 * num_states)),
    ]
  )(jax.random.clone(key_b), jax.random.clone(key_c))
  b, c = (np.asarray(x, 'f8') for x in drawn)
  b, c = b.T / np.sqrt(width), c / np.sqrt(2 * num_states)
  x, expected = np.zeros(2 * num_states), []
  for row in by_hand.X:
    x = power @ x + driven @ b @ row
    expected.append(c @ x)

  eigenvalues, _ = linear_recurrence.hippo(num_states)
  kernels = jax.jit(
    lambda b, c: [
      first(b, (width, 2 * num_states)),
      last(c, (2 * num_states, width)),
    ]
  )(key_b, key_c)
  params = {
    'decay': np.log(-eigenvalues.real),
    'phase': eigenvalues.imag,
    'steps': np.full(num_states, np.log(step)),
    'input': {'kernel': kernels[0]},
    'output': {'kernel': kernels[1]},
    'skip': np.zeros(width),
  }
  y, _ = linear_by_hand(params, by_hand.X, 's5')
  np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('real', [-1e-6, -0.5e-3, -0.5, -30.0])
def test_what_is_near_zero_keeps_its_digits(real):
  angles = np.array([0.0, 1e-6, 1e-3, 0.5, 3.0, 40.0], np.float32)
  reals = np.full_like(angles, real)
  exponents = reals.astype('f8') + 1j * angles
  # By its series where a difference would lose digits in float64, too.
  series = exponents * (1 + exponents / 2 * (1 + exponents / 3))
  expected = np.where(abs(exponents) < 1e-4, series, np.exp(exponents) - 1)
  less = jax.jit(linear_recurrence._less_one)(reals, angles)
  np.testing.assert_allclose(less[0], expected.real, rtol=1e-5, atol=1e-12)
  np.testing.assert_allclose(less[1], expected.imag, rtol=1e-5, atol=1e-12)
  decay = np.log(-reals)
  scale = jax.jit(linear_recurrence._lru_scale)(decay)
  np.testing.assert_allclose(
    scale, 0.5 * np.log(-np.expm1(-2 * np.exp(decay.astype('f8')))), rtol=1e-5
  )


def test_starts_of_the_lru():
  _, _, params = by_hand.outputs('linear_recurrence', state_dim=64)
  # Weights are moved by 0.1 at most, as in all of these tests.
  mixer = params['layer_0']['mixer']
  radius = np.exp(-np.exp(mixer['decay']))
  assert ((radius > 0.88) & (radius < 0.9995)).all()
  np.testing.assert_allclose(
    np.exp(mixer['scale']), np.sqrt(1 - radius**2), rtol=0.25
  )


@pytest.mark.parametrize('num_parts', [1, 2])
@pytest.mark.parametrize('num_decays', [1, 7])
@pytest.mark.parametrize('way', ['cpu', 'other devices'])
def test_recurrence_and_its_gradients_are_those_of_steps(
  num_parts, num_decays, way, monkeypatch
):
  if way != 'cpu':
    ways = (_diagonal._by_halves, _diagonal._backward_by_halves)
    monkeypatch.setattr(_diagonal, '_run', ways[0])
    monkeypatch.setattr(_diagonal, '_backward_by_steps', ways[1])
  rng = np.random.default_rng(0)
  draw = lambda *shape: tuple(
    rng.normal(size=shape).astype(np.float32) for _ in range(num_parts)
  )
  args = draw(num_decays, 3), draw(7, 3), draw(3)
  weights = draw(7, 3)

  def value(run, args):
    y = run(*args)
    return sum((w * x).sum() for w, x in zip(weights, y, strict=True)), y

  @jax.jit
  def both(args):
    return [
      jax.grad(lambda args, run=run: value(run, args), has_aux=True)(args)
      for run in (_diagonal.by_steps, lambda *x: _diagonal.recurrence(*x))
    ]

  expected, actual = both(args)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
    actual,
    expected,
  )


@pytest.mark.parametrize('way', ['by_steps', 'recurrence', '_by_halves'])
def test_no_positions(way):
  none, start = np.zeros((0, 3), np.float32), np.ones(3, np.float32)
  run = getattr(_diagonal, way)

  def loss(start):
    (states,) = run((none,), (none,), (start,))
    assert states.shape == none.shape
    return states.sum()

  np.testing.assert_array_equal(jax.jit(jax.grad(loss))(start), 0)
