"""The figure of an audit."""

from matplotlib import figure as mpl_figure
from matplotlib import lines as mpl_lines
import numpy as np
from scipy import stats

from bayes_prompting import checks
from bayes_prompting import errors
from bayes_prompting.dynamics.audit import verdicts
from bayes_prompting.reporting import style

_OURS, _EXACT, _PALE = '#16206e', '#808080', '#d9d9d9'
_COLORS = {
  verdicts.PASSES: '#009e73',
  verdicts.FAILS: '#d55e00',
  verdicts.OPEN: '#808080',
}
_MARKS = {verdicts.PASSES: 'o', verdicts.FAILS: 'X', verdicts.OPEN: 'd'}
_INSIDE = {'fontsize': 6, 'title_fontsize': 6, 'handlelength': 2}
# Nats below which all is drawn alike.
_LEAST = 1e-7


@style.styled
def figure(audit: verdicts.Audit, title: str = '') -> mpl_figure.Figure:
  """Draws what an audit found; bands and bars are 95% intervals.

  First all checks with a deviation in nats, of which hollow ones do not count.
  Then how far its own continuations lead it away; how much the order of a
  history counts; how often came what was expected; what a token costs above the
  Dirichlet that explains it best and above exact Bayes; and what a change of
  the source costs.

  Args:
    audit: What was found.
    title: What stands above it: the predictor's name.

  Raises:
    UserError: If it is no audit.
  """
  if not isinstance(audit, verdicts.Audit):
    raise errors.UserError(
      f'audit: must be what bp.audit returns, got {checks.show(audit)}'
    )
  drawn, axes = style.panels(6, 2.2)
  drawn.set_figwidth(8.6)
  _checks(axes[0], audit)
  _drift(axes[1], audit)
  _orders(axes[2], audit)
  _reliability(axes[3], audit)
  _explained(axes[4], audit)
  _change(axes[5], audit)
  line = mpl_lines.Line2D
  handles = [
    line([], [], color=color, marker=_MARKS[status], ls='', label=status)
    for status, color in _COLORS.items()
  ]
  empty = {'mfc': 'white', 'mec': 'black', 'ls': ''}
  handles.append(line([], [], marker='o', label='does not count', **empty))
  handles.append(line([], [], color='black', ls=':', label='tolerance'))
  handles.append(line([], [], color=_OURS, label='predictor'))
  if audit.prior:
    label = f'exact Bayes of\n{audit.prior}'
    handles.append(line([], [], color=_EXACT, ls='--', label=label))
  style.legend(drawn, handles)
  style.footnote(drawn, audit.verdict, key=title)
  return drawn


def _mean(values):
  """Returns the mean of [S, X] and half its interval; NaN where infinite."""
  values = np.where(np.isfinite(values), values, np.nan)
  error = values.std(0, ddof=1) / np.sqrt(len(values))
  return values.mean(0), stats.t.isf(0.025, len(values) - 1) * error


def _band(ax, x, values, color, linestyle='-'):
  middle, half = _mean(values)
  ax.plot(x, middle, color=color, linestyle=linestyle)
  ax.fill_between(x, middle - half, middle + half, color=color, alpha=0.2, lw=0)


def _checks(ax, audit):
  shown = [check for check in audit.checks if check.unit.startswith('nats')]
  for row, check in enumerate(shown):
    color = _COLORS[check.status]
    low, value, high = np.clip(
      np.nan_to_num(
        np.abs((check.low, check.value, check.high)), nan=0, posinf=1e3
      ),
      _LEAST,
      None,
    )
    if check.low < 0 < check.high:
      low = _LEAST
    face = color if check.counts else 'white'
    ax.plot([min(low, high), max(low, high)], [row, row], color=color, lw=1.5)
    look = {'mec': color, 'mfc': face, 'ms': 4.5, 'clip_on': False}
    ax.plot(value, row, _MARKS[check.status], **look)
  ax.axvline(audit.tolerance, color='black', ls=':', lw=0.8)
  names = [check.title.replace('Bayes of ', 'Bayes\nof ') for check in shown]
  ax.set_yticks(range(len(shown)), names)
  ax.set_ylim(len(shown) - 0.5, -0.5)
  ax.set_xscale('log')
  right = max(10 * audit.tolerance, ax.get_xlim()[1])
  ax.set(xlabel='nats (a token)', xlim=(_LEAST, right), title='deviations')


def _drift(ax, audit):
  drift = audit.curves['drift']
  later = np.arange(1, drift.shape[1] + 1)
  _band(ax, later, drift, _OURS)
  ax.axhline(0, color='black', lw=0.7, ls=':')
  ax.set(title='martingale property', xlabel='tokens of its own', ylabel='nats')


def _orders(ax, audit):
  for name, linestyle in (('orders', '-'), ('transitions', '-.')):
    values = np.sort(np.maximum(audit.curves[name], _LEAST))
    share = np.arange(1, len(values) + 1) / len(values)
    ax.step(values, share, where='post', color=_OURS, linestyle=linestyle)
  handles = ax.get_lines()
  ax.legend(handles, ('all', 'of the same pairs'), title='orders', **_INSIDE)
  ax.axvline(audit.tolerance, color='black', ls=':', lw=0.8)
  ax.set_xscale('log')
  ax.set_xlim(_LEAST / 2, 1)
  ax.set(title='order', xlabel='nats', ylabel='share of histories')


def _reliability(ax, audit):
  ax.plot([0, 1], [0, 1], color='black', lw=0.7, ls=':')
  expected, came, error = (
    audit.curves[f'bin_{name}'] for name in ('expected', 'found', 'error')
  )
  half = 1.96 * error
  ax.errorbar(expected, came, half, color=_OURS, fmt='o-', ms=3, lw=1)
  ax.set(xlabel='probability', ylabel='how often it came', title='calibration')
  ax.set(xlim=(0, 1), ylim=(0, 1))


def _explained(ax, audit):
  misfit = audit.curves['misfit']
  seen = np.arange(misfit.shape[1])
  _band(ax, seen, misfit, _OURS)
  highest = [_mean(misfit)[0]]
  labels = ['best Dirichlet']
  if 'divergence' in audit.curves:
    divergence = audit.curves['divergence']
    _band(ax, seen, divergence, _EXACT, '--')
    highest.append(_mean(divergence)[0])
    labels.append('exact Bayes')
  ax.legend(ax.get_lines(), labels, title='KL to', **_INSIDE)
  top = np.nanmax(np.concatenate(highest), initial=audit.tolerance)
  ax.set(ylim=(0, 1.4 * top), xlabel='tokens seen', ylabel='KL, nats')
  ax.set_title('what explains it')


def _change(ax, audit):
  excess = audit.curves['excess']
  after = np.arange(excess.shape[1])
  if 'excess_exact' in audit.curves:
    _band(ax, after, audit.curves['excess_exact'], _EXACT, '--')
  _band(ax, after, excess, _OURS)
  ax.axhline(0, color='black', lw=0.7, ls=':')
  if np.isfinite(audit.half_life):
    ax.axvline(audit.half_life, color=_OURS, lw=0.7, ls=(0, (1, 1)))
  ax.set(title='a change of the source', xlabel='tokens after it')
  ax.set_ylabel('cost of a token, nats')
