"""Two tuners on the same networks and sequences: their difference in regret.

Tuners see the same networks, the same tuning data in each repetition, and the
same evaluation sequences, so a difference is formed run by run. What it may
vary with decides what its interval is about:

* *networks*: another network is another draw of meta-training. With at least
  two of them, an interval is Student's over the differences on each network,
  each of which is a mean over its repetitions. Repetitions of one network are
  not independent draws, so their number does not make the interval narrower
  than the networks allow.
* *repetitions*: one network, or exact Bayes, that was tuned several times. The
  interval is Student's over these, and says nothing of other networks.
* *sequences*: the interval is for the runs that there are, on other sequences.
* *nothing*: two numbers of exact Bayes that are closed sums differ by an exact
  number.

A network and exact Bayes are compared on sequences even where Bayes has a
closed sum: most of what the sequences did to one they did to the other.
"""

from typing import NamedTuple

import numpy as np
from scipy import stats
import xarray as xr

from bayes_prompting import checks
from bayes_prompting import errors
from bayes_prompting.results import dataset as dataset_lib
from bayes_prompting.results import measures
from bayes_prompting.results import selection
from bayes_prompting.results import stopped

LEVEL = 0.95


class Difference(NamedTuple):
  """A mean difference in cumulative regret, in nats, with its 95% interval.

  Attributes:
    difference: The mean over networks of means over repetitions and sequences.
    error: Its standard error over what `over` says; NaN if infinite.
    low: The lower end of the interval.
    high: The upper end.
    over: `networks`, `repetitions` or `sequences`: what the interval is over;
      `nothing` for an exact number, which has none.
    networks: How many networks count; 0 if neither tuner has a network.
    repetitions: How many repetitions count, the least of any network.
    sequences: How many sequences there are.
  """

  difference: float
  error: float
  low: float
  high: float
  over: str
  networks: int
  repetitions: int
  sequences: int

  def __str__(self) -> str:
    if self.over == 'nothing':
      return f'{self.difference:.3f} nats (exact)'
    text = f'{self.difference:.3f} [{self.low:.3f}, {self.high:.3f}] nats'
    return f'{text} ({LEVEL:.0%}, over {self._over()})'

  def _over(self):
    """Returns what the interval is over, and what it says nothing of."""
    each = f', each tuned {self.repetitions} times' * (self.repetitions > 1)
    if self.over == 'networks':
      return f'{self.networks} networks{each}'
    alone = 'one network; it says nothing of others'
    if self.over == 'repetitions':
      of = f'of {alone}' if self.networks else 'of exact Bayes'
      return f'{self.repetitions} repetitions {of}'
    if self.networks > 1:
      of = f'on these {self.networks} networks{each}'
    elif self.networks:
      of = f'on {alone}, nor of other repetitions'
    else:
      of = 'of exact Bayes'
    return f'{self.sequences} sequences {of}'


def compare(
  dataset: xr.Dataset,
  tuner: str,
  other: str,
  eval_task: str,
  step: int,
  reference: str | None = None,
  estimator: str | None = None,
  over: str = 'runs',
) -> Difference:
  """Compares two tuners on the same sequences, each at its best settings.

  Args:
    dataset: As loaded.
    tuner: A name.
    other: The name of what it is compared with.
    eval_task: A name.
    step: A report step.
    reference: `oracle` or `bayes`, or a universal predictor of a task that was
      recorded; by default that of the task's headline (`measures.headline`).
    estimator: `sampled`, `exact` or `paired`; by default the headline's.
    over: `runs` for an interval over networks, or, if there is only one, over
      its repetitions, or, if there is a single run, over sequences. `sequences`
      for one over sequences in any case, which is about these runs alone.

  Returns:
    The difference, `tuner` minus `other`, and what its interval is over.

  Raises:
    UserError: As `sequence_regret`, or if the two have no run in common that
      counts.
  """
  checks.one_of('over', over, ('runs', 'sequences'))
  args = eval_task, step, reference, estimator
  mine, others = (regrets(dataset, name, *args) for name in (tuner, other))
  return between(mine, others, over)


class Regrets(NamedTuple):
  """The regrets of a tuner on a task at a step, as far as they are its own.

  P is 1 for a tuner without a network, R is 1 for one without randomness.

  Attributes:
    tuner: Its name.
    sequences: float64 [P, R, S], of every sequence, in nats.
    exact: float64 [P, R], the closed sums; None where there are none.
    counted: bool [P, R], the runs that count.
    has_network: Whether P is an axis of networks.
  """

  tuner: str
  sequences: np.ndarray
  exact: np.ndarray | None
  counted: np.ndarray
  has_network: bool


def regrets(
  dataset: xr.Dataset,
  tuner: str,
  eval_task: str,
  step: int,
  reference: str | None = None,
  estimator: str | None = None,
) -> Regrets:
  """Returns the regrets of a tuner at its best settings; as `compare` takes it.

  Raises:
    UserError: As `sequence_regret`.
  """
  dataset = selection.whole(dataset)
  checks.one_of('eval_task', eval_task, dataset.eval_task.values.tolist())
  usual = measures.headline(dataset, eval_task)
  args = eval_task, step, reference or usual[0], estimator or usual[1]
  values, judged, counted = dataset_lib.regret_by_run(dataset, tuner, *args)
  has_network = bool(stopped.uses_network(dataset).sel(tuner=tuner))
  # A tuner without networks or repetitions has an axis of length 1 here.
  networks = slice(None) if has_network else slice(0, 1)
  repetitions = slice(None) if judged[:, 1:].any() else slice(0, 1)
  at = networks, repetitions
  where = {'tuner': tuner, 'eval_task': eval_task, 'reference': args[2]}
  exact = None
  if bool(dataset_lib.exact(dataset).sel(where)):
    exact = _exact_runs(dataset, tuner, *args)[at]
  return Regrets(tuner, values[at], exact, counted[at], has_network)


def between(
  mine: Regrets, others: Regrets | None = None, over: str = 'runs'
) -> Difference:
  """Returns the mean difference of regrets; of `mine` alone without others.

  Args:
    mine: See `regrets`.
    others: What they are compared with, of the same task and step.
    over: As of `compare`.

  Raises:
    UserError: If there is no run that counts, or none that the two have in
      common.
  """
  both, has_network = mine.counted, mine.has_network
  if others is not None:
    both = both & others.counted
    has_network |= others.has_network
  on_network = both.any(1)
  if not on_network.any():
    which = f'tuner: {mine.tuner} has no run'
    if others is not None:
      which = f'other: {mine.tuner} and {others.tuner} have no run in common'
    raise errors.UserError(f'{which} that was not stopped: {stopped.WHY}')
  exact = mine.exact is not None and (
    others is None or others.exact is not None
  )
  values = mine.exact[..., None] if exact else mine.sequences
  if others is not None:
    taken = others.exact[..., None] if exact else others.sequences
    with np.errstate(invalid='ignore'):  # Two infinities differ by NaN.
      values = values - taken
  runs = np.where(both[..., None], values, 0.0)[on_network]
  sizes = both[on_network].sum(1)
  by_network = runs.sum(1) / sizes[:, None]  # [P, S]
  networks = len(sizes) if has_network else 0
  counts = networks, int(sizes.min()), mine.sequences.shape[-1]
  if exact and (over == 'sequences' or sizes[0] == 1):
    mean = float(by_network.mean())
    return Difference(mean, 0.0, mean, mean, 'nothing', *counts)
  if over == 'sequences':
    over, independent = 'sequences', by_network.mean(0)
  elif networks > 1:
    over, independent = 'networks', by_network.mean(1)
  elif sizes[0] > 1:
    over, independent = 'repetitions', runs[0, both[on_network][0]].mean(1)
  else:
    over, independent = 'sequences', by_network[0]
  return Difference(*_student(independent), over, *counts)


def _exact_runs(dataset, tuner, eval_task, step, reference, estimator):
  """Returns the exact regrets [P, R] of a tuner at its best settings."""
  sums = dataset_lib.exact_sums(selection.choose(dataset)).sel(
    tuner=tuner,
    eval_task=eval_task,
    report_step=step,
    reference=reference,
    estimator=estimator,
  )
  sums = sums.transpose('pretrain_seed', 'repetition').values
  return sums.astype(np.float64)


def _student(values):
  """Returns mean, standard error, and Student's interval of values [n]."""
  with np.errstate(invalid='ignore'):  # The error of an infinite mean is NaN.
    mean, freedom = values.mean(), len(values) - 1
    if not freedom:
      return float(mean), np.nan, np.nan, np.nan
    error = values.std(ddof=1) / np.sqrt(len(values))
    half = stats.t.isf((1 - LEVEL) / 2, freedom) * error
  return tuple(map(float, (mean, error, mean - half, mean + half)))
