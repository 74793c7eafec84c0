"""The results file and its summaries, on made-up numbers."""

import inspect

import numpy as np
import pytest
from scipy import stats
import xarray as xr

from bayes_prompting import errors
from bayes_prompting import regret
from bayes_prompting import results
from bayes_prompting.dynamics import study
from bayes_prompting.experiment import evaluation
from bayes_prompting.results import difference
from bayes_prompting.results import summary

NUM_SEEDS, NUM_REPETITIONS, LENGTH, SEQUENCES = 2, 3, 5, 40
REPORT_STEPS = (2, 5)
ATTRIBUTES = {
  'target': 'home',
  'config': '{}',
  'tuning_length': 2,
  'pretraining_length': 5,
}
LOSSES = np.arange(9.0).reshape(3, 3)


def coords(**kwargs):
  return {
    'tuner': ['Oracle', 'TargetBayes', 'EvalBayes', 'NoTuning', 'SoftPT'],
    'pretrain_seed': range(NUM_SEEDS),
    'learning_rate': [1e-3],
    'prefix_init': ['normal'],
    'repetition': range(NUM_REPETITIONS),
    'eval_task': ['home', 'away'],
    'reference': regret.REFERENCES,
    'estimator': regret.ESTIMATORS,
    'step': range(1, LENGTH + 1),
    'report_step': REPORT_STEPS,
    'sequence': range(SEQUENCES),
    'pretraining_step': range(1, 5),
    'tuning_step': range(1, 4),
    'candidate': ['00', '01', '10', '11'],
    **kwargs,
  }


def made_up(rng, repetitions):
  """Regrets of random sequences, as `evaluation.evaluate` gives them."""
  shape = (1, 1, repetitions, 2, 3, SEQUENCES, LENGTH)
  values = rng.normal(1.0, 0.5, shape).astype(np.float32)
  cumulative = values.cumsum(-1)
  return evaluation.Regrets(
    instantaneous=values.mean(-2),
    instantaneous_sem=stats.sem(values, axis=-2),
    cumulative=cumulative.mean(-2),
    cumulative_sem=stats.sem(cumulative, axis=-2),
    sequences=np.moveaxis(cumulative[..., [1, 4]], -1, -2),
  )


@pytest.fixture
def found():
  rng = np.random.default_rng(0)
  return {
    ('Oracle', None): made_up(rng, 1),
    ('NoTuning', 0): made_up(rng, 1),
    ('NoTuning', 1): made_up(rng, 1),
    ('SoftPT', 0): made_up(rng, 3),
    ('SoftPT', 1): made_up(rng, 3),
  }


@pytest.fixture
def dataset(found):
  builder = results.Builder(coords())
  for (method, seed), regrets in found.items():
    for task in ('home', 'away'):
      builder.put_regrets(method, seed, task, regrets)
  builder.put(
    'tuning_loss', LOSSES[None, None], tuner='SoftPT', pretrain_seed=1
  )
  builder.put(
    'candidate_loss',
    [[4.0, 3.0]],
    tuner='SoftPT',
    pretrain_seed=0,
    candidate=['11', '01'],
  )
  return builder.build(ATTRIBUTES)


def test_what_was_put_is_where_its_labels_say(dataset, found):
  cell = {'tuner': 'SoftPT', 'pretrain_seed': 1, 'eval_task': 'away'}
  at = results.select(dataset, reference='bayes', estimator='exact', **cell)
  expected = found['SoftPT', 1].cumulative[:, :, :, 1, 1]
  np.testing.assert_array_equal(at.cumulative_regret, expected)
  np.testing.assert_array_equal(
    at.sequence_regret.sel(report_step=5),
    found['SoftPT', 1].sequences[:, :, :, 1, 1, 1],
  )
  losses = results.select(dataset.tuning_loss, tuner='SoftPT')
  np.testing.assert_array_equal(losses[1, 0, 0], LOSSES)
  ranking = results.select(dataset.candidate_loss, tuner='SoftPT')[0, 0]
  np.testing.assert_array_equal(ranking, [np.nan, 3.0, np.nan, 4.0])


def test_what_was_not_run_is_nan(dataset):
  bayes = results.select(dataset.cumulative_regret, tuner='EvalBayes')
  assert bayes.isnull().all()


def test_what_was_run_once_is_the_same_all_along(dataset, found):
  for name in ('cumulative_regret', 'instantaneous_regret', 'sequence_regret'):
    tuned, untuned, oracle = (
      dataset[name].sel(tuner=x) for x in ('SoftPT', 'NoTuning', 'Oracle')
    )
    # As a user would subtract them: no repetition and no network is dropped.
    assert tuned.notnull().all()
    assert (tuned - untuned).notnull().all()
    assert (tuned - oracle).notnull().all()
  untuned = dataset.cumulative_regret.sel(tuner='NoTuning', eval_task='home')
  for seed in range(NUM_SEEDS):
    expected = found['NoTuning', seed].cumulative[0, 0, 0]
    for repetition in range(NUM_REPETITIONS):
      np.testing.assert_array_equal(
        untuned.isel(pretrain_seed=seed, repetition=repetition)[0, 0], expected
      )


def test_copies_are_no_runs(dataset):
  ran = (
    (dataset.judged == 1)
    .any('eval_task')
    .sum(['pretrain_seed', 'learning_rate', 'prefix_init', 'repetition'])
  )
  counts = dict(zip(ran.tuner.values.tolist(), ran.values, strict=True))
  assert counts == {
    'Oracle': 1,
    'TargetBayes': 0,
    'EvalBayes': 0,
    'NoTuning': NUM_SEEDS,
    'SoftPT': NUM_SEEDS * NUM_REPETITIONS,
  }
  assert len(results.sequence_regret(dataset, 'NoTuning', 'home', 2)) == 2
  rows = summary.summarize(dataset).groupby('tuner').runs.unique().map(list)
  assert rows.to_dict() == {'Oracle': [1], 'NoTuning': [2], 'SoftPT': [6]}


def test_one_setting_holds_along_a_grid(found):
  builder = results.Builder(
    coords(learning_rate=[1e-3, 1e-2], prefix_init=['normal', 'zeros'])
  )
  builder.put_regrets('NoTuning', 0, 'home', found['NoTuning', 0])
  builder.put_losses(LOSSES[None, None], 0, 'SoftPT')
  dataset = builder.build({})
  untuned = dataset.cumulative_regret.sel(
    tuner='NoTuning', pretrain_seed=0, eval_task='home'
  )
  assert untuned.notnull().all() and dataset.judged.sum() == 1
  assert dataset.cumulative_regret.sel(pretrain_seed=1).isnull().all()
  losses = dataset.tuning_loss.sel(tuner='SoftPT', pretrain_seed=0)
  assert (losses == LOSSES).all()


def test_dimensions_and_schema(dataset):
  assert dataset.cumulative_regret.dims == (
    'tuner',
    'pretrain_seed',
    'learning_rate',
    'prefix_init',
    'repetition',
    'eval_task',
    'reference',
    'estimator',
    'step',
  )
  assert dataset.attrs['schema_version'] == results.SCHEMA_VERSION
  assert dataset.cumulative_regret.attrs['units'] == 'nats'


# What takes labels or sizes by the name of a dimension, beside arguments of its
# own, and what takes the name of a dimension.
BY_DIMENSION = (
  *('sel', 'isel', 'interp', 'reindex', 'drop_sel', 'head', 'tail', 'thin'),
  *('shift', 'roll', 'pad', 'rolling', 'coarsen', 'expand_dims'),
  *('assign_coords', 'mean', 'sum', 'std', 'median', 'quantile'),
)


@pytest.mark.parametrize('variables', [results.VARIABLES, study.VARIABLES])
@pytest.mark.parametrize('kind', [xr.Dataset, xr.DataArray])
def test_no_dimension_is_an_argument_of_xarray(variables, kind):
  # `sel(method='SoftPT')` would choose a fill method, and keep everything.
  dimensions = {dim for about in variables.values() for dim in about[0]}
  for name in BY_DIMENSION:
    arguments = inspect.signature(getattr(kind, name)).parameters
    assert not dimensions & set(arguments), name
  # So that each is an attribute, too: `dataset.tuner`.
  assert not any(hasattr(kind, dim) for dim in dimensions)


def test_select_by_keyword_is_that_of_xarray(dataset):
  by_name = dataset.cumulative_regret.sel(tuner='SoftPT', eval_task='home')
  assert 'tuner' not in by_name.dims
  xr.testing.assert_identical(
    by_name,
    results.select(dataset.cumulative_regret, tuner='SoftPT', eval_task='home'),
  )


def test_what_is_shown_is_of_a_whole_file_and_of_a_step_that_it_has(dataset):
  tuner, other, *_ = dataset.tuner.values.tolist()
  task, step = dataset.eval_task.values[0], dataset.report_step.values[0]
  for call, message in (
    (lambda: summary.table(dataset, step=99), r'step: .*99'),
    (lambda: summary.findings(dataset, step='1'), r"step: .*'1'"),
    (lambda: summary.table('runs/first'), 'dataset: .* str'),
    (lambda: summary.table(dataset.sel(tuner=tuner)), r"'tuner'.*\[\.\.\.\]"),
    (
      lambda: difference.compare(
        dataset.isel(repetition=0), tuner, other, task, step
      ),
      "'repetition'",
    ),
    (lambda: results.select(dataset, tuner=[tuner, 'Soft']), "'Soft'"),
    (lambda: results.select(dataset, step=[1, 99]), 'step: .*99'),
  ):
    with pytest.raises(errors.UserError, match=message) as caught:
      call()
    assert '\n' not in str(caught.value)
  both = results.select(dataset, tuner=[other, tuner])
  assert both.tuner.values.tolist() == [other, tuner]
  mask = dataset.tuner.values == tuner
  assert results.select(dataset, tuner=mask).tuner.values.tolist() == [tuner]


def test_empty_dimensions_are_left_out():
  built = results.Builder(coords(candidate=[], tuning_step=[])).build({})
  assert 'candidate_loss' not in built and 'tuning_loss' not in built
  assert 'candidate' not in built.coords


def test_file_holds_the_same_bit_for_bit(dataset, tmp_path):
  path = tmp_path / 'results.nc'
  results.save(dataset, path)
  loaded = results.load(tmp_path)
  assert loaded.identical(dataset)
  results.save(dataset, tmp_path / 'again.nc')
  assert path.read_bytes() == (tmp_path / 'again.nc').read_bytes()
  assert {p.name for p in tmp_path.iterdir()} == {'results.nc', 'again.nc'}


def test_a_file_is_found_in_the_home_folder_as_runs_are(
  dataset, tmp_path, monkeypatch
):
  monkeypatch.setenv('HOME', str(tmp_path))
  results.save(dataset, tmp_path / 'results.nc')
  for path in ('~', '~/results.nc'):
    assert results.load(path).equals(dataset)


def test_missing_and_foreign_files_are_refused(dataset, tmp_path):
  with pytest.raises(errors.UserError, match='no file'):
    results.load(tmp_path)
  path = tmp_path / 'results.nc'
  results.save(dataset.assign_attrs(schema_version=99), path)
  with pytest.raises(errors.UserError, match='99'):
    results.load(path)


def test_summary_is_over_repetitions_and_sequences_as_it_says(dataset, found):
  table = summary.summarize(dataset)
  assert tuple(table.columns) == summary.COLUMNS
  row = table.set_index(list(summary.COLUMNS[:5])).loc[
    ('SoftPT', 'home', 5, 'oracle', 'sampled')
  ]
  runs = np.concatenate(
    [found['SoftPT', seed].sequences[0, 0, :, 0, 0, 1] for seed in range(2)]
  ).astype(np.float64)
  assert row.runs == len(runs) == 6
  np.testing.assert_allclose(row['mean'], runs.mean(), rtol=1e-6)
  np.testing.assert_allclose(
    row['sem_sequences'], stats.sem(runs.mean(0)), rtol=1e-6
  )
  quartiles = np.percentile(runs.mean(-1), [25, 50, 75])
  np.testing.assert_allclose(row[['q25', 'median', 'q75']].tolist(), quartiles)
  # Methods that ran, times tasks, report steps, references and estimators.
  assert len(table) == 3 * 2 * 2 * 2 * 3
  assert 'EvalBayes' not in set(table.tuner)


def test_infinite_regrets_stay_infinite(found):
  builder = results.Builder(coords())
  infinite = found['SoftPT', 0]
  infinite.sequences[0, 0, 1] = np.inf
  builder.put_regrets('SoftPT', 0, 'home', infinite)
  table = summary.summarize(builder.build({}))
  assert np.isposinf(table['mean']).all()
  assert table['sem_sequences'].isna().all()
  assert np.isfinite(table['median']).all()  # One of three is infinite.
  assert np.isposinf(table['q75']).sum() in (0, len(table))


def test_a_run_that_turned_nan_is_not_dropped(found):
  builder = results.Builder(coords())
  regrets = found['SoftPT', 0]
  regrets.sequences[0, 0, 1] = np.nan
  builder.put_regrets('SoftPT', 0, 'home', regrets)
  table = summary.summarize(builder.build({}))
  assert (table.runs == 3).all()
  assert table['mean'].isna().all()


@pytest.mark.parametrize(
  ('kwargs', 'field'),
  [
    ({'tuner': 'SoftPTT'}, 'did you mean SoftPT'),
    ({'eval_task': 'abroad'}, 'eval_task'),
    ({'step': 3}, r'step.*\[2, 5\].*3'),
    ({'estimator': 'best'}, 'estimator'),
    ({'tuner': 'EvalBayes'}, 'not run'),
  ],
)
def test_unknown_names_are_refused(dataset, kwargs, field):
  args = {'tuner': 'SoftPT', 'eval_task': 'home', 'step': 2, **kwargs}
  with pytest.raises(errors.UserError, match=field):
    results.sequence_regret(dataset, **args)


def test_table_and_summary_file(dataset, tmp_path):
  text = summary.table(dataset)
  assert 'after 2 steps' in text and 'SoftPT' in text and 'away' in text
  assert 'EvalBayes' not in text
  table = summary.summarize(dataset)
  summary.save(table, tmp_path / 'summary.csv')
  lines = (tmp_path / 'summary.csv').read_text().splitlines()
  assert lines[0] == ','.join(summary.COLUMNS)
  assert len(lines) == len(table) + 1
