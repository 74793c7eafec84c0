"""The house: which rooms there are, and that imports only go down its floors.

docs/architecture.md says what lives in each room.
"""

import ast
import pathlib

import pytest

import bayes_prompting

PACKAGE = pathlib.Path(bayes_prompting.__file__).parent
FLOORS = (
  ('', 'system'),
  ('task_priors', 'torsos', 'tuners', 'theory', 'settings'),
  ('training', 'storage', 'language'),
  ('results',),
  ('reporting',),
  ('experiment',),
  ('dynamics', 'claims', 'adapters'),
  ('studies',),
)
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
# What a room of values must not know, whatever floor that is on.
UNKNOWN = {'training': ('settings',)}
MODULES = sorted(PACKAGE.rglob('*.py'))
# The public names are made of everything, when they are first asked for.
FACADE = PACKAGE / '__init__.py'


def room_of(path):
  parts = path.relative_to(PACKAGE).parts
  return parts[0] if len(parts) > 1 else ''


def imported(path):
  """Names of the modules of the package that a file imports, anywhere in it."""
  for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
    if isinstance(node, ast.Import):
      names = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
      assert not node.level, f'{path}: a relative import'
      names = [f'{node.module}.{alias.name}' for alias in node.names]
    else:
      continue
    for name in names:
      if name.startswith('bayes_prompting.'):
        yield name.removeprefix('bayes_prompting.')


def rooms_imported(path):
  for name in imported(path):
    first = name.partition('.')[0]
    yield first if first in FLOOR else ''


def test_the_root_is_small_and_every_folder_is_a_room():
  entries = [x for x in PACKAGE.iterdir() if x.name != '__pycache__']
  folders = {x.name for x in entries if x.is_dir()}
  assert folders == set(FLOOR) - {''}
  assert len(folders) <= 16
  assert len(entries) - len(folders) <= 10


@pytest.mark.parametrize(
  'path',
  [path for path in MODULES if path != FACADE],
  ids=lambda path: path.relative_to(PACKAGE).as_posix(),
)
def test_imports_only_go_down(path):
  room = room_of(path)
  for other in rooms_imported(path):
    below = FLOOR[other] < FLOOR[room]
    assert other == room or below or not FLOOR[other], (
      f'{room} (floor {FLOOR[room]}) imports {other} (floor {FLOOR[other]})'
    )
    assert other not in UNKNOWN.get(room, ()), f'{room} imports {other}'


def test_nothing_of_the_package_imports_what_is_above_it():
  for path in MODULES:
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
      if isinstance(node, ast.ImportFrom):
        first = (node.module or '').partition('.')[0]
        assert first not in ('configs', 'launch', 'tests'), path


def test_no_module_imports_itself_through_others():
  modules = {
    '.'.join(path.relative_to(PACKAGE).with_suffix('').parts): path
    for path in MODULES
    if path != FACADE
  }
  # A package and its `__init__` are one.
  modules = {name.removesuffix('.__init__'): x for name, x in modules.items()}
  edges = {
    name: {
      next((x for x in (other, other.rpartition('.')[0]) if x in modules), None)
      for other in imported(path)
    }
    - {None, name}
    for name, path in modules.items()
  }
  done, under_way = set(), []

  def visit(name):
    assert name not in under_way, ' -> '.join([*under_way, name])
    if name in done:
      return
    under_way.append(name)
    for other in sorted(edges[name]):
      visit(other)
    done.add(under_way.pop())

  for name in sorted(modules):
    visit(name)
