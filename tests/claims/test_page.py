"""The page of claims says what was judged, and follows another bound."""

import re

import numpy as np
import pytest

from bayes_prompting.claims import intervals
from bayes_prompting.claims import judge
from bayes_prompting.claims import page
from tests import browsing

NASTY = 'It </script><b>is</b> & "so"'


def judged(
  values, sign='<', number=0.05, scale='log', network='lstm', **kwargs
):
  values = np.asarray(values, float)
  claim = judge.Claim(
    name=kwargs.pop('name', 'it_is'),
    text=NASTY,
    networks=('lstm',),
    quantity='what is lost',
    bound=judge.Bound(sign, number),
    reason='why it is',
    value=lambda m: m['it'],
    scale=scale,
    **kwargs,
  )
  estimate = intervals.over_networks(values, scale)
  seeds = np.arange(len(values))
  return judge.Judged(claim, network, estimate, values, seeds, 1, 0)


EVERY = [
  judged([0.01, 0.02, 0.015]),
  judged([0.4, 0.5, 0.6], '>', 0.1, 'linear', name='more'),
  judged([0.01, 0.9, 0.03], name='open'),
  judged([0.2], name='one'),
  judged([], name='none'),
]


def text(made):
  return re.sub(r'<[^>]*>', ' ', made)


def test_a_torso_of_which_nothing_was_run_has_no_row():
  made = page.render(
    [*EVERY, judged([], network='gru'), judged([], network='gru_deep')],
    'Claims',
    'Few.',
    titles={'gru': 'Gated'},
  )
  assert made.count('class="row"') == len(EVERY)
  assert 'Nothing was run of Gated.' in made and 'gru' not in made


def test_the_page_says_what_was_judged():
  made = page.render(
    EVERY,
    'Claims',
    'Few.',
    [('More:', 'do --it')],
    7,
    {'lstm': 'LSTM'},
  )
  assert '<b>is</b>' not in made
  assert made.count('&lt;/script&gt;') == len(EVERY)
  said = ' '.join(text(made).split())
  for part in (
    '2 holds 2 undecided 1 not run',
    'Few.',
    'do --it',
    'from 7 rows',
    'why it is',
    'LSTM',
    'more networks',
    '1 network;',
    '3 networks',
  ):
    assert part in said
  (first, *_) = re.findall(r'<svg.*?</svg>', made, re.DOTALL)
  assert first.count('class="network"') == 3
  assert first.count('class="mean"') == first.count('class="interval"') == 1


def test_numbers_are_where_they_belong():
  axis = page._Axis([EVERY[0]])
  assert axis.log and axis.low < 0.01 and axis.high > 0.05
  # The geometric mean is in the middle.
  low, high = axis.place(0.01), axis.place(0.04)
  assert axis.place(0.02) == pytest.approx((low + high) / 2, abs=0.1)
  assert axis.place(0) == 0 and axis.place(9e9) == 600
  axis = page._Axis([EVERY[1]])
  assert axis.place(0.3) == pytest.approx(
    (axis.place(0.2) + axis.place(0.4)) / 2, abs=0.1
  )
  for at, label in axis.ticks():
    assert at == axis.place(float(label))


def test_another_bound_gives_other_verdicts(browser, tmp_path):
  path = page.write(EVERY, tmp_path, 'Claims', 'Few networks.')
  browser.get(path.as_uri())

  def verdicts():
    found = browser.find_elements('css selector', '.verdict')
    return [x.text for x in found]

  before = [one.verdict for one in EVERY]
  assert verdicts() == before
  for index, one in enumerate(EVERY):
    box = browser.find_elements('css selector', 'input')[index]
    for number in (1e-4, 0.2, 3.0):
      browser.execute_script(
        'arguments[0].value = arguments[1];'
        "arguments[0].dispatchEvent(new Event('input'));",
        box,
        number,
      )
      bound = judge.Bound(one.claim.bound.sign, number)
      expected = judge.NOT_RUN
      if one.ran:
        expected = bound.verdict(one.estimate.low, one.estimate.high)
      assert verdicts()[index] == f'{expected} (your bound)'
      line = browser.find_elements('css selector', '.bound')[index]
      place = page._Axis([one]).place(number)
      assert float(line.get_attribute('x1')) == pytest.approx(place, abs=0.1)
    browser.execute_script(
      'arguments[0].click()',
      browser.find_elements('css selector', 'button')[index],
    )
  assert verdicts() == before
  assert browsing.complaints(browser) == []
