"""Diagonal recurrences: h_t = a_t h_{t-1} + b_t, each channel for itself.

Numbers are in parts: `(real,)`, or `(real, imaginary)`, since a state is of
floats.
"""

import jax
import jax.numpy as jnp

from bayes_prompting import types

# Raise it when numbers change: networks and results depend on it.
NUMERICS = 2

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
    decay: a, [N, ...] each, or [1, ...] if it is the same at each step.
    inputs: b, [N, ...] each.
    start: h_0, [...] each.

  Returns:
    [N, ...] each.
  """
  fixed = _fixed(decay, inputs)

  def step(state, now):
    decay, inputs = now
    decay = decay if fixed is None else fixed
    state = plus(times(decay, state), inputs)
    return state, state

  rows = decay if fixed is None else ()
  return jax.lax.scan(step, start, (rows, inputs))[1]


def _fixed(decay, inputs):
  """Returns the decay of every step, or None if steps have their own."""
  if len(decay[0]) == len(inputs[0]):
    return None
  return tuple(x[0] for x in decay)


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
  decay = _of_all_steps(decay, inputs)
  a, b = jax.lax.associative_scan(join, (decay, inputs))
  return plus(times(a, tuple(x[None] for x in start)), b)


def _of_all_steps(decay, inputs):
  return tuple(
    jnp.broadcast_to(x, (len(y), *x.shape[1:]))
    for x, y in zip(decay, inputs, strict=True)
  )


def _forward(decay, inputs, start):
  states = _run(decay, inputs, start)
  return states, (decay, start, states)


def _backward(saved, to_states):
  """The gradient runs back by the same recurrence, with conjugate decays."""
  decay, start, states = saved
  if not len(to_states[0]):
    return jax.tree.map(jnp.zeros_like, (decay, to_states, start))
  return jax.lax.platform_dependent(
    decay,
    start,
    states,
    to_states,
    cpu=_backward_by_steps,
    default=_backward_by_halves,
  )


def _backward_by_steps(decay, start, states, to_states):
  """All in one loop, since a pass over memory costs as much as a loop does."""
  fixed = _fixed(decay, to_states)

  def step(carry, now):
    to_state, to_fixed = carry
    number, decay, to_output = now
    decay = decay if fixed is None else fixed
    to_state = plus(to_state, to_output)
    # Read where they lie: to move all of them by one step is one more pass.
    before = tuple(
      jnp.where(
        number > 0,
        jax.lax.dynamic_index_in_dim(
          x, jnp.maximum(number - 1, 0), keepdims=False
        ),
        first,
      )
      for x, first in zip(states, start, strict=True)
    )
    to_decay = times(_conjugate(before), to_state)
    carry = times(_conjugate(decay), to_state)
    if fixed is None:
      return (carry, ()), (to_state, to_decay)
    return (carry, plus(to_fixed, to_decay)), (to_state, ())

  zeros = tuple(jnp.zeros_like(x) for x in start)
  numbers = jnp.arange(len(to_states[0]), dtype=jnp.int32)
  (to_start, to_fixed), (to_inputs, to_decay) = jax.lax.scan(
    step,
    (zeros, () if fixed is None else zeros),
    (numbers, decay if fixed is None else (), to_states),
    reverse=True,
  )
  if fixed is not None:
    to_decay = tuple(x[None] for x in to_fixed)
  return to_decay, to_inputs, to_start


def _backward_by_halves(decay, start, states, to_states):
  fixed = _fixed(decay, to_states)
  decay = _conjugate(_of_all_steps(decay, to_states))
  # To b_t comes what h_t is asked for, and a_{t+1} times what b_{t+1} is.
  later = tuple(jnp.concatenate([x[1:], x[:1]])[::-1] for x in decay)
  zeros = tuple(jnp.zeros_like(x) for x in start)
  to_inputs = _by_halves(later, tuple(x[::-1] for x in to_states), zeros)
  to_inputs = tuple(x[::-1] for x in to_inputs)
  before = tuple(
    jnp.concatenate([x[None], y[:-1]])
    for x, y in zip(start, states, strict=True)
  )
  to_decay = times(_conjugate(before), to_inputs)
  if fixed is not None:
    to_decay = tuple(x.sum(0, keepdims=True) for x in to_decay)
  to_start = times(tuple(x[0] for x in decay), tuple(x[0] for x in to_inputs))
  return to_decay, to_inputs, to_start


def _conjugate(a):
  return a if len(a) == 1 else (a[0], -a[1])


recurrence.defvjp(_forward, _backward)
