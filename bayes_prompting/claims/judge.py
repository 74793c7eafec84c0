"""Claims about regret, each judged by a number with an interval and a bound.

A claim is made before anything is run. It says which regrets it is about, what
is computed from them, and the bound that decides. It is judged from a table of
evidence alone (`results.evidence`). The claims of the paper are in
`studies.paper.claims`; a table of your own is a tuple of `Claim`.

A regret here is the exact KL from the Bayes predictor of the evaluated task to
the predictor, summed over steps, in nats (`regret`: reference bayes, estimator
exact). So 0 is optimal. All tuners are evaluated on the same sequences.

Networks are the unit, see `intervals`: the quantity is computed for each, from
means over its repetitions, so that what is compared is compared on the same
network. Exact Bayes has no network: its row is the same number for each of
them, and where a claim is about such numbers alone, it is exact.
"""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
from typing import Any

import numpy as np
import pandas as pd

from bayes_prompting import checks
from bayes_prompting import errors
from bayes_prompting.claims import intervals
from bayes_prompting.results import evidence

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
  'mean',
  'scale',
  'unit',
  'bound',
  'verdict',
  'networks',
  'repetitions',
  'stopped',
  'to_decide',
  'values',
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
class Mean:
  """A mean cumulative regret of each network, or its spread over tunings.

  Attributes:
    tuner: Its name.
    experiment: The name of one; `{network}` in it stands for a claim's network.
    step: How many steps of a sequence count.
    task: The evaluation task.
    reference: Above what it is.
    estimator: How it was estimated; None where there is one way, whichever it
      is: of exact Bayes a number is a closed sum if there is one.
    spread: Whether the standard deviation over the network's tunings is meant,
      in place of the mean over them.
  """

  tuner: str
  experiment: str
  step: int
  task: str
  reference: str = 'bayes'
  estimator: str | None = 'exact'
  spread: bool = False

  def of(self, network: str) -> 'Mean':
    """Returns the mean for one kind of network."""
    named = self.experiment.format(network=network)
    return dataclasses.replace(self, experiment=named)

  def rows(self, table: pd.DataFrame) -> pd.DataFrame:
    """Returns the rows of evidence, one for each network.

    Exact Bayes has one row, whose `pretrain_seed` is missing. The number that
    is meant is in the column `mean`; a spread is NaN where fewer than two
    tunings count.

    Raises:
      UserError: If a network has two rows, which were computed in two ways.
    """
    where = {} if self.estimator is None else {'estimator': self.estimator}
    rows = evidence.at(
      table,
      experiment=self.experiment,
      tuner=self.tuner,
      task=self.task,
      step=self.step,
      reference=self.reference,
      **where,
    ).set_index('pretrain_seed')
    for seed in rows.index[rows.index.duplicated()]:
      of = 'exact Bayes' if pd.isna(seed) else f'network {seed}'
      raise errors.UserError(
        f'table: has two rows of {of} for {self.tuner} on {self.task} in '
        f'{self.experiment}; take what evidence.current returns, which was '
        'computed in one way'
      )
    if self.spread:
      rows = rows.assign(mean=[spread(text) for text in rows['values']])
    return rows


def spread(text: str) -> float:
  """Returns the standard deviation over tunings; NaN of fewer than two.

  Args:
    text: What a row has in its column `values`.
  """
  values = np.array(text.split(), np.float64)
  return float(values.std(ddof=1)) if len(values) > 1 else np.nan


Values = Mapping[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Claim:
  """One claim, about each of some kinds of network.

  Attributes:
    name: Short, unique.
    text: The claim, as a sentence.
    networks: The kinds of network that it is about, such as `lstm`.
    quantity: What is computed, in words.
    bound: What the quantity must be.
    reason: Why this bound.
    means: The regrets that the quantity is computed from, by name.
    value: Computes the quantity of each network, [P] -> [P], from {name: mean}.
    scale: `log` where the quantity is positive and skewed, as regrets are: the
      interval is about the typical network, the geometric mean. `linear` where
      it can have either sign, as differences have, or is a share that varies
      little. See `intervals.over_networks`.
    unit: The unit of the quantity.
    exact: Computes the quantity without any network, and without noise.
    groups: Computes the estimate, and the values to show, where networks are
      not compared one by one; in place of `value`. It takes the rows of
      evidence of each mean, {name: table}.
  """

  name: str
  text: str
  networks: tuple[str, ...]
  quantity: str
  bound: Bound
  reason: str
  means: Mapping[str, Mean] = dataclasses.field(default_factory=dict)
  value: Callable[[Values], np.ndarray] | None = None
  scale: str = 'log'
  unit: str = 'nats'
  exact: Callable[[], float] | None = None
  groups: (
    Callable[
      [Mapping[str, pd.DataFrame]], tuple[intervals.Estimate, np.ndarray]
    ]
    | None
  ) = None

  def __post_init__(self):
    """Checks the scale."""
    checks.one_of('Claim.scale', self.scale, intervals.SCALES)


@dataclasses.dataclass(frozen=True)
class Judged:
  """A claim about one kind of network, judged.

  Attributes:
    claim: What is claimed.
    network: Of what.
    estimate: The quantity.
    values: The quantity of each network, [P]; none where it is one of a group.
    seeds: Their pretraining seeds, [P]; empty where groups are compared.
    repetitions: The fewest tunings behind a value; 0 for an exact number.
    stopped: How many runs are left out since they were stopped.
  """

  claim: Claim
  network: str
  estimate: intervals.Estimate
  values: np.ndarray
  seeds: np.ndarray
  repetitions: int
  stopped: int

  @property
  def ran(self) -> bool:
    """Whether there is any value."""
    return self.estimate.networks > 0 or not np.isnan(self.estimate.value)

  @property
  def exact(self) -> bool:
    """Whether the quantity is a number without noise, of no network."""
    return self.estimate.networks == 0 and not np.isnan(self.estimate.low)

  @property
  def verdict(self) -> str:
    """One of `VERDICTS`."""
    if not self.ran:
      return NOT_RUN
    return self.claim.bound.verdict(self.estimate.low, self.estimate.high)

  @property
  def to_decide(self) -> str:
    """What an undecided claim needs, in words; '' for another."""
    if self.verdict != UNDECIDED:
      return ''
    if np.isnan(self.estimate.low):
      return f'more {"networks" if self.estimate.networks else "sequences"}'
    networks = None
    if self.claim.groups is None:
      networks = intervals.networks_to_decide(
        self.values, self.claim.bound.number, self.claim.scale
      )
    if networks is None:
      return 'the value lies at the bound'
    # With a spread as it is seen; more were run without a decision by chance.
    return f'about {max(networks, len(self.values) + 1)} networks'


def judge(claims: Sequence[Claim], table: pd.DataFrame) -> list[Judged]:
  """Judges every claim about every kind of network.

  Args:
    claims: What is claimed.
    table: Evidence, see `evidence.read`, of one version of everything: what
      `evidence.current` returns.
  """
  return [
    _judge(claim, network, table)
    for claim in claims
    for network in claim.networks
  ]


def _judge(claim, network, table):
  if claim.exact is not None:
    estimate = intervals.exact(claim.exact())
    return Judged(claim, network, estimate, np.zeros(0), np.zeros(0, int), 0, 0)
  rows = {
    name: mean.of(network).rows(table) for name, mean in claim.means.items()
  }
  stopped = sum(int(x.stopped.sum()) for x in rows.values())
  rows = {name: x[x.repetitions > 0] for name, x in rows.items()}
  repetitions = [int(x.repetitions.min()) for x in rows.values() if len(x)]
  if claim.groups is not None:
    estimate, values = claim.groups(rows)
    seeds = np.zeros(0, int)
  else:
    estimate, values, seeds = _by_network(claim, rows)
  return Judged(
    claim,
    network,
    estimate,
    values,
    seeds,
    min(repetitions, default=0),
    stopped,
  )


def _by_network(claim, rows):
  """Returns the estimate of a quantity, its values [P], and their networks."""
  bayes = {name: x[x.index.isna()] for name, x in rows.items()}
  bayes = {name: x for name, x in bayes.items() if len(x)}
  of_networks = [set(x.index) for name, x in rows.items() if name not in bayes]
  # What is compared is compared on the same network. Exact Bayes has none: it
  # is the same beside each of them.
  shared = sorted(set.intersection(*of_networks)) if of_networks else []
  count = len(shared) if of_networks else 1
  values = claim.value(
    {
      name: np.full(count, bayes[name]['mean'].iloc[0])
      if name in bayes
      else x.loc[shared]['mean'].to_numpy()
      for name, x in rows.items()
    }
  )
  values = np.asarray(values, np.float64)
  if of_networks:
    estimate = intervals.over_networks(values, claim.scale)
    return estimate, values, np.asarray(shared, int)
  estimate = intervals.exact(float(values[0]))
  if any((x.sem_sequences != 0).any() for x in bayes.values()):  # Sampled.
    estimate = estimate._replace(low=np.nan, high=np.nan)
  return estimate, np.zeros(0), np.zeros(0, int)


def table(judged: Sequence[Judged]) -> pd.DataFrame:
  """Returns judged claims as a table with `COLUMNS`.

  Values and intervals are in the unit of the row, and NaN where nothing was
  run. `values` are those of each network, as text.
  """
  return pd.DataFrame([_row(x) for x in judged], columns=list(COLUMNS))


def _row(one: Judged) -> dict[str, Any]:
  claim, estimate = one.claim, one.estimate
  return {
    'claim': claim.text,
    'network': one.network,
    'quantity': claim.quantity,
    'value': estimate.value,
    'low': estimate.low,
    'high': estimate.high,
    'mean': estimate.arithmetic,
    'scale': 'exact' if one.exact else claim.scale,
    'unit': claim.unit,
    'bound': str(claim.bound),
    'verdict': one.verdict,
    'networks': estimate.networks,
    'repetitions': one.repetitions,
    'stopped': one.stopped,
    'to_decide': one.to_decide,
    'values': ' '.join(f'{x:.4g}' for x in one.values),
    'experiment': ' '.join(
      dict.fromkeys(x.of(one.network).experiment for x in claim.means.values())
    ),
    'reason': claim.reason,
    'name': claim.name,
  }
