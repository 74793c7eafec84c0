"""The versions of numerics: numbers move only together with them.

Networks and results are known by the `NUMERICS` of the modules that compute
them. `numerics.json` holds a few numbers of each module, with the versions they
are of. Whoever changes numbers on purpose raises the version in that module and
stores the new numbers:

    python -m tests.test_numerics torsos.lstm

for the cases whose names begin so, or all without one.
"""

import functools
import importlib
import json
import pathlib
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bayes_prompting import keys
from bayes_prompting import predictors
from bayes_prompting import registry
from bayes_prompting import regret
from bayes_prompting import settings
from bayes_prompting import types
from bayes_prompting.experiment import build
from bayes_prompting.experiment import evaluation
from bayes_prompting.experiment import exactly
from bayes_prompting.experiment import reorderings
from bayes_prompting.experiment import tuning
from bayes_prompting.theory import expectation
from bayes_prompting.training import blocks
from bayes_prompting.training import fit
from bayes_prompting.training import mesh
from bayes_prompting.training import search
from bayes_prompting.tuners import _search
from bayes_prompting.tuners import hard_prefix
from tests import testing

STORED = pathlib.Path(__file__).parent / 'numerics.json'
LENGTH = 5
# Rounding of float32 differs between machines, and adds up over some updates.
TOLERANCES = {'rtol': 2e-3, 'atol': 2e-4}


def root_key():
  """Made anew for every use: no key is used twice."""
  return jax.random.key(3)


def summary(tree):
  """A few numbers of arrays that move when any of theirs does."""
  numbers = []
  for _, leaf in sorted(
    (jax.tree_util.keystr(path), np.asarray(leaf, np.float64))
    for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]
  ):
    finite = leaf[np.isfinite(leaf)].ravel()
    weights = np.cos(np.arange(finite.size))
    numbers += [leaf.size - finite.size, finite.sum(), finite @ weights]
  return [float(f'{number:.8g}') for number in numbers]


def specs(kind):
  """Yields the name of a case, and its spec: example `number` of `name`."""
  for name in registry.names(kind):
    for number, example in enumerate(registry.module(kind, name).EXAMPLES):
      yield f'{kind}.{name} {number}', {'name': name, **example}


def of_task_prior(spec):
  prior = registry.make('task_priors', 'test', spec)

  @jax.jit
  def compute(key):
    episode = prior.sample(key, LENGTH)
    rows = jax.nn.one_hot(episode.tokens[:2], prior.vocab_size)
    return episode, prior.predict(prior.prefill(rows), episode.tokens)

  return summary(compute(root_key()))


def of_torso(spec):
  torso = registry.make('torsos', 'test', spec)
  predictor = predictors.network(torso, 3, 4)

  @jax.jit
  def compute(key):
    params = predictor.init(key)
    tokens = jnp.array([[0, 2, 1, 1], [2, 0, 0, 1]], jnp.int32)

    def loss(params):
      log_probs = predictor.predict(params, predictor.start(params), tokens)
      return regret.log_loss(log_probs, tokens).sum()

    return params, jax.value_and_grad(loss)(params)

  return summary(compute(root_key()))


def of_tuner(spec):
  tuner = registry.make('tuners', 'test', spec)
  predictor, params = testing.network_for(tuner)

  @jax.jit
  def compute(key, params):
    tunable = tuner.init(key, predictor, params)
    chosen = () if tuner.candidates is None else tuner.candidates(predictor)
    if isinstance(chosen, types.Search):
      chosen = chosen.start(jax.random.key(4))
    return tunable, tuner.bind(predictor, params, tunable), chosen

  return summary(compute(root_key(), params))


def problem(tuner, **fields):
  predictor, params = testing.network('lstm')
  fields = {'num_steps': 4, 'batch_size': 6, 'length': LENGTH} | fields
  return params, fit.Problem(
    predictor, tuner, testing.random_coins(), fit.Settings(**fields)
  )


def of_fit():
  losses = []
  for fields in (
    {},
    {'schedule': 'cosine', 'sequence_block': 4},
    {'num_sequences': 3},
  ):
    params, task = problem(testing.tuner('weights'), **fields)
    losses.append(fit.fit(root_key(), task, params, fit.runs(2, 0.03))[1])
  return summary(losses)


def of_search():
  params, task = problem(testing.tuner('hard_prefix', length=2))
  return summary(search.search(root_key(), task, params, 2, num_draws=20))


def of_proposals():
  """Of searches that propose, in a problem with 64 prefixes."""
  found = []
  for name in _search.NAMES:
    tuner = testing.tuner(
      'hard_prefix', length=6, search=name, max_candidates=20
    )
    params, task = problem(tuner)
    found.append(
      search.search(root_key(), task, params, 1, num_draws=32).losses
    )
  return summary(found)


def of_tuning():
  """From a configuration: the streams, starts and settings of a run."""
  config = settings.base_config()
  config.network.embedding_dim = config.network.torso.width = 4
  config.tuning.learning_rate = (0.01, 0.02)
  # A default may change without the numerics of what is made from it.
  config.tuning.prefix_init = 'normal'
  config.tuning.methods = ('HardPT', 'RandomPF', 'SoftPT')
  config.tuning.prefix_length = 2
  config.tuning.search_draws = 20
  config.tuning.num_repetitions = 2
  for section in (config.pretraining, config.tuning):
    section.num_steps, section.batch_size, section.length = 2, 4, LENGTH
  lab = build.build(config)
  network = tuning.meta_train(lab, 1)
  tuned = [
    tuning.tune(lab, method, 1, network['params'])
    for method in lab.methods.values()
  ]
  return summary((network, tuned))


def of_evaluation():
  predictor, params = testing.network('lstm')
  task = evaluation.make_task(root_key(), testing.two_coins(), 9, LENGTH)
  none = testing.tuner('none')
  return summary(evaluation.evaluate(predictor, params, none, {}, task, (2,)))


def of_exactly():
  sums = exactly.Sums(testing.two_coins(), 10)
  values = np.array([[0, 0], [2, 0.5]])
  return summary(sums.of_values(testing.random_coins(), values))


def of_reorderings():
  chain = predictors.bayesian(
    testing.task_prior('dirichlet_markov', order=1, concentration=(1.0, 1.0))
  )
  histories = np.array([[0, 1, 1, 0, 1], [1, 1, 0, 1, 0]], np.int32)
  return summary(
    reorderings.spread(chain, {}, chain.start({}), histories, jax.random.key(0))
  )


def of_theory():
  return summary(
    expectation.expected_losses(
      testing.random_coins(), testing.two_coins(), 20, (0, 1)
    )
  )


def of_regret():
  log_probs = jax.nn.log_softmax(jnp.arange(24.0).reshape(2, 4, 3) % 7)
  tokens = jnp.array([[0, 1, 2, 0], [2, 2, 1, 0]])
  return summary(
    regret.regrets(
      log_probs, tokens, log_probs[::-1], log_probs[:, ::-1], jnp.ones(4)
    )
  )


def of_keys():
  streams = keys.stream(root_key(), 'data', 1, 2), keys.stream(root_key(), 'x')
  sample = keys.sample(root_key(), jnp.uint32(1), jnp.arange(2))
  return summary(
    [*map(jax.random.key_data, streams), jax.random.key_data(sample)]
  )


# Of which draws are others than of few tokens, see `task_priors._draws`.
MANY_TOKENS = (
  {'name': 'dirichlet_categorical', 'concentration': (1.0,) * 65},
  {'name': 'dirichlet_markov', 'order': 1, 'concentration': (0.5,) * 33},
)


# By module: what it computes. Helpers of a module are covered by it.
CASES = {
  **{
    case: (
      registry.modules('task_priors', spec),
      functools.partial(of_task_prior, spec),
    )
    for case, spec in (
      *specs('task_priors'),
      *((f'task_priors.{x["name"]} many', x) for x in MANY_TOKENS),
    )
  },
  **{
    case: (
      [registry.module('torsos', spec['name']), predictors],
      functools.partial(of_torso, spec),
    )
    for case, spec in specs('torsos')
  },
  **{
    case: (
      [registry.module('tuners', spec['name'])],
      functools.partial(of_tuner, spec),
    )
    for case, spec in specs('tuners')
  },
  'training.fit': ([fit, mesh, blocks], of_fit),
  'training.search': ([search], of_search),
  'training.search proposals': ([search, hard_prefix], of_proposals),
  'experiment.tuning': ([tuning], of_tuning),
  'experiment.evaluation': ([evaluation], of_evaluation),
  'experiment.exactly': ([exactly], of_exactly),
  'experiment.reorderings': ([reorderings], of_reorderings),
  'theory.expectation': ([expectation], of_theory),
  'regret': ([regret], of_regret),
  'keys': ([keys], of_keys),
}


def check(case, stored):
  """Raises AssertionError if numbers are not those of their versions."""
  modules, compute = CASES[case]
  versions = registry.numerics(modules)
  again = 'store the new numbers: python -m tests.test_numerics'
  assert case in stored, f'{case} is new; {again}'
  assert stored[case]['numerics'] == versions, (
    f'the numerics of {case} have another version; {again}'
  )
  found, wanted = compute(), stored[case]['numbers']
  assert np.shape(found) == np.shape(wanted) and np.allclose(
    found, wanted, **TOLERANCES
  ), (
    f'the numbers of {case} moved: {found}, stored are {wanted}. If that is '
    f'meant, raise NUMERICS in the module that moved them and {again}'
  )


@functools.cache
def stored():
  return json.loads(STORED.read_text())


@pytest.mark.parametrize('case', CASES)
def test_numbers_are_those_of_their_version(case):
  check(case, stored())


def test_nothing_else_is_stored():
  assert stored().keys() == CASES.keys()


def test_every_module_that_computes_has_a_version():
  for kind in registry.KINDS:
    package = importlib.import_module(f'bayes_prompting.{kind}')
    for path in pathlib.Path(package.__path__[0]).glob('[!_]*.py'):
      module = importlib.import_module(f'{package.__name__}.{path.stem}')
      assert isinstance(module.NUMERICS, int), path


def test_numbers_that_move_without_their_version_fail(monkeypatch):
  (lstm, *_) = (case for case in CASES if case.startswith('torsos.lstm'))
  module = registry.module('torsos', 'lstm')
  cell = module._gates
  check(lstm, stored())
  predictors.network.cache_clear()
  jax.clear_caches()
  monkeypatch.setattr(module, '_gates', lambda z: cell(z * 1.05))
  with pytest.raises(AssertionError, match='raise NUMERICS'):
    check(lstm, stored())
  monkeypatch.setattr(module, 'NUMERICS', module.NUMERICS + 1)
  with pytest.raises(AssertionError, match='another version'):
    check(lstm, stored())
  predictors.network.cache_clear()
  jax.clear_caches()


def main(*prefixes):
  """Stores the numbers of today, with their versions.

  Args:
    *prefixes: Of the cases to compute, such as `torsos.lstm`; without, all.
  """
  old = stored() if prefixes else {}
  new = {
    case: {'numerics': registry.numerics(modules), 'numbers': compute()}
    for case, (modules, compute) in CASES.items()
    if case.startswith(prefixes or '')
  }
  numbers = {case: (old | new)[case] for case in CASES if case in old | new}
  STORED.write_text(json.dumps(numbers, indent=1) + '\n')
  print(f'Stored {len(new)} cases in {STORED}')


if __name__ == '__main__':
  sys.exit(main(*sys.argv[1:]))
