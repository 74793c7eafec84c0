"""A finite set of hidden Markov models with given weights."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bayes_prompting import checks
from bayes_prompting import keys as keys_lib
from bayes_prompting import types
from bayes_prompting.task_priors import _draws

# Raise it when numbers change: networks and results depend on it.
NUMERICS = 1

EXAMPLES = (
  {
    'weights': (0.4, 0.6),
    'initial': ((0.5, 0.5), (1.0, 0.0)),
    'transitions': (((0.9, 0.1), (0.2, 0.8)), ((0.0, 1.0), (0.6, 0.4))),
    'emissions': (((0.1, 0.9), (0.7, 0.3)), ((1.0, 0.0), (0.5, 0.5))),
  },
  {
    'weights': (1.0,),
    'initial': ((0.2, 0.8),),
    'transitions': (((0.7, 0.3), (0.0, 1.0)),),
    'emissions': (((0.6, 0.4, 0.0), (0.1, 0.2, 0.7)),),
  },
)


class _Models(NamedTuple):
  """Log probabilities in nats of M hidden Markov models of S states.

  Attributes:
    initial: float32 [M, S].
    transitions: float32 [M, S, S], from the last but one to the last axis.
    emissions: float32 [M, S, V].
  """

  initial: types.Array
  transitions: types.Array
  emissions: types.Array


def _predict(models, joint):
  """Returns the log predictive [V] from `joint`, see `_observe`."""
  return jax.nn.logsumexp(joint[..., None] + models.emissions, axis=(0, 1))


def _observe(models, joint, log_predictive, token):
  """Returns `joint` after one more token: a step of the forward algorithm.

  Args:
    models: `_Models`.
    joint: float32 [M, S], log posterior in nats of the model, and of its state
      that emits the next token; -inf everywhere after what is impossible.
    log_predictive: float32 [V], what is predicted from it.
    token: What is next.
  """
  evidence = log_predictive[token]
  evidence = jnp.where(evidence > -jnp.inf, evidence, 0.0)
  now = joint + models.emissions[..., token] - evidence
  return jax.nn.logsumexp(now[..., None] + models.transitions, axis=1)


def make(
  weights: Sequence[float],
  initial: Sequence[Sequence[float]],
  transitions: Sequence[Sequence[Sequence[float]]],
  emissions: Sequence[Sequence[Sequence[float]]],
) -> types.TaskPrior:
  """Builds a mixture of M hidden Markov models of S states each.

  The state that emits the first token is drawn from `initial`. As in Xie et
  al., 2022, "An explanation of in-context learning as implicit Bayesian
  inference", what is in doubt is the model, and the state it is in. The
  predictive follows by the forward algorithm over both (Rabiner, 1989, "A
  tutorial on hidden Markov models and selected applications in speech
  recognition"): N tokens cost O(N M S (S + V)).

  The oracle knows the model, and not its hidden states: it predicts by that
  model's own forward algorithm. A single model is then its own oracle, with no
  regret.

  Args:
    weights: M numbers that sum to 1; zeros are legal, here and below.
    initial: [M, S], probabilities of the first state.
    transitions: [M, S, S]; row s are the probabilities after state s.
    emissions: [M, S, V]; row s are the probabilities of tokens in state s.

  Raises:
    UserError: If they are not probabilities, or do not fit each other.
  """
  emits = checks.probabilities('emissions', emissions, 'MSV')
  num_models, num_states, vocab_size = emits.shape
  sizes = {'M': num_models, 'S': num_states}
  begins = checks.probabilities('initial', initial, 'MS', sizes)
  moves = checks.probabilities('transitions', transitions, 'MSS', sizes)
  mass = checks.weights('weights', weights, size=num_models)
  with np.errstate(divide='ignore'):
    models = _Models(
      *(np.log(part).astype(np.float32) for part in (begins, moves, emits))
    )
    log_weights = np.log(mass).astype(np.float32)  # [M]

  def sample(key, length):
    model_key, key = jax.random.split(key)
    model = jax.random.categorical(model_key, log_weights)
    drawn = jax.tree.map(lambda part: jnp.asarray(part)[model][None], models)

    def step(joint, key):
      # Tokens from the predictive are distributed as those of hidden states.
      log_probs = _predict(drawn, joint)
      token = _draws.draw(keys_lib.of_step(key), log_probs)
      return _observe(drawn, joint, log_probs, token), (token, log_probs)

    keys = jax.random.split(key, length)
    _, episode = jax.lax.scan(step, drawn.initial, keys)
    return types.Episode(*episode)

  def extend(joint, tokens):
    """Returns the state after tokens [N], and their log predictive [N, V]."""
    arrays = jax.tree.map(jnp.asarray, models)

    def step(joint, token):
      log_probs = _predict(arrays, joint)
      return _observe(arrays, joint, log_probs, token), log_probs

    return jax.lax.scan(step, joint, tokens)

  def prefill(rows):
    # A row that is not one-hot counts as its most likely token.
    start = jnp.asarray(log_weights[:, None] + models.initial)
    tokens = jnp.asarray(rows).argmax(-1).astype(jnp.int32)
    return extend(start, tokens)[0]

  def predict(joint, tokens):
    return extend(joint, tokens)[1]

  def observe(joint, token):
    return extend(joint, token[None])[0]

  return types.TaskPrior(vocab_size, sample, prefill, predict, observe=observe)
