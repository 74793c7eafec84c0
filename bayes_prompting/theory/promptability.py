"""Whether a prompt can make Bayes under a prior optimal on a target.

A prompt chooses a posterior of the prior. The prompt is optimal if that
posterior is the target's own prior. If no posterior is, the smallest gap says
what no prompt of a Bayesian predictor, hard or soft, can ever reach.
"""

import dataclasses
from typing import Literal

import jax
import numpy as np

from bayes_prompting import types
from bayes_prompting.theory import expectation
from bayes_prompting.theory import gaps as prompt_gaps
from bayes_prompting.theory import hard_prefixes
from bayes_prompting.theory import pseudo_counts
from bayes_prompting.theory import sampled_prefixes

# An exact prefix of more tokens is given as counts.
_MOST_TOKENS = 1e4
Verdict = Literal[
  'exact', 'limit', 'not_promptable', 'out_of_support', 'unknown'
]
# Nats. A gap of at most this, at the bound of the search, may vanish beyond it.
_SMALL = 1e-2
# If a posterior is the target's prior, it leaves at most this gap in nats, and
# no two predictions differ by more than rounding, even after what is unlikely.
_GAP, _DEVIATION = 1e-8, 1e-7
# Nor do they differ by more than this after so many tokens of any source of the
# prior. They would, if evidence had made some source unlikely, not impossible.
_BEYOND, _BEYOND_TOKENS = 1e-5, 256


@dataclasses.dataclass(frozen=True, eq=False)
class Promptability:
  """A verdict, and the numbers that it rests on.

  A gap is what Bayes of the prior, with its prompt, loses above Bayes of the
  target, in nats over the N tokens. A regret is what Bayes loses to the oracle.

  Attributes:
    verdict: What the posterior family can do. Prefixes of tokens may do less,
      and `prefix_gap` says how much less.
      'exact': some posterior is the target's prior. All predictions agree, also
      after many tokens of any source of the prior. So what the target rules
      out is impossible after the prompt, not just unlikely.
      'limit': no posterior that was found is the target's prior, but some come
      as near as one likes, or nearer than can be told over N tokens. If the
      statistic of the prior has labels, every prefix of tokens may still leave
      a gap on the first tokens; `by_tokens` and the reason say so.
      'not_promptable': every posterior keeps its distance.
      'out_of_support': no posterior can come near, since the prior rules out a
      source of the target, or how the target's sequences start.
      'unknown': no prefix that was tried is exact, and nothing else could be
      searched, or the search ended before it came to a minimum.
    reason: Why, in a sentence.
    length: N.
    target_regret: What Bayes of the target loses to the oracle.
    prefix: The best hard prefix of `curve`, or a longer one that is exact.
    prefix_gap: The gap of this prefix.
    pseudo: The best of the posterior family; None where it was not searched.
    curve: The best hard prefix of each length.
    standard_errors: Of sampled numbers, in nats: the target's regret, the gap
      without a prompt, and that of `prefix`. None where all are exact.
    by_tokens: For a 'limit', whether prefixes of tokens may come near it. They
      do not where the best posterior has labels that only no prefix leaves.
  """

  verdict: Verdict
  reason: str
  length: int
  target_regret: float
  prefix: tuple[int, ...]
  prefix_gap: float
  pseudo: pseudo_counts.Pseudo | None
  curve: hard_prefixes.Curve
  by_tokens: bool = True
  standard_errors: tuple[float, float, float] | None = None

  @property
  def gap(self) -> float:
    """The smallest gap, over prefixes and pseudo-counts."""
    return min(self.prefix_gap, self.pseudo.gap if self.pseudo else np.inf)

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
    if self.verdict == 'limit' and not self.by_tokens:
      verdict += ', but not by any prefix of tokens'
    lines = [
      f'Over {self.length} tokens: {verdict}.',
      self.reason,
      f'{"nats":20}{"regret":>9}{"gap":>9}',
    ]
    for name, gap, prompt in rows:
      total = _nats(self.target_regret + gap)
      line = f'{name:20}{total:>9}{_nats(gap):>9}  {prompt}'
      lines.append(line.rstrip())
    if self.standard_errors:
      own, none, prefix = map(_nats, self.standard_errors)
      lines.append(
        f'Sampled. Standard errors: own regret {own}, gaps {none} and {prefix}.'
      )
    if self.pseudo:
      lines.append("Pseudo-counts are added to the prior's own.")
    return '\n'.join(lines)


def promptability(
  prior: types.TaskPrior,
  target: types.TaskPrior,
  length: int = 50,
  max_prefix_length: int | None = None,
) -> Promptability:
  """Says whether prompts can make Bayes under `prior` optimal on `target`.

  The verdict is about sequences of N tokens. `types.Support` says which sources
  of the target are outside of the support. A posterior is the target's prior if
  all predictions of the two agree; for two Dirichlets their concentrations say
  so. For others a search over pseudo-counts that has converged says that no
  posterior is, or one in the limit.

  Args:
    prior: The prior that a prompt conditions.
    target: Where the sequences come from: a single source, or a prior.
    length: N.
    max_prefix_length: The longest hard prefix that is tried; by default 8, or
      less where 8 is not cheap.

  Raises:
    UserError: If one is no task prior, the vocabularies differ, or there are
      too many histories to sum over.
  """
  expectation.check_pair(prior, target)
  if prior.statistic is None or target.statistic is None:
    return _sampled(prior, target, length, max_prefix_length)
  gaps = prompt_gaps.Gaps(prior, target, length)
  required = max_prefix_length is not None
  longest = max_prefix_length if required else hard_prefixes.LONGEST
  curve = hard_prefixes.curve_of(gaps, longest, required)
  pseudo = pseudo_counts.best(gaps, max_prefix_length)
  known = prior.support is not None and target.support is not None
  exact_prefix = _exact_prefix(gaps, curve, pseudo) if known else None
  prefix = exact_prefix
  if prefix is None:
    prefix = curve.prefixes[prompt_gaps.rounded(curve.gaps).argmin()]
  answer = Promptability(
    verdict='not_promptable',
    reason='',
    length=length,
    target_regret=gaps.target_regret,
    prefix=prefix,
    prefix_gap=gaps.gap(gaps.after(prefix)),
    pseudo=pseudo,
    curve=curve,
  )
  if not known:
    name = 'prior' if prior.support is None else 'target'
    return dataclasses.replace(
      answer,
      verdict='unknown',
      reason=(
        f'The {name} does not say its support, which a verdict needs: the '
        f'nearest posterior that was found loses {answer.gap:.3g} nats.'
      ),
    )
  verdict, reason = _judge(gaps, answer, exact_prefix is not None)
  by_tokens = verdict != 'limit' or not _but(gaps, answer)
  return dataclasses.replace(
    answer, verdict=verdict, reason=reason, by_tokens=by_tokens
  )


def _sampled(prior, target, length, max_prefix_length):
  """Returns the verdict 'unknown', with regrets on sampled sequences."""
  found = sampled_prefixes.curve_of(prior, target, length, max_prefix_length)
  curve = found.curve
  first = int(np.argmin(curve.gaps))
  without = 'prior' if prior.statistic is None else 'target'
  return Promptability(
    verdict='unknown',
    reason=(
      f'The {without} has no sufficient statistic of a fixed, small size: '
      f'regrets are means over {sampled_prefixes.NUM_SEQUENCES} sampled '
      'sequences, and nothing beyond prefixes of up to '
      f'{curve.lengths[-1]} tokens was searched.'
    ),
    length=length,
    target_regret=found.target_regret,
    prefix=curve.prefixes[first],
    prefix_gap=float(curve.gaps[first]),
    pseudo=None,
    curve=curve,
    standard_errors=(
      found.target_error,
      float(found.errors[0]),
      float(found.errors[first]),
    ),
  )


def _judge(gaps, answer, prefix_is_exact):
  """Returns the verdict on an answer without one, and the reason."""
  longest = f'{answer.curve.lengths[-1]} tokens'
  support = gaps.target.support
  possible = all(map(gaps.prior.support.covers, support.points))
  if not possible or np.isinf(answer.gap):
    return 'out_of_support', _why_out_of_support(gaps, answer, possible)
  if prefix_is_exact:
    if not answer.prefix:
      return 'exact', "The prior is the target's already: no prompt is needed."
    return 'exact', (
      f"The posterior after {_name(answer.prefix)} is the target's prior."
    )
  if _is_exact_pseudo(gaps, answer.pseudo):
    return 'exact', (
      "With pseudo-counts the posterior is the target's prior; no prefix of up "
      f'to {longest} reaches it.'
    )
  single = support.finite and len(support.points) == 1
  known = gaps.conjugate is not None and not _is_a_source(gaps)
  # Over no more tokens every row is seen once, and only means count.
  apart = known and gaps.length > 1 + np.sum(~gaps.is_count)
  if not apart and _vanishes(gaps, answer):
    return 'limit', _why_limit(gaps, answer, single)
  if known:
    return 'not_promptable', _why_apart(gaps, answer)
  if answer.pseudo is None:
    return 'unknown', (
      f'No prefix of up to {longest} comes nearer than {answer.gap:.3g} nats; '
      'nothing else was searched: there are no pseudo-counts that may be '
      'raised, or too many.'
    )
  if not answer.pseudo.converged:
    ended = 'before it converged'
    if answer.pseudo.at_bound:
      ended = f'at counts of {answer.pseudo.bound:.0e}, with the gap falling'
    return 'unknown', (
      f'The search over pseudo-counts ended {ended}: the nearest posterior '
      f'that was found loses {answer.gap:.3g} nats.'
    )
  most = f' up to {answer.pseudo.bound:.0e}' * answer.pseudo.at_bound
  reason = (
    f"No posterior is the target's prior: the nearest, over all pseudo-counts"
    f'{most}, loses {answer.pseudo.gap:.3g} nats more than Bayes of the '
    f'target, and after any prefix of up to {longest} {answer.prefix_gap:.3g}.'
  )
  if single and len(support.points[0]) > 1:
    reason += (
      ' The prior holds its source possible, but the first tokens of a chain '
      'are uniform.'
    )
  return 'not_promptable', reason


def _vanishes(gaps, answer):
  """Returns whether no gap is left, or none if counts grew without bound."""
  if answer.gap <= _GAP:
    return True
  if not answer.pseudo or not answer.pseudo.at_bound or answer.gap > _SMALL:
    return False
  # A gap that goes to zero goes as one over the counts, or faster.
  fewer = pseudo_counts.with_fewer(gaps, answer.pseudo.value)
  return gaps.gap(fewer) > 5 * answer.pseudo.gap


def _is_a_source(gaps):
  """Returns whether the target's Dirichlets have one token each: no choice."""
  beta = np.asarray(gaps.target.statistic.concentration)[gaps.is_count]
  return bool(np.all((beta.reshape(-1, gaps.target.vocab_size) > 0).sum(1) < 2))


def _why_apart(gaps, answer):
  """Says which concentration keeps two Dirichlets apart."""
  (entry, *_) = np.flatnonzero(~(gaps.conjugate >= 0))
  alpha, beta = (
    np.asarray(prior.statistic.concentration)[entry]
    for prior in (gaps.prior, gaps.target)
  )
  context, token = divmod(int(entry), gaps.prior.vocab_size)
  where = f'token {token}'
  if not gaps.prior.exchangeable:
    where += f' in context {context}'
  return (
    "No posterior is the target's prior: a prompt only adds to concentrations, "
    f'and that of {where} would have to fall from {alpha:.10g} to {beta:.10g}. '
    f'The nearest that was found loses {answer.gap:.3g} nats more than Bayes '
    'of the target.'
  )


def _why_limit(gaps, answer, single):
  tokens = ', the longer the prompt the more.'
  if not gaps.prior.exchangeable:
    tokens = (
      f'. Any prefix of up to {answer.curve.lengths[-1]} tokens leaves '
      f'{answer.prefix_gap:.3g} nats{_but(gaps, answer)}.'
    )
  if single:
    return (
      'The target is a single source that the prior holds possible: posteriors '
      f'concentrate on it{tokens}'
    )
  return (
    'Some posteriors lose less than can be told, but none that was found is '
    "the target's prior: after more tokens, or others, predictions differ"
    f'{"" if gaps.prior.exchangeable else tokens[:-1]}.'
  )


def _but(gaps, answer):
  """Explains a gap of all prefixes that no posterior of theirs could close."""
  best = gaps.after(answer.prefix)
  if answer.pseudo and answer.pseudo.gap < answer.prefix_gap:
    best = answer.pseudo.value
  after = [gaps.after(prefix) for prefix in answer.curve.prefixes if prefix]
  if any((gaps.labels(x) == gaps.labels(best)).all() for x in after):
    return ''
  return (
    ', some of them on the first tokens for ever: the target starts with '
    'nothing seen, and a prompt has a last token'
  )


def _why_out_of_support(gaps, answer, possible):
  better = answer.pseudo and answer.pseudo.gap < answer.prefix_gap
  best = answer.pseudo.value if better else gaps.after(answer.prefix)
  last = gaps.steps(best)[-1]
  amount = f'{last:.3g} nats' if np.isfinite(last) else 'infinitely much'
  what = 'how sequences' if possible else 'a source'
  return (
    f'The prior rules out {what} of the target{" start" * possible}: with the '
    f'best prompt that was found it still loses {amount} on the last token '
    'alone.'
  )


def _exact_prefix(gaps, curve, pseudo):
  """Returns the shortest prefix known to be exact, or None."""
  candidates = list(curve.prefixes)
  if pseudo and gaps.prior.exchangeable:
    # Whole counts are tokens, in any order.
    total = np.round(pseudo.counts).sum()
    if curve.lengths[-1] < total < _MOST_TOKENS:
      whole = np.round(pseudo.counts).astype(int)
      candidates.append(tuple(np.repeat(np.arange(len(whole)), whole).tolist()))
  for prefix in candidates:
    if _is_target(gaps, gaps.after(prefix)):
      return prefix
  return None


def _is_exact_pseudo(gaps, pseudo):
  if pseudo is None or pseudo.at_bound:
    return False
  return _is_target(gaps, pseudo.value)


def _is_target(gaps, value):
  """Returns whether the posterior at a value [D] is the target's prior.

  It is if all predictions agree, on all that may happen in N tokens, and after
  many more tokens of any source. A part of the prior that evidence has only
  made unlikely shows there.
  """
  if gaps.conjugate is not None:
    same_labels = np.array_equal(gaps.labels(value), gaps.start)
    apart = np.abs(gaps.added(value) - gaps.conjugate)
    scale = np.asarray(gaps.target.statistic.concentration)
    return same_labels and bool(np.all(apart <= 1e-12 * scale))
  if gaps.gap(value) > _GAP or gaps.deviation(value) > _DEVIATION:
    return False
  return _deviation_beyond(gaps, value) <= _BEYOND


def _deviation_beyond(gaps, value):
  """Returns the largest difference of predictions after any source's tokens.

  A source that evidence has made ever so unlikely is back after enough tokens
  of its own. Only an impossible source stays away.
  """
  prior, target = gaps.prior.statistic, gaps.target.statistic
  tables = _sources(gaps.prior)
  starts = gaps.labels(value), np.asarray(target.start)
  ours, theirs = (
    np.tile(start.astype(np.int64), (len(tables), 1)) for start in starts
  )
  # Where both have counts, these may be raised by large factors.
  # What is seen must outweigh the prompt.
  scales = (1, 10, 100, 1e3, max(1e4, gaps.added(value).max()))
  if not (any(prior.counts) and any(target.counts)):
    scales = (1,)
  deviation = 0.0
  for seen, tokens in enumerate(_draw(tables), 1):
    ours, theirs = prior.update(ours, tokens), target.update(theirs, tokens)
    if seen not in (_BEYOND_TOKENS // 16, _BEYOND_TOKENS):
      continue
    for scale in scales:
      probs, target_probs = (
        np.exp(expectation.evaluate(statistic.log_predictive, raised))
        for statistic, raised in (
          (prior, _raise(prior, ours, scale) + gaps.added(value)),
          (target, _raise(target, theirs, scale)),
        )
      )
      deviation = max(deviation, np.abs(probs - target_probs).max())
  return float(deviation)


def _raise(statistic, values, scale):
  """Returns values [P, D], with counts `scale` times as far from the start."""
  more = (scale - 1) * (values - np.asarray(statistic.start))
  return values + np.where(statistic.counts, more, 0)


def _sources(prior):
  """Returns sources of each part of the prior's support, [P, V^k, V]."""
  tables = list(prior.support.points)
  if not prior.support.finite and prior.sample_table:
    keys = jax.random.split(jax.random.key(0), 16)
    drawn = np.exp(jax.vmap(prior.sample_table)(keys), dtype=np.float64)
    tables += [*drawn]
  rows = max(map(len, tables))
  # The leading digits of a row are older tokens, which make no difference.
  return np.stack([np.tile(x, (rows // len(x), 1)) for x in tables])


def _draw(tables):
  """Yields the next token of each of P sources, [P], `_BEYOND_TOKENS` times."""
  rng, context = np.random.default_rng(0), np.zeros(len(tables), np.int64)
  rows, vocab_size = tables.shape[1:]
  for _ in range(_BEYOND_TOKENS):
    probs = tables[np.arange(len(tables)), context]
    below = probs.cumsum(-1) <= rng.random((len(tables), 1)) * probs.sum(
      -1, keepdims=True
    )
    tokens = below.sum(-1)
    context = (context * vocab_size + tokens) % rows
    yield tokens


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
