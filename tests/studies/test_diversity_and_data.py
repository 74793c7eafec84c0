"""The two experiments run in small, and their figures show what was found."""

import numpy as np
import pytest

from bayes_prompting import errors
from bayes_prompting import settings
from bayes_prompting.experiment import build
from bayes_prompting.experiment import run
from bayes_prompting.reporting import style
from bayes_prompting.studies import common
from bayes_prompting.studies.data import figure as data_figure
from bayes_prompting.studies.diversity import figure as diversity_figure
from bayes_prompting.theory import expectation
from configs import data
from configs import diversity
from tests import testing

Run = common.FinishedRun
STUDIES = {'data': data_figure, 'diversity': diversity_figure}


def pool_run(size, target, nearest=0.5, torso='lstm'):
  """Made-up losses: of the target as given, and multiples of the size."""
  losses = {
    'pool': {'NoTuning': np.array([size / 10]), 'PriorBayes': np.array([2.0])},
    'random_coins': {'NoTuning': np.array([3.0]), 'PreBayes': np.array([0.0])},
    'coin': {name: np.asarray(x, float) for name, x in target.items()},
  }
  steps = {'pool': 100, 'random_coins': 100, 'coin': 50}
  return Run(torso, size, 'coin', losses, steps, nearest)


def curves(ax):
  """Returns {color: [x, y]} of the lines through means."""
  return {
    line.get_color(): np.array(line.get_data()).tolist()
    for line in ax.lines
    if line.get_marker() != '.' and len(line.get_xdata()) > 1
  }


def dots(ax, method):
  """Returns the dots of a method, sorted."""
  color = style.looks([method])[method]['color']
  return sorted(
    (float(x), float(y))
    for line in ax.lines
    if line.get_marker() == '.' and line.get_color() == color
    for x, y in zip(*line.get_data(), strict=True)
  )


def color(method):
  return style.looks([method])[method]['color']


def legend(figure):
  return [text.get_text() for text in figure.legends[0].get_texts()]


def test_diversity_shows_every_run_and_the_means():
  runs = [
    pool_run(2, {'SoftPT': [1.0, 3.0], 'HardPT': [4.0]}),
    pool_run(2, {'SoftPT': [5.0]}, nearest=1.5),
    pool_run(8, {'SoftPT': [1e-9]}, nearest=0.0),
  ]
  figure = diversity_figure.diversity(runs)
  pool, prior, target = figure.axes
  assert curves(pool) == {
    color('NoTuning'): [[2, 8], [0.2, 0.8]],
    color('PriorBayes'): [[2, 8], [2, 2]],
  }
  # What is zero is at the foot of the axis.
  assert curves(prior)[color('PreBayes')] == [[2, 8], [1e-4, 1e-4]]
  assert curves(target)[color('SoftPT')] == [[2, 8], [3, 1e-4]]
  assert dots(target, 'SoftPT') == [(2, 1), (2, 3), (2, 5), (8, 1e-4)]
  assert dots(target, 'HardPT') == [(2, 4)]
  assert [[2, 8], [1.0, 1e-4]] in curves(target).values()
  for ax, tokens in zip(figure.axes, (100, 100, 50), strict=True):
    assert ax.get_ylabel() == f'nats over {tokens} tokens'
    assert ax.get_xlabel() == 'coins in the pool'
  assert 'SoftPT' in legend(figure) and 'PreBayesPT' not in legend(figure)


def test_diversity_has_a_row_for_each_torso():
  runs = [
    pool_run(2, {'SoftPT': [1]}, torso=t) for t in ('transformer', 'lstm')
  ]
  figure = diversity_figure.diversity(runs)
  titles = [ax.get_title().partition(',')[0] for ax in figure.axes]
  assert titles == ['LSTM'] * 3 + ['Transformer'] * 3


def sample_run(size, losses):
  losses = {name: np.asarray(x, float) for name, x in losses.items()}
  return Run('lstm', size, 'coin', {'coin': losses}, {'coin': 50})


def test_data_shows_every_repetition_and_fresh_draws_apart():
  runs = [
    sample_run(64, {'SoftPT': [1.0, 2.0], 'TargetBayes': [0.0]}),
    sample_run(1, {'SoftPT': [9.0, np.inf], 'FullWT': [40.0]}),
    sample_run(4, {'SoftPT': [4.0]}),
    sample_run(0, {'SoftPT': [0.5]}),
  ]
  figure = data_figure.data(runs)
  (ax,) = figure.axes
  found = curves(ax)
  assert found[color('SoftPT')] == [[1, 4, 64], [np.inf, 4, 1.5]]
  ticks = dict(
    zip(
      ax.get_xticks(), [x.get_text() for x in ax.get_xticklabels()], strict=True
    )
  )
  assert ticks == {1: '1', 4: '4', 64: '64', 512: 'fresh'}
  assert (512, 0.5) in dots(ax, 'SoftPT')
  assert dots(ax, 'FullWT') == [(1, 40)]
  assert '50 tokens' in ax.get_xlabel() and '50 tokens' in ax.get_ylabel()
  assert legend(figure) == [
    'SoftPT',
    'FullWT',
    'exact Bayes after them',
  ]


def test_data_draws_fresh_draws_alone():
  figure = data_figure.data([sample_run(0, {'SoftPT': [0.5]})])
  figure.draw_without_rendering()
  assert legend(figure) == ['SoftPT']


@pytest.mark.parametrize('size, tolerance', [(1, 0.06), (4, 0.02)])
def test_the_bound_of_a_sample_is_that_of_exact_bayes(size, tolerance):
  length = 50
  regret = expectation.expected_regret(
    testing.random_coins(), testing.single_coin(), length * (size + 1)
  )
  exact = regret[length * size :].sum()
  assert data_figure.sample_bound(size) == pytest.approx(exact, rel=tolerance)


def shrink(config):
  """Makes a configuration tiny: seconds."""
  config.network.embedding_dim = config.network.torso.width = 4
  for section in (config.pretraining, config.tuning):
    section.num_steps = 2
    section.batch_size = 4
    section.length = 6
  config.tuning.prefix_length = 2
  config.tuning.search_draws = min(config.tuning.search_draws, 8)
  config.evaluation.num_sequences = 8
  config.evaluation.length = 6
  return config


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  """Runs of both experiments, and one that is not finished."""
  folder = tmp_path_factory.mktemp('runs')
  pool = shrink(diversity.get_config('3,lstm,quick'))
  pool.tuning.methods = ('PreBayes', 'PriorBayes', 'NoTuning', 'SoftPT')
  run.run(pool, folder / 'pool')
  sample = shrink(data.get_config('2,lstm,quick'))
  sample.tuning.methods = ('HardPT', 'FullWT')
  run.run(sample, folder / 'sample')
  (folder / 'half').mkdir()
  (folder / 'half' / 'config.json').write_text('{}')
  return folder


@pytest.mark.parametrize('what', STUDIES)
def test_a_folder_of_runs_is_drawn(folder, tmp_path, what):
  paths = STUDIES[what].make_all(folder, tmp_path)
  assert [path.name for path in paths] == [f'{what}.png', f'{what}.pdf']
  assert all(path.stat().st_size for path in paths)


def test_what_is_read_is_in_the_results(folder):
  dataset = run.results.load(folder / 'pool')
  found = common.read(dataset)
  assert (found.torso, found.size) == ('lstm', 3)
  assert {*found.losses['pool']} >= {'PreBayes', 'PriorBayes', 'NoTuning'}
  labels = {'reference': 'bayes', 'estimator': 'exact', 'step': 6}
  for task, by_method in found.losses.items():
    for method, values in by_method.items():
      at = {'eval_task': task, 'tuner': method}
      held = dataset.cumulative_regret.sel(labels | at).values
      ran = dataset.judged.sel(at).values == 1
      np.testing.assert_array_equal(values, held[ran])
  # Bayes of a task loses nothing to itself.
  assert found.losses['pool']['PreBayes'] == pytest.approx(0, abs=1e-5)
  assert found.losses['random_coins']['PriorBayes'] == pytest.approx(
    0, abs=1e-5
  )
  assert found.losses['random_coins']['PreBayes'] > 0.01


def test_exact_methods_of_a_run_are_those_of_theory(folder):
  config = diversity.get_config('3,lstm')
  config.tuning.methods = ('PreBayes', 'PriorBayes')
  config.pretraining.num_steps = 0
  config.evaluation.length = config.tuning.length = 12
  config.evaluation.num_sequences = 4096
  found = common.read(run.run(config))
  priors = build.build(config).priors
  for task, method, prior in (
    ('pool', 'PriorBayes', 'random_coins'),
    ('random_coins', 'PreBayes', 'pool'),
    ('single_coin', 'PreBayes', 'pool'),
  ):
    bayes, target = (
      expectation.expected_losses(priors[name], priors[task], 12).bayes.sum()
      for name in (prior, task)
    )
    value = found.losses[task][method].item()
    assert value == pytest.approx(bayes - target, rel=0.1)


def test_the_nearest_coin_of_a_pool_bounds_it(folder):
  found = common.read(run.results.load(folder / 'pool'))
  built = build.build(diversity.get_config('3,lstm'))
  heads = [point.ravel()[0] for point in built.priors['pool'].support.points]
  losses = [0.2 * np.log(0.2 / p) + 0.8 * np.log(0.8 / (1 - p)) for p in heads]
  assert found.nearest == pytest.approx(6 * min(losses))


@pytest.mark.parametrize('what', STUDIES)
def test_without_runs_there_is_no_figure(tmp_path, what):
  assert STUDIES[what].make_all(tmp_path, tmp_path / 'figures') == []
  assert not (tmp_path / 'figures').exists()


@pytest.mark.parametrize('rest', ['lstm,quick', 'transformer'])
def test_every_configuration_can_be_built(rest):
  built = build.build(diversity.get_config(f'{diversity.SIZES[-1]},{rest}'))
  assert built.pretraining_task == 'pool'
  assert built.config['tasks']['pool']['size'] == 1024
  build.build(data.get_config(f'{data.SIZES[-1]},{rest}'))
  for size in diversity.SIZES:
    settings.validate(diversity.get_config(f'{size},{rest}'))
  for size in data.SIZES:
    config = data.get_config(f'{size},{rest}')
    settings.validate(config)
    assert config.tuning.num_sequences == size
    assert 0 < config.tuning.search_draws <= (size or 2048)


def test_the_seed_draws_the_pool():
  config = diversity.get_config('4,lstm')
  config.seed = 3
  assert build.build(config).config['tasks']['pool']['seed'] == 3


@pytest.mark.parametrize(
  'get_config, arguments, hint',
  [
    (diversity.get_config, '', 'M'),
    (diversity.get_config, '0,lstm', 'M'),
    (diversity.get_config, '-2,lstm', 'M'),
    (diversity.get_config, '2,lst', 'lstm'),
    (diversity.get_config, '2,lstm,quik', 'quick'),
    (data.get_config, 'all,lstm', 'SIZE'),
    (data.get_config, '2', 'transformer'),
    (data.get_config, '2,lstm,', 'quick'),
  ],
)
def test_a_bad_argument_is_refused(get_config, arguments, hint):
  with pytest.raises(errors.UserError, match=hint):
    get_config(arguments)
