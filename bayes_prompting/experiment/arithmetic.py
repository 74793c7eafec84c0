"""How much arithmetic something needs, and how much memory its loops move."""

from collections.abc import Callable
import math
from typing import Any

import jax
from jax.interpreters import partial_eval


class UnknownLengthError(Exception):
  """A loop runs as often as its data say, and no shape tells how often."""


def matrix_operations(fn: Callable, *args: Any) -> int:
  """Counts the operations of all matrix products that `fn(*args)` needs.

  A product of [M, K] and [K, N] is 2 M K N operations: a multiplication and an
  addition for each pair. Nothing is run: the function is traced, what its
  results do not depend on is dropped, and the shapes of what is left are
  counted, a scan's body as often as it runs. Nothing else is counted, neither
  additions nor exponentials.

  Of a network's gradient this is: forward 2 operations a weight and token; back
  2 more for every weight that is tuned, and 2 more for every weight that a
  gradient passes on its way to what is tuned. Attention of N positions to each
  other adds 4 N E a token forward (scores and values, masked ones too), and
  twice that where a gradient passes.

  Args:
    fn: To be given the plain form of a network (`predictors.network` with
      `plain=True`), so that shortcuts do not count as work.
    *args: Arrays, or shapes and dtypes.

  Raises:
    UnknownLengthError: If there is a `while` loop: better no figure than a
      wrong one.
  """
  return _count(_needed(fn, args), {'dot_general': _product})


def loop_bytes(fn: Callable, *args: Any) -> int:
  """Counts the bytes that the loops over positions of `fn(*args)` move.

  These are, of each loop, the arrays that it reads or writes a row of at each
  step. What it carries from step to step may stay in a cache, and does not
  count. A recurrence without matrix products is bound by this.

  Args:
    fn: As for `matrix_operations`: the plain form, and what its derivative
      keeps.
    *args: Arrays, or shapes and dtypes.

  Raises:
    UnknownLengthError: As `matrix_operations`.
  """
  return _count(_needed(fn, args), {'scan': _rows})


def _needed(fn, args):
  closed = jax.make_jaxpr(fn)(*args)
  needed = [True] * len(closed.jaxpr.outvars)
  return partial_eval.dce_jaxpr(closed.jaxpr, needed)[0]


def _count(jaxpr, counts):
  """Adds up equations, given what those of a name count for."""
  total = 0
  for equation in jaxpr.eqns:
    name, params = equation.primitive.name, equation.params
    total += counts[name](equation) if name in counts else 0
    if name == 'while':
      raise UnknownLengthError('a loop whose length is not known')
    if name == 'cond':
      branches = params['branches']
      total += max(_count(branch.jaxpr, counts) for branch in branches)
    else:
      times = params['length'] if name == 'scan' else 1
      total += times * sum(_count(x, counts) for x in _inner(params))
  return total


def _inner(params):
  """Returns the jaxprs among an equation's parameters."""
  found = [getattr(value, 'jaxpr', value) for value in params.values()]
  return [jaxpr for jaxpr in found if hasattr(jaxpr, 'eqns')]


def _product(equation):
  contracted = equation.params['dimension_numbers'][0][0]
  shape = equation.invars[0].aval.shape
  depth = math.prod(shape[i] for i in contracted)
  return 2 * depth * math.prod(equation.outvars[0].aval.shape)


def _rows(equation):
  """Returns the bytes of the arrays that a loop reads or writes row by row."""
  params = equation.params
  carried = params['num_carry']
  arrays = equation.invars[params['num_consts'] + carried :]
  arrays += equation.outvars[carried:]
  return sum(x.aval.size * x.aval.dtype.itemsize for x in arrays)
