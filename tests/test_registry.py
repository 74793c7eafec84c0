"""Extensions are found by name: those of the package, and a user's own."""

import importlib
import pathlib
import sys
import textwrap

import jax
import numpy as np
import pytest

import bayes_prompting
from bayes_prompting import errors
from bayes_prompting import registry
from bayes_prompting import settings
from bayes_prompting.experiment import build

PACKAGE = pathlib.Path(bayes_prompting.__file__).parent

# A prior that the package does not have: token t repeats the first forever.
ECHO = """
  import jax
  import jax.numpy as jnp
  from bayes_prompting import types

  def make(vocab_size=2):
    def sample(key, length):
      first = jax.random.randint(key, (), 0, vocab_size, jnp.int32)
      tokens = jnp.full((length,), first)
      oracle = jnp.log(jax.nn.one_hot(tokens, vocab_size))
      return types.Episode(tokens, oracle)

    def predict(counts, tokens):
      seen = jax.nn.one_hot(tokens, vocab_size)
      counts = counts[None] + jnp.cumsum(seen, 0) - seen
      possible = counts == counts.sum(-1, keepdims=True)
      possible = possible / possible.sum(-1, keepdims=True)
      return jnp.log(possible)

    return types.TaskPrior(
      vocab_size, sample, lambda rows: rows.sum(0), predict
    )
"""


# What passes for a torso, and keeps what it was made of.
THING = """
import collections

Thing = collections.namedtuple('Thing', 'empty_state init apply')
"""


def refusal(call, *args):
  """The one line with which a call is refused."""
  with pytest.raises(errors.UserError) as caught:
    call(*args)
  message = str(caught.value)
  assert '\n' not in message
  return message


@pytest.fixture
def user_module(tmp_path, monkeypatch):
  """Writes a module of a user's, which can be imported during the test."""
  _forget_users_modules()  # Another test's `my_lab` lies elsewhere.
  monkeypatch.syspath_prepend(tmp_path)
  monkeypatch.setattr(registry, '_ADMITTED', set())

  def write(name, source):
    path = tmp_path.joinpath(*name.split('.')).with_suffix('.py')
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(source))
    importlib.invalidate_caches()
    return name

  with registry.plugins():
    yield write
  _forget_users_modules()


def _forget_users_modules():
  for name in [x for x in sys.modules if x.partition('.')[0] == 'my_lab']:
    del sys.modules[name]


@pytest.mark.parametrize('kind', registry.KINDS)
def test_names_are_the_files_of_the_folder(kind):
  files = {path.stem for path in (PACKAGE / kind).glob('[!_]*.py')}
  assert files
  assert registry.names(kind) == sorted(files)


@pytest.mark.parametrize('kind', registry.KINDS)
def test_every_name_stands_for_its_module(kind):
  for name in registry.names(kind):
    found = registry.module(kind, name)
    assert pathlib.Path(found.__file__) == PACKAGE / kind / f'{name}.py'


def test_a_new_file_of_the_package_needs_no_list(tmp_path, monkeypatch):
  package = importlib.import_module('bayes_prompting.torsos')
  source = f'{THING}def make(a): return Thing(a, 1, 2)\n'
  (tmp_path / 'brand_new.py').write_text(source)
  (tmp_path / '_helper.py').write_text('def make(a): return a\n')
  path = [*package.__path__, str(tmp_path)]
  monkeypatch.setattr(package, '__path__', path)
  importlib.invalidate_caches()
  try:
    assert 'brand_new' in registry.names('torsos')
    assert '_helper' not in registry.names('torsos')
    made = registry.make('torsos', 'x', {'name': 'brand_new', 'a': 3})
    assert made == (3, 1, 2)
  finally:
    sys.modules.pop('bayes_prompting.torsos.brand_new', None)


@pytest.mark.parametrize(
  'kind, name, meant',
  [
    ('task_priors', 'dirichlet_categorial', 'dirichlet_categorical'),
    ('torsos', 'lstn', 'lstm'),
    ('torsos', 'LSTM', 'lstm'),
    ('tuners', 'weight', 'weights'),
  ],
)
def test_an_unknown_name_gets_field_and_nearest(kind, name, meant):
  spec = {'name': name}
  message = refusal(registry.make, kind, 'here.there', spec)
  assert 'here.there' in message
  assert repr(name) in message
  assert meant in message


def test_a_name_near_to_none_gets_all():
  message = refusal(registry.make, 'torsos', 'x', {'name': 'qqqq'})
  assert all(name in message for name in registry.names('torsos'))


@pytest.mark.parametrize(
  'name',
  ['', '_exchangeable', 'no_lab.nope', 'os.nope', 'os.path.nope', '.', '..']
  + ['.categorical', '..torsos.lstm', 'categorical.', 'a..b', 'a b.c', 3, None]
  + [('categorical',)],
)
def test_what_is_no_name_is_refused(name):
  message = refusal(registry.make, 'task_priors', 'x', {'name': name})
  assert repr(name) in message


def test_a_dotted_name_reaches_a_users_module(user_module):
  source = f'{THING}def make(a, b=2): return Thing(a, b, 0)'
  user_module('my_lab.deep.thing', source)
  spec = {'name': 'my_lab.deep.thing', 'a': 1}
  assert registry.make('torsos', 'x', spec) == (1, 2, 0)
  assert registry.module('torsos', 'my_lab.deep.thing').make(3) == (3, 2, 0)


def test_a_dotted_name_reaches_the_package_too():
  name = 'bayes_prompting.torsos.lstm'
  assert registry.module('torsos', name) is registry.module('torsos', 'lstm')


def test_a_prior_of_a_user_is_reached_by_a_config(user_module):
  user_module('my_lab.echo', ECHO)
  config = settings.base_config()
  with config.unlocked():
    config.tasks.echo = settings.spec('my_lab.echo', vocab_size=2)
  config.tuning.target = 'echo'
  config.tuning.methods = ('PreBayes',)
  config.evaluation.tasks = ('echo', 'random_coins')
  built = build.build(config, allow_plugins=True)
  prior = built.priors[built.target]
  tokens = np.asarray(prior.sample(jax.random.key(0), 8).tokens)
  assert len(set(tokens.tolist())) == 1
  log_probs = prior.predict(prior.prefill(np.zeros((0, 2))), tokens)
  np.testing.assert_allclose(np.exp(log_probs[0]), 0.5)
  np.testing.assert_allclose(np.exp(log_probs[1:, tokens[0]]), 1.0)


def test_a_config_is_told_which_argument_of_a_users_prior(user_module):
  user_module('my_lab.echo', ECHO)
  config = settings.base_config()
  with config.unlocked():
    config.tasks.echo = settings.spec('my_lab.echo', vocabsize=2)
  message = refusal(build.build, config)
  assert 'tasks.echo' in message
  assert "'vocabsize'" in message
  assert 'vocab_size' in message


def test_a_module_without_make_is_refused(user_module):
  user_module('my_lab.empty', 'makes = 1')
  message = refusal(registry.module, 'torsos', 'my_lab.empty')
  assert 'my_lab.empty' in message
  assert 'make' in message
  user_module('my_lab.value', 'make = 1')
  assert 'make' in refusal(registry.module, 'torsos', 'my_lab.value')


@pytest.mark.parametrize(
  'source, error',
  [
    ('import surely_not_installed', ModuleNotFoundError),
    ('import my_lab.also_missing', ModuleNotFoundError),
    ('from my_lab import also_missing', ImportError),
    ('from math import nope', ImportError),
    ('1 / 0', ZeroDivisionError),
    ('def make(:', SyntaxError),
  ],
)
def test_what_fails_inside_a_users_module_is_shown(user_module, source, error):
  user_module('my_lab.broken', source)
  message = refusal(registry.module, 'torsos', 'my_lab.broken')
  # Not called unknown: it is there, and what failed in it is told.
  assert message.startswith("torsos: importing 'my_lab.broken' failed")
  assert error.__name__ in message
  with pytest.raises(errors.UserError) as caught:
    registry.module('torsos', 'my_lab.broken')
  assert isinstance(caught.value.__cause__, error)


def test_an_unknown_argument_gets_field_and_nearest():
  spec = {'name': 'lstm', 'widht': 3}
  message = refusal(registry.make, 'torsos', 'network.torso', spec)
  assert message.startswith('network.torso')
  assert "'widht'" in message
  assert 'did you mean width?' in message


def test_a_missing_argument_is_named():
  spec = {'name': 'categorical'}
  message = refusal(registry.make, 'task_priors', 'tasks.coin', spec)
  assert message.startswith('tasks.coin.probabilities: missing')


def test_a_missing_name_is_named():
  message = refusal(registry.make, 'torsos', 'network.torso', {'width': 3})
  assert message.startswith('network.torso.name: missing')
  assert 'lstm' in message


def test_what_make_refuses_is_told_with_its_field():
  spec = {'name': 'lstm', 'width': 0}
  message = refusal(registry.make, 'torsos', 'network.torso', spec)
  assert message.startswith('network.torso.width: ')


def test_make_may_take_any_keyword(user_module):
  source = f'{THING}def make(a, **kwargs): return Thing(a, kwargs, 0)'
  user_module('my_lab.any', source)
  spec = {'name': 'my_lab.any', 'a': 1, 'b': 2}
  assert registry.make('torsos', 'x', spec) == (1, {'b': 2}, 0)
  missing = refusal(registry.make, 'torsos', 'x', {'name': 'my_lab.any'})
  assert missing.startswith('x.a: missing')


@pytest.mark.parametrize('kind', registry.KINDS)
def test_a_make_of_something_else_is_refused(user_module, kind):
  user_module('my_lab.odd', 'def make(): return 3')
  message = refusal(registry.make, kind, 'x', {'name': 'my_lab.odd'})
  assert message.startswith('x (my_lab.odd): make() must return a ')
  assert message.endswith('; got 3')


def test_an_error_of_a_users_make_is_not_disguised(user_module):
  user_module('my_lab.bug', 'def make(): return {}["key"]')
  with pytest.raises(KeyError):
    registry.make('torsos', 'x', {'name': 'my_lab.bug'})


def test_make_leaves_the_spec_as_it_was():
  spec = settings.spec('lstm', width=3)
  registry.make('torsos', 'x', spec)
  assert spec.to_dict() == {'name': 'lstm', 'width': 3}


def test_what_a_module_of_ones_own_builds_and_imports_late_counts(user_module):
  user_module('my_lab.maths', 'BIAS = 0.3')
  user_module(
    'my_lab.coin',
    """
    import bayes_prompting as bp

    def make():
      from my_lab import maths

      return bp.task_prior('categorical', probabilities=(maths.BIAS, 0.7))
    """,
  )
  spec = {'name': 'my_lab.coin'}
  registry.make('task_priors', 'x', spec)
  found = registry.numerics(registry.modules('task_priors', spec))
  assert {'my_lab.coin', 'my_lab.maths', 'task_priors.categorical'} <= set(
    found
  )
  assert isinstance(found['task_priors.categorical'], int)
  assert isinstance(found['my_lab.maths'], str)


def test_helpers_are_found_through_modules_without_a_version(user_module):
  # `_layers` has none, and computes by `_fast`, which has one.
  user_module(
    'my_lab.deep',
    """
    from bayes_prompting.torsos import _layers

    def make():
      return _layers
    """,
  )
  registry.module('torsos', 'my_lab.deep')
  for name in ('transformer', 'linear_attention', 'my_lab.deep'):
    versions = registry.numerics([registry.module('torsos', name)])
    assert 'torsos._fast' in versions, name
    assert 'torsos._layers' not in versions


def test_what_else_a_process_has_built_does_not_count():
  coins = {'name': 'dirichlet_categorical', 'concentration': (1.0, 1.0)}
  chains = {'name': 'dirichlet_markov', 'order': 1, 'concentration': (1.0, 1.0)}
  spec = {'name': 'finite_pool', 'base': coins, 'size': 2, 'seed': 0}
  before = registry.numerics(registry.modules('task_priors', spec))
  registry.make('task_priors', 'x', spec)
  registry.make('task_priors', 'x', {**spec, 'base': chains})
  after = registry.numerics(registry.modules('task_priors', spec))
  assert after == before and 'task_priors.dirichlet_markov' not in after


def test_a_compiled_module_counts_by_its_bytes(user_module, tmp_path):
  import types as python_types

  compiled = python_types.ModuleType('my_lab.native')
  compiled.__file__ = str(tmp_path / 'native.so')
  pathlib.Path(compiled.__file__).write_bytes(b'\x7fELF\xff')
  assert len(registry.numerics([compiled])['my_lab.native']) == 16
