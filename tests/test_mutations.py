"""The list of planted bugs fits today's source and tests."""

import ast
import functools
import re
import shlex

import pytest

from bayes_prompting import registry
from tests.slow import mutations
from tests.slow import planted

EXTENSIONS = {name for kind in registry.KINDS for name in registry.names(kind)}


@functools.cache
def text_of(path):
  return (mutations.ROOT / path).read_text('utf-8')


@functools.cache
def names_of(path):
  """Names of the tests of a file, and strings that their ids may be made of."""
  nodes = [*ast.walk(ast.parse(text_of(path)))]
  names = [x.name for x in nodes if isinstance(x, ast.FunctionDef)]
  strings = {x.value for x in nodes if isinstance(x, ast.Constant)}
  tests = {x for x in names if x.startswith('test_')}
  assert tests, path
  return tests | {x for x in strings if isinstance(x, str)}


def words_of(tests):
  """The paths of a selection, and the words of its `-k`."""
  paths = shlex.split(tests)
  if paths[-2:-1] != ['-k']:
    return paths, set()
  words = set(re.findall(r'\w+', paths[-1]))
  return paths[:-2], words - {'and', 'or', 'not'}


@pytest.mark.parametrize('module', sorted({x.module for x in planted.BUGS}))
def test_bugs_can_be_planted_in_todays_source(module):
  for bug in planted.BUGS:
    if bug.module == module:
      text = text_of(mutations.path_of(bug))
      tree = ast.parse(mutations.plant(text, bug))
      assert ast.dump(tree) != ast.dump(ast.parse(text)), bug.name


def test_no_bug_is_planted_twice():
  assert len({bug.digest for bug in planted.BUGS}) == len(planted.BUGS)


def test_the_tests_of_bugs_exist():
  for tests in {x.tests for x in planted.BUGS}:
    paths, words = words_of(tests)
    names = EXTENSIONS.union(*map(names_of, paths))
    for word in words:
      assert any(word in name for name in names), (tests, word)


BUG = planted.Bug('regret', 1, 'sign', 'a - b', 'a + b', 'tests')


@pytest.mark.parametrize('text', ['a', 'a - b + a - b'])
def test_a_text_that_is_not_there_once_is_refused(text):
  with pytest.raises(ValueError, match='times'):
    mutations.plant(text, BUG)
  assert mutations.plant('x = a - b', BUG) == 'x = a + b'


@pytest.mark.parametrize(
  'status, output, outcome, by',
  [
    (0, '3 passed', mutations.SURVIVED, ''),
    (
      1,
      'F\nFAILED tests/a.py::test_b[c d] - assert 1 == 2\n1 failed',
      mutations.KILLED,
      'tests/a.py::test_b[c d]',
    ),
    (2, 'ERROR tests/a.py - Oh', mutations.KILLED, 'tests/a.py'),
    (None, '', mutations.KILLED, 'took too long'),
    (-11, 'Fatal', mutations.KILLED, 'signal 11'),
    (
      9,
      'Traceback\nNameError: x',
      mutations.ERROR,
      'cannot be imported: NameError: x',
    ),
    (5, 'no tests ran', mutations.ERROR, 'status 5: no tests ran'),
  ],
)
def test_how_tests_end_says_what_became_of_a_bug(status, output, outcome, by):
  assert mutations.judge(status, output) == (outcome, by)


def test_the_table_counts_and_names_what_survived():
  row = {'name': 'regret 1: sign', 'module': 'regret', 'seconds': 30.0}
  row |= {'old': 'a |\n  b', 'new': 'b', 'by': ''}
  table = mutations.summary(
    [
      row | {'outcome': mutations.SURVIVED},
      row | {'outcome': mutations.KILLED, 'by': 'took too long'},
      row | {'outcome': mutations.KILLED, 'module': 'keys'},
    ]
  )
  lines = table.splitlines()
  assert '| regret | 2 | 1 | 1 | 1 | 0 | 1.0 |' in lines
  assert '| all | 3 | 2 | 1 | 1 | 0 | 1.5 |' in lines
  assert lines[-1] == r'| regret 1: sign | survived | `a \| b` | `b` |'
