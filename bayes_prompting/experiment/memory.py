"""How much memory a run will need, and a refusal before any of it is taken.

The estimate is of `memory_parts`. It is there to refuse what cannot be, at once
and with the field to blame, not to tell whether what is near the limit will do;
`docs/reliability.md` compares it with what runs took.
"""

from collections.abc import Mapping, Sequence

from bayes_prompting import errors
from bayes_prompting import settings
from bayes_prompting.experiment import build
from bayes_prompting.experiment import memory_parts
from bayes_prompting.experiment import sizes
from bayes_prompting.settings import plain

# What a field has most often, where `settings.base` has none: its value is
# compared with that to find the field to blame.
_USUAL = 100
_USUAL_VOCABULARY = 2


def estimate(lab: build.Lab) -> int:
  """Returns the bytes that a run will hold when it holds most."""
  return peak([*memory_parts.by_arithmetic(lab), *memory_parts.by_tracing(lab)])


def check(lab: build.Lab, available: Mapping[str, int] | None = None) -> None:
  """Refuses a run that needs more memory than there is; takes none itself.

  Args:
    lab: What is to be run.
    available: Bytes by place, see `sizes.machine`, which it is by default.

  Raises:
    UserError: One line with what takes the most, and the fields to blame.
  """
  available = sizes.machine() if available is None else available
  # Arithmetic first: programs of what is absurd need not be written.
  parts = memory_parts.by_arithmetic(lab)
  _check(lab, parts, available)
  _check(lab, parts + memory_parts.by_tracing(lab), available)


def _check(lab, parts, available):
  for place, there in available.items():
    here = [x for x in parts if 'device' not in available or x.place == place]
    held = _at_peak(here)
    needed = sum(part.size for part in held)
    if needed <= there:
      continue
    worst = max(held, key=lambda part: part.size)
    first, *others = _blame(lab, worst.fields)
    also = ''.join(f' with {field}={_value(lab, field)}' for field in others)
    said = f'{"a vocabulary of " * _is_task(first)}{_value(lab, first)}'
    where = 'this machine' if place == 'host' else 'the device'
    raise errors.UserError(
      f'{first}: {said}{also} takes about '
      f'{sizes.show(worst.size)} for {worst.name}, of {sizes.show(needed)} in '
      f'all; {where} has {sizes.show(there)} free; make it smaller'
    )


def _blame(lab, fields):
  """Returns the field that is the most above what is usual, or the two."""
  usual = plain.of(settings.base_config())

  def excess(field):
    known = memory_parts.find(usual, field) or _USUAL
    if _is_task(field):
      known = _USUAL_VOCABULARY
    return _value(lab, field) / _number(known)

  first, *others = sorted(dict.fromkeys(fields), key=excess, reverse=True)
  return [first, *(field for field in others[:1] if excess(field) > 1)]


def _is_task(field):
  return field.startswith('tasks.') and field.count('.') == 1


def _number(value):
  return len(value) if isinstance(value, list) else value


def _value(lab, field):
  """Returns what a field has; of a task, its vocabulary."""
  if _is_task(field):
    return lab.priors[field.partition('.')[2]].vocab_size
  return _number(memory_parts.find(lab.config, field))


def peak(parts: Sequence[memory_parts.Part]) -> int:
  """Returns the bytes that are held at once, when most are."""
  return sum(part.size for part in _at_peak(parts))


def _at_peak(parts):
  """Returns the parts that are held at once, when most are."""
  phases = sorted({part.phase for part in parts})
  held = [[x for x in parts if _is_in(x.phase, phase)] for phase in phases]
  return max(held, key=lambda some: sum(part.size for part in some), default=[])


def _is_in(inner, phase):
  """Returns whether what is held in one phase is held in another."""
  return not inner or phase == inner or phase.startswith(f'{inner}/')
