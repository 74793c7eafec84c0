"""Whether a prompt can make Bayes under a prior optimal on a target.

A prompt chooses a posterior of the prior. It is optimal where that posterior is
the target's own prior; where none is, how near they come says what no prompt of
a Bayesian predictor, hard or soft, can ever reach.
"""

import dataclasses
from typing import Literal

import numpy as np

from bayes_prompting import errors
from bayes_prompting import optimal_prompts
from bayes_prompting import pseudo_counts
from bayes_prompting import types

Verdict = Literal['exact', 'limit', 'not_promptable', 'out_of_support']
# Where a posterior is the target's prior, no gap is left, and no prediction
# differs by more than rounding, even after what is very unlikely.
_GAP, _DEVIATION = 1e-8, 1e-7  # Nats; probability.


@dataclasses.dataclass(frozen=True, eq=False)
class Promptability:
  """A verdict, and its certificate.

  A gap is what Bayes of the prior, with its prompt, loses above Bayes of the
  target, in nats over the N tokens. A regret is what it loses to the oracle.

  Attributes:
    verdict: 'exact', some posterior of the prior is the target's prior;
      'limit', none is, but prompts come as near as one likes; 'not_promptable',
      they do not; 'out_of_support', they cannot, since the prior rules out a
      source of the target.
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
  curve: optimal_prompts.Curve

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
    if self.pseudo:
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

  The verdict is of sequences of N tokens. Sources outside of the support, and
  targets of one source, are told by `types.Support`; that a posterior is the
  target's prior, by all their predictions; that none is, by a search.

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
  gaps = optimal_prompts.Gaps(prior, target, length)
  curve = optimal_prompts.curve_of(gaps, max_prefix_length)
  pseudo = pseudo_counts.best(gaps, max_prefix_length)
  prefix = curve.prefixes[optimal_prompts.rounded(curve.gaps).argmin()]
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
  if not all(map(gaps.prior.support.covers, support.points)):
    return 'out_of_support', _why_out_of_support(gaps, found)
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
  if support.finite and len(support.points) == 1:
    return 'limit', (
      'The target is a single source that the prior holds possible: posteriors '
      f'concentrate on it, the longer the prompt the more{_but(gaps, found)}.'
    )
  if found.gap <= _GAP:
    return 'limit', (
      'Large pseudo-counts lose less than anything that can be told, but no '
      "posterior is the target's prior."
    )
  if found.pseudo is None:
    return 'not_promptable', (
      f'No prefix of up to {longest} comes nearer than {found.gap:.3g} nats; '
      'pseudo-counts were not searched, there are too many of them.'
    )
  return 'not_promptable', (
    "No posterior is the target's prior: the nearest, over all pseudo-counts, "
    f'loses {found.pseudo.gap:.3g} nats more than Bayes of the target, and '
    f'after any prefix of up to {longest} {found.prefix_gap:.3g}.'
  )


def _but(gaps, found):
  """Says where tokens leave a gap that is no matter of the posterior."""
  labels = ~gaps.is_count
  if not found.pseudo or not labels.any():
    return ''
  best = found.pseudo.value[labels]
  after = [
    gaps.after(prefix)[labels] for prefix in found.curve.prefixes if prefix
  ]
  if any((value == best).all() for value in after):
    return ''
  return (
    ', but the first tokens keep a gap: the target starts with nothing seen, '
    'and a prompt has a last token'
  )


def _why_out_of_support(gaps, found):
  better = found.pseudo and found.pseudo.gap < found.prefix_gap
  best = found.pseudo.value if better else gaps.after(found.prefix)
  last = gaps.steps(best)[-1]
  amount = f'{last:.3g} nats' if np.isfinite(last) else 'infinitely much'
  return (
    'The prior rules out a source of the target: with the best prompt that was '
    f'found it still loses {amount} on the last token alone.'
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
    if _is_exact(gaps, gaps.after(prefix), prefix):
      return prefix
  return None


def _is_exact_pseudo(gaps, pseudo):
  if pseudo is None or pseudo.at_bound:
    return False
  tokens = None
  if gaps.prior.exchangeable:
    tokens = np.flatnonzero(pseudo.counts)
  return _is_exact(gaps, pseudo.value, tokens)


def _is_exact(gaps, value, tokens):
  """Returns whether the posterior at a value [D] is the target's prior.

  Args:
    gaps: For a prior and a target.
    value: Of the prior's statistic.
    tokens: That were seen; None if that cannot be said.
  """
  if gaps.gap(value) > _GAP or gaps.deviation(value) > _DEVIATION:
    return False
  if not gaps.prior.support.finite:
    return True
  # Of finitely many sources none goes by getting unlikely, only by zeros.
  others = [
    source
    for source in gaps.prior.support.points
    if not gaps.target.support.covers(source)
  ]
  if tokens is None:
    return not others
  return not any(_is_possible(source, tokens) for source in others)


def _is_possible(table, tokens):
  """Returns whether a source [V^k, V] can show these tokens."""
  rows, vocab_size = table.shape
  context = 0
  for seen, token in enumerate(tokens):
    # The first k tokens are uniform, whatever the source.
    if vocab_size**seen >= rows and table[context, token] == 0:
      return False
    context = (context * vocab_size + token) % rows
  return True


def _nats(value):
  """Writes nats with three decimals, or the power of ten of less."""
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
