"""The table of all tuners: what each loses, and what each takes.

A *cell* is a network's torso, its world, a target and a tuner. The worlds of a
torso are put together, then the torsos, by geometric means, as regrets are
skewed. Dominance is judged among tuners of the same worlds and torsos.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from bayes_prompting.claims import intervals
from bayes_prompting.results import evidence
from bayes_prompting.studies.frontier import claims as study_claims

# Nats. What is smaller counts as this: nobody would pay for the difference.
LEAST = 0.01
# What dominance is judged by; less of each is better. Seconds are left out:
# they are of a machine, and of what else it did.
CRITERIA = (
  'regret',
  'later',
  'forgotten',
  'tuned_numbers',
  'multiply_adds',
  'sequences',
)
_NATS = ('regret', 'later', 'forgotten')
_COSTS = ('tuned_numbers', 'multiply_adds', 'updates', 'seconds')
_CELL = ['torso', 'world', 'target', 'tuner']
BASE = 'NoTuning'  # What is forgotten is what is lost beyond it.


class Name(NamedTuple):
  """What the name of an experiment says.

  Attributes:
    torso: The kind of network.
    world: What it was pretrained on.
    target: What it was tuned to.
    size: How many sequences of the target there were.
  """

  torso: str
  world: str
  target: str
  size: int


def parse(experiment: str) -> Name | None:
  """Returns what the name of an experiment says; None of another study's."""
  torso, *parts = experiment.split('-')
  if len(parts) == 2:
    return Name(torso, *parts, study_claims.MOST)
  if len(parts) == 3 and parts[2][:1] == 'n' and parts[2][1:].isdecimal():
    return Name(torso, *parts[:2], int(parts[2][1:]))
  return None


def sequences_needed(regrets: Mapping[int, float]) -> float:
  """Returns how many sequences of a target a tuner needs.

  It is the number from which on the regret is within `claims.WITHIN` of the
  target's Bayes predictor, among those that were tried.

  Args:
    regrets: In nats at the tuning length, by the number of sequences.

  Returns:
    The number; infinity if the largest does not do; NaN if no more than one was
    tried.
  """
  if len(regrets) < 2:
    return np.nan
  needed = np.inf
  for size in sorted(regrets, reverse=True):
    if not regrets[size] <= study_claims.WITHIN:
      break
    needed = size
  return float(needed)


def cells(rows: pd.DataFrame) -> pd.DataFrame:
  """Returns a row for each cell.

  Args:
    rows: Evidence of one version of everything, see `evidence.current`.

  Returns:
    Columns torso, world, target, tuner; `regret` at the tuning length, with its
    interval over networks, `low` and `high`; `later`, the regret by the last
    step; `forgotten`, what is lost on the pretraining task beyond `BASE`, as
    long as what was tuned is in place; what a tuning takes; `sequences`, see
    `sequences_needed`; `n16` and so on, the regret with so many sequences; and
    how many networks there are. NaN stands for what was not measured.
  """
  exact = evidence.at(rows, reference='bayes', estimator='exact')
  exact = exact[exact.repetitions > 0]
  named = [parse(x) for x in exact.experiment]
  known = np.array([x is not None for x in named], bool)
  exact = exact[known].assign(
    **{
      field: [getattr(x, field) for x in named if x is not None]
      for field in Name._fields
    }
  )
  made = []
  for key, of_cell in exact.groupby(_CELL, sort=False):
    whole = of_cell[of_cell['size'] == study_claims.MOST]
    if whole.empty:
      continue
    regret = _typical(whole, 'target', study_claims.TUNING)
    by_size = {
      size: _typical(some, 'target', study_claims.TUNING).value
      for size, some in sorted(of_cell.groupby('size'))
    }
    made.append(
      {
        **dict(zip(_CELL, key, strict=True)),
        'regret': regret.value,
        'low': regret.low,
        'high': regret.high,
        'later': _typical(whole, 'target', study_claims.LAST).value,
        'forgotten': _forgotten(whole, _base(exact, key)),
        **_cost(whole),
        'sequences': sequences_needed(by_size),
        **{
          f'n{size}': value
          for size, value in by_size.items()
          if size != study_claims.MOST
        },
        'networks': regret.networks,
      }
    )
  return pd.DataFrame(made)


def _at(rows, task, step):
  """Returns a mean for each network, by its seed."""
  of_step = evidence.at(rows, task=task, step=step)
  return of_step.set_index('pretrain_seed')['mean'].astype(np.float64)


def _typical(rows, task, step):
  return intervals.over_networks(_at(rows, task, step).to_numpy(), 'log')


def _base(exact, key):
  """Returns the rows of the untuned networks of a cell."""
  *where, _ = key
  return evidence.at(
    exact,
    **dict(zip(_CELL, (*where, BASE), strict=True)),
    size=study_claims.MOST,
  )


def _forgotten(rows, base):
  """Returns the mean over networks that are there both tuned and untuned."""
  after, before = (
    _at(x, 'world', study_claims.PRETRAINING) for x in (rows, base)
  )
  lost = (after - before).dropna()
  return float(lost.mean()) if len(lost) else np.nan


def _cost(rows):
  """Returns what a tuning takes; seconds are those of all of its updates."""
  numbers, adds, updates = (float(rows[x].max()) for x in _COSTS[:3])
  seconds = rows.groupby('pretrain_seed').seconds.first().median()
  return {
    'tuned_numbers': numbers,
    'multiply_adds': adds,
    'updates': updates,
    'seconds': float(seconds) * updates if updates else 0.0,
  }


def of_torsos(table: pd.DataFrame) -> pd.DataFrame:
  """Puts the worlds of each torso and target together, ranks, and marks.

  A tuner that lacks one of the worlds is left out, as its mean would be of
  other worlds. So are those that do nothing (no update): see `idle`.

  Args:
    table: What `cells` returns.

  Returns:
    Columns torso, target, tuner, `CRITERIA` and seconds; `factor`, how many
    times the best regret; `rank`, from 1; `undominated`.
  """
  made = []
  for (torso, target), section in table.groupby(
    ['torso', 'target'], sort=False
  ):
    worlds = section.world.nunique()
    rows = [
      {'torso': torso, 'target': target, 'tuner': tuner, **_together(some)}
      for tuner, some in section.groupby('tuner', sort=False)
      if len(some) == worlds and not is_idle(some)
    ]
    if rows:
      made.append(ranked(pd.DataFrame(rows)))
  return pd.concat(made, ignore_index=True) if made else pd.DataFrame()


def is_idle(some: pd.DataFrame) -> bool:
  """Returns whether a tuner neither updates nor searches in any cell."""
  return bool((some.updates == 0).all())


def _together(some):
  """Returns the numbers of some cells of one tuner as one."""
  return {
    **{name: geometric(some[name]) for name in _NATS},
    **{name: float(some[name].max(skipna=False)) for name in _COSTS[:2]},
    'seconds': float(some.seconds.mean()),
    # Of the worlds that were tried with few sequences, the hardest.
    'sequences': float(some.sequences.max()),
  }


def geometric(values: Sequence[float]) -> float:
  """Returns a mean of nats on the scale of logarithms; NaN if one is."""
  values = np.maximum(np.asarray(values, np.float64), LEAST)
  return float(np.exp(np.log(values).mean()))


def ranked(rows: pd.DataFrame) -> pd.DataFrame:
  """Ranks tuners by regret, and marks those that no other dominates.

  Of equals the one that loses less later is first, then the smaller.

  Args:
    rows: With `tuner` and `CRITERIA`.

  Returns:
    The rows, the best first, with `factor`, `rank` and `undominated`.
  """
  rows = rows.sort_values(
    ['regret', 'later', 'tuned_numbers', 'tuner'], kind='stable'
  )
  return rows.assign(
    factor=rows.regret / rows.regret.min(),
    rank=np.arange(1, len(rows) + 1),
    undominated=undominated(rows[list(CRITERIA)].to_numpy(np.float64)),
  )


def undominated(values: np.ndarray) -> np.ndarray:
  """Returns which points [P, C] no other dominates, bool [P].

  One dominates another that is no worse in any criterion, and better in one.
  Numbers count with the two digits that a table shows, so that no mark rests on
  what nobody sees. What was not measured counts as infinite.
  """
  values = two_digits(np.where(np.isnan(values), np.inf, values))
  no_worse = (values[:, None] <= values[None]).all(-1)
  better = (values[:, None] < values[None]).any(-1)
  return ~(no_worse & better).any(0)


def two_digits(values: np.ndarray) -> np.ndarray:
  """Returns numbers rounded to two digits."""
  return np.array([float(f'{x:.2g}') for x in np.ravel(values)]).reshape(
    np.shape(values)
  )


def count(value: float) -> str:
  """Returns a number in two digits, such as 13k or 1.3M; '' for NaN."""
  if not np.isfinite(value):
    return '' if np.isnan(value) else 'infinite'
  value = float(f'{value:.2g}')
  for size, unit in ((1e12, 'T'), (1e9, 'G'), (1e6, 'M'), (1e3, 'k')):
    if value >= size:
      return f'{value / size:g}{unit}'
  return f'{value:g}'


def overall(sections: pd.DataFrame) -> pd.DataFrame:
  """Puts the torsos of each target together, ranks, and marks.

  Args:
    sections: What `of_torsos` returns.

  Returns:
    As there, without `torso`; `torsos` says how many there are. What a tuner
    takes is that of the torso where it is largest. Where a torso refuses a
    tuner, its nats are scaled by how much harder all torsos are than those that
    do not, for the tuners that run on all: so the torsos that it ran on are
    neither its merit nor its fault.
  """
  made = []
  if sections.empty:
    return sections
  for target, section in sections.groupby('target', sort=False):
    torsos = section.torso.nunique()
    counts = section.groupby('tuner').torso.count()
    shared = section[section.tuner.isin(counts[counts == torsos].index)]
    rows = [
      {
        'target': target,
        'tuner': tuner,
        **_together(some),
        **_adjusted(some, shared),
        'torsos': len(some),
      }
      for tuner, some in section.groupby('tuner', sort=False)
    ]
    made.append(ranked(pd.DataFrame(rows)))
  return pd.concat(made, ignore_index=True)


def _adjusted(some, shared):
  """Returns the nats of some torsos, scaled to all torsos."""
  here = shared[shared.torso.isin(some.torso)]
  if here.empty:
    return {}
  return {
    name: max(
      geometric(some[name]) * geometric(shared[name]) / geometric(here[name]),
      LEAST,
    )
    for name in _NATS
  }


class Winner(NamedTuple):
  """What is best in a situation.

  Attributes:
    target: What is tuned to.
    size: How many sequences of it there are.
    torso: On which kind of network.
    best: The tuner with the least regret.
    regret: Its regret, in nats at the tuning length.
    near: All others within `claims.WITHIN` nats of it, the nearest first.
    smallest: Among the best and those, the one that tunes the fewest numbers.
  """

  target: str
  size: int
  torso: str
  best: str
  regret: float
  near: tuple[str, ...]
  smallest: str


def winners(
  table: pd.DataFrame,
  sizes: Sequence[int] = (study_claims.FEW, study_claims.MOST),
) -> list[Winner]:
  """Returns what is best for each target, number of sequences and torso.

  Only worlds count in which that number was tried; with the largest number
  those in which another was, so that the two can be compared.

  Args:
    table: What `cells` returns.
    sizes: Numbers of sequences.
  """
  tried = [x for x in table.columns if x[:1] == 'n' and x[1:].isdecimal()]
  with_data = table[table[tried].notna().any(axis=1)] if tried else table[:0]
  made = []
  for (target, torso), section in with_data.groupby(
    ['target', 'torso'], sort=False
  ):
    worlds = section.world.nunique()
    for size in sizes:
      column = 'regret' if size == study_claims.MOST else f'n{size}'
      if column not in section:
        continue
      regrets, numbers = {}, {}
      for tuner, some in section.groupby('tuner', sort=False):
        values = some[column].dropna()
        if len(values) == worlds and not is_idle(some):
          regrets[tuner] = geometric(values)
          numbers[tuner] = some.tuned_numbers.max()
      if regrets:
        made.append(_winner(target, size, torso, regrets, numbers))
  return made


def _winner(target, size, torso, regrets, numbers):
  order = sorted(regrets, key=lambda x: (regrets[x], numbers[x], x))
  best = order[0]
  most = regrets[best] + study_claims.WITHIN
  near = [x for x in order[1:] if regrets[x] <= most]
  smallest = min([best, *near], key=lambda x: (numbers[x], regrets[x]))
  return Winner(target, size, torso, best, regrets[best], tuple(near), smallest)
