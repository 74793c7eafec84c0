"""Statistics of rankings: do they agree, and how do drawn prefixes do?

Of losses [M] of all prefixes of one length, in nats. What differs by less than
`TIE` is tied: prefixes with the same counts are the same to exact Bayes, and
differ by rounding.
"""

from typing import NamedTuple

import numpy as np
from scipy import stats

from bayes_prompting import checks
from bayes_prompting import errors

TIE = 1e-4  # Nats.


class Demonstrations(NamedTuple):
  """Prefixes that are drawn from the target, beside the best and none.

  Attributes:
    expected: Mean of what is lost, over prefixes as the target shows them.
    uniform: Mean over all prefixes alike.
    best: The least that a prefix loses.
    none: Without a prefix.
    quantile: Part of all prefixes that lose less than `expected`; 0 is best.
    helps: Probability that a demonstration loses less than no prefix.
    best_share: Probability that a demonstration is the best, or tied with it.
  """

  expected: float
  uniform: float
  best: float
  none: float
  quantile: float
  helps: float
  best_share: float


def levels(losses: np.ndarray) -> np.ndarray:
  """Returns the level [M] of each loss, 0 the best; what is tied shares it."""
  order = np.argsort(losses, kind='stable')
  with np.errstate(invalid='ignore'):  # Of two infinities: tied.
    above = np.diff(losses[order]) > TIE
  found = np.empty(len(losses), int)
  found[order] = np.concatenate([[0], np.cumsum(above)])
  return found


def spearman(one: np.ndarray, other: np.ndarray) -> float:
  """Returns Spearman's rank correlation of losses [M], with mean ranks of ties.

  NaN where all are tied.
  """
  one, other = levels(one), levels(other)
  if not one.any() or not other.any():
    return np.nan
  return float(stats.spearmanr(one, other).statistic)


def ceiling(losses: np.ndarray) -> float:
  """Returns the most that a ranking without ties can correlate with losses [M].

  From the sizes t of its levels, the root of 1 - sum(t^3 - t) / (M^3 - M):
  Spearman's correlation with one that has the same order, and breaks the ties.
  """
  sizes = np.bincount(levels(losses)).astype(float)
  total = float(len(losses))
  return float(np.sqrt(1 - (sizes**3 - sizes).sum() / (total**3 - total)))


def overlap(one: np.ndarray, other: np.ndarray, k: int) -> float:
  """Returns the part of the best k that two rankings share.

  Where ties leave open which are the best k, those that are shared most: of
  prefixes that are equally good, any is right.

  Raises:
    UserError: If k is not from 1 to M.
  """
  checks.integer('k', k, 1)
  if k > len(one):
    raise errors.UserError(f'k: must be at most {len(one)}, got {k}')
  (sure, tied, places), (sure_too, tied_too, places_too) = (
    _best(losses, k) for losses in (one, other)
  )
  # A place for one that the other is sure of is never worse spent.
  taken = min((tied & sure_too).sum(), places)
  taken_too = min((sure & tied_too).sum(), places_too)
  both = min((tied & tied_too).sum(), places - taken, places_too - taken_too)
  return float((sure & sure_too).sum() + taken + taken_too + both) / k


def _best(losses, k):
  """Returns who is of the best k [M], who may be [M], and places for those."""
  found = levels(losses)
  last = np.sort(found)[k - 1]
  sure = found < last
  return sure, found == last, k - sure.sum()


def transfer(one: np.ndarray, other: np.ndarray) -> float:
  """Returns what the best prefix of `one` loses to the best, under `other`.

  Nats; the mean over prefixes that are tied as the best.
  """
  return float(other[levels(one) == 0].mean() - other.min())


def demonstrations(
  losses: np.ndarray, probabilities: np.ndarray, none: float
) -> Demonstrations:
  """Says how prefixes drawn from the target do, of losses [M] and shares [M].

  Exact sums over all prefixes: nothing is drawn.
  """
  shown = probabilities > 0  # 0 times infinity is nothing here.
  expected = float(probabilities[shown] @ losses[shown] / probabilities.sum())
  total = probabilities.sum()
  return Demonstrations(
    expected=expected,
    uniform=float(losses.mean()),
    best=float(losses.min()),
    none=none,
    quantile=float((losses < expected - TIE).mean()),
    helps=float(probabilities[losses < none - TIE].sum() / total),
    best_share=float(probabilities[levels(losses) == 0].sum() / total),
  )
