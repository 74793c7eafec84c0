"""Options that point the contract tests at a module of your own.

    pytest tests/task_priors --task_priors=my_lab.priors.bursty

The module needs `EXAMPLES`, as those of the package do.
"""

import collections
import os

import hypothesis
import jax
from matplotlib import mathtext
import pytest

from bayes_prompting import errors
from bayes_prompting import registry
from bayes_prompting.reporting import figures
from tests import browsing

# Compilation makes first calls slow, so no deadline; the same draws every time.
hypothesis.settings.register_profile('package', deadline=None, derandomize=True)
hypothesis.settings.load_profile('package')


def pytest_configure(config):
  """Compiles little and keeps it: compiling is most of what tests do."""
  values = {
    # As JAX's own tests do; the same programs, compiled faster, to slower code.
    'jax_disable_most_optimizations': True,
    # What is split over more is tested where it is meant.
    'jax_num_cpu_devices': 1,
  }
  if not any(config.getoption(f'--{kind}') for kind in registry.KINDS):
    # No axis is added that nobody asked for. Who tests a module of their own
    # may ask for less.
    values['jax_numpy_rank_promotion'] = 'raise'
  if hasattr(config, 'cache'):
    values |= {
      'jax_compilation_cache_dir': str(config.cache.mkdir('compiled')),
      'jax_persistent_cache_min_compile_time_secs': 0,
      'jax_persistent_cache_min_entry_size_bytes': -1,
    }
  else:
    values['jax_enable_compilation_cache'] = False  # Nor the user's own.
  for name, value in values.items():
    jax.config.update(name, value)
    os.environ[name.upper()] = str(value)  # For processes that tests start.
  # The first halves the time to compile; the second makes fewer modules of a
  # program, and takes a tenth less. Where XLA does not know a flag it ends the
  # process, and later versions do not know the first.
  if jax.__version_info__[:2] == (0, 10):
    flags = (
      os.environ.get('XLA_FLAGS', ''),
      '--xla_cpu_use_fusion_emitters=false',
      '--xla_cpu_parallel_codegen_split_count=1',
    )
    os.environ['XLA_FLAGS'] = ' '.join(flags).strip()


def pytest_collection_modifyitems(config, items):
  if config.pluginmanager.hasplugin('_cov'):  # With --cov.
    _measure_one_example(items)
  if hasattr(config, 'workerinput'):
    _sort(items)


def _measure_one_example(items):
  """Measures the coverage of one example of a test, and of each extension.

  Measuring takes a third of the time of all tests, on Python 3.11. What is not
  measured can only be missing: the coverage is at least what is said.
  """
  measured = set()
  for item in items:
    parameters = item.callspec.params if hasattr(item, 'callspec') else {}
    named = (parameters.get(f'{kind}_spec', {}) for kind in registry.KINDS)
    function = item.nodeid.partition('[')[0]
    test = function, *(spec.get('name') for spec in named)
    if test in measured:
      item.add_marker(pytest.mark.no_cover)
    measured.add(test)


def _sort(items):
  """Of several processes, has none left alone with a long file at the end."""
  weights = collections.Counter()
  for item in items:
    weights[item.path] += 100 if item.get_closest_marker('slow') else 1
  items.sort(key=lambda item: -weights[item.path])


@pytest.fixture(scope='module', autouse=True)
def _keys_of_a_module(request):
  with jax.debug_key_reuse(_watches_keys(request)):
    yield


@pytest.fixture(autouse=True)
def _keys_of_a_test(request):
  """No random key is used twice in tests, or modules, with the mark `keys`.

  All that draws is run in one of them. Everywhere this would take two fifths of
  the time of all tests.
  """
  with jax.debug_key_reuse(_watches_keys(request)):
    yield


def _watches_keys(request):
  ours = not any(request.config.getoption(f'--{x}') for x in registry.KINDS)
  return ours and request.node.get_closest_marker('keys') is not None


@pytest.fixture(scope='module', autouse=True)
def _figures_of_a_run(request):
  """A run draws its figures only where a module says `DRAWS = True`."""
  with pytest.MonkeyPatch.context() as patch:
    if not getattr(request.module, 'DRAWS', False):
      patch.setattr(figures, 'make_all', lambda dataset, folder: [])
    yield


@pytest.fixture(scope='session', autouse=True)
def _no_mathematics():
  """No figure reads any text as mathematics, for a name would be read too."""

  def fail(self, text, *unused):
    raise AssertionError(f'{text!r} is read as mathematics')

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(mathtext.MathTextParser, 'parse', fail)
    yield


@pytest.fixture(scope='module', autouse=True)
def _forget_programs():
  """Lets go of a module's programs: a process may map only so many of them."""
  yield
  jax.clear_caches()


@pytest.fixture(scope='module')
def browser():
  yield from browsing.start()


def pytest_addoption(parser):
  for kind in registry.KINDS:
    parser.addoption(
      f'--{kind}',
      action='append',
      default=[],
      help=f'Dotted name of a module to hold to the contract of {kind}.',
    )


def pytest_generate_tests(metafunc):
  """Fills an argument `<kind>_spec` with every example of every module."""
  for kind in registry.KINDS:
    argument = f'{kind}_spec'
    if argument not in metafunc.fixturenames:
      continue
    own = metafunc.config.getoption(kind)
    try:
      with registry.plugins():  # Named by whoever starts the tests.
        specs = [
          {'name': name, **example}
          for name in own or registry.names(kind)
          for example in registry.module(kind, name).EXAMPLES
        ]
    except errors.UserError as error:
      raise pytest.UsageError(f'--{kind}: {error}') from None
    ids = [
      '-'.join(str(value) for value in spec.values()).replace(' ', '')
      for spec in specs
    ]
    metafunc.parametrize(argument, specs, ids=ids)
