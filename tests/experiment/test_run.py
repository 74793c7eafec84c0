"""The whole job in miniature, from configuration to files."""

import ast
import importlib
import itertools
import json
import pathlib
import sys

import jax
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from bayes_prompting import errors
from bayes_prompting import regret
from bayes_prompting import results
from bayes_prompting import settings
from bayes_prompting.experiment import build
from bayes_prompting.experiment import evaluation
from bayes_prompting.experiment import fingerprint
from bayes_prompting.experiment import loading
from bayes_prompting.experiment import run as run_lib
from bayes_prompting.experiment import tuning
from bayes_prompting.reporting import figures as figures_lib
from bayes_prompting.results import selection
from bayes_prompting.results import summary
from bayes_prompting.settings import plain
from bayes_prompting.system import compilation
from bayes_prompting.torsos import linear
from bayes_prompting.training import fit
from bayes_prompting.training import search
from tests import testing

pytestmark = pytest.mark.keys  # See conftest.py.

DRAWS = True  # In fixtures; its tests do without, see below.


def tiny(**overrides):
  """A configuration that runs in seconds; fields by dotted name.

  With the linear torso: what is tested here does not depend on the network, and
  compiling a recurrence takes longer than all the rest.
  """
  config = settings.base_config()
  with config.unlocked():
    config.network.torso = settings.spec('linear', width=4)
  values = {
    'network.embedding_dim': 4,
    'pretraining.num_steps': 4,
    'pretraining.batch_size': 4,
    'pretraining.length': 6,
    'tuning.num_steps': 3,
    'tuning.batch_size': 4,
    'tuning.length': 4,
    'tuning.num_repetitions': 2,
    'tuning.prefix_length': 2,
    'tuning.search_draws': 16,
    'tuning.methods': ('PreBayes', 'PreBayesPT', 'NoTuning', 'SoftPT'),
    'evaluation.num_sequences': 8,
    'evaluation.length': 8,
    **overrides,
  }
  config.update_from_flattened_dict(values)
  return config


@pytest.fixture(scope='module')
def finished(tmp_path_factory):
  """A workdir after a whole run of every method, and what the run returned."""
  path = tmp_path_factory.mktemp('lab') / 'run'
  config = tiny(**{'tuning.methods': settings.base_config().tuning.methods})
  return path, config, run_lib.run(config, path)


@pytest.fixture(autouse=True)
def _without_figures(monkeypatch):
  """Draws nothing but what the fixtures of the module do, which come first."""
  monkeypatch.setattr(figures_lib, 'make_all', lambda dataset, folder: [])


def test_a_finished_workdir_holds_everything(finished):
  path, config, dataset = finished
  record = json.loads((path / 'config.json').read_text())
  assert record['seed'] == 0
  assert record['config'] == plain.of(config)
  assert record['numerical']['jax'] == jax.__version__
  assert record['numerical']['backend'] == jax.default_backend()
  assert record['numerical']['device']
  assert results.load(path).identical(dataset)
  table = pd.read_csv(path / 'summary.csv')
  assert tuple(table.columns) == summary.COLUMNS
  assert set(table.tuner) == {
    'Oracle',
    'TargetBayes',
    'EvalBayes',
    *config.tuning.methods,
  }
  assert set(table.step) == {4, 6, 8}
  assert set(table.eval_task) == set(config.evaluation.tasks)
  kinds = table.groupby(['reference', 'estimator']).size()
  assert len(kinds) == 6 and kinds.nunique() == 1
  figures = {p.suffix for p in (path / 'figures').iterdir()}
  assert figures == {'.png', '.pdf', '.json'}
  lines = (path / 'curves' / 'SoftPT-seed0.jsonl').read_text().splitlines()
  rows = [json.loads(line) for line in lines]
  assert [row['step'] for row in rows] == [1, 2, 3]
  assert all(len(row['loss']) == 2 for row in rows)
  np.testing.assert_allclose(
    [row['loss'] for row in rows],
    results.select(dataset.tuning_loss, tuner='SoftPT')[0, 0, 0].T,
    rtol=1e-4,
  )


def test_a_workdir_tells_the_preset(tmp_path):
  config, before = tiny(), tiny(**{'tuning.num_repetitions': 9})
  before.methods.SoftPT.init = 'zeros'
  preset = run_lib.Preset('mine.py', before)
  run_lib.open_run(config, tmp_path / 'run', preset=preset)
  record = json.loads((tmp_path / 'run' / 'config.json').read_text())
  assert record['config'] == plain.of(config)
  assert record['preset'] == {
    'name': 'mine.py',
    'changed': {
      'tuning.num_repetitions': 9,
      'methods.SoftPT': plain.of(before)['methods']['SoftPT'],
    },
    'added': [],
  }
  # It goes on whatever it is started from, and a preset that holds what no
  # record can does not keep it from starting.
  run_lib.open_run(config, tmp_path / 'run')
  before.methods.SoftPT.length = object()
  run_lib.open_run(config, tmp_path / 'other', preset=preset)
  record = json.loads((tmp_path / 'other' / 'config.json').read_text())
  assert 'preset' not in record


def test_a_run_makes_room_for_its_programs(tmp_path, monkeypatch):
  asked = []
  monkeypatch.setattr(compilation, 'make_room', lambda: asked.append(1))
  run_lib.open_run(tiny(), tmp_path / 'run')
  assert asked


@pytest.mark.parametrize(
  'preset, message',
  [
    ('quick', "must be a Preset of a name and a configuration, got 'quick'"),
    (run_lib.Preset(None, None), 'its name must be text, got None'),
    (run_lib.Preset('a', {'seed': 1}), 'its configuration must be a ConfigD'),
  ],
)
def test_what_is_no_preset_is_refused(preset, message, tmp_path):
  with pytest.raises(errors.UserError, match=f'preset: {message}'):
    run_lib.run(tiny(), tmp_path / 'run', preset=preset)
  assert not (tmp_path / 'run').exists()


def test_bayes_has_two_names(finished):
  _, _, dataset = finished
  ran = dataset.cumulative_regret.notnull().any(
    set(dataset.cumulative_regret.dims) - {'tuner', 'eval_task'}
  )
  for method, expected in (
    ('TargetBayes', [True, False, False]),
    ('EvalBayes', [False, True, True]),
  ):
    at = results.select(ran, tuner=method)
    assert at.values.tolist() == expected


def test_repetitions_are_where_there_is_randomness(finished):
  _, config, _ = finished
  table = summary.summarize(finished[2])
  counts = table.groupby('tuner').runs.unique().map(list)
  once = {'Oracle', 'TargetBayes', 'EvalBayes', 'PreBayes', 'NoTuning'}
  for method, found in counts.items():
    assert found == [1 if method in once else config.tuning.num_repetitions]


def test_what_was_tuned_can_be_loaded_and_has_the_same_regret(finished):
  path, config, dataset = finished
  lab, _ = loading.load(path)
  predictor, params = loading.load_network(path)
  for method in ('SoftPT', 'LoRAWT', 'HardPT'):
    tuner, tunable = loading.load_tuned(path, method)
    task = evaluation.task_of(lab, 'random_coins')
    again = evaluation.evaluate(
      predictor, params, tuner, tunable, task, lab.report_steps
    )
    stored = results.select(
      dataset.cumulative_regret,
      tuner=method,
      eval_task='random_coins',
      pretrain_seed=0,
    )
    np.testing.assert_allclose(again.cumulative, stored[0, 0], atol=1e-5)


def test_methods_of_every_tuner_can_be_loaded_as_they_ran(finished):
  path, config, dataset = finished
  lab, _ = loading.load(path)
  task = evaluation.task_of(lab, 'single_coin')
  methods = {config.methods[x].name: x for x in config.tuning.methods}
  assert len(methods) >= 6
  for method in ('PreBayesPT', *methods.values()):
    loaded = loading.load_predictor(path, method)
    log_probs = loaded[0].predict(*loaded[1:], task.tokens)
    loss = regret.log_loss(log_probs, task.tokens)
    oracle = regret.log_loss(task.oracle_log_probs, task.tokens)
    stored = results.sequence_regret(
      dataset, method, 'single_coin', 8, 'oracle', 'sampled'
    )
    np.testing.assert_allclose(loss - oracle, stored[0], atol=1e-4)


@pytest.mark.parametrize('methods', [('NoTuning',), ('PreBayes', 'NoTuning')])
def test_a_run_of_today_is_loaded_without_a_warning(methods, tmp_path, capsys):
  config = tiny(**{'tuning.methods': methods})
  run_lib.open_run(config, tmp_path / 'run')
  loading.load(tmp_path / 'run')
  assert capsys.readouterr().err == ''
  # What was computed otherwise is named.
  path = tmp_path / 'run/config.json'
  record = json.loads(path.read_text())
  record['numerics']['training.fit'] += 1
  path.write_text(json.dumps(record))
  loading.load(tmp_path / 'run')
  (line,) = capsys.readouterr().err.splitlines()
  assert 'training.fit' in line


def test_loading_what_is_not_there_is_one_line(finished, tmp_path):
  path, _, _ = finished
  with pytest.raises(errors.UserError, match='SoftPT'):
    loading.load_tuned(path, 'SofPT')
  with pytest.raises(errors.UserError, match='seed.*3'):
    loading.load_network(path, seed=3)
  with pytest.raises(errors.UserError, match='seed.*3'):
    loading.load_tuned(path, 'SoftPT', seed=3)
  with pytest.raises(errors.UserError, match='repetition.*2'):
    loading.load_predictor(path, 'SoftPT', repetition=2)
  with pytest.raises(errors.UserError, match='no run'):
    loading.load_network(tmp_path)


def test_the_same_configuration_gives_identical_files(tmp_path):
  config = tiny()
  paths = [tmp_path / 'one' / 'run', tmp_path / 'other' / 'run']
  for path in paths:
    run_lib.run(config, path)
  assert (paths[0] / 'results.nc').read_bytes() == (
    paths[1] / 'results.nc'
  ).read_bytes()


def test_a_workdir_makes_no_difference_to_the_results(tmp_path):
  config = tiny()
  assert run_lib.run(config).identical(run_lib.run(config, tmp_path / 'run'))


def test_the_first_repetition_does_not_depend_on_how_many_run():
  overrides = {
    'tuning.methods': ('RandomPF', 'HardPT', 'SoftPT'),
    'evaluation.tasks': ('single_coin',),
  }
  one, three = (
    run_lib.run(tiny(**overrides, **{'tuning.num_repetitions': count}))
    for count in (1, 3)
  )
  for name in ('tuning_loss', 'candidate_loss', 'cumulative_regret'):
    xr.testing.assert_allclose(
      one[name], three[name].isel(repetition=[0]), atol=1e-3
    )


def test_pretraining_seeds_are_an_axis_of_their_own():
  config = tiny(**{'pretraining.num_seeds': 2})
  dataset = run_lib.run(config)
  assert dataset.sizes['pretrain_seed'] == 2
  losses = dataset.pretraining_loss.values
  assert not np.allclose(losses[0], losses[1])
  untuned = results.select(
    dataset.cumulative_regret,
    tuner='NoTuning',
    reference='bayes',
    estimator='exact',
    eval_task='random_coins',
    repetition=0,
  )
  assert not np.allclose(untuned[0], untuned[1])
  # Differences as a user forms them keep every network and repetition.
  regrets = dataset.cumulative_regret
  assert regrets.sel(tuner='SoftPT').notnull().all()
  for method in ('Oracle', *config.tuning.methods):
    difference = regrets.sel(tuner='SoftPT') - regrets.sel(tuner=method)
    assert difference.notnull().all(), method
  # The first network is the one that a run with one seed has.
  alone = run_lib.run(tiny())
  np.testing.assert_allclose(alone.pretraining_loss[0], losses[0], rtol=1e-5)


@pytest.mark.parametrize(
  'torso',
  [
    settings.spec('lstm', width=4),
    settings.spec('transformer', num_heads=2),
  ],
)
def test_real_torsos(torso):
  config = tiny(
    **{
      'tuning.methods': ('SoftPT', 'LoRAWT'),
      'evaluation.tasks': ('single_coin',),
    }
  )
  with config.unlocked():
    config.network.torso = torso
  dataset = run_lib.run(config)
  for method in config.tuning.methods:
    regrets = results.select(dataset.cumulative_regret, tuner=method)
    assert np.isfinite(regrets).all()
    # A prefix of tokens or some updates: not the same on all repetitions.
    assert not np.allclose(regrets[0, 0, 0, 0], regrets[0, 0, 0, 1])


RATES, INITS = (0.1, 1e-3), ('normal', 'zeros')
GRID = {
  'tuning.methods': ('NoTuning', 'HardPT', 'SoftPT', 'StatePT', 'FullWT'),
  'tuning.learning_rate': RATES,
  'tuning.prefix_init': INITS,
  'methods.StatePT.init': 'uniform',
}


@pytest.fixture(scope='module')
def gridded(tmp_path_factory):
  """A workdir after a run with a grid of settings, and what it returned."""
  path = tmp_path_factory.mktemp('grid') / 'run'
  return path, run_lib.run(tiny(**GRID), path)


@pytest.mark.parametrize('position', [(0, 1), (1, 0)])
def test_a_grid_is_its_settings_one_by_one(gridded, position):
  _, dataset = gridded
  rate, init = RATES[position[0]], INITS[position[1]]
  single = {'tuning.learning_rate': rate, 'tuning.prefix_init': init}
  methods = {'tuning.methods': ('HardPT', 'SoftPT')}
  alone = run_lib.run(tiny(**GRID | single | methods))
  at = dict(zip(selection.AXES, position, strict=True))
  for name in ('tuning_loss', 'cumulative_regret', 'sequence_regret'):
    xr.testing.assert_allclose(
      results.select(dataset[name].isel(at), tuner='SoftPT'),
      results.select(alone[name].isel(dict.fromkeys(at, 0)), tuner='SoftPT'),
      atol=1e-4,
    )
  # Whatever the grid, a search is the same.
  xr.testing.assert_allclose(
    *(
      results.select(x.candidate_loss, tuner='HardPT') for x in (alone, dataset)
    )
  )


def test_a_grid_reaches_the_prompt_of_a_composition():
  name = 'SoftPT+LoRAWT'
  lab = build.build(tiny(**GRID | {'tuning.methods': (name,)}))
  method = lab.methods[name]
  assert method.shape == (2, 2, 2)
  predictor, params = lab.network, lab.network.init(jax.random.key(0))
  normal, zeros = (
    jax.tree.map(np.asarray, tuner.init(jax.random.key(1), predictor, params))
    for tuner in method.tuners
  )
  assert normal['SoftPT'].all() and not zeros['SoftPT'].any()
  testing.assert_trees_identical(normal['LoRAWT'], zeros['LoRAWT'])
  # A mistake names the field that is followed.
  wrong = {'tuning.prefix_init': ('zeros', 'one-hot')}
  with pytest.raises(errors.UserError, match=r'^tuning.prefix_init \(.*SoftPT'):
    build.build(tiny(**wrong, **{'tuning.methods': (name,)}))


def test_methods_stand_where_they_have_a_choice(gridded):
  ran = (gridded[1].judged == 1).any(
    ('pretrain_seed', 'repetition', 'eval_task')
  )
  first, rates = [[1, 0], [0, 0]], [[1, 0], [1, 0]]
  for method, expected in (
    ('TargetBayes', first),
    ('NoTuning', first),
    ('HardPT', first),
    ('SoftPT', [[1, 1], [1, 1]]),
    ('StatePT', rates),  # With an initialisation of its own.
    ('FullWT', rates),
  ):
    np.testing.assert_array_equal(results.select(ran, tuner=method), expected)


def test_the_report_shows_and_says_the_best_of_the_grid(gridded):
  path, dataset = gridded
  table = pd.read_csv(path / 'summary.csv').groupby('tuner').first()
  losses = selection.final_loss(dataset.tuning_loss.values).mean((1, -1))
  methods = dataset.tuner.values.tolist()
  for method, inits in (('SoftPT', INITS), ('FullWT', None)):
    mean = losses[methods.index(method)]
    rate, init = np.unravel_index(np.nanargmin(mean), mean.shape)
    assert table.loc[method, 'learning_rate'] == RATES[rate]
    assert inits is None or table.loc[method, 'prefix_init'] == inits[init]
    regrets = results.sequence_regret(dataset, method, 'random_coins', 4)
    stored = results.select(
      dataset.sequence_regret, tuner=method, eval_task='random_coins'
    ).sel(report_step=4, reference='oracle', estimator='paired')
    np.testing.assert_array_equal(regrets, stored[0, rate, init])
  assert table.loc['StatePT', 'prefix_init'] == 'uniform'
  assert np.isnan(table.loc['NoTuning', 'learning_rate'])
  assert {'learning_rate', 'prefix_init'} <= set(summary.table(dataset).split())
  assert (path / 'figures' / 'tuning_grid.png').exists()
  names = {p.stem for p in (path / 'curves').glob('*.jsonl')}
  assert {'SoftPT-seed0-lr0.001-zeros', 'FullWT-seed0-lr0.1'} <= names


def test_what_was_tuned_on_a_grid_can_be_loaded(gridded):
  path, dataset = gridded
  best = selection.best(dataset)['SoftPT']
  _, tunable = loading.load_tuned(path, 'SoftPT')
  wanted = {'learning_rate': best.learning_rate}
  for more in ({}, {'prefix_init': best.prefix_init}):
    _, again = loading.load_tuned(path, 'SoftPT', **wanted, **more)
    np.testing.assert_array_equal(again, tunable)
  # Any other by its labels: it has the regret that was stored for it.
  settings_of = {'learning_rate': RATES[1], 'prefix_init': 'normal'}
  loaded = loading.load_predictor(path, 'SoftPT', **settings_of)
  lab, _ = loading.load(path)
  task = evaluation.task_of(lab, 'single_coin')
  loss = regret.log_loss(
    loaded[0].predict(*loaded[1:], task.tokens), task.tokens
  )
  loss -= regret.log_loss(task.oracle_log_probs, task.tokens)
  stored = results.sequence_regret(
    dataset, 'SoftPT', 'single_coin', 8, 'oracle', 'sampled', **settings_of
  )
  np.testing.assert_allclose(loss, stored[0], atol=1e-4)
  for mistake in ({'learning_rate': 0.2}, {'prefix_init': 'uniform'}):
    with pytest.raises(errors.UserError, match=r'SoftPT ran with.*, .*; got'):
      loading.load_tuned(path, 'SoftPT', **mistake)
  with pytest.raises(errors.UserError, match='ran with 0.1; got 0.001'):
    loading.load_tuned(path, 'HardPT', learning_rate=1e-3)


def test_an_own_init_is_one_of_them():
  config = tiny(**GRID)
  config.methods.SoftPT.init = ('normal', 'uniform')
  with pytest.raises(errors.UserError, match=r'SoftPT.init: must be one name'):
    build.build(config)


def test_starts_of_another_shape_cannot_be_one_fit(monkeypatch):
  shapes = itertools.count()
  monkeypatch.setattr(build, '_start_shapes', lambda *args: next(shapes))
  with pytest.raises(
    errors.UserError, match=r'prefix_init.*SoftPT.*same shape'
  ):
    build.build(tiny(**GRID))


def test_untrained_networks_are_a_setting():
  config = tiny(**{'pretraining.num_steps': 0})
  lab = build.build(config)
  (network,) = run_lib.meta_train(lab)
  assert set(network) == {'params'}
  dataset = run_lib.run(config)
  assert 'pretraining_loss' not in dataset
  assert np.isfinite(
    results.select(dataset.cumulative_regret, tuner='SoftPT')
  ).all()


def test_a_network_is_trained_once_and_reused(tmp_path, monkeypatch):
  run_lib.run(tiny(), tmp_path / 'first')

  def fail(*args):
    raise AssertionError('trained again')

  monkeypatch.setattr(tuning, 'meta_train', fail)
  # Another target, other methods, other repetitions: the same network.
  other = tiny(
    **{'tuning.target': 'two_coin_mixture', 'tuning.methods': ('NoTuning',)}
  )
  run_lib.run(other, tmp_path / 'second')
  for change in (
    {'seed': 1},
    {'pretraining.num_steps': 5},
    {'network.torso.width': 5},
    {'tasks.random_coins.concentration': (1.0, 2.0)},
  ):
    with pytest.raises(AssertionError, match='trained again'):
      run_lib.run(tiny(**change), tmp_path / 'third', overwrite=True)


def test_a_run_goes_on_where_it_was(tmp_path, monkeypatch):
  config, path = tiny(), tmp_path / 'run'
  expected = run_lib.run(config)
  calls = []
  tune = tuning.tune

  def interrupted(lab, method, *args):
    calls.append(method.name)
    if len(calls) == 4:
      raise KeyboardInterrupt
    return tune(lab, method, *args)

  monkeypatch.setattr(tuning, 'tune', interrupted)
  with pytest.raises(KeyboardInterrupt):
    run_lib.run(config, path)
  assert calls == ['PreBayes', 'PreBayesPT', 'NoTuning', 'SoftPT']
  calls[:] = [None] * 4
  dataset = run_lib.run(config, path)
  # What holds no array is made anew; the search is not run again.
  assert calls[4:] == ['PreBayes', 'NoTuning', 'SoftPT']
  assert dataset.identical(expected)


def test_a_finished_run_is_not_run_again(finished, monkeypatch):
  path, config, dataset = finished
  monkeypatch.setattr(run_lib, 'meta_train', None)
  assert run_lib.run(config, path).identical(dataset)


def test_parts_want_what_stands_before_them(tmp_path):
  lab, folder = run_lib.open_run(tiny(), tmp_path / 'run')
  with pytest.raises(errors.UserError, match='no checkpoint'):
    run_lib.meta_train(lab, folder, require=True)
  networks = run_lib.meta_train(lab, folder)
  with pytest.raises(errors.UserError, match='PreBayesPT'):
    run_lib.tune(lab, networks, folder, require=True)
  tuned = run_lib.tune(lab, networks, folder)
  again = run_lib.tune(lab, networks, folder, require=True)
  testing.assert_trees_identical(again, tuned)


def test_mistakes_are_found_before_anything_is_written(tmp_path):
  for change, field in (
    ({'tuning.prefix_length': -1}, 'tuning.prefix_length'),
    ({'tasks.single_coin.probabilities': (0.2, 0.7, 0.1)}, 'vocabulary'),
    ({'methods.LoRAWT.patterns': ('nothing',)}, 'LoRAWT'),
    ({'tuning.lora_rank': 5}, r'tuning.lora_rank \(methods.LoRAWT.rank\)'),
    ({'tuning.num_steps': -1}, 'tuning.num_steps'),
  ):
    config = tiny(**{'tuning.methods': settings.base_config().tuning.methods})
    if 'patterns' in next(iter(change)):
      with config.methods.LoRAWT.unlocked():
        config.methods.LoRAWT.patterns = change['methods.LoRAWT.patterns']
    else:
      with config.unlocked():
        config.update_from_flattened_dict(change)
    with pytest.raises(errors.UserError, match=field):
      run_lib.run(config, tmp_path / 'run')
  assert not list(tmp_path.iterdir())


def test_dice_and_a_user_s_own_method():
  config = tiny(**{'tuning.methods': ('NoTuning',)})
  with config.unlocked():
    config.tasks.dice = settings.spec(
      'dirichlet_categorical', concentration=(1.0, 1.0, 1.0)
    )
    config.tasks.die = settings.spec(
      'categorical', probabilities=(0.5, 0.5, 0.0)
    )
    config.methods.BayesStatePT = settings.spec(
      'state', predictor='bayes', length=2
    )
    config.pretraining.task = 'dice'
    config.tuning.target = 'die'
    config.evaluation.tasks = ('die', 'dice')
    config.tuning.methods = ('NoTuning', 'HardPT', 'BayesStatePT')
  dataset = run_lib.run(config)
  for method in ('HardPT', 'BayesStatePT'):
    regrets = results.select(dataset.cumulative_regret, tuner=method)
    assert regrets.notnull().all()
  assert dataset.sizes['candidate'] == 9


def test_the_hash_covers_what_a_network_depends_on():
  def hashed(**overrides):
    overrides['tuning.methods'] = ('NoTuning',)  # Which are no part of it.
    return fingerprint.network_hash(build.build(tiny(**overrides)).config, 0)

  first = hashed()
  assert hashed(**{'tuning.num_steps': 7, 'pretraining.num_seeds': 3}) == first
  others = {
    hashed(seed=1),
    hashed(**{'pretraining.batch_size': 5}),
    hashed(**{'network.embedding_dim': 5}),
    hashed(**{'network.tied_unembedding': True}),
    hashed(**{'tasks.random_coins.concentration': (1.0, 2.0)}),
    hashed(**{'compute.matmul_precision': 'bfloat16'}),
    fingerprint.network_hash(build.build(tiny()).config, 1),
  }
  # What it is computed at is the configuration's, whatever JAX's default.
  with jax.default_matmul_precision('bfloat16'):
    assert hashed() == first
  assert len(others - {first}) == 7
  # A network without what was added later is the network that it was.
  config = build.build(tiny()).config
  del config['network']['tied_unembedding']
  assert fingerprint.network_hash(config, 0) == first


@pytest.mark.parametrize(
  ('overrides', 'said'),
  [
    (
      {'network.embedding_dim': 5, 'network.tied_unembedding': True},
      'network.torso.width: must be that of the embedding, 5, as '
      'network.tied_unembedding is True, got 4',
    ),
    (
      {'tuning.methods': ('UnembedWT',), 'network.tied_unembedding': True},
      "methods.UnembedWT.patterns: 'unembedding' matches no weight; did you "
      'mean embedding?',
    ),
  ],
)
def test_what_a_tied_unembedding_cannot_be_is_one_line(overrides, said):
  with pytest.raises(errors.UserError) as caught:
    build.build(tiny(**overrides))
  assert str(caught.value).startswith(said)
  assert '\n' not in str(caught.value)


def test_an_edited_module_of_ones_own_trains_anew(tmp_path, monkeypatch):
  monkeypatch.syspath_prepend(tmp_path)
  lab_of = tmp_path / 'lab_of'
  lab_of.mkdir()
  (lab_of / '__init__.py').touch()
  source = pathlib.Path(linear.__file__).read_text()
  config = tiny()
  with config.unlocked():
    config.network.torso = settings.spec('lab_of.own_torso', width=4)

  def run(text, folder):
    sys.modules.pop('lab_of.own_torso', None)
    (lab_of / 'own_torso.py').write_text(text)
    importlib.invalidate_caches()
    return run_lib.run(config, tmp_path / folder)

  expected = run(source, 'first')

  def fail(*args):
    raise AssertionError('trained again')

  monkeypatch.setattr(tuning, 'meta_train', fail)
  # A comment, a docstring and other spaces keep the network.
  same = source.replace('from flax', '# Why.\nfrom flax', 1)
  same = same.replace('"""', '"""Another word. ', 1) + '\n\n'
  assert ast.dump(ast.parse(same)) != ast.dump(ast.parse(source))
  assert run(same, 'second').identical(expected)
  # Reloading, as notebooks do, keeps the module, and reads it again.
  name = fingerprint.network_hash(plain.of(config), 0)
  path = lab_of / 'own_torso.py'
  path.write_text(source.replace('(x), state', '(x) * 3, state'))
  importlib.reload(sys.modules['lab_of.own_torso'])
  assert fingerprint.network_hash(plain.of(config), 0) != name
  # One changed line does not, nor does it go on in a folder of the old ones.
  edited = source.replace('(x), state', '(x) * 2, state')
  assert edited != source
  with pytest.raises(AssertionError, match='trained again'):
    run(edited, 'third')
  with pytest.raises(errors.UserError, match=r'numerics\.lab_of\.own_torso: '):
    run(edited, 'first')


def test_everything_is_computed_at_the_configured_precision(
  monkeypatch, tmp_path
):
  seen = {}

  def watch(module, name):
    function = getattr(module, name)

    def watched(*args, **kwargs):
      # What jit would compile for, and key its programs on.
      seen[name] = jax.config.jax_default_matmul_precision
      return function(*args, **kwargs)

    monkeypatch.setattr(module, name, watched)

  watch(fit, 'fit')
  watch(search, 'search')
  watch(evaluation, 'make_task')
  watch(evaluation, 'evaluate')
  before = jax.config.jax_default_matmul_precision
  config = tiny(
    **{
      'compute.matmul_precision': 'tensorfloat32',
      'tuning.methods': ('PreBayesPT',),
      'evaluation.tasks': ('single_coin',),
    }
  )
  run_lib.run(config, tmp_path / 'run')
  assert set(seen) == {'fit', 'search', 'make_task', 'evaluate'}
  assert set(seen.values()) == {'tensorfloat32'}
  assert jax.config.jax_default_matmul_precision == before
  record = json.loads((tmp_path / 'run' / 'config.json').read_text())
  assert record['config']['compute']['matmul_precision'] == 'tensorfloat32'


def test_a_second_run_in_one_process_compiles_nothing():
  def programs():
    return (
      fit._run_chunk_donating._cache_size(),
      search._score._cache_size(),
      evaluation._evaluate._cache_size(),
      evaluation._sample._cache_size(),
    )

  run_lib.run(tiny())
  before = programs()
  run_lib.run(tiny())
  assert programs() == before


def test_a_rate_at_which_runs_overflow_is_marked_and_named(tmp_path, capsys):
  config = tiny(
    **{
      'tuning.methods': ('NoTuning', 'FullWT'),
      'tuning.learning_rate': (5e-3, 1e30),
      'tuning.num_steps': 5,
      'evaluation.tasks': ('single_coin',),
    }
  )
  dataset = run_lib.run(config, tmp_path / 'run')
  stopped = results.select(dataset.stopped, tuner='FullWT').squeeze().values
  assert np.isnan(stopped[0]).all() and (stopped[1] >= 2).all()
  said = capsys.readouterr().err
  losses = results.select(dataset.tuning_loss, tuner='FullWT').squeeze()
  for run in range(2):
    step = int(stopped[1, run])
    assert not np.isfinite(losses.values[1, run, step - 1 :]).any()
    assert f'run {run + 2} of 4 is stopped at update {step}' in said
  # The others are as if it had not been there.
  alone = tiny(
    **{
      'tuning.methods': ('NoTuning', 'FullWT'),
      'tuning.num_steps': 5,
      'evaluation.tasks': ('single_coin',),
    }
  )
  expected = run_lib.run(alone)
  for name in ('tuning_loss', 'sequence_regret'):
    np.testing.assert_array_equal(
      results.select(dataset[name], tuner='FullWT').isel(learning_rate=0),
      results.select(expected[name], tuner='FullWT').isel(learning_rate=0),
    )
  table = summary.table(dataset)
  assert 'stopped' in table and 'nan' not in table
  config.debug.check_finite = True
  with pytest.raises(errors.UserError, match='FullWT-seed0: run . of 4 is sto'):
    run_lib.run(config)
  config.debug.check_finite, config.debug.nans = False, True
  with pytest.raises(FloatingPointError):
    run_lib.run(config)
  # A finished run is not run again for it.
  assert run_lib.run(config, tmp_path / 'run').identical(dataset)
