"""Uses prompts on networks that they were not tuned on, and as tokens.

    bayes-prompting transfer --workdir=runs/lstm-coin

In a checkout also `python -m launch.transfer`. The workdir is that of a
finished run with two networks or more (`pretraining.num_seeds`). Nothing is
trained. The table is printed, and written as transfer.csv, and the figure
goes to figures/transfer.png and .pdf of the workdir. From Python:
`bayes_prompting.dynamics.transfer`.
"""

from absl import flags

from . import flags as launch_flags

_PROMPTS = flags.DEFINE_list(
  'prompts',
  [],
  'Methods of the run, with commas between; all that tune without it.',
)
launch_flags.define_allow_plugins()
flags.declare_key_flag('workdir')
flags.declare_key_flag('allow_plugins')


def main(argv):
  del argv
  launch_flags.refuse_config('it reads what the run recorded')
  # Imported late, so that --help and mistakes in flags need no JAX.
  from bayes_prompting.dynamics import transfer

  folder = launch_flags.path(launch_flags.WORKDIR)
  table = transfer.transfer(folder, _PROMPTS.value)
  print(transfer.text(table))
  for path in transfer.write(table, folder):
    print(f'{"Table" if path.suffix == ".csv" else "Figure":<8} {path}')


def start():
  launch_flags.run(main, required={'workdir': 'runs/lstm-coin'}, resumes=False)


if __name__ == '__main__':
  start()
