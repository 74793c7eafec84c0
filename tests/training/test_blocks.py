"""Blocks change no result: means, gradients, batches and runs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bayes_prompting.training import blocks

# Of 7 rows: dividing, not dividing, one, all, more than all.
SIZES = (1, 2, 3, 5, 7, 9)


@pytest.fixture
def data():
  return jax.random.normal(jax.random.key(0), (7, 3))


@pytest.fixture
def context():
  key = jax.random.key(1)
  return {'w': jax.random.normal(key, (3,)), 'b': jnp.float32(0.3), 'n': 2}


def losses(context, data):
  return jnp.tanh(data @ context['w'] + context['b']) ** context['n']


@pytest.mark.parametrize('block', SIZES)
def test_mean_and_its_gradient_are_those_of_the_whole(context, data, block):
  def loss(w, mean):
    return 3 * mean({**context, 'w': w})

  expected = jax.value_and_grad(loss)(
    context['w'], lambda c: losses(c, data).mean()
  )
  found = jax.jit(
    jax.value_and_grad(
      lambda w: loss(w, lambda c: blocks.mean(losses, c, data, block))
    )
  )(context['w'])
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), found, expected
  )


@pytest.mark.parametrize('outer', [jax.jit, jax.checkpoint])
def test_mean_inside_other_transformations(context, data, outer):
  def loss(w, mean):
    return mean({**context, 'w': w})

  expected = jax.grad(loss)(context['w'], lambda c: losses(c, data).mean())
  found = jax.grad(
    outer(lambda w: loss(w, lambda c: blocks.mean(losses, c, data, 2)))
  )(context['w'])
  np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_mean_keeps_the_type_of_the_losses(data):
  def of(context, rows):
    return (context * rows).sum(-1)

  half = data.astype(jnp.bfloat16)
  value, gradient = jax.value_and_grad(
    lambda scale: blocks.mean(of, scale, half, 2)
  )(jnp.bfloat16(2))
  assert value.dtype == gradient.dtype == jnp.bfloat16


def test_mean_without_a_gradient(context, data):
  found = blocks.mean(losses, context, data, 2)
  np.testing.assert_allclose(found, losses(context, data).mean(), rtol=1e-6)


def test_runs_of_a_mean_are_vmapped(context, data):
  ws = jax.random.normal(jax.random.key(2), (4, 3))

  def gradient(w, data, mean):
    return jax.grad(lambda w: mean({**context, 'w': w}, data))(w)

  datas = jnp.stack([data + i for i in range(4)])
  found = jax.vmap(
    lambda w, d: gradient(w, d, lambda c, d: blocks.mean(losses, c, d, 2))
  )(ws, datas)
  for i in range(4):
    expected = gradient(ws[i], datas[i], lambda c, d: losses(c, d).mean())
    np.testing.assert_allclose(found[i], expected, rtol=1e-5, atol=2e-6)


def test_what_is_frozen_has_no_gradient_computed(data):
  # A function that cannot be differentiated with respect to what is frozen.
  @jax.custom_vjp
  def forbidden(x):
    return x

  def backward(saved, g):
    raise AssertionError('differentiated what is frozen')

  forbidden.defvjp(lambda x: (x, None), backward)

  def of(context, data):
    return context['tuned'] * jnp.tanh(data @ forbidden(context['frozen']))

  frozen = jnp.arange(3.0)

  def loss(tuned):
    context = {'tuned': tuned, 'frozen': frozen}
    return blocks.mean(of, context, data, 2)

  found = jax.grad(loss)(jnp.float32(2))
  np.testing.assert_allclose(found, jnp.tanh(data @ frozen).mean(), rtol=1e-5)


def test_an_infinite_loss_is_not_hidden_and_not_spread():
  data = jnp.array([1.0, 2.0, jnp.inf])

  def of(context, rows):
    return context * rows

  assert np.isposinf(blocks.mean(of, jnp.float32(1), data, 2))
  # The row that fills up the last block counts once.
  found = blocks.mean(of, jnp.float32(1), jnp.array([0.0, 0.0, 3.0]), 2)
  np.testing.assert_allclose(found, 1.0)


@pytest.mark.parametrize('block', SIZES)
def test_batched(data, block):
  def fn(rows):
    return {'sum': rows.sum(-1), 'twice': 2 * rows}

  found = jax.jit(lambda x: blocks.batched(fn, x, block))(data)
  np.testing.assert_array_equal(found['twice'], 2 * data)
  np.testing.assert_allclose(found['sum'], data.sum(-1), rtol=1e-6)


@pytest.mark.parametrize('block', SIZES)
def test_vmap(data, block):
  found = blocks.vmap(lambda x, y: (x * y).sum(), block, data, 2 * data)
  np.testing.assert_allclose(found, (2 * data**2).sum(-1), rtol=1e-6)


def test_size_is_what_the_user_wants_within_what_there_is():
  assert blocks.size(3, 8, 100) == 3
  assert blocks.size(300, 8, 100) == 100
  assert blocks.size(0, 0, 4) == 1


def test_size_is_automatic_by_backend(monkeypatch):
  monkeypatch.setattr(jax, 'default_backend', lambda: 'cpu')
  assert blocks.size(0, 8, 100) == 8
  monkeypatch.setattr(jax, 'default_backend', lambda: 'gpu')
  assert blocks.size(0, 8, 100) == 100
  assert blocks.size(0, 8, 100, elsewhere=40) == 40
  assert blocks.size(3, 8, 100, elsewhere=40) == 3
