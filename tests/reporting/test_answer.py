"""The answer of a report says what a ranking holds, and no more."""

import math

import pytest

from bayes_prompting.reporting import page_answer
from bayes_prompting.results import ranking as ranking_lib

NAN = math.nan


def measured(mean, half=0.1, over='networks', networks=3):
  """A mean with a symmetric interval; exact for a half of 0, none for NaN."""
  over = over if half else 'nothing'
  ends = (mean - half, mean + half)
  return ranking_lib.Difference(mean, half / 4, *ends, over, networks, 10, 256)


def standing(tuner, rank, regret, behind=None, networks=3, repetitions=10):
  return ranking_lib.Standing(
    tuner, rank, regret, behind, networks, repetitions
  )


def answer(*standings, is_target=True, above='', step=50):
  ranking = ranking_lib.Ranking('home', step, above, standings, 256)
  return page_answer.answer(ranking, is_target)


def texts(found):
  """What is said of each comparison, as a reader sees it."""
  return [
    ' '.join((x['tuner'], x['what'], x['text'], x['interval'])).rstrip()
    + f' | {x["badge"]["text"]}'
    for x in found['comparisons']
  ]


BEST = standing('Full', 1, measured(0.25, 0.125))
UNTUNED = standing('NoTuning', None, measured(2), measured(1.75, 0.5))


def test_a_method_that_wins():
  bayes = standing('TargetBayes', None, measured(0, 0), measured(-0.25), 0, 1)
  soft = standing('Soft', 2, measured(0.5), measured(0.25, 0.125))
  found = answer(bayes, BEST, soft, UNTUNED)
  assert found['best'] == 'Full'
  assert found['sentence'] == (
    'wins on home: its regret over 50 steps is 0.250 [0.125, 0.375] nats.'
  )
  assert texts(found) == [
    'Soft the next loses 0.250 nats more [0.125, 0.375] | told apart',
    'NoTuning the untuned network loses 1.750 nats more [1.250, 2.250]'
    ' | told apart',
    'TargetBayes exact Bayes loses 0.250 nats less [0.150, 0.350] | told apart',
  ]
  assert [row['rank'] for row in found['rows']] == [None, 1, 2, None]
  assert [row['runs'] for row in found['rows']] == ['–', *['3 × 10'] * 3]
  assert found['rows'][0]['regret'] == ('0.000', 'exact')
  assert found['rows'][1]['behind'] == ('', '')
  assert found['rows'][1]['badge'] is None
  assert found['next'] == found['rows'][2]
  assert answer(BEST, soft, is_target=False)['sentence'].startswith('loses le')


@pytest.mark.parametrize(
  ('tied', 'listed'),
  [
    (['A'], 'A'),
    (['A', 'B'], 'A and B'),
    (['A', 'B', 'C', 'D'], 'A, B, C and D'),
    (['A', 'B', 'C', 'D', 'E'], 'A, B, C and 2 more'),
  ],
)
def test_methods_that_cannot_be_told_apart(tied, listed):
  others = [
    standing(name, rank, measured(0.3), measured(0.05, 0.1))
    for rank, name in enumerate(tied, 2)
  ]
  last = standing('Z', 9, measured(9), measured(8.75))
  found = answer(BEST, *others, last)
  assert found['sentence'] == (
    f'loses least on home, but cannot be told apart from {listed}: its regret '
    'over 50 steps is 0.250 [0.125, 0.375] nats.'
  )
  assert texts(found) == [
    'A the next loses 0.050 nats more [−0.050, 0.150] | cannot be told apart'
  ]


def test_a_least_mean_over_easier_runs_is_no_win():
  other = standing('Soft', 2, measured(0.5), measured(-0.25, 0.125), networks=2)
  found = answer(BEST, other)
  assert found['sentence'] == (
    'has the least mean on home: its regret over 50 steps is 0.250 [0.125, '
    '0.375] nats. But Soft lost less on the runs that both have.'
  )
  assert texts(found) == [
    'Soft the next loses 0.250 nats less [0.125, 0.375] | told apart'
  ]


def test_without_an_interval_nothing_is_told_apart():
  other = standing('Soft', 2, measured(0.5, NAN), measured(0.25, NAN))
  found = answer(standing('Full', 1, measured(0.25, NAN)), other)
  assert 'cannot be told apart from Soft' in found['sentence']
  assert 'is 0.250 nats.' in found['sentence']
  assert texts(found) == ['Soft the next loses 0.250 nats more | no interval']


def test_infinite_regrets_need_no_interval():
  infinite = standing('Hard', 2, measured(math.inf, NAN), measured(math.inf))
  found = answer(BEST, infinite)
  assert found['sentence'].startswith('wins')
  assert texts(found)[0].startswith('Hard the next loses ∞ nats more')
  assert found['rows'][1]['badge']['text'] == 'told apart'
  nothing = answer(infinite._replace(rank=1, behind=None), UNTUNED)
  assert nothing['sentence'] == (
    'is first by name alone: on home no tuned method has a finite regret after '
    '50 steps.'
  )
  assert nothing['comparisons'] == []
  # What a reference holds impossible is below all that is finite.
  below = standing('Full', 1, measured(-math.inf, NAN))
  soft = standing('Soft', 2, measured(0.5), measured(math.inf, NAN))
  assert answer(below, soft)['sentence'] == (
    'wins on home: its regret over 50 steps is −∞ nats.'
  )


def test_above_a_universal_predictor_numbers_are_a_token():
  soft = standing('Soft', 1, measured(-5.0, 2.5))
  ctw = standing('CTW', None, measured(0, 0), measured(5.0, 2.5), 0, 1)
  found = answer(soft, ctw, above='CTW')
  assert found['sentence'] == (
    'alone was tuned. On home its loss above CTW over 50 steps is −0.1000 '
    '[−0.1500, −0.0500] nats a token.'
  )
  assert texts(found) == [
    'CTW a universal predictor loses 0.1000 nats a token more '
    '[0.0500, 0.1500] | told apart'
  ]


def test_where_nothing_was_tuned():
  found = answer(standing('NoTuning', None, measured(2)))
  assert (found['best'], found['next'], found['sure']) == ('', None, '')
  assert found['sentence'] == 'No method was tuned, or none counts, on home.'


def test_a_method_of_which_no_run_counts_is_named():
  found = answer(BEST, standing('Soft', None, None, None, 0, 0))
  row = found['rows'][1]
  assert (row['regret'], row['behind']) == (('stopped', ''), ('', ''))
  assert (row['rank'], row['runs'], row['badge']) == (None, '–', None)


@pytest.mark.parametrize(
  ('networks', 'repetitions', 'said', 'not_said'),
  [
    (3, 10, '3 networks, each tuned up to 10 times', 'nothing'),
    (3, 1, '3 networks: an interval is over networks', 'nothing'),
    (1, 10, 'It says nothing about other networks.', 'another tuning'),
    (1, 1, 'nor about another tuning of this one', 'over networks'),
  ],
)
def test_it_says_what_intervals_are_about(
  networks, repetitions, said, not_said
):
  best = BEST._replace(networks=networks, repetitions=repetitions)
  sure = answer(best)['sure']
  assert said in sure and not_said not in sure
  assert '256 sequences' in sure


@pytest.mark.parametrize(
  ('mean', 'half', 'written'),
  [
    (1.5, 0.25, ('1.500', '[1.250, 1.750]')),
    (0.0041, 0.0005, ('0.0041', '[0.0036, 0.0046]')),
    (0.5, 0.0004, ('0.5000', '[0.4996, 0.5004]')),
    (-0.00001, 0.2, ('0.000', '[−0.200, 0.200]')),
    (1e-8, 1e-8, ('0.000000', '[0.000000, 0.000000]')),
    (1e-16, 0, ('0.000', 'exact')),  # A sum that is 0 but for rounding.
    (NAN, NAN, ('not a number', '')),
    (-math.inf, NAN, ('−∞', '')),
  ],
)
def test_numbers_have_the_digits_that_their_interval_needs(mean, half, written):
  (row,) = answer(standing('Full', 1, measured(mean, half)))['rows']
  assert row['regret'] == written
