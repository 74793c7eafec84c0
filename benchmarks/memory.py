"""Compares the memory that runs take with what was estimated beforehand.

    python -m benchmarks.memory

Each run is a process of its own, on the CPU. What a run takes is the peak of
its process, minus what the process held when the run began, after all imports.
The compiler's own memory is part of that, some hundred megabytes, so that
smaller runs say little. See `bayes_prompting.experiment.memory`, and
docs/reliability.md for what came out.
"""

import json
import resource
import subprocess
import sys

from bayes_prompting import settings

# Sizes by field, of runs in which something else is largest each time.
CASES = {
  'lstm, evaluation': {
    'evaluation.num_sequences': 50_000,
    'tuning.methods': ('NoTuning',),
  },
  'lstm, results': {
    'evaluation.num_sequences': 100_000,
    'evaluation.length': 50,
    'tuning.num_repetitions': 20,
    'tuning.methods': ('PreBayes',),
  },
  'lstm, activations': {
    'evaluation.num_sequences': 16,
    'pretraining.batch_size': 4096,
    'compute.sequence_block': 4096,
    'tuning.methods': ('NoTuning',),
  },
  'transformer, activations': {
    'evaluation.num_sequences': 16,
    'pretraining.batch_size': 512,
    'compute.sequence_block': 512,
    'tuning.methods': ('NoTuning',),
  },
  'transformer, weights': {
    'evaluation.num_sequences': 16,
    'network.embedding_dim': 1024,
    'pretraining.batch_size': 2,
    'pretraining.length': 10,
    'tuning.methods': ('NoTuning',),
  },
}


def config(name: str):
  """Returns the configuration of a case, with few updates."""
  found = settings.base_config()
  if name.startswith('transformer'):
    found.network.torso = settings.spec('transformer')
  found.pretraining.num_steps = found.tuning.num_steps = 2
  found.evaluation.tasks = ('single_coin',)
  found.update_from_flattened_dict(CASES[name])
  return found


def measure(name: str) -> dict[str, int]:
  """Runs a case in this process; returns its bytes, and the estimate."""
  from bayes_prompting.experiment import build
  from bayes_prompting.experiment import memory
  from bayes_prompting.experiment import run

  estimate = memory.estimate(build.build(config(name)))
  before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
  run.run(config(name))
  after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
  return {'measured': 1024 * (after - before), 'estimate': estimate}


def main():
  print(f'{"run":<28} {"measured MB":>12} {"estimate MB":>12} {"ratio":>6}')
  for name in CASES:
    done = subprocess.run(
      [sys.executable, '-m', 'benchmarks.memory', name],
      stdout=subprocess.PIPE,
      check=True,
      text=True,
    )
    row = json.loads(done.stdout.splitlines()[-1])
    mega = {key: value / 1e6 for key, value in row.items()}
    print(
      f'{name:<28} {mega["measured"]:12.0f} {mega["estimate"]:12.0f} '
      f'{row["estimate"] / row["measured"]:6.2f}',
      flush=True,
    )


if __name__ == '__main__':
  if sys.argv[1:]:
    print(json.dumps(measure(sys.argv[1])))
  else:
    main()
