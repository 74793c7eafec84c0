"""A tuner whose start is learned over many targets, so that few data finish it.

Targets are drawn from a prior over them. For each, the tunable takes a few
steps on some of its sequences. The gradient there, on others of its sequences,
is followed from where the steps began (MAML of first order, Finn et al., arXiv
1703.03400). The steps also keep predictions near those of the untuned
predictor: the KL to it is a regulariser whose weight is learned with the start.
Mixed targets stand beside those that were drawn, so that the start does not fit
these alone. These two are the idea of Park et al., arXiv 2404.00851, who learn
a larger regulariser.

All this is done where a fit starts. The fit itself is that of the inner tuner,
with the same regulariser, whose weight stays.
"""

from collections.abc import Callable, Mapping
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from bayes_prompting import checks
from bayes_prompting import errors
from bayes_prompting import keys
from bayes_prompting import registry
from bayes_prompting import regret
from bayes_prompting import types

# Raise it when numbers change: networks and results depend on it.
NUMERICS = 1

_COINS = {'name': 'dirichlet_categorical', 'concentration': (1.0, 1.0)}
# The loop over targets takes seconds to compile, for each torso.
EXAMPLES = (
  {
    'tuner': {'name': 'prefix', 'length': 2},
    'targets': _COINS,
    'meta_steps': 0,
  },
  {
    'tuner': {'name': 'lora', 'rank': 1},
    'targets': _COINS,
    'meta_steps': 0,
    'weight': 0.0,
  },
)

# Gradients of inner steps are clipped to this norm, as those of fits are.
_CLIP = 1.0

Loss = Callable[[types.Tunable, types.Array], types.Array]


class _Learned(NamedTuple):
  """What is learned over targets: the start, and the log of the weight."""

  start: types.Tunable
  log_weight: types.Array


def make(
  tuner: Mapping[str, Any],
  targets: Mapping[str, Any],
  meta_steps: int = 300,
  tasks: int = 4,
  sequences: int = 16,
  sequence_length: int = 50,
  inner_steps: int = 5,
  inner_rate: float = 0.1,
  meta_rate: float = 1e-2,
  weight: float = 0.01,
  mix: float = 0.5,
) -> types.Tuner:
  """Builds the tuner; its tunable is the inner one's, and the log of a weight.

  Args:
    tuner: Spec of what is tuned, a prefix for example.
    targets: Spec of the prior over targets, whose sources must be tables.
    meta_steps: Updates of the start; with 0 it is the inner tuner's.
    tasks: Targets of an update.
    sequences: Of a target, for the inner steps; as many others are what their
      outcome is judged by.
    sequence_length: Tokens of each.
    inner_steps: Steps of gradient descent on a target.
    inner_rate: Their rate; the gradient is clipped to norm 1.
    meta_rate: Adam's for the start, which decays to zero by a cosine.
    weight: Of the KL from the untuned predictor to the tuned one, in nats a
      sequence, where learning begins. With 0 there is no regulariser.
    mix: The part of targets that are mixtures of two that were drawn, by a
      weight that is uniform.
  """
  inner = registry.make('tuners', 'tuner', tuner)
  if not inner.trainable:
    raise errors.UserError(
      'tuner: is not trained by gradient descent, and has no start to learn; '
      f'got {checks.show(dict(tuner))}'
    )
  if inner.penalty is not None:
    raise errors.UserError(
      'tuner: has a regulariser of its own already; got '
      f'{checks.show(dict(tuner))}'
    )
  prior = registry.make('task_priors', 'targets', targets)
  if prior.sample_table is None:
    raise errors.UserError(
      'targets: must be a prior whose sources are tables, got '
      f'{checks.show(dict(targets))}'
    )
  meta_steps = checks.integer('meta_steps', meta_steps, 0)
  tasks = checks.integer('tasks', tasks, 1)
  sequences = checks.integer('sequences', sequences, 1)
  sequence_length = checks.integer('sequence_length', sequence_length, 1)
  inner_steps = checks.integer('inner_steps', inner_steps, 1)
  inner_rate = checks.positive('inner_rate', inner_rate)
  meta_rate = checks.positive('meta_rate', meta_rate)
  (weight,) = checks.non_negative_array('weight', [weight], 'M')
  mix = checks.probability('mix', mix)
  is_regularised = weight > 0

  def task(key):
    """Draws sequences [2 S, N] of one target."""
    which_key, first_key, second_key, share_key, token_key = jax.random.split(
      key, 5
    )
    one, other = prior.sample_table(first_key), prior.sample_table(second_key)
    share = jax.random.uniform(share_key, (), jnp.float32)
    mixed = jnp.logaddexp(one + jnp.log(share), other + jnp.log1p(-share))
    is_mixed = jax.random.uniform(which_key, (), jnp.float32) < mix
    table = jnp.where(is_mixed, mixed, one)
    return sample(token_key, table, 2 * sequences, sequence_length)

  def init(key, predictor, params):
    if prior.vocab_size != predictor.vocab_size:
      raise errors.UserError(
        f'targets: has a vocabulary of {prior.vocab_size}, the predictor has '
        f'{predictor.vocab_size}'
      )
    start_key, meta_key = jax.random.split(key)
    start = inner.init(start_key, predictor, params)
    optimizer = optax.chain(
      optax.clip_by_global_norm(_CLIP),
      optax.adam(optax.cosine_decay_schedule(meta_rate, max(meta_steps, 1))),
    )

    def predict(tunable, tokens):
      return predictor.predict(*inner.bind(predictor, params, tunable), tokens)

    def loss(tunable, tokens):
      return regret.log_loss(predict(tunable, tokens), tokens).mean()

    def divergence(tunable, tokens):
      untuned = predictor.predict(params, predictor.start(params), tokens)
      return regret.kl(untuned, predict(tunable, tokens)).sum(-1).mean()

    def of_task(learned, key):
      tokens = task(key)
      return first_order(
        loss,
        divergence if is_regularised else None,
        learned,
        (tokens[:sequences], tokens[sequences:]),
        inner_steps,
        inner_rate,
      )

    def update(number, loop):
      learned, opt_state = loop
      task_keys = jax.random.split(keys.stream(meta_key, number), tasks)
      gradients = jax.lax.map(lambda key: of_task(learned, key), task_keys)
      gradient = jax.tree.map(lambda x: x.mean(0), gradients)
      changes, opt_state = optimizer.update(gradient, opt_state, learned)
      return optax.apply_updates(learned, changes), opt_state

    log_weight = jnp.log(jnp.maximum(jnp.float32(weight), 1e-30))
    learned = _Learned(start, log_weight)
    if meta_steps:
      learned, _ = jax.lax.fori_loop(
        0, meta_steps, update, (learned, optimizer.init(learned))
      )
    if not is_regularised:
      return {'tuned': learned.start}
    return {'tuned': learned.start, 'log_weight': learned.log_weight}

  def bind(predictor, params, tunable):
    return inner.bind(predictor, params, tunable['tuned'])

  def penalty(tunable, log_probs, untuned):
    # The weight was learned over targets: on one alone it would vanish.
    weight = jnp.exp(jax.lax.stop_gradient(tunable['log_weight']))
    return weight * regret.kl(untuned, log_probs).sum(-1)

  def rows(predictor, params, tunable):
    return inner.rows(predictor, params, tunable['tuned'])

  return types.Tuner(
    init,
    bind,
    rows=rows if inner.rows is not None else None,
    penalty=penalty if is_regularised else None,
  )


def sample(
  key: types.Key, log_table: types.Array, count: int, length: int
) -> types.Array:
  """Draws int32 [S, N], sequences of one source.

  Args:
    key: Consumed.
    log_table: float32 [V^k, V], see `types.TaskPrior.sample_table`. The first k
      tokens are uniform.
    count: S.
    length: N.
  """
  rows, vocab_size = log_table.shape
  order = round(math.log(rows, vocab_size))
  uniform = jnp.zeros(vocab_size, jnp.float32)

  def step(contexts, at):
    number, key = at
    log_probs = log_table[contexts]  # [S, V]
    log_probs = jnp.where(number < order, uniform[None], log_probs)
    tokens = jax.random.categorical(key, log_probs).astype(jnp.int32)
    return (contexts * vocab_size + tokens) % rows, tokens

  steps = jnp.arange(length, dtype=jnp.int32), jax.random.split(key, length)
  return jax.lax.scan(step, jnp.zeros(count, jnp.int32), steps)[1].T


def first_order(
  loss: Loss,
  divergence: Loss | None,
  learned: tuple[types.Tunable, types.Array],
  data: tuple[types.PyTree, types.PyTree],
  steps: int,
  rate: float,
) -> _Learned:
  """Returns the gradient of the loss after some steps, to first order.

  A step goes against the gradient of loss + weight * divergence, clipped to
  norm 1, on some data. What it leaves is judged by the loss on other data. Of
  how a later tunable depends on an earlier one everything is left out but what
  is the same, as is how the clip depends on either. For one step that was not
  clipped the gradient by the log of the weight is exact.

  Args:
    loss: (tunable, data) -> scalar.
    divergence: The same; None for none.
    learned: The tunable where the steps begin, and the log of the weight.
    data: What the steps go by, and what their outcome is judged by.
    steps: How many.
    rate: Of them.
  """
  start, log_weight = learned
  some, others = data
  weight = jnp.exp(log_weight)

  def step(_, loop):
    tunable, by_weight = loop
    gradient = jax.grad(loss)(tunable, some)
    pull = jax.tree.map(jnp.zeros_like, gradient)
    if divergence is not None:
      pull = jax.grad(divergence)(tunable, some)
    both = jax.tree.map(lambda x, y: x + weight * y, gradient, pull)
    scale = rate / jnp.maximum(optax.tree.norm(both) / _CLIP, 1.0)

    def follow(x, change):
      return x - scale * change

    return (
      jax.tree.map(follow, tunable, both),
      jax.tree.map(follow, by_weight, pull),
    )

  still = jax.tree.map(jnp.zeros_like, start)
  end, by_weight = jax.lax.fori_loop(0, steps, step, (start, still))
  gradient = jax.grad(loss)(end, others)
  return _Learned(gradient, weight * optax.tree.vdot(gradient, by_weight))
