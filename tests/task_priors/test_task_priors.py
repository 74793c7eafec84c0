"""Every task prior is held to its contract, and each to its mathematics."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special
from scipy import stats

from bayes_prompting import errors
from bayes_prompting import predictors
from bayes_prompting import registry
from bayes_prompting import types
from bayes_prompting.task_priors import _tables
from bayes_prompting.task_priors import pseudo_tasks
from tests import testing

# Made anew for every use: no key is used twice.
root_key = functools.partial(jax.random.key, 0)


_made = {}


@pytest.fixture
def prior(task_priors_spec):
  """One object for all tests of a spec, so that its programs serve them all."""
  name = repr(task_priors_spec)
  if name not in _made:
    _made[name] = registry.make('task_priors', 'test', task_priors_spec)
  return _made[name]


@pytest.fixture(scope='module', autouse=True)
def _forget_priors():
  yield
  _made.clear()
  for kept in (_predict, passes, episodes, from_tables, of_statistic):
    kept.cache_clear()


@functools.cache
def _predict(prior):
  read = jax.vmap(prior.predict, in_axes=(None, 0))
  return jax.jit(lambda rows, tokens: read(prior.prefill(rows), tokens))


LENGTH = 4


@functools.cache
def passes(prior):
  """Returns log predictives of all sequences of four tokens, by all ways.

  Returns:
    Of all tokens at once; of the last two, behind a prefix of two; and of all
    but the first, step by step.
  """
  predictor = predictors.bayesian(prior)

  @jax.jit
  @jax.vmap
  def run(sequence):
    state = prior.prefill(jnp.zeros((0, prior.vocab_size), jnp.float32))
    whole = prior.predict(state, sequence)
    rows = jax.nn.one_hot(sequence[:2], prior.vocab_size)
    split = prior.predict(prior.prefill(rows), sequence[2:])
    carry, second = predictor.begin({}, state, sequence[:1], 2)
    _, later = jax.lax.scan(
      lambda carry, token: predictor.step({}, carry, token),
      carry,
      sequence[1:3],
    )
    return whole, split, jnp.concatenate([second[None], later])

  tokens = testing.all_sequences(prior.vocab_size, LENGTH)
  return jax.device_get(run(tokens))


def all_of(prior, length):
  """Returns all sequences of up to four tokens, and their log predictives.

  They are the beginnings of those of four, since a prior is causal.
  """
  every = slice(None, None, prior.vocab_size ** (LENGTH - length))
  tokens = testing.all_sequences(prior.vocab_size, length)
  return tokens, passes(prior)[0][every, :length]


def mass_of_all(prior, length):
  """Predictive mass of each of all sequences."""
  return _mass(*all_of(prior, length))


def _mass(tokens, log_probs):
  picked = np.take_along_axis(log_probs, tokens[..., None], -1)[..., 0]
  return np.exp(picked.astype(np.float64).sum(-1))


@functools.cache
def episodes(prior):
  """Returns many episodes of six tokens; those before any of them are too."""
  sample = jax.jit(jax.vmap(lambda key: prior.sample(key, 6)))
  with jax.debug_key_reuse(True):  # Whatever test comes first.
    return jax.device_get(sample(jax.random.split(root_key(), 20_000)))


@functools.cache
def from_tables(prior):
  """Returns many episodes of three tokens of drawn tables, and a few tables."""

  def draw(key):
    table_key, token_key = jax.random.split(key)
    table = prior.sample_table(table_key)
    return _tables.episode(token_key, table, 3).tokens, table

  @jax.jit
  def run(keys):
    tokens, tables = jax.vmap(draw)(keys)
    return tokens, tables[:5]

  return jax.device_get(run(jax.random.split(root_key(), 20_000)))


def values_of_all(prior):
  """Values of the statistic after none to four of all sequences' tokens."""
  tokens = testing.all_sequences(prior.vocab_size, LENGTH)
  after = [statistic_after(prior, tokens[:, :n]) for n in range(LENGTH + 1)]
  return np.stack(after)


@functools.cache
def of_statistic(prior):
  """Returns what follows from the statistic, after none to four tokens.

  Returns:
    Log predictives, log evidences, and entropies of the source.
  """
  statistic = prior.statistic

  @jax.jit
  def run(values):
    return (
      statistic.log_predictive(values),
      statistic.log_evidence(values),
      statistic.source_entropy(values),
    )

  return jax.device_get(run(values_of_all(prior).astype(np.float32)))


def predictive(prior, tokens, prefix=()):
  """Log predictive of a batch of sequences, after a prefix of tokens."""
  rows = np.eye(prior.vocab_size, dtype=np.float32)[np.asarray(prefix, int)]
  return np.asarray(_predict(prior)(rows, np.asarray(tokens)))


def mass(prior, tokens):
  """Predictive mass of each sequence of a batch."""
  return _mass(tokens, predictive(prior, tokens))


def test_mass_over_all_sequences_is_one(prior):
  for length in range(1, LENGTH + 1):
    masses = mass_of_all(prior, length)
    np.testing.assert_allclose(masses.sum(), 1.0, atol=1e-5)


def test_predictive_is_normalised_or_empty_and_never_nan(prior):
  tokens, log_probs = all_of(prior, LENGTH)
  bad = np.argwhere(np.isnan(log_probs).any(-1))
  if len(bad):  # The shortest history says most.
    row, step = min(bad.tolist(), key=lambda at: at[::-1])
    history = np.asarray(tokens)[row, :step].tolist()
    pytest.fail(f'{log_probs[row, step]} after {history}; is it 0 * -inf?')
  sums = np.exp(log_probs.astype(np.float64)).sum(-1)
  impossible = np.isneginf(log_probs).all(-1)
  np.testing.assert_allclose(sums[~impossible], 1.0, atol=1e-5)


def assert_follow(prior, drawn):
  """Asserts that the predictive mass of sequences is how often they occur."""
  length = drawn.shape[1]
  codes = prior.vocab_size ** np.arange(length)[::-1]
  expected = mass_of_all(prior, length)
  counts = np.bincount(drawn @ codes, minlength=len(expected))
  error = np.sqrt(expected * (1 - expected) / len(drawn))
  beyond = np.abs(counts / len(drawn) - expected) - 5 * error
  worst = int(np.argmax(beyond))  # The first NaN, if there is one.
  tokens = np.unravel_index(worst, (prior.vocab_size,) * length)
  assert beyond[worst] <= 0, (
    f'`sample` draws {[int(x) for x in tokens]} with frequency '
    f'{counts[worst] / len(drawn):.4f}, `predict` says {expected[worst]:.4f}'
  )


def test_agrees_with_a_sum_over_sampled_sources(prior):
  if prior.recorded is not None:
    pytest.skip('nobody knows its sources')
  # The predictive mass of a sequence is the mean of its mass over sources.
  assert_follow(prior, episodes(prior).tokens[:, :3])


def test_prefill_then_predict_is_one_pass(prior):
  whole, split, _ = passes(prior)
  np.testing.assert_allclose(split, whole[:, 2:], atol=1e-5)


def test_steps_are_one_pass(prior):
  whole, _, steps = passes(prior)
  np.testing.assert_allclose(steps, whole[:, 1:], atol=1e-5)


def test_a_state_that_keeps_its_shape_can_observe(prior, task_priors_spec):
  def state(length):
    rows = jax.ShapeDtypeStruct((length, prior.vocab_size), jnp.float32)
    return jax.eval_shape(prior.prefill, rows)

  keeps = jax.tree.map(jnp.shape, state(2)) == jax.tree.map(jnp.shape, state(3))
  if prior.observe is not None:
    assert keeps
  elif task_priors_spec['name'] in registry.names('task_priors'):
    assert not keeps  # One of a user's own may do without.


def test_is_causal(prior):
  # What begins in the same way is predicted in the same way so far.
  whole = passes(prior)[0]
  for length in range(LENGTH):
    alike = whole[:, : length + 1].reshape(
      prior.vocab_size**length, -1, length + 1, prior.vocab_size
    )
    np.testing.assert_array_equal(
      alike, np.broadcast_to(alike[:, :1], alike.shape)
    )


def test_sampler_and_oracle_fit_each_other(prior):
  if prior.recorded is not None:
    pytest.skip('it has no oracle')
  episode = jax.tree.map(lambda x: x[:500], episodes(prior))
  assert isinstance(episode, types.Episode)
  total = prior.num_tokens(6)
  assert episode.tokens.shape == (500, total)
  assert episode.tokens.dtype == jnp.int32
  assert episode.oracle_log_probs.shape == (500, total, prior.vocab_size)
  positions = prior.positions(6) or tuple(range(6))
  assert len(positions) == 6 and positions == tuple(sorted({*positions}))
  probs = np.exp(np.asarray(episode.oracle_log_probs, np.float64))
  np.testing.assert_allclose(probs.sum(-1), 1.0, atol=1e-5)
  picked = np.take_along_axis(
    probs, np.asarray(episode.tokens)[..., None], axis=-1
  )
  assert picked.min() > 0  # What the oracle rules out is never drawn.
  # Drawn frequencies agree with the oracle's own expectation of them.
  drawn = np.eye(prior.vocab_size)[episode.tokens].mean((0, 1))
  np.testing.assert_allclose(drawn, probs.mean((0, 1)), atol=0.06)


def test_same_under_jit_and_vmap(prior, task_priors_spec):
  name = task_priors_spec['name']
  example = registry.module('task_priors', name).EXAMPLES[0]
  if task_priors_spec != {'name': name, **example}:
    return  # What is computed is the same function of other numbers.
  tokens, log_probs = all_of(prior, 3)

  @jax.jit
  def alone(sequence):
    state = prior.prefill(jnp.zeros((0, prior.vocab_size), jnp.float32))
    return prior.predict(state, sequence)

  for n in range(1, len(tokens), len(tokens) // 2):
    np.testing.assert_allclose(alone(tokens[n]), log_probs[n], atol=1e-6)


def test_draws_are_the_same_with_64_bits(prior):
  with jax.enable_x64(True):
    program = jax.make_jaxpr(lambda key: prior.sample(key, 3))(root_key())
  # A number is made of as many random bits as its type has.
  assert 'bit_width=32' in str(program)
  named = 'bit_width=64' not in str(program)
  assert named, 'a draw has no dtype by name, such as jnp.int32 or jnp.float32'


def statistic_after(prior, tokens):
  """Values [B, D] of the statistic after tokens [B, N]."""
  start = np.array(prior.statistic.start, np.int64)
  values = np.repeat(start[None], len(tokens), axis=0)
  for column in np.asarray(tokens, np.int64).T:
    values = prior.statistic.update(values, column)
  return values


def test_its_statistic_is_sufficient(prior):
  if prior.statistic is None:
    pytest.skip('has no statistic of fixed size')
  assert len(prior.statistic.counts) == len(prior.statistic.start)
  values = values_of_all(prior)[:LENGTH]
  assert values.dtype.kind == 'i'
  _, whole = all_of(prior, LENGTH)
  expected = whole.transpose(1, 0, 2)
  found = of_statistic(prior)[0][:LENGTH]
  np.testing.assert_allclose(found, expected, atol=2e-6)
  with jax.enable_x64(True):
    log_predictive = jax.jit(prior.statistic.log_predictive)
    precise = log_predictive(values.astype(np.float64))
    assert precise.dtype == np.float64
  np.testing.assert_allclose(precise, expected, atol=2e-6)


def test_its_evidence_is_the_mass_of_a_history(prior):
  if prior.statistic is None:
    pytest.skip('has no statistic of fixed size')
  tokens, log_probs = all_of(prior, LENGTH)
  found = np.exp(of_statistic(prior)[1])
  for length in range(LENGTH + 1):
    masses = _mass(tokens[:, :length], log_probs[:, :length])
    np.testing.assert_allclose(found[length], masses, atol=1e-6)


def test_mean_entropy_of_sources_given_a_history(prior):
  if prior.statistic is None:
    pytest.skip('has no statistic of fixed size')
  # The fifth token, and the four before it.
  tokens = episodes(prior).tokens[:, :LENGTH]
  log_probs = episodes(prior).oracle_log_probs[:, LENGTH].astype(np.float64)
  drawn = special.entr(np.exp(log_probs)).sum(-1)
  codes = prior.vocab_size ** np.arange(LENGTH)[::-1]
  expected = of_statistic(prior)[2][LENGTH][tokens @ codes]
  # Both have the same mean, given any history: here all, and those with a 0.
  for some in (slice(None), tokens[:, -1] == 0):
    gap = drawn[some] - expected[some]
    error = gap.std() / math.sqrt(max(len(gap), 1))
    assert abs(gap.mean()) <= 5 * error + 1e-5


def test_counts_are_its_statistic_where_it_says_so(prior):
  if not prior.exchangeable:
    pytest.skip('is not exchangeable')
  tokens = testing.all_sequences(prior.vocab_size, 3)
  counts = np.eye(prior.vocab_size)[tokens].sum(1)
  np.testing.assert_array_equal(statistic_after(prior, tokens), counts)
  assert all(prior.statistic.counts)


def test_what_tokens_add_to_counts_depends_on_labels_alone(prior):
  if prior.statistic is None:
    pytest.skip('has no statistic')
  tokens = testing.all_sequences(prior.vocab_size, 3)
  counts = np.array(prior.statistic.counts)
  raised = counts * np.arange(1, 1 + len(counts))
  values = np.array([prior.statistic.start] * len(tokens))
  higher = values + raised
  for column in tokens.T.astype(np.int64):
    values = prior.statistic.update(values, column)
    higher = prior.statistic.update(higher, column)
    np.testing.assert_array_equal(higher, values + raised)


def test_tables_are_the_sources_that_it_samples(prior):
  if prior.sample_table is None:
    pytest.skip('its sources are no tables')
  assert_follow(prior, from_tables(prior)[0])


def test_sources_are_in_the_support(prior):
  if None in (prior.support, prior.sample_table):
    pytest.skip('its sources are no tables')
  tables = from_tables(prior)[1]
  for table in np.exp(tables.astype(np.float64)):
    assert prior.support.covers(table)
  for point in prior.support.points:
    assert prior.support.covers(point)
    np.testing.assert_allclose(point.sum(-1), 1)


# Each prior against independent mathematics.


def test_dirichlet_against_its_closed_form_marginal():
  alpha = np.array([0.5, 1.5, 3.0])
  prior = testing.task_prior('dirichlet_categorical', concentration=alpha)
  for tokens in testing.all_sequences(3, 4):
    counts = np.bincount(tokens, minlength=3)
    expected = special.gammaln(alpha.sum()) - special.gammaln(alpha.sum() + 4)
    expected += np.sum(special.gammaln(alpha + counts) - special.gammaln(alpha))
    found = np.log(mass(prior, tokens[None])[0])
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_uniform_coin_against_quadrature():
  prior = testing.random_coins()
  nodes, weights = np.polynomial.legendre.leggauss(20)
  theta, weights = (nodes + 1) / 2, weights / 2
  for tokens in testing.all_sequences(2, 5):
    ones = tokens.sum()
    expected = np.sum(weights * theta**ones * (1 - theta) ** (5 - ones))
    np.testing.assert_allclose(mass(prior, tokens[None])[0], expected, 1e-5)


def test_dirichlet_samples_follow_its_marginals():
  alpha = np.array([0.3, 2.0])
  prior = testing.task_prior('dirichlet_categorical', concentration=alpha)
  episodes = jax.vmap(lambda k: prior.sample(k, 1))(
    jax.random.split(root_key(), 2000)
  )
  drawn = np.exp(np.asarray(episodes.oracle_log_probs[:, 0, 0], np.float64))
  assert stats.kstest(drawn, stats.beta(0.3, 2.0).cdf).pvalue > 1e-3


def test_mixture_against_enumeration_of_its_components():
  weights = np.array([0.3, 0.0, 0.7])
  probs = np.array([[0.1, 0.9, 0.0], [0.2, 0.2, 0.6], [0.0, 0.5, 0.5]])
  prior = testing.task_prior(
    'categorical_mixture', weights=weights, probabilities=probs
  )
  tokens = testing.all_sequences(3, 4)
  expected = (weights * np.prod(probs[:, tokens], axis=-1).T).sum(-1)
  np.testing.assert_allclose(mass(prior, tokens), expected, atol=1e-6)


def test_impossible_histories_have_infinite_loss_and_no_nan():
  for die in (
    testing.task_prior('categorical', probabilities=(0.5, 0.5, 0.0)),
    testing.task_prior('dirichlet_categorical', concentration=(1, 2, 0)),
  ):
    log_probs = predictive(die, np.array([[0, 2, 1]]))[0]
    assert np.isneginf(log_probs[1, 2])  # The impossible token itself.
    assert np.isneginf(log_probs[2]).all()  # And whatever follows it.
  mixture = testing.task_prior(
    'categorical_mixture',
    weights=(0.5, 0.5),
    probabilities=((1.0, 0.0), (0.0, 1.0)),
  )
  log_probs = predictive(mixture, np.array([[0, 1, 0]]))[0]
  np.testing.assert_allclose(log_probs[0], np.log([0.5, 0.5]), atol=1e-6)
  np.testing.assert_allclose(log_probs[1], [0.0, -np.inf], atol=1e-6)
  assert np.isneginf(log_probs[2]).all()


COIN = {'name': 'categorical', 'probabilities': (0.2, 0.8)}


def test_no_demonstrations_are_the_task_itself():
  task = testing.task_prior('demonstrations', task=COIN, num=0)
  assert task is testing.task_prior(**COIN)


@pytest.mark.parametrize(
  ('task', 'tokens'),
  [
    (COIN, 2**11),
    # A state before each action that is scored.
    ({'name': 'imitation', 'num_states': 1, 'num_actions': 2}, 2**12),
  ],
)
def test_more_demonstrations_than_anybody_means_are_refused(task, tokens):
  with pytest.raises(errors.UserError, match=f'num: 1024 .* of {tokens} tok'):
    testing.task_prior('demonstrations', task=task, num=2**10, length=2**11)


def test_demonstrations_of_a_source_are_its_earlier_tokens():
  coins = {'name': 'dirichlet_categorical', 'concentration': (1.0, 1.0)}
  prior = testing.task_prior(
    'demonstrations', task=coins, num=2, length=2, of='source'
  )
  assert prior.positions(3) == (4, 5, 6)
  tokens = np.array([[1, 1, 1, 0, 1, 0, 1]])
  alone = predictive(testing.task_prior(**coins), tokens)
  np.testing.assert_array_equal(predictive(prior, tokens), alone)


def test_demonstrations_of_what_is_scored_in_part():
  task = {'name': 'imitation', 'num_states': 2, 'num_actions': 2}
  kwargs = {'task': task, 'num': 2, 'length': 3}
  alone = testing.task_prior('demonstrations', **kwargs)
  assert alone.positions(2) == (13, 15) and alone.num_tokens(2) == 16
  one = testing.task_prior('demonstrations', **kwargs, of='source')
  assert one.positions(2) == (13, 15)
  draw = jax.jit(lambda key: [x.sample(key, 2) for x in (alone, one)])
  for episode in draw(root_key()):
    assert episode.tokens.shape == (16,)
    # States and actions in turn.
    np.testing.assert_array_equal(episode.tokens >= 2, np.arange(16) % 2)


def test_an_imitator_weighs_policies_by_what_they_did():
  policies = np.array([[[0.9, 0.1], [0.5, 0.5]], [[0.2, 0.8], [0.0, 1.0]]])
  weights = np.array([0.25, 0.75])
  prior = testing.task_prior(
    'imitation', num_states=2, num_actions=2, policies=policies, weights=weights
  )
  tokens = np.array([[0, 2, 1, 3, 0, 3, 1, 3]])
  assert prior.positions(4) == (1, 3, 5, 7)
  actions = np.exp(predictive(prior, tokens)[0, 1::2])
  posterior = weights
  for step, (state, action) in enumerate(tokens.reshape(-1, 2)):
    expected = posterior @ policies[:, state]
    np.testing.assert_allclose(actions[step], [0, 0, *expected], atol=1e-6)
    posterior = posterior * policies[:, state, action - 2]
    posterior = posterior / posterior.sum()
  # An action where a state belongs is impossible.
  assert mass(prior, np.array([[0, 2, 3]]))[0] == 0
  # What the world does says nothing of the policy.
  states = np.exp(predictive(prior, tokens)[0, 2])
  assert states[:2].sum() == pytest.approx(1) and not states[2:].any()


def test_tables_of_sequences_are_counted():
  tokens = np.array([[0, 1, 1, 0, 1], [2, 2, 2, 2, 2]])
  zero = pseudo_tasks.empirical(tokens, 3, 0, 0.5)
  np.testing.assert_allclose(
    zero[:, 0],
    [[2.5 / 6.5, 3.5 / 6.5, 0.5 / 6.5], [0.5 / 6.5] * 2 + [5.5 / 6.5]],
  )
  one = pseudo_tasks.empirical(tokens, 3, 1, 0.0)
  np.testing.assert_allclose(one[0], [[0, 1, 0], [0.5, 0.5, 0], [1 / 3] * 3])
  np.testing.assert_allclose(one[1], [[1 / 3] * 3, [1 / 3] * 3, [0, 0, 1]])


@pytest.mark.parametrize('order', [0, 1, 2])
def test_a_relabelled_source_makes_relabelled_sequences(order):
  names = np.array([2, 0, 1])
  rng = np.random.default_rng(order)
  tokens = rng.integers(3, size=(2, 40))
  tables, renamed = (
    pseudo_tasks.empirical(x, 3, order, 0.5) for x in (tokens, names[tokens])
  )
  for table, expected in zip(tables, renamed, strict=True):
    np.testing.assert_allclose(pseudo_tasks.relabelled(table, names), expected)


def test_pseudo_tasks_are_mixtures_of_what_was_seen():
  # Two deterministic coins: every table is all one token, by any name.
  base = {
    'name': 'categorical_mixture',
    'weights': (0.5, 0.5),
    'probabilities': ((1.0, 0.0), (0.0, 1.0)),
  }
  kwargs = {'base': base, 'num_sequences': 9, 'length': 3, 'smoothing': 0.0}
  pure = testing.task_prior('pseudo_tasks', **kwargs, size=40, mix=False)
  assert {p.ravel()[0] for p in pure.support.points} == {0.0, 1.0}
  mixed = testing.task_prior('pseudo_tasks', **kwargs, size=40)
  shares = np.array([p.ravel()[0] for p in mixed.support.points])
  assert ((0 < shares) & (shares < 1)).sum() > 10
  # A larger pool holds a smaller one.
  fewer = testing.task_prior('pseudo_tasks', **kwargs, size=20)
  assert all(mixed.support.covers(table) for table in fewer.support.points)


def test_demonstrations_show_which_task_it_is():
  # Two tasks of two coins each. A demonstration has a coin of its own.
  tasks = [[(0.9, 0.1), (0.6, 0.4)], [(0.2, 0.8), (0.5, 0.5)]]
  length, num = 2, 2
  prior = testing.task_prior(
    'union',
    components={
      f'task_{i}': {
        'weight': 0.5,
        'name': 'demonstrations',
        'num': num,
        'length': length,
        'task': {
          'name': 'categorical_mixture',
          'weights': (0.5, 0.5),
          'probabilities': coins,
        },
      }
      for i, coins in enumerate(tasks)
    },
  )
  assert prior.positions(2) == (4, 5)
  for tokens in ([0, 0, 1, 0, 0, 1], [1, 1, 1, 0, 1, 1], [0, 1, 1, 1, 1, 0]):
    masses = []
    for end in range(7):  # The mass of every beginning, by enumeration.
      of_tasks = [
        np.prod(
          [
            np.mean([np.prod(np.array(coin)[part]) for coin in coins])
            for part in (tokens[:end][i : i + 2] for i in range(0, end, 2))
            if part
          ]
        )
        for coins in tasks
      ]
      masses.append(np.mean(of_tasks))
    expected = np.array(masses[1:]) / np.array(masses[:-1])
    array = np.array([tokens])
    log_probs = predictive(prior, array)
    picked = np.take_along_axis(log_probs, array[..., None], -1)[0, :, 0]
    np.testing.assert_allclose(np.exp(picked), expected, rtol=1e-5)


@pytest.mark.parametrize(
  'other',
  [
    {'name': 'demonstrations', 'task': COIN, 'num': 3, 'length': 1},
    COIN,
    # The first that is scored is the second token, too, but then the fourth.
    {'name': 'imitation', 'num_states': 1, 'num_actions': 2},
  ],
)
def test_tasks_that_score_other_positions_make_no_union(other):
  coin = COIN
  if other['name'] == 'imitation':
    coin = {'name': 'categorical', 'probabilities': (0.2, 0.3, 0.5)}
  shown = {'name': 'demonstrations', 'task': coin, 'num': 1, 'length': 1}
  with pytest.raises(errors.UserError, match='components.b: .*same positions'):
    testing.task_prior(
      'union',
      components={
        'a': {**shown, 'weight': 0.5},
        'b': {**other, 'weight': 0.5},
      },
    )


def test_categorical_is_a_mixture_of_one():
  one = testing.single_coin()
  mixture = testing.task_prior(
    'categorical_mixture', weights=(1.0,), probabilities=((0.2, 0.8),)
  )
  tokens = testing.all_sequences(2, 4)
  np.testing.assert_allclose(
    predictive(one, tokens), predictive(mixture, tokens), atol=1e-6
  )


@pytest.mark.parametrize(
  ('name', 'kwargs', 'field'),
  [
    ('categorical', {'probabilities': (0.5, 0.6)}, 'probabilities'),
    ('categorical', {'probabilities': (-0.5, 1.5)}, 'probabilities'),
    ('categorical', {'probabilities': (1.0,)}, 'probabilities'),
    ('dirichlet_categorical', {'concentration': (0.0, 0.0)}, 'above 0'),
    ('dirichlet_categorical', {'concentration': (1.0, -1.0)}, 'negative'),
    (
      'categorical_mixture',
      {'weights': (1.0,), 'probabilities': ((0.5, 0.5), (0.1, 0.9))},
      'weights',
    ),
    (
      'categorical_mixture',
      {'weights': (0.5, 0.5), 'probabilities': ((0.5, 0.5), (0.1, 0.8))},
      'probabilities',
    ),
  ],
)
def test_refuses_what_is_no_prior(name, kwargs, field):
  with pytest.raises(ValueError, match=field) as info:
    testing.task_prior(name, **kwargs)
  assert '\n' not in str(info.value)


def test_every_module_has_examples():
  for name in registry.names('task_priors'):
    examples = registry.module('task_priors', name).EXAMPLES
    assert examples
    assert all(isinstance(example, dict) for example in examples)


def test_what_priors_of_the_package_may_leave_out():
  # What is optional is skipped above: it must not go missing unnoticed.
  without = {'statistic': set(), 'support': set(), 'sample_table': set()}
  exchangeable, recorded = set(), set()
  for name in registry.names('task_priors'):
    for example in registry.module('task_priors', name).EXAMPLES:
      prior = testing.task_prior(name, **example)
      exchangeable |= {name} if prior.exchangeable else set()
      recorded |= {name} if prior.recorded is not None else set()
      for part, names in without.items():
        names |= {name} if getattr(prior, part) is None else set()
  hidden = {'hmm_mixture', 'switching', 'union'}  # Unions: with such a part.
  hidden |= {'demonstrations', 'imitation', 'sequences'}
  assert without == dict.fromkeys(without, hidden)
  assert recorded == {'sequences'}
  assert exchangeable == {
    'categorical',
    'categorical_mixture',
    'dirichlet_categorical',
    'dirichlet_mixture',
    'finite_pool',
    'pseudo_tasks',
    'union',
  }
