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
import os
import pathlib
import pkgutil
import sys
import types as python_types
from typing import Any

import ml_collections

from bayes_prompting import checks
from bayes_prompting import errors
from bayes_prompting.system import files

# What `make` built, by its arguments; the oldest goes first.
_BUILT = {}
_MOST_BUILT = 256

# What a `make` of each kind returns, and what that must have. Types would need
# JAX, which takes seconds to import.
_PRODUCTS = {
  'task_priors': ('a types.TaskPrior', ('sample', 'prefill', 'predict')),
  'torsos': ('a Flax module', ('empty_state', 'init', 'apply')),
  'tuners': ('a types.Tuner', ('init', 'bind')),
}
KINDS = tuple(_PRODUCTS)

# Modules with arguments as text: those whose `make` runs now, what each has
# built (with the arguments themselves), and the digests of what each has read.
_BUILDING = contextvars.ContextVar('building', default=())
_BUILT_WITH = {}
_READ = {}

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


def is_own(name: object) -> bool:
  """Returns whether a name is a dotted path, as of a user's own module."""
  return isinstance(name, str) and '.' in name


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
      or refused by `make`, or the name is not allowed, see `plugins`, or if
      `make` returns something else than its kind, or if `spec` is no mapping.
  """
  what, parts = _PRODUCTS[kind]
  if not isinstance(spec, Mapping | ml_collections.ConfigDict):
    raise errors.UserError(
      f'{field}: must be the spec of {what}, a mapping with a name, got '
      f'{checks.show(spec)}'
    )
  kwargs = _plain(spec)
  if 'name' not in kwargs:
    raise errors.UserError(
      f'{field}.name: missing; allowed: {", ".join(names(kind))}'
    )
  name = kwargs.pop('name')
  source = module(kind, name, f'{field}.name')
  key = source, _text(kwargs)
  for outer in _BUILDING.get()[-1:]:
    _BUILT_WITH.setdefault(outer, {})[key] = kwargs
  signature = inspect.signature(source.make)
  parameters = signature.parameters.values()
  if not any(p.kind is p.VAR_KEYWORD for p in parameters):
    for argument in kwargs:
      _check_argument(field, name, source, argument, signature.parameters)
  for parameter in parameters:
    if (
      parameter.default is parameter.empty
      and parameter.kind is not parameter.VAR_KEYWORD
      and parameter.name not in kwargs
    ):
      raise errors.UserError(f'{field}.{parameter.name}: missing for {name!r}')
  token = _BUILDING.set((*_BUILDING.get(), key))
  try:
    built = _build(source, kwargs)
  except errors.UserError as error:
    raise errors.UserError(f'{field}.{error}') from None
  finally:
    _BUILDING.reset(token)
  if not all(hasattr(built, part) for part in parts):
    raise errors.UserError(
      f'{field} ({name}): make() must return {what}, with {", ".join(parts)}; '
      f'got {checks.show(built)}'
    )
  return built


def _check_argument(field, name, source, argument, known):
  """Checks that `make` has an argument, and says what stands elsewhere."""
  elsewhere = getattr(source, 'ELSEWHERE', {})
  if argument not in known and argument in elsewhere:
    raise errors.UserError(
      f'{field} ({name}): unknown {argument!r}; {elsewhere[argument]} '
      f'(allowed here: {", ".join(known)})'
    )
  checks.one_of(f'{field} ({name})', argument, known)


def about(name: str, argument: str) -> str:
  """Returns what to tell someone who sets an argument that a spec lacks.

  Args:
    name: Of an extension that comes with the package; of others nothing is
      known without importing them.
    argument: What is set.

  Returns:
    That `make` has such an argument, or what is to be set in its place; ''
    where there is nothing to tell.
  """
  for kind in KINDS:
    if name in names(kind):
      source = module(kind, name)
      if argument in inspect.signature(source.make).parameters:
        return f'{name!r} has such an argument'
      return getattr(source, 'ELSEWHERE', {}).get(argument, '')
  return ''


def modules(
  kind: str, spec: Mapping[str, Any]
) -> list[python_types.ModuleType]:
  """Returns the modules of a spec and of the specs inside it, in order.

  What a `make` of these arguments has built by `make` counts, once it has run.
  """
  return list(dict.fromkeys(source for source, _ in _parts(kind, spec)))


def reads(kind: str, spec: Mapping[str, Any]) -> dict[str, str]:
  """Returns the digests of the files that a spec, and those inside it, reads.

  A module says which these are by a function `reads` with the arguments of
  `make`, which returns their paths. Where `make` has run, the digests are those
  of what it has read.

  Returns:
    A digest for the name of each file, with the name of the module.

  Raises:
    UserError: If a file cannot be read.
  """
  return _together(_parts(kind, spec).values())


def _together(parts):
  """Returns the digests of all files that modules of such arguments read."""
  every = {}
  for source, kwargs in parts:
    digests = _READ.get((source, _text(kwargs)))
    if digests is None:
      digests = _digests(source, kwargs)
    module_name = source.__name__.removeprefix('bayes_prompting.')
    for path, digest in digests.items():
      # By its name alone: the same data in another folder is the same data.
      every.setdefault(f'{module_name} reads {path.name}', []).append(digest)
  return {name: '+'.join(digests) for name, digests in every.items()}


def _digests(source, kwargs):
  """Returns digests, by path, of the files that a module reads itself."""
  if not hasattr(source, 'reads'):
    return {}
  paths = source.reads(**kwargs)
  if isinstance(paths, str | os.PathLike):
    paths = (paths,)
  digests = {}
  for path in map(pathlib.Path, paths):
    try:
      digests[path] = files.digest(path)[:16]
    except OSError as error:
      field = _argument(kwargs, path)
      raise files.refusal(path, error, field, 'read') from None
  return digests


def _argument(kwargs, path):
  """Returns the argument that names a path, or that a module reads it."""
  for name, value in kwargs.items():
    if isinstance(value, str | os.PathLike):
      given = pathlib.Path(value)
      if path in (given, given.expanduser().absolute()):
        return name
  return 'reads'


def _built(source, kwargs):
  """Returns a module with arguments and all that its `make` has built."""
  built = {(source, _text(kwargs)): (source, kwargs)}
  left = [*built]
  for key in left:  # It grows.
    for inner, inner_kwargs in _BUILT_WITH.get(key, {}).items():
      if inner not in built:
        built[inner] = inner[0], inner_kwargs
        left.append(inner)
  return built


def _parts(kind, spec):
  """Returns the modules, with arguments, of a spec and of those inside it."""
  kwargs = _plain(spec)
  source = module(kind, kwargs.pop('name'))
  # What stands beside them in a spec, as the weight of a component, is no
  # argument.
  known = inspect.signature(source.make).parameters
  if not any(p.kind is p.VAR_KEYWORD for p in known.values()):
    kwargs = {name: x for name, x in kwargs.items() if name in known}
  parts = _built(source, kwargs)
  inside = list(spec.values())
  while inside:
    value = inside.pop(0)
    if isinstance(value, list | tuple):
      inside += value
    elif isinstance(value, Mapping):
      # Another mapping with a name is no spec.
      if value.get('name') in _installed(kind, value.get('name')):
        parts |= {
          k: x for k, x in _parts(kind, value).items() if k not in parts
        }
      else:
        inside += value.values()
  return parts


def _installed(kind, name):
  """Returns the names that a name can be one of."""
  return (*names(kind), name) if is_own(name) else names(kind)


def numerics(
  modules: Iterable[python_types.ModuleType],
) -> dict[str, int | str]:
  """Returns, by module, what the numbers of modules and their helpers are of.

  A module of the package says so itself: `NUMERICS`, a version that whoever
  changes its numbers raises. A user's own module has no such test, so it stands
  for itself by a hash of its syntax tree without docstrings: a comment keeps
  every network, a changed line keeps none.

  Helpers are the modules that a module imports, as far as they have `NUMERICS`
  or are the user's own: of the same package, or in the same folder. A module of
  the package whose name starts with `_` may lack a version: it is a part of all
  that import it, and its own helpers are theirs.
  """
  parts = list(modules)
  for part in parts:  # It grows.
    parts += [x for x in _helpers(part) if x not in parts]
  return {
    part.__name__.removeprefix('bayes_prompting.'): (
      part.NUMERICS if _has_version(part) else _syntax(part)
    )
    for part in parts
    if not _is_shared(part)
  }


def _has_version(part):
  """Returns whether a module is of the package, and has tested numerics."""
  ours = part.__name__.startswith('bayes_prompting.')
  return ours and hasattr(part, 'NUMERICS')


def _is_shared(part):
  """Returns whether a module is a part of the package's others, see above."""
  package, _, name = part.__name__.rpartition('.')
  ours = f'{package}.'.startswith('bayes_prompting.') and name.startswith('_')
  return ours and not _has_version(part)


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
  if _has_version(one) or _is_shared(one):
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


def _build(source, kwargs):
  """Calls `make`; the same arguments, and files, give the same object.

  Its functions are static arguments of jit: what was compiled for one run of a
  configuration serves the next in the same process.
  """
  text = _text(kwargs)
  key = source.make, text, _now(source, kwargs)
  if text is not None and key in _BUILT:
    return _BUILT[key]
  before = _READ[source, text]
  made = source.make(**kwargs)
  if _digests(source, kwargs) != before:
    raise errors.UserError('reads: a file has changed while it was read')
  if text is None:
    return made
  if len(_BUILT) >= _MOST_BUILT:
    _BUILT.pop(next(iter(_BUILT)))
  # What it builds of its own is known only now.
  _BUILT[source.make, text, _now(source, kwargs)] = made
  return made


def _now(source, kwargs):
  """Notes what a module, and what it builds, reads now; returns the digests."""
  parts = _built(source, kwargs)
  for key, part in parts.items():
    _READ[key] = _digests(*part)
  return tuple(sorted(_together(parts.values()).items()))
