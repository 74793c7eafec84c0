"""A run's folder: whose it is, and where everything in it lies."""

from collections.abc import Mapping
import contextlib
import dataclasses
import json
import os
import pathlib
from typing import Any

from bayes_prompting import checks
from bayes_prompting import errors
from bayes_prompting import settings
from bayes_prompting.settings import plain
from bayes_prompting.system import files
from bayes_prompting.system import locks
from bayes_prompting.system import provenance


def record(
  config: Mapping[str, Any], numerics: Mapping[str, int | str]
) -> dict[str, Any]:
  """Returns what `config.json` says of a run; `preset` may stand beside it.

  Args:
    config: Plain values.
    numerics: Versions of the numerics that the run goes through, by module.
  """
  return {
    'config': config,
    'seed': config['seed'],
    'numerics': dict(numerics),
    **provenance.provenance(),
  }


def preset(
  name: str, config: Mapping[str, Any], values: Mapping[str, Any]
) -> dict[str, Any]:
  """Returns what `config.json` says of the preset that a run started from.

  It is told to readers. No run is another one because of it.

  Args:
    name: Of the preset.
    config: The run's configuration, plain values.
    values: Those of the preset, before anything was overridden.

  Returns:
    `name`; `changed`, the values in the preset of fields that the run changed
    or lacks; and `added`, the fields that the preset lacks.
  """
  now, before = map(plain.fields, (config, values))
  return {
    'name': name,
    'changed': {
      field: value
      for field, value in before.items()
      if field not in now or now[field] != value
    },
    'added': [field for field in now if field not in before],
  }


@dataclasses.dataclass(frozen=True)
class Workdir:
  """Where everything of a run lies.

  Attributes:
    path: The folder itself, absolute.
  """

  path: pathlib.Path

  @property
  def networks(self) -> pathlib.Path:
    """The folder beside it that keeps pretrained networks for all runs."""
    return self.path.parent / 'networks'

  @property
  def results(self) -> pathlib.Path:
    """The results file."""
    return self.path / 'results.nc'

  @property
  def dynamics(self) -> pathlib.Path:
    """The file of what prompts do inside the network."""
    return self.path / 'dynamics.nc'

  @property
  def audit(self) -> pathlib.Path:
    """What audits of its predictors found, see `dynamics.audit`."""
    return self.path / 'audit'

  @property
  def summary(self) -> pathlib.Path:
    """The summary."""
    return self.path / 'summary.csv'

  @property
  def curves(self) -> pathlib.Path:
    """The folder of training curves."""
    return self.path / 'curves'

  @property
  def figures(self) -> pathlib.Path:
    """The folder of figures."""
    return self.path / 'figures'

  @property
  def figures_note(self) -> pathlib.Path:
    """The file that says what summary and figures were made from."""
    return self.figures / 'made_from.json'

  def pretrained(self, seed: int) -> pathlib.Path:
    """The checkpoint of the pretrained network of a seed."""
    return self.path / 'checkpoints' / f'pretrained-seed{seed}'

  @property
  def under_way(self) -> pathlib.Path:
    """The folder of what is not finished."""
    return self.path / 'checkpoints' / 'unfinished'

  def unfinished(self, title: str) -> pathlib.Path:
    """The checkpoints of training that is under way."""
    return self.under_way / title

  def tuned(self, method: str, seed: int) -> pathlib.Path:
    """The checkpoint of what a method tuned, all settings and repetitions."""
    return self.path / 'checkpoints' / f'{method}-seed{seed}'


def claim(
  path: str | os.PathLike[str],
  record: dict[str, Any],
  overwrite: bool = False,
) -> Workdir:
  """Claims a folder for a run.

  What killed processes left unfinished in it is removed.

  Args:
    path: New, empty, or of a run of the same configuration, which then goes on.
    record: What the function `record` returns.
    overwrite: Move a run that the folder holds aside, under a dated name.

  Raises:
    UserError: If the folder cannot be written, holds something else, or is in
      use by another process.
  """
  folder = Workdir(pathlib.Path(path).expanduser().absolute())
  _check_claim(folder.path, record, overwrite)
  made = _missing(folder.path)
  try:
    if overwrite and not is_empty(folder.path):
      _move_aside(folder)
    files.make_folder(folder.path, 'workdir')
    with locks.lock(folder.path):
      # Another process may have been here meanwhile.
      _check_claim(folder.path, record, overwrite=False)
      _check_writable(folder)
      if is_empty(folder.path):
        _begin(folder.path, record)
      else:
        _clean(folder)
  except errors.UserError:
    for path in made:  # A refusal leaves nothing, as far as it can.
      with contextlib.suppress(OSError):
        path.rmdir()
    raise
  return folder


def check(path: str | os.PathLike[str], record: dict[str, Any]) -> None:
  """Checks that `claim` would not find another run there; writes nothing.

  Raises:
    UserError: If the folder holds something else.
  """
  path = pathlib.Path(path).expanduser().absolute()
  if path.is_dir() and not is_empty(path):
    _check_same(path, read_record(path), record)


def is_empty(path: str | os.PathLike[str]) -> bool:
  """Returns whether a folder is missing, or holds nothing that anyone made.

  A claim that was killed leaves no more than a lock and temporary files.

  Raises:
    UserError: If it cannot be read, or is no folder.
  """
  try:
    names = os.listdir(path)
  except FileNotFoundError:
    return True
  except OSError as error:
    raise files.refusal(path, error, 'workdir', 'read') from None
  return all(x == locks.NAME or files.is_temporary(x) for x in names)


def _check_claim(path, record, overwrite):
  """Raises UserError where a folder cannot be claimed; changes nothing."""
  if path.exists() and not path.is_dir():
    raise errors.UserError(
      f'workdir: {str(path)!r} is a file, it must be a folder'
    )
  if path.is_dir() and not is_empty(path):
    held = read_record(path)
    if not overwrite:
      _check_same(path, held, record)


def _missing(path):
  """Returns what must be made of a folder and those above it, inner first."""
  return [x for x in (path, *path.parents) if not os.path.lexists(x)]


def _begin(path, record):
  """Makes an empty folder one of a run."""
  files.remove_temporary(path)
  text = json.dumps(record, indent=2) + '\n'
  files.write_text(path / 'config.json', text, 'workdir')


def _move_aside(folder):
  """Gives a run's folder another name; the old one is free then."""
  with locks.lock(folder.path):  # Never from under a process that works in it.
    _check_writable(folder)
    aside = files.move_aside(folder.path, 'workdir')
    # Whoever opened it under the old name finds out that it is not there.
    (aside / locks.NAME).unlink(missing_ok=True)


def _clean(folder):
  """Removes what killed processes left; the folder is locked."""
  for path in (folder.path, folder.figures):
    files.remove_temporary(path)
  files.remove_drafts(folder.path / 'checkpoints')
  files.remove_drafts(folder.under_way)
  # Others may be writing networks now.
  files.remove_drafts(folder.networks, files.STALE)


def _check_same(path, held, record):
  for part in ('config', 'numerics', 'numerical'):
    sides = held.get(part), record[part]
    if part == 'config':
      sides = map(plain.comparable, sides)
    found = plain.difference(*sides, part * (part == 'numerics'))
    if found:
      kind = 'configuration' if part == 'config' else 'version'
      raise errors.UserError(
        f'workdir: {str(path)!r} holds a run of another {kind} '
        f'(there and here, {found}); choose another folder, or let '
        '--overwrite (overwrite=True) move the old one aside'
      )


def _check_writable(folder):
  """Before hours of training end in a folder that cannot be written."""
  shared = folder.networks
  for path in (folder.path, shared if shared.exists() else shared.parent):
    files.check_writable(path, 'workdir')


def read_record(path: str | os.PathLike[str]) -> dict[str, Any]:
  """Returns what `config.json` in a folder holds.

  Raises:
    UserError: If there is none, or if it cannot be read.
  """
  path = pathlib.Path(path) / 'config.json'
  for place, text in (
    (path.parent, 'there is no folder {}'),
    (path, '{} holds no run (no config.json); a new run needs a new folder'),
  ):
    try:
      os.lstat(place)
    except (FileNotFoundError, NotADirectoryError):
      text = text.format(repr(str(path.parent)))
      raise errors.UserError(f'workdir: {text}') from None
    except OSError as error:
      raise files.refusal(place, error, 'workdir', 'read') from None
  record = files.read_json(path, 'workdir')
  if 'config' not in record:
    raise errors.UserError(f'workdir: {str(path)!r} is not one of a run')
  for part in ('config', 'numerics', 'numerical', 'other', 'preset'):
    if not isinstance(record.get(part, {}), dict):
      raise errors.UserError(
        f'workdir: {str(path)!r} is not one of a run ({part} must be an '
        f'object, got {type(record[part]).__name__})'
      )
  preset = record.get('preset', {})
  for part, kind in ('changed', dict), ('added', list):
    if not isinstance(preset.get(part, kind()), kind):
      raise errors.UserError(
        f'workdir: {str(path)!r} is not one of a run (preset: {part} is '
        f'{checks.show(preset[part])})'
      )
  return record


def read_config(path: str | os.PathLike[str]) -> dict[str, Any]:
  """Returns a run's configuration, with all sizes that a table may show.

  Raises:
    UserError: As `read_record`, or if a size is missing or no whole number.
  """
  config = read_record(path)['config']
  for section, fields in settings.base_config().items():
    sizes = getattr(fields, 'to_dict', dict)()
    for name, usual in sizes.items():
      held = config.get(section)
      value = held.get(name) if isinstance(held, dict) else None
      if type(usual) is int and type(value) is not int:
        raise errors.UserError(
          f'workdir: {str(pathlib.Path(path) / "config.json")!r} is not one of '
          f'a run ({section}.{name} must be a whole number, got {value!r})'
        )
  return config
