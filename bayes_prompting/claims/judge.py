"""Claims about regret, each judged by a number with an interval and a bound.

A claim is made before anything is run. It says which mean regrets it is about,
what is computed from them, and the bound that decides. `judge` reads results
files alone. The claims of the paper are in `studies.paper.claims`; a table of
your own is a tuple of `Claim`.

A regret here is the exact KL from the Bayes predictor of the evaluated task to
the predictor, summed over steps, in nats (`regret`: reference bayes, estimator
exact). So 0 is optimal. All methods are evaluated on the same sequences.
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
from bayes_prompting.claims import samples as regret_samples
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
    """Judges an interval, which decides only if all of it is on one side."""
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
    networks: The networks that it is about.
    quantity: What is computed, in words.
    bound: What the quantity must be.
    reason: Why this bound.
    means: The mean regrets that the quantity is computed from, by name.
    value: Computes the quantity from {name: mean}, see `bootstrap.estimate`.
    unit: The unit of the quantity.
    exact: Computes the quantity from a configuration (plain values) instead,
      without noise.
    experiment: The run whose configuration `exact` takes.
  """

  name: str
  text: str
  networks: tuple[str, ...]
  quantity: str
  bound: Bound
  reason: str
  means: Mapping[str, regret_samples.Mean] = dataclasses.field(
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
    load: Takes the name of an experiment, and returns its results, or None if
      it was not run. It is called once for each experiment. Its results are let
      go then, since those of many runs do not fit into memory together.

  Returns:
    One row for each claim and network, with `COLUMNS`. Values and intervals are
    in the unit of the row. They are NaN if the experiment was not run, or if
    all of its runs were stopped. `stopped` is how many runs are left out since
    they were stopped.
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
          samples[mean] = regret_samples.read(dataset, mean)
          left_out[mean] = regret_samples.left_out(dataset, mean)
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
  if claim.exact:
    if (claim.name, network) not in exact:
      return row
    value = exact[claim.name, network]
    return row | {
      'value': value,
      'low': value,
      'high': value,
      'verdict': claim.bound.verdict(value, value),
    }
  needed = {key: x.of(network) for key, x in claim.means.items()}
  if any(samples.get(mean) is None for mean in needed.values()):
    return row
  row |= _left_out(row, [left_out[mean] for mean in needed.values()])
  chosen = regret_samples.together(
    {key: samples[mean] for key, mean in needed.items()}
  )
  if not all(x.values.size for x in chosen.values()):
    reason = f'{row["reason"]}; no network is left on which runs of all count'
    return row | {'verdict': UNDECIDED, 'reason': reason}
  estimate = bootstrap.estimate(chosen, claim.value)
  verdict = claim.bound.verdict(estimate.low, estimate.high)
  infinite = [
    f'{needed[key].method} in {needed[key].experiment}'
    for key, x in chosen.items()
    if not np.isfinite(x.values[x.which()]).all()
  ]
  if infinite:
    # A run that diverged says nothing of what a method can do.
    verdict = UNDECIDED
    row['reason'] += f'; but not finite: {", ".join(infinite)}'
  return row | {
    'value': estimate.value,
    'low': estimate.low,
    'high': estimate.high,
    'verdict': verdict,
    'networks': estimate.num_networks,
    'repetitions': estimate.num_repetitions,
    'sequences': estimate.num_sequences,
  }


def _left_out(row, of_means):
  """Returns what a row says of runs that were stopped.

  Args:
    row: So far.
    of_means: {name: LeftOut} of each mean that the claim is about.
  """
  # Means of one method at several steps are of the same runs.
  left = {name: x for of_mean in of_means for name, x in of_mean.items()}
  if not left:
    return {}
  said = ', '.join(f'{x.runs} of {x.of} runs of {n}' for n, x in left.items())
  return {
    'stopped': sum(x.runs for x in left.values()),
    'reason': f'{row["reason"]}; left out, as {stopped.WHY}: {said}',
  }


def unchanged(
  table: pd.DataFrame, network: str, other: str, text: str, reason: str
) -> dict[str, Any]:
  """Returns a row that says whether two networks have the same verdicts.

  The claim holds if all claims about both are judged alike, and none of them is
  undecided. It does not hold if a claim holds for one network and not for the
  other.
  """
  verdicts, others = (
    table[table.network == x].set_index('name').verdict
    for x in (network, other)
  )
  shared = [name for name in others.index if name in verdicts]
  pairs = [(verdicts[name], others[name]) for name in shared]
  ran = [pair for pair in pairs if NOT_RUN not in pair]
  changed = sum({HOLDS, FAILS} == set(pair) for pair in ran)
  if changed:
    verdict = FAILS
  elif not ran:
    verdict = NOT_RUN
  elif len(ran) == len(pairs) and all(a == b != UNDECIDED for a, b in ran):
    verdict = HOLDS
  else:
    verdict = UNDECIDED
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
    'experiment': f'{network} {other}',
    'reason': reason,
    'name': 'larger_changes_nothing',
  }
