"""The runs of a sweep: configurations times axes, each under its own name."""

import ast
from collections.abc import Sequence
import dataclasses
import itertools
import pathlib
import re
import sys
from typing import Any

from absl import flags
import ml_collections

from bayes_prompting import errors
from bayes_prompting.settings import plain

from . import presets

# What stands beside the runs' folders.
RUNS, COMPARISON = 'runs.json', 'comparison.csv'
RESERVED = ('networks', 'logs', RUNS, COMPARISON)
# A longer name is that of the configuration and a hash, of so many digits.
_LONGEST, _DIGITS = 40, 8


@dataclasses.dataclass(frozen=True)
class SweepRun:
  """One run of a sweep.

  Attributes:
    name: Of its folder.
    title: What it is in full, for messages.
    config: As `--config` takes it.
    settings: The fields that are swept, and this run's values.
  """

  name: str
  title: str
  config: str
  settings: tuple[tuple[str, str], ...]

  @property
  def flags(self) -> tuple[str, ...]:
    """What says its configuration to `launch.experiment`."""
    overrides = (f'--config.{field}={value}' for field, value in self.settings)
    return f'--config={self.config}', *overrides


@dataclasses.dataclass(frozen=True)
class Axis:
  """A field of the configuration, and the values that it takes.

  Attributes:
    field: By its dots, as `tuning.learning_rate`.
    values: As they are written on a command line.
  """

  field: str
  values: tuple[str, ...]


def axis(text: str) -> Axis:
  """Reads `FIELD=VALUE,VALUE,...`.

  Values are Python literals; a plain word needs no quotes. A comma within
  brackets or quotes belongs to the value.
  """
  field, equals, rest = text.partition('=')
  field = field.strip().removeprefix('config.')
  if not equals or not re.fullmatch(r'[^\s,=]+', field):
    raise errors.UserError(
      f'--set: must be FIELD=VALUE,VALUE,... as in seed=0,1,2; got {text!r}'
    )
  values = tuple(_value(field, part) for part in _split(rest))
  for value in values:
    if values.count(value) > 1:
      raise errors.UserError(f'--set={field}: has the value {value} twice')
  return Axis(field, values)


def _split(text):
  """Splits at the commas that are in no brackets and no quotes."""
  pattern = r"""'[^']*' | "[^"]*" | [([{] | [)\]}] | , | ."""
  parts, depth = [''], 0
  for token in re.findall(pattern, text, re.VERBOSE | re.DOTALL):
    if token == ',' and not depth:
      parts.append('')
      continue
    depth += (token in '([{') - (token in ')]}')
    parts[-1] += token
  return [part.strip() for part in parts]


def literal(text: str) -> Any:
  """Returns what a Python literal stands for; other text as it is."""
  try:
    return ast.literal_eval(text)
  except (ValueError, SyntaxError):
    return text


def _value(field, text):
  """Returns a value as a flag takes it: 1e-3 and 0.001 are the same."""
  value = literal(text)
  if value is text and not re.fullmatch(r'[\w.+-]+', text):
    raise errors.UserError(
      f'--set={field}: must be Python literals or plain words with commas '
      f'between, got {text!r}'
    )
  return value if isinstance(value, str) else repr(value)


def build(configs: Sequence[str], axes: Sequence[str]) -> list[SweepRun]:
  """Returns the runs: every configuration at every combination of values.

  A run's name depends on its own configuration and values alone, so that it is
  found again by a sweep of others.

  Args:
    configs: As `--config` of the other scripts takes them.
    axes: As `axis` reads them; the last varies fastest.

  Raises:
    UserError: If an axis cannot be read, or two runs would share a folder.
  """
  swept = [axis(text) for text in axes]
  for first, second in itertools.combinations(swept, 2):
    if first.field == second.field:
      raise errors.UserError(
        f'--set={first.field}: given twice; give all of its values at once'
      )
  runs, taken = [], dict.fromkeys(RESERVED, 'what runs share')
  for config, *values in itertools.product(
    configs, *(axis.values for axis in swept)
  ):
    fields = (axis.field for axis in swept)
    settings = tuple(zip(fields, values, strict=True))
    run = SweepRun(*_names(config, settings), config, settings)
    # Some file systems do not tell upper from lower case.
    key, said = run.name.lower(), ' '.join(run.flags)
    if key in taken:
      raise errors.UserError(
        f'--configs: {taken[key]} and {said} would both be kept in '
        f'{run.name!r}; leave one out, or rename a file'
      )
    taken[key] = said
    runs.append(run)
  return runs


def _names(config, settings):
  """Returns a folder's name, and the title of what it holds.

  Both are of letters that every file system has.
  """
  try:
    path, _, argument = presets.named(config).partition(':')
  except errors.UserError as error:
    raise errors.UserError(f'--configs: {error}') from None
  start = '-'.join(filter(None, (_safe(pathlib.Path(path).stem), argument)))
  parts = [start, *(f'{field}={value}' for field, value in settings)]
  title = ','.join(map(_safe, parts)).strip('.-')
  if len(title) <= _LONGEST:
    return title, title
  digest = plain.fingerprint({'name': parts})[:_DIGITS]
  start = _safe(start).strip('.-')[: _LONGEST - _DIGITS - 1].rstrip('.-')
  return f'{start}-{digest}', title


def _safe(text):
  text = re.sub(r'[\s()\[\]{}\'"]', '', text)
  return re.sub(r'[^A-Za-z0-9_.+=-]+', '-', text).rstrip('-')


def load(run: SweepRun) -> ml_collections.ConfigDict:
  """Loads a run's configuration, just as `launch.experiment` does.

  Raises:
    UserError: For whatever is wrong with the file or a value.
  """
  argv = ['sweep', *run.flags]
  # By config_flags' own name for it: a file that has no get_config() would
  # find that of the file before.
  sys.modules.pop('config_config', None)
  values = flags.FlagValues()
  config = presets.define(flag_values=values, sys_argv=argv)
  try:
    values(argv)
    return presets.checked(config.value)
  except Exception as error:
    # What a user's file raises can be anything.
    line = presets.problem(error).removeprefix('--config: ')
    raise errors.UserError(f'{run.title}: {line}') from None


def validate(runs: Sequence[SweepRun]) -> dict[str, dict[str, Any]]:
  """Builds what every run describes, so that mistakes are found before any.

  Returns:
    Each run's configuration, in plain values, by its name.

  Raises:
    UserError: For the first mistake, or for two runs that are the same.
  """
  configs = {run.name: load(run) for run in runs}
  import jax

  # A GPU is the runs' own: this process would hold its memory, and a cluster's
  # login node has none.
  jax.config.update('jax_platforms', 'cpu')
  from bayes_prompting.experiment import build as build_lib

  built, titles = {}, {}
  for run in runs:
    name, config = run.name, configs[run.name]
    try:
      built[name] = build_lib.build(config, allow_plugins=True).config
    except errors.UserError as error:
      raise errors.UserError(f'{run.title}: {error}') from None
    same = titles.setdefault(plain.fingerprint(built[name]), run.title)
    if same != run.title:
      raise errors.UserError(
        f'--configs: {same!r} and {run.title!r} are the same configuration'
      )
  return built
