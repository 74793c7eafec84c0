"""`import bayes_prompting as bp`: cheap, whole, documented; and `generate`."""

import ast
import dataclasses
import inspect
import pathlib
import pydoc
import subprocess
import sys
import textwrap

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bayes_prompting as bp
from bayes_prompting import registry
from bayes_prompting.system import compilation
from tests import testing

pytestmark = pytest.mark.keys  # See conftest.py.

SOURCE = pathlib.Path(bp.__file__)
FUNCTIONS = [
  name for name in bp.__all__ if not inspect.isclass(getattr(bp, name))
]


# The names.


def python(code):
  """Runs code in an interpreter of its own; returns what it printed."""
  done = subprocess.run(
    [sys.executable, '-c', textwrap.dedent(code)],
    cwd=SOURCE.parents[1],
    capture_output=True,
    text=True,
  )
  assert done.returncode == 0, done.stderr
  return done.stdout


def test_importing_it_imports_nothing_heavy():
  said = python("""
    import sys
    import bayes_prompting as bp
    assert {*dir(bp)} == {*bp.__all__, '__version__'}
    heavy = {'jax', 'flax', 'numpy', 'ml_collections', 'absl', 'xarray'}
    print(heavy & sys.modules.keys())
    bp.base_config(), bp.spec('lstm'), bp.UserError
    print({'jax', 'flax', 'xarray'} & sys.modules.keys())
  """)
  assert said == 'set()\nset()\n'


def test_type_checkers_see_every_name_where_it_is():
  (block,) = [
    node
    for node in ast.parse(SOURCE.read_text()).body
    if isinstance(node, ast.If) and isinstance(node.test, ast.Name)
  ]
  seen = {
    alias.asname or alias.name: f'{node.module}.{alias.name}'
    for node in ast.walk(block)
    if isinstance(node, ast.ImportFrom)
    for alias in node.names
  }
  del seen['nn']
  places = {k: f'bayes_prompting.{place}' for k, place in bp._PLACES.items()}
  assert seen == places
  assert {*bp.__all__} == {*places, 'task_prior', 'torso', 'tuner'}
  assert len(bp.__all__) == len({*bp.__all__})
  assert (SOURCE.parent / 'py.typed').exists()


def test_no_name_is_that_of_a_module():
  assert not {*bp.__all__} & {path.stem for path in SOURCE.parent.iterdir()}


def test_an_unknown_name_is_an_attribute_error():
  with pytest.raises(AttributeError, match='bayes_prompting.*runn'):
    _ = bp.runn
  with pytest.raises(ImportError):
    from bayes_prompting import runn  # noqa: F401


@pytest.mark.parametrize('name', FUNCTIONS)
def test_every_function_is_documented_and_typed(name):
  function = getattr(bp, name)
  signature = inspect.signature(function)
  assert signature.return_annotation is not signature.empty
  text = inspect.getdoc(function)
  for parameter in signature.parameters.values():
    assert parameter.annotation is not parameter.empty, parameter
    assert f'{parameter.name}:' in text or len(signature.parameters) == 1
  assert name in pydoc.plain(pydoc.render_doc(function)) or name in bp._PLACES


def test_help_shows_every_name():
  text = pydoc.plain(pydoc.render_doc(bp))
  for name in bp.__all__:
    assert f'\n    {name}' in text or f'\n    class {name}(' in text, name


# Extensions by name.


@pytest.mark.parametrize('kind', registry.KINDS)
def test_what_is_made_by_name_is_the_package_s_own(kind):
  make = getattr(bp, kind.removesuffix('s'))
  for name in registry.names(kind):
    for example in registry.module(kind, name).EXAMPLES:
      made = make(name, **example)
      assert made is registry.make(kind, 'x', {'name': name, **example})


@pytest.mark.parametrize(
  'make, said',
  [
    (
      lambda: bp.task_prior('categoric'),
      'task_prior.name: unknown .*categoric',
    ),
    (lambda: bp.task_prior('categorical'), 'task_prior.probabilities: missing'),
    (
      lambda: bp.task_prior('categorical', probabilities=(1, 1)),
      r'task_prior.probabilities: must sum to 1.*got \(1, 1\)',
    ),
    (lambda: bp.torso('lstm', widht=8), r"torso \(lstm\): .*'widht'.*width"),
    (lambda: bp.torso('lstm', width=0), 'torso.width: .*got 0'),
    (lambda: bp.tuner('prefix', form='sof'), 'tuner.form: .*mean soft'),
    (lambda: bp.tuner('no.such.module'), 'tuner.name: cannot import .*no.such'),
    (lambda: bp.tuner(3), 'tuner.name: a name must be a string'),
  ],
)
def test_a_mistake_is_one_line_that_names_the_argument(make, said):
  with pytest.raises(bp.UserError, match=said) as caught:
    make()
  assert '\n' not in str(caught.value)


def test_a_module_of_ones_own_is_imported(tmp_path, monkeypatch):
  monkeypatch.syspath_prepend(tmp_path)
  (tmp_path / 'bursty_of_mine.py').write_text(
    'import bayes_prompting as bp\n'
    'def make(p):\n'
    "  return bp.task_prior('categorical', probabilities=(1 - p, p))\n"
  )
  (tmp_path / 'lab_of_mine').mkdir()
  (tmp_path / 'bursty_of_mine.py').rename(
    tmp_path / 'lab_of_mine' / 'bursty.py'
  )
  made = bp.task_prior('lab_of_mine.bursty', p=0.25)
  assert made is bp.task_prior('categorical', probabilities=(0.75, 0.25))


# Sampling on.


def bayes(prior):
  predictor = bp.bayesian(prior)
  return predictor, {}, predictor.start({})


def many(predictor, params, state, history, num_tokens, count):
  """Samples [count, T], each by a key of its own."""
  keys = jax.random.split(jax.random.key(0), count)
  return jax.vmap(
    lambda key: bp.generate(predictor, params, state, history, num_tokens, key)
  )(keys)


def exact(predictor, params, state, history, num_tokens):
  """Probabilities [V^T] of all continuations, by the chain rule."""
  vocab_size, known = predictor.vocab_size, len(history)
  rest = testing.all_sequences(vocab_size, num_tokens)
  before = np.broadcast_to(np.asarray(history, np.int32), (len(rest), known))
  tokens = np.concatenate([before, rest], axis=1)
  log_probs = np.asarray(predictor.predict(params, state, tokens), np.float64)
  each = np.take_along_axis(log_probs, tokens[..., None], axis=-1)[..., 0]
  return np.exp(each[:, known:].sum(-1))


SAMPLERS = {
  'coins': (lambda: bayes(testing.random_coins()), [1, 1, 0]),
  'coins, nothing seen': (lambda: bayes(testing.random_coins()), []),
  'mixture': (lambda: bayes(testing.two_coins()), [0]),
  'chains': (
    lambda: bayes(
      bp.task_prior('dirichlet_markov', order=1, concentration=(0.5, 1.0))
    ),
    [0, 1],
  ),
  'lstm': (lambda: network('lstm'), [1]),
  'transformer': (lambda: network('transformer'), []),
}


def network(torso):
  """A network that is far from uniform, behind a prompt of two tokens."""
  predictor, params = testing.network(torso, vocab_size=2)
  params = jax.tree.map(lambda x: 3 * x, params)
  tuner = bp.tuner('hard_prefix', length=2, choose='random')
  prefix = tuner.init(jax.random.key(1), predictor, params)
  return predictor, *tuner.bind(predictor, params, prefix)


@pytest.mark.parametrize('name', SAMPLERS)
def test_continuations_come_as_often_as_they_are_likely(name):
  make, history = SAMPLERS[name]
  parts, count = make(), 20_000
  found = np.asarray(many(*parts, history, 3, count))
  assert found.dtype == np.int32
  assert found.shape == (count, 3)
  number = found @ (2 ** np.arange(3)[::-1])
  share = np.bincount(number, minlength=8) / count
  likely = exact(*parts, history, 3)
  np.testing.assert_allclose(likely.sum(), 1, rtol=1e-5)
  # Of 48 binomial shares, one beyond 5 standard errors: less than 1 in 10^4.
  error = np.sqrt(likely * (1 - likely) / count)
  assert (np.abs(share - likely) < 5 * error + 1e-6).all()


@pytest.mark.parametrize('name', SAMPLERS)
def test_it_is_the_same_inside_jit_and_vmap(name):
  make, history = SAMPLERS[name]
  parts, key = make(), jax.random.key(3)
  found = bp.generate(*parts, history, 5, key)
  traced = jax.jit(
    lambda state, history, key: bp.generate(*parts[:2], state, history, 5, key)
  )(parts[2], jnp.asarray(history, jnp.int32), key)
  np.testing.assert_array_equal(found, traced)
  assert traced.dtype == found.dtype == jnp.int32
  several, keys = (
    many(*parts, history, 5, 3),
    jax.random.split(jax.random.key(0), 3),
  )
  for row, key in zip(several, keys, strict=True):
    np.testing.assert_array_equal(row, bp.generate(*parts, history, 5, key))


def test_more_tokens_begin_with_the_same_ones():
  parts = bayes(testing.random_coins())
  key = jax.random.key(2)
  long = bp.generate(*parts, (1, 0), 12, key)
  np.testing.assert_array_equal(bp.generate(*parts, (1, 0), 7, key), long[:7])


def test_a_deterministic_source_continues_itself():
  # A chain that takes turns, which the first token gives away.
  turns = bp.task_prior(
    'markov_mixture',
    weights=(1.0,),
    tables=(((0.0, 1.0, 0.0), (0.0, 0.0, 1.0), (1.0, 0.0, 0.0)),),
  )
  found = bp.generate(*bayes(turns), np.array([2, 0]), 5, jax.random.key(0))
  assert found.tolist() == [1, 2, 0, 1, 2]


def test_many_draws_are_one_program():
  parts = bayes(bp.task_prior('categorical', probabilities=(0.5, 0.25, 0.25)))
  keys = [jax.random.key(seed) for seed in range(2)]
  bp.generate(*parts, [0], 4, keys[0])
  with compilation.count() as programs:
    bp.generate(*parts, [2], 4, keys[1])
  assert programs.total == 0


@pytest.mark.parametrize(
  'history, num_tokens, said',
  [
    ([2], 3, r'history: .*0 to 1, got \[2\]'),
    ([-1], 3, r'history: .*got \[-1\]'),
    ([0.5], 3, r'history: .*got \[0.5\]'),
    ([[1]], 3, r'history: .*got \[\[1\]\]'),
    ('10', 3, "history: .*got '10'"),
    (None, 3, 'history: .*got None'),
    ([1], 0, 'num_tokens: .*at least 1, got 0'),
    ([1], 1.5, 'num_tokens: .*got 1.5'),
    ([1], 3, 'history: no token is possible after'),
  ],
)
def test_what_cannot_be_continued_is_refused(history, num_tokens, said):
  parts = bayes(bp.task_prior('categorical', probabilities=(1.0, 0.0)))
  with pytest.raises(bp.UserError, match=said) as caught:
    bp.generate(*parts, history, num_tokens, jax.random.key(0))
  assert '\n' not in str(caught.value)


@pytest.mark.parametrize(
  'key', [0, None, 'key', jax.random.split(jax.random.key(0))]
)
def test_what_is_no_key_is_refused(key):
  parts = bayes(bp.task_prior('categorical', probabilities=(0.5, 0.5)))
  with pytest.raises(bp.UserError, match=r'^key: must be one key') as caught:
    bp.generate(*parts, [1], 3, key)
  assert '\n' not in str(caught.value)
  raw = bp.generate(*parts, [1], 3, jax.random.PRNGKey(0))
  assert raw.tolist() == bp.generate(*parts, [1], 3, jax.random.key(0)).tolist()


@pytest.mark.parametrize(
  'change, said',
  [
    ({'torso': 'gru'}, "torso: .*'gru'"),
    ({'vocab_size': '2'}, "vocab_size: .*'2'"),
    ({'vocab_size': 0}, 'vocab_size: .*0'),
    ({'embedding_dim': 0}, 'embedding_dim: .*0'),
  ],
)
def test_what_makes_no_network_is_refused(change, said):
  parts = {'torso': bp.torso('gru', width=2), 'vocab_size': 2}
  parts |= {'embedding_dim': 2}
  with pytest.raises(bp.UserError, match=said):
    bp.network(**parts | change)


def test_room_for_fewer_tokens_than_none_is_refused():
  predictor, params, state = bayes(
    bp.task_prior('categorical', probabilities=(0.5, 0.5))
  )
  with pytest.raises(bp.UserError, match='length: .*got -1'):
    predictor.begin(params, state, [1], -1)


def test_inside_jit_an_impossible_history_is_marked():
  parts = bayes(bp.task_prior('categorical', probabilities=(1.0, 0.0)))
  sample = jax.jit(lambda key: bp.generate(*parts, [1], 3, key))
  assert sample(jax.random.key(0)).tolist() == [-1, -1, -1]


def test_weights_that_diverged_are_told():
  predictor, params = testing.network('linear')
  params = jax.tree.map(lambda x: x * jnp.nan, params)
  with pytest.raises(bp.UserError, match='not finite'):
    state = predictor.start(params)
    bp.generate(predictor, params, state, [], 3, jax.random.key(0))


# What is expected next, at the cost of one step.


@pytest.mark.parametrize('name', SAMPLERS)
def test_next_token_is_what_predict_says_of_every_prefix(name):
  predictor, params, state = SAMPLERS[name][0]()
  tokens = [1, 1, 0, 1]
  wanted = predictor.predict(params, state, [[*tokens, 0]])[0]
  for n in range(len(tokens) + 1):
    found = bp.next_token(predictor, params, state, tokens[:n])
    assert found.shape == (2,) and found.dtype == jnp.float32
    np.testing.assert_allclose(found, wanted[n], atol=1e-5)
  nothing_seen = bp.next_token(predictor, params, state)
  np.testing.assert_allclose(nothing_seen, wanted[0], atol=1e-5)


def test_next_token_inside_jit_and_vmap():
  parts = network('lstm')
  histories = testing.all_sequences(2, 2)
  found = jax.jit(jax.vmap(lambda x: bp.next_token(*parts, x)))(histories)
  for row, history in zip(found, histories, strict=True):
    np.testing.assert_allclose(bp.next_token(*parts, history), row, atol=1e-6)


def test_after_an_impossible_history_nothing_is_expected():
  parts = bayes(bp.task_prior('categorical', probabilities=(1.0, 0.0)))
  assert np.isneginf(bp.next_token(*parts, [1])).all()


@pytest.mark.parametrize('history', [[2], [-1], [0.5], [True], [[1]], '10', 1])
def test_next_token_of_what_is_no_history_is_one_line(history):
  with pytest.raises(bp.UserError, match='history: must be tokens') as caught:
    bp.next_token(*bayes(testing.random_coins()), history)
  assert '\n' not in str(caught.value)


@pytest.mark.parametrize('what', ['a prior', 'all three of load_predictor'])
def test_what_is_no_predictor_is_one_line(what):
  prior = testing.random_coins()
  given = prior if what == 'a prior' else bayes(prior)
  for ask in (
    lambda: bp.next_token(given, {}, (), [1]),
    lambda: bp.generate(given, {}, (), [1], 2, jax.random.key(0)),
  ):
    with pytest.raises(bp.UserError, match='^predictor: must .*bp.bayesian'):
      ask()


def test_a_step_takes_a_token():
  predictor, params, state = bayes(testing.random_coins())
  carry, log_probs = predictor.begin(params, state, [1], 1)
  np.testing.assert_allclose(np.exp(log_probs), [1 / 3, 2 / 3], rtol=1e-5)
  _, log_probs = predictor.step(params, carry, 1)
  np.testing.assert_allclose(np.exp(log_probs), [1 / 4, 3 / 4], rtol=1e-5)
  for token in (2, -1, 1.0, True, [1], None):
    with pytest.raises(bp.UserError, match='token: must be tokens'):
      predictor.step(params, carry, token)


def jaxprs_in(params):
  """Yields the programs inside of an operation."""
  for value in params.values():
    for part in value if isinstance(value, tuple | list) else [value]:
      part = getattr(part, 'jaxpr', part)
      if hasattr(part, 'eqns'):
        yield part


def work(program):
  """Multiplications of a program, as {by weights or tables?: how many}.

  A weight has two axes, and what it is multiplied by is one row a token.
  """
  found = {True: 0, False: 0}
  for equation in program.eqns:
    times = equation.params.get('length', 1)
    for inner in jaxprs_in(equation.params):
      for kind, count in work(inner).items():
        found[kind] += times * count
    if equation.primitive.name == 'dot_general':
      (contracted, _), _ = equation.params['dimension_numbers']
      left, right = (x.aval.shape for x in equation.invars)
      size = np.prod([left[i] for i in contracted])
      size *= np.prod(equation.outvars[0].aval.shape)
      found[len(right) == 2] += int(size)
    elif not equation.primitive.name.startswith(('pjit', 'scan', 'jit')):
      found[False] += sum(int(np.prod(x.aval.shape)) for x in equation.outvars)
  return found


def work_of(parts, num_tokens):
  sample = jax.make_jaxpr(
    lambda key: bp.generate(*parts, [1, 0], num_tokens, key)
  )
  return work(sample(jax.random.key(0)).jaxpr)


def slower(predictor, params, state):
  """The same, without steps."""
  return dataclasses.replace(predictor, begin=None, step=None), params, state


@pytest.mark.parametrize('name', SAMPLERS)
def test_the_work_is_linear_in_the_length(name):
  parts = SAMPLERS[name][0]()
  few, some, many = (work_of(parts, n) for n in (10, 20, 30))
  # Attention is to all that was seen. All else is the same for every token.
  for kind in (True,) if name == 'transformer' else (True, False):
    assert many[kind] - some[kind] == some[kind] - few[kind], kind
  # By reading it would not be: this count would show it.
  few, some, many = (work_of(slower(*parts), n) for n in (10, 20, 30))
  kind = name in ('lstm', 'transformer')
  assert many[kind] - some[kind] > some[kind] - few[kind]


@pytest.mark.parametrize('name', SAMPLERS)
def test_steps_sample_what_reading_samples(name):
  make, history = SAMPLERS[name]
  parts, key = make(), jax.random.key(5)
  np.testing.assert_array_equal(
    bp.generate(*parts, history, 8, key),
    bp.generate(*slower(*parts), history, 8, key),
  )


class Growing(nn.Module):
  """A torso that remembers all, and makes no room for it."""

  def empty_state(self, width):
    return jnp.zeros((0, width), jnp.float32)

  @nn.compact
  def __call__(self, x, state):
    rows = jnp.concatenate([state, x])
    return jnp.cumsum(rows, axis=0)[len(state) :], rows


def growing():
  predictor = bp.network(Growing(), 2, 3)
  params = predictor.init(jax.random.key(0))
  return predictor, params, predictor.start(params)


def test_a_torso_whose_state_grows_needs_no_more():
  predictor, params, state = growing()
  tokens = [1, 0, 0, 1]
  wanted = predictor.predict(params, state, [[*tokens, 0]])[0]
  np.testing.assert_allclose(
    bp.next_token(predictor, params, state, tokens), wanted[4], atol=1e-5
  )
  carry, _ = predictor.begin(params, state, tokens[:2], 1)
  carry, log_probs = predictor.step(params, carry, tokens[2])
  np.testing.assert_allclose(log_probs, wanted[3], atol=1e-5)
  assert (
    len(bp.generate(predictor, params, state, [1], 3, jax.random.key(0))) == 3
  )


@pytest.mark.parametrize('make', [lambda: network('transformer'), growing])
def test_where_no_room_is_left_nothing_is_said(make):
  predictor, params, state = make()
  carry, _ = predictor.begin(params, state, [], 1)
  carry, log_probs = predictor.step(params, carry, 1)
  assert np.isfinite(log_probs).all()
  _, log_probs = predictor.step(params, carry, 1)
  assert np.isnan(log_probs).all()
