"""Diagonal recurrences: h_t = a_t h_{t-1} + b_t, each channel for itself.

Numbers are in parts: `(real,)`, or `(real, imaginary)`, since a state is of
floats.
"""

import jax
import jax.numpy as jnp

from bayes_prompting import types

# Raise it when numbers change: networks and results depend on it.
NUMERICS = 1

Parts = tuple[types.Array, ...]


def times(a: Parts, b: Parts) -> Parts:
  """Returns the product, elementwise."""
  if len(a) == 1:
    return (a[0] * b[0],)
  return a[0] * b[0] - a[1] * b[1], a[0] * b[1] + a[1] * b[0]


def plus(a: Parts, b: Parts) -> Parts:
  """Returns the sum, elementwise."""
  return tuple(x + y for x, y in zip(a, b, strict=True))


def by_steps(decay: Parts, inputs: Parts, start: Parts) -> Parts:
  """Returns h_1 to h_N, one after the other.

  Args:
    decay: a, [N, ...] each.
    inputs: b, [N, ...] each.
    start: h_0, [...] each.

  Returns:
    [N, ...] each.
  """

  def step(state, now):
    state = plus(times(now[0], state), now[1])
    return state, state

  return jax.lax.scan(step, start, (decay, inputs))[1]


@jax.custom_vjp
def recurrence(decay: Parts, inputs: Parts, start: Parts) -> Parts:
  """As `by_steps`, fast on any device; keeps h alone for the derivative."""
  return _run(decay, inputs, start)


def _run(decay, inputs, start):
  # Steps have little to do each, and a CPU does them in its cache. Other
  # devices need all positions at once (Blelloch, 1990).
  return jax.lax.platform_dependent(
    decay, inputs, start, cpu=by_steps, default=_by_halves
  )


def _by_halves(decay, inputs, start):
  def join(first, second):
    (a, b), (c, d) = first, second
    return times(c, a), plus(times(c, b), d)

  if not len(inputs[0]):
    return inputs
  a, b = jax.lax.associative_scan(join, (decay, inputs))
  return plus(times(a, tuple(x[None] for x in start)), b)


def _forward(decay, inputs, start):
  states = _run(decay, inputs, start)
  return states, (decay, start, states)


def _backward(saved, to_states):
  """The gradient runs back by the same recurrence, with conjugate decays."""
  decay, start, states = saved
  if not len(to_states[0]):
    return jax.tree.map(jnp.zeros_like, (decay, to_states, start))
  decay = _conjugate(decay)
  # To b_t comes what h_t is asked for, and a_{t+1} times what b_{t+1} is.
  later = tuple(jnp.concatenate([x[1:], x[:1]])[::-1] for x in decay)
  zeros = tuple(jnp.zeros_like(x) for x in start)
  to_inputs = _run(later, tuple(x[::-1] for x in to_states), zeros)
  to_inputs = tuple(x[::-1] for x in to_inputs)
  before = tuple(
    jnp.concatenate([x[None], y[:-1]])
    for x, y in zip(start, states, strict=True)
  )
  to_decay = times(_conjugate(before), to_inputs)
  to_start = times(tuple(x[0] for x in decay), tuple(x[0] for x in to_inputs))
  return to_decay, to_inputs, to_start


def _conjugate(a):
  return a if len(a) == 1 else (a[0], -a[1])


recurrence.defvjp(_forward, _backward)
