"""The arithmetic of programs, against counts by hand."""

import jax
import jax.numpy as jnp
import pytest

from bayes_prompting.experiment import arithmetic


def count(fn, *shapes):
  return arithmetic.matrix_operations(
    fn, *(jnp.zeros(shape, jnp.float32) for shape in shapes)
  )


def test_a_product_is_two_operations_a_triple():
  assert count(jnp.matmul, (3, 4), (4, 5)) == 2 * 3 * 4 * 5
  assert count(jnp.matmul, (7, 3, 4), (4, 5)) == 7 * 2 * 3 * 4 * 5


def test_a_loop_counts_as_often_as_it_runs():
  def fn(x, w):
    return jax.lax.scan(lambda x, _: (x @ w, None), x, length=6)[0]

  assert count(fn, (4,), (4, 4)) == 6 * 2 * 16


def test_a_loop_of_unknown_length_is_refused():
  def fn(x, w):
    return jax.lax.while_loop(lambda x: x.sum() < 9, lambda x: x @ w, x)

  with pytest.raises(arithmetic.UnknownLengthError, match='length'):
    count(fn, (4,), (4, 4))


def test_what_nothing_depends_on_does_not_count():
  def fn(x, w):
    x @ w
    return x

  assert count(fn, (4, 4), (4, 4)) == 0


def test_a_gradient_counts_what_it_passes():
  def loss(first, second, x):
    return (x @ first @ second).sum()

  shapes = (3, 4), (4, 5), (7, 3)
  forward = 2 * 7 * (3 * 4 + 4 * 5)
  assert count(loss, *shapes) == forward
  # The last one alone: nothing passes the first.
  of_second = jax.value_and_grad(loss, 1)
  assert count(of_second, *shapes) == forward + 2 * 7 * 4 * 5
  # The first alone: through the second, whose own gradient nobody needs.
  of_first = jax.value_and_grad(loss, 0)
  passed = 2 * 7 * 4 * 5 + 2 * 7 * 3 * 4
  assert count(of_first, *shapes) == forward + passed


def test_loops_move_what_has_positions():
  def fn(x, w):
    def step(h, row):
      return h * w + row, h

    return jax.lax.scan(step, x[0], x)[1]

  shapes = jnp.zeros((6, 4)), jnp.zeros(4)
  # Each row is read, and one is written; what is carried does not count.
  once = arithmetic.loop_bytes(fn, *shapes)
  assert once == 2 * 4 * 6 * 4
  batch = jnp.zeros((5, 6, 4)), jnp.zeros(4)
  assert arithmetic.loop_bytes(jax.vmap(fn, (0, None)), *batch) == 5 * once
  assert arithmetic.loop_bytes(jnp.matmul, jnp.eye(3), jnp.eye(3)) == 0
