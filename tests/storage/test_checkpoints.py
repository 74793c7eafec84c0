"""What is saved comes back bit for bit, or is refused with both sides named."""

import os
import pathlib
import pickle
import resource
import shutil
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from orbax import checkpoint as ocp
import pytest

from bayes_prompting import errors
from bayes_prompting.storage import checkpoints
from tests import testing


class Pair(NamedTuple):
  left: Any
  right: Any


def odd_floats():
  """Numbers that a detour through text or another type would change."""
  values = [np.nan, -0.0, np.inf, -np.inf, 1e-45, 1 / 3, 3.4028235e38]
  return np.array(values, np.float32)


TREES = {
  'dict': {'kernel': odd_floats(), 'inner': {'bias': np.zeros((2, 3))}},
  'tuple': (jnp.arange(3.0), (jnp.ones((2, 1)),)),
  'list': [jnp.arange(3.0), {'a': jnp.ones(1)}],
  'namedtuple': Pair(jnp.ones(1), {'a': jnp.zeros(2)}),
  'empty parts': {'output': jnp.ones(2), 'torso': (), 'more': {}},
  'integers': {
    'tokens': jnp.array([[0, 1], [2**31 - 1, -(2**31)]], jnp.int32),
    'bits': jnp.array([0, 2**32 - 1], jnp.uint32),
    'small': jnp.array([-128, 127], jnp.int8),
    'flags': jnp.array([True, False]),
  },
  'half': {'a': jnp.array([1 / 3, -0.0, jnp.nan], jnp.bfloat16)},
  'scalars': {'count': jnp.int32(7), 'loss': jnp.float32(0.1)},
  'paths as names': {
    'torso/layer_0/kernel': jnp.ones((2, 2)),
    'b': jnp.ones(1),
  },
  'searched': {
    'tunable': np.array([[0, 1, 1]], np.int32),
    'candidate_losses': np.full((1, 8), np.inf, np.float32),
  },
}


def shapes(tree):
  return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), tree)


def assert_same_bits(one, other):
  assert jax.tree.structure(one) == jax.tree.structure(other)
  for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
    a, b = np.asarray(a), np.asarray(b)
    assert (a.dtype, a.shape) == (b.dtype, b.shape)
    assert a.tobytes() == b.tobytes()


@pytest.mark.parametrize('name', ['run[1]', 'a*?[!b]{c}', '%41 #é', '~', "'"])
def test_a_path_is_a_path_and_no_pattern(tmp_path, name):
  for tree in TREES['dict'], TREES['list']:
    path = tmp_path / name / str(type(tree))
    checkpoints.save(path, tree, {'name': name})
    assert_same_bits(checkpoints.restore(path, shapes(tree)), tree)
    assert checkpoints.metadata(path) == {'name': name}


def test_what_cannot_be_read_back_is_not_kept(tmp_path, monkeypatch):
  save = ocp.StandardCheckpointHandler.save

  def careless(handler, directory, args):
    changed = jax.tree.map(lambda leaf: leaf + 1, args.item)
    save(handler, directory, args=ocp.args.StandardSave(changed))

  monkeypatch.setattr(ocp.StandardCheckpointHandler, 'save', careless)
  with pytest.raises(errors.UserError, match='reads back as something else'):
    checkpoints.save(tmp_path / 'here', {'a': np.ones(3)}, {})
  assert not list(tmp_path.iterdir())


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path):
  rng, limit = np.random.default_rng(0), resource.RLIMIT_FSIZE
  soft, hard = resource.getrlimit(limit)
  # Room for the text that Orbax writes; the array, packed, needs more.
  resource.setrlimit(limit, (20_000, hard))
  try:
    with pytest.raises(errors.UserError) as caught:
      checkpoints.save(tmp_path / 'here', {'a': rng.normal(size=9000)}, {})
  finally:
    resource.setrlimit(limit, (soft, hard))
  assert str(caught.value) == (
    f'checkpoint: cannot write {str(tmp_path / "here")!r} (File too large)'
  )
  assert not list(tmp_path.iterdir())


@pytest.fixture(scope='module')
def saved(tmp_path_factory):
  """A checkpoint of a dict of float32 [3] `a` and int32 [2, 2] `b/c`."""
  path = tmp_path_factory.mktemp('saved') / 'here'
  tree = {
    'a': np.arange(3, dtype=np.float32),
    'b': {'c': np.arange(4, dtype=np.int32).reshape(2, 2)},
  }
  checkpoints.save(path, tree, {'hash': 'abc'})
  return path, tree


@pytest.mark.parametrize('tree', TREES.values(), ids=TREES)
def test_what_is_saved_comes_back(tmp_path, tree):
  path = tmp_path / 'deep' / 'down'
  checkpoints.save(path, tree, {})
  assert checkpoints.exists(path)
  assert_same_bits(checkpoints.restore(path, shapes(tree)), tree)
  # The template's own numbers make no difference.
  zeros = jax.tree.map(np.zeros_like, tree)
  assert_same_bits(checkpoints.restore(path, zeros), tree)


def test_a_path_may_be_text_and_relative(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  tree = {'a': np.ones(2)}
  checkpoints.save('networks/one', tree, {})
  assert checkpoints.exists('networks/one')
  restored = checkpoints.restore(str(tmp_path / 'networks' / 'one'), tree)
  assert_same_bits(restored, tree)


def test_metadata_comes_back_as_json(tmp_path):
  metadata = {
    'hash': 'abc',
    'pretrain_seed': 3,
    'config': {'methods': ('SoftPT', 'Un+EmbedWT'), 'rate': 1e-3, 'x': None},
  }
  checkpoints.save(tmp_path / 'a', {'a': np.ones(1)}, metadata)
  found = checkpoints.metadata(tmp_path / 'a')
  metadata['config']['methods'] = ['SoftPT', 'Un+EmbedWT']
  assert found == metadata


@pytest.mark.parametrize(
  'change, path, sides',
  [
    (
      {'a': np.zeros(4, np.float32)},
      'a',
      ('float32[3]', 'float32[4]'),
    ),
    (
      {'a': np.zeros((3, 1), np.float32)},
      'a',
      ('float32[3]', 'float32[3, 1]'),
    ),
    ({'a': np.zeros(3, np.int32)}, 'a', ('float32[3]', 'int32[3]')),
    (
      {'b': {'c': np.zeros((2, 2), np.uint32)}},
      'b/c',
      ('int32[2, 2]', 'uint32[2, 2]'),
    ),
    ({'b': {}}, 'b/c', ('int32[2, 2]', 'nothing')),
    ({'d': np.zeros(1, np.float32)}, 'd', ('nothing', 'float32[1]')),
    ({'b': [np.zeros((2, 2), np.int32)]}, 'b/', ('int32[2, 2]', 'nothing')),
    ({'b': np.zeros((2, 2), np.int32)}, 'b', ('int32[2, 2]', 'nothing')),
  ],
)
def test_another_template_is_refused_with_both_sides(
  saved, change, path, sides
):
  where, tree = saved
  with pytest.raises(errors.UserError) as caught:
    checkpoints.restore(where, {**tree, **change})
  message = str(caught.value)
  assert '\n' not in message
  assert repr(str(where)) in message
  assert f" '{path}" in message
  assert all(side in message for side in sides)


def test_another_structure_of_the_same_leaves_is_refused(tmp_path):
  # A tuple of two and a dict of '0' and '1' have the same paths.
  checkpoints.save(tmp_path / 'a', (np.ones(1), np.ones(2)), {})
  with pytest.raises(errors.UserError) as caught:
    checkpoints.restore(tmp_path / 'a', {'0': np.ones(1), '1': np.ones(2)})
  assert '\n' not in str(caught.value)


def test_another_empty_part_is_refused(saved):
  path, tree = saved
  with pytest.raises(errors.UserError) as caught:
    checkpoints.restore(path, {**tree, 'torso': ()})
  assert '\n' not in str(caught.value)


def leftovers(path):
  """What is left of a save that was killed."""
  (path / '0.orbax-checkpoint-tmp' / 'tree').mkdir(parents=True)
  (path / '0.orbax-checkpoint-tmp-1700000000').mkdir()
  (path / '0.orbax-checkpoint-tmp' / 'tree' / 'part').write_text('half')


@pytest.fixture(params=['missing', 'empty', 'file', 'leftovers'])
def nothing(request, tmp_path):
  """A path without a checkpoint."""
  path = tmp_path / 'here'
  if request.param == 'empty':
    path.mkdir()
  if request.param == 'file':
    path.write_text('mine')
  if request.param == 'leftovers':
    leftovers(path)
  return path


def test_where_there_is_none(nothing):
  before = sorted(nothing.parent.rglob('*'))
  assert checkpoints.exists(nothing) is False
  with pytest.raises(errors.UserError) as caught:
    checkpoints.restore(nothing, {'a': np.ones(1)})
  assert repr(str(nothing)) in str(caught.value)
  with pytest.raises(errors.UserError) as caught:
    checkpoints.metadata(nothing)
  assert repr(str(nothing)) in str(caught.value)
  # Asking makes nothing.
  assert sorted(nothing.parent.rglob('*')) == before


def test_a_save_that_was_killed_can_be_made_again(tmp_path):
  path = tmp_path / 'here'
  leftovers(path)
  tree = {'a': np.arange(3)}
  checkpoints.save(path, tree, {'again': True})
  assert checkpoints.exists(path)
  assert_same_bits(checkpoints.restore(path, tree), tree)
  assert checkpoints.metadata(path) == {'again': True}


def test_of_two_that_save_at_once_the_first_one_s_stays(tmp_path, monkeypatch):
  path = tmp_path / 'here'
  rename = os.rename
  first = {'a': np.zeros(3)}

  def overtaken(source, target):
    if target == path / '0':
      # All is written, and then another process is faster.
      monkeypatch.setattr(os, 'rename', rename)
      checkpoints.save(path, first, {'who': 'first'})
    rename(source, target)

  monkeypatch.setattr(os, 'rename', overtaken)
  checkpoints.save(path, {'a': np.ones(3)}, {'who': 'second'})
  assert_same_bits(checkpoints.restore(path, first), first)
  assert checkpoints.metadata(path) == {'who': 'first'}
  assert list(tmp_path.iterdir()) == [path]


def test_a_killed_save_is_not_seen(tmp_path, monkeypatch):
  path = tmp_path / 'here'

  class Killed(BaseException):
    pass

  def die(*unused, **unused_too):
    raise Killed

  # Dies where the finished checkpoint would get its name.
  with monkeypatch.context() as patch:
    patch.setattr(os, 'rename', die)
    patch.setattr(os, 'replace', die)
    patch.setattr(pathlib.Path, 'rename', die)
    patch.setattr(pathlib.Path, 'replace', die)
    with pytest.raises(Killed):
      checkpoints.save(path, {'a': np.ones(3)}, {})
  assert not checkpoints.exists(path)


def files_of(path):
  return sorted(p for p in path.rglob('*') if p.is_file())


def wrongs(data, rng, count):
  """Yields bytes that are not `data`: one bit flipped, or cut short."""
  for _ in range(count if data else 0):
    flipped, bit = bytearray(data), rng.integers(8 * len(data))
    flipped[bit // 8] ^= 1 << bit % 8
    yield bytes(flipped)
  for size in rng.integers(len(data), size=2) if data else ():
    yield data[:size]


def test_every_flipped_bit_and_every_cut_is_seen(saved, tmp_path):
  path = tmp_path / 'copy'
  shutil.copytree(saved[0], path)
  rng, tried = np.random.default_rng(0), 0
  for file in files_of(path):
    data = file.read_bytes()
    for wrong in wrongs(data, rng, 40):
      file.write_bytes(wrong)
      with pytest.raises(
        checkpoints.DamagedError, match='is damaged'
      ) as caught:
        checkpoints.newest(path)
      assert '\n' not in str(caught.value)
      tried += 1
    file.write_bytes(data)
  assert tried > 200
  testing.assert_trees_identical(checkpoints.restore(path, saved[1]), saved[1])


def test_a_file_that_is_gone_is_seen(saved, tmp_path):
  for i, file in enumerate(files_of(saved[0])):
    path = tmp_path / str(i)
    shutil.copytree(saved[0], path)
    (path / file.relative_to(saved[0])).unlink()
    with pytest.raises(checkpoints.DamagedError, match='is damaged'):
      checkpoints.restore(path, saved[1])


def test_a_manifest_of_a_newer_version_is_refused(tmp_path, monkeypatch):
  tree = {'a': np.ones(2)}
  with monkeypatch.context() as patch:
    patch.setattr(checkpoints, '_FORMAT', 2)
    checkpoints.save(tmp_path / 'new', tree, {})
  with pytest.raises(
    errors.UserError, match='newer version .format 2'
  ) as error:
    checkpoints.restore(tmp_path / 'new', tree)
  # Nothing is wrong with it, so that nobody may throw it away.
  assert not isinstance(error.value, checkpoints.DamagedError)


def test_what_was_damaged_is_made_anew_by_saving(saved, tmp_path):
  path = tmp_path / 'copy'
  shutil.copytree(saved[0], path)
  file = max(files_of(path), key=lambda p: p.stat().st_size)
  file.write_bytes(b'')
  checkpoints.save(path, saved[1], {'hash': 'abc'})
  testing.assert_trees_identical(checkpoints.restore(path, saved[1]), saved[1])


def test_it_belongs_to_what_it_says(tmp_path):
  tree = {'a': np.ones(2)}
  config = {'network': {'width': 64}, 'checkpoints': {'every': 1}}
  metadata = {'hash': 'abc', 'config': config}
  checkpoints.save(tmp_path / 'x', tree, metadata)
  # A field that changes no result may be another.
  for belongs in (
    {'hash': 'abc'},
    {'config': {**config, 'checkpoints': {'every': 2}}},
  ):
    checkpoints.restore(tmp_path / 'x', tree, belongs)
  other = {**config, 'network': {'width': 128}}
  for belongs, sides in (
    ({'hash': 'def'}, "hash: 'abc' and 'def'"),
    ({'seed': 0}, 'seed: None and 0'),
    ({'config': other}, 'network.width: 64 and 128'),
  ):
    with pytest.raises(errors.UserError, match=f'there and here, {sides}'):
      checkpoints.restore(tmp_path / 'x', tree, belongs)


def test_the_newest_steps_stay_and_the_newest_is_taken(tmp_path):
  path = tmp_path / 'x'
  for step in (2, 10, 9):
    checkpoints.save(path, {'a': np.full(3, step)}, {}, step=step, keep=2)
  assert sorted(p.name for p in path.iterdir()) == ['10', '9']
  found = checkpoints.restore(path, {'a': np.zeros(3, int)})
  assert found['a'].tolist() == [10, 10, 10]


def test_nothing_is_unpickled(saved, monkeypatch):
  def refused(*args, **kwargs):
    raise AssertionError('unpickled')

  for name in ('load', 'loads', 'Unpickler'):
    monkeypatch.setattr(pickle, name, refused)
  testing.assert_trees_identical(
    checkpoints.restore(saved[0], saved[1]), saved[1]
  )
