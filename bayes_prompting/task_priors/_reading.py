"""Reads files of token sequences: records of symbols, then numbers.

A *record* is one sequence of a file: a row of an array, a text or a line of it,
a column of a table, an entry of a FASTA file. Its *symbols* are whole numbers,
characters (as code points) or texts, such as words.
"""

from collections.abc import Sequence
import csv
import gzip
import io
import pathlib
from typing import Any, NamedTuple
import zipfile
import zlib

import numpy as np

from bayes_prompting import checks
from bayes_prompting import errors

FORMATS = ('npy', 'npz', 'text', 'words', 'bytes', 'csv', 'fasta')
_OF_ENDING = {
  '.npy': 'npy',
  '.npz': 'npz',
  '.txt': 'text',
  '.csv': 'csv',
  '.fasta': 'fasta',
  '.fa': 'fasta',
  '.fna': 'fasta',
}
_COMPRESSED = '.gz'
NUCLEOTIDES = 'ACGT'
# More tokens of a file are a mistake: they are part of compiled programs.
MOST_TOKENS = 2**26
# Larger vocabularies, of which there are tables everywhere, are a mistake.
MOST_SYMBOLS = 2**14
# Of a compressed file, once it is expanded.
_MOST_BYTES = 2**30
_NAMED = 5  # Symbols that a message names.


class Records(NamedTuple):
  """What a file holds, before its symbols have numbers.

  Attributes:
    symbols: The symbols of each record, [N] of one dtype.
    kind: `number`, `byte`, `character`, `word` or `cell`.
  """

  symbols: list[np.ndarray]
  kind: str

  def shown(self, symbol: Any) -> str:
    """Returns a symbol as a message names it."""
    return repr(chr(symbol)) if self.kind == 'character' else repr(symbol)


def read(
  path: pathlib.Path,
  file_format: str | None,
  columns: Sequence[str],
  by: str | None,
  lines: bool,
  encoding: str,
) -> Records:
  """Reads the records of a file.

  Args:
    path: The file.
    file_format: One of `FORMATS`; None for what its ending says.
    columns: Of a table, each a record; of an archive, the arrays.
    by: A column of a table; a record ends where its value changes.
    lines: Whether each line of a text is a record.
    encoding: Of texts, tables and FASTA files.

  Raises:
    UserError: If it cannot be read as that.
  """
  if file_format is None:
    file_format = ending(path)
    if file_format is None:
      raise errors.UserError(
        f'path: cannot tell the format of {path.name!r} by its ending; give '
        f'format, one of {", ".join(FORMATS)}'
      )
  checks.one_of('format', file_format, FORMATS)
  for name, value, of in (
    ('columns', columns, ('csv', 'npz')),
    ('by', by, ('csv',)),
    ('lines', lines, ('text', 'words', 'bytes')),
  ):
    if value and file_format not in of:
      raise errors.UserError(
        f'{name}: is for {" and ".join(of)} files; {path.name!r} is read as '
        f'{file_format}'
      )
  try:
    data = path.read_bytes()
  except OSError as error:
    raise errors.UserError(
      f'path: cannot read {str(path)!r} ({error.strerror or error}); give the '
      'path of your file'
    ) from None
  if path.suffix.lower() == _COMPRESSED:
    data = _expanded(path, data)
  if not data:
    raise errors.UserError(f'path: {str(path)!r} is empty')
  if file_format in ('npy', 'npz'):
    records = _arrays(path, data, columns)
  elif file_format == 'bytes':
    parts = data.splitlines() if lines else [data]
    symbols = [np.frombuffer(x, np.uint8).astype(np.int64) for x in parts]
    records = Records(symbols, 'byte')
  else:
    text = _decoded(path, data, encoding)
    if file_format in ('text', 'words'):
      of_symbols = _characters if file_format == 'text' else _words
      records = of_symbols(text.splitlines() if lines else [text])
    elif file_format == 'csv':
      records = _table(path, text, columns, by)
    else:
      records = _fasta(path, text)
  records = Records([x for x in records.symbols if len(x)], records.kind)
  if not records.symbols:
    raise errors.UserError(f'path: {str(path)!r} holds no sequence')
  return records


def ending(path: pathlib.Path) -> str | None:
  """Returns the format that the ending of a name stands for, if any."""
  if path.suffix.lower() == _COMPRESSED:
    path = path.with_suffix('')
  return _OF_ENDING.get(path.suffix.lower())


def _expanded(path, data):
  """Returns what a compressed file holds, if that is not too much."""
  try:
    with gzip.open(io.BytesIO(data)) as file:
      # A small file may expand to any size.
      expanded = file.read(_MOST_BYTES + 1)
  except gzip.BadGzipFile:
    raise errors.UserError(
      f'path: {str(path)!r} is no gzip file; if it is not compressed, give it '
      f'a name without {_COMPRESSED}'
    ) from None
  except (OSError, EOFError, zlib.error) as error:
    raise errors.UserError(
      f'path: {str(path)!r} is cut or damaged ({error}); get it again'
    ) from None
  if len(expanded) > _MOST_BYTES:
    raise errors.UserError(
      f'path: {str(path)!r} expands to more than {_MOST_BYTES} bytes; take a '
      'part of it'
    )
  return expanded


def _decoded(path, data, encoding):
  try:
    return data.decode(encoding)
  except LookupError:
    raise errors.UserError(
      f'encoding: must be one that Python knows, such as utf-8 or latin-1, got '
      f'{checks.show(encoding)}'
    ) from None
  except UnicodeDecodeError as error:
    raise errors.UserError(
      f'path: {str(path)!r} is not {encoding} text (at byte {error.start}); '
      "give its encoding, or format='bytes'"
    ) from None


def _characters(texts):
  points = [
    np.frombuffer(x.encode('utf-32-le', 'surrogatepass'), '<u4') for x in texts
  ]
  return Records([x.astype(np.int64) for x in points], 'character')


def _words(texts):
  return Records([_objects(x.split()) for x in texts], 'word')


def _objects(texts):
  # As NumPy's own texts, all would be as wide as the longest.
  return np.array(texts, object)


def _arrays(path, data, names):
  """Returns the records of one array, or of those of an archive."""
  try:
    loaded = np.load(io.BytesIO(data))  # Refuses objects.
    if isinstance(loaded, np.ndarray):
      arrays = {path.name: loaded}
      if names:
        raise errors.UserError(
          f'columns: is for archives; {path.name!r} is one array'
        )
    else:
      for name in names:
        checks.one_of('columns', name, loaded.files)
      arrays = {name: loaded[name] for name in names or loaded.files}
  except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
    if isinstance(error, errors.UserError):
      raise
    why = ' '.join(str(error).split())[:120]
    raise errors.UserError(
      f'path: cannot read {str(path)!r} as arrays of whole numbers ({why})'
    ) from None
  return of_arrays(f'path: {str(path)!r}', arrays.items())


def of_arrays(field: str, arrays: Any) -> Records:
  """Returns the records of named arrays: one of each, or one of each row.

  Args:
    field: What an error message starts with.
    arrays: Pairs of a name and an array.
  """
  symbols = []
  for name, array in arrays:
    if array.dtype.kind not in 'iub' or array.ndim not in (1, 2):
      raise errors.UserError(
        f'{field}: must hold whole numbers of one or two axes, a sequence in '
        f'each row; {name} has {array.dtype} of shape {list(array.shape)}'
      )
    if array.size and array.dtype.kind != 'b' and int(array.max()) >= 2**31:
      raise errors.UserError(f'{field}: {name} has a token of 2^31 or more')
    array = array.astype(np.int64)
    symbols += [*array] if array.ndim == 2 else [array]
  return Records(symbols, 'number')


def _table(path, text, columns, by):
  """Returns the record of each column, or several where `by` changes."""
  try:
    rows = [x for x in csv.reader(io.StringIO(text), strict=True) if x]
  except csv.Error as error:
    raise errors.UserError(
      f'path: cannot read {str(path)!r} as a table ({error})'
    ) from None
  header = rows[0] if rows else []
  if not columns:
    raise errors.UserError(
      'columns: say which columns are sequences, one or more of '
      f'{checks.show(header)}'
    )
  for name, field in (*((x, 'columns') for x in columns), (by, 'by')):
    if name is not None:
      checks.one_of(field, name, header)
  for number, row in enumerate(rows[1:], 2):
    if len(row) != len(header):
      raise errors.UserError(
        f'path: {str(path)!r} is ragged: row {number} has {len(row)} cells, '
        f'the first has {len(header)}'
      )
  table = rows[1:]
  ends = [len(table)]
  if by is not None:
    at = header.index(by)
    changes = [
      i for i in range(1, len(table)) if table[i][at] != table[i - 1][at]
    ]
    ends = [*changes, len(table)]
  symbols = []
  for name in columns:
    at = header.index(name)
    column = _objects([row[at] for row in table])
    symbols += np.split(column, ends[:-1])
  return Records(symbols, 'cell')


def _fasta(path, text):
  """Returns the record of each entry, in upper case."""
  entries = []
  for line in text.splitlines():
    line = line.strip()
    if line.startswith('>'):
      entries.append([])
    elif line and not line.startswith(';'):
      if not entries:
        raise errors.UserError(
          f"path: {str(path)!r} is no FASTA file: it must begin with a line '>'"
        )
      entries[-1].append(line.upper())
  return _characters([''.join(x) for x in entries])


def symbols_of(
  records: Records, vocabulary: int | str | Sequence[Any] | None
) -> np.ndarray:
  """Returns the symbols of the vocabulary, in the order of their tokens.

  Args:
    records: Whose.
    vocabulary: V, for numbers from 0 to V - 1; the symbols; or None for those
      that occur, in order. Numbers are their own tokens: all up to the largest.
  """
  if vocabulary is None:
    if records.kind == 'number':
      symbols = np.arange(max(_largest(records) + 1, 2))
    else:
      symbols = np.unique(np.concatenate(records.symbols))
  elif isinstance(vocabulary, str):
    if records.kind != 'character':
      raise errors.UserError(
        'vocabulary: a text is for characters; here symbols are '
        f'{records.kind}s: list them, got {checks.show(vocabulary)}'
      )
    symbols = _characters([vocabulary]).symbols[0]
  elif isinstance(vocabulary, list | tuple):
    symbols = _listed(records, vocabulary)
  else:
    size = checks.integer('vocabulary', vocabulary, 2)
    if records.kind not in ('number', 'byte'):
      raise errors.UserError(
        f'vocabulary: a number is for numbers; here symbols are '
        f'{records.kind}s, got {size}'
      )
    symbols = np.arange(min(size, MOST_SYMBOLS + 1))
  if len(set(symbols.tolist())) != len(symbols):
    raise errors.UserError('vocabulary: has a symbol twice')
  if not 2 <= len(symbols) <= MOST_SYMBOLS:
    raise errors.UserError(
      f'vocabulary: must have 2 to {MOST_SYMBOLS} symbols, got '
      f'{len(symbols)}{" or more" * (len(symbols) > MOST_SYMBOLS)}'
    )
  return symbols


def _largest(records):
  """Returns the largest number, or one that is too large for a vocabulary."""
  largest = max(int(x.max()) for x in records.symbols)
  return min(largest, MOST_SYMBOLS)


def _listed(records, vocabulary):
  kind = {'number': int, 'byte': int}.get(records.kind, str)
  if not all(type(x) is kind for x in vocabulary) or (
    records.kind == 'character' and any(len(x) != 1 for x in vocabulary)
  ):
    raise errors.UserError(
      f'vocabulary: must list {records.kind}s, got {checks.show(vocabulary)}'
    )
  if records.kind == 'character':
    return _characters([''.join(vocabulary)]).symbols[0]
  return _objects(vocabulary) if kind is str else np.array(vocabulary)


def tokens(
  records: Records, symbols: np.ndarray, outside: str
) -> list[np.ndarray]:
  """Returns each record in tokens, int64; one may become several.

  Args:
    records: What the file holds.
    symbols: The vocabulary, see `symbols_of`.
    outside: What to do where a symbol is none of it: `refuse`, or `cut`, which
      leaves it out and ends the sequence there.
  """
  order = np.argsort(symbols, kind='stable')
  ordered, sequences, unknown = symbols[order], [], []
  for record in records.symbols:
    place = np.minimum(np.searchsorted(ordered, record), len(ordered) - 1)
    known = ordered[place] == record
    if known.all():
      sequences.append(order[place])
      continue
    unknown += np.unique(record[~known]).tolist()
    edges = np.flatnonzero(np.diff(np.concatenate([[0], known, [0]])))
    pieces = edges.reshape(-1, 2)
    sequences += [order[place[start:end]] for start, end in pieces]
  if unknown and outside == 'refuse':
    unknown = sorted(set(unknown))
    named = ', '.join(records.shown(x) for x in unknown[:_NAMED])
    named += f' and {len(unknown) - _NAMED} more' * (len(unknown) > _NAMED)
    raise errors.UserError(
      f'path: holds {named}, outside the vocabulary of {len(symbols)}; add '
      "them to vocabulary, or say outside='cut' to end a sequence there"
    )
  return sequences
