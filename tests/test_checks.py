"""What a user gives is taken if legal, else refused in one clear line."""

import math

import hypothesis
from hypothesis import strategies as st
import numpy as np
import pytest

from bayes_prompting import checks
from bayes_prompting import errors

quickly = hypothesis.settings(deadline=None, max_examples=50, database=None)

NAN, INF = math.nan, math.inf


def refusal(check, *args):
  """The one line with which a check refuses the field `here.x`."""
  with pytest.raises(errors.UserError) as caught:
    check('here.x', *args)
  message = str(caught.value)
  assert message.startswith('here.x: ')
  assert '\n' not in message
  return message


@pytest.mark.parametrize('value', [0, 1, 7, np.int32(3), np.uint8(200)])
def test_integer_takes_whole_numbers(value):
  taken = checks.integer('x', value, 0)
  assert taken == value
  assert type(taken) is int


@pytest.mark.parametrize(
  'value',
  [-1, 1.0, 1.5, NAN, INF, True, False, np.True_, '3', None, (3,), 3 + 0j]
  + [np.float32(3), np.array([3])],
)
def test_integer_refuses_the_rest(value):
  assert repr(value) in refusal(checks.integer, value, 0)


@hypothesis.given(value=st.integers(), minimum=st.integers())
@quickly
def test_integer_holds_to_its_minimum(value, minimum):
  if minimum <= value <= checks.LARGEST:
    assert checks.integer('x', value, minimum) == value
  elif value >= minimum:
    assert str(checks.LARGEST) in refusal(checks.integer, value, minimum)
  else:
    message = refusal(checks.integer, value, minimum)
    assert str(minimum) in message
    assert str(value) in message


@pytest.mark.parametrize(
  'value', [1, 0.25, 1e-30, 1e30, np.float32(0.5), np.int64(2)]
)
def test_positive_takes_finite_numbers_above_zero(value):
  taken = checks.positive('x', value)
  assert taken == value
  assert type(taken) is float


@pytest.mark.parametrize(
  'value',
  [0, 0.0, -0.0, -1e-9, -3, NAN, INF, -INF, True, False, '0.1', None, (0.1,)]
  # float32 has neither.
  + [np.float32('nan'), 1j, 5e-324, 1e308],
)
def test_positive_refuses_the_rest(value):
  assert repr(value) in refusal(checks.positive, value)


@pytest.mark.parametrize('allowed', [('soft', 'hard'), ['soft'], {'soft': 1}])
def test_one_of_takes_an_allowed_name(allowed):
  assert checks.one_of('x', 'soft', allowed) == 'soft'


@pytest.mark.parametrize('value', ['sfot', 'Soft', '', ' soft', 3, None, True])
def test_one_of_refuses_any_other(value):
  assert repr(value) in refusal(checks.one_of, value, ('soft', 'hard'))


def test_one_of_reads_allowed_names_once():
  # An iterator would be empty by the time that the message is written.
  allowed = (name for name in ('zebra', 'yak'))
  assert 'zebra' in refusal(checks.one_of, 'qqq', allowed)


@pytest.mark.parametrize(
  'name, hint',
  [
    ('num_step', 'num_steps'),
    ('nun_steps', 'num_steps'),
    ('batchsize', 'batch_size'),
  ],
)
def test_nearest_proposes_what_was_meant(name, hint):
  said = checks.nearest(name, ['num_steps', 'batch_size', 'length'])
  assert said == f'did you mean {hint}?'


def test_nearest_lists_everything_if_nothing_is_near():
  assert checks.nearest('qqqq', ['b', 'a']) == 'allowed: a, b'
  assert checks.nearest('qqqq', []) == 'allowed: nothing'


@pytest.mark.parametrize(
  'value, axes',
  [
    ((1.0, 1.0), 'V'),
    ([0, 0], 'V'),
    ((0, 3, 1e-300), 'V'),
    (np.array([1, 2], np.int32), 'V'),
    ([[1, 0, 2]], 'MV'),
    (((1, 2), (3, 4), (0, 0)), 'MV'),
  ],
)
def test_non_negative_array_takes_numbers_and_zeros(value, axes):
  taken = checks.non_negative_array('x', value, axes)
  assert taken.dtype == np.float64
  np.testing.assert_array_equal(taken, value)


# Of one dimension, and of two; legal as neither.
BAD_ARRAYS = [
  ((0.5, NAN), 'V'),
  ((0.5, INF), 'V'),
  ((0.5, -INF), 'V'),
  ((0.5, -1e-9), 'V'),
  ((), 'V'),
  ((1.0,), 'V'),
  (1.0, 'V'),
  (((0.5, 0.5),), 'V'),
  ((0.5, 0.5), 'MV'),
  (((1.0,), (1.0,)), 'MV'),
  (((0.5, 0.5), (1.0,)), 'MV'),
  (((0.5, 0.5), (0.5, NAN)), 'MV'),
  (np.array([[0.5, 0.5], [1.5, -0.5]]), 'MV'),
  (np.zeros((0, 2)), 'MV'),
  ('ab', 'V'),
  (('a', 'b'), 'V'),
  (('0.5', '0.5'), 'V'),
  ((True, False), 'V'),
  (None, 'V'),
  ((None, 1.0), 'V'),
  ((0.5, 0.5j), 'V'),
  ((10**400, 1), 'V'),
  ({0.5: 1, 0.25: 2}, 'V'),
]


@pytest.mark.parametrize('value, axes', BAD_ARRAYS)
@pytest.mark.parametrize(
  'check', [checks.non_negative_array, checks.probabilities]
)
def test_arrays_refuse_what_is_no_array_of_such_numbers(check, value, axes):
  refusal(check, value, axes)


@hypothesis.given(
  counts=st.lists(st.integers(0, 1000), min_size=2, max_size=6).filter(any),
  error=st.floats(-9e-6, 9e-6),
)
@quickly
def test_probabilities_are_normalised_if_off_by_rounding(counts, error):
  exact = np.array(counts) / sum(counts)
  taken = checks.probabilities('x', tuple(exact * (1 + error)), 'V')
  np.testing.assert_allclose(taken.sum(), 1, rtol=1e-14)
  np.testing.assert_allclose(taken, exact, rtol=1e-13)
  np.testing.assert_array_equal(taken == 0, exact == 0)


@pytest.mark.parametrize(
  'value, axes, total',
  [
    ((0.5, 0.6), 'V', '1.1'),
    ((0.5, 0.4), 'V', '0.9'),
    ((0, 0), 'V', '0.0'),
    ((0.5, 0.5001), 'V', '1.0001'),
    ((20, 80), 'V', '100.0'),
    (((0.5, 0.5), (0.75, 0.75)), 'MV', '1.5'),
    (((0.25, 0.25), (0.75, 0.75)), 'MV', '0.5'),
    (np.array([[0.5, 0.5], [0.75, 0.75]]), 'MV', '1.5'),
    ((1e308, 1e308), 'V', '1e+308'),
  ],
)
def test_probabilities_refuse_another_sum(value, axes, total):
  assert total in refusal(checks.probabilities, value, axes)


def test_probabilities_of_many_sources_sum_to_one_each():
  taken = checks.probabilities('x', ((0.25, 0.75), (1, 0)), 'MV')
  np.testing.assert_array_equal(taken, [[0.25, 0.75], [1, 0]])


@pytest.mark.parametrize(
  'value', [(1.0,), (0.5, 0.5), (0, 1, 0), np.array([0.25, 0.75])]
)
def test_weights_take_zeros_and_a_single_component(value):
  taken = checks.weights('x', value, len(value))
  np.testing.assert_array_equal(taken, value)


@pytest.mark.parametrize(
  'value',
  [
    (1.0,),
    (0.5, 0.25, 0.25),
    (0.5, 0.6),
    (0.5, 0.4),
    (1.5, -0.5),
    (NAN, 1.0),
    (INF, 0.0),
    ((0.5, 0.5),),
    1.0,
    'ab',
    ('0.5', '0.5'),
    (True, False),
    None,
    (10**400, 1),
    np.array([[0.5, 0.5], [0.5, 0.5]]),
  ],
)
def test_weights_refuse_the_rest(value):
  assert '2' in refusal(checks.weights, value, 2)


@pytest.mark.parametrize('value', [('a',), ['b', 'a'], ('*', 'torso/*')])
def test_strings_keep_names_in_their_order(value):
  assert checks.strings('x', value) == tuple(value)


@pytest.mark.parametrize(
  'value',
  ['SoftPT', '', (), [], ('a', ''), ('a', 1), ('a', 'a'), None, 3, {'a', 'b'}]
  + [{'a': 1}],
)
def test_strings_refuse_the_rest(value):
  assert repr(value) in refusal(checks.strings, value)


@pytest.mark.parametrize(
  'value',
  [10**5000, 'x' * 10**5, list(range(10**4)), {'a': 'b' * 1000}],
  ids=['digits', 'text', 'list', 'dict'],
)
def test_what_is_shown_is_short(value):
  assert len(checks.show(value)) < 300


@pytest.mark.parametrize(
  'name', ['SoftPT', 'Un+EmbedWT', 'a b', 'ü', 'SoftPT-25']
)
def test_labels_can_be_a_part_of_a_file_name(name):
  assert checks.label('x', name) == name


@pytest.mark.parametrize(
  'name', ['', '.', 'a/b', 'a\\b', 'a\nb', 'a\0', '-a', ' a', 'ü' * 41, 3, None]
)
def test_labels_that_cannot(name):
  refusal(checks.label, name)


def test_a_path_is_absolute(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  monkeypatch.setenv('HOME', str(tmp_path / 'home'))
  assert checks.path('x', 'runs/a') == tmp_path / 'runs' / 'a'
  assert checks.path('x', '~/a') == tmp_path / 'home' / 'a'
  assert checks.path('x', tmp_path) == tmp_path


@pytest.mark.parametrize(
  'value', ['', 'a\0', 'a\nb', '\udc80', 'x' * 256, '~nobody-at-all', 3, b'x']
)
def test_a_path_that_no_file_has(value):
  refusal(checks.path, value)
