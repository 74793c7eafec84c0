"""Judges what was measured of a predictor: checks, with intervals and tests.

Each check asks whether something is zero that is zero for exact Bayes. Values
are means over sequences, with Student's 95% interval. A check fails if its test
rejects zero, or rather the tolerance, at 5% in spite of how many checks there
are (Holm, Scandinavian Journal of Statistics 6, 1979). So exact Bayes fails any
of its checks in at most 5% of audits.

Four of the tests have no noise for exact Bayes: what they measure is then zero
for every sequence. The martingale property and calibration have. Of the first
the values are skewed to the right, for which Student's one-sided test rejects
too rarely, not too often.
"""

from collections.abc import Sequence
import dataclasses
from typing import Any

import numpy as np
from scipy import stats

from bayes_prompting.dynamics import dirichlet_fit
from bayes_prompting.dynamics.audit import measure

# What a check may miss before it fails: rounding of float32, and little more.
TOLERANCE = 1e-5
_LEVEL = 0.95
# Bins of probabilities; what a bin has learned counts as so many tokens less.
_BINS, _DOUBT = 10, 20.0
_RESAMPLES = 200
# Nats that are written as none.
_ROUNDING = 1e-9
# Tokens that are no more than none.
_SAME = 1e-3
# Concentrations that are written out.
_SHOWN = 6
PASSES, FAILS, OPEN = 'passes', 'fails', 'not judged'


@dataclasses.dataclass(frozen=True)
class Check:
  """One question, and its answer.

  Attributes:
    name: Its short name.
    title: What is asked.
    value: What was measured, a mean over sequences.
    low: The lower end of its 95% interval.
    high: The upper end.
    unit: Of these three.
    p_value: Of the test alone; NaN without one.
    adjusted: With Holm's correction for all tests of the audit.
    status: `passes`, `fails` or `not judged`.
    counts: Whether exact Bayes would pass, so that the verdict rests on it.
    sentence: The answer.
  """

  name: str
  title: str
  value: float
  low: float
  high: float
  unit: str
  p_value: float
  adjusted: float
  status: str
  counts: bool
  sentence: str


@dataclasses.dataclass(frozen=True, eq=False)
class Audit:
  """What an audit found. `print` shows it, `figures.figure` draws it.

  Attributes:
    verdict: The answer in one sentence.
    passes: Whether every check passes that counts.
    checks: One for each question.
    prior: The name of the prior that it is held against; '' without one.
    num_sequences: S.
    length: N.
    tolerance: In nats a token.
    alpha: [V], concentrations of the Dirichlet that explains it best.
    virtual_counts: [V], these less those of the prior; None if that is no
      Dirichlet.
    half_life: Tokens after a change of the source until half of what it costs
      is paid; NaN if it costs nothing.
    curves: What the figure shows, by name.
  """

  verdict: str
  passes: bool
  checks: tuple[Check, ...]
  prior: str
  num_sequences: int
  length: int
  tolerance: float
  alpha: np.ndarray
  virtual_counts: np.ndarray | None
  half_life: float
  curves: dict[str, np.ndarray]

  def __str__(self) -> str:
    """Returns the verdict, and a line for each check."""
    lines = [self.verdict, '']
    for check in self.checks:
      # What does not count is told apart from what does.
      mark = check.status if check.counts else f'({check.status})'
      lines.append(f'{mark:<13}{check.title}: {check.sentence}')
    lines += ['', f'A check may miss {self.tolerance:g} nats a token.']
    if not all(check.counts for check in self.checks):
      lines[-1] += ' What is in brackets does not count.'
    return '\n'.join(lines)

  def __getitem__(self, name: str) -> Check:
    """Returns the check of a name."""
    return {check.name: check for check in self.checks}[name]

  def plain(self) -> dict[str, Any]:
    """Returns all but the curves as plain values; None where there is none."""
    return {
      'verdict': self.verdict,
      'passes': self.passes,
      'prior': self.prior,
      'num_sequences': self.num_sequences,
      'length': self.length,
      'tolerance': self.tolerance,
      'alpha': _plain(self.alpha),
      'virtual_counts': _plain(self.virtual_counts),
      'half_life': _plain(self.half_life),
      'checks': [
        {k: _plain(v) for k, v in dataclasses.asdict(check).items()}
        for check in self.checks
      ],
    }


def _plain(value):
  """Returns numbers that JSON has; None for those that it lacks."""
  if isinstance(value, np.ndarray):
    return [_plain(x) for x in value.tolist()]
  if isinstance(value, float | np.floating):
    return float(value) if np.isfinite(value) else None
  return value


# Intervals and tests.


def _interval(values: np.ndarray) -> tuple[float, float, float]:
  """Returns the mean of [S] and Student's interval; infinite if one is."""
  if not np.isfinite(values).all():
    return np.inf, -np.inf, np.inf
  error = values.std(ddof=1) / np.sqrt(len(values))
  half = stats.t.isf((1 - _LEVEL) / 2, len(values) - 1) * error
  mean = values.mean()
  return float(mean), float(mean - half), float(mean + half)


def _above(values: np.ndarray, bound: float) -> float:
  """Returns the p-value of a mean of at most a bound, one-sided."""
  if not np.isfinite(values).all():
    return 0.0
  distance, error = values.mean() - bound, values.std(ddof=1)
  if distance <= 0:
    return 1.0
  if not error > 1e-9 * distance:  # The same for every sequence.
    return 0.0
  scale = error / np.sqrt(len(values))
  return float(stats.t.sf(distance / scale, len(values) - 1))


def _away(values: np.ndarray, bound: float) -> float:
  """Returns the p-value of a mean of at most a bound either way."""
  sides = _above(values, bound), _above(-values, bound)
  return min(1.0, 2 * min(sides))


def _holm(p_values: Sequence[float]) -> np.ndarray:
  """Returns p-values corrected for how many there are; NaN stays NaN."""
  p_values = np.asarray(p_values, np.float64)
  adjusted = np.full(len(p_values), np.nan)
  tested = np.flatnonzero(~np.isnan(p_values))
  order = tested[p_values[tested].argsort()]
  factors = np.arange(len(order), 0, -1)
  steps = np.maximum.accumulate(p_values[order] * factors)
  adjusted[order] = np.minimum(steps, 1.0)
  return adjusted


def _nats(value: float) -> str:
  if not np.isfinite(value):
    return '∞'
  return f'{value:.2g}' if abs(value) >= _ROUNDING else '0'


def _range(low, high):
  return f'[{_nats(low)}, {_nats(high)}]'


def _amount(estimate):
  """Writes a value of at least zero, with its interval."""
  value, low, high = (max(x, 0.0) for x in estimate)
  return f'{_nats(value)} {_range(low, high)} nats'


# The checks. Each returns what a Check is made of, but for what is of all.


def _martingale(measured, tolerance):
  values = measured.drift.mean(1)
  estimate = _interval(values)
  return {
    'name': 'martingale',
    'title': 'Martingale property',
    'estimate': estimate,
    'unit': 'nats',
    'p_value': np.nan if np.isnan(values).any() else _above(values, tolerance),
    'said': {
      PASSES: 'what it expects of later tokens is what it expects of the next; '
      f'the difference is at most {_nats(max(estimate[2], 0))} nats',
      FAILS: 'its own continuations lead it away from what it expects now, by '
      + _amount(estimate),
      OPEN: 'it holds some of the histories impossible, and cannot go on',
    },
  }


def _exchangeable(measured, tolerance, name):
  of_transitions = name == 'transitions'
  values = getattr(measured, name)
  estimate = _interval(values)
  title = 'Order of tokens'
  ignored = 'the order of a history does not count'
  counted = 'the order of a history counts'
  if of_transitions:
    title = 'Order of transitions'
    ignored = 'orders with the same pairs of tokens are alike'
    counted = 'even orders with the same pairs of tokens differ'
  return {
    'name': name,
    'title': title,
    'estimate': estimate,
    'unit': 'nats',
    'p_value': _above(values, tolerance),
    'said': {
      PASSES: f'{ignored}, within {_nats(max(estimate[2], 0))} nats',
      FAILS: f'{counted}: what is expected varies by {_amount(estimate)}',
    },
  }


def _calibration(measured, tolerance, of_prior):
  """Is its loss what it expects, and do its probabilities come true?

  The first is the calibration of entropies (Braverman et al., arXiv
  1906.05664). On sequences of the prior, that of exact Bayes is zero in the
  mean: it is subtracted, and most of the noise of sequences with it. For the
  second, what its bins of probabilities miss is learned on half of the
  sequences. The other half then prefers the corrected predictions by a factor
  that exceeds 1 / p with a chance of at most p, however many sequences there
  are (universal inference, Wasserman et al., arXiv 1912.11436).
  """
  log_probs, tokens = measured.log_probs, measured.tokens
  probs = np.exp(log_probs)
  values = measure.surprise(log_probs, tokens)
  if of_prior:
    values = values - measured.reference.surprise
  estimate = _interval(values)
  bins = _bins(probs, tokens)
  of_loss = _away(values, tolerance)
  of_bins = _recalibrated(probs, tokens)
  if measured.own:
    p_value = np.nan
  else:
    p_value = min(1.0, 2 * min(of_loss, of_bins))
  over = estimate[0] > 0
  side = 'overconfident' if over else 'underconfident'
  value, low, high = estimate
  amount = estimate if over else (-value, -high, -low)
  if of_loss < of_bins:
    failed = (
      f'it loses {_amount(amount)} a token '
      f'{"more" if over else "less"} than it expects to: {side}'
    )
  else:
    failed = (
      'its probabilities do not come true; they are off by '
      f'{bins["off"]:.2g} on average'
    )
  return {
    'name': 'calibration',
    'title': 'Calibration',
    'estimate': estimate,
    'unit': 'nats a token',
    'p_value': p_value,
    'said': {
      PASSES: 'its loss is what it expects, and its probabilities come true; '
      f'they are off by {bins["off"]:.2g} on average',
      FAILS: failed,
      OPEN: 'on samples of its own every predictor is calibrated; give a task',
    },
  }, bins


def _bins(probs, tokens):
  """Returns how often what was expected came, by bins of its probability."""
  came = np.eye(probs.shape[-1])[tokens]
  number = np.minimum((probs * _BINS).astype(int), _BINS - 1)
  rows = np.arange(len(probs))[:, None, None]
  size, mean, rate = (np.zeros((len(probs), _BINS)) for _ in range(3))
  for total, values in ((size, 1.0), (mean, probs), (rate, came)):
    np.add.at(total, (rows, number), values)
  with np.errstate(invalid='ignore', divide='ignore'):
    expected = mean.sum(0) / size.sum(0)
    found = rate.sum(0) / size.sum(0)
    # Sequences are what is independent: the error of a ratio over them.
    rest = rate - found * size
    error = np.sqrt((rest**2).sum(0)) / size.sum(0)
  off = np.nansum(np.abs(mean.sum(0) - rate.sum(0))) / size.sum()
  return {'expected': expected, 'found': found, 'error': error, 'off': off}


def _recalibrated(probs, tokens):
  """Returns a p-value: does a correction of its probabilities predict better?

  Whatever the correction, under the predictor itself the ratio of likelihoods
  has the mean 1, so that it exceeds 1 / p with a chance of at most p (Markov).
  """
  half = len(probs) // 2
  number = np.minimum((probs * _BINS).astype(int), _BINS - 1)
  came = np.eye(probs.shape[-1])[tokens]
  size, missed = np.full(_BINS, _DOUBT), np.zeros(_BINS)
  np.add.at(size, number[:half], 1.0)
  np.add.at(missed, number[:half], (came - probs)[:half])
  corrected = probs + (missed / size)[number]
  corrected = np.maximum(corrected, probs / _BINS)
  corrected /= np.maximum(corrected.sum(-1, keepdims=True), 1e-300)
  chosen = [
    np.take_along_axis(x[half:], tokens[half:, :, None], -1)
    for x in (corrected, probs)
  ]
  with np.errstate(divide='ignore', invalid='ignore'):
    ratio = np.log(chosen[0]).sum() - np.log(chosen[1]).sum()
  if np.isnan(ratio):  # Both hold it impossible; the loss says so.
    return 1.0
  return float(min(1.0, np.exp(min(-ratio, 0.0))))


def _dirichlet(measured, tolerance, concentration):
  """Fits a Dirichlet on half of the sequences; the others say how well."""
  half = len(measured.tokens) // 2
  best = dirichlet_fit.explain(
    measured.log_probs[:half], measured.tokens[:half]
  )
  misfits = _misfits(best.alpha, measured.log_probs, measured.tokens)
  values = misfits[half:].mean(1)
  known = np.isfinite(best.alpha).all()
  estimate = _interval(values) if known else (np.nan,) * 3
  total = best.alpha.sum()
  shares = _list(best.alpha / total)
  if best.unbounded:
    which = f'a Dirichlet of any strength, which learns nothing, mean {shares},'
    short = 'one that learns nothing'
  else:
    short = f'α = {_list(best.alpha)}'
    which = f'the Dirichlet {short}, worth {total:.3g} tokens,'
  virtual = None
  if np.isfinite(concentration).all():
    virtual = best.alpha - concentration
    if np.abs(virtual).max() < _SAME:
      which = f'{which} as the prior itself,'
    elif not best.unbounded:
      which = f'{which} {_list(virtual, "+")} more than the prior,'
  return (
    {
      'name': 'dirichlet',
      'title': 'Dirichlet posterior',
      'estimate': estimate,
      'unit': 'nats a token',
      'p_value': _above(values, tolerance) if known else np.nan,
      'said': {
        PASSES: f'{which} explains it within {_nats(estimate[2])} nats a token',
        FAILS: f'none explains it; the best, {short}, misses by '
        f'{_amount(estimate)} a token',
        OPEN: 'it holds some of the sequences impossible, and none explains it',
      },
    },
    best.alpha,
    virtual,
    misfits,
  )


def _misfits(alpha, log_probs, tokens):
  """Returns KL [S, N] from predictions to those of a Dirichlet."""
  came = np.eye(log_probs.shape[-1])[tokens]
  weights = came.cumsum(1) - came + alpha
  with np.errstate(divide='ignore', invalid='ignore'):
    others = np.log(weights / weights.sum(-1, keepdims=True))
  return measure.divergence(log_probs, others)


def _list(values, sign=''):
  shown = ', '.join(f'{round(x, 3):{sign}.3g}' for x in values[:_SHOWN])
  return f'({shown}{", ..." if len(values) > _SHOWN else ""})'


def _adaptation(measured, tolerance):
  """How soon is an old source unlearned, and is it as soon as for exact Bayes?

  The cost of a change is what tokens lose after it, above what they would lose
  if nothing had been seen before.
  """
  reference = measured.reference
  cost, *half_life = _half_life(_excess(measured))
  said = _cost(cost, measured, half_life)
  if reference is None:
    return {
      'name': 'adaptation',
      'title': 'Adaptation',
      'estimate': tuple(half_life),
      'unit': 'tokens',
      'p_value': np.nan,
      'said': {OPEN: f'{said}; give a prior to compare with'},
    }, half_life[0]
  values = reference.divergence_changed.mean(1)
  estimate = _interval(values)
  exact_cost, exact, *_ = _half_life(_excess(reference))
  within = 'nothing' if np.isnan(exact) else f'{exact:.0f}'
  said = f'{said} (exact Bayes {_nats(exact_cost)}, {within})'
  return {
    'name': 'adaptation',
    'title': 'Adaptation',
    'estimate': estimate,
    'unit': 'nats a token',
    'p_value': _above(values, tolerance),
    'said': {
      PASSES: f'{said}; there it is exact Bayes within {_nats(estimate[2])} '
      'nats a token',
      FAILS: f'{said}; there it is {_amount(estimate)} a token away',
    },
  }, half_life[0]


def _excess(losses):
  """Returns what tokens lose after a change above what they do without [S, T].

  Args:
    losses: With `changed` and `fresh`. It is infinite where one of them is.
  """
  finite = np.isfinite(losses.changed) & np.isfinite(losses.fresh)
  excess = np.full(finite.shape, np.inf)
  return np.subtract(losses.changed, losses.fresh, out=excess, where=finite)


def _half_life(excess):
  """Returns the cost, and when half is paid, with its 95% interval.

  Sequences are resampled for the interval (Efron's percentiles).

  Args:
    excess: [S, T], of each token after a change.

  Returns:
    Nats over all T tokens, and tokens; NaN for the latter if the cost cannot be
    told from none.
  """
  cost = excess.sum(1)
  mean, low, _ = _interval(cost)
  if not low > 0:
    return mean, np.nan, np.nan, np.nan
  random = np.random.default_rng(0)
  number = len(excess)
  drawn = random.integers(number, size=(_RESAMPLES, number))
  weights = np.stack([np.bincount(x, minlength=number) for x in drawn])
  curves = np.concatenate([excess.mean(0)[None], weights @ excess / number])
  paid = curves.cumsum(1)
  ends = 1.0 + (paid >= paid[:, -1:] / 2).argmax(1)
  tail = (1 - _LEVEL) / 2
  low, high = np.quantile(ends[1:], (tail, 1 - tail), method='nearest')
  return mean, float(ends[0]), float(low), float(high)


def _cost(cost, measured, half_life):
  """Says what a change costs, and how soon it is paid."""
  if not np.isfinite(cost):
    return 'after a change of the source it holds tokens impossible that come'
  if np.isnan(half_life[0]):
    return 'a change of the source costs it nothing'
  middle, low, high = half_life
  return (
    f'a change of the source costs it {_nats(cost)} nats over '
    f'{measured.changed.shape[1]} tokens, half of it within {middle:.0f} '
    f'[{low:.0f}, {high:.0f}]'
  )


def _divergence(measured, tolerance, prior):
  values = measured.reference.divergence.mean(1)
  estimate = _interval(values)
  return {
    'name': 'divergence',
    'title': f'KL to exact Bayes of {prior}',
    'estimate': estimate,
    'unit': 'nats a token',
    'p_value': _above(values, tolerance),
    'said': {
      PASSES: f'it is exact Bayes within {_nats(estimate[2])} nats a token',
      FAILS: f'it is {_amount(estimate)} a token away',
    },
  }


# All of them.


def judge(
  measured: measure.Measured,
  tolerance: float = TOLERANCE,
  prior: str = '',
  concentration: np.ndarray | None = None,
  of_prior: bool = False,
) -> Audit:
  """Judges what was measured.

  Args:
    measured: Of S sequences.
    tolerance: What a check may miss, in nats a token, before it fails.
    prior: The name of the prior, if measured with a reference.
    concentration: [V], of that prior if it is a Dirichlet, else NaN.
    of_prior: Whether the sequences are of that prior, so that its exact Bayes
      is calibrated on them.
  """
  if concentration is None:
    concentration = np.full(measured.log_probs.shape[-1], np.nan)
  reference = measured.reference
  calibration, bins = _calibration(measured, tolerance, of_prior)
  dirichlet, alpha, virtual, misfits = _dirichlet(
    measured, tolerance, concentration
  )
  adaptation, half_life = _adaptation(measured, tolerance)
  drafts = [
    _martingale(measured, tolerance),
    _exchangeable(measured, tolerance, 'orders'),
    _exchangeable(measured, tolerance, 'transitions'),
    calibration,
    dirichlet,
    adaptation,
  ]
  if reference is not None:
    drafts.append(_divergence(measured, tolerance, prior))
  if reference is None:
    # Without a prior the question is that of exchangeable data, of any prior.
    expected = {'martingale': True, 'orders': True, 'transitions': True}
  else:
    exchangeable, markov = (
      bool(x.max() <= tolerance)
      for x in (reference.orders, reference.transitions)
    )
    expected = {
      'martingale': exchangeable,
      'orders': exchangeable,
      'transitions': markov,
      'calibration': of_prior,
      'dirichlet': virtual is not None,
      'adaptation': True,
      'divergence': True,
    }
  adjusted = _holm([draft['p_value'] for draft in drafts])
  checks = tuple(
    _check(draft, p, expected.get(draft['name'], False))
    for draft, p in zip(drafts, adjusted, strict=True)
  )
  passes = all(x.status != FAILS for x in checks if x.counts)
  return Audit(
    _verdict(checks, passes, prior),
    passes,
    checks,
    prior,
    len(measured.tokens),
    measured.tokens.shape[1],
    tolerance,
    alpha,
    virtual,
    half_life,
    _curves(measured, bins, misfits),
  )


def _check(draft, adjusted, expected):
  """Returns the check, of which the test has decided."""
  status = OPEN
  if not np.isnan(adjusted):
    status = FAILS if adjusted <= 1 - _LEVEL else PASSES
  value, low, high = draft['estimate']
  return Check(
    draft['name'],
    draft['title'],
    value,
    low,
    high,
    draft['unit'],
    draft['p_value'],
    float(adjusted),
    status,
    expected and status != OPEN,
    draft['said'][status],
  )


def _verdict(checks, passes, prior):
  """Answers in one sentence."""
  counting = [check for check in checks if check.counts]
  failing = [check for check in counting if check.status == FAILS]
  kind = (
    f'exact Bayes of {prior}'
    if prior
    else ('a Bayesian predictor of exchangeable data')
  )
  if not counting:
    return f'Nothing could be asked that would tell it from {kind}.'
  if passes:
    return (
      f'Nothing tells it from {kind}: it passes all {len(counting)} checks '
      'that count.'
    )
  titles = [check.title for check in failing]
  names = ', '.join(
    # Names keep their capitals.
    title if title.startswith(('KL', 'Dirichlet')) else title.lower()
    for title in titles
  )
  more = ''
  by_name = {check.name: check.status for check in checks}
  if not prior and (by_name['orders'], by_name['transitions']) == (
    FAILS,
    PASSES,
  ):
    more = ' Of Markov chains it may be one: only pairs of tokens count.'
  for check in checks:
    if check.name == 'divergence' and np.isfinite(check.value):
      more = f' The KL between them is {_nats(check.value)} nats a token.'
  return (
    f'It is not {kind}: it fails {len(failing)} of {len(counting)} checks that '
    f'count ({names}).{more}'
  )


def _curves(measured, bins, misfits):
  """Returns what the figure shows."""
  reference = measured.reference
  curves = {
    'drift': measured.drift,
    'orders': measured.orders,
    'transitions': measured.transitions,
    'excess': _excess(measured),
    'misfit': misfits,
    **{f'bin_{name}': value for name, value in bins.items()},
  }
  if reference is not None:
    curves |= {
      'divergence': reference.divergence,
      'excess_exact': _excess(reference),
    }
  return curves
