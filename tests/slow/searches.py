"""How often searches find the best hard prefix, at a tenth of its cost.

    python -m tests.slow.searches
    python -m tests.slow.searches 4 greedy beam  # 40 problems, two searches

200 random problems have few enough prefixes to score them all (1000 to 4096).
The predictor of half of them is exact Bayes over six random Markov chains, that
of the other half exact Bayes over all Markov chains, with random pseudo-counts.
The target is a random Markov chain. Every search is given a tenth of the
predictions that the exhaustive one takes, its gradients included, on the same
draws. It has succeeded where it finds a prefix that loses no more than the best
of all, but for rounding.

Problems are parameters here, so that those of one size share their programs.
"""

import functools
import sys

import jax
import jax.numpy as jnp
import numpy as np
from scipy import special

from bayes_prompting import types
from bayes_prompting.training import fit
from bayes_prompting.training import search
from bayes_prompting.tuners import _search
from tests import testing

# Vocabulary and length of the prefix.
SIZES = (2, 12), (4, 6), (8, 4), (16, 3), (64, 2)
NUM_EACH = 20  # Of each size and predictor.
NUM_CHAINS, NUM_DRAWS, LENGTH = 6, 512, 12
ROUNDING = 1e-4  # Nats.


def _log_chain(rng, shape, vocab_size):
  """Draws log tables [..., V + 1, V] of chains; the last row is the first."""
  concentration = np.full(vocab_size, 0.5)
  table = rng.dirichlet(concentration, (*shape, vocab_size + 1))
  return np.log(table + 1e-6).astype(np.float32)


def problem(number, kind, vocab_size):
  """Draws a predictor's parameters, and tokens [1, D, N] of a target."""
  rng = np.random.default_rng([number, vocab_size])
  if kind == 'mixture':
    params = _log_chain(rng, (NUM_CHAINS,), vocab_size)
  else:
    shape = vocab_size + 1, vocab_size
    params = rng.lognormal(-0.5, 1.0, shape).astype(np.float32)
  cumulative = np.exp(_log_chain(rng, (), vocab_size)).cumsum(-1)
  tokens, last = [], np.full(NUM_DRAWS, vocab_size)
  for _ in range(LENGTH):
    below = cumulative[last] < rng.random((NUM_DRAWS, 1))
    last = np.minimum(below.sum(-1), vocab_size - 1)
    tokens.append(last)
  return params, np.stack(tokens, axis=-1)[None].astype(np.int32)


def _transitions(rows):
  """Returns pseudo-counts [V + 1, V] of transitions in rows [K, V]."""
  first = jax.nn.one_hot(rows.shape[1], rows.shape[1] + 1)
  before = jnp.pad(rows, ((0, 0), (0, 1)))
  before = jnp.concatenate([first[None], before[:-1]])
  return before.T @ rows, jnp.pad(rows, ((0, 0), (0, 1)))[-1]


@functools.cache
def _predictor(kind, vocab_size):
  """Exact Bayes whose prior is its parameters."""

  def prefill(params, rows):
    counts, last = _transitions(rows)
    if kind == 'mixture':
      return jnp.einsum('mvw,vw->m', params, counts), last
    return params + counts, last

  def read(context, tokens):
    params, (memory, last) = context
    return jax.vmap(lambda x: of_sequence(params, memory, last, x))(tokens)

  def of_sequence(params, memory, last, tokens):
    """Returns log probabilities [N, V], of all positions at once."""
    # The token before the first may be a relaxed one.
    before = tokens[:-1]
    if kind == 'mixture':
      first = jnp.einsum('mvw,v->mw', params, last)[None]
      log_probs = jnp.swapaxes(params[:, before], 0, 1)  # [N - 1, M, V]
      log_probs = jnp.concatenate([first, log_probs])
      seen = log_probs[jnp.arange(len(tokens)), :, tokens]
      seen = memory[None] + jnp.cumsum(seen, axis=0) - seen
      posterior = jax.nn.log_softmax(seen)[..., None]
      return jax.nn.logsumexp(posterior + log_probs, axis=1)
    counts = jnp.concatenate([(last @ memory)[None], memory[before]])
    same = before[:, None] == before[None]
    of_first = jnp.concatenate([jnp.zeros(1), last[before]])
    same = jnp.pad(same.astype(counts.dtype), ((1, 0), (1, 0)))
    same = jnp.tril(same.at[:, 0].set(of_first), -1)
    counts += same @ jax.nn.one_hot(tokens, vocab_size)
    return jnp.log(counts / counts.sum(-1, keepdims=True))

  return types.Predictor(
    vocab_size,
    lambda key: {},
    lambda params, rows: rows,
    prefill,
    lambda params, state, length: (params, state),
    read,
  )


def table(number, kind, vocab_size, length):
  """Returns the mean loss [V^K] of every prefix, in NumPy."""
  params, (tokens,) = problem(number, kind, vocab_size)
  prefixes = testing.all_sequences(vocab_size, length)
  losses = np.zeros(len(prefixes))
  for last in range(vocab_size):  # A sequence goes on from the last token.
    some = np.flatnonzero(prefixes[:, -1] == last)
    args = params, prefixes[some], _before(prefixes[some], vocab_size)
    args += tokens, _before(tokens, last)
    of = _by_mixture if kind == 'mixture' else _by_counts
    losses[some] = of(*args).mean(-1)
  return losses


def _before(sequences, first):
  first = np.full((len(sequences), 1), first)
  return np.concatenate([first, sequences[:, :-1]], axis=-1)


def _by_mixture(params, prefixes, before_prefix, tokens, before):
  of_prefix = params[:, before_prefix, prefixes].sum(-1).T
  posterior = special.log_softmax(of_prefix.astype(np.float64), axis=-1)
  joint = posterior[:, None] + params[:, before, tokens].sum(-1).T[None]
  return -special.logsumexp(joint, axis=-1)


def _by_counts(params, prefixes, before_prefix, tokens, before):
  counts = np.tile(params, (len(prefixes), 1, 1))
  np.add.at(
    counts, (np.arange(len(prefixes))[:, None], before_prefix, prefixes), 1
  )
  earlier = np.tri(LENGTH, k=-1, dtype=bool)
  same_row = (before[:, :, None] == before[:, None]) & earlier
  same = same_row & (tokens[:, :, None] == tokens[:, None])
  top = counts[:, before, tokens] + same.sum(-1)
  row = counts.sum(-1)[:, before] + same_row.sum(-1)
  return -np.log(top / row).sum(-1)


def solve(number, name, kind, vocab_size, length, share=10):
  """Returns the index of the prefix that a search finds, and its plan."""
  tuner = testing.tuner(
    'hard_prefix',
    length=length,
    search=name,
    max_candidates=vocab_size**length // share,
  )
  task = fit.Problem(
    _predictor(kind, vocab_size),
    tuner,
    testing.random_coins(),  # All positions are scored.
    fit.Settings(0, 1, LENGTH),
  )
  params, tokens = problem(number, kind, vocab_size)
  key = jax.random.key(number)
  found = search.on_draws(key, task, params, [0], tokens)
  index = np.ravel_multi_index(found.tunable[0], (vocab_size,) * length)
  return index, found.losses.min(), tuner.candidates(task.predictor)


def main(*args):
  """Measures some searches, or all; a number is how many of each kind."""
  each = [int(x) for x in args if x.isdecimal()] or [NUM_EACH]
  names = [x for x in args if not x.isdecimal()] or _search.NAMES
  gaps, costs = {name: [] for name in names}, {name: [] for name in names}
  for kind in ('mixture', 'counts'):
    for vocab_size, length in SIZES:
      size = kind, vocab_size, length
      tables = [table(n, *size) for n in range(each[0])]
      for name in names:
        for number, losses in enumerate(tables):
          index, loss, plan = solve(number, name, *size)
          assert plan.cost <= vocab_size**length / 10
          np.testing.assert_allclose(loss, losses[index], rtol=1e-3)
          gaps[name].append(losses[index] - losses.min())
          costs[name].append(plan.cost)
        wins = sum(gap <= ROUNDING for gap in gaps[name][-each[0] :])
        print(f'{kind} {vocab_size}^{length} {name} {wins}', flush=True)
      jax.clear_caches()
  for name in names:
    gap, missed = np.array(gaps[name]), [x for x in gaps[name] if x > ROUNDING]
    print(
      f'{name}: {len(gap) - len(missed)} of {len(gap)}; mean gap '
      f'{gap.mean():.4f} nats, where it fails {np.mean(missed or [0]):.4f}, at '
      f'most {gap.max():.4f}; {np.mean(costs[name]):.0f} predictions'
    )


if __name__ == '__main__':
  sys.exit(main(*sys.argv[1:]))
