"""Whether a prompt can make Bayes under a prior optimal on a target.

A prompt chooses a posterior of the prior. It is optimal where that posterior is
the target's own prior; where none is, how near they come says what no prompt of
a Bayesian predictor, hard or soft, can ever reach.
"""

import dataclasses
from typing import Literal

import numpy as np

from bayes_prompting import errors
from bayes_prompting import types
from bayes_prompting.theory import exactness
from bayes_prompting.theory import hard_prefixes
from bayes_prompting.theory import pseudo_counts

Verdict = Literal[
  'exact', 'limit', 'not_promptable', 'out_of_support', 'unknown'
]
# Nats; what may be left at the bound of the search where the limit is none.
_SMALL = 1e-2


@dataclasses.dataclass(frozen=True, eq=False)
class Promptability:
  """A verdict, and its certificate.

  A gap is what Bayes of the prior, with its prompt, loses above Bayes of the
  target, in nats over the N tokens. A regret is what it loses to the oracle.

  Attributes:
    verdict: Of the posterior family: prefixes of tokens may do less, and
      `prefix_gap` says how much less.
      'exact': some posterior is the target's prior. All predictions agree,
      also after many tokens of any source of the prior: what is not of the
      target is impossible, not just unlikely.
      'limit': none is, but some come as near as one likes, or nearer than can
      be told over N tokens. Where a prior's statistic has labels, all
      prefixes of tokens may leave a gap on the first ones; the reason says so.
      'not_promptable': they do not.
      'out_of_support': they cannot, since the prior rules out a source of the
      target, or how its sequences start.
      'unknown': no prefix that was tried is exact, and nothing else could be
      searched.
    reason: Why, in a sentence.
    length: N.
    target_regret: What Bayes of the target loses to the oracle.
    prefix: The best hard prefix: of the lengths of `curve`, or the longer one
      that is exact.
    prefix_gap: Its gap.
    pseudo: The best of the posterior family; None where it was not searched.
    curve: The best hard prefix of each length.
  """

  verdict: Verdict
  reason: str
  length: int
  target_regret: float
  prefix: tuple[int, ...]
  prefix_gap: float
  pseudo: pseudo_counts.Pseudo | None
  curve: hard_prefixes.Curve

  @property
  def gap(self) -> float:
    """The least that was found, of tokens and of pseudo-counts."""
    found = self.pseudo.gap if self.pseudo else np.inf
    return min(self.prefix_gap, found)

  @property
  def prefix_regret(self) -> float:
    """The regret after the best hard prefix."""
    return self.target_regret + self.prefix_gap

  @property
  def pseudo_regret(self) -> float | None:
    """The regret after the best pseudo-counts, where they were searched."""
    return self.target_regret + self.pseudo.gap if self.pseudo else None

  def __str__(self):
    verdict = self.verdict.replace('_', ' ')
    rows = [
      ("target's own Bayes", 0.0, ''),
      ('no prompt', self.curve.gaps[0], ''),
      ('best hard prefix', self.prefix_gap, _name(self.prefix)),
    ]
    if not self.pseudo:
      rows.append(('best pseudo-counts', np.nan, 'not searched'))
    else:
      counts = self.pseudo.counts[self.pseudo.is_count]
      counts = ', '.join(f'{count:.3g}' for count in counts)
      is_limit = self.pseudo.at_bound or self.verdict == 'limit'
      limit = ', a limit' if is_limit else ''
      rows.append(('best pseudo-counts', self.pseudo.gap, f'{counts}{limit}'))
    lines = [
      f'Over {self.length} tokens: {verdict}.',
      self.reason,
      f'{"nats":20}{"regret":>9}{"gap":>9}',
    ]
    for name, gap, prompt in rows:
      regret = _nats(self.target_regret + gap)
      line = f'{name:20}{regret:>9}{_nats(gap):>9}  {prompt}'
      lines.append(line.rstrip())
    return '\n'.join(lines)


def promptability(
  prior: types.TaskPrior,
  target: types.TaskPrior,
  length: int = 50,
  max_prefix_length: int | None = None,
) -> Promptability:
  """Says whether prompts can make Bayes under `prior` optimal on `target`.

  The verdict is of sequences of N tokens. Sources outside of the support are
  told by `types.Support`; that a posterior is the target's prior, by all their
  predictions; that none is, or one in the limit, by a search over pseudo-counts
  up to `pseudo_counts.MAX_COUNT`.

  Args:
    prior: That a prompt conditions.
    target: Where the sequences come from: a single source, or a prior.
    length: N.
    max_prefix_length: The longest hard prefix that is tried; without it 8, or
      less where that is not cheap.

  Raises:
    UserError: Where there is no exact answer: a prior without a statistic or a
      support; or no cheap one.
  """
  for name, one in (('prior', prior), ('target', target)):
    if one.support is None:
      raise errors.UserError(
        f'{name}: does not say its support, which a verdict needs'
      )
  gaps = hard_prefixes.Gaps(prior, target, length)
  required = max_prefix_length is not None
  longest = max_prefix_length if required else hard_prefixes.LONGEST
  curve = hard_prefixes.curve_of(gaps, longest, required)
  pseudo = pseudo_counts.best(gaps, max_prefix_length)
  prefix = curve.prefixes[hard_prefixes.rounded(curve.gaps).argmin()]
  tokens = _exact_tokens(gaps, curve, pseudo)
  if tokens is not None:
    prefix = tokens
  found = Promptability(
    verdict='not_promptable',
    reason='',
    length=length,
    target_regret=gaps.target_regret,
    prefix=prefix,
    prefix_gap=gaps.gap(gaps.after(prefix)),
    pseudo=pseudo,
    curve=curve,
  )
  verdict, reason = _judge(gaps, found, tokens is not None)
  return dataclasses.replace(found, verdict=verdict, reason=reason)


def _judge(gaps, found, by_tokens):
  """Returns the verdict and its reason."""
  longest = f'{found.curve.lengths[-1]} tokens'
  support = gaps.target.support
  possible = all(map(gaps.prior.support.covers, support.points))
  if not possible or np.isinf(found.gap):
    return 'out_of_support', _why_out_of_support(gaps, found, possible)
  if by_tokens:
    if not found.prefix:
      return 'exact', "The prior is the target's already: no prompt is needed."
    return 'exact', (
      f"The posterior after {_name(found.prefix)} is the target's prior."
    )
  if _is_exact_pseudo(gaps, found.pseudo):
    return 'exact', (
      "With pseudo-counts the posterior is the target's prior; no prefix of up "
      f'to {longest} reaches it.'
    )
  single = support.finite and len(support.points) == 1
  if _vanishes(gaps, found):
    return 'limit', _why_limit(gaps, found, single)
  if found.pseudo is None:
    return 'unknown', (
      f'No prefix of up to {longest} comes nearer than {found.gap:.3g} nats; '
      'nothing else was searched: there are no pseudo-counts that may be '
      'raised, or too many.'
    )
  most = f' up to {pseudo_counts.MAX_COUNT:.0e}' * found.pseudo.at_bound
  reason = (
    f"No posterior is the target's prior: the nearest, over all pseudo-counts"
    f'{most}, loses {found.pseudo.gap:.3g} nats more than Bayes of the target, '
    f'and after any prefix of up to {longest} {found.prefix_gap:.3g}.'
  )
  if single and len(support.points[0]) > 1:
    reason += (
      ' The prior holds its source possible, but the first tokens of a chain '
      'are uniform.'
    )
  return 'not_promptable', reason


def _vanishes(gaps, found):
  """Returns whether no gap is left, or none where counts are ever larger."""
  if found.gap <= exactness.GAP:
    return True
  if not found.pseudo or not found.pseudo.at_bound or found.gap > _SMALL:
    return False
  # It goes as one over the counts, or faster, if it goes to zero.
  added = found.pseudo.counts
  fewer = np.where(added > 1, 0.9 * added, 0.0)
  return gaps.gap(found.pseudo.value - fewer) > 5 * found.pseudo.gap


def _why_limit(gaps, found, single):
  best = found.pseudo.value if found.pseudo else gaps.after(found.prefix)
  tokens = ', the longer the prompt the more.'
  if not gaps.prior.exchangeable:
    tokens = (
      f'. Any prefix of up to {found.curve.lengths[-1]} tokens leaves '
      f'{found.prefix_gap:.3g} nats{_but(gaps, found, best)}.'
    )
  if single:
    return (
      'The target is a single source that the prior holds possible: posteriors '
      f'concentrate on it{tokens}'
    )
  return (
    'Some posteriors lose less than anything that can be told, but none is the '
    "target's prior: after more tokens, or others, predictions differ"
    f'{"" if gaps.prior.exchangeable else tokens[:-1]}.'
  )


def _but(gaps, found, best):
  """Says where all tokens leave a gap that is no matter of the posterior."""
  after = [gaps.after(prefix) for prefix in found.curve.prefixes if prefix]
  if any((gaps.labels(x) == gaps.labels(best)).all() for x in after):
    return ''
  return (
    ', some of them on the first tokens for ever: the target starts with '
    'nothing seen, and a prompt has a last token'
  )


def _why_out_of_support(gaps, found, possible):
  better = found.pseudo and found.pseudo.gap < found.prefix_gap
  best = found.pseudo.value if better else gaps.after(found.prefix)
  last = gaps.steps(best)[-1]
  amount = f'{last:.3g} nats' if np.isfinite(last) else 'infinitely much'
  what = 'how sequences' if possible else 'a source'
  return (
    f'The prior rules out {what} of the target{" start" * possible}: with the '
    f'best prompt that was found it still loses {amount} on the last token '
    'alone.'
  )


def _exact_tokens(gaps, curve, pseudo):
  """Returns the shortest prefix found whose posterior is the target's prior."""
  candidates = list(curve.prefixes)
  if pseudo and gaps.prior.exchangeable:
    # Counts, in whatever order, are tokens.
    total = np.round(pseudo.counts).sum()
    if curve.lengths[-1] < total < pseudo_counts.MAX_COUNT / 100:
      whole = np.round(pseudo.counts).astype(int)
      candidates.append(tuple(np.repeat(np.arange(len(whole)), whole).tolist()))
  for prefix in candidates:
    if exactness.holds(gaps, gaps.after(prefix)):
      return prefix
  return None


def _is_exact_pseudo(gaps, pseudo):
  if pseudo is None or pseudo.at_bound:
    return False
  return exactness.holds(gaps, pseudo.value)


def _nats(value):
  """Writes nats with three decimals, or the power of ten of less."""
  if np.isnan(value):
    return '-'
  return f'{value:.0e}' if 1e-8 < value < 5e-4 else f'{abs(value):.3f}'


def _name(prefix):
  """Names a prefix by its tokens, or their numbers if there are many."""
  if not prefix:
    return 'no token'
  if len(prefix) > 16:
    tokens, counts = np.unique(prefix, return_counts=True)
    pairs = zip(tokens, counts, strict=True)
    return ', '.join(f'{count} x {token}' for token, count in pairs)
  return ('' if max(prefix) < 10 else '-').join(map(str, prefix))
