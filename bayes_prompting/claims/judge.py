"""Claims about regret, each judged by a number with an interval and a bound.

A claim says which mean regrets it is about, what to compute from them, and the
bound that decides it, before anything is run. `judge` reads results files
alone. `paper_claims` has those of the paper; a table of your own is a tuple of
`Claim`.

The regrets are exact KL from the Bayes predictor of the evaluated task to the
predictor, summed over steps, in nats (`regret`: reference bayes, estimator
exact): 0 is optimal, and they are on the same sequences for all methods.
"""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import json
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from bayes_prompting import checks
from bayes_prompting.claims import bootstrap
from bayes_prompting.claims import samples as samples_lib
from bayes_prompting.results import selection
from bayes_prompting.results import stopped

HOLDS, FAILS, UNDECIDED = 'holds', 'does not hold', 'undecided'
NOT_RUN = 'not run'
VERDICTS = (HOLDS, FAILS, UNDECIDED, NOT_RUN)
COLUMNS = (
  'claim',
  'network',
  'quantity',
  'value',
  'low',
  'high',
  'unit',
  'bound',
  'verdict',
  'networks',
  'repetitions',
  'sequences',
  'stopped',
  'experiment',
  'reason',
  'name',
)


@dataclasses.dataclass(frozen=True)
class Bound:
  """What a quantity must be: below a number, or above it."""

  sign: str  # '<' or '>'.
  number: float

  def __post_init__(self):
    """Checks the sign."""
    checks.one_of('Bound.sign', self.sign, ('<', '>'))

  def verdict(self, low: float, high: float) -> str:
    """Judges an interval: only one that leaves no doubt decides."""
    if self.sign == '>':
      low, high = -high, -low
    number = self.number if self.sign == '<' else -self.number
    if high < number:
      return HOLDS
    return FAILS if low >= number else UNDECIDED

  def __str__(self) -> str:
    return f'{self.sign} {self.number:g}'


@dataclasses.dataclass(frozen=True)
class Claim:
  """One claim, about each of some networks.

  Attributes:
    name: Short, unique.
    text: The claim, as a sentence.
    networks: Which it is about.
    quantity: What is computed, in words.
    means: What it is computed from, by name.
    value: Computes it from {name: mean}, see `bootstrap.estimate`.
    bound: What decides.
    reason: Why this bound.
    unit: Of the quantity.
    exact: Computes it, instead, from the configuration of `experiment` (plain
      values) and without noise.
    experiment: The run whose configuration `exact` takes.
  """

  name: str
  text: str
  networks: tuple[str, ...]
  quantity: str
  bound: Bound
  reason: str
  means: Mapping[str, samples_lib.Mean] = dataclasses.field(
    default_factory=dict
  )
  value: Callable[[Mapping[str, Any]], Any] | None = None
  unit: str = 'nats'
  exact: Callable[[Mapping[str, Any]], float] | None = None
  experiment: str = ''


def judge(
  claims: Sequence[Claim], load: Callable[[str], xr.Dataset | None]
) -> pd.DataFrame:
  """Judges every claim about every network.

  Args:
    claims: What is claimed.
    load: Takes the name of an experiment; returns its results, or None if it
      was not run. Called once for each, which is then let go: results of many
      runs do not fit into memory together.

  Returns:
    One row a claim and network, with `COLUMNS`. Values and intervals are in the
    unit of the row; NaN for what was not run, or where no run is left of those
    that were not stopped. `stopped` is how many were, and are left out.
  """
  pairs = [(claim, network) for claim in claims for network in claim.networks]
  experiments = dict.fromkeys(
    name for pair in pairs for name in _experiments(*pair)
  )
  samples, left_out, exact = {}, {}, {}
  for name in experiments:
    dataset = load(name)
    if dataset is None:
      continue
    dataset = selection.choose(dataset)
    for claim, network in pairs:
      for mean in (x.of(network) for x in claim.means.values()):
        if mean.experiment == name and mean not in samples:
          samples[mean] = samples_lib.read(dataset, mean)
          left_out[mean] = samples_lib.left_out(dataset, mean)
      if claim.exact and claim.experiment.format(network=network) == name:
        exact[claim.name, network] = claim.exact(
          json.loads(dataset.attrs['config'])
        )
  rows = [_row(*pair, samples, left_out, exact) for pair in pairs]
  return pd.DataFrame(rows, columns=list(COLUMNS))


def _experiments(claim, network):
  """Returns the names of what a claim reads, each once."""
  names = [x.of(network).experiment for x in claim.means.values()]
  if claim.experiment:
    names.append(claim.experiment.format(network=network))
  return list(dict.fromkeys(names))


def _row(claim, network, samples, left_out, exact):
  """Returns one row of the table, as a dict."""
  row = dict.fromkeys(COLUMNS, np.nan) | {
    'claim': claim.text,
    'network': network,
    'quantity': claim.quantity,
    'unit': claim.unit,
    'bound': str(claim.bound),
    'verdict': NOT_RUN,
    'networks': 0,
    'repetitions': 0,
    'sequences': 0,
    'stopped': 0,
    'experiment': ' '.join(_experiments(claim, network)),
    'reason': claim.reason,
    'name': claim.name,
  }
  wrong = []
  if claim.exact:
    if (claim.name, network) not in exact:
      return row
    value = exact[claim.name, network]
    found = bootstrap.Estimate(value, value, value, 0, 0, 0)
  else:
    needed = {key: x.of(network) for key, x in claim.means.items()}
    if any(samples.get(mean) is None for mean in needed.values()):
      return row
    given = {key: samples[mean] for key, mean in needed.items()}
    row |= _left_out(row, [left_out[mean] for mean in needed.values()])
    chosen = samples_lib.together(given)
    if not all(x.values.size for x in chosen.values()):
      reason = f'{row["reason"]}; no network is left on which runs of all count'
      return row | {'verdict': UNDECIDED, 'reason': reason}
    found = bootstrap.estimate(chosen, claim.value)
    wrong = [
      f'{needed[key].method} in {needed[key].experiment}'
      for key, x in chosen.items()
      if not np.isfinite(x.values[x.which()]).all()
    ]
  verdict = claim.bound.verdict(found.low, found.high)
  if wrong:
    # A run that diverged says nothing of what a method can do.
    verdict = UNDECIDED
    row['reason'] += f'; but not finite: {", ".join(wrong)}'
  return row | {
    'value': found.value,
    'low': found.low,
    'high': found.high,
    'verdict': verdict,
    'networks': found.num_networks,
    'repetitions': found.num_repetitions,
    'sequences': found.num_sequences,
  }


def _left_out(row, found):
  """Returns what a row says of runs that were stopped."""
  # Means of one method at several steps are of the same runs.
  found = {name: left for each in found for name, left in each.items()}
  if not found:
    return {}
  said = ', '.join(f'{x.runs} of {x.of} runs of {n}' for n, x in found.items())
  return {
    'stopped': sum(left.runs for left in found.values()),
    'reason': f'{row["reason"]}; left out, as {stopped.WHY}: {said}',
  }


def unchanged(
  table: pd.DataFrame, one: str, other: str, text: str, reason: str
) -> dict[str, Any]:
  """Returns a row that says whether two networks have the same verdicts.

  It holds if all claims that were made about both are judged alike, and none is
  undecided; it does not if one holds for one and not for the other.
  """
  verdicts = {
    network: table[table.network == network].set_index('name').verdict
    for network in (one, other)
  }
  shared = [name for name in verdicts[other].index if name in verdicts[one]]
  pairs = [(verdicts[one][name], verdicts[other][name]) for name in shared]
  ran = [pair for pair in pairs if NOT_RUN not in pair]
  changed = sum({HOLDS, FAILS} == set(pair) for pair in ran)
  verdict = HOLDS if ran and all(a == b != UNDECIDED for a, b in ran) else None
  if len(ran) < len(pairs) or not verdict:
    verdict = UNDECIDED if ran else NOT_RUN
  if changed:
    verdict = FAILS
  value = changed if ran else np.nan
  return dict.fromkeys(COLUMNS, np.nan) | {
    'claim': text,
    'network': other,
    'quantity': f'verdicts that changed, of {len(ran)} that were compared',
    'value': value,
    'low': value,
    'high': value,
    'unit': 'verdicts',
    'bound': '< 1',
    'verdict': verdict,
    'networks': 0,
    'repetitions': 0,
    'sequences': 0,
    'stopped': 0,
    'experiment': f'{one} {other}',
    'reason': reason,
    'name': 'larger_changes_nothing',
  }
