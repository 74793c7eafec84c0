"""Finds extensions by name: a file in the package, or a module of the user's.

A *spec* is a mapping with a `name` and the keyword arguments of that module's
`make`. A plain name is a module of this package (`dirichlet_categorical`), a
dotted one is any module that can be imported (`my_lab.priors.bursty`).

To import a module is to run it, and specs come from files, too: from a run's
`config.json`, from results, from an adapter that somebody sent. So nothing
outside the package is imported but inside `plugins()`, which only those enter
who hold a configuration of the user's own, or the user's word. Whoever forgets
it gets a refusal.
"""

import ast
from collections.abc import Iterable, Iterator, Mapping
import contextlib
import contextvars
import functools
import hashlib
import importlib
import importlib.util
import inspect
import json
import pathlib
import pkgutil
import sys
import types as python_types
from typing import Any

import ml_collections

from bayes_prompting import checks
from bayes_prompting import errors

# What `make` built, by its arguments; the oldest goes first.
_BUILT = {}
_MOST_BUILT = 256

KINDS = ('task_priors', 'torsos', 'tuners')

# Modules with arguments: those whose `make` runs now, and what each has built.
_BUILDING = contextvars.ContextVar('building', default=())
_BUILT_WITH = {}

_PLUGINS = contextvars.ContextVar('plugins', default=False)
# Kind and name of what was imported inside `plugins()`. It has run already, so
# that what a user's own run left can be read where it ran.
_ADMITTED = set()


@contextlib.contextmanager
def plugins(allowed: bool = True) -> Iterator[None]:
  """Lets specs name modules outside the package, as long as it is entered.

  Args:
    allowed: With False all stays as it is: refused, unless this is inside
      another one.
  """
  token = _PLUGINS.set(allowed or _PLUGINS.get())
  try:
    yield
  finally:
    _PLUGINS.reset(token)


def names(kind: str) -> list[str]:
  """Returns the names of all extensions of a kind that come with the package.

  Args:
    kind: One of `KINDS`. Modules whose name starts with `_` are helpers.
  """
  package = importlib.import_module(f'bayes_prompting.{kind}')
  found = (module.name for module in pkgutil.iter_modules(package.__path__))
  return sorted(name for name in found if not name.startswith('_'))


def module(
  kind: str, name: str, field: str | None = None
) -> python_types.ModuleType:
  """Returns the module that a name stands for.

  Args:
    kind: One of `KINDS`.
    name: A module of the package, or a dotted path to the user's own, which
      must be allowed.
    field: Where the name stands in the configuration, for error messages.

  Raises:
    UserError: If there is no such module, or if it has no `make`, or if it is
      none of the package and not allowed, see `plugins`.
  """
  field = field or kind
  if not isinstance(name, str):
    raise errors.UserError(f'{field}: a name must be a string, got {name!r}')
  known, package = names(kind), f'bayes_prompting.{kind}'
  if '.' not in name:
    checks.one_of(field, name, known)
    return _with_make(field, name, importlib.import_module(f'{package}.{name}'))
  if not all(part.isidentifier() for part in name.split('.')):
    raise errors.UserError(
      f'{field}: {name!r} is no dotted path of a module; known: '
      f'{", ".join(known)}'
    )
  if name in [f'{package}.{x}' for x in known]:
    return _with_make(field, name, importlib.import_module(name))
  return _with_make(field, name, _plugin(kind, name, field))


def _plugin(kind, path, field):
  """Returns a module outside the package, if it is allowed."""
  if not _PLUGINS.get():
    if (kind, path) in _ADMITTED and path in sys.modules:
      return sys.modules[path]
    raise errors.UserError(
      f'{field}: {checks.show(path)} is a module outside the package, and '
      'importing it runs its code; if you trust it say so, by '
      '--allow_plugins, or in Python by allow_plugins=True or inside '
      'registry.plugins()'
    )
  try:
    found = importlib.import_module(path)
  except Exception as error:
    missing = getattr(error, 'name', None) or ''
    if isinstance(error, ModuleNotFoundError) and (
      path == missing or path.startswith(f'{missing}.')
    ):
      raise errors.UserError(
        f'{field}: cannot import {path!r} (no module named {missing!r}); '
        f'known: {", ".join(names(kind))}'
      ) from None
    # It is there, and fails: what failed is the cause, for a traceback.
    line = ' '.join(f'{type(error).__name__}: {error}'.split())
    raise errors.UserError(
      f'{field}: importing {path!r} failed ({line})'
    ) from error
  _ADMITTED.add((kind, path))
  _syntax(found)
  return found


def _with_make(field, name, found):
  """Returns a module that has a function `make`."""
  if not callable(getattr(found, 'make', None)):
    raise errors.UserError(f'{field}: module {name!r} has no function make()')
  return found


def make(kind: str, field: str, spec: Mapping[str, Any]) -> Any:
  """Builds what a spec describes.

  Args:
    kind: One of `KINDS`.
    field: Where the spec stands in the configuration, for error messages.
    spec: A mapping with `name` and the keyword arguments of `make`.

  Raises:
    UserError: If the name or an argument is unknown, or an argument is missing
      or refused by `make`, or the name is not allowed, see `plugins`.
  """
  kwargs = _plain(spec)
  if 'name' not in kwargs:
    raise errors.UserError(
      f'{field}.name: missing; allowed: {", ".join(names(kind))}'
    )
  name = kwargs.pop('name')
  source = module(kind, name, f'{field}.name')
  key = source, _text(kwargs)
  for outer in _BUILDING.get()[-1:]:
    _BUILT_WITH.setdefault(outer, {})[key] = None
  builder = source.make
  signature = inspect.signature(builder)
  parameters = signature.parameters.values()
  if not any(p.kind is p.VAR_KEYWORD for p in parameters):
    for key in kwargs:
      checks.one_of(f'{field} ({name})', key, signature.parameters)
  for parameter in parameters:
    if (
      parameter.default is parameter.empty
      and parameter.kind is not parameter.VAR_KEYWORD
      and parameter.name not in kwargs
    ):
      raise errors.UserError(f'{field}.{parameter.name}: missing for {name!r}')
  token = _BUILDING.set((*_BUILDING.get(), key))
  try:
    return _build(builder, kwargs)
  except errors.UserError as error:
    raise errors.UserError(f'{field}.{error}') from None
  finally:
    _BUILDING.reset(token)


def modules(
  kind: str, spec: Mapping[str, Any]
) -> list[python_types.ModuleType]:
  """Returns the modules of a spec and of the specs inside it, in order.

  What a `make` of these arguments has built by `make` counts, once it has run.
  """
  kwargs = _plain(spec)
  built = [(module(kind, kwargs.pop('name')), _text(kwargs))]
  for key in built:  # It grows.
    built += [x for x in _BUILT_WITH.get(key, ()) if x not in built]
  found = [source for source, _ in built]
  inside = list(spec.values())
  while inside:
    value = inside.pop(0)
    if isinstance(value, list | tuple):
      inside += value
    elif isinstance(value, Mapping):
      # Another mapping with a name is no spec.
      if value.get('name') in _installed(kind, value.get('name')):
        found += modules(kind, value)
      else:
        inside += value.values()
  return list(dict.fromkeys(found))


def _installed(kind, name):
  """Returns the names that a name can be one of."""
  own = isinstance(name, str) and '.' in name
  return (*names(kind), name) if own else names(kind)


def numerics(
  modules: Iterable[python_types.ModuleType],
) -> dict[str, int | str]:
  """Returns, by module, what the numbers of modules and their helpers are of.

  A module of the package says so itself: `NUMERICS`, a version that whoever
  changes its numbers raises. A user's own module has no such test, so it stands
  for itself by a hash of its syntax tree without docstrings: a comment keeps
  every network, a changed line keeps none.

  Helpers are the modules that a module imports, as far as they have `NUMERICS`
  or are the user's own: of the same package, or in the same folder.
  """
  parts = list(modules)
  for part in parts:  # It grows.
    parts += [x for x in _helpers(part) if x not in parts]
  return {
    part.__name__.removeprefix('bayes_prompting.'): (
      part.NUMERICS if _has_version(part) else _syntax(part)
    )
    for part in parts
  }


def _has_version(part):
  """Returns whether a module is of the package, and has tested numerics."""
  ours = part.__name__.startswith('bayes_prompting.')
  return ours and hasattr(part, 'NUMERICS')


def _per_load(function):
  """Remembers what a function says of a module until the module is reloaded."""
  known = {}

  @functools.wraps(function)
  def wrapped(part):
    # A reload keeps the module, and gives it a new spec.
    spec = part.__spec__
    if part not in known or known[part][0] is not spec:
      known[part] = spec, function(part)
    return known[part][1]

  return wrapped


@_per_load
def _helpers(part):
  """Returns the modules that a module imports and whose numbers are its own."""
  if not _is_source(part):
    return []
  tree = ast.parse(_source(part))
  found = []
  for node in ast.walk(tree):
    if isinstance(node, ast.Import):
      found += [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
      path = '.' * node.level + (node.module or '')
      if node.level:
        path = importlib.util.resolve_name(path, part.__package__ or '')
      found += [path, *(f'{path}.{alias.name}' for alias in node.names)]
  root = part.__name__.partition('.')[0]
  imported = []
  for name in dict.fromkeys(found):
    if root != 'bayes_prompting' and name.partition('.')[0] == root:
      # One that is imported late, inside a function, counts too.
      with contextlib.suppress(ImportError):  # Most names are no modules.
        importlib.import_module(name)
    imported.append(sys.modules.get(name))
  return [x for x in imported if x is not None and _is_helper(x, part)]


def _is_helper(one, of):
  """Returns whether the numbers of a module depend on one that it imports."""
  if _has_version(one):
    return True
  if one.__name__.startswith('bayes_prompting.') or not getattr(
    one, '__file__', None
  ):
    return False
  root = of.__name__.partition('.')[0]
  beside = pathlib.Path(one.__file__).parent == pathlib.Path(of.__file__).parent
  return root != 'bayes_prompting' and (
    beside or one.__name__.partition('.')[0] == root
  )


def _source(part):
  return pathlib.Path(part.__file__).read_text(encoding='utf-8')


def _is_source(part):
  return part.__file__.endswith('.py')


@_per_load  # As it was imported, whatever becomes of the file.
def _syntax(part):
  """Returns a hash of a module's syntax tree, without docstrings.

  Of a compiled module it is a hash of the file.
  """
  if not _is_source(part):
    compiled = pathlib.Path(part.__file__).read_bytes()
    return hashlib.sha256(compiled).hexdigest()[:16]
  tree = ast.parse(_source(part))
  documented = (
    ast.Module,
    ast.ClassDef,
    ast.FunctionDef,
    ast.AsyncFunctionDef,
  )
  for node in ast.walk(tree):
    if isinstance(node, documented) and ast.get_docstring(node, clean=False):
      del node.body[0]
  return hashlib.sha256(ast.unparse(tree).encode()).hexdigest()[:16]


def _plain(value):
  """Returns a dict, and dicts in it, of any mapping or configuration."""
  if isinstance(value, Mapping | ml_collections.ConfigDict):
    return {name: _plain(item) for name, item in value.items()}
  return value


def _text(kwargs):
  """Returns arguments as text; None for arrays, which only Python can give."""
  try:
    return json.dumps(kwargs, sort_keys=True)
  except TypeError:
    return None


def _build(builder, kwargs):
  """Calls `make`; the same arguments give the same object.

  Its functions are static arguments of jit: what was compiled for one run of a
  configuration serves the next in the same process.
  """
  text = _text(kwargs)
  if text is None:
    return builder(**kwargs)
  if (builder, text) not in _BUILT:
    if len(_BUILT) >= _MOST_BUILT:
      _BUILT.pop(next(iter(_BUILT)))
    _BUILT[builder, text] = builder(**kwargs)
  return _BUILT[builder, text]
