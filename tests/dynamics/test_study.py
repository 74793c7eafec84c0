"""What a prompt does inside a network, and what it means, by closed forms."""

import jax
import numpy as np
import pytest

from bayes_prompting import errors
from bayes_prompting import predictors
from bayes_prompting import registry
from bayes_prompting import settings
from bayes_prompting.dynamics import dirichlet_fit
from bayes_prompting.dynamics import figures
from bayes_prompting.dynamics import probe
from bayes_prompting.dynamics import study
from bayes_prompting.experiment import run as run_lib
from bayes_prompting.reporting import style
from tests import testing
from tests.experiment import test_run

pytestmark = pytest.mark.keys  # See conftest.py.

METHODS = ('PreBayesPT', 'NoTuning', 'HardPT', 'SoftPT', 'StatePT', 'UnembedWT')
PREFIX, LENGTH = 2, 4  # Of the tiny configuration.


def predictions(prior, prefix=(), length=8):
  """Bayes' log probabilities of all sequences, after a prefix of tokens."""
  bayes = predictors.bayesian(prior)
  rows = np.eye(prior.vocab_size, dtype=np.float32)[np.asarray(prefix, int)]
  tokens = testing.all_sequences(prior.vocab_size, length)
  return bayes.predict({}, bayes.prefill({}, rows), tokens), tokens


@pytest.mark.parametrize(
  ('prefix', 'alpha'),
  [((), (1, 1)), ((0, 1, 1), (2, 3)), ((1,) * 6, (1, 7))],
)
def test_a_hard_prefix_of_bayes_means_its_counts(prefix, alpha):
  log_probs, tokens = predictions(testing.random_coins(), prefix)
  found = dirichlet_fit.explain(log_probs, tokens)
  np.testing.assert_allclose(found.alpha, alpha, rtol=1e-4)
  assert found.misfit < 1e-9
  assert not found.unbounded


def test_three_tokens_have_a_dirichlet():
  prior = testing.task_prior(
    'dirichlet_categorical', concentration=(0.5, 1.0, 4.0)
  )
  log_probs, tokens = predictions(prior, (0, 0, 2), length=5)
  found = dirichlet_fit.explain(log_probs, tokens)
  np.testing.assert_allclose(found.alpha, (2.5, 1, 5), rtol=1e-4)
  assert found.misfit < 1e-9


def test_a_small_concentration_is_no_limit():
  tokens = testing.all_sequences(2, 6)
  counts = np.eye(2)[tokens].cumsum(1) - np.eye(2)[tokens] + [1e-6, 1.0]
  log_probs = np.log(counts / counts.sum(-1, keepdims=True))
  found = dirichlet_fit.explain(log_probs, tokens)
  assert not found.unbounded
  np.testing.assert_allclose(found.alpha, [0, 1], atol=2e-3)


def test_a_single_coin_is_the_limit_of_large_concentrations():
  log_probs, tokens = predictions(testing.single_coin())
  found = dirichlet_fit.explain(log_probs, tokens)
  assert found.unbounded
  mean = found.alpha / found.alpha.sum()
  np.testing.assert_allclose(mean, (0.2, 0.8), rtol=1e-4)
  assert found.misfit < 1e-6


def test_no_posterior_explains_a_mixture_of_two_coins():
  log_probs, tokens = predictions(testing.two_coins())
  found = dirichlet_fit.explain(log_probs, tokens)
  assert found.misfit > 0.05
  # By the formula, sequence by sequence, on a grid around what was found.
  p = np.exp(np.asarray(log_probs, float))
  ones = np.cumsum(tokens, axis=1) - tokens
  counts = np.stack([np.arange(8) - ones, ones], axis=-1)

  def by_hand(alpha):
    q = (counts + alpha) / (np.arange(8)[:, None] + np.sum(alpha))
    return np.sum(p * np.log(p / q), axis=(1, 2)).mean()

  np.testing.assert_allclose(by_hand(found.alpha), found.misfit, atol=1e-6)
  for alpha in np.stack(np.meshgrid(*[np.geomspace(0.1, 1e3, 7)] * 2), -1):
    for one in alpha:
      expected = by_hand(one)
      assert expected >= found.misfit - 1e-6
      value = dirichlet_fit.misfit(one, log_probs, tokens)
      np.testing.assert_allclose(value, expected, atol=1e-5)


def test_what_predicts_nothing_means_nothing():
  tokens = testing.all_sequences(2, 3)
  for nothing in (np.nan, -np.inf):
    log_probs = np.full((*tokens.shape, 2), nothing)
    found = dirichlet_fit.explain(log_probs, tokens)
    assert np.isnan(found.alpha).all() and np.isnan(found.misfit)
    assert np.isnan(dirichlet_fit.misfit(np.ones(2), log_probs, tokens))


@pytest.mark.parametrize('alpha', [(1, 1), (0.3, 0, 2), (5, 40, 0.1)])
def test_concentration_of_a_dirichlet(alpha):
  prior = testing.task_prior('dirichlet_categorical', concentration=alpha)
  np.testing.assert_allclose(
    dirichlet_fit.concentration(prior), alpha, rtol=1e-3, atol=1e-6
  )


def test_other_priors_have_no_concentration():
  sticky = testing.random_coins()
  sticky = sticky.__class__(2, sticky.sample, sticky.prefill, sticky.predict)
  for prior in (testing.single_coin(), testing.two_coins(), sticky):
    assert np.isnan(dirichlet_fit.concentration(prior)).all()


def test_plane_is_that_of_the_covariance():
  rng = np.random.default_rng(0)
  points = rng.normal(size=(50, 4)) @ np.diag([1, 5, 0.1, 3]) + 7
  plane = probe.fit_plane(points)
  values, vectors = np.linalg.eigh(np.cov(points.T))
  np.testing.assert_allclose(plane.explained, values[:-3:-1] / values.sum())
  for axis, vector in zip(plane.axes, vectors.T[:-3:-1], strict=True):
    np.testing.assert_allclose(abs(axis @ vector), 1)
    assert axis[np.abs(axis).argmax()] > 0
  found, distance = probe.project(plane, points)
  rest = (points - points.mean(0)) @ vectors[:, :2]
  np.testing.assert_allclose(distance, np.linalg.norm(rest, axis=-1))
  np.testing.assert_allclose(
    (found**2).sum(-1) + distance**2, ((points - plane.mean) ** 2).sum(-1)
  )


def test_plane_of_a_line():
  plane = probe.fit_plane(np.array([[1.0], [3.0]]))
  np.testing.assert_allclose(plane.explained, (1, 0))
  found, distance = probe.project(plane, np.array([[3.0]]))
  np.testing.assert_allclose(found, [[1, 0]])
  np.testing.assert_allclose(distance, 0)


def test_rows_are_compared_with_the_nearest_token():
  embeddings = np.array([[2.0, 0], [0, 1]])
  found = probe.compare_rows([[3, 0], [0, -1], [1, 1], [0, 0]], embeddings)
  np.testing.assert_allclose(found['row_norm'], [3, 1, 2**0.5, 0])
  np.testing.assert_array_equal(found['row_nearest'], [0, 1, 1, 1])
  np.testing.assert_allclose(found['row_distance'], [1, 2, 1, 1])
  np.testing.assert_allclose(found['row_cosine'], [1, -1, 0.5**0.5, 0])


def test_memory_along_a_sequence_is_that_of_its_state(torsos_spec):
  torso = registry.make('torsos', 'test', torsos_spec)
  network = predictors.network(torso, 3, 8)
  params = jax.jit(network.init)(jax.random.key(0))
  prefill, trace = jax.jit(network.prefill), jax.jit(network.trace)
  rows = network.embed(params, np.eye(3, dtype=np.float32)[[0, 2, 1, 1]])

  def memory(state):
    if hasattr(torso, 'memory'):
      return torso.memory(state['torso'])
    return state['output']

  whole = trace(params, network.start(params), rows)
  for n in (2, 4):
    state = prefill(params, rows[:n])
    np.testing.assert_allclose(whole[n], memory(state), atol=1e-5)
  middle = trace(params, prefill(params, rows[:2]), rows[2:])
  np.testing.assert_allclose(whole[2:], middle, atol=1e-5)


def test_an_lstm_remembers_its_cells():
  torso = registry.make('torsos', 'test', {'name': 'lstm', 'num_layers': 2})
  state = (('c0', 'h0'), ('c1', 'h1'))
  state = jax.tree.map(lambda name: np.full(3, float(name[1])), state)
  np.testing.assert_array_equal(torso.memory(state), [0, 0, 0, 1, 1, 1])


def test_rows_of_a_prefix_are_what_bind_shows(tuners_spec):
  tuner = registry.make('tuners', 'test', tuners_spec)
  # A start that is learned is the start of another tuner, which it shows.
  inner = tuners_spec.get('tuner', tuners_spec)
  shown = inner['name'] in ('prefix', 'hard_prefix')
  assert (tuner.rows is not None) == shown
  if tuner.rows is None:
    return
  network, params = testing.network('linear')
  tunable = tuner.init(jax.random.key(1), network, params)
  rows = tuner.rows(network, params, tunable)
  _, state = tuner.bind(network, params, tunable)
  testing.assert_trees_identical(state, network.prefill(params, rows))


def finished(path, torso, methods):
  """Makes a run with all that dynamics need, and no more: no training."""
  config = test_run.tiny(
    **{
      'tuning.methods': methods,
      'tuning.num_steps': 0,
      'pretraining.num_steps': 0,
    }
  )
  with config.unlocked():
    config.network.torso = torso
    config.methods.UnembedWT.start = 'random'
  lab, folder = run_lib.open_run(config, path)
  run_lib.tune(lab, run_lib.meta_train(lab, folder), folder)
  return path


@pytest.fixture(scope='module')
def run(tmp_path_factory):
  # What is tested of it does not depend on the torso; this compiles quickly.
  torso = settings.spec('linear', width=5)
  return finished(tmp_path_factory.mktemp('run') / 'linear', torso, METHODS)


@pytest.fixture(scope='module')
def dataset(run):
  return study.study(run, repetition=1, num_sequences=6, num_sources=7)


def test_every_variable_is_there(dataset):
  assert set(dataset.data_vars) == set(study.VARIABLES)
  for name, (dims, *_) in study.VARIABLES.items():
    assert dataset[name].dims == dims
  sizes = {'source': 7, 'step': LENGTH + 1, 'row': PREFIX, 'repetition': 2}
  assert dict(dataset.sizes).items() >= sizes.items()


def test_paths_begin_where_prefixes_end(dataset):
  def path(name, method):
    return dataset[name].sel(tuner=method).values

  np.testing.assert_allclose(
    path('token_path', 'NoTuning'), dataset.untuned_path, atol=1e-5
  )
  for method in ('HardPT', 'SoftPT'):
    rows = path('prefix_path', method)
    tokens = path('token_path', method)
    np.testing.assert_allclose(rows[0], dataset.untuned_path[0], atol=1e-5)
    np.testing.assert_allclose(rows[-1], tokens[0], atol=1e-5)
    assert path('prefix_distance', method)[-1] == pytest.approx(
      path('token_distance', method)[0], abs=1e-4
    )
  for method in ('NoTuning', 'StatePT', 'UnembedWT', 'PreBayesPT'):
    assert np.isnan(path('prefix_path', method)).all()
  held = ['NoTuning', 'HardPT', 'SoftPT', 'StatePT']
  found = dataset.token_path.notnull().all(['step', 'component'])
  assert dataset.tuner.values[found].tolist() == held


def test_cloud_is_of_the_pretraining_prior(dataset):
  # Every sequence begins at the same point, and coins have no memory.
  start = dataset.cloud.sel(step=0)
  np.testing.assert_allclose(start, start[[0] * 7], atol=1e-6)
  chances = dataset.source_probability.values
  np.testing.assert_array_equal(chances, chances[:, :1].repeat(5, 1))
  assert len(np.unique(chances)) == 7
  assert 0.5 < dataset.explained_variance.sum() <= 1 + 1e-6


def test_meaning_of_bayes_is_exact_and_of_all_runs_known(dataset):
  ran = (dataset.studied == 1).sel(pretrain_seed=0)
  count = dict(
    zip(dataset.tuner.values, ran.sum('repetition').values, strict=True)
  )
  assert count == dict.fromkeys(METHODS, 2) | {'NoTuning': 1}
  # What has no randomness has the same meaning in every repetition.
  assert dataset.alpha.notnull().all()
  untuned = dataset.alpha.sel(tuner='NoTuning')
  np.testing.assert_array_equal(*untuned.transpose('repetition', ...).values)
  bayes = dataset.sel(tuner='PreBayesPT').squeeze('pretrain_seed')
  counts = np.round(bayes.virtual_counts)
  np.testing.assert_allclose(counts.sum('token'), PREFIX)
  np.testing.assert_allclose(bayes.virtual_counts, counts, atol=1e-2)
  np.testing.assert_allclose(bayes.misfit, 0, atol=1e-6)
  np.testing.assert_allclose(dataset.target_mean, (0.2, 0.8), rtol=1e-6)
  np.testing.assert_allclose(dataset.concentration, 1, rtol=1e-4)


def test_rows_of_real_tokens_are_tokens(dataset):
  hard = dataset.sel({'tuner': 'HardPT', 'pretrain_seed': 0})
  np.testing.assert_allclose(hard.row_distance, 0, atol=1e-6)
  norms = dataset.token_norm[0].values[hard.row_nearest.values.astype(int)]
  np.testing.assert_allclose(hard.row_norm, norms, rtol=1e-5)
  assert dataset.row_norm.sel(tuner='PreBayesPT').isnull().all()


@pytest.mark.parametrize(
  'torso', [{'name': 'lstm', 'width': 5}, {'name': 'transformer'}]
)
def test_paths_of_the_torsos_that_matter(torso, tmp_path):
  path = finished(tmp_path / 'run', settings.spec(**torso), ('SoftPT',))
  found = study.study(path, num_sequences=3, num_sources=3)
  rows = found.prefix_path.sel(tuner='SoftPT')
  tokens = found.token_path.sel(tuner='SoftPT')
  np.testing.assert_allclose(rows[-1], tokens[0], atol=1e-5)


def test_ensure_makes_files_once(run, dataset, monkeypatch):
  drawn = []
  monkeypatch.setattr(study, 'study', lambda path, **unused: dataset)
  monkeypatch.setattr(figures, 'make_all', lambda *args: drawn.append(args[1]))
  made = study.ensure(run)
  monkeypatch.delattr(study, 'study')
  kept = study.ensure(run)
  testing.assert_results_agree(made, kept)
  testing.assert_results_agree(study.load(run), dataset)
  assert drawn == [run / 'figures']
  assert kept.attrs['target'] == 'single_coin'


def test_the_document_s_lines_run(run, dataset, tmp_path, monkeypatch, capsys):
  (block,) = testing.blocks('docs/dynamics.md')
  (tmp_path / 'runs').mkdir()
  (tmp_path / 'runs' / 'lstm-coin').symlink_to(run)
  monkeypatch.setattr(study, 'study', lambda path, **unused: dataset)
  monkeypatch.setattr(figures, 'make_all', lambda *args: [])
  monkeypatch.chdir(tmp_path)
  exec(block, {})
  assert 'tuner' in capsys.readouterr().out


def test_mistakes_are_named(run, tmp_path, dataset):
  with pytest.raises(errors.UserError, match='seed: must be below 1, got 3'):
    study.study(run, seed=3)
  with pytest.raises(errors.UserError, match='repetition: must be below 2'):
    study.study(run, repetition=-1)
  with pytest.raises(errors.UserError, match='num_sources: must be a whole'):
    study.study(run, num_sources=0)
  with pytest.raises(errors.UserError, match='holds no run'):
    study.ensure(tmp_path)
  with pytest.raises(errors.UserError, match='dynamics: no file'):
    study.load(tmp_path)
  study.save(dataset.assign_attrs(schema_version=9), tmp_path / 'new.nc')
  with pytest.raises(errors.UserError, match='schema version 9'):
    study.load(tmp_path / 'new.nc')


def test_an_unfinished_run_says_what_is_missing(tmp_path):
  config = test_run.tiny()
  run_lib.open_run(config, tmp_path / 'run')
  with pytest.raises(errors.UserError, match='checkpoint: none at'):
    study.ensure(tmp_path / 'run')


def test_trajectories_show_cloud_and_paths(dataset):
  figure = figures.trajectories(dataset)
  titles = [ax.get_title() for ax in figure.axes if ax.get_title()]
  assert titles[3:] == ['HardPT', 'SoftPT', 'StatePT']
  by_step, by_source = figure.axes[:2]
  for ax, values in (
    (by_step, dataset.step.values.repeat(7)),
    (by_source, dataset.source_probability.values.ravel()),
  ):
    (points,) = ax.collections
    np.testing.assert_allclose(
      np.sort(points.get_offsets(), 0),
      np.sort(dataset.cloud.values.reshape(-1, 2), 0),
    )
    np.testing.assert_allclose(np.sort(points.get_array()), np.sort(values))
  soft = next(ax for ax in figure.axes if ax.get_title() == 'SoftPT')
  path = dataset.token_path.sel(tuner='SoftPT')
  assert any(
    np.array_equal(line.get_xydata(), path.values) for line in soft.lines
  )
  assert [text.get_text() for text in soft.texts] == ['1', '2']


def test_meaning_marks_every_run_and_limits(dataset):
  unbounded = dataset.unbounded.where(dataset.tuner != 'SoftPT', 1)
  unbounded = unbounded.where(dataset.tuner == 'SoftPT', 0)
  figure = figures.meaning(dataset.assign(unbounded=unbounded))
  mean, strength, misfit = figure.axes
  labels = [label.get_text() for label in mean.get_yticklabels()]
  assert set(labels) == set(METHODS)
  marks = [line for line in strength.lines if line.get_marker() == 'o']
  assert len(marks) == 2 * len(METHODS) - 1
  hollow = [x for x in marks if x.get_markerfacecolor() == 'white']
  row = labels.index('SoftPT')
  assert [round(x.get_ydata()[0]) for x in hollow] == [row, row]
  wanted = dataset.alpha.sel(tuner='SoftPT').sum('token').values.ravel()
  np.testing.assert_allclose([x.get_xdata()[0] for x in hollow], wanted)
  assert any(line.get_marker() == '|' for line in misfit.lines)


def test_meaning_of_more_tokens_shows_each(dataset):
  three = dataset.drop_vars('token').pad(token=(0, 1), constant_values=1.0)
  figure = figures.meaning(three)
  marks = [line.get_marker() for line in figure.axes[0].lines]
  drawn = {m.vertices.tobytes() for m in marks if not isinstance(m, str)}
  assert {style.glyph(x).vertices.tobytes() for x in '012'} == drawn
  assert figure.axes[0].get_xlabel().endswith('each token')


def test_prefix_rows_write_the_nearest_tokens(dataset):
  figure = figures.prefix_rows(dataset)
  table = next(ax for ax in figure.axes if ax.get_title() == 'nearest token')
  nearest = dataset.row_nearest.sel(
    {'tuner': ['HardPT', 'SoftPT'], 'pretrain_seed': 0, 'repetition': 1}
  )
  found = [text.get_text() for text in table.texts]
  assert found == [f'{x:.0f}' for x in nearest.values.ravel()]


def test_figures_are_those_that_there_is_something_for(dataset, tmp_path):
  names = ['cloud', 'prefix_path', 'row_norm', 'token_path', 'untuned_path']
  paths = figures.make_all(dataset.drop_vars(names), tmp_path)
  assert [path.name for path in paths] == [
    'dynamics_meaning.png',
    'dynamics_meaning.pdf',
  ]
  for make, name in (
    (figures.trajectories, 'paths'),
    (figures.prefix_rows, 'prefixes'),
  ):
    with pytest.raises(errors.UserError, match=f'dataset: has no {name}'):
      make(dataset.drop_vars(names))
