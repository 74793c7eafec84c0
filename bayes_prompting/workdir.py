"""A run's folder: whose it is, and where everything in it lies."""

from collections.abc import Mapping
import dataclasses
import datetime
import importlib.metadata
import json
import os
import pathlib
import platform
from typing import Any

import jax

import bayes_prompting
from bayes_prompting import errors
from bayes_prompting import plain

# What numbers depend on, beside the configuration.
_NUMERICAL = ('jax', 'jaxlib', 'flax', 'optax')
_FLAGS = (
  'jax_default_prng_impl',
  'jax_enable_x64',
  'jax_threefry_partitionable',
)
_OTHERS = ('chex', 'orbax-checkpoint', 'numpy', 'scipy', 'xarray')


def provenance() -> dict[str, Any]:
  """Returns versions and device: the part that numbers depend on, and more."""
  device = jax.devices()[0]
  version = importlib.metadata.version
  return {
    'numerical': {
      'bayes_prompting': bayes_prompting.__version__,
      'backend': device.platform,
      'device': device.device_kind,
      **{name: getattr(jax.config, name) for name in _FLAGS},
      **{name: version(name) for name in _NUMERICAL},
    },
    'other': {
      'python': platform.python_version(),
      'device_count': jax.device_count(),
      'process_count': jax.process_count(),
      'cores': os.cpu_count(),
      **{name: version(name) for name in _OTHERS},
    },
  }


def record(config: Mapping[str, Any]) -> dict[str, Any]:
  """Returns what `config.json` says of a run with this configuration."""
  return {'config': config, 'seed': config['seed'], **provenance()}


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

  def pretrained(self, seed: int) -> pathlib.Path:
    """The checkpoint of the pretrained network of a seed."""
    return self.path / 'checkpoints' / f'pretrained-seed{seed}'

  def tuned(self, method: str, seed: int) -> pathlib.Path:
    """The checkpoint of what a method tuned, all settings and repetitions."""
    return self.path / 'checkpoints' / f'{method}-seed{seed}'


def claim(
  path: str | os.PathLike[str],
  record: dict[str, Any],
  overwrite: bool = False,
) -> Workdir:
  """Claims a folder for a run.

  Args:
    path: New, empty, or of a run of the same configuration, which then goes on.
    record: What the function `record` returns.
    overwrite: Move a run that the folder holds aside, under a dated name.

  Raises:
    UserError: If the folder cannot be written, or holds something else.
  """
  folder = Workdir(pathlib.Path(path).expanduser().absolute())
  try:
    _claim(folder.path, record, overwrite)
    # Before hours of training end in a folder that cannot be written.
    shared = folder.networks
    _check_writable(shared if shared.exists() else shared.parent)
  except OSError as error:
    raise errors.UserError(
      f'workdir: cannot write {str(folder.path)!r} ({error.strerror or error})'
    ) from None
  return folder


def check(path: str | os.PathLike[str], record: dict[str, Any]) -> None:
  """Checks that `claim` would not find another run there; writes nothing.

  Raises:
    UserError: If the folder holds something else.
  """
  path = pathlib.Path(path).expanduser().absolute()
  if path.is_dir() and set(path.iterdir()) - {path / '.config.json.part'}:
    _check_same(path, read_record(path), record)


def _claim(path, record, overwrite):
  if path.exists() and not path.is_dir():
    raise errors.UserError(
      f'workdir: {str(path)!r} is a file, it must be a folder'
    )
  temporary = path / '.config.json.part'
  # A claim that was killed leaves no more than its temporary file.
  if path.is_dir() and set(path.iterdir()) - {temporary}:
    held = read_record(path)
    if overwrite:
      now = datetime.datetime.now().strftime('%Y-%m-%d-%H%M%S-%f')
      aside = path.with_name(f'{path.name}.{now}')
      path.rename(aside)
      print(f'Moved the old {path.name} aside, to {aside}')
    else:
      _check_same(path, held, record)
      _check_writable(path)
      return
  path.mkdir(parents=True, exist_ok=True)
  _check_writable(path)
  temporary.write_text(json.dumps(record, indent=2) + '\n', encoding='utf-8')
  temporary.replace(path / 'config.json')


def _check_same(path, held, record):
  for part in ('config', 'numerical'):
    sides = held.get(part), record[part]
    if part == 'config' and isinstance(sides[0], dict):
      sides = map(plain.comparable, sides)
    found = plain.difference(*sides)
    if found:
      raise errors.UserError(
        f'workdir: {str(path)!r} holds a run of another configuration '
        f'(there and here, {found}); choose another folder, or let '
        'launch.experiment --overwrite move the old one aside'
      )


def _check_writable(path):
  if not path.is_dir():
    raise NotADirectoryError(None, 'it must be a folder', str(path))
  if not os.access(path, os.W_OK | os.X_OK):
    raise PermissionError(None, 'no permission to write', str(path))


def read_record(path: str | os.PathLike[str]) -> dict[str, Any]:
  """Returns what `config.json` in a folder holds.

  Raises:
    UserError: If there is none, or if it cannot be read.
  """
  path = pathlib.Path(path) / 'config.json'
  try:
    record = json.loads(path.read_text(encoding='utf-8'))
  except (FileNotFoundError, NotADirectoryError):
    raise errors.UserError(
      f'workdir: {str(path.parent)!r} holds no run (no config.json); choose '
      'a new or empty folder'
    ) from None
  except OSError as error:
    raise errors.UserError(
      f'workdir: cannot read {str(path)!r} ({error.strerror or error})'
    ) from None
  except ValueError:
    raise errors.UserError(
      f'workdir: {str(path)!r} is not valid JSON'
    ) from None
  if not isinstance(record, dict) or 'config' not in record:
    raise errors.UserError(f'workdir: {str(path)!r} is not one of a run')
  if isinstance(record['config'], dict):
    record['config'] = plain.complete(record['config'])
  return record
