"""A cache by default, the user's own where there is one, and a true count."""

import json
import os
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest

from bayes_prompting.system import compilation

ROOT = pathlib.Path(__file__).resolve().parents[2]

CODE = """
import json, sys, numpy
before = sys.argv[1:]
import jax
for name, value in map(lambda x: x.split('='), before):
  jax.config.update(name, value or None)
from bayes_prompting.system import compilation
folder = compilation.use_cache()
assert compilation.use_cache() == folder
jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.0)
with compilation.count() as programs:
  for factor in (2, 3):
    jax.jit(lambda x: x * factor)(numpy.float32(1))
print(json.dumps([str(folder), programs.total, programs.cached]))
"""


def run(*before, **environment):
  """Uses the cache in a process of its own: folder, total, cached."""
  kept = {
    name: value
    for name, value in os.environ.items()
    if not name.startswith(('JAX_', 'XDG_'))
  }
  done = subprocess.run(
    [sys.executable, '-c', CODE, *before],
    cwd=ROOT,
    env={
      **kept,
      'JAX_PLATFORMS': 'cpu',
      'PYTHONPATH': str(ROOT),
      **environment,
    },
    capture_output=True,
    text=True,
  )
  assert done.returncode == 0, done.stderr
  return json.loads(done.stdout)


def test_by_default_programs_are_kept_in_the_user_s_cache(tmp_path):
  folder = tmp_path / 'bayes_prompting' / 'jax'
  first = run(XDG_CACHE_HOME=str(tmp_path))
  assert first == [str(folder), 2, 0]
  assert any(folder.iterdir())
  assert folder.stat().st_mode & 0o077 == 0
  assert run(XDG_CACHE_HOME=str(tmp_path)) == [str(folder), 2, 2]


@pytest.mark.parametrize(
  'environment, before, where',
  [
    # XDG has a relative folder ignored.
    ({'HOME': 'HERE', 'XDG_CACHE_HOME': 'here'}, (), '.cache/bayes_prompting'),
    ({'JAX_COMPILATION_CACHE_DIR': 'HERE/mine'}, (), 'mine'),
    ({}, ('jax_compilation_cache_dir=HERE/mine',), 'mine'),
  ],
)
def test_the_folder_is_where_the_user_wants_it(
  tmp_path, environment, before, where
):
  here = str(tmp_path)
  environment = {
    'XDG_CACHE_HOME': f'{here}/other',
    **{
      name: value.replace('HERE', here) for name, value in environment.items()
    },
  }
  folder, total, cached = run(
    *(text.replace('HERE', here) for text in before), **environment
  )
  assert (total, cached) == (2, 0)
  assert folder.startswith(str(tmp_path / where))
  assert any(pathlib.Path(folder).iterdir())
  assert not (tmp_path / 'other').exists()


@pytest.mark.parametrize(
  'environment',
  [
    {'JAX_ENABLE_COMPILATION_CACHE': 'false'},
    {'JAX_COMPILATION_CACHE_DIR': ''},
    # Below a file nothing can be written, not even by root.
    {'XDG_CACHE_HOME': 'HERE/file'},
  ],
)
def test_without_a_cache_programs_are_compiled_all_the_same(
  tmp_path, environment
):
  (tmp_path / 'file').touch()
  environment = {
    'XDG_CACHE_HOME': str(tmp_path / 'cache'),
    **{k: v.replace('HERE', str(tmp_path)) for k, v in environment.items()},
  }
  assert run(**environment) == ['None', 2, 0]
  assert [path.name for path in tmp_path.iterdir()] == ['file']


def test_a_folder_without_permission_is_not_used(monkeypatch, tmp_path):
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
  monkeypatch.setattr(os, 'access', lambda *unused: False)
  before = jax.config.jax_compilation_cache_dir
  jax.config.update('jax_compilation_cache_dir', None)
  try:
    assert compilation.use_cache() is None
    assert jax.config.jax_compilation_cache_dir is None
  finally:
    jax.config.update('jax_compilation_cache_dir', before)


def test_programs_are_counted_inside_alone():
  x = jnp.arange(3.0)
  with compilation.count() as programs:
    double = jax.jit(lambda x: x * 2)
    double(x)
    double(x)  # Compiled already.
    assert programs.total == 1
    with compilation.count() as inner:
      jax.jit(lambda x: x * 3)(x)
  jax.jit(lambda x: x * 4)(x)
  assert inner.total == 1
  assert programs.total == 2
  assert programs.seconds > inner.seconds > 0


def test_the_count_is_a_sentence():
  programs = compilation.Programs
  assert str(programs(23, 18, 41.04)) == (
    'Compiled 5 programs and took 18 from the cache, in 41.0 s'
  )
  assert str(programs(1, 0, 0.5)) == 'Compiled 1 program, in 0.5 s'


@pytest.mark.parametrize(
  ('limit', 'forgets'), [('10', True), ('100000000', False), (None, False)]
)
def test_programs_are_let_go_of_before_a_process_can_map_no_more(
  tmp_path, monkeypatch, limit, forgets
):
  if not pathlib.Path('/proc/self/maps').exists():
    forgets = False
  if limit is not None:
    (tmp_path / 'limit').write_text(limit)
  monkeypatch.setattr(compilation, '_LIMIT', tmp_path / 'limit')
  double = jax.jit(lambda x: 2 * x)
  double(jnp.float32(1))
  assert compilation.make_room() == forgets
  assert double._cache_size() == (not forgets)
  assert double(jnp.float32(2)) == 4
