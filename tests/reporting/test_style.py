"""Names are names, and a figure looks the same whoever draws it.

No test of the package may have its text read as mathematics, see `conftest`.
"""

import io
import itertools

import matplotlib
import numpy as np
import pytest

from bayes_prompting.dynamics import figures as dynamics_figures
from bayes_prompting.reporting import dark
from bayes_prompting.reporting import figures
from bayes_prompting.reporting import style
from tests.reporting import test_figures

DRAWS = True
# Names that a configuration may have, and that mean something to Matplotlib.
NAMES = (
  'cost$_$',
  '$x^',
  '_mine',
  '%d {x} <b>',
  r'two  spaces & "quotes"',
  '日本',
)


@pytest.fixture(scope='module')
def dataset():
  """The Dataset of the figures' own tests, with its names changed."""
  named = test_figures._dataset()
  tuners, tasks = named.cumulative_regret.dims[0], 'eval_task'
  methods = named[tuners].values.astype('U20')
  methods[-3], methods[-1] = NAMES[0], NAMES[2]
  named = named.assign_coords({tuners: methods, tasks: [*NAMES[:2], NAMES[3]]})
  return named.assign_attrs(target=NAMES[0])


def render(figure):
  figure.savefig(io.BytesIO(), format='png', dpi=40)


def texts(figure):
  return {x.get_text() for x in figure.findobj(matplotlib.text.Text)}


MAKERS = {
  'losses': figures.losses,
  'curves': lambda x: figures.regret_curves(x, 'cumulative_regret'),
  'bars': lambda x: figures.regret_bars(x, 50),
  'ranking': figures.hard_prefix_ranking,
}


@pytest.mark.parametrize('name', MAKERS)
@pytest.mark.filterwarnings('ignore:Glyph')
def test_names_are_never_mathematics(dataset, name):
  figure = MAKERS[name](dataset)
  render(figure)
  if name == 'ranking':  # Of it only what was searched is shown.
    return
  assert NAMES[2] in texts(figure)
  if name != 'losses':
    assert f'{NAMES[0]} (target)' in texts(figure)


@style.styled
def log_axes():
  figure, (left, right) = style.panels(2)
  left.plot([1e-6, 1e5], [1e-6, 1e5])
  left.set(xscale='log', yscale='symlog')
  right.plot([2, 3, 5], [0.02, 0.03, 0.05])
  right.set(xscale='log', yscale='log')
  return figure, left, right


def test_ticks_of_log_axes_are_plain_text():
  figure, left, right = log_axes()
  render(figure)
  names = [x.get_text() for x in left.get_xticklabels()]
  assert {'10⁻⁶', '0.01', '1', '10⁴'} & set(names) and not any(
    '$' in x for x in texts(figure)
  )
  assert '0' in [x.get_text() for x in left.get_yticklabels()]
  # Within a decade the minor ticks have names, too.
  minor = [x.get_text() for x in right.get_xticklabels(which='minor')]
  assert '2' in minor and '3' in minor


HOSTILE = {
  'text.usetex': True,
  'font.family': 'serif',
  'axes.facecolor': 'black',
  'axes.formatter.use_mathtext': True,
  'figure.constrained_layout.use': False,
  'lines.linewidth': 9,
  'savefig.bbox': 'tight',
  'savefig.transparent': True,
}


def test_a_user_s_style_changes_nothing(dataset, tmp_path):
  makers = {'curves': lambda: MAKERS['curves'](dataset)}
  style.write_all(makers, tmp_path / 'ours')
  with matplotlib.rc_context(HOSTILE):
    style.write_all(makers, tmp_path / 'theirs')
    # Drawn by the user, as a notebook does; only what is saved is theirs.
    render(MAKERS['bars'](dataset))
  assert matplotlib.rcParams['text.usetex'] is False
  for path in (tmp_path / 'ours').iterdir():
    assert path.read_bytes() == (tmp_path / 'theirs' / path.name).read_bytes()


def test_a_glyph_is_centred():
  box = style.glyph('∞').get_extents()
  np.testing.assert_allclose(box.min, -box.max, atol=1e-9)
  assert style.glyph('∞') is style.glyph('∞')
  assert dynamics_figures._short(np.inf, 1) == '∞'


def test_names_along_an_axis_in_x_stand_apart():
  figure, axes = style.panels(3, sharey=True)
  for ax, top in zip(axes, (2.0, 22.0, 9e3), strict=True):
    assert style.symlog(ax, np.array([0.0, 1e-3, 0.1, top]), axis='x')
  figure.canvas.draw()
  for ax in axes:
    names = [x for x in ax.get_xticklabels() if x.get_text()]
    assert 3 <= len(names) <= 5 and names[0].get_text() == '0'
    boxes = [x.get_window_extent() for x in names]
    for one, other in zip(boxes, boxes[1:], strict=False):
      assert one.x1 < other.x0


def _luminance(color):
  srgb = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
  linear = np.where(
    srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4
  )
  return linear @ (0.2126, 0.7152, 0.0722)


def test_on_a_dark_page_every_colour_is_seen():
  colors = {look[0] for look in (*style._LOOKS.values(), *style._FURTHER)}
  turned = {color: dark.color(color) for color in colors}
  # Two colours are two colours, and what was darker is lighter.
  assert len({*turned.values()}) == len(colors)
  paper = _luminance('#15181c') + 0.05
  for color in turned.values():
    assert (_luminance(color) + 0.05) / paper > 4.5, color
  for darker, lighter in itertools.permutations(colors, 2):
    if _luminance(darker) + 0.2 < _luminance(lighter):
      assert _luminance(turned[darker]) > _luminance(turned[lighter])
  # Lightness 0 and 1 of OKLab become 0.95 and 0.55; of a grey it is the cube
  # root of its linear value.
  assert _luminance(dark.color('#000000')) == pytest.approx(0.95**3, abs=0.01)
  assert _luminance(dark.color('#ffffff')) == pytest.approx(0.55**3, abs=0.01)
