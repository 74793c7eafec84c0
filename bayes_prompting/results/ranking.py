"""Which tuner lost least on a task, by how much, and how sure that is.

Tuners are ranked by their mean regret: over sequences, then over repetitions,
then over networks. Every comparison is paired, see `difference`. Its interval
is the wider of two. One is over networks, or over repetitions where there is
one network. The other is over the sequences of the evaluation, which all runs
have in common. So an interval leaves zero out only if neither the luck of runs
nor that of sequences explains a difference by itself.

An interval is of one pair, and not corrected for having chosen the best.
"""

from typing import NamedTuple

import numpy as np
import xarray as xr

from bayes_prompting.results import difference as difference_lib
from bayes_prompting.results import measures
from bayes_prompting.results import stopped
from bayes_prompting.results import summary

Difference = difference_lib.Difference


class Standing(NamedTuple):
  """How one tuner did.

  Attributes:
    tuner: Its name.
    rank: Its place among the tuners that changed a network, from 1; None for a
      reference, an untuned predictor, and one without a run that counts.
    regret: Its mean regret; None if all of its runs were stopped.
    behind: Its mean regret minus that of the best, on the runs that both have;
      None for the best itself, and where there is no best or no such run.
    networks: How many networks count; 0 for exact Bayes.
    repetitions: How many repetitions of each count, the least of any network.
  """

  tuner: str
  rank: int | None
  regret: Difference | None
  behind: Difference | None
  networks: int
  repetitions: int


class Ranking(NamedTuple):
  """How all tuners did on a task, the best first.

  Attributes:
    task: Its name.
    step: After how many steps of a sequence.
    above: What numbers are above, such as `CTW`; '' for the oracle.
    standings: Of every tuner that was judged on the task; those of which no run
      counts come last.
    sequences: How many sequences there are.
  """

  task: str
  step: int
  above: str
  standings: tuple[Standing, ...]
  sequences: int

  @property
  def ranked(self) -> tuple[Standing, ...]:
    """Those of tuners that changed a network."""
    return tuple(x for x in self.standings if x.rank is not None)

  def of(self, *tuners: str) -> Standing | None:
    """Returns the standing of the first of these that has a regret."""
    by_name = {x.tuner: x for x in self.standings if x.regret is not None}
    return next((by_name[x] for x in tuners if x in by_name), None)


def apart(difference: Difference) -> bool | None:
  """Returns whether the interval of a difference leaves zero out.

  None if there is no interval, as of one sequence, or of an infinite regret.
  """
  if difference.over == 'nothing':
    return difference.difference != 0
  if np.isnan((difference.low, difference.high)).any():
    return None
  return difference.low > 0 or difference.high < 0


def rank(chosen: xr.Dataset, task: str, step: int) -> Ranking:
  """Ranks the tuners on a task by their headline (`measures.headline`).

  Args:
    chosen: What `selection.choose` returns.
    task: An evaluation task.
    step: A report step.

  Returns:
    The ranking. Regrets above a universal predictor are sums over the steps, as
    all others are.
  """
  judged = (chosen.judged.sel(eval_task=task) == 1).any(
    ('pretrain_seed', 'repetition')
  )
  names = chosen.tuner.values[judged.values].tolist()
  counted = stopped.counted(chosen).sel(eval_task=task)
  regrets = {
    name: difference_lib.regrets(chosen, name, task, step)
    for name in names
    if counted.sel(tuner=name).any()
  }
  # In the order of the file, which breaks ties.
  own = {name: _widest(x) for name, x in regrets.items()}
  order = sorted(own, key=lambda name: _key(own[name].difference))
  tuned = summary.tuned(chosen)
  competing = [name for name in order if name in tuned]
  best = regrets[competing[0]] if competing else None
  standings = []
  for name in [*order, *(x for x in names if x not in own)]:
    mine = regrets.get(name)
    counts = 0, 0
    if mine is not None:
      on_network = mine.counted.sum(1)[mine.counted.any(1)]
      counts = len(on_network) * mine.has_network, int(on_network.min())
    place = competing.index(name) + 1 if name in competing else None
    behind = _behind(mine, best)
    standings.append(Standing(name, place, own.get(name), behind, *counts))
  above = measures.above(chosen, task).removeprefix(' above ')
  sizes = chosen.sizes['sequence']
  return Ranking(task, step, above, tuple(standings), sizes)


def _key(mean: float) -> tuple[bool, float]:
  """Returns what sorts means; one that is not a number comes last."""
  return (True, 0.0) if np.isnan(mean) else (False, mean)


def _behind(mine, best):
  """Returns how far one is behind the best; None if that has no sense."""
  if mine is None or best is None or mine is best:
    return None
  if not (mine.counted & best.counted).any():
    return None
  return _widest(mine, best)


def _widest(*of: difference_lib.Regrets) -> Difference:
  """Returns a difference with the wider of its two intervals."""
  by_runs, by_sequences = (
    difference_lib.between(*of, over=over) for over in ('runs', 'sequences')
  )
  if by_runs.over in ('sequences', 'nothing'):
    return by_runs
  # The width of a closed sum is 0, and NaN is not wider than anything.
  width = by_sequences.high - by_sequences.low
  return by_sequences if width > by_runs.high - by_runs.low else by_runs
