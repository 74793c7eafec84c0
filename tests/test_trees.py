"""Weights are found by whole names of their path, and put back in place."""

import functools
from typing import Any, NamedTuple

import hypothesis
from hypothesis import strategies as st
import jax
import numpy as np
import pytest

from bayes_prompting import errors
from bayes_prompting import predictors
from bayes_prompting import registry
from bayes_prompting import trees

quickly = hypothesis.settings(deadline=None, max_examples=100, database=None)


class Pair(NamedTuple):
  left: Any
  right: Any


def leaf(value):
  return np.full((2,), value, np.float32)


TREES = {
  'dict': {'a': {'kernel': leaf(0), 'bias': leaf(1)}, 'b': leaf(2)},
  'tuple': (leaf(0), (leaf(1), leaf(2))),
  'list': [leaf(0), [leaf(1)], {'a': leaf(2)}],
  'mixed': {'torso': ({'key': leaf(0)}, Pair(leaf(1), [leaf(2)])), 'none': ()},
}


def paths(*names):
  """A tree of dicts with a leaf at each path."""
  tree = {}
  for path in names:
    *folders, last = path.split('/')
    at = tree
    for name in folders:
      at = at.setdefault(name, {})
    at[last] = leaf(len(path))
  return tree


def test_by_path_joins_the_names_of_any_tree():
  assert set(trees.by_path(TREES['dict'])) == {'a/kernel', 'a/bias', 'b'}
  assert set(trees.by_path(TREES['tuple'])) == {'0', '1/0', '1/1'}
  assert set(trees.by_path(TREES['list'])) == {'0', '1/0', '2/a'}
  assert set(trees.by_path(TREES['mixed'])) == {
    'torso/0/key',
    'torso/1/left',
    'torso/1/right/0',
  }


@pytest.mark.parametrize('tree', TREES.values(), ids=TREES)
def test_by_path_holds_the_leaves_themselves(tree):
  found = trees.by_path(tree)
  leaves = jax.tree.leaves(tree)
  assert {id(value) for value in found.values()} == set(map(id, leaves))
  assert len(found) == len(leaves)


FLAT = paths(
  'embedding/kernel',
  'embedding/bias',
  'unembedding/kernel',
  'unembedding/bias',
  'torso/layer_0/query/kernel',
  'torso/layer_0/mlp_in/kernel',
  'torso/layer_1/query/kernel',
  'torso/layer_10/query/kernel',
  'torso/norm/scale',
  'temperature',
)


@pytest.mark.parametrize(
  'pattern, wanted',
  [
    ('embedding', {'embedding/kernel', 'embedding/bias'}),
    ('unembedding', {'unembedding/kernel', 'unembedding/bias'}),
    ('embedding/kernel', {'embedding/kernel'}),
    ('bias', {'embedding/bias', 'unembedding/bias'}),
    ('temperature', {'temperature'}),
    ('layer_1', {'torso/layer_1/query/kernel'}),
    ('layer_?/mlp_in', {'torso/layer_0/mlp_in/kernel'}),
    (
      'layer_*/query',
      {f'torso/layer_{i}/query/kernel' for i in (0, 1, 10)},
    ),
    (
      'layer_?/query',
      {f'torso/layer_{i}/query/kernel' for i in (0, 1)},
    ),
    (
      'layer_[01]/*/kernel',
      {f'torso/layer_{i}/query/kernel' for i in (0, 1)}
      | {'torso/layer_0/mlp_in/kernel'},
    ),
    ('torso/*/scale', {'torso/norm/scale'}),
    ('*embedding/bias', {'embedding/bias', 'unembedding/bias'}),
    ('*', set(trees.by_path(FLAT))),
    ('*/*/*/*', {p for p in trees.by_path(FLAT) if p.count('/') == 3}),
  ],
)
def test_select_by_whole_names_and_wildcards(pattern, wanted):
  assert set(trees.select(FLAT, (pattern,))) == wanted


@pytest.mark.parametrize(
  'pattern',
  ['embed', 'Embedding', 'kernel/embedding', 'torso/query', 'torso/*/kernel']
  + ['t*e/kernel', 'layer_0*kernel', 'layer_2', '*/temperature', '']
  + ['embedding/', '/embedding', '*/*/*/*/*'],
)
def test_a_pattern_that_matches_nothing_is_refused(pattern):
  with pytest.raises(errors.UserError) as caught:
    trees.select(FLAT, ('bias', pattern))
  assert repr(pattern) in str(caught.value)
  assert '\n' not in str(caught.value)


def test_the_nearest_name_is_proposed():
  with pytest.raises(errors.UserError, match='did you mean temperature?'):
    trees.select(FLAT, ('temprature',))


def test_an_empty_tree_has_nothing_to_select():
  with pytest.raises(errors.UserError, match='nothing'):
    trees.select({}, ('*',))


def test_select_takes_the_union_once():
  found = trees.select(FLAT, ('embedding', 'kernel', 'embedding/*'))
  wanted = {p for p in trees.by_path(FLAT) if p.endswith('kernel')}
  assert set(found) == wanted | {'embedding/bias'}


names = st.text('ab_', min_size=1, max_size=2)


@hypothesis.given(
  path=st.lists(names, min_size=1, max_size=4),
  pattern=st.lists(names, min_size=1, max_size=3),
)
@quickly
def test_without_wildcards_a_pattern_is_a_run_of_whole_names(path, pattern):
  tree = paths('/'.join(path))
  pattern = '/'.join(pattern)
  if f'/{pattern}/' in f'/{"/".join(path)}/':
    assert list(trees.select(tree, (pattern,))) == ['/'.join(path)]
  else:
    with pytest.raises(errors.UserError):
      trees.select(tree, (pattern,))


@hypothesis.given(data=st.data(), path=st.lists(names, min_size=1, max_size=4))
@quickly
def test_any_run_with_names_cut_to_wildcards_matches(data, path):
  start = data.draw(st.integers(0, len(path) - 1))
  stop = data.draw(st.integers(start + 1, len(path)))
  cut = data.draw(st.integers(0, 2))
  pattern = '/'.join(name[:cut] + '*' for name in path[start:stop])
  assert list(trees.select(paths('/'.join(path)), (pattern,)))


@pytest.mark.parametrize('tree', TREES.values(), ids=TREES)
def test_selected_leaves_go_back_to_their_place(tree):
  same = trees.replace(tree, trees.select(tree, ('*',)))
  assert jax.tree.structure(same) == jax.tree.structure(tree)
  for one, other in zip(
    jax.tree.leaves(same), jax.tree.leaves(tree), strict=True
  ):
    assert one is other


@pytest.mark.parametrize('tree', TREES.values(), ids=TREES)
def test_replace_exchanges_the_given_and_no_other(tree):
  before = trees.by_path(tree)
  for path in before:
    new = leaf(-1)
    replaced = trees.replace(tree, {path: new})
    after = trees.by_path(replaced)
    assert jax.tree.structure(replaced) == jax.tree.structure(tree)
    assert after.pop(path) is new
    for other, value in after.items():
      assert value is before[other]
    # What was given is as it was.
    assert all(trees.by_path(tree)[p] is v for p, v in before.items())


@functools.cache
def network_shapes(torso):
  """The parameter tree of a network, without its numbers."""
  module = registry.make('torsos', 'test', {'name': torso})
  network = predictors.network(module, 2, 8)
  return jax.eval_shape(network.init, jax.random.key(0))


@pytest.mark.parametrize(
  'torso, pattern, count',
  [
    # Kernel and bias.
    ('lstm', 'embedding', 2),
    ('lstm', 'unembedding', 2),
    ('transformer', 'embedding', 2),
    ('transformer', 'unembedding', 2),
    # The query's own kernel; its norm is `query_norm`.
    ('transformer', 'layer_*/query', 1),
    # Query, key, value, the attention's output, and two of the MLP.
    ('transformer', 'torso/*/*/kernel', 6),
  ],
)
def test_patterns_on_a_network(torso, pattern, count):
  found = trees.select(network_shapes(torso), (pattern,))
  assert len(found) == count
  if pattern.endswith('embedding'):
    assert {path.split('/')[0] for path in found} == {pattern}
