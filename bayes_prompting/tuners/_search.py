"""Searches among hard prefixes that are too many to score them all.

Each is a `types.Search` over int32 [K] tokens, and is told a budget in scores
of one prefix. None scores a prefix twice while it knows of a new one.

* `greedy` chooses one token after the other, `beam` keeps the best few.
* `coordinate` changes one token at a time. Which ones it tries first is said by
  the gradient of the loss with respect to the prefix's one-hot rows (GCG, Zou
  et al., arXiv 2307.15043, here for the mean over many sequences). Where no
  change helps it goes on from a perturbation of the best (iterated local
  search).
* `evolution` recombines and mutates the best so far.
* `race` scores all on a few draws, the better ones on more (successive halving,
  Jamieson and Talwalkar, arXiv 1502.07943), and then, on other draws, those
  again that differ from the best in one token.
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from bayes_prompting import types

NAMES = ('greedy', 'beam', 'coordinate', 'evolution', 'race')

# Prefixes of a round that are scored, and those that these are chosen from.
_BLOCK, _POOL = 4, 128
# Those of a race, in so many rounds at least, while all fit.
_MOST_POOL, _HEATS = 512, 8
# An order of more prefixes is not kept; they are drawn.
_MOST_ORDERED = 2**20
# Prefixes that a beam goes on with.
_WIDTH = 4
# Prefixes that have children.
_POPULATION = 16


def _mix(numbers):
  """Returns uint32 that look random (the finaliser of MurmurHash3)."""
  numbers = (numbers ^ (numbers >> 16)) * jnp.uint32(0x85EBCA6B)
  numbers = (numbers ^ (numbers >> 13)) * jnp.uint32(0xC2B2AE35)
  return numbers ^ (numbers >> 16)


def _codes_of_tokens(tokens, vocab_size):
  """Returns uint32 [..., K], a number for each token at its position."""
  place = jnp.arange(tokens.shape[-1], dtype=jnp.uint32) * vocab_size
  return _mix(tokens.astype(jnp.uint32) + _expand(place, tokens) + 1)


def _expand(row, like):
  """Adds axes before a row: nothing is broadcast unasked."""
  return row.reshape((1,) * (like.ndim - 1) + row.shape)


def _codes(prefixes, vocab_size):
  """Returns uint32 [...], a number for each prefix [..., K].

  Two prefixes share it with a chance of 2^-32. Then the second is not scored.
  """
  return _codes_of_tokens(prefixes, vocab_size).sum(-1, dtype=jnp.uint32)


def _is_first(codes):
  """Returns bool [P], whether none of the codes before is the same."""
  order = jnp.argsort(codes, stable=True)
  in_order = codes[order]
  differs = jnp.concatenate([jnp.ones(1, bool), in_order[1:] != in_order[:-1]])
  return jnp.zeros(len(codes), bool).at[order].set(differs)


def _is_new(prefixes, seen, vocab_size):
  """Returns bool [P], whether prefixes are neither seen nor came before."""
  codes = _codes(prefixes, vocab_size)
  return _is_first(codes) & ~jnp.isin(codes, seen)


def _first_new(pool, seen, vocab_size, count):
  """Returns the first [C, K] of a pool [P, K] that are new, and then others."""
  order = jnp.argsort(~_is_new(pool, seen, vocab_size), stable=True)
  return pool[order[:count]]


def _remember(memory, pool, vocab_size):
  """Adds a pool [P, K] to the codes of what was proposed, and counts rounds."""
  codes, first = _codes(pool, vocab_size), memory['round'] * len(pool)
  seen = jax.lax.dynamic_update_slice_in_dim(
    memory['seen'], codes, first, axis=0
  )
  return memory | {'seen': seen, 'round': memory['round'] + 1}


def _nothing_seen(rounds, pool):
  return {
    'seen': jnp.zeros(rounds * pool, jnp.uint32),
    'round': jnp.int32(0),
  }


def _mutated(key, prefixes, rates, vocab_size):
  """Returns prefixes [P, K] with each token drawn anew at a rate [P]."""
  which, what = jax.random.split(key)
  tokens = jax.random.randint(what, prefixes.shape, 0, vocab_size, jnp.int32)
  chosen = jax.random.uniform(which, prefixes.shape, jnp.float32)
  return jnp.where(chosen < rates[:, None], tokens, prefixes)


def _merged(prefixes, losses, new, new_losses):
  """Returns the best [W, K] of a list and of what is new, each once."""
  every = jnp.concatenate([prefixes, new])
  losses = jnp.concatenate([losses, new_losses])
  # Of equals the first has the loss, and the others make no second of it.
  same = (every[:, None] == every[None]).all(-1)
  again = jnp.tril(same, -1) & jnp.isfinite(losses)[None]
  losses = jnp.where(again.any(1), jnp.inf, losses)
  order = jnp.argsort(losses, stable=True)[: len(prefixes)]
  return every[order], losses[order]


def _one_hot(tokens, vocab_size):
  return jax.nn.one_hot(tokens, vocab_size, dtype=jnp.float32)


def _sizes(budget, has_slopes):
  """Returns T and stages for a budget, and whether a gradient fits in, too."""
  cost = 2 * _BLOCK + has_slopes
  if budget >= cost:
    stages = (_POOL, _BLOCK / _POOL), (_BLOCK, 1.0)
    return budget // cost, stages, has_slopes
  return budget, ((1, 1.0),), False


def _heat(pool):
  """Returns the stages of a race among so many, and what they cost."""
  stages, before, cost = [], 0.0, 0.0
  for part, share in ((1, 1 / 32), (4, 3 / 32), (16, 1 / 4)):
    count = -(-pool // part)
    if count > 1:
      stages.append((count, share))
      cost += count * (share - before)
      before = share
  last = -(-pool // 64)
  return (*stages, (last, 1.0)), cost + last


# Of the module and not of one tuner: what is compiled for one serves all.
def _bind_rows(predictor, params, rows):
  return params, predictor.prefill(params, predictor.embed(params, rows))


@functools.lru_cache(maxsize=256)
def make(name: str, vocab_size: int, length: int, budget: int) -> types.Search:
  """Returns a search, the same object for the same arguments.

  Args:
    name: One of `NAMES`.
    vocab_size: V.
    length: K.
    budget: The most prefixes that it may score, those that its gradients would
      have paid for included.
  """
  if name in ('greedy', 'beam'):
    return _beam(name, vocab_size, length, budget)
  maker = {'coordinate': _coordinate, 'evolution': _evolution, 'race': _race}
  return maker[name](vocab_size, length, budget)


def race_reaches_all(vocab_size: int, length: int, budget: int) -> bool:
  """Returns whether a race has heats for all V^K prefixes, and for more."""
  if length * math.log2(vocab_size) > 31:  # V^K may be any number.
    return False
  pool, rounds = _heats(vocab_size, length, budget)
  return rounds > -(-(vocab_size**length) // pool)


def _coordinate(vocab_size, length, budget):
  """Memory: where it stands, the best, what both lose, and what was seen."""
  rounds, stages, has_slopes = _sizes(budget, True)
  pool_size = stages[0][0]
  # A perturbation redraws from one token to all of them, and half of them draw
  # all: where much was seen, these find what is left.
  spare = 4 * pool_size
  # In NumPy: a search may be made inside a program, and outlives it.
  rates = np.linspace(min(1.0, 1.5 / length), 2.0, spare, dtype=np.float32)

  def start(key):
    tokens = jax.random.randint(key, (length,), 0, vocab_size, jnp.int32)
    return {
      'tokens': tokens,
      'loss': jnp.float32(jnp.inf),
      'best': tokens,
      'best_loss': jnp.float32(jnp.inf),
      **_nothing_seen(rounds, pool_size),
    }

  def neighbours(tokens, index):
    """Returns prefixes that differ at place index // V, by token index % V."""
    changed = jnp.arange(length)[None] == (index // vocab_size)[:, None]
    token = (index % vocab_size).astype(jnp.int32)
    return jnp.where(changed, token[:, None], tokens[None])

  def propose(key, memory, slopes):
    order_key, rate_key, kick_key = jax.random.split(key, 3)
    tokens = memory['tokens']
    if not has_slopes:
      slopes = jnp.zeros((length, vocab_size), jnp.float32)
    # Of all neighbours [K, V]: codes, and what the gradient promises.
    every = jnp.broadcast_to(
      jnp.arange(vocab_size)[:, None], (vocab_size, length)
    )
    of_token = _codes_of_tokens(every, vocab_size).T
    own = jnp.take_along_axis(of_token, tokens[:, None], axis=1)
    codes = own.sum(dtype=jnp.uint32) - own + of_token
    is_new = ~jnp.isin(codes, memory['seen'])
    is_new &= jnp.arange(vocab_size)[None] != tokens[:, None]
    promise = jnp.take_along_axis(slopes, tokens[:, None], axis=1) - slopes
    # Half of a pool are those that promise most. A quarter is drawn at random,
    # since a gradient may be of no help, or zero; a quarter are perturbations.
    luck = jax.random.uniform(order_key, is_new.shape, jnp.float32)
    scale = jnp.where(is_new, promise, 0.0).std() + jnp.float32(1e-20)
    order = jnp.where(is_new, promise / scale + 1e-3 * luck, -jnp.inf).ravel()
    most = min(pool_size, order.size)
    by_promise = neighbours(tokens, jax.lax.top_k(order, most)[1])
    order = jnp.where(is_new, luck, -jnp.inf).ravel()
    at_random = neighbours(tokens, jax.lax.top_k(order, most)[1])
    kicked = _mutated(
      kick_key,
      jnp.broadcast_to(memory['best'][None], (spare, length)),
      jax.random.permutation(rate_key, rates),
      vocab_size,
    )
    half, quarter = -(-pool_size // 2), pool_size // 4
    every = [
      by_promise[:half],
      at_random[:quarter],
      kicked[:quarter],
      by_promise[half:],
      at_random[quarter:],
      kicked[quarter:],
    ]
    # From where nothing helps it goes on to the best of the others, whatever
    # that loses. Neighbours that were seen are in the list, and not taken.
    stuck = ~is_new.any()
    memory = memory | {'loss': jnp.where(stuck, jnp.inf, memory['loss'])}
    pool = _first_new(
      jnp.concatenate(every), memory['seen'], vocab_size, pool_size
    )
    return _remember(memory, pool, vocab_size), pool

  def learn(memory, prefixes, losses):
    first = jnp.argmin(losses)
    new = prefixes[first], losses[first]

    def better(tokens, loss):
      is_better = new[1] < loss
      return (
        jnp.where(is_better, new[0], tokens),
        jnp.where(is_better, new[1], loss),
      )

    now = better(memory['tokens'], memory['loss'])
    best = better(memory['best'], memory['best_loss'])
    return memory | {
      'tokens': now[0],
      'loss': now[1],
      'best': best[0],
      'best_loss': best[1],
    }

  def relax(memory):
    return _one_hot(memory['tokens'], vocab_size)

  return types.Search(
    'coordinate',
    rounds,
    stages,
    start,
    propose,
    learn,
    relax if has_slopes else None,
    _bind_rows if has_slopes else None,
  )


def _heats(vocab_size, length, budget):
  """Returns P of a race, and how many rounds the budget allows."""
  pool = _MOST_POOL
  if length * math.log2(vocab_size) < 31:
    pool = min(pool, -(-(vocab_size**length) // _HEATS))
  while pool > 1 and _HEATS * _heat(pool)[1] > budget:
    pool //= 2
  return pool, max(1, int(budget / _heat(pool)[1] + 1e-6))


def _race(vocab_size, length, budget):
  """Memory: the order of all, those that were scored on all draws, and losses.

  The first rounds race all prefixes, P at a time; three quarters of the rounds
  are the most. Later ones race what differs in one token from the best, and was
  not scored on all draws yet: bad luck in few draws may have thrown it out.
  """
  pool_size, rounds = _heats(vocab_size, length, budget)
  stages, _ = _heat(pool_size)
  block = stages[-1][0]
  total = 0
  if length * math.log2(vocab_size) <= math.log2(_MOST_ORDERED):
    total = vocab_size**length
  first_rounds = rounds - rounds // 4
  if total:
    first_rounds = min(first_rounds, -(-total // pool_size))
  # Neighbours of each of the best, drawn; twice a pool at least, in all.
  near = min(pool_size, length * vocab_size)
  leaders = min(rounds * block, 2 * -(-pool_size // near))

  def start(key):
    return {
      'order': jax.random.permutation(key, jnp.arange(total, dtype=jnp.int32)),
      'prefixes': jnp.zeros((rounds * block, length), jnp.int32),
      'losses': jnp.full(rounds * block, jnp.inf, jnp.float32),
      **_nothing_seen(rounds, block),
    }

  def next_of_all(key, number):
    """Returns P prefixes: those at their place in the order, or drawn."""
    if not total:
      shape = pool_size, length
      return jax.random.randint(key, shape, 0, vocab_size, jnp.int32)
    place = vocab_size ** np.arange(length - 1, -1, -1)
    return (number[:, None] // place[None] % vocab_size).astype(jnp.int32)

  def near_best(key, memory):
    """Returns P that differ in one token from one of the best, or in more."""
    which_key, kick_key, rate_key = jax.random.split(key, 3)
    best = memory['prefixes'][jnp.argsort(memory['losses'])[:leaders]]
    luck = jax.random.uniform(
      which_key, (leaders, length * vocab_size), jnp.float32
    )
    index = jax.lax.top_k(luck, near)[1]
    changed = jax.nn.one_hot(index // vocab_size, length, dtype=bool)
    token = (index % vocab_size).astype(jnp.int32)[..., None]
    changed = jnp.where(changed, token, best[:, None])
    rates = jax.random.uniform(
      rate_key, (pool_size,), jnp.float32, 1 / length, 1
    )
    kicked = jnp.broadcast_to(best[:1], (pool_size, length))
    kicked = _mutated(kick_key, kicked, rates, vocab_size)
    every = jnp.concatenate([changed.reshape(-1, length), kicked])
    return _first_new(every, memory['seen'], vocab_size, pool_size)

  def propose(key, memory, slopes):
    del slopes
    all_key, near_key = jax.random.split(key)
    number = memory['round'] * pool_size + jnp.arange(pool_size)
    if total:
      number = memory['order'][number % total]
    pool = jnp.where(
      memory['round'] < first_rounds,
      next_of_all(all_key, number),
      near_best(near_key, memory),
    )
    return memory, pool

  def learn(memory, prefixes, losses):
    first = memory['round'] * block
    put = functools.partial(jax.lax.dynamic_update_slice_in_dim, axis=0)
    return _remember(memory, prefixes, vocab_size) | {
      'prefixes': put(memory['prefixes'], prefixes, first),
      'losses': put(memory['losses'], losses, first),
    }

  return types.Search('race', rounds, stages, start, propose, learn)


def _evolution(vocab_size, length, budget):
  """Memory: the population [P, K], what each loses, and what was seen."""
  rounds, stages, _ = _sizes(budget, False)
  pool_size = stages[0][0]
  spare = 2 * pool_size

  def start(key):
    shape = _POPULATION, length
    return {
      'prefixes': jax.random.randint(key, shape, 0, vocab_size, jnp.int32),
      'losses': jnp.full(_POPULATION, jnp.inf, jnp.float32),
      **_nothing_seen(rounds, pool_size),
    }

  def propose(key, memory, slopes):
    del slopes
    parent_key, cross_key, token_key, rate_key, mutate_key = jax.random.split(
      key, 5
    )
    # Of two the better one is a parent: the population is sorted.
    drawn = jax.random.randint(
      parent_key, (2, 2, spare), 0, _POPULATION, jnp.int32
    )
    one, other = memory['prefixes'][drawn.min(0)]
    # Half of the children have two parents, and each token from one of them.
    crossed = jax.random.bernoulli(cross_key, 0.5, (spare, 1))
    crossed &= jax.random.bernoulli(token_key, 0.5, (spare, length))
    rates = jax.random.uniform(
      rate_key, (spare,), jnp.float32, 0.5 / length, 2.5 / length
    )
    children = _mutated(
      mutate_key, jnp.where(crossed, other, one), rates, vocab_size
    )
    pool = _first_new(children, memory['seen'], vocab_size, pool_size)
    return _remember(memory, pool, vocab_size), pool

  def learn(memory, prefixes, losses):
    best = _merged(memory['prefixes'], memory['losses'], prefixes, losses)
    return memory | {'prefixes': best[0], 'losses': best[1]}

  return types.Search('evolution', rounds, stages, start, propose, learn)


def _beam(name, vocab_size, length, budget):
  """One token after the other; what is not chosen yet repeats what is.

  So a beam's own prefixes are among their extensions, and it never gets worse.
  Memory: the beam [W, K], the best extensions so far, what these lose, and what
  was seen.
  """
  width = 1 if name == 'greedy' else _WIDTH
  total = width * vocab_size
  # All extensions of a beam are scored where the budget allows it. Else there
  # are pools of those that a gradient promises most of.
  pool_size = min(_BLOCK, total)
  stages = ((pool_size, 1.0),)
  each, has_slopes = -(-total // pool_size), False
  if each * pool_size * length > budget:
    rounds, stages, has_slopes = _sizes(budget, True)
    pool_size = stages[0][0]
    each = max(1, min(-(-total // pool_size), rounds // length))
    rounds = min(rounds, each * length)
  else:
    rounds = each * length

  def start(key):
    del key
    none = jnp.zeros((width, length), jnp.int32)
    return {
      'beam': none,
      'next': none,
      'losses': jnp.full(width, jnp.inf, jnp.float32),
      **_nothing_seen(rounds, pool_size),
    }

  def propose(key, memory, slopes):
    position = memory['round'] // each
    place = jnp.arange(length)
    if not has_slopes:
      slopes = jnp.zeros((length, vocab_size), jnp.float32)
    # How the loss changes with the token that is chosen here, and repeated.
    repeats = place % (position + 1) == position
    promise = -jnp.where(repeats[:, None], slopes, 0.0).sum(0)
    scale = promise.std() + jnp.float32(1e-20)
    luck = jax.random.uniform(key, (width, vocab_size), jnp.float32)
    luck = (promise / scale)[None] + 1e-3 * luck
    order = jnp.argsort(-luck.ravel(), stable=True)
    put = jnp.where(
      (place == position)[None],
      (order % vocab_size)[:, None].astype(jnp.int32),
      memory['beam'][order // vocab_size],
    )
    pool = put[:, place % (position + 1)]
    if len(pool) < pool_size:
      pool = jnp.resize(pool, (pool_size, length))
    pool = _first_new(pool, memory['seen'], vocab_size, pool_size)
    return _remember(memory, pool, vocab_size), pool

  def learn(memory, prefixes, losses):
    best = _merged(memory['next'], memory['losses'], prefixes, losses)
    is_last = memory['round'] % each == 0
    return memory | {
      'beam': jnp.where(is_last, best[0], memory['beam']),
      'next': best[0],
      'losses': best[1],
    }

  def relax(memory):
    return _one_hot(memory['beam'][0], vocab_size)

  return types.Search(
    name,
    rounds,
    stages,
    start,
    propose,
    learn,
    relax if has_slopes else None,
    _bind_rows if has_slopes else None,
  )
