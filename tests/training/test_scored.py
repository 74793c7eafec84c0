"""What stands before the scored tokens is read, and does not count."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from bayes_prompting import errors
from bayes_prompting import keys
from bayes_prompting import predictors
from bayes_prompting import regret
from bayes_prompting.dynamics import study
from bayes_prompting.experiment import build
from bayes_prompting.experiment import evaluation
from bayes_prompting.experiment import memory
from bayes_prompting.theory import expectation
from bayes_prompting.training import fit
from bayes_prompting.training import search
from tests import testing

COIN = {'name': 'categorical', 'probabilities': (0.2, 0.8)}
BEFORE, LENGTH, BATCH, RATE = 4, 3, 4, 0.01
SETTINGS = fit.Settings(num_steps=1, batch_size=BATCH, length=LENGTH)
# Made anew for every use: no key is used twice.
root_key = functools.partial(jax.random.key, 5)


def shown(**kwargs):
  return testing.task_prior(
    'demonstrations', **{'task': COIN, 'num': 2, 'length': 2, **kwargs}
  )


def draw(prior, batch_keys, length=LENGTH):
  sample = jax.jit(jax.vmap(lambda key: prior.sample(key, length)))
  return sample(batch_keys).tokens


def window(predictor, params, state, tokens):
  """Log losses [B] of the scored tokens, after a state behind those before."""

  def one(row):
    rows = jax.nn.one_hot(row[:BEFORE], predictor.vocab_size)
    x = predictor.embed(params, rows)
    # What the network is shown, and only then what is scored.
    behind = predictor.prefill(params, jnp.concatenate([state, x]))
    tokens = row[None, BEFORE:]
    log_probs = predictor.predict(params, behind, tokens)
    return regret.log_loss(log_probs, tokens)[0]

  return jax.vmap(one)(tokens)


def test_losses_and_gradients_are_those_of_the_window_alone():
  predictor, params = testing.network('gru', width=5)
  tuner = testing.tuner('prefix', length=2)
  problem = fit.Problem(predictor, tuner, shown(), SETTINGS)
  state, losses = fit.fit(root_key(), problem, params, fit.runs(1, RATE))

  batch_keys = jax.random.split(keys.stream(root_key(), 'data', 0, 0), BATCH)
  tokens = draw(shown(), batch_keys)
  assert tokens.shape == (BATCH, BEFORE + LENGTH)
  start = tuner.init(keys.stream(root_key(), 'init', 0), predictor, params)

  @jax.jit
  def by_hand(prefix):
    loss = lambda prefix: window(predictor, params, prefix, tokens).mean()
    value, gradient = jax.value_and_grad(loss)(prefix)
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(RATE))
    changes, _ = optimizer.update(gradient, optimizer.init(prefix), prefix)
    return value, optax.apply_updates(prefix, changes)

  value, expected = by_hand(start)
  np.testing.assert_allclose(losses[0, 0], value, rtol=1e-5)
  np.testing.assert_allclose(state.tunable[0], expected, atol=1e-5)
  # As far as it would go with all tokens it goes nowhere near.
  whole = predictor.predict(params, predictor.prefill(params, start), tokens)
  assert abs(regret.log_loss(whole, tokens).mean() - value) > 0.5


def test_a_search_scores_the_window_alone():
  predictor, params = testing.network('gru', width=5)
  tuner = testing.tuner('hard_prefix', length=1)
  problem = fit.Problem(predictor, tuner, shown(), SETTINGS)
  found = search.search(root_key(), problem, params, 1, num_draws=8)
  draws = jax.random.split(keys.stream(root_key(), 'search', 0), 8)
  tokens = draw(shown(), draws)

  @jax.jit
  def by_hand(candidate):
    prefix = predictor.embed(params, jax.nn.one_hot(candidate, 2))
    return window(predictor, params, prefix, tokens).mean()

  expected = [by_hand(np.array([token])) for token in range(2)]
  np.testing.assert_allclose(found.losses[0], expected, rtol=1e-5)


@pytest.mark.parametrize('of', ['task', 'source'])
def test_regrets_are_those_of_the_window_alone(of):
  coins = {'name': 'dirichlet_categorical', 'concentration': (1.0, 1.0)}
  prior = shown(task=coins, of=of)
  bayes = predictors.bayesian(testing.task_prior(**coins))
  task = evaluation.make_task(root_key(), prior, 1024, LENGTH)
  assert task.tokens.shape == (1024, BEFORE + LENGTH)
  assert task.bayes_log_probs.shape == (1024, LENGTH, 2)
  regrets = evaluation.evaluate(
    bayes, {}, testing.tuner('none'), {}, task, (LENGTH,)
  )
  oracle, paired = (
    regret.REFERENCES.index('oracle'),
    regret.ESTIMATORS.index('paired'),
  )
  own = regrets.cumulative[0, oracle, paired]
  against = regrets.cumulative[0, regret.REFERENCES.index('bayes'), paired]
  if of == 'source':
    # A predictor that counts all tokens is Bayes: nothing is lost to it.
    np.testing.assert_allclose(against, 0, atol=1e-5)
    assert own[-1] < 0.35
  else:
    # It takes the demonstrations for evidence, and Bayes knows better.
    assert against[-1] > 0.1
  # What Bayes loses to the oracle is that of the window, too: of a source from
  # its fifth token on, of a task from its first.
  lost = np.asarray(task.bayes_oracle_regret, np.float64).sum(1)
  first = BEFORE * (of == 'source')
  coin = testing.task_prior(**coins)
  exact = expectation.expected_regret(coin, coin, first + LENGTH)[first:].sum()
  assert abs(lost.mean() - exact) < 5 * lost.std() / np.sqrt(len(lost))


def test_without_demonstrations_a_fit_has_the_numbers_of_the_task():
  predictor, params = testing.network('gru', width=5)
  tuner = testing.tuner('prefix', length=2)
  outcomes = [
    fit.fit(
      root_key(),
      fit.Problem(predictor, tuner, prior, SETTINGS),
      params,
      fit.runs(1, RATE),
    )
    for prior in (shown(num=0), testing.task_prior(**COIN))
  ]
  testing.assert_trees_identical(outcomes[0][0].tunable, outcomes[1][0].tunable)
  np.testing.assert_array_equal(outcomes[0][1], outcomes[1][1])


@pytest.fixture
def config():
  """What the document's lines make."""
  block = testing.blocks('docs/task_priors.md')[1]
  scope = {}
  exec(block, scope)
  scope['config'].tuning.methods = ('NoTuning',)
  return scope['config']


def test_the_document_s_lines_build(config):
  prior = build.build(config).priors['shown']
  assert prior.positions(3) == (40, 41, 42) and prior.num_tokens(3) == 43


def test_orders_of_what_is_not_scored_are_refused(config):
  config.evaluation.reorderings = ('shown',)
  with pytest.raises(errors.UserError, match='^evaluation.reorderings: .shown'):
    build.build(config)


def test_a_prefix_starts_from_what_is_scored():
  # Tokens before it are of another coin.
  prior = {
    'name': 'demonstrations',
    'task': {'name': 'categorical', 'probabilities': (0.0, 1.0)},
    'num': 1,
    'length': 2,
  }
  predictor, params = testing.network('linear')
  tuner = testing.tuner(
    'prefix', form='real', length=3, init='tokens', tokens=prior
  )
  rows = tuner.init(root_key(), predictor, params)
  np.testing.assert_array_equal(rows, np.eye(2)[[1, 1, 1]])


def test_memory_is_estimated_of_all_tokens(config):
  def sizes(config):
    lab = build.build(config)
    return {
      part.name: part.size
      for part in memory.parts(lab)
      if part.name.startswith(('the activations', 'the draws'))
    }

  config.tuning.methods = ('HardPT', 'SoftPT')
  config.tuning.prefix_length = 2
  longer = config.copy_and_resolve_references()
  config.tuning.target = 'shown'
  longer.tuning.length += 40
  longer.evaluation.length += 40
  longer.evaluation.tasks = (longer.tuning.target,)
  shown = sizes(config)
  assert len(shown) == 4 and shown == sizes(longer)


def test_what_happens_inside_is_not_shown_of_what_is_not_scored(
  config, monkeypatch
):
  config.tuning.target = 'shown'
  lab = build.build(config)
  monkeypatch.setattr(study.loading, 'load', lambda *args: (lab, None))
  with pytest.raises(errors.UserError, match='^tasks.shown: .* not scored'):
    study.study('a run')
