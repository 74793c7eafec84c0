"""How hard prefixes rank under exact Bayes and under networks.

Two questions to a results file that holds the losses of all hard prefixes: do
predictors agree on which are good, and are those like what the target shows?
A *demonstration* is a prefix that is drawn from the target; the best prefix
need not be like one (Wenliang et al., 2025, "Why is prompting hard?", arXiv
2502.10760).

Losses are exact up to the draws that all prefixes were scored on.
"""

from collections.abc import Mapping
import json
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import xarray as xr

from bayes_prompting import checks
from bayes_prompting import errors
from bayes_prompting import registry
from bayes_prompting import results
from bayes_prompting import types
from bayes_prompting.reporting import style
from bayes_prompting.results import stopped
from bayes_prompting.studies.prompts import rank_statistics

# Who finds the best prefix, and who runs without any.
BAYES, NETWORK = ('PreBayesPT', 'PreBayes'), ('HardPT', 'NoTuning')


class Scores(NamedTuple):
  """What prefixes lose under one predictor, in nats above Bayes of the target.

  Attributes:
    regrets: float64 [R, M], of every prefix on each set of draws. The best has
      what it loses on the sequences of the evaluation, the others as much more
      as they lost on the draws.
    none: Without a prefix.
  """

  regrets: np.ndarray
  none: float

  @property
  def mean(self) -> np.ndarray:
    """Over the sets of draws, [M]."""
    return self.regrets.mean(0)


class Rankings(NamedTuple):
  """All hard prefixes of one length under several predictors.

  Attributes:
    prefixes: int64 [M, K].
    shares: float64 [M], the probability that the target shows a prefix first.
    bayes: Exact Bayes of the pretraining task.
    networks: One for each pretraining seed that was not stopped.
    steps: N, the tokens that regrets are summed over.
    left_out: {method: searches on networks that were stopped}.
  """

  prefixes: np.ndarray
  shares: np.ndarray
  bayes: Scores
  networks: tuple[Scores, ...]
  steps: int
  left_out: Mapping[str, stopped.LeftOut] = {}


def read(dataset: xr.Dataset) -> Rankings:
  """Reads the rankings of a results file.

  Raises:
    UserError: If there were no searches by exact Bayes and by a network that
      counts.
  """
  if not style.holds(dataset, 'candidate_loss'):
    raise errors.UserError('dataset: has no candidates, nothing was searched')
  for method in (*BAYES, *NETWORK):
    checks.one_of('dataset.method', method, dataset.method.values.tolist())
  labels = dataset.candidate.values.tolist()
  config, target = json.loads(dataset.attrs['config']), dataset.attrs['target']
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
  """Yields the scores of each pretraining seed that was searched with."""
  labels = {
    'eval_task': dataset.attrs['target'],
    'reference': 'bayes',
    'estimator': 'exact',
    'step': int(dataset.attrs['tuning_length']),
  }
  # A search has no settings of the grid: it is at the first.
  regret = dataset.cumulative_regret.sel(labels).isel(
    learning_rate=0, prefix_init=0
  )
  found = results.select(dataset.candidate_loss, method=searched)
  of_best = results.select(regret, method=searched).values
  of_none = results.select(regret, method=untuned).values
  counted = results.select(
    stopped.counted(dataset), method=searched, eval_task=labels['eval_task']
  )
  counted = counted.isel(learning_rate=0, prefix_init=0).values
  for seed, losses in enumerate(found.values.astype(np.float64)):
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


def agreement(found: Rankings) -> pd.DataFrame:
  """Compares exact Bayes with itself, with networks, and networks in pairs.

  Returns:
    A row for each pair: `kind` ('chance', exact Bayes on two sets of draws, one
    row for each pair of sets; 'bayes', with a network; 'networks'), `spearman`,
    `top5`, `top10pct` (overlaps), and `transfer`, what the best prefix of the
    first loses under the second, in nats.
  """
  bayes = found.bayes
  pairs = [('chance', *pair) for pair in _pairs(list(bayes.regrets))]
  pairs += [('bayes', bayes.mean, one.mean) for one in found.networks]
  means = [one.mean for one in found.networks]
  pairs += [('networks', *pair) for pair in _pairs(means)]
  size = len(found.shares)
  rows = [
    {
      'kind': kind,
      'spearman': rank_statistics.spearman(one, other),
      'top5': rank_statistics.overlap(one, other, min(5, size)),
      'top10pct': rank_statistics.overlap(one, other, max(1, round(size / 10))),
      'transfer': rank_statistics.transfer(one, other),
    }
    for kind, one, other in pairs
  ]
  columns = ('kind', 'spearman', 'top5', 'top10pct', 'transfer')
  return pd.DataFrame(rows, columns=columns)


def _pairs(values):
  return [(x, y) for i, x in enumerate(values) for y in values[i + 1 :]]


def shown(found: Rankings) -> pd.DataFrame:
  """Returns `Demonstrations` of exact Bayes, then of each network, as rows."""
  return pd.DataFrame(
    rank_statistics.demonstrations(one.mean, found.shares, one.none)._asdict()
    for one in (found.bayes, *found.networks)
  )
