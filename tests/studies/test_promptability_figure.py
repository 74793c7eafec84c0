"""The figure of gaps shows every number, and where no posterior comes."""

from matplotlib import patches as mpl_patches
import numpy as np

from bayes_prompting.studies.paper import promptability

NETWORKS = {
  'LSTM SoftPT': {1: [0.9, 0.7], 6: [0.4, 0.2]},
  'Transformer SoftPT': {6: [0.75]},
  'LSTM HardPT': {6: [1.1]},
}


def panel(gaps=(0.8, 1.0, 0.9), family=0.769, networks=NETWORKS):
  return promptability.Panel((0, 1, 2), gaps, family, 50, networks)


def drawn(ax):
  """Returns the curves of a panel by their label."""
  return {
    line.get_label(): line
    for line in ax.lines
    if not line.get_label().startswith('_')
  }


def legend(figure):
  return [text.get_text() for text in figure.legends[0].get_texts()]


def test_every_number_is_drawn():
  figure = promptability.gap({'two coins': panel()})
  (ax,) = figure.axes
  assert ax.get_title() == 'two coins'
  assert '50 tokens' in ax.get_ylabel() and 'nats' in ax.get_ylabel()
  curves = drawn(ax)
  exact = curves['exact Bayes, best hard prefix']
  np.testing.assert_array_equal(exact.get_xdata(), [0, 1, 2])
  np.testing.assert_array_equal(exact.get_ydata(), [0.8, 1.0, 0.9])
  np.testing.assert_allclose(curves['LSTM SoftPT'].get_ydata(), [0.8, 0.3])
  dots = [line for line in ax.lines if line.get_marker() == '.']
  values = np.concatenate([line.get_ydata() for line in dots])
  assert sorted(values) == [0.2, 0.4, 0.7, 0.75, 0.9, 1.1]
  assert set(NETWORKS) < set(legend(figure))


def test_torsos_with_the_same_method_differ_by_their_line_only():
  figure = promptability.gap({'': panel()})
  curves = drawn(figure.axes[0])
  lstm, transformer, hard = (curves[name] for name in NETWORKS)
  assert lstm.get_color() == transformer.get_color() != hard.get_color()
  assert lstm.get_linestyle() != transformer.get_linestyle()


def regions(ax):
  return [
    one.get_extents().transformed(ax.transData.inverted())
    for one in ax.patches
    if isinstance(one, mpl_patches.Rectangle)
  ]


def test_marks_what_no_posterior_reaches():
  families = {'two': 0.769, 'one': 4e-10, 'six': None}
  panels = {name: panel(family=gap) for name, gap in families.items()}
  figure = promptability.gap(panels)
  two, one, six = figure.axes
  (region,) = regions(two)
  np.testing.assert_allclose((region.y0, region.y1), (0, 0.769), atol=1e-9)
  assert not regions(one) and not regions(six)
  for ax, expected in ((two, {0, 0.769}), (one, {0, 4e-10}), (six, {0})):
    across = [line for line in ax.lines if [*line.get_xdata()] == [0, 1]]
    assert {line.get_ydata()[0] for line in across} == expected
  for ax in figure.axes:
    low, high = ax.get_ylim()
    assert low < 0 and high > 1.1


def test_infinite_gaps_are_named():
  one = panel(gaps=(np.inf,) * 3, family=np.inf, networks={})
  figure = promptability.gap({'ruled out': one})
  assert [text.get_text() for text in figure.axes[0].texts] == ['infinite']
  figure.draw_without_rendering()
