"""Sequences and runs in blocks: how much is computed at once.

On a CPU what is computed at once should fit into the caches; a GPU wants all of
it. Results differ by rounding only.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from bayes_prompting import types

# Raise it when numbers change: networks and results depend on it.
NUMERICS = 1

Losses = Callable[[types.PyTree, types.Array], types.Array]


def size(
  wanted: int, preferred: int, total: int, elsewhere: int | None = None
) -> int:
  """Returns how many of `total` to compute at once.

  Args:
    wanted: What the user asks for; 0 for automatic.
    preferred: The automatic choice on a CPU.
    total: Of all that there are.
    elsewhere: The automatic choice on other backends; by default, all.
  """
  if jax.default_backend() != 'cpu':
    preferred = total if elsewhere is None else elsewhere
  return max(1, min(wanted or preferred, total))


def mean(
  losses: Losses, context: types.PyTree, data: types.Array, block: int
) -> types.Array:
  """Returns the mean of losses over data, computed block by block.

  Its gradient is accumulated block by block too: each block's activations are
  gone before those of the next one come, and nothing is computed twice. Reverse
  mode only: the gradient is computed beside the value.

  Args:
    losses: (context, data [block, ...]) -> [block]. It must not close over
      traced arrays: what it needs is in the context.
    context: What all blocks share. Leaves that no gradient is asked for (by
      JAX's own account of what depends on what) cost none.
    data: [B, ...]; no gradient with respect to it.
    block: Size of a block. The last one is filled up with rows that do not
      count; where their derivative is not finite, no gradient is.

  Returns:
    A scalar.
  """
  total = len(data)
  if block >= total:
    return losses(context, data).mean()
  count = -(-total // block)
  block = -(-total // count)
  # What fills up the last block repeats its data, and is not counted.
  index = np.minimum(np.arange(count * block), total - 1)
  counted = (np.arange(count * block) < total).reshape(count, block)

  def of_block(context, rows, counted):
    return jnp.where(counted, losses(context, rows), 0).sum() / total

  def in_blocks(data):
    return data[index].reshape(count, block, *data.shape[1:]), counted

  def zero(context, data):
    dtype = jax.eval_shape(losses, context, data[:block]).dtype
    return jnp.zeros((), dtype)

  @jax.custom_vjp
  def run(context, data):
    def step(value, xs):
      return value + of_block(context, *xs), None

    return jax.lax.scan(step, zero(context, data), in_blocks(data))[0]

  def forward(context, data):
    leaves, treedef = jax.tree.flatten(
      context, is_leaf=lambda x: hasattr(x, 'perturbed')
    )
    values = [leaf.value for leaf in leaves]
    which = [i for i, leaf in enumerate(leaves) if leaf.perturbed]

    def of_perturbed(some, *xs):
      full = list(values)
      for i, value in zip(which, some, strict=True):
        full[i] = value
      return of_block(jax.tree.unflatten(treedef, full), *xs)

    some = [values[i] for i in which]

    def step(carry, xs):
      found = jax.value_and_grad(of_perturbed)(some, *xs)
      return jax.tree.map(jnp.add, carry, found), None

    context = jax.tree.unflatten(treedef, values)
    start = (zero(context, data.value), jax.tree.map(jnp.zeros_like, some))
    (value, gradient), _ = jax.lax.scan(step, start, in_blocks(data.value))
    full = [None] * len(leaves)
    for i, part in zip(which, gradient, strict=True):
      full[i] = part
    return value, jax.tree.unflatten(treedef, full)

  def backward(gradient, scale):
    return jax.tree.map(lambda g: scale.astype(g.dtype) * g, gradient), None

  run.defvjp(forward, backward, symbolic_zeros=True)
  return run(context, data)


def batched(fn: Callable, data: types.Array, block: int) -> types.PyTree:
  """Returns `fn(data)`, of a function of batches, block by block.

  Args:
    fn: (data [B, ...]) -> a tree with the same leading axis, each row of which
      depends on that row of the data alone.
    data: [total, ...].
    block: Rows at once; the last block is filled up, so that `fn` is compiled
      for one size.
  """
  total = len(data)
  if block >= total:
    return fn(data)
  count = -(-total // block)
  block = -(-total // count)
  if count * block > total:
    data = data[np.minimum(np.arange(count * block), total - 1)]
  found = jax.lax.map(fn, data.reshape(count, block, *data.shape[1:]))
  return jax.tree.map(
    lambda x: x.reshape(count * block, *x.shape[2:])[:total], found
  )


def vmap(fn: Callable, block: int, *args: types.PyTree) -> types.PyTree:
  """Returns `jax.vmap(fn)(*args)`, in blocks of the leading axis, in turn."""
  total = len(jax.tree.leaves(args)[0])
  if block == 1:  # No batch axis at all: products of one matrix with another.
    return jax.lax.map(lambda one: fn(*one), args)
  if block >= total:
    return jax.vmap(fn)(*args)
  return jax.lax.map(lambda one: fn(*one), args, batch_size=block)
