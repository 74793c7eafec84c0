"""Plain values are what JSON holds, and compare field by field."""

import json
import os
import subprocess
import sys

import hypothesis
from hypothesis import strategies as st
import pytest

from bayes_prompting import settings
from bayes_prompting.settings import plain

quickly = hypothesis.settings(deadline=None, max_examples=100, database=None)


def leaves(values, path=()):
  """All (path, value) of nested dicts."""
  for name, value in values.items():
    if isinstance(value, dict):
      yield from leaves(value, (*path, name))
    else:
      yield (*path, name), value


def changed():
  config = settings.base_config()
  config.tuning.prefix_length = 3
  config.methods.SoftPT.length = 25
  config.tuning.methods = ('SoftPT', 'FullWT')
  return config


@pytest.mark.parametrize('make', [settings.base_config, changed])
def test_plain_and_back(make):
  config = make()
  values = plain.of(config)
  assert json.loads(json.dumps(values)) == values
  back = plain.to_config(json.loads(json.dumps(values)))
  assert back.is_locked
  assert plain.of(back) == values
  assert back.to_dict() == config.to_dict()  # Tuples are tuples again.
  settings.validate(back)


def test_from_plain_keeps_the_order_of_methods():
  config = changed()
  config.tuning.methods = ('SoftPT', 'FullWT', 'EmbedWT')
  back = plain.to_config(plain.of(config))
  assert back.tuning.methods == ('SoftPT', 'FullWT', 'EmbedWT')


def test_plain_leaves_the_configuration_as_it_was():
  config = settings.base_config()
  values = plain.of(config)
  values['tuning']['num_steps'] = 1
  values['evaluation']['tasks'].clear()
  assert plain.of(config) == plain.of(settings.base_config())


# Fingerprints.


def reverse(value):
  if isinstance(value, dict):
    return {name: reverse(value[name]) for name in reversed(value)}
  return value


def test_a_fingerprint_does_not_depend_on_the_order_of_keys():
  values = plain.of(settings.base_config())
  other = reverse(values)
  assert list(other) != list(values)
  assert plain.fingerprint(other) == plain.fingerprint(values)


def other_than(value):
  """Another value, of the same type if there is more than one of it."""
  if value is None:
    return {'name': 'x'}
  return value + (1 if isinstance(value, int | float) else value[:1] or [1])


def test_a_fingerprint_depends_on_every_field():
  values = plain.of(settings.base_config())
  found = [plain.fingerprint(values)]
  for path, value in leaves(values):
    copy = json.loads(json.dumps(values))
    at = copy
    for name in path[:-1]:
      at = at[name]
    at[path[-1]] = other_than(value)
    found.append(plain.fingerprint(copy))
    del at[path[-1]]
    found.append(plain.fingerprint(copy))
  assert len(set(found)) == len(found) > 100


def test_a_fingerprint_depends_on_the_order_of_items():
  one, other = {'tasks': ['a', 'b']}, {'tasks': ['b', 'a']}
  assert plain.fingerprint(one) != plain.fingerprint(other)


@pytest.mark.parametrize('hash_seed', ['0', '1'])
def test_a_fingerprint_is_the_same_in_any_process_and_needs_no_jax(hash_seed):
  code = (
    'import sys; from bayes_prompting import settings as s; '
    'from bayes_prompting.settings import plain as p; '
    'print(p.fingerprint(p.of(s.base_config())), "jax" in sys.modules)'
  )
  path = os.pathsep.join(filter(None, sys.path))
  found = subprocess.run(
    [sys.executable, '-c', code],
    env={**os.environ, 'PYTHONHASHSEED': hash_seed, 'PYTHONPATH': path},
    capture_output=True,
    text=True,
    check=True,
  )
  here = plain.fingerprint(plain.of(settings.base_config()))
  assert found.stdout.split() == [here, 'False']


# Differences.

plain_values = st.recursive(
  st.none() | st.booleans() | st.integers(0, 3) | st.text('ab', max_size=2),
  lambda inner: (
    st.lists(inner, max_size=2) | st.dictionaries(st.text('ab'), inner)
  ),
  max_leaves=6,
)


@hypothesis.given(one=plain_values, other=plain_values)
@quickly
def test_there_is_a_difference_iff_they_differ(one, other):
  assert (plain.difference(one, other) is None) == (one == other)
  assert plain.difference(one, json.loads(json.dumps(one))) is None


@pytest.mark.parametrize('path, value', list(leaves(plain.of(changed()))))
def test_a_difference_names_field_and_both_values(path, value):
  one = plain.of(changed())
  other = plain.of(changed())
  at = other
  for name in path[:-1]:
    at = at[name]
  at[path[-1]] = 'something else'
  found = plain.difference(one, other)
  assert found == f'{".".join(path)}: {value!r} and {"something else"!r}'


def test_differences_are_all_counted():
  one = {'a': {'x': 1, 'y': 2}, 'b': 3}
  assert plain.difference(one, {'a': {'x': 0, 'y': 2}, 'b': 4}) == (
    'a.x: 1 and 0; b: 3 and 4'
  )
  many = dict.fromkeys('abcdef', 1)
  found = plain.difference(many, dict.fromkeys('abcdef', 2))
  assert found == 'a: 1 and 2; b: 1 and 2; c: 1 and 2; and 3 more'


def test_a_difference_names_a_field_of_one_side():
  one, other = {'a': {'x': 1, 'y': 2}}, {'a': {'x': 1}}
  assert plain.difference(one, other) == 'a.y is in the one alone'
  assert plain.difference(other, one) == 'a.y is in the other alone'
