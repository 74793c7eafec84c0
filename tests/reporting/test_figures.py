"""Figures show what is in the Dataset, all of it, the same every time."""

import io
import itertools
import subprocess
import sys

import matplotlib
import numpy as np
import pytest
import xarray as xr

from bayes_prompting import errors
from bayes_prompting import results
from bayes_prompting.reporting import figures
from bayes_prompting.reporting import page_curves
from bayes_prompting.reporting import style

DRAWS = True
TASKS = ('single_coin', 'two_coin_mixture', 'random_coins')
SEEDS, REPETITIONS, STEPS, UPDATES = 2, 3, 200, 1000
REFERENCES = ('Oracle', 'TargetBayes', 'EvalBayes', 'PreBayes', 'PreBayesPT')
# Regret on the three tasks: (what is learned in context, what never is).
RATES = {
  'Oracle': ((0, 0),) * 3,
  'TargetBayes': ((0, 0), None, None),
  'EvalBayes': (None, (0.18, 0), (0.5, 0)),
  'PreBayes': ((0.5, 0), (0.5, 0), (0.5, 0)),
  'PreBayesPT': ((0.13, 0), (0.5, 0.02), (1.1, 0.01)),
  'NoTuning': ((0.51, 1e-3), (0.52, 1e-3), (0.51, 1e-3)),
  'RandomPF': ((1.2, 0.01), (1, 0.02), (0.9, 0.01)),
  'HardPT': ((0.14, 1e-3), (0.5, 0.03), (1.2, 0.02)),
  'SimplexPT': ((0.1, 1e-3), (0.6, 0.05), (1.3, 0.05)),
  'RealPT': ((0.02, 1e-4), (0.8, 0.2), (1.4, 0.2)),
  'SoftPT': ((0.003, 1e-4), (0.8, 0.3), (1.4, 0.25)),
  'StatePT': ((0.002, 1e-4), (0.8, 0.32), (1.4, 0.25)),
  'EmbedWT': ((0.05, 0.002), (0.8, 0.2), (1.4, 0.2)),
  'UnembedWT': ((0.02, 0.004), (0.8, 0.35), (1.4, 0.3)),
  'Un+EmbedWT': ((0.005, 2e-4), (0.8, 0.4), (1.4, 0.35)),
  'LoRAWT': None,
  'FullWT': ((0.002, 1e-4), (0.8, 2.1), (1.4, 1.9)),
  'bits_back': ((0.3, 1e-3), (0.8, 0.1), (1.4, 0.1)),
}
INFINITE = ('HardPT', 'two_coin_mixture')  # From step 31 on.
ONCE = (*REFERENCES[:4], 'NoTuning', 'PreBayesPT')  # No randomness.
SEARCHES = ('PreBayesPT', 'HardPT')
UNTUNED = (*ONCE, 'RandomPF', 'HardPT')
RAN = tuple(method for method in RATES if RATES[method])
TUNED = tuple(method for method in RAN if method not in UNTUNED)
SETTINGS = {'learning_rate': 5e-3, 'prefix_init': 'normal'}
PREFIXES = [''.join(p) for p in itertools.product('01', repeat=6)]


def _put_regrets(builder, rng, method, seed, runs):
  step = np.arange(1, STEPS + 1)
  for task, rate in zip(TASKS, RATES[method], strict=True):
    if rate is None:
      continue
    luck = 1 + 0.1 * rng.random((runs, 1, 1, 1)) * (runs > 1)
    # Reference and estimator differ, to tell a wrong choice.
    scale = np.arange(6, 0, -1).reshape(1, 2, 3, 1) - 3
    now = luck * scale * (rate[0] / (step + 1) + rate[1])
    if (method, task) == INFINITE:
      now[..., 30:] = np.inf
    at = {'tuner': method, 'pretrain_seed': seed, 'eval_task': task}
    at |= SETTINGS
    builder.put('instantaneous_regret', now, **at)
    builder.put('cumulative_regret', now.cumsum(-1), **at)
    builder.put('judged', np.ones(runs), **at)


def _put_losses(builder, rng, method, seed):
  update = np.arange(1, UPDATES + 1)
  start, end = RATES[method][1][1], RATES[method][0][0]
  loss = 25.02 + 10 * end + (2 + 9 * start) / (1 + update / 20)
  noise = rng.normal(size=(REPETITIONS, UPDATES)) * 0.24
  at = {'tuner': method, 'pretrain_seed': seed, **SETTINGS}
  builder.put('tuning_loss', loss + noise, **at)


def _put_candidates(builder, rng, method, seed, runs):
  ones = np.array([prefix.count('1') for prefix in PREFIXES])
  loss = 25.6 + 0.35 * (5 - ones) ** 2
  if method == 'HardPT':
    loss = loss + 0.08 * rng.normal(size=64)
    loss[ones == 0] = np.inf
  noise = 0.03 * rng.normal(size=(runs, 64))
  at = {'tuner': method, 'pretrain_seed': seed, 'candidate': PREFIXES}
  builder.put('candidate_loss', loss + noise, **at)


def _dataset(updates=UPDATES, candidates=PREFIXES, seed=0):
  rng = np.random.default_rng(seed)
  builder = results.Builder(
    {
      'tuner': list(RATES),
      'pretrain_seed': range(SEEDS),
      'learning_rate': [5e-3],
      'prefix_init': ['normal'],
      'repetition': range(REPETITIONS),
      'eval_task': TASKS,
      'reference': ('oracle', 'bayes'),
      'estimator': ('sampled', 'exact', 'paired'),
      'step': range(1, STEPS + 1),
      'report_step': (50, 100, 200),
      'sequence': range(2),
      'pretraining_step': range(1, updates + 1),
      'tuning_step': range(1, updates + 1),
      'candidate': candidates,
    }
  )
  for seed in range(SEEDS):
    update = np.arange(1, UPDATES + 1)
    loss = 50.8 + 18 / (1 + update / 40) + rng.normal(size=UPDATES)
    if updates:
      builder.put('pretraining_loss', loss, pretrain_seed=seed)
    for method in RAN:
      runs = 1 if method in ONCE else REPETITIONS
      if seed and method in REFERENCES:
        continue
      _put_regrets(builder, rng, method, seed, runs)
      if method in TUNED and updates:
        _put_losses(builder, rng, method, seed)
      if method in SEARCHES and candidates:
        _put_candidates(builder, rng, method, seed, runs)
  return builder.build(
    {
      'target': 'single_coin',
      'tuning_length': 50,
      'pretraining_length': 100,
    }
  )


@pytest.fixture(scope='module')
def dataset():
  return _dataset()


@pytest.fixture(scope='module')
def written(dataset, tmp_path_factory):
  folder = tmp_path_factory.mktemp('figures')
  return folder, figures.make_all(dataset, folder)


def _runs(dataset, variable, method, task=None):
  """Returns [runs, X] of what was run, by hand."""
  index = [dataset.tuner.values.tolist().index(method)]
  values = dataset[variable].values.astype(np.float64)[index[0]]
  if variable != 'candidate_loss':
    values = values[:, 0, 0]  # A grid of one position.
  if task:
    values = values[:, :, TASKS.index(task), 0, 2]  # Oracle, paired.
  judged = (dataset.judged == 1).values[index[0], :, 0, 0]
  judged = judged[..., TASKS.index(task)] if task else judged.any(-1)
  return values[judged & ~np.isnan(values).any(-1)]


def _line(ax, label):
  (line,) = [line for line in ax.lines if line.get_label() == label]
  return line


def _texts(figure):
  return [text.get_text() for text in figure.legends[0].get_texts()]


def _render(figure):
  """Draws it; the bare canvas of a figure without pyplot draws nothing."""
  figure.savefig(io.BytesIO(), format='png', dpi=50)


def test_writes_every_figure_as_png_and_pdf(written):
  folder, paths = written
  names = [
    'losses',
    'instantaneous_regret',
    'cumulative_regret',
    'cumulative_regret_step50',
    'cumulative_regret_step100',
    'cumulative_regret_step200',
    'hard_prefix_ranking',
  ]
  expected = [folder / f'{name}.{x}' for name in names for x in ('png', 'pdf')]
  assert paths == expected
  # Nothing temporary stays behind.
  assert sorted(folder.iterdir()) == sorted(paths)
  for path in paths:
    magic = {'.png': b'\x89PNG\r\n', '.pdf': b'%PDF-'}[path.suffix]
    assert path.read_bytes().startswith(magic)
    assert path.stat().st_size > 5000


@pytest.mark.slow
def test_same_bytes_again_and_over_old_files(
  dataset, written, tmp_path, monkeypatch
):
  folder, _ = written
  (tmp_path / 'losses.png').write_text('old')
  write_all = style.write_all

  def one_of_each_kind(makers, folder):
    kinds = {
      getattr(x.func, 'func', x.func): name for name, x in makers.items()
    }
    assert len(kinds) == 4
    return write_all({name: makers[name] for name in kinds.values()}, folder)

  monkeypatch.setattr(style, 'write_all', one_of_each_kind)
  before = dict(matplotlib.rcParams)
  for path in figures.make_all(dataset, tmp_path):
    assert path.read_bytes() == (folder / path.name).read_bytes(), path.name
  assert dict(matplotlib.rcParams) == before


def test_a_failed_write_leaves_the_old_file(dataset, tmp_path, monkeypatch):
  old = tmp_path / 'losses.png'
  old.write_text('old')

  def fail(self, path, **_):
    path.write(b'half of i')
    raise OSError('no such font')

  monkeypatch.setattr('matplotlib.figure.Figure.savefig', fail)
  with pytest.raises(errors.UserError, match='losses .OSError: no such font'):
    figures.make_all(dataset, tmp_path)
  assert old.read_text() == 'old'


def test_a_figure_that_fails_keeps_no_other_from_being_written(
  dataset, tmp_path
):
  def fail():
    raise ZeroDivisionError('a fault of ours')

  makers = {
    'first': fail,
    'second': lambda: figures.losses(dataset),
    'third': fail,
  }
  with pytest.raises(
    errors.UserError,
    match='^figures: not drawn: first .ZeroDivisionError.*; third',
  ) as caught:
    style.write_all(makers, tmp_path)
  assert isinstance(caught.value.__cause__, ZeroDivisionError)
  written = {path.name for path in tmp_path.iterdir()}
  assert written == {'second.png', 'second.pdf'}


def test_needs_neither_jax_nor_pyplot():
  code = (
    'import sys; from bayes_prompting.reporting import figures;'
    'print([m for m in ("jax", "matplotlib.pyplot") if m in sys.modules])'
  )
  done = subprocess.run(
    [sys.executable, '-c', code], capture_output=True, text=True, check=True
  )
  assert done.stdout.strip() == '[]'


@pytest.mark.parametrize(
  'quantity', ('instantaneous_regret', 'cumulative_regret')
)
def test_curves_are_medians_with_quartile_bands(dataset, quantity):
  figure = figures.regret_curves(dataset, quantity)
  titles = ['single_coin (target)', 'two_coin_mixture', 'random_coins']
  assert [ax.get_title() for ax in figure.axes] == titles
  for ax, (i, task) in zip(figure.axes, enumerate(TASKS), strict=True):
    ran = [m for m in RAN if RATES[m][i]]
    drawn = [x.get_label() for x in ax.lines if x.get_label() in RATES]
    assert sorted(drawn) == sorted(ran)
    for method in ran:
      runs = _runs(dataset, quantity, method, task)
      want = np.median(runs, 0)
      want[np.isinf(want)] = np.nan
      line = _line(ax, method)
      np.testing.assert_array_equal(line.get_xdata(), np.arange(1, STEPS + 1))
      np.testing.assert_allclose(line.get_ydata(), want, rtol=1e-12)
  # SoftPT has six runs: its band ends at the quartiles.
  runs = _runs(dataset, quantity, 'SoftPT', 'random_coins')
  band = figure.axes[2].collections[drawn.index('SoftPT')]
  ends = band.get_paths()[0].get_extents().get_points()[:, 1]
  want = np.quantile(runs, (0.25, 0.75), axis=0)
  np.testing.assert_allclose(ends, [want[0].min(), want[1].max()], rtol=1e-6)


def test_curves_all_fit_on_the_axis(dataset):
  ax = figures.regret_curves(dataset, 'cumulative_regret').axes[0]
  low, high = ax.get_ylim()
  values = [
    _runs(dataset, 'cumulative_regret', method, task)
    for i, task in enumerate(TASKS)
    for method in RAN
    if RATES[method][i]
  ]
  values = np.concatenate([np.median(v, 0) for v in values])
  values = values[np.isfinite(values)]
  assert low <= values.min()
  assert values.max() <= high < 3 * values.max()


def test_legend_holds_what_ran_in_order_and_nothing_else(dataset):
  figure = figures.regret_curves(dataset, 'cumulative_regret')
  methods = [m.replace('HardPT', 'HardPT (infinite)') for m in RAN]
  lengths = ['tuning length (50)', 'pretraining length (100)']
  assert _texts(figure) == methods + lengths
  for ax in figure.axes:
    across = [x for x in ax.lines if list(x.get_ydata()) == [0, 1]]
    assert [list(x.get_xdata()) for x in across] == [[50, 50], [100, 100]]
  figure = figures.losses(dataset)
  seeds = [f'pretraining, seed {seed}' for seed in range(SEEDS)]
  assert _texts(figure) == seeds + list(TUNED)


def test_an_infinite_curve_is_marked_where_it_leaves(dataset):
  figure = figures.regret_curves(dataset, 'cumulative_regret')
  marks = [
    (i, line.get_xdata()[0], line.get_color())
    for i, ax in enumerate(figure.axes)
    for line in ax.lines
    if line.get_marker() is style.glyph(style.INFINITY)
  ]
  color = style.looks(['HardPT'])['HardPT']['color']
  assert marks == [(1, 31, color)]


def test_a_curve_that_is_infinite_from_the_start_can_be_drawn(dataset):
  dataset = dataset.copy(deep=True)
  at = {'tuner': 'HardPT', 'eval_task': 'two_coin_mixture'}
  dataset.cumulative_regret.loc[at] = np.inf
  figure = figures.regret_curves(dataset, 'cumulative_regret')
  _render(figure)
  assert 'HardPT (infinite)' in _texts(figure)


def test_a_run_that_turned_nan_counts_as_infinite(dataset):
  dataset = dataset.copy(deep=True)
  at = {'tuner': 'SoftPT', 'eval_task': 'single_coin'}
  for repetition in range(REPETITIONS):
    at['repetition'] = repetition
    at['step'] = slice(61, None)
    dataset.cumulative_regret.loc[at] = np.nan
  figure = figures.regret_curves(dataset, 'cumulative_regret')
  assert 'SoftPT (infinite)' in _texts(figure)
  figure = figures.regret_bars(dataset, 100)
  assert 'inf' in [text.get_text() for text in figure.axes[0].texts]


def test_equal_lengths_have_one_mark_and_one_name(dataset):
  dataset = dataset.copy()
  dataset.attrs = dataset.attrs | {'pretraining_length': 50}
  figure = figures.regret_curves(dataset, 'cumulative_regret')
  assert _texts(figure)[-1] == 'tuning and pretraining length (50)'
  assert _texts(figure)[:-1][-1] == RAN[-1]
  marks = [{'name': 'tuning and pretraining length', 'step': 50}]
  assert page_curves.data(dataset)['marks'] == marks


def test_rounding_of_an_exact_zero_is_zero():
  noise = np.array([[0, 1e-16, -2e-16], [0, 2e-16, 3e-16], [0, 3e-16, 4e-16]])
  assert page_curves._curve(noise) == [[0, 0, 0]]
  assert page_curves._curve(noise + 1e-6)[0] == [1e-6] * 3


def test_lengths_and_target_may_be_missing(dataset):
  dataset = dataset.copy()
  dataset.attrs = {'tuning_length': 1000}  # Longer than what was evaluated.
  figure = figures.regret_curves(dataset, 'cumulative_regret')
  assert figure.axes[0].get_title() == 'single_coin'
  assert not any('length' in text for text in _texts(figure))


def test_without_a_step_bars_are_at_the_length_of_tuning(dataset):
  drawn, wanted = figures.regret_bars(dataset), figures.regret_bars(dataset, 50)
  for ax, same in zip(drawn.axes, wanted.axes, strict=True):
    assert 'after 50 steps' in ax.get_xlabel()
    values = [[text.get_text() for text in x.texts] for x in (ax, same)]
    assert values[0] == values[1] != []


@pytest.mark.parametrize('step', (50, 123))
def test_bars_are_medians(dataset, step):
  figure = figures.regret_bars(dataset, step)
  rows = [text.get_text() for text in figure.axes[0].get_yticklabels()]
  assert rows == list(RAN)
  for ax, (i, task) in zip(figure.axes, enumerate(TASKS), strict=True):
    limit = ax.get_xlim()[1]
    bars = {bar.get_label(): bar.patches[0] for bar in ax.containers}
    assert list(bars) == [m for m in RAN if RATES[m][i]]
    for method, bar in bars.items():
      runs = _runs(dataset, 'cumulative_regret', method, task)[:, step - 1]
      want = np.median(runs)
      assert bar.get_width() == pytest.approx(min(want, limit), rel=1e-12)
      assert bar.get_y() + bar.get_height() / 2 == rows.index(method)
      assert bool(bar.get_hatch()) == np.isinf(want)
      values = {
        text.get_text()
        for text in ax.texts
        if text.get_position() == (1.02, rows.index(method))
      }
      (value,) = values
      assert float(value) == pytest.approx(want, rel=5e-3, abs=5e-4)


def test_bars_show_runs_quartiles_and_the_optimum(dataset):
  ax = figures.regret_bars(dataset, 50).axes[2]
  runs = _runs(dataset, 'cumulative_regret', 'SoftPT', 'random_coins')[:, 49]
  row = RAN.index('SoftPT')
  near = [x for x in ax.lines if abs(np.mean(x.get_ydata()) - row) < 1e-9]
  whisker, dots = [x.get_xdata() for x in near]
  np.testing.assert_allclose(whisker, np.quantile(runs, (0.25, 0.75)))
  np.testing.assert_allclose(dots, runs)
  best = _runs(dataset, 'cumulative_regret', 'EvalBayes', 'random_coins')
  across = [x.get_xdata() for x in ax.lines if list(x.get_ydata()) == [0, 1]]
  np.testing.assert_allclose(across, [[best[0, 49]] * 2])


def test_bars_of_every_size_can_be_told_apart(dataset):
  figure = figures.regret_bars(dataset, 50)
  assert len({ax.get_xlim() for ax in figure.axes}) == 1
  for ax, (i, task) in zip(figure.axes, enumerate(TASKS), strict=True):
    assert ax.get_xscale() == 'symlog'
    assert 'log scale,\nlinear below 0.01)' in ax.get_xlabel()
    start, end = ax.transAxes.transform([(0, 0), (1, 0)])[:, 0]
    for bar in ax.containers:
      if not RATES[bar.get_label()][i][0]:
        continue
      width = bar.patches[0].get_window_extent().width / (end - start)
      runs = _runs(dataset, 'cumulative_regret', bar.get_label(), task)[:, 49]
      assert width >= 0.1, bar.get_label()
      assert np.isinf(runs).all() or runs.max() < ax.get_xlim()[1]


def test_bars_of_one_size_have_a_linear_axis(dataset):
  flat = dataset.copy(deep=True)
  flat['cumulative_regret'] = flat.cumulative_regret.where(
    flat.cumulative_regret.isnull(), 2.0
  )
  ax, *_ = figures.regret_bars(flat, 50).axes
  assert ax.get_xscale() == 'linear' and ax.get_xlim()[0] == 0
  assert 'log' not in ax.get_xlabel()


def test_bars_below_zero_are_within_the_axis(dataset):
  below = dataset.copy(deep=True)
  finite = below.cumulative_regret.where(np.isfinite(below.cumulative_regret))
  below['cumulative_regret'] = -abs(finite) - 1.0
  for ax, task in zip(figures.regret_bars(below).axes, TASKS, strict=True):
    runs = _runs(below, 'cumulative_regret', 'SoftPT', task)[:, 49]
    assert ax.get_xlim()[0] < runs.min() < 0


def test_bars_on_both_sides_of_zero_have_a_linear_axis(dataset):
  both = dataset.copy(deep=True)
  finite = both.cumulative_regret.where(np.isfinite(both.cumulative_regret))
  both['cumulative_regret'] = finite - 0.5 * finite.max()
  for ax in figures.regret_bars(both).axes:
    assert ax.get_xscale() == 'linear'


def test_losses_are_running_medians(dataset):
  pretraining, tuning, late = figures.losses(dataset).axes
  raw = dataset.pretraining_loss.values.astype(np.float64)
  _, smooth, _, _ = pretraining.lines
  for panel, method in itertools.product((tuning, late), TUNED):
    line = _line(panel, method)
    runs = _runs(dataset, 'tuning_loss', method)
    assert len(runs) == SEEDS * REPETITIONS
    drawn = dict(zip(line.get_xdata(), line.get_ydata(), strict=True))
    assert drawn[1] == pytest.approx(np.median(runs[:, 0]))
    within = runs[:, 899:]  # Updates 900 to 1000.
    want = np.median(np.median(within, -1))
    assert drawn[1000] == pytest.approx(want)
  drawn = smooth.get_ydata()[smooth.get_xdata() == 1000]
  assert drawn == pytest.approx(np.median(raw[0, 899:]))


def test_losses_that_leave_the_axis_are_named(dataset):
  _, tuning, late = figures.losses(dataset).axes
  assert tuning.get_title() == 'tuning\nleaves the axis: FullWT'
  assert late.get_title() == 'tuning, later'
  finals = [_line(late, method).get_ydata()[-1] for method in TUNED]
  low, high = late.get_ylim()
  assert low < min(finals) and max(finals) < high


def test_ranking_is_of_excess_over_the_best(dataset):
  figure = figures.hard_prefix_ranking(dataset)
  for i, method in enumerate(SEARCHES):
    everything, top = figure.axes[2 * i : 2 * i + 2]
    assert everything.get_title().startswith(f'{method}, all 64 prefixes')
    runs = _runs(dataset, 'candidate_loss', method)
    excess = np.median(runs - runs.min(-1, keepdims=True), 0)
    finite = np.sort(excess[np.isfinite(excess)])
    dots, crosses = everything.collections
    want = np.stack([np.arange(1, len(finite) + 1), finite], -1)
    np.testing.assert_allclose(dots.get_offsets(), want)
    assert len(crosses.get_offsets()) == 64 - len(finite)
    order = np.argsort(excess, kind='stable')[:12]
    names = [text.get_text() for text in top.get_yticklabels()]
    assert names == [PREFIXES[k] for k in order]
    np.testing.assert_allclose(
      top.collections[1].get_offsets()[:, 0], excess[order]
    )
  assert everything.get_title() == 'HardPT, all 64 prefixes (×: 1 infinite)'


def test_prefixes_of_the_same_composition_have_the_same_colour(dataset):
  figure = figures.hard_prefix_ranking(dataset)
  top = figure.axes[1]
  names = [text.get_text() for text in top.get_yticklabels()]
  colors = [tuple(c) for c in top.collections[1].get_facecolors()]
  ones = [name.count('1') for name in names]
  assert len(set(ones)) > 1
  assert len(set(zip(ones, colors, strict=True))) == len(set(ones))
  assert len(set(colors)) == len(set(ones))


def test_ranking_of_two_lengths_and_many_tokens():
  short = [str(i) for i in range(16)]
  long = [f'{i}-{j}' for i in range(16) for j in range(16)]
  loss = np.full((2, 1, 2, 272), np.nan)
  loss[0, :, :, :16] = np.arange(16)
  loss[1, :, :, 16:] = np.random.default_rng(0).random((2, 256))
  coords = {'tuner': ['PreBayesPT', 'HardPT'], 'candidate': short + long}
  dims = results.VARIABLES['candidate_loss'][0]
  ran = np.ones((2, 1, 2, 1))
  dataset = xr.Dataset(
    {
      'candidate_loss': (dims, loss),
      'judged': ((*dims[:3], 'eval_task'), ran),
      'stopped': (dims[:3], ran[..., 0] * np.nan),
      'pretraining_stopped': (dims[1:2], [np.nan]),
    },
    coords,
  )
  figure = figures.hard_prefix_ranking(dataset)
  titles = [ax.get_title() for ax in figure.axes[:4:2]]
  assert titles == ['PreBayesPT, all 16 prefixes', 'HardPT, all 256 prefixes']
  names = [text.get_text() for text in figure.axes[1].get_yticklabels()]
  assert names == short[:12]
  # '0' alone is coloured apart: '10' is one token, not a '1' and a '0'.
  colors = figure.axes[1].collections[1].get_facecolors()
  assert len(np.unique(colors[1:], axis=0)) == 1
  assert not np.array_equal(colors[0], colors[1])


def test_what_was_not_run_is_not_drawn(monkeypatch):
  monkeypatch.setattr(style, 'write_all', lambda makers, folder: makers)
  dataset = _dataset(updates=0, candidates=[])
  names = set(figures.make_all(dataset, 'nowhere'))
  assert names == {
    'instantaneous_regret',
    'cumulative_regret',
    *(f'cumulative_regret_step{step}' for step in (50, 100, 200)),
  }
  with pytest.raises(errors.UserError, match='dataset: has no losses'):
    figures.losses(dataset)
  with pytest.raises(errors.UserError, match='dataset: has no candidates'):
    figures.hard_prefix_ranking(dataset)


def test_losses_of_one_kind_only(dataset):
  figure = figures.losses(dataset.drop_vars('tuning_loss'))
  assert [ax.get_title() for ax in figure.axes] == ['pretraining']
  assert _texts(figure) == ['pretraining, seed 0', 'pretraining, seed 1']
  figure = figures.losses(dataset.drop_vars('pretraining_loss'))
  assert len(figure.axes) == 2
  assert _texts(figure) == list(TUNED)
  short = dataset.isel(tuning_step=[0], pretraining_step=[0])
  _render(figures.losses(short))


def test_room_for_losses_that_nobody_filled_is_no_loss(dataset):
  # As of a file with hard prefixes alone, on a network that was not trained.
  empty = dataset.drop_vars('pretraining_loss')
  empty['tuning_loss'] = empty.tuning_loss * np.nan
  with pytest.raises(errors.UserError, match='dataset: has no losses'):
    figures.losses(empty)


def test_mistakes_are_named(dataset):
  with pytest.raises(errors.UserError, match="quantity: unknown 'regret'"):
    figures.regret_curves(dataset, 'regret')
  with pytest.raises(errors.UserError, match='step: .* 1 to 200, got 201'):
    figures.regret_bars(dataset, 201)
  with pytest.raises(errors.UserError, match='whole results file, as bp.load'):
    figures.regret_bars('runs')


def test_looks_differ_and_do_not_depend_on_company():
  own = ['bits_back', 'my_lab.tuner', *(f'Own{i}' for i in range(10))]
  methods = [*reversed(RATES), *own]
  every = style.looks(methods)
  assert list(every)[:17] == [m for m in RATES if m != 'bits_back']
  distinct = {str(look) for look in every.values()}
  assert len(distinct) == len(every)
  for method in [*RATES, 'my_lab.tuner']:
    assert style.looks([method])[method] == every[method]
  # More than there are looks is no error.
  assert len(style.looks(f'Own{i}' for i in range(99))) == 99
