"""What was stopped is left out of every number, and said beside it."""

import json
import warnings

import jax
import numpy as np
import pandas as pd
import pytest

from bayes_prompting import errors
from bayes_prompting import results
from bayes_prompting import settings
from bayes_prompting.claims import judge
from bayes_prompting.claims import tables
from bayes_prompting.dynamics import study
from bayes_prompting.experiment import loading
from bayes_prompting.experiment import run as run_lib
from bayes_prompting.experiment import tuning as tuning_lib
from bayes_prompting.reporting import figures
from bayes_prompting.reporting import page as page_lib
from bayes_prompting.reporting import page_curves
from bayes_prompting.reporting import series
from bayes_prompting.reporting import tuning_grid
from bayes_prompting.results import evidence
from bayes_prompting.results import losses as method_losses
from bayes_prompting.results import selection
from bayes_prompting.results import stopped
from bayes_prompting.results import summary
from bayes_prompting.studies import common
from bayes_prompting.studies.data import figure as data_figure
from bayes_prompting.studies.paper import figures as paper_figures
from bayes_prompting.studies.prompts import rankings
from tests.experiment import test_run

DRAWS = True
METHODS = (
  *('Oracle', 'TargetBayes', 'PreBayes', 'PreBayesPT'),
  *('NoTuning', 'HardPT', 'SoftPT', 'FullWT'),
)
TUNED = ('SoftPT', 'FullWT')
RATES = (1e-3, 1e-1)
SEEDS, RUNS, UPDATES, STEPS = 3, 4, 20, 6
TASKS = ('home', 'away')
PREFIXES = ('00', '01', '10', '11')
CONFIG = {
  'seed': 0,
  'network': {'torso': {'name': 'lstm'}},
  'tasks': {
    'home': {'name': 'categorical', 'probabilities': (0.2, 0.8)},
    'away': {'name': 'dirichlet_categorical', 'concentration': (1.0, 1.0)},
  },
  'methods': {
    method: {'predictor': 'bayes' if 'PreBayes' in method else 'network'}
    for method in METHODS[2:]
  },
  'pretraining': {'task': 'away'},
  'tuning': {'num_sequences': 0, 'target': 'home'},
  'evaluation': {},
}


def shape(method):
  """Seeds, learning rates and repetitions of a method."""
  seeds = 1 if method in METHODS[:4] else SEEDS
  runs = RUNS if method in (*TUNED, 'HardPT', 'PreBayesPT') else 1
  return seeds, len(RATES) if method in TUNED else 1, runs


def made_up(stops=(), networks=()):
  """Random results, of which some runs were stopped, and then went mad.

  Args:
    stops: Of (method, seed, rate, repetition, update).
    networks: Of (seed, update).
  """
  rng = np.random.default_rng(0)
  builder = results.Builder(
    {
      'tuner': METHODS,
      'pretrain_seed': range(SEEDS),
      'learning_rate': RATES,
      'prefix_init': ['normal'],
      'repetition': range(RUNS),
      'eval_task': TASKS,
      'reference': ('oracle', 'bayes'),
      'estimator': ('sampled', 'exact', 'paired'),
      'step': range(1, STEPS + 1),
      'report_step': (2, STEPS),
      'sequence': range(5),
      'pretraining_step': range(1, 10),
      'tuning_step': range(1, UPDATES + 1),
      'candidate': PREFIXES,
    }
  )
  for seed in range(SEEDS):
    losses = rng.random(9)
    for at, update in networks:
      losses[update - 1 :] = np.nan if at == seed else losses[update - 1 :]
    builder.put_losses(losses, seed)
  for method in METHODS:
    seeds, rates, runs = shape(method)
    for seed in range(seeds):
      at = {'tuner': method, 'pretrain_seed': seed}
      wild = np.ones((rates, 1, runs))
      losses = rng.random((rates, 1, runs, UPDATES))
      losses[1:] += 5  # The first rate is the best.
      for name, *where, update in stops:
        if (name, seed) == (method, where[0]):
          losses[where[1], 0, where[2], update - 1 :] = np.nan
          losses[where[1], 0, where[2], update - 1] = np.inf
          wild[where[1], 0, where[2]] = 1e6
      if method in TUNED:
        builder.put_losses(losses, **at)
      if 'Hard' in method or method == 'PreBayesPT':
        found = rng.random((runs, len(PREFIXES)))
        builder.put('candidate_loss', found, candidate=PREFIXES, **at)
      for task in TASKS:
        _put_regrets(builder, rng, wild, eval_task=task, **at)
  return builder.build(
    {
      'config': json.dumps(CONFIG),
      'target': 'home',
      'tuning_length': 2,
      'pretraining_length': STEPS,
    }
  )


def _put_regrets(builder, rng, wild, **at):
  builder.put('judged', np.ones(wild.shape), **at)
  values = rng.random((*wild.shape, 2, 3, STEPS, 5)).cumsum(-2)
  values *= wild[..., None, None, None, None]
  builder.put('cumulative_regret', values.mean(-1), **at)
  builder.put('instantaneous_regret', values.mean(-1), **at)
  builder.put('sequence_regret', values[..., [1, -1], :], **at)


def removed(dataset):
  """The same as if what was stopped had never been run."""
  found = dataset.copy(deep=True)
  lost = stopped.stopped(found)
  found['judged'] = found.judged.where(~lost)
  found['candidate_loss'] = found.candidate_loss.where(
    ~lost.isel(dict.fromkeys(selection.AXES, 0), drop=True)
  )
  for name in ('stopped', 'pretraining_stopped'):
    found[name] = found[name] * np.nan
  return found


# At the chosen rate, the first, some runs; one method but for a single run; a
# network; and everything of a method.
STOPS = {
  'runs': ([('SoftPT', 0, 0, 3, 7), ('SoftPT', 2, 0, 1, 1)], []),
  'most': (
    [
      ('FullWT', seed, rate, run, 5)
      for seed in range(SEEDS)
      for rate in range(2)
      for run in range(RUNS)
      if (seed, run) != (1, 2)
    ],
    [],
  ),
  'network': ([('SoftPT', 0, 0, 3, 7)], [(1, 4)]),
  'first network': ([], [(0, 4)]),
  'all': (
    [
      ('SoftPT', seed, rate, run, 2 + run)
      for seed in range(SEEDS)
      for rate in range(2)
      for run in range(RUNS)
    ],
    [],
  ),
}


@pytest.fixture(scope='module', params=STOPS)
def pair(request):
  """Results with runs that were stopped, and without them."""
  dataset = made_up(*STOPS[request.param])
  # The choice among settings is another matter.
  one = dataset.isel(learning_rate=[0])
  return one, removed(one)


def equal(one, other):
  """Whether plain values, with arrays in them, are the same bit for bit."""
  np.testing.assert_equal(jax.tree.leaves(one), jax.tree.leaves(other))
  assert jax.tree.structure(one) == jax.tree.structure(other)


def test_losses_alone_say_what_was_stopped_and_when():
  nan, inf = np.nan, np.inf
  losses = [[1, 2, 3], [1, 2, nan], [nan] * 3, [1, inf, nan], [-inf, 1, 1]]
  found = stopped.stopped_step(np.array([losses], np.float32))
  np.testing.assert_array_equal(found, [[nan, 3, 1, 2, 1]])
  assert np.isnan(stopped.stopped_step(np.zeros((2, 0)))).all()


def test_what_was_stopped_is_in_the_file_and_so_is_what_it_left(tmp_path):
  dataset = made_up(*STOPS['network'])
  soft = results.select(dataset.stopped, tuner='SoftPT')
  assert soft.notnull().sum() == 1 and soft.values[0, 0, 0, 3] == 7
  np.testing.assert_array_equal(
    dataset.pretraining_stopped, [np.nan, 4, np.nan]
  )
  assert dataset.cumulative_regret.max() > 1e6
  results.save(dataset, tmp_path / 'results.nc')
  assert results.load(tmp_path).identical(dataset)


def test_exact_bayes_counts_whatever_becomes_of_networks():
  dataset = made_up([], [(seed, 1) for seed in range(SEEDS)])
  counted = stopped.counted(dataset)
  assert counted.dims == dataset.judged.dims
  for method in METHODS:
    here = results.select(counted, tuner=method).any()
    assert here == (method in METHODS[:4])
  assert set(stopped.left_out(dataset)) == set(METHODS[4:])


def test_statistics_are_those_without_what_was_stopped(pair):
  dataset, without = pair
  ours, others = summary.summarize(dataset), summary.summarize(without)
  left = stopped.left_out(dataset)
  gone = ours[ours.runs == 0]
  assert set(gone.tuner) == {m for m, x in left.items() if x.runs == x.of}
  assert gone[['median', 'q25', 'q75', 'mean']].isna().values.all()
  assert (others.stopped == 0).all()
  counts = ours.groupby('tuner').stopped.max()
  assert {m: n for m, n in counts.items() if n} == {
    method: runs for method, (runs, _) in left.items()
  }
  kept = ours[ours.runs > 0].drop(columns='stopped').reset_index(drop=True)
  assert kept.equals(others.drop(columns='stopped'))
  for quantity in page_curves.QUANTITIES:
    equal(
      series.regret_by_task(selection.choose(dataset), quantity),
      series.regret_by_task(selection.choose(without), quantity),
    )
  equal(method_losses.losses(dataset)[:3], method_losses.losses(without)[:3])
  # Whatever the order of tasks: they are those of the target.
  turned = dataset.sel(eval_task=[*dataset.eval_task.values[::-1]])
  equal(method_losses.losses(turned)[:3], method_losses.losses(dataset)[:3])
  equal(common.read(dataset).losses, common.read(without).losses)
  equal(rankings.read(dataset)[:5], rankings.read(without)[:5])
  for method in set(METHODS) - set(gone.tuner):
    args = (method, 'home', 2)
    equal(
      results.sequence_regret(dataset, *args),
      results.sequence_regret(without, *args),
    )


def test_claims_are_judged_without_what_was_stopped_and_say_so(pair):
  steps = [int(x) for x in pair[0].report_step.values]
  means = {
    'soft': judge.Mean('SoftPT', 'run', steps[0], 'home'),
    'hard': judge.Mean('HardPT', 'run', steps[-1], 'home'),
  }
  claim = judge.Claim(
    name='c',
    text='It is.',
    networks=('lstm',),
    quantity='x',
    bound=judge.Bound('<', 0.0),
    reason='why',
    means=means,
    value=lambda m: m['soft'] - m['hard'],
    scale='linear',
  )
  (one,), (other,) = (
    judge.judge([claim], evidence.of_results(x, 'run')) for x in pair
  )
  left = stopped.left_out(pair[0], 'home')
  lost = sum(left[m].runs for m in ('SoftPT', 'HardPT') if m in left)
  assert one.stopped == lost and other.stopped == 0
  if 'SoftPT' in left and left['SoftPT'].runs == left['SoftPT'].of:
    assert one.verdict == judge.NOT_RUN
    return
  assert one.verdict == other.verdict
  np.testing.assert_array_equal(one.values, other.values)
  assert (one.repetitions, one.estimate) == (other.repetitions, other.estimate)
  if lost:
    table = judge.table([one])
    assert f', {lost} stopped)' in tables.markdown(table)


def test_tables_name_what_they_leave_out_and_the_update():
  dataset = made_up(*STOPS['network']).isel(learning_rate=[0])
  text = summary.table(dataset)
  said = [x for x in text.splitlines() if stopped.WHY in x]
  assert said + [x for x in text.splitlines() if 'Left' in x] == [
    'Network 1: its pretraining was stopped at update 4, where its '
    f'{stopped.WHY}; what ran on it is left out.',
    f'Left out of SoftPT: 5 of 12 runs (all on network 1; {stopped.WHY} at '
    'update 7 of network 0, repetition 3).',
    'Left out of NoTuning: 1 of 3 runs (all on network 1).',
    'Left out of HardPT: 4 of 12 runs (all on network 1).',
    f'Left out of SoftPT: 5 of 12 runs (all on network 1; {stopped.WHY} at '
    'update 7 of network 0, repetition 3).',
    'Left out of FullWT: 4 of 12 runs (all on network 1).',
  ]
  gone = summary.table(made_up(*STOPS['all']))
  (row,) = [x for x in gone.splitlines() if x.startswith('SoftPT ')]
  assert row.split()[1:3] == ['stopped', 'stopped'] and 'nan' not in gone
  assert '12 of 12 runs' in gone and 'and 9 more)' in gone
  # At settings that are not shown, that is said, too.
  elsewhere = summary.table(made_up([('SoftPT', 0, 1, 0, 3)]))
  assert 'runs were stopped, too: SoftPT (1).\n' in elsewhere + '\n'
  assert 'stopped' not in summary.table(made_up())


def test_a_regret_that_is_nan_for_no_known_reason_is_not_hidden():
  dataset = made_up()
  at = {'tuner': 'HardPT', 'pretrain_seed': 0, 'repetition': 1}
  dataset.sequence_regret.loc[at] = np.nan
  table = summary.summarize(dataset)
  wrong = table[table['mean'].isna()]
  assert set(wrong.tuner) == {'HardPT'} and (wrong.runs == SEEDS * RUNS).all()
  text = summary.table(dataset)
  assert 'HardPT: regrets are not numbers' in text and 'nan' in text
  dataset.sequence_regret.loc[{**at, 'tuner': 'SoftPT'}] = np.nan
  text = summary.table(dataset)  # Several are said in one sentence.
  assert text.count('regrets are not numbers') == 1
  assert 'HardPT' in text.split(': regrets are not numbers')[0].splitlines()[-1]


def test_when_nothing_is_left_it_is_said_why():
  dataset = made_up(*STOPS['all'])
  with pytest.raises(errors.UserError, match='tuner: .*SoftPT.*all were stop'):
    results.sequence_regret(dataset, 'SoftPT', 'home', 2)
  with pytest.raises(errors.UserError, match='no network counts'):
    rankings.read(made_up([], [(seed, 1) for seed in range(SEEDS)]))


def test_settings_at_which_fewest_runs_diverged_are_the_best():
  # Seeds, rates, initialisations, repetitions; the first rate loses the least.
  losses = np.arange(3.0)[None, :, None, None] + np.zeros((2, 3, 1, 4))
  ran = np.ones(losses.shape, bool)
  assert selection.first_best(losses, ran) == (0, 0)
  losses[0, 0, 0, :2] = np.nan, np.inf
  assert selection.first_best(losses, ran) == (1, 0)
  losses[:, 1, 0, :2] = np.nan  # Four.
  losses[1, 2, 0, 2] = np.nan
  assert selection.first_best(losses, ran) == (2, 0)
  losses[0, 2, 0, 2] = np.nan  # Two each: the mean of the others decides.
  assert selection.first_best(losses, ran) == (0, 0)
  # A network that does not count has no say.
  assert selection.first_best(losses, ran, [False, True]) == (2, 0)
  assert selection.first_best(losses, ran, [True, False]) == (0, 0)
  assert selection.first_best(losses, ran, [True, True]) == (0, 0)
  # A mean is over the runs that there are, of which one may have fewer.
  losses = np.array([1.0, 1.1])[None, :, None, None] + np.zeros((2, 2, 1, 4))
  losses[0, :, 0, :2] = np.nan
  ran = np.ones(losses.shape, bool)
  ran[1, 1] = False
  assert selection.first_best(losses, ran) == (0, 0)
  # A loss in between that is not finite is no better than one at the end.
  curve = np.ones((2, 20))
  curve[1, 3] = np.inf
  np.testing.assert_array_equal(selection.final_loss(curve), [1, np.nan])


def test_figures_leave_out_what_was_stopped_and_say_so():
  stops = [('FullWT', 1, rate, 2, 9) for rate in range(2)]
  dataset = made_up(STOPS['all'][0] + stops, [(2, 3)])
  note = stopped.footnote(stopped.left_out(selection.choose(dataset)))
  assert 'SoftPT' in note and 'FullWT' in note and 'PreBayes' not in note
  bars = figures.regret_bars(dataset, 2)
  values = [text.get_text() for text in bars.axes[0].texts]
  assert values.count('stopped') == 1
  losses = figures.losses(dataset)
  tuning = losses.axes[1]
  marks = [x for x in tuning.lines if x.get_marker() == 'x']
  assert sorted({x.get_xdata()[0] for x in marks}) == [2, 3, 4, 5, 9]
  assert 'SoftPT' not in [x.get_label() for x in tuning.lines]
  for figure in (
    bars,
    losses,
    figures.regret_curves(dataset, 'cumulative_regret'),
    tuning_grid.tuning_grid(dataset),
    paper_figures.overview({'lstm-single_coin': method_losses.losses(dataset)}),
    data_figure.data([common.read(dataset)]),
    figures.hard_prefix_ranking(dataset),
  ):
    texts = [figure.get_supxlabel()]
    texts += [legend.get_title().get_text() for legend in figure.legends]
    said = ' '.join(' '.join(texts).replace('\xa0', ' ').split())
    assert 'left out' in said.lower() and stopped.WHY in said
    assert 'PreBayes' not in said.split('Left out')[-1]
    figure.canvas.draw()  # With what is infinite or missing.
  assert not figures.losses(made_up()).get_supxlabel()


@pytest.fixture(scope='module')
def finished(tmp_path_factory):
  """A run in which some training diverged, as its recorded losses say."""
  tune, meta_train = tuning_lib.tune, tuning_lib.meta_train

  def diverge(lab, method, seed, *args):
    tuned = tune(lab, method, seed, *args)
    if method.name == 'SoftPT':
      tuned['losses'] = np.array(tuned['losses'])  # [T, R]
      tuned['losses'][1:, 0] = np.nan
    return tuned

  def diverge_too(lab, seed, *args):
    trained = meta_train(lab, seed, *args)
    if seed == 1:
      trained['losses'] = np.array(trained['losses'])
      trained['losses'][2:] = np.nan
    return trained

  path = tmp_path_factory.mktemp('diverged') / 'run'
  config = test_run.tiny(
    **{
      'pretraining.num_seeds': 2,
      'tuning.methods': ('PreBayes', 'NoTuning', 'SoftPT'),
    }
  )
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(tuning_lib, 'tune', diverge)
    patch.setattr(tuning_lib, 'meta_train', diverge_too)
    patch.setattr(figures, 'make_all', lambda *args: [])
    dataset = run_lib.run(config, path)
  return path, dataset


def test_a_run_says_what_diverged_from_end_to_end(finished):
  path, dataset = finished
  assert dataset.pretraining_stopped.values.tolist()[1] == 3
  soft = results.select(dataset.stopped, tuner='SoftPT').squeeze()
  np.testing.assert_array_equal(soft, [[2, np.nan]] * 2)
  table = pd.read_csv(path / 'summary.csv').set_index('tuner')
  counts = table[['runs', 'stopped']].groupby('tuner').max()
  assert counts.loc['SoftPT'].tolist() == [1, 3]
  assert counts.loc['NoTuning'].tolist() == [1, 1]
  assert counts.loc['PreBayes'].tolist() == [1, 0]
  lab, folder = loading.load(path)
  method = lab.methods['SoftPT']
  for seed, expected in ((0, [True, False]), (1, [True, True])):
    found = loading.stopped(lab, folder, method, seed)
    assert found.tolist() == expected
  page = page_lib.render(path)
  assert 'Some runs do not count' in page and 'update 3, where' in page
  assert 'update 2 of network 0, repetition 0' in page


def test_dynamics_are_of_what_counts(finished):
  path, _ = finished
  found = study.study(path, num_sequences=4, num_sources=4)
  ran = found.studied == 1
  assert found.alpha.notnull().all('token').where(ran, True).all()
  soft = ran.sel(tuner='SoftPT').transpose('pretrain_seed', 'repetition')
  assert soft.values.tolist() == [[False, True], [False, False]]
  assert ran.sel(tuner='PreBayes').values[0].any()
  assert 'SoftPT' in found.attrs['left_out']


def test_a_target_out_of_support_is_infinite_and_no_fault(tmp_path):
  config = test_run.tiny(
    **{
      'tuning.methods': ('PreBayes', 'PreBayesPT', 'NoTuning'),
      'pretraining.task': 'heads',
    }
  )
  with config.unlocked():
    config.tasks.heads = settings.spec(
      'categorical_mixture',
      weights=(1.0, 0.0),
      probabilities=((1.0, 0.0), (0.5, 0.5)),
    )
  with warnings.catch_warnings():
    warnings.simplefilter('error')
    # Matplotlib's oldest asks for what the newest of others calls deprecated.
    warnings.simplefilter('default', DeprecationWarning)
    dataset = run_lib.run(config)
    text = summary.table(dataset)
    table = summary.summarize(dataset).set_index('tuner')
    drawn = [
      figures.regret_curves(dataset, 'cumulative_regret'),
      figures.regret_bars(dataset, int(dataset.report_step[0])),
      figures.hard_prefix_ranking(dataset),
    ]
    curves = page_curves.data(dataset)
  rows = {x.split()[0]: x.split()[1:] for x in text.splitlines() if x}
  assert rows['PreBayes'][0] == 'inf' and 'nan' not in text
  bayes = table.loc['PreBayes']
  target = bayes[bayes.eval_task == dataset.attrs['target']]
  assert np.isposinf(target['median']).all() and (target.stopped == 0).all()
  assert table[['median', 'mean']].notna().values.all()
  assert not stopped.notes(selection.choose(dataset))
  hatched = [bar.get_hatch() for bar in drawn[1].axes[0].patches]
  assert any(hatched)
  labels = [text.get_text() for text in drawn[0].legends[0].get_texts()]
  assert 'PreBayes (infinite)' in labels
  assert all('not finite' not in f.get_supxlabel() for f in drawn)
  assert curves['methods']
