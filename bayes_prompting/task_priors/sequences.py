"""Sequences of one's own, from a file: samples, but no source and no posterior.

Nobody knows what the sequences of a file were drawn from. There is no oracle,
and no exact Bayes. What losses are compared with is a universal predictor,
which knows nothing but the sequence so far: context-tree weighting (CTW), and
the estimator of Krichevsky and Trofimov (KT), which is CTW without contexts.
`types.Recorded` says what such a prior has in place of an oracle.

The sequences are split once into three parts, for tuning, validation and
evaluation. `sample` draws windows of those for tuning; `TaskPrior.of_split`
returns the same prior with another part.
"""

from collections.abc import Iterable, Sequence
import functools
import os
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bayes_prompting import checks
from bayes_prompting import errors
from bayes_prompting import types
from bayes_prompting.task_priors import _reading
from bayes_prompting.task_priors import _universal

# Raise it when numbers change: networks and results depend on it.
NUMERICS = 1

_WORDS = ((0, 1, 1, 0, 1, 2, 0, 1), (2, 2, 0, 1, 0, 0, 1, 2)) + (
  (1, 1, 0, 2, 0, 1, 1),
  (0, 0, 1, 1, 2, 2, 1),
  (2, 0, 2, 0, 1, 1, 0, 0),
)
EXAMPLES = (
  {'tokens': _WORDS, 'depth': 2},
  {'tokens': _WORDS, 'vocabulary': 3, 'depth': 0, 'stride': 2},
)

_MOST_DEPTH = 64


def reads(path: str | os.PathLike[str] | None = None, **_: Any) -> list[str]:
  """Returns the file, whose content is part of the identity of results."""
  return [] if path is None else [os.fspath(checks.path('path', path))]


def make(
  path: str | os.PathLike[str] | None = None,
  format: str | None = None,
  tokens: Sequence[Sequence[int]] | None = None,
  vocabulary: int | str | Sequence[Any] | None = None,
  columns: str | Sequence[str] = (),
  by: str | None = None,
  lines: bool = False,
  encoding: str = 'utf-8',
  outside: str = 'refuse',
  cut: int | None = None,
  stride: int | None = None,
  split: Sequence[float] = (0.8, 0.1, 0.1),
  seed: int = 0,
  depth: int = 3,
  alpha: float = 0.5,
) -> types.TaskPrior:
  """Builds the prior of the sequences of a file.

  Args:
    path: The file. One whose name ends in `.gz` is decompressed.
    format: `npy`, `npz`, `text`, `words` (with spaces or the end of a line
      between them), `bytes`, `csv` or `fasta`; by default what the ending of
      its name says.
    tokens: The sequences themselves, in place of a file.
    vocabulary: The symbols in the order of their tokens, as a text or a list;
      or V, where symbols are the numbers 0 to V - 1. By default those that
      occur, in order; of arrays all numbers up to the largest; of FASTA files
      ACGT.
    columns: Of a CSV file, each a sequence from top to bottom; of an archive,
      the arrays (all by default).
    by: A column of a CSV file; a sequence ends where its value changes.
    lines: Whether each line of a text is a sequence; else all of it is one.
    encoding: Of text, CSV and FASTA files.
    outside: What to do with a symbol outside the vocabulary: `refuse` the file,
      or `cut` the sequence there.
    cut: Cuts every sequence into pieces of so many tokens, each a sequence of
      its own, so that one long sequence can be split. What is left at its end
      is a shorter piece.
    stride: Tokens from the beginning of a window to that of the next in the
      same sequence. By default as long as a window is, so that none overlap.
    split: Shares of the sequences for tuning, validation and evaluation.
    seed: Of the split.
    depth: D, of context-tree weighting.
    alpha: Of its estimator, and of KT; 1/2 is theirs. Of a large vocabulary of
      which few tokens follow each other, less is better.

  Raises:
    UserError: If the file cannot be read, or not be split, or an argument is
      out of range.
  """
  checks.one_of('outside', outside, ('refuse', 'cut'))
  checks.one_of_two('lines', lines)
  if cut is not None:
    cut = checks.integer('cut', cut, 1)
  if stride is not None:
    stride = checks.integer('stride', stride, 1)
  shares = checks.weights('split', split, len(types.SPLITS))
  if not np.all(shares > 0):
    raise errors.UserError(
      f'split: must have a share above 0 for each of {", ".join(types.SPLITS)},'
      f' got {checks.show(split)}'
    )
  seed = checks.integer('seed', seed, 0, 2**63 - 1)
  depth = checks.integer('depth', depth, 0, _MOST_DEPTH)
  alpha = checks.positive('alpha', alpha)
  if (path is None) == (tokens is None):
    raise errors.UserError('path: give a file, or tokens in its place')
  columns = (columns,) if isinstance(columns, str) else columns
  columns = () if columns == () else checks.strings('columns', columns)
  if not isinstance(encoding, str):
    raise errors.UserError(
      f'encoding: must be a name such as utf-8, got {checks.show(encoding)}'
    )
  if path is None:
    for name, is_given in (
      ('format', format is not None),
      ('columns', columns),
      ('by', by is not None),
      ('lines', lines),
      ('encoding', encoding != 'utf-8'),
    ):
      if is_given:
        raise errors.UserError(f'{name}: is for files, and tokens are given')
    records = _reading.of_arrays('tokens', _given(tokens))
  else:
    path = checks.path('path', path)
    records = _reading.read(path, format, columns, by, lines, encoding)
    if vocabulary is None and _is('fasta', path, format):
      vocabulary = _reading.NUCLEOTIDES
  symbols = _reading.symbols_of(records, vocabulary)
  sequences = _reading.tokens(records, symbols, outside)
  ended = len(sequences) > len(records.symbols)
  if cut is not None:
    sequences = [
      x[start : start + cut]
      for x in sequences
      for start in range(0, len(x), cut)
    ]
  total = sum(map(len, sequences))
  if total > _reading.MOST_TOKENS:
    raise errors.UserError(
      f'path: has {total} tokens, more than {_reading.MOST_TOKENS}'
    )
  remedy = ''
  if by is None and path is not None and _is('csv', path, format):
    remedy = 'say by which column sequences are told apart (by), or '
  parts = _split(sequences, shares, seed, remedy)
  hint = ''
  if cut is not None:
    hint = f', or cut longer pieces (cut, now {cut})'
  if ended:
    hint += "; with outside='cut' sequences end at symbols outside vocabulary"
  about = _about(records, symbols, sequences)
  return _prior(parts, len(symbols), stride, depth, alpha, about, hint)


def _about(records, symbols, sequences):
  """Says what was read, by which a symbol that should not be there is seen."""
  counts = np.bincount(np.concatenate(sequences), minlength=len(symbols))
  rarest = int(counts.argmin())
  return (
    f'{counts.sum()} {records.kind}s, {len(symbols)} different ones, the '
    f'rarest {records.shown(symbols.tolist()[rarest])} ({counts[rarest]} times)'
  )


def _is(name, path, file_format):
  if file_format is None:
    file_format = _reading.ending(path)
  return file_format == name


def _given(sequences) -> Iterable[tuple[str, np.ndarray]]:
  """Yields sequences that are given in place of a file."""
  if isinstance(sequences, np.ndarray):
    yield 'tokens', sequences
    return
  if not isinstance(sequences, list | tuple) or not sequences:
    raise errors.UserError(
      f'tokens: must be a list of sequences, got {checks.show(sequences)}'
    )
  for number, sequence in enumerate(sequences):
    try:
      yield f'sequence {number}', np.asarray(sequence)
    except ValueError:  # Ragged.
      raise errors.UserError(
        f'tokens: sequence {number} must be whole numbers, got '
        f'{checks.show(sequence)}'
      ) from None


def _split(sequences, shares, seed, remedy):
  """Returns the sequences of each part, drawn by a seed; none is empty.

  Args:
    sequences: All of them.
    shares: Of each part.
    seed: A number.
    remedy: What else an error advises, if there are too few.
  """
  count, parts = len(sequences), len(shares)
  if count < parts:
    raise errors.UserError(
      f'path: has {count} sequence{"s" * (count != 1)}, too few to split into '
      f'{parts} parts; {remedy}give cut, tokens of the pieces that a sequence '
      'is cut into'
    )
  ends, start = [], 0
  for number, end in enumerate(np.round(np.cumsum(shares) * count).tolist()):
    left = parts - number - 1  # One sequence at least for each of these.
    start = min(max(int(end), start + 1), count - left)
    ends.append(start)
  order = np.random.default_rng(seed).permutation(count)
  pieces = np.split(order, ends[:-1])
  return {
    name: [sequences[i] for i in sorted(numbers.tolist())]
    for name, numbers in zip(types.SPLITS, pieces, strict=True)
  }


# The fields that say how long the windows of a part are.
_LENGTHS = {
  'tuning': 'tuning.length; pretraining.length, where it is pretrained on',
  'validation': 'tuning.length',
  'evaluation': 'evaluation.length',
}


class _Windows:
  """All windows of the sequences of one part."""

  def __init__(self, name, sequences, vocab_size, stride, hint):
    self._name, self._stride, self._hint = name, stride, hint
    self._sizes = np.array([len(x) for x in sequences])
    self._first = np.cumsum(self._sizes) - self._sizes
    # They are part of compiled programs: as few bytes as they need.
    dtype = np.min_scalar_type(vocab_size - 1)
    self._tokens = np.concatenate(sequences).astype(dtype)

  def counts(self, length):
    """Returns how many windows of N tokens each sequence has."""
    stride = self._stride or length
    return np.maximum((self._sizes - length) // stride + 1, 0)

  def count(self, length):
    """Returns how many there are of N tokens."""
    total = int(self.counts(length).sum())
    if not total:
      raise errors.UserError(
        f'path: no sequence of {length} tokens for {self._name}, of '
        f'{len(self._sizes)} the longest has {self._sizes.max()}; ask for '
        f'shorter windows ({_LENGTHS[self._name]}), or for a larger share '
        f'(split){self._hint}'
      )
    return total

  def too_short(self, length):
    """Returns how many sequences have no window of N tokens."""
    return int(np.sum(self._sizes < length))

  def starts(self, numbers, length):
    """Returns where windows start, in all tokens of the part, of any shape."""
    xp = jnp if isinstance(numbers, jax.Array) else np
    ends = xp.asarray(np.cumsum(self.counts(length)), np.int32)
    which = xp.searchsorted(ends, numbers, side='right')
    before = xp.concatenate([xp.zeros(1, np.int32), ends])[which]
    first = xp.asarray(self._first, np.int32)[which]
    return first + (numbers - before) * (self._stride or length)

  def window(self, number, length):
    """Returns one of them, int32 [N]; NumPy's, if the number is."""
    starts = self.starts(number, length)
    if not isinstance(number, jax.Array):
      return self._tokens[starts : starts + length].astype(np.int32)
    tokens = jnp.asarray(self._tokens)
    window = jax.lax.dynamic_slice_in_dim(tokens, starts, length)
    return window.astype(jnp.int32)


def _prior(parts, vocab_size, stride, depth, alpha, about, hint):
  windows = {
    name: _Windows(name, sequences, vocab_size, stride, hint)
    for name, sequences in parts.items()
  }

  def universal(depth):
    return functools.partial(
      _universal.log_predictive,
      vocab_size=vocab_size,
      depth=depth,
      alpha=alpha,
    )

  def predict(seen, tokens):
    history = jnp.concatenate([seen['tokens'].astype(jnp.int32), tokens])
    return universal(depth)(history)[len(history) - len(tokens) :]

  def prefill(rows):
    # A row that is not one-hot counts as its most likely token. The state is
    # all that was seen: it grows, so that there is no `observe`.
    return {'tokens': jnp.asarray(rows).argmax(-1).astype(jnp.float32)}

  recorded = types.Recorded(
    references={'CTW': universal(depth), 'KT': universal(0)},
    count=lambda split, length: windows[split].count(length),
    window=lambda split, number, length: windows[split].window(number, length),
    about=about,
    too_short=lambda split, length: windows[split].too_short(length),
  )
  return types.recorded_prior(vocab_size, prefill, predict, recorded)
