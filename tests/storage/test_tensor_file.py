"""A file gives back what was put in, bit for bit, or it is refused."""

import hashlib
import json
import os
import tracemalloc

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors import numpy as safetensors_numpy

from bayes_prompting import errors
from bayes_prompting import trees
from bayes_prompting.storage import tensor_file
from tests.storage import test_checkpoints

TABLE = np.arange(12, dtype=np.float32).reshape(3, 4)
TREES = test_checkpoints.TREES | {
  'transposed': {'a': TABLE.T, 'b': np.asfortranarray(TABLE)},
  'strided': {'a': TABLE[::2, 1::2], 'b': TABLE[::-1], 'c': TABLE[:, 1]},
  'repeated': {'a': np.broadcast_to(np.float32(3), (2, 3))},
  'nothing in it': {'a': np.zeros((0, 3), np.int8)},
  'one leaf': np.ones(3),
  'none': {},
}


def refused(call, *args):
  """The one line with which a call is refused."""
  with pytest.raises(errors.UserError) as caught:
    call(*args)
  message = str(caught.value)
  assert message.isprintable()
  assert len(message) < 500
  return message


@pytest.fixture
def path(tmp_path):
  return tmp_path / 'a.safetensors'


@pytest.mark.parametrize('tree', TREES.values(), ids=TREES)
def test_what_is_saved_comes_back(path, tree):
  metadata = {'é': ['x', 1, None, 1e-300], 'quotes': '"\\{"sha256": "'}
  tensor_file.save_arrays(path, tree, metadata)
  found = tensor_file.load_arrays(path, test_checkpoints.shapes(tree))
  test_checkpoints.assert_same_bits(found[0], tree)
  assert found[1] == metadata
  flat, _ = tensor_file.load_arrays(path)
  assert flat.keys() == trees.by_path(tree).keys()
  assert os.listdir(path.parent) == [path.name]


@pytest.mark.parametrize('name', ['transposed', 'strided', 'repeated'])
def test_others_read_the_same_arrays(path, name):
  tensor_file.save_arrays(path, TREES[name], {})
  found = safetensors_numpy.load_file(path)
  assert found.keys() == TREES[name].keys()
  for key, array in TREES[name].items():
    np.testing.assert_array_equal(found[key], array)


def test_the_other_byte_order_is_the_same_numbers(path):
  tensor_file.save_arrays(path, {'a': np.arange(3, dtype='>f4')}, {})
  (found,) = tensor_file.load_arrays(path)[0].values()
  np.testing.assert_array_equal(found, np.arange(3, dtype=np.float32))
  assert found.dtype == np.float32


def test_the_same_tree_gives_the_same_bytes(path):
  tree = TREES['integers'] | {'z': np.ones(2), 'y': jnp.zeros((), jnp.bfloat16)}
  tensor_file.save_arrays(path, tree, {'b': 1, 'a': 2})
  first = path.read_bytes()
  tensor_file.save_arrays(path, dict(reversed(tree.items())), {'b': 1, 'a': 2})
  assert path.read_bytes() == first


def small():
  """A small file that has something of everything."""
  tree = {'a': np.array([1.5, -0.0], np.float32), 'é': (np.uint8([3]),)}
  return tree, {'note': 'é\n', 'rate': 1e-5, 'list': [1, {'x': None}]}


def test_every_flipped_bit_is_refused(path):
  tensor_file.save_arrays(path, *small())
  data = path.read_bytes()
  assert len(data) < 700
  for i in range(8 * len(data)):
    changed = bytearray(data)
    changed[i // 8] ^= 1 << i % 8
    # As of a file, without writing thousands of them.
    refused(tensor_file._decode, bytes(changed))
  tensor_file._decode(data)
  path.write_bytes(changed)
  assert repr(str(path)) in refused(tensor_file.load_arrays, path)


def test_every_cut_and_what_is_added_is_refused(path):
  tensor_file.save_arrays(path, *small())
  data = path.read_bytes()
  for length in range(len(data)):
    path.write_bytes(data[:length])
    refused(tensor_file.load_arrays, path)
  for more in (b'\0', b' ', data):
    path.write_bytes(data + more)
    refused(tensor_file.load_arrays, path)


def test_random_bytes_in_it_are_refused(path):
  tensor_file.save_arrays(path, *small())
  data = np.frombuffer(path.read_bytes(), np.uint8)
  rng = np.random.default_rng(0)
  for _ in range(500):
    changed = data.copy()
    start = rng.integers(len(data))
    part = changed[start : start + rng.integers(1, 30)]
    part[:] = rng.integers(0, 256, len(part))
    if (changed != data).any():
      path.write_bytes(changed.tobytes())
      refused(tensor_file.load_arrays, path)


# Files that somebody made on purpose, with a digest that is right.


def seal(header, body=b'', **record):
  """Returns a file with a record of ours, and the digest that it should have.

  Args:
    header: What it says of its arrays; or the whole header, in bytes, with
      RECORD where the record goes.
    body: The arrays.
    **record: Instead of what the record should hold; None leaves it out.
  """
  record = {
    'sha256': '0' * 64,
    'schema_version': tensor_file.SCHEMA_VERSION,
    'metadata': {},
    **record,
  }
  text = json.dumps({k: v for k, v in record.items() if v is not None})
  if isinstance(header, bytes):
    head = header.replace(b'RECORD', json.dumps(text).encode())
  else:
    head = json.dumps(
      {'__metadata__': {'bayes_prompting': text}, **header}
    ).encode()
  data = len(head).to_bytes(8, 'little') + head + body
  digest = hashlib.sha256(data).hexdigest().encode()
  return data.replace(b'0' * 64, digest, 1)


def part(dtype='F32', shape=(2,), offsets=(0, 8)):
  return {'dtype': dtype, 'shape': shape, 'data_offsets': offsets}


def test_the_seal_is_ours(path):
  path.write_bytes(seal({'a': part()}, bytes(8), metadata={'b': 1}))
  tree, metadata = tensor_file.load_arrays(path)
  np.testing.assert_array_equal(tree['a'], np.zeros(2, np.float32))
  assert metadata == {'b': 1}


_PREFIX = b'{"__metadata__":{"bayes_prompting":RECORD}'
HOSTILE = {
  'empty': b'',
  'short': b'\1\0\0',
  'text': b'the quick brown fox jumps over the lazy dog',
  'zeros': bytes(100),
  'longest header': b'\xff' * 8 + b'{}',
  'long header': (2**62).to_bytes(8, 'little') + b'{}' * 50,
  'no header': bytes(8),
  'a pickle': b'\x80\x04\x95' + bytes(50),
  'not UTF-8': seal(_PREFIX + b',"\xff\xfe":1}'),
  'not JSON': seal(_PREFIX),
  'half a surrogate': seal(_PREFIX + b',"\\ud800":{}}'),
  'a list': seal(b'[RECORD]'),
  'deep': seal(_PREFIX + b',"a":' + b'[' * 100_000 + b']' * 100_000 + b'}'),
  'a long number': seal(_PREFIX + b',"a":' + b'9' * 10_000 + b'}'),
  'no number': seal(_PREFIX + b',"a":NaN}'),
  'no record': b'\x02' + bytes(7) + b'{}',
  'record of another': seal({'__metadata__': {'format': 'pt'}}),
  'record no text': seal({'__metadata__': {'bayes_prompting': 3}}),
  'records no mapping': seal({'__metadata__': ['bayes_prompting']}),
  'record no JSON': seal({'__metadata__': {'bayes_prompting': '{"sha256": "'}}),
  'two records': seal({'{"sha256": "x': part()}, bytes(8)),
  'no schema version': seal({}, schema_version=None),
  'another schema': seal({}, schema_version=2),
  'a true schema': seal({}, schema_version=True),
  'a text of a schema': seal({}, schema_version='1\n\x1b[31m'),
  'no metadata': seal({}, metadata=None),
  'metadata a list': seal({}, metadata=[1]),
  'huge shape': seal({'a': part(shape=[2**40])}, bytes(8)),
  'overflowing shape': seal({'a': part(shape=[2**33, 2**33])}, bytes(8)),
  'beyond 64 bits': seal({'a': part(shape=[2**70])}, bytes(8)),
  'huge but empty': seal({'a': part(shape=[0, 2**62], offsets=(0, 0))}),
  'very many axes': seal({'a': part(shape=[1] * 70 + [2])}, bytes(8)),
  'negative shape': seal({'a': part(shape=[-2])}, bytes(8)),
  'broken shape': seal({'a': part(shape=[2.0])}, bytes(8)),
  'word for a shape': seal({'a': part(shape='2')}, bytes(8)),
  'offsets beyond': seal({'a': part(offsets=(0, 2**40))}, bytes(8)),
  'offsets back': seal({'a': part(offsets=(8, 0))}, bytes(8)),
  'offsets negative': seal({'a': part(offsets=(-8, 0))}, bytes(8)),
  'overlap': seal({'a': part(), 'b': part()}, bytes(8)),
  'a gap': seal({'a': part(), 'b': part(offsets=(12, 20))}, bytes(20)),
  'bytes left': seal({'a': part()}, bytes(9)),
  'unknown dtype': seal({'a': part('OBJ')}, bytes(8)),
  'a dtype that we have not': seal({'a': part('C64', (1,))}, bytes(8)),
  'no dtype': seal({'a': {'shape': [2], 'data_offsets': [0, 8]}}, bytes(8)),
  'no shape': seal({'a': {'dtype': 'F32', 'data_offsets': [0, 8]}}, bytes(8)),
  'no offsets': seal({'a': {'dtype': 'F32', 'shape': [2]}}, bytes(8)),
  'no part': seal({'a': 3}, bytes(8)),
}


@pytest.mark.parametrize('data', HOSTILE.values(), ids=HOSTILE)
def test_what_is_no_file_of_ours_is_one_line(path, data):
  path.write_bytes(data)
  tracemalloc.start()
  try:
    message = refused(tensor_file.load_arrays, path)
    _, peak = tracemalloc.get_traced_memory()
  finally:
    tracemalloc.stop()
  assert repr(str(path)) in message
  assert peak < 2**20 + 20 * len(data)


def test_a_header_of_many_megabytes_is_not_even_parsed(path):
  size = 2**24 + 1
  path.write_bytes(size.to_bytes(8, 'little') + b' ' * size)
  assert str(size) in refused(tensor_file.load_arrays, path)


def test_where_there_is_no_file(path, tmp_path):
  assert repr(str(path)) in refused(tensor_file.load_arrays, path)
  refused(tensor_file.load_arrays, tmp_path)
  os.mkfifo(path)  # To open it would wait for whoever writes.
  refused(tensor_file.load_arrays, path)


@pytest.mark.parametrize(
  'template, name, sides',
  [
    ({'a': np.zeros((3, 2), np.float32)}, 'a', ('[2, 3]', '[3, 2]')),
    ({'a': np.zeros((2, 3), np.int32)}, 'a', ('float32', 'int32')),
    ({'b': np.zeros((2, 3), np.float32)}, 'a', ('float32[2, 3]', 'nothing')),
    ({}, 'a', ('float32[2, 3]', 'nothing')),
  ],
)
def test_another_template_is_refused_with_both_sides(
  path, template, name, sides
):
  tensor_file.save_arrays(path, {'a': np.ones((2, 3), np.float32)}, {})
  message = refused(tensor_file.load_arrays, path, template)
  assert f' {name!r} = ' in message
  assert all(side in message for side in sides)


@pytest.mark.parametrize(
  'tree, metadata',
  [
    ({'a/b': np.ones(1), 'a': {'b': np.zeros(1)}}, {}),
    ({'a': jax.random.key(0)}, {}),
    ({'a': np.array([None])}, {}),
    ({'a': 'text'}, {}),
    ({'a': np.ones(2, np.complex128)}, {}),
    ({'__metadata__': np.ones(2)}, {}),
    ({'a': np.ones(2)}, {'x': np.ones(2)}),
    ({'a': np.ones(2)}, {'x': float('nan')}),
  ],
)
def test_what_cannot_be_saved_is_refused_and_leaves_what_was_there(
  path, tree, metadata
):
  path.write_bytes(b'mine')
  refused(tensor_file.save_arrays, path, tree, metadata)
  assert path.read_bytes() == b'mine'
  assert os.listdir(path.parent) == [path.name]


def test_a_digest_is_of_every_bit_and_of_nothing_else():
  tree = {'a': TABLE, 'b': (np.zeros(2, np.int32),)}
  digest = tensor_file.digest(tree)
  assert digest == tensor_file.digest(jax.tree.map(jnp.asarray, tree))
  assert digest == tensor_file.digest({'b': tree['b'], 'a': TABLE.T.copy().T})
  others = [
    {**tree, 'a': TABLE.reshape(4, 3)},
    {**tree, 'a': TABLE.view(np.int32)},
    {**tree, 'a': np.where(TABLE == 0, np.float32(-0.0), TABLE)},
    {**tree, 'b': [np.zeros(1, np.int32), np.zeros(1, np.int32)]},
    {'c': TABLE, 'b': tree['b']},
    {'a': TABLE},
  ]
  assert len({digest, *map(tensor_file.digest, others)}) == 1 + len(others)
