"""What a method costs, counted from shapes: nothing is run."""

from collections.abc import Callable
import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from bayes_prompting import predictors
from bayes_prompting import registry
from bayes_prompting import regret
from bayes_prompting import types
from bayes_prompting.experiment import arithmetic
from bayes_prompting.experiment import build


class Cost(NamedTuple):
  """What one tuning of one network takes.

  Attributes:
    tuned_numbers: Numbers of the tunable; of a hard prefix its tokens.
    updates: Updates, or the candidates that a search scores, with as many as
      its other predictions come to; 0 of a method that does neither.
    multiply_adds: Of the matrix products of one update, or of the score of one
      candidate; NaN where no shape tells (see `arithmetic`), and of exact
      Bayes, which has no weights.
  """

  tuned_numbers: int
  updates: int
  multiply_adds: float


def of_method(lab: build.Lab, method: build.Method) -> Cost:
  """Returns what a method of a lab costs."""
  shapes = build.tuned_shapes(lab, method)
  numbers = sum(x.size for x in jax.tree.leaves(shapes['tunable']))
  draws, updates = lab.tuning.batch_size, 0
  if 'candidate_losses' in shapes:
    updates = build.num_candidates(method)
    if method.search is not None:
      updates = method.search.cost
    draws = lab.config['tuning']['search_draws']
    draws = min(draws, lab.tuning.num_sequences or draws)
  elif 'losses' in shapes:
    updates = lab.tuning.num_steps
  operations = 0.0
  if method.is_bayes:
    operations = math.nan
  elif updates:
    length = lab.priors[lab.target].num_tokens(lab.tuning.length)
    operations = _operations(plain_network(lab), method.tuner, draws, length)
  return Cost(numbers // method.num_runs, updates, operations / 2)


def plain_network(lab: build.Lab) -> types.Predictor:
  """Returns a lab's network with nothing shared between sequences."""
  network = lab.config['network']
  if network['language_model'] is not None:
    return lab.network
  return predictors.network(
    registry.make('torsos', 'network.torso', network['torso']),
    lab.network.vocab_size,
    network['embedding_dim'],
    plain=True,
    tied_unembedding=network['tied_unembedding'],
  )


def update(
  predictor: types.Predictor,
  tuner: types.Tuner,
  num_sequences: int,
  length: int,
  count: Callable[..., int] = arithmetic.matrix_operations,
) -> int:
  """Counts what one update takes: a gradient of the tunable, or a score.

  Args:
    predictor: In its plain form, see `arithmetic.matrix_operations`.
    tuner: One that chooses among candidates needs no gradient.
    num_sequences: Of a batch.
    length: Of each.
    count: Counts, given a function and shapes of its arguments.

  Raises:
    UnknownLengthError: See `arithmetic.matrix_operations`.
  """
  params = jax.eval_shape(predictor.init, jax.random.key(0))
  tunable = jax.eval_shape(
    lambda key, params: tuner.init(key, predictor, params),
    jax.random.key(0),
    params,
  )
  tokens = jnp.zeros((num_sequences, length), jnp.int32)

  def loss(tunable, params):
    bound, state = tuner.bind(predictor, params, tunable)
    log_probs = predictor.predict(bound, state, tokens)
    return regret.log_loss(log_probs, tokens).mean()

  return count(
    loss if tuner.candidates else jax.value_and_grad(loss), tunable, params
  )


@functools.lru_cache(maxsize=1024)
def _operations(predictor, tuner, num_sequences, length):
  try:
    return update(predictor, tuner, num_sequences, length)
  except arithmetic.UnknownLengthError:  # JAX raises others, of mistakes.
    return math.nan
