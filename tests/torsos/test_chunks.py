"""A matrix state in chunks is the one by steps, gradients included."""

import functools

import jax
import numpy as np
import pytest

from bayes_prompting.torsos import _chunks

SIZES = 3, 2


def draw(kind, delta, length):
  rng = np.random.default_rng(length)
  normal = lambda *shape: rng.normal(size=shape).astype(np.float32)
  of_rows = 'rows' in kind
  keys = normal(length, SIZES[0])
  if 'alike' in kind:  # As those of a coin that shows heads only.
    keys[:] = keys[:1]
  keys /= np.linalg.norm(keys, axis=1, keepdims=True)
  strengths = 0.6 * rng.random((length, SIZES[0]) if of_rows else length)
  decay = -strengths.astype(np.float32)
  if 'strong' in kind:
    decay[::3] = -50
  # Strengths up to 2: the delta rule may turn a value round.
  change = -2 * rng.random((length, 1)).astype(np.float32) * keys
  return _chunks.Inputs(
    query=normal(length, SIZES[0]),
    key=keys,
    value=normal(length, SIZES[1]),
    log_decay=None if 'none' in kind else decay,
    probe=keys if delta else None,
    change=change if delta else None,
  ), normal(*SIZES)


@functools.cache
def both(chunk):
  """Returns a jitted function that returns values and gradients of both."""

  def loss(run, inputs, start):
    outputs, end = run(inputs, start)
    weights = np.cos(np.arange(outputs.size)).reshape(outputs.shape)
    return (outputs * weights).sum() + (end * end).sum(), (outputs, end)

  ways = _chunks.by_steps, functools.partial(_chunks.in_chunks, chunk=chunk)
  return jax.jit(
    lambda inputs, start: [
      jax.value_and_grad(
        functools.partial(loss, run), argnums=(0, 1), has_aux=True
      )(inputs, start)
      for run in ways
    ]
  )


@pytest.mark.parametrize(
  ('chunk', 'length'), [(4, 0), (4, 1), (4, 37), (16, 37), (1, 5)]
)
@pytest.mark.parametrize('delta', [False, True])
@pytest.mark.parametrize(
  'kind', ['none', 'none alike', 'one', 'one strong', 'one alike', 'rows']
)
def test_chunks_are_steps(kind, delta, chunk, length):
  expected, found = both(chunk)(*draw(kind, delta, length))
  assert not length or np.isfinite(expected[0][0])

  def close(a, b):
    scale = np.abs(b).max(initial=1)
    np.testing.assert_allclose(a / scale, b / scale, atol=1e-5)

  jax.tree.map(close, found, expected)


def test_decays_of_rows_as_strong_as_a_chunk_bears():
  # Twice as far as a float32 can go from 1 in one direction.
  inputs, start = draw('rows', delta=True, length=16)
  least = np.float32(_chunks.LEAST_LOG_DECAY / 8)
  inputs = inputs._replace(log_decay=np.full_like(inputs.log_decay, least))
  expected, found = both(8)(inputs, start)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
    found,
    expected,
  )
