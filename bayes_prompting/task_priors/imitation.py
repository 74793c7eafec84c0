"""Policies to imitate: states and actions in one sequence, actions are scored.

A sequence is s_1 a_1 s_2 a_2 and so on. Its source is a policy, one of finitely
many, in a world that all share: action a follows state s with probability
policy[s, a], and the next state is drawn from dynamics[s, a]. Tokens 0 to S - 1
are the states, those from S on the actions. The exact predictor is the mean of
the policies by their posterior weights, which is what an imitator should do
after so much of what an expert did. It is imitation from demonstrations in the
context, as Ruoss et al. ask it of language models (LMAct, arXiv 2412.01441),
with an optimum that is known.

Only actions are scored: states follow from the world, whoever acts in it.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from bayes_prompting import checks
from bayes_prompting import errors
from bayes_prompting import keys
from bayes_prompting import types
from bayes_prompting.task_priors import _draws
from bayes_prompting.task_priors import _mixture

# Raise it when numbers change: networks and results depend on it.
NUMERICS = 1

EXAMPLES = (
  {'num_states': 2, 'num_actions': 2, 'num_policies': 3},
  {
    'num_states': 1,
    'num_actions': 2,
    'policies': (((0.9, 0.1),), ((0.0, 1.0),)),
    'weights': (0.75, 0.25),
  },
)

# More numbers than anybody means.
_MOST_NUMBERS = 2**22


def make(
  num_states: int = 4,
  num_actions: int = 3,
  num_policies: int = 16,
  concentration: float = 0.3,
  seed: int = 0,
  policies: Sequence[Sequence[Sequence[float]]] | None = None,
  weights: Sequence[float] | None = None,
) -> types.TaskPrior:
  """Builds the prior of finitely many policies in a world.

  The world, and the policies unless they are given, are drawn once: rows of the
  dynamics from Dirichlet(1, ..., 1), those of policies from a Dirichlet with
  the given concentration for each action. The first state is uniform.

  Args:
    num_states: S.
    num_actions: A.
    num_policies: M, how many are drawn.
    concentration: Below 1 a policy mostly takes one action in a state.
    seed: Of the draws.
    policies: Probabilities [M][S][A] in place of drawn ones.
    weights: [M]; equal by default.

  Raises:
    UserError: If they make no policies, or too many.
  """
  num_states = checks.integer('num_states', num_states, 1)
  num_actions = checks.integer('num_actions', num_actions, 2)
  seed = checks.integer('seed', seed, 0, 2**63 - 1)
  concentration = checks.positive('concentration', concentration)
  _check_size(1, num_states, num_actions)  # Before the world is drawn.
  rng = np.random.default_rng(seed)
  dynamics = rng.dirichlet(np.ones(num_states), (num_states, num_actions))
  if policies is None:
    num_policies = checks.integer('num_policies', num_policies, 1)
    _check_size(num_policies, num_states, num_actions)
    given = np.full(num_actions, concentration)
    tables = rng.dirichlet(given, (num_policies, num_states))
  else:
    sizes = {'S': num_states, 'A': num_actions}
    tables = checks.probabilities('policies', policies, 'MSA', sizes)
    _check_size(*tables.shape)
  if weights is None:
    weights = np.full(len(tables), 1 / len(tables))
  weights = checks.weights('weights', weights, len(tables))
  return _build(tables, dynamics, weights)


def _check_size(num_policies, num_states, num_actions):
  vocab_size = num_states + num_actions
  if num_policies * (vocab_size + 1) ** 2 * vocab_size > _MOST_NUMBERS:
    raise errors.UserError(
      f'num_policies: {num_policies} policies of {num_states} states and '
      f'{num_actions} actions are too many; make one of these smaller'
    )


def _rows(tables, dynamics):
  """Returns what follows two tokens, [(V + 1)^2, M, V].

  A context is the token before the last, and the last one, each V where there
  is none. What cannot come from a source has any row: its evidence is zero.
  """
  num_policies, num_states, num_actions = tables.shape
  vocab_size = num_states + num_actions
  rows = np.zeros((vocab_size + 1, vocab_size + 1, num_policies, vocab_size))
  rows[..., :num_states] = 1 / num_states  # The first state, and what is not.
  rows[:, :num_states] = 0
  rows[:, :num_states, :, num_states:] = tables.swapaxes(0, 1)[None]
  rows[:num_states, num_states:vocab_size] = 0
  rows[:num_states, num_states:vocab_size, :, :num_states] = dynamics[
    :, :, None
  ]
  return rows.reshape(-1, num_policies, vocab_size)


def _build(tables, dynamics, weights):
  vocab_size = sum(tables.shape[1:])
  with np.errstate(divide='ignore'):
    log_rows = np.log(_rows(tables, dynamics)).astype(np.float32)
    log_weights = np.log(weights).astype(np.float32)
  size = vocab_size + 1

  def follow(context, token):
    """Returns the context after one more token."""
    return context % size * size + token

  def sample(key, length):
    which, key = jax.random.split(key)
    policy = jax.random.categorical(which, log_weights)

    def step(context, key):
      log_probs = jnp.asarray(log_rows)[context, policy]
      token = _draws.draw(keys.of_step(key), log_probs)
      return follow(context, token), (token, log_probs)

    start = jnp.int32(size**2 - 1)
    each = jax.random.split(key, 2 * length)
    _, (tokens, oracle) = jax.lax.scan(step, start, each)
    return types.Episode(tokens, oracle)

  def context_of(state):
    before, last = state['last'].argmax(-1).astype(jnp.int32)
    return before * size + last

  def with_contexts(state, tokens):
    """Returns the context before each of N tokens, and after all of them."""
    before = context_of(state)
    pair = jnp.stack([before // size, before % size])
    line = jnp.concatenate([pair, tokens])
    contexts = line[:-1] * size + line[1:]
    return contexts[:-1], contexts[-1]

  def predict(state, tokens):
    contexts, _ = with_contexts(state, tokens)
    rows = jnp.asarray(log_rows)[contexts]
    return _mixture.read(state['log_joint'], rows, tokens)

  def after(state, tokens):
    contexts, last = with_contexts(state, tokens)
    rows = jnp.asarray(log_rows)[contexts]
    seen = jnp.take_along_axis(rows, tokens[:, None, None], axis=-1)[..., 0]
    joint = _mixture.log_posterior(state['log_joint'] + seen.sum(0))
    pair = jnp.stack([last // size, last % size])
    return {
      'log_joint': joint,
      'last': jax.nn.one_hot(pair, size, dtype=jnp.float32),
    }

  nothing = np.eye(size, dtype=np.float32)[[vocab_size, vocab_size]]
  empty = {
    'log_joint': np.asarray(_mixture.log_posterior(jnp.asarray(log_weights))),
    'last': nothing,
  }

  def prefill(rows):
    # Rows that are not one-hot count as their most likely token.
    return after(empty, jnp.asarray(rows).argmax(-1).astype(jnp.int32))

  return types.TaskPrior(
    vocab_size=vocab_size,
    sample=sample,
    prefill=prefill,
    predict=predict,
    observe=lambda state, token: after(state, token[None]),
    scored=lambda length: tuple(range(1, 2 * length, 2)),
  )
