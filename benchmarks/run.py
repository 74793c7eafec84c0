"""Measures speed, beside what the machine could do at best.

    python -m benchmarks.run --suite=all --json=speed.json
    python -m benchmarks.run --suite=train --torso=all
    python -m benchmarks.run --model=smollm2

Each figure is the median of several runs of a compiled program after a warm-up,
with the device's work waited for. Beside it stand the matrix-product operations
that it needs (`bayes_prompting.experiment.arithmetic`), and the share that this
makes of the machine's own rate of float32 matrix products, measured right
before: a ratio, so that it means something on a noisy machine. *Memory* is the
same of the bytes that loops over positions move: a recurrence without matrix
products is bound by that. See docs/performance.md.
"""

import json
import sys

from absl import app
from absl import flags
from absl import logging

from bayes_prompting import errors
from bayes_prompting import registry

_SUITE = flags.DEFINE_enum(
  'suite',
  'all',
  ['train', 'tune', 'evaluate', 'scaling', 'vocabulary', 'all'],
  'Which.',
)
_MODEL = flags.DEFINE_string(
  'model', None, 'Measure a language model: a known one, or a path.'
)
_JSON = flags.DEFINE_string('json', None, 'File to write the figures to.')
_TORSO = flags.DEFINE_enum(
  'torso',
  'paper',
  ['paper', 'all', *registry.names('torsos')],
  "Which network: the paper's two, all with their defaults, or one.",
)
_RUNS = flags.DEFINE_integer(
  'runs', 5, 'Runs of each figure, after warm-up.', lower_bound=2
)
_SECONDS = flags.DEFINE_float(
  'seconds', 1.0, 'How long a run takes, about.', lower_bound=0.01
)


def _line(row):
  ratio = '' if row.ratio is None else f'{row.ratio:5.2f} of {row.to}'
  return (
    f'{row.torso:<18} {row.name:<36} {1e3 * row.seconds:9.1f} '
    f'{1 / row.seconds:9.2f} {row.operations / 1e9:10.1f} '
    f'{100 * row.share:5.0f}% {100 * row.memory_share:6.0f}%  {ratio}'
  )


def _record(row):
  return {**vars(row), 'share': row.share, 'memory_share': row.memory_share}


def _chosen(suites):
  """Returns what is measured: suites, names of networks, and what makes one."""
  if _MODEL.value is None:
    every = _SUITE.value == 'all'
    chosen = list(suites.SUITES.values())
    chosen = chosen if every else [suites.SUITES[_SUITE.value]]
    several = {'paper': suites.PAPER, 'all': suites.TORSOS}
    torsos = several.get(_TORSO.value, [_TORSO.value])
    return chosen, torsos, suites.Bench.make
  for flag in (_SUITE, _TORSO):
    if flag.present:
      sys.exit(
        f'error: --model has a suite of its own; leave out --{flag.name}'
      )
  return [suites.language_model], [_MODEL.value], suites.Bench.of_model


def main(argv):
  if len(argv) > 1:
    sys.exit(f'error: unknown argument {argv[1]!r}')
  if _JSON.value:
    try:  # Now, not after a quarter of an hour.
      open(_JSON.value, 'a', encoding='utf-8').close()
    except OSError as error:
      sys.exit(f'error: --json: {error}')
  logging.set_verbosity(logging.WARNING)
  import jax

  from bayes_prompting.system import provenance
  from benchmarks import suites
  from benchmarks import timing

  chosen, names, make = _chosen(suites)
  rate = timing.product_rate()
  device = jax.devices()[0].device_kind
  print(f'{device}: {rate / 1e9:.0f} GFLOP/s in float32 products of 2048 cubed')
  print(
    f'{"network":<18} {"what":<36} {"ms":>9} {"per s":>9} {"GFLOP":>10} '
    f'{"share":>6} {"memory":>7}  speed'
  )
  rows = []
  for suite in chosen:
    for name in names:
      try:
        bench = make(name, _RUNS.value, _SECONDS.value)
      except errors.UserError as error:
        sys.exit(f'error: {error}')
      for row in suite(bench):
        print(_line(row), flush=True)
        rows.append(row)
  if _JSON.value:
    record = {
      'provenance': provenance.provenance(),
      'product_rate': rate,
      'rows': [_record(row) for row in rows],
    }
    with open(_JSON.value, 'w', encoding='utf-8') as file:
      json.dump(record, file, indent=2)


if __name__ == '__main__':
  app.run(main)
