"""How hard prefixes rank under exact Bayes and under networks.

A results file can hold the losses of all hard prefixes of one length. Two
questions are put to it. Do predictors agree on which prefixes are good? And are
good prefixes like what the target shows? A *demonstration* is a prefix that is
drawn from the target; the best prefix need not be like one (Wenliang et al.,
2025, "Why is prompting hard?", arXiv 2502.10760).

Losses are exact up to the draws that all prefixes were scored on. Losses that
differ by less than `TIE` are tied. To exact Bayes, for example, prefixes with
the same counts are the same, and their losses differ by rounding alone.
"""

from collections.abc import Mapping
import itertools
import json
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from scipy import stats
import xarray as xr

from bayes_prompting import checks
from bayes_prompting import errors
from bayes_prompting import registry
from bayes_prompting import results
from bayes_prompting import types
from bayes_prompting.reporting import series
from bayes_prompting.results import stopped
from bayes_prompting.settings import plain

TIE = 1e-4  # Nats.
# The method that finds the best prefix, and the method that has no prefix.
BAYES, NETWORK = ('PreBayesPT', 'PreBayes'), ('HardPT', 'NoTuning')


class Scores(NamedTuple):
  """What prefixes lose under one predictor, in nats above Bayes of the target.

  Attributes:
    regrets: float64 [R, M], of every prefix on each set of draws. The best
      prefix has its regret on the sequences of the evaluation. The others have
      as much more as they lost more on the draws.
    none: The regret without a prefix.
  """

  regrets: np.ndarray
  none: float

  @property
  def mean(self) -> np.ndarray:
    """The mean over the sets of draws, [M]."""
    return self.regrets.mean(0)


class Rankings(NamedTuple):
  """All hard prefixes of one length under several predictors.

  Attributes:
    prefixes: int64 [M, K].
    shares: float64 [M], the probability that the target shows a prefix first.
    bayes: The scores of exact Bayes of the pretraining task.
    networks: The scores of each pretrained network that was not stopped.
    steps: N, the tokens that regrets are summed over.
    left_out: {method: searches on networks that were stopped}.
  """

  prefixes: np.ndarray
  shares: np.ndarray
  bayes: Scores
  networks: tuple[Scores, ...]
  steps: int
  left_out: Mapping[str, stopped.LeftOut] = {}


class Demonstrations(NamedTuple):
  """How prefixes that are drawn from the target do, in nats.

  Attributes:
    expected: The mean loss over prefixes, weighted as the target shows them.
    uniform: The mean loss over all prefixes, equally weighted.
    best: The smallest loss of a prefix.
    none: The loss without a prefix.
    quantile: The share of all prefixes that lose less than `expected`.
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


def read(dataset: xr.Dataset) -> Rankings:
  """Reads the rankings of a results file.

  Raises:
    UserError: If exact Bayes or every network has no search that counts, or if
      one of the two did not score all prefixes.
  """
  for method in (*BAYES, *NETWORK):
    checks.one_of('dataset.tuner', method, dataset.tuner.values.tolist())
  searches = json.loads(dataset.attrs.get('searches', '{}'))
  for method in (BAYES[0], NETWORK[0]):
    search = searches.get(method, {}).get('search', 'all')
    if search != 'all':
      raise errors.UserError(
        f'dataset: {method} scored only prefixes that its search '
        f'({search}) proposed; rankings need all of them: shorten '
        'tuning.prefix_length, or raise max_candidates of the method'
      )
  if not series.holds(dataset, 'candidate_loss'):
    raise errors.UserError('dataset: has no candidates, nothing was searched')
  labels = dataset.candidate.values.tolist()
  config = plain.resolved(json.loads(dataset.attrs['config']))
  target = dataset.attrs['target']
  prefixes = np.array([_tokens(label) for label in labels])
  prior = registry.make('task_priors', target, config['tasks'][target])
  (bayes,) = _scores(dataset, *BAYES)
  networks = tuple(_scores(dataset, *NETWORK))
  if not networks:
    raise errors.UserError('dataset: no network counts, all were stopped')
  steps = int(dataset.attrs['tuning_length'])
  left = stopped.left_out(dataset, target)
  left = {method: left[method] for method in NETWORK[:1] if method in left}
  shown = shares(prior, prefixes)
  return Rankings(prefixes, shown, bayes, networks, steps, left)


def _tokens(label):
  """Splits '0110' or '0-11-10' into tokens."""
  return [int(x) for x in (label.split('-') if '-' in label else label)]


def _scores(dataset, searched, untuned):
  """Yields the scores of each pretrained network that was searched with."""
  labels = {
    'eval_task': dataset.attrs['target'],
    'reference': 'bayes',
    'estimator': 'exact',
    'step': int(dataset.attrs['tuning_length']),
  }
  # A search has no settings of the grid, so it stands at the first.
  regret = dataset.cumulative_regret.sel(labels).isel(
    learning_rate=0, prefix_init=0
  )
  candidates = results.select(dataset.candidate_loss, tuner=searched)
  of_best = results.select(regret, tuner=searched).values
  of_none = results.select(regret, tuner=untuned).values
  counted = results.select(
    stopped.counted(dataset), tuner=searched, eval_task=labels['eval_task']
  )
  counted = counted.isel(learning_rate=0, prefix_init=0).values
  for seed, losses in enumerate(candidates.values.astype(np.float64)):
    ran = ~np.isnan(losses).all(-1) & counted[seed]
    if not ran.any():
      continue
    losses = np.where(np.isnan(losses), np.inf, losses)[ran]
    excess = losses - losses.min(-1, keepdims=True)
    anchor = of_best[seed, ran, None].astype(np.float64)
    yield Scores(excess + anchor, float(of_none[seed, 0]))


def shares(target: types.TaskPrior, prefixes: np.ndarray) -> np.ndarray:
  """Returns the probability [M] of prefixes [M, K] under a target."""
  start = target.prefill(jnp.zeros((0, target.vocab_size), jnp.float32))
  log_probs = jax.vmap(lambda tokens: target.predict(start, tokens))(
    jnp.asarray(prefixes, jnp.int32)
  )
  picked = np.take_along_axis(np.asarray(log_probs), prefixes[..., None], -1)
  return np.exp(picked.sum((-2, -1), dtype=np.float64))


def levels(losses: np.ndarray) -> np.ndarray:
  """Returns the level [M] of each loss: 0 is the best, and ties share one."""
  order = np.argsort(losses, kind='stable')
  with np.errstate(invalid='ignore'):  # Two infinities are tied.
    above = np.diff(losses[order]) > TIE
  by_prefix = np.empty(len(losses), int)
  by_prefix[order] = np.concatenate([[0], np.cumsum(above)])
  return by_prefix


def spearman(first: np.ndarray, second: np.ndarray) -> float:
  """Returns Spearman's rank correlation of losses [M], with mean ranks of ties.

  It is NaN if all losses of one of the two are tied.
  """
  first, second = levels(first), levels(second)
  if not first.any() or not second.any():
    return np.nan
  return float(stats.spearmanr(first, second).statistic)


def ceiling(losses: np.ndarray) -> float:
  """Returns the most that a ranking without ties can correlate with losses [M].

  It is Spearman's correlation with the ranking that has the same order and
  breaks the ties: with levels of t losses each, the root of
  1 - sum(t^3 - t) / (M^3 - M).
  """
  sizes = np.bincount(levels(losses)).astype(float)
  total = float(len(losses))
  return float(np.sqrt(1 - (sizes**3 - sizes).sum() / (total**3 - total)))


def overlap(first: np.ndarray, second: np.ndarray, k: int) -> float:
  """Returns the share of the best k prefixes that two rankings have in common.

  Ties may leave open which prefixes are the best k. Then those are taken that
  give the largest overlap, since any of the tied prefixes is right.

  Raises:
    UserError: If k is not from 1 to M.
  """
  checks.integer('k', k, 1)
  if k > len(first):
    raise errors.UserError(f'k: must be at most {len(first)}, got {k}')
  (sure, tied, places), (sure_too, tied_too, places_too) = (
    _best(losses, k) for losses in (first, second)
  )
  # No place is better spent than on a prefix that the other is sure of.
  taken = min((tied & sure_too).sum(), places)
  taken_too = min((sure & tied_too).sum(), places_too)
  both = min((tied & tied_too).sum(), places - taken, places_too - taken_too)
  return float((sure & sure_too).sum() + taken + taken_too + both) / k


def _best(losses, k):
  """Returns who is of the best k [M], who may be [M], and places for those."""
  by_prefix = levels(losses)
  last = np.sort(by_prefix)[k - 1]
  sure = by_prefix < last
  return sure, by_prefix == last, k - sure.sum()


def transfer(first: np.ndarray, second: np.ndarray) -> float:
  """Returns what the best prefix of the first loses to the best of the second.

  The loss is under the second, in nats: the mean over prefixes that are tied as
  the best of the first.
  """
  return float(second[levels(first) == 0].mean() - second.min())


def demonstrations(
  losses: np.ndarray, probabilities: np.ndarray, none: float
) -> Demonstrations:
  """Says how prefixes drawn from the target do.

  All numbers are exact sums over all prefixes; nothing is drawn.

  Args:
    losses: [M], of all prefixes, in nats.
    probabilities: [M], of all prefixes under the target.
    none: The loss without a prefix.
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


def agreement(rankings: Rankings) -> pd.DataFrame:
  """Compares exact Bayes with itself, with networks, and networks in pairs.

  Returns:
    A row for each pair. `kind` is 'chance' (exact Bayes on two sets of draws),
    'bayes' (exact Bayes with a network) or 'networks'. `spearman` is a
    correlation, `top5` and `top10pct` are overlaps. `transfer` is what the best
    prefix of the first loses under the second, in nats.
  """
  bayes = rankings.bayes
  means = [network.mean for network in rankings.networks]
  pairs = [
    *(('chance', *pair) for pair in itertools.combinations(bayes.regrets, 2)),
    *(('bayes', bayes.mean, mean) for mean in means),
    *(('networks', *pair) for pair in itertools.combinations(means, 2)),
  ]
  size = len(rankings.shares)
  rows = [
    {
      'kind': kind,
      'spearman': spearman(first, second),
      'top5': overlap(first, second, min(5, size)),
      'top10pct': overlap(first, second, max(1, round(size / 10))),
      'transfer': transfer(first, second),
    }
    for kind, first, second in pairs
  ]
  columns = ('kind', 'spearman', 'top5', 'top10pct', 'transfer')
  return pd.DataFrame(rows, columns=columns)


def shown(rankings: Rankings) -> pd.DataFrame:
  """Returns `Demonstrations` of exact Bayes, then of each network, as rows."""
  return pd.DataFrame(
    demonstrations(scores.mean, rankings.shares, scores.none)._asdict()
    for scores in (rankings.bayes, *rankings.networks)
  )
