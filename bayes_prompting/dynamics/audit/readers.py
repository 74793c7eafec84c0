"""Asks a predictor of any kind what it expects, in blocks of one shape.

A predictor is one of ours (`types.Predictor`), or a plain function of one's own
from a batch of histories to probabilities. Whatever it is, what it says is
checked before it is used.
"""

from collections.abc import Callable
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bayes_prompting import checks
from bayes_prompting import errors
from bayes_prompting import keys
from bayes_prompting import predictors
from bayes_prompting import types

# Sequences at once. All that is read of one length is one program.
_BLOCK = 256
# How far probabilities may be from a sum of 1. A mistake is further away, and
# rounding in 16 bits is nearer.
_SUM_TOLERANCE = 0.01


class Reader(NamedTuple):
  """What an audit asks a predictor.

  Attributes:
    vocab_size: V.
    read: (tokens [B, N]) -> float64 [B, N, V], log probabilities in nats before
      each token. All are -inf after what the predictor holds impossible.
    expect: (histories [B, n]) -> float64 [B, V], the same after all of them.
    go_on: (histories [B, n], T, seed) -> tokens int32 [B, T], each sampled from
      what is expected of it. -1 where nothing is possible.
  """

  vocab_size: int
  read: Callable[[np.ndarray], np.ndarray]
  expect: Callable[[np.ndarray], np.ndarray]
  go_on: Callable[[np.ndarray, int, int], np.ndarray]


def _in_blocks(function, array, size=_BLOCK, fill_up=True):
  """Calls a function for blocks of rows, the last of which is filled up."""
  outputs = []
  for first in range(0, len(array), size):
    block = array[first : first + size]
    rows = len(block)
    if fill_up:
      fill = [(0, size - rows)] + [(0, 0)] * (array.ndim - 1)
      block = np.pad(block, fill)
    outputs.append(np.asarray(function(block))[:rows])
  return np.concatenate(outputs)


@functools.partial(jax.jit, static_argnames='predictor')
def _read(predictor, params, state, tokens):
  return predictor.predict(params, state, tokens)


@functools.partial(jax.jit, static_argnames=('predictor', 'num_tokens'))
def _go_on(predictor, params, state, histories, num_tokens, numbers, key):
  def one(history, number):
    own = jax.random.fold_in(key, number)
    return predictors.generate(
      predictor, params, state, history, num_tokens, own
    )

  return jax.vmap(one)(histories, numbers)


def of_predictor(
  predictor: types.Predictor,
  params: types.Params | None,
  state: types.State | None = None,
  length: int = 1,
) -> Reader:
  """Returns the reader of a predictor of ours.

  Args:
    predictor: Neural or Bayesian.
    params: Its weights; {} for a Bayesian predictor. None: those that it loads
      itself, or none.
    state: Where it starts; behind no prompt by default.
    length: Sequences up to this length are read by one program.

  Raises:
    UserError: From `read` and `expect`, if something that it says is NaN.
  """
  if params is None:
    params = {} if predictor.load is None else predictor.load()
  if state is None:
    state = jax.jit(predictor.start)(params)
  size = min(_BLOCK, max(predictor.sequence_block(length), 1))

  def read(tokens):
    tokens = np.asarray(tokens, np.int32)
    width = tokens.shape[1]
    # It is causal: what stands behind is never seen.
    filled = np.pad(tokens, ((0, 0), (0, max(length - width, 0))))
    log_probs = _in_blocks(
      lambda x: _read(predictor, params, state, x), filled, size
    )[:, :width].astype(np.float64)
    if np.isnan(log_probs).any():
      raise errors.UserError(
        'predictor: what it expects is NaN; are its weights finite?'
      )
    return _normalized(log_probs)

  def expect(histories):
    return read(np.pad(histories, ((0, 0), (0, 1))))[:, -1]

  def go_on(histories, num_tokens, seed):
    key = keys.stream(keys.root(seed), 'audit')
    numbered = np.arange(len(histories), dtype=np.int32)[:, None]
    rows = np.concatenate([numbered, histories], axis=1).astype(np.int32)
    return _in_blocks(
      lambda x: _go_on(
        predictor, params, state, x[:, 1:], num_tokens, x[:, 0], key
      ),
      rows,
      size,
    )

  return Reader(predictor.vocab_size, read, expect, go_on)


def _normalized(log_probs):
  """Returns log probabilities that sum to one beyond float32's rounding."""
  top = log_probs.max(-1, keepdims=True)
  top = np.where(np.isfinite(top), top, 0.0)
  with np.errstate(divide='ignore'):
    total = np.log(np.exp(log_probs - top).sum(-1, keepdims=True))
  return np.where(np.isfinite(total), log_probs - top - total, -np.inf)


def of_function(function: Callable, vocab_size: int) -> Reader:
  """Returns the reader of a function from histories to probabilities.

  Args:
    function: (histories int32 [B, n]) -> [B, V], probabilities of the next
      token. It is called with any n from 0 on, and is never traced.
    vocab_size: V.

  Raises:
    UserError: From everything that asks it, if what it returns are no
      probabilities [B, V].
  """

  def block(histories):
    shape = len(histories), vocab_size
    asked = f'for histories of shape {histories.shape}'
    try:
      probs = np.asarray(function(histories.copy()), np.float64)
    except (TypeError, ValueError) as error:
      text = ' '.join(str(error).split())[:200]
      raise errors.UserError(
        f'predictor: {type(error).__name__} {asked} ({text}); it must take '
        'histories [B, n] of any n from 0 on, and return probabilities [B, V]'
      ) from error
    if probs.shape != shape:
      raise errors.UserError(
        f'predictor: must return probabilities of shape {shape} {asked}, got '
        f'shape {probs.shape}'
      )
    if not np.isfinite(probs).all():
      raise errors.UserError(
        f'predictor: its probabilities must be finite, got '
        f'{checks.show(_first(probs, ~np.isfinite(probs)))} {asked}'
      )
    if (probs < 0).any():
      raise errors.UserError(
        'predictor: its probabilities must not be negative (no logarithms, no '
        f'logits), got {checks.show(_first(probs, probs < 0))} {asked}'
      )
    sums = probs.sum(-1)
    wrong = np.abs(sums - 1) > _SUM_TOLERANCE
    if wrong.any():
      raise errors.UserError(
        'predictor: its probabilities must sum to 1, got '
        f'{checks.show(_first(probs, wrong[:, None]))}, which sum to '
        f'{sums[wrong][0]:.4g}, {asked}'
      )
    return probs / sums[:, None]

  def probabilities(histories):
    tokens = np.asarray(histories, np.int32)
    return _in_blocks(block, tokens, fill_up=False)

  def expect(histories):
    with np.errstate(divide='ignore'):
      return np.log(probabilities(histories))

  def read(tokens):
    steps = range(np.shape(tokens)[1])
    return np.stack([expect(tokens[:, :n]) for n in steps], axis=1)

  def go_on(histories, num_tokens, seed):
    random = np.random.default_rng(seed)
    known = np.asarray(histories, np.int32)
    for _ in range(num_tokens):
      ends = probabilities(known).cumsum(-1)
      drawn = (random.random((len(known), 1)) > ends).sum(-1)
      drawn = np.minimum(drawn, vocab_size - 1).astype(np.int32)
      known = np.concatenate([known, drawn[:, None]], axis=1)
    return known[:, -num_tokens:]

  return Reader(vocab_size, read, expect, go_on)


def _first(probs, wrong):
  """Returns the first row in which something is wrong."""
  return probs[np.broadcast_to(wrong, probs.shape).any(-1)][0].tolist()


def of_source(
  task_prior: types.TaskPrior, length: int, num: int, seed: int
) -> np.ndarray:
  """Returns sequences int32 [num, length] that a task prior draws.

  Of recorded sequences they are different windows of the part for evaluation.

  Raises:
    UserError: If fewer were recorded.
  """
  if task_prior.recorded is not None:
    count = task_prior.recorded.count('evaluation', length)
    if count < num:
      raise errors.UserError(
        f'num_sequences: the task has {count} windows of {length} tokens for '
        f'evaluation, got {num}; ask for at most {count}, or for shorter ones '
        '(length)'
      )
    chosen = np.random.default_rng(seed).permutation(count)[:num]
    window = task_prior.recorded.window
    return np.stack([window('evaluation', int(x), length) for x in chosen])
  root = keys.stream(keys.root(seed), 'audit', 'task')
  numbers = np.arange(num, dtype=np.int32)
  return _in_blocks(
    lambda x: _sample(task_prior.sample, root, jnp.asarray(x), length),
    numbers,
  )


@functools.partial(jax.jit, static_argnums=(0, 3))
def _sample(sample, root, numbers, length):
  return jax.vmap(
    lambda number: sample(jax.random.fold_in(root, number), length).tokens
  )(numbers)
