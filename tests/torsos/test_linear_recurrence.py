"""Diagonal recurrences, and LRU and S5 held to their equations."""

import jax
import numpy as np
import pytest

from bayes_prompting import errors
from bayes_prompting import registry
from bayes_prompting.torsos import _diagonal
from bayes_prompting.torsos import linear_recurrence
from tests.torsos import by_hand


def recur_by_hand(params, u, variant):
  """One step at a time, with complex numbers."""
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
    y.append((c @ h).real + params['skip'] * row)
  y = by_hand.gelu(np.stack(y))
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


@pytest.mark.parametrize(
  ('field', 'value'),
  [
    ('state_dim', 0),
    ('variant', 's4'),
    ('num_layers', 0),
    ('mlp_dim', -1),
    ('width', 4),
  ],
)
def test_refuses(field, value):
  with pytest.raises(errors.UserError, match=field):
    registry.make('torsos', 'test', {'name': 'linear_recurrence', field: value})
