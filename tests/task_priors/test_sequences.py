"""Sequences of one's own: files, parts, windows, and what they are held to."""

import functools
import gzip
import itertools
import re

import jax
import numpy as np
import pytest

import bayes_prompting as bp
from bayes_prompting import errors
from bayes_prompting import types
from bayes_prompting.task_priors import _reading
from bayes_prompting.task_priors import _universal
from tests import testing


def records(path, **kwargs):
  """Returns the tokens of each record of a file, and its symbols."""
  options = {
    'file_format': None,
    'columns': (),
    'by': None,
    'lines': False,
    'encoding': 'utf-8',
  }
  vocabulary = kwargs.pop('vocabulary', None)
  outside = kwargs.pop('outside', 'refuse')
  held = _reading.read(path, **options | kwargs)
  symbols = _reading.symbols_of(held, vocabulary)
  sequences = _reading.tokens(held, symbols, outside)
  return [x.tolist() for x in sequences], symbols.tolist()


@pytest.fixture
def write(tmp_path):
  def write(name, content):
    path = tmp_path / name
    if isinstance(content, str | bytes):
      content = content.encode() if isinstance(content, str) else content
      path.write_bytes(content)
    elif isinstance(content, dict):
      np.savez(path, **content)
    else:
      np.save(path, content)
    return path

  return write


TABLE = 'day,sky,wind\n1,sun,N\n1,rain,S\n2,sun,S\n'


@pytest.mark.parametrize(
  'name, content, kwargs, sequences, symbols',
  [
    ('a.npy', np.array([[0, 2], [1, 0]], np.uint8), {}, [[0, 2], [1, 0]], 3),
    ('a.npy', np.array([1, 0, 1]), {'vocabulary': 4}, [[1, 0, 1]], 4),
    ('a.npy', np.array([5, 9, 5]), {'vocabulary': (9, 5)}, [[1, 0, 1]], [9, 5]),
    ('a.npz', {'x': np.array([0, 1, 1]), 'y': np.array([[1]])}, {},
     [[0, 1, 1], [1]], 2),
    ('a.npz', {'x': np.array([0]), 'y': np.array([1, 0])}, {'columns': ['y']},
     [[1, 0]], 2),
    ('a.txt', 'no\non', {}, [[1, 2, 0, 2, 1]], [ord(x) for x in '\nno']),
    ('a.txt', 'no\n\non\n', {'lines': True}, [[0, 1], [1, 0]],
     [ord('n'), ord('o')]),
    ('a.txt', 'bäb', {'vocabulary': 'äb'}, [[1, 0, 1]], [ord('ä'), ord('b')]),
    ('a.txt', 'ä', {'file_format': 'bytes'}, [[0, 1]], [0xC3, 0xA4][::1]),
    ('a.txt', 'a-b--b', {'vocabulary': 'ab', 'outside': 'cut'},
     [[0], [1], [1]], [ord('a'), ord('b')]),
    ('a.txt', 'AH K\n K AH\n\n', {'file_format': 'words'}, [[0, 1, 1, 0]],
     ['AH', 'K']),
    ('a.txt', 'AH K\n K\n\n', {'file_format': 'words', 'lines': True},
     [[0, 1], [1]], ['AH', 'K']),
    ('a.fna.gz', gzip.compress(b'>x\nAC\n'), {'vocabulary': 'ACGT'}, [[0, 1]],
     [ord(x) for x in 'ACGT']),
    ('a.csv', TABLE, {'columns': ['sky']}, [[1, 0, 1]], ['rain', 'sun']),
    ('a.csv', TABLE, {'columns': ['sky'], 'by': 'day'}, [[1, 0], [1]],
     ['rain', 'sun']),
    ('a.csv', TABLE, {'columns': ['sky', 'wind']}, [[3, 2, 3], [0, 1, 1]],
     ['N', 'S', 'rain', 'sun']),
    ('a.csv', TABLE, {'columns': ['sky'], 'vocabulary': ['sun', 'rain']},
     [[0, 1, 0]], ['sun', 'rain']),
    ('a.fa', '>one\nAC\ngt\n>two\nTT\n', {'vocabulary': 'ACGT'},
     [[0, 1, 2, 3], [3, 3]], [ord(x) for x in 'ACGT']),
  ],
)  # fmt: skip
def test_what_files_hold(write, name, content, kwargs, sequences, symbols):
  found, found_symbols = records(write(name, content), **kwargs)
  if symbols == [0xC3, 0xA4]:  # Symbols that occur are in order.
    sequences, symbols = [[1, 0]], sorted(symbols)
  assert found == sequences
  expected = list(range(symbols)) if isinstance(symbols, int) else symbols
  assert found_symbols == expected


BAD = [
  ('a.npy', None, {}, 'path: cannot read .*No such file'),
  ('a.npy', b'', {}, 'path: .* is empty'),
  ('a.txt', '\n\n', {'lines': True}, 'path: .* holds no sequence'),
  ('a.npy', b'\x93NUMPY', {}, 'path: cannot read .* as arrays'),
  ('a.npz', b'PK\x03\x04', {}, 'path: cannot read .* as arrays'),
  ('a.npy', np.array([0.5, 1.0]), {}, 'whole numbers .* float64 of shape'),
  ('a.npy', np.array([[1], 'x'], object), {}, 'path: cannot read'),
  ('a.npy', np.array([0, -1]), {}, 'path: holds -1, outside the vocabulary'),
  ('a.npy', np.array([0, 2**40]), {}, r'a token of 2\^31 or more'),
  ('a.npy', np.array([0, 2**30]), {}, 'vocabulary: .* or more'),
  ('a.npy', np.arange(4), {'vocabulary': 3}, 'path: holds 3, outside .* of 3'),
  ('a.npy', np.zeros(9, int), {'vocabulary': 1}, 'vocabulary: .* at least 2'),
  ('a.txt', 'aaaa', {}, 'vocabulary: must have 2 to .* got 1'),
  ('a.txt', 'abab', {'vocabulary': 2}, 'vocabulary: a number is for numbers'),
  ('a.txt', 'abab', {'vocabulary': 'aba'}, 'vocabulary: has a symbol twice'),
  ('a.txt', 'abc', {'vocabulary': 'ab'}, "path: holds 'c', outside"),
  ('a.txt', b'a\xff', {}, r'path: .* is not utf-8 text \(at byte 1\)'),
  ('a.txt', 'ab', {'encoding': 'klingon'}, 'encoding: must be one that Python'),
  ('a.txt', 'ab', {'columns': 'x'}, 'columns: is for csv and npz files'),
  ('a.dat', 'ab', {}, "path: cannot tell the format of 'a.dat'"),
  ('a.gz', 'ab', {}, "path: cannot tell the format of 'a.gz'"),
  ('a.txt.gz', 'ab', {}, 'path: .* is no gzip file; .* a name without .gz'),
  ('a.txt.gz', gzip.compress(b'abc' * 99)[:-12], {}, 'cut or damaged .* again'),
  ('a.txt.gz', b'\x1f\x8b' + bytes(30), {}, 'path: .*gz'),
  ('a.txt.gz', gzip.compress(b''), {}, 'path: .* is empty'),
  ('a.txt', 'zzz', {'vocabulary': 'ab', 'outside': 'cut'}, 'has 0 sequences'),
  ('a.txt', 'a b', {'format': 'words', 'vocabulary': 'ab'},
   'vocabulary: a text is for characters; here symbols are words'),
  ('a.txt', 'a b c', {'format': 'words', 'vocabulary': ['a', 'b']},
   "path: holds 'c'"),
  ('a.txt', 'ab', {'format': 'docx'}, "format: unknown 'docx'"),
  ('a.csv', TABLE, {}, 'columns: say which columns .*sky'),
  ('a.csv', TABLE, {'columns': 'skie'}, "columns: unknown 'skie'.*sky"),
  ('a.csv', TABLE, {'columns': 'sky', 'by': 'x'}, "by: unknown 'x'"),
  ('a.csv', TABLE + '3,sun\n', {'columns': 'sky'}, 'is ragged: row 5 has 2'),
  ('a.csv', TABLE, {'columns': 'sky'}, r'has 1 seq.* \(by\), or give cut'),
  ('a.csv', 'a\n"b', {'columns': 'a'}, 'path: cannot read .* as a table'),
  ('a.fa', 'ACGT', {}, 'path: .* is no FASTA file'),
  ('a.fa', '>x\nACGN\n', {}, "path: holds 'N', outside the vocabulary of 4"),
  ('a.npy', np.arange(8), {}, 'path: has 1 sequence, too few .* give cut'),
  ('a.npy', np.arange(8), {'cut': 5}, 'path: has 2 sequences, too few'),
  ('a.npy', np.eye(4, dtype=int), {'split': (0.5, 0.5, 0)}, 'split: .* above'),
  ('a.npy', np.eye(4, dtype=int), {'split': (1, 2, 3)}, 'split: must be 3'),
  ('a.npy', np.eye(4, dtype=int), {'stride': 0}, 'stride: .* at least 1'),
  ('a.npy', np.eye(4, dtype=int), {'outside': 'drop'}, 'outside: unknown'),
  ('a.npy', np.eye(4, dtype=int), {'tokens': ((0,),)}, 'path: give a file, or'),
]  # fmt: skip


@pytest.mark.parametrize('name, content, kwargs, said', BAD)
def test_a_bad_file_is_one_line(write, tmp_path, name, content, kwargs, said):
  path = tmp_path / name if content is None else write(name, content)
  with pytest.raises(errors.UserError, match=said) as caught:
    bp.task_prior('sequences', path=str(path), **kwargs)
  assert '\n' not in str(caught.value)
  assert str(caught.value).startswith('task_prior.')


@pytest.mark.parametrize(
  'text, is_hinted', [('ab' * 99, False), ('ab' * 99 + 'z' + 'ab', True)]
)
def test_symbols_that_end_sequences_are_hinted_at_where_some_do(
  write, text, is_hinted
):
  prior = bp.task_prior(
    'sequences',
    path=str(write('a.txt', text)),
    vocabulary='ab',
    outside='cut',
    cut=20,
  )
  with pytest.raises(errors.UserError, match='cut, now 20') as caught:
    prior.recorded.count('tuning', 30)
  assert ("outside='cut'" in str(caught.value)) == is_hinted


def test_a_long_word_takes_its_own_memory_only(write):
  # In an array of texts all would be as wide: 20,000 times a megabyte.
  text = 'a b ' * 10_000 + 'c' * 250_000
  (found,), symbols = records(write('a.txt', text), file_format='words')
  assert found == [0, 1] * 10_000 + [2]
  assert symbols[:2] == ['a', 'b']


def test_a_compressed_file_expands_to_so_much_only(write, monkeypatch):
  monkeypatch.setattr(_reading, '_MOST_BYTES', 400)
  records(write('a.txt.gz', gzip.compress(b'ab' * 200)))
  with pytest.raises(errors.UserError, match='expands to more than 400 bytes'):
    records(write('b.txt.gz', gzip.compress(b'ab' * 201)))


@pytest.mark.parametrize(
  'tokens, said',
  [
    ((), 'tokens: must be a list'),
    (((0, 1), ('a', 'b'), (0,)), 'tokens: must hold whole numbers'),
    (((0, 1), ((0, 1), (0,)), (0,)), 'tokens: sequence 1 must be whole'),
  ],
)
def test_bad_tokens_are_one_line(tokens, said):
  with pytest.raises(errors.UserError, match=said):
    bp.task_prior('sequences', tokens=tokens)


def test_no_window_is_longer_than_its_sequence():
  prior = testing.task_prior('sequences', tokens=((0, 1, 1),) * 4)
  with pytest.raises(errors.UserError, match='no sequence of .* tuning, of 2 '):
    prior.sample(jax.random.key(0), 4)
  with pytest.raises(errors.UserError, match='has 1 windows of 3 .* at most 1'):
    prior.recorded.check(2, 3)


@pytest.mark.parametrize('seed', range(30))
def test_parts_never_share_a_sequence(seed):
  # Each sequence has tokens of its own, which say where a window is from.
  rng = np.random.default_rng(seed)
  count = int(rng.integers(3, 40))
  sizes = rng.integers(1, 30, count)
  ends = np.cumsum(sizes)
  pieces = [range(end - n, end) for n, end in zip(sizes, ends, strict=True)]
  shares = rng.dirichlet(np.ones(3)) * 0.94 + 0.02
  length, stride = int(rng.integers(1, 5)), int(rng.integers(1, 5))
  kwargs = {
    'tokens': tuple(map(tuple, pieces)),
    'split': tuple(shares / shares.sum()),
    'stride': stride,
    'seed': seed,
  }
  if seed % 2:
    kwargs['cut'] = int(rng.integers(1, 10))
  prior = testing.task_prior('sequences', **kwargs)
  seen = {}
  for split in types.SPLITS:
    try:
      total = prior.recorded.count(split, length)
    except errors.UserError:
      continue  # All of its sequences are shorter.
    windows = np.stack(
      [prior.recorded.window(split, n, length) for n in range(total)]
    )
    np.testing.assert_array_equal(np.diff(windows, axis=-1), 1)  # In one.
    assert len(np.unique(windows[:, 0])) == total
    seen[split] = set(windows.ravel().tolist())
  for one, other in itertools.combinations(seen.values(), 2):
    assert not one & other


def test_samples_are_of_their_part():
  words = tuple((n,) * 6 for n in range(9))
  prior = testing.task_prior('sequences', tokens=words, split=(0.4, 0.3, 0.3))
  assert prior.of_split('tuning') is prior
  draws = jax.random.split(jax.random.key(0), 200)
  drawn = []
  for split in types.SPLITS:
    part = prior.of_split(split)
    assert part is prior.of_split(split)
    tokens = jax.jit(jax.vmap(lambda k, p=part: p.sample(k, 4).tokens))(draws)
    drawn.append(set(np.asarray(tokens).ravel().tolist()))
  assert sorted(itertools.chain(*drawn)) == list(range(9))
  # Another seed, another split; and where sources are drawn, there is none.
  coins = testing.random_coins()
  assert coins.of_split('evaluation') is coins


def _weighted(tokens, vocab_size, depth, alpha):
  """The probability of a sequence, by the definition of P_w."""
  line = [-1] * depth + list(tokens)

  def node(context):
    size = len(context)
    here = [
      token
      for n, token in enumerate(tokens, depth)
      if [line[n - 1 - d] for d in range(size)] == context
    ]
    leaf, counts = 1.0, np.zeros(vocab_size)
    for token in here:
      leaf *= (counts[token] + alpha) / (counts.sum() + alpha * vocab_size)
      counts[token] += 1
    if size == depth or not here:
      return leaf
    below = [node([*context, x]) for x in range(-1, vocab_size)]
    return (leaf + np.prod(below)) / 2

  return node([])


@pytest.mark.parametrize(
  'vocab_size, depth, alpha', [(2, 3, 0.5), (3, 1, 0.2), (2, 0, 0.5)]
)
def test_context_tree_weighting_is_its_definition(vocab_size, depth, alpha):
  tokens = testing.all_sequences(vocab_size, 5)
  predict = functools.partial(
    _universal.log_predictive,
    vocab_size=vocab_size,
    depth=depth,
    alpha=alpha,
  )
  log_probs = np.asarray(jax.jit(jax.vmap(predict))(tokens), np.float64)
  mass = np.take_along_axis(log_probs, tokens[..., None], -1)[..., 0].sum(-1)
  expected = [_weighted(x.tolist(), vocab_size, depth, alpha) for x in tokens]
  np.testing.assert_allclose(np.exp(mass), expected, rtol=1e-5)


def test_a_deep_tree_of_many_tokens_learns_a_period():
  # No table of contexts could hold 1000^8 rows.
  tokens = np.tile([7, 501, 7, 998, 3], 12).astype(np.int32)
  log_probs = jax.jit(
    lambda x: _universal.log_predictive(x, 1000, depth=8, alpha=0.01)
  )(tokens)
  losses = -np.take_along_axis(np.asarray(log_probs), tokens[:, None], 1)[:, 0]
  assert losses[-10:].mean() < 2 < losses[:5].mean()


@pytest.mark.parametrize(
  'name, kwargs',
  [
    ('union', {'components': {'a': {'weight': 1.0}}}),
    ('demonstrations', {'num': 1, 'length': 2}),
    ('finite_pool', {'size': 2}),
  ],
)
def test_what_needs_a_source_refuses_them(name, kwargs):
  own = {'name': 'sequences', 'tokens': ((0, 1, 1, 0),) * 4}
  if name == 'union':
    kwargs = {'components': {'a': {'weight': 1.0, **own}}}
  else:
    kwargs = kwargs | {{'demonstrations': 'task'}.get(name, 'base'): own}
  said = re.compile('sequences were recorded|are no tables')
  with pytest.raises(errors.UserError, match=said):
    testing.task_prior(name, **kwargs)


def test_sources_can_be_made_of_them():
  own = {'name': 'sequences', 'tokens': ((0, 1, 1, 0),) * 4}
  prior = testing.task_prior(
    'pseudo_tasks', base=own, num_sequences=2, length=4, size=2
  )
  assert prior.recorded is None and prior.statistic is not None


def test_inside_a_program_windows_are_the_same():
  words = tuple(tuple(range(n, n + 5 + n % 4)) for n in range(0, 90, 10))
  recorded = testing.task_prior('sequences', tokens=words, stride=2).recorded
  total = recorded.count('tuning', 3)
  window = jax.jit(jax.vmap(lambda n: recorded.window('tuning', n, 3)))
  expected = [recorded.window('tuning', n, 3) for n in range(total)]
  np.testing.assert_array_equal(
    window(np.arange(total, dtype=np.int32)), expected
  )
