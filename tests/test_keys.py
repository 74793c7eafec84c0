"""A key is a function of the root and the path, the same in every process."""

import os
import subprocess
import sys
import zlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bayes_prompting as bp
from bayes_prompting import keys

pytestmark = pytest.mark.keys  # See conftest.py.

ROOT = jax.random.key(7)


def data(key):
  return tuple(np.asarray(jax.random.key_data(key)).tolist())


@pytest.mark.parametrize(
  'name, code',
  # The first is the check value that defines CRC-32 (ISO-HDLC).
  [('123456789', 0xCBF43926), ('', 0)],
)
def test_a_name_is_folded_in_by_its_crc32(name, code):
  wanted = jax.random.fold_in(ROOT, np.uint32(code))
  assert data(keys.stream(ROOT, name)) == data(wanted)


@pytest.mark.parametrize('name', ['data', 'pretraining', 'Prüfung', 'a/b'])
def test_names_are_encoded_as_utf8(name):
  code = np.uint32(zlib.crc32(name.encode('utf-8')))
  wanted = jax.random.fold_in(ROOT, code)
  assert data(keys.stream(ROOT, name)) == data(wanted)


def test_a_path_is_folded_in_from_left_to_right():
  wanted = keys.stream(keys.stream(keys.stream(ROOT, 'data'), 3), 5)
  assert data(keys.stream(ROOT, 'data', 3, 5)) == data(wanted)
  assert data(keys.stream(ROOT, 3)) == data(jax.random.fold_in(ROOT, 3))


def test_the_empty_path_is_the_root_which_is_not_consumed():
  assert data(keys.stream(ROOT)) == data(ROOT)
  before = data(ROOT)
  keys.stream(ROOT, 'data')
  assert data(ROOT) == before


@pytest.mark.parametrize('hash_seed', ['0', '1'])
def test_the_same_in_another_process_with_another_hash_seed(hash_seed):
  code = (
    'import jax; from bayes_prompting import keys; print(jax.random.key_data('
    "keys.stream(jax.random.key(7), 'tuning', 1, 'data', 2)).tolist())"
  )
  found = subprocess.run(
    [sys.executable, '-c', code],
    env={
      **os.environ,
      'PYTHONHASHSEED': hash_seed,
      'PYTHONPATH': os.pathsep.join(filter(None, sys.path)),
      'JAX_PLATFORMS': 'cpu',
    },
    capture_output=True,
    text=True,
    check=True,
  )
  wanted = data(keys.stream(ROOT, 'tuning', 1, 'data', 2))
  assert found.stdout.strip() == str(list(wanted))


def test_distinct_paths_have_distinct_keys():
  names = ('init', 'data', 'search', 'tuning', 'evaluation')
  r, k = np.indices((5, 6)).reshape(2, -1)

  @jax.jit
  def below(key):
    """The keys at (r) and (r, k) for all r and k, and at a few more names."""
    one = jax.vmap(lambda r: keys.stream(key, r))(jnp.arange(6))
    two = jax.vmap(lambda r, k: keys.stream(key, r, k))(r, k)
    more = jnp.stack([keys.stream(key, name) for name in names])
    # As numbers: joined as keys, they would count as used.
    parts = [jax.random.key_data(part) for part in (one, two, more)]
    return jnp.concatenate(parts)

  roots = [ROOT, *(keys.stream(ROOT, name) for name in names)]
  found = [data(ROOT)]
  found += [tuple(key) for root in roots for key in below(root).tolist()]
  assert len(set(found)) == len(found) == 1 + 6 * (6 + 30 + 5)


SEEDS = (0, 5, 2**31, 2**32 - 1)


@pytest.mark.parametrize('seed', SEEDS)
def test_a_seed_of_32_bits_is_that_of_jax(seed):
  assert data(keys.root(seed)) == data(jax.random.key(seed))


def test_all_64_bits_of_a_seed_count():
  seeds = [low + 2**32 * high for low in SEEDS for high in (0, 1, 5, 2**31 - 1)]
  assert len({data(keys.root(seed)) for seed in seeds}) == len(seeds)


def test_a_seed_is_the_same_whether_or_not_jax_has_64_bits():
  found = {}
  for bits in (False, True):
    with jax.enable_x64(bits):
      found[bits] = [data(keys.root(5 + 2**32 * high)) for high in (0, 1, 7)]
  assert found[False] == found[True]


def test_a_pool_of_another_large_seed_is_another_pool():
  coins = {'name': 'dirichlet_categorical', 'concentration': (1.0, 1.0)}
  first, second = (
    bp.task_prior('finite_pool', base=coins, size=2, seed=seed).support.points
    for seed in (5, 2**32 + 5)
  )
  assert not np.array_equal(first, second)


def test_a_sample_has_a_key_for_each_repetition_and_sequence():
  found = [
    tuple(key)
    for repetition in range(3)
    for key in np.asarray(
      jax.random.key_data(keys.sample(ROOT, repetition, np.arange(4)))
    ).tolist()
  ]
  assert len(set(found)) == 12
  wanted = jax.random.fold_in(keys.stream(ROOT, 'sample', 2), 3)
  assert found[-1] == data(wanted)


def test_names_do_not_run_together():
  one = keys.stream(ROOT, 'ab', 'c')
  assert data(one) != data(keys.stream(ROOT, 'a', 'bc'))
  assert data(one) != data(keys.stream(ROOT, 'abc'))


def test_other_roots_have_other_streams():
  found = {data(keys.stream(jax.random.key(i), 'data', 0)) for i in range(20)}
  assert len(found) == 20


def test_numbers_may_be_traced():
  @jax.jit
  def traced(key, r, k):
    return keys.stream(key, 'data', r, k)

  for r, k in [(0, 0), (3, 17), (2**31, 2**32 - 1)]:
    found = traced(ROOT, jnp.uint32(r), jnp.uint32(k))
    assert data(found) == data(keys.stream(ROOT, 'data', r, k))


def test_numbers_may_be_mapped_over():
  found = jax.vmap(lambda r: keys.stream(ROOT, 'data', r))(jnp.arange(4))
  wanted = [data(keys.stream(ROOT, 'data', r)) for r in range(4)]
  assert [data(one) for one in found] == wanted


def test_repetition_and_step_do_not_commute():
  assert data(keys.stream(ROOT, 1, 2)) != data(keys.stream(ROOT, 2, 1))
