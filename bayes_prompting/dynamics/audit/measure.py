"""Numbers of many sequences, from which an audit is judged.

Axis letters: `S` sequences, `N` their length, `n` = N // 2 the tokens of a
history, `T` = N - n what follows, `R` continuations of a history, `K` orders of
it. A prediction p_t is that of token t, made before it is seen. Everything is
in nats, and rests on S sequences that are drawn independently.
"""

from typing import NamedTuple

import numpy as np
from scipy import special

from bayes_prompting.dynamics.audit import readers

# Continuations of each history, and orders of it.
CONTINUATIONS, ORDERS = 4, 8
# Exchanges of blocks for each token of the vocabulary, up to so many.
_ROUNDS = 8
# No token counts as less likely where a difference is divided by its chance.
_LEAST = 1e-6


class Measured(NamedTuple):
  """What was measured, a row for each sequence.

  Attributes:
    tokens: int [S, N], the sequences.
    log_probs: [S, N, V], what is expected of them.
    drift: [S, T - 1], of which each has the mean that `drift_of` says.
    orders: [S], see `spread`, of all orders of a history.
    transitions: [S], of orders that keep the transitions.
    changed: [S, T], loss of each token after a change of the source.
    fresh: [S, T], loss of the same tokens where nothing was seen before.
    reference: What the exact predictor of a prior says, see `Reference`; None
      without a prior.
    own: Whether the sequences are samples of the predictor itself.
  """

  tokens: np.ndarray
  log_probs: np.ndarray
  drift: np.ndarray
  orders: np.ndarray
  transitions: np.ndarray
  changed: np.ndarray
  fresh: np.ndarray
  reference: 'Reference | None'
  own: bool

  def of(self, rows: slice) -> 'Measured':
    """Returns what was measured of some of the sequences."""
    arrays = {
      name: value[rows]
      for name, value in self._asdict().items()
      if isinstance(value, np.ndarray)
    }
    reference = self.reference and Reference(*(x[rows] for x in self.reference))
    return self._replace(**arrays, reference=reference)


class Reference(NamedTuple):
  """Exact Bayes of a prior on the same sequences, a row for each.

  Attributes:
    divergence: [S, N], KL from exact Bayes to the predictor.
    divergence_changed: [S, T], the same after a change of the source.
    orders: [S], the spread of exact Bayes itself.
    transitions: [S], of orders that keep the transitions.
    changed: [S, T], its loss after a change of the source.
    fresh: [S, T], where nothing was seen before.
    surprise: [S], see `surprise`, of exact Bayes itself.
  """

  divergence: np.ndarray
  divergence_changed: np.ndarray
  orders: np.ndarray
  transitions: np.ndarray
  changed: np.ndarray
  fresh: np.ndarray
  surprise: np.ndarray


def measure(
  reader: readers.Reader,
  tokens: np.ndarray,
  others: np.ndarray,
  seed: int,
  reference: readers.Reader | None = None,
  own: bool = False,
) -> Measured:
  """Asks a predictor all that an audit needs.

  Args:
    reader: Of the predictor.
    tokens: int32 [S, N].
    others: int32 [S, N], from sources of their own: what follows after a
      change.
    seed: Of continuations and orders.
    reference: Of the exact predictor of a prior.
    own: Whether the tokens are samples of the predictor.
  """
  half = tokens.shape[1] // 2
  history = tokens[:, :half]
  random = np.random.default_rng([seed, 1])
  shuffled = _orders(history, random)
  kept = _orders_with_transitions(history, reader.vocab_size, random)
  changed = np.concatenate(
    [history, others[:, : tokens.shape[1] - half]], axis=1
  )
  log_probs, after = reader.read(tokens), reader.read(changed)
  fresh = reader.read(changed[:, half:])
  exact = None
  if reference is not None:
    exact_before, exact_after = reference.read(tokens), reference.read(changed)
    exact = Reference(
      divergence(exact_before, log_probs),
      divergence(exact_after, after)[:, half:],
      spread(reference, shuffled),
      spread(reference, kept),
      loss(exact_after, changed)[:, half:],
      loss(reference.read(changed[:, half:]), changed[:, half:]),
      surprise(exact_before, tokens),
    )
  return Measured(
    tokens,
    log_probs,
    _drift(reader, history, tokens.shape[1] - half, seed),
    spread(reader, shuffled),
    spread(reader, kept),
    loss(after, changed)[:, half:],
    loss(fresh, changed[:, half:]),
    exact,
    own,
  )


def loss(log_probs: np.ndarray, tokens: np.ndarray) -> np.ndarray:
  """Returns the loss [S, N] of tokens; inf of one that was impossible."""
  return -np.take_along_axis(log_probs, tokens[..., None], axis=-1)[..., 0]


def surprise(log_probs: np.ndarray, tokens: np.ndarray) -> np.ndarray:
  """Returns by how much the loss [S] exceeds what is expected, nats a token.

  What is expected is the mean entropy of the predictions [S, N, V]. It is
  infinite if a token came that was impossible.
  """
  probs = np.exp(log_probs)
  entropy = -special.xlogy(probs, probs).sum(-1)
  return (loss(log_probs, tokens) - entropy).mean(1)


def divergence(log_probs: np.ndarray, others: np.ndarray) -> np.ndarray:
  """Returns KL(p || q) [...] of log probabilities [..., V], in nats."""
  probs = np.exp(log_probs)
  with np.errstate(invalid='ignore'):
    terms = np.where(probs > 0, probs * (log_probs - others), 0.0)
  # Where the first holds everything impossible, there is nothing to expect.
  return np.maximum(terms.sum(-1), 0.0)


def spread(reader: readers.Reader, histories: np.ndarray) -> np.ndarray:
  """Returns how far what is expected depends on the order of a history.

  It is the Jensen-Shannon divergence of K orders, as in
  `experiment.reorderings`: the mean KL from each to their average, from 0 to
  ln K or ln V. An order that is held impossible counts as different from all.

  Args:
    reader: Of the predictor.
    histories: int32 [S, K, n].

  Returns:
    [S], nats.
  """
  number, orders, length = histories.shape
  log_probs = reader.expect(histories.reshape(-1, length))
  log_probs = log_probs.reshape(number, orders, -1)
  average = special.logsumexp(log_probs, axis=1, keepdims=True) - np.log(orders)
  values = divergence(
    log_probs, np.broadcast_to(average, log_probs.shape)
  ).mean(-1)
  possible = np.isfinite(log_probs.max(-1))
  some = possible.any(1) & ~possible.all(1)
  return np.where(some, np.log(reader.vocab_size), values)


def _orders(history, random):
  """Returns K random orders [S, K, n] of histories [S, n]."""
  copies = np.repeat(history[:, None], ORDERS, axis=1)
  return random.permuted(copies, axis=-1)


def _orders_with_transitions(history, vocab_size, random):
  """Returns K orders [S, K, n] with the same first and last token, and pairs.

  Between one occurrence of a token and the next is a block. To put the blocks
  in another order keeps how often each token follows each other (Diaconis and
  Freedman, Annals of Probability 8, 1980).
  """
  rounds = min(2 * vocab_size, _ROUNDS)
  orders = np.repeat(history[:, None], ORDERS, axis=1)
  for row in orders.reshape(-1, history.shape[1]):
    for token in random.choice(history.shape[1], rounds):
      at = np.flatnonzero(row == row[token])
      if len(at) > 2:
        blocks = np.split(row, at)
        middle = [blocks[1 + i] for i in random.permutation(len(at) - 1)]
        row[:] = np.concatenate([blocks[0], *middle, blocks[-1]])
  return orders


def _drift(reader, history, length, seed):
  """Returns [S, T - 1]: is what is expected of later tokens as it is of now?

  Let p be what is expected after a history, and q_j what is expected j tokens
  later, along a continuation that the predictor samples. The martingale
  property is E[q_j | history] = p. Of two independent continuations

    E[sum_v (q_j - p)_v (q'_j - p)_v / (2 p_v) | history]
      = sum_v (E[q_j] - p)_v^2 / (2 p_v),

  which is zero if and only if the property holds after that history, and about
  KL(p || E[q_j]) otherwise. Here it is the mean over all pairs of R.
  """
  number, size = history.shape
  copies = np.repeat(history, CONTINUATIONS, axis=0)
  sampled = reader.go_on(copies, length, seed)
  if (sampled < 0).any():
    return np.full((number, length - 1), np.nan)
  tokens = np.concatenate([copies, sampled], axis=1)
  probs = np.exp(reader.read(tokens)[:, size:])
  probs = probs.reshape(number, CONTINUATIONS, length, -1)
  now = probs[:, :1, :1]
  difference = (probs[:, :, 1:] - now) / np.sqrt(2 * np.maximum(now, _LEAST))
  pairs = difference.sum(1) ** 2 - (difference**2).sum(1)
  return pairs.sum(-1) / (CONTINUATIONS * (CONTINUATIONS - 1))
