r"""Saves a tuned prefix or adapter to a file, or evaluates such a file.

    bayes-prompting adapter --save=prefix.safetensors \
        --workdir=runs/demo --method=SoftPT
    bayes-prompting adapter --load=prefix.safetensors --workdir=runs/other

In a checkout also `python -m launch.adapter`. The first command writes one
repetition of one method, at the best setting of its grid, to a file of a few
kilobytes. The second says what the file holds, loads it onto the same network
in another workdir, and evaluates it there: its regrets are those that it had
where it was tuned. Without a workdir it only says what the file holds. From
Python: `bayes_prompting.save_adapter` and `load_adapter`.
"""

from absl import flags

from . import flags as launch_flags

_SAVE = flags.DEFINE_string('save', None, 'File to write.')
_LOAD = flags.DEFINE_string('load', None, 'File to read.')
_METHOD = flags.DEFINE_string('method', None, 'What to save, e.g. SoftPT.')
_SEED = flags.DEFINE_integer('seed', 0, 'Pretraining seed of what to save.')
_REPETITION = flags.DEFINE_integer(
  'repetition', 0, 'Tuning repetition of what to save.'
)
_LEARNING_RATE = flags.DEFINE_float(
  'learning_rate', None, 'Of the grid, of what to save; the best without it.'
)
_PREFIX_INIT = flags.DEFINE_string(
  'prefix_init', None, 'Of the grid, of what to save; the best without it.'
)
_TASK = flags.DEFINE_list(
  'task',
  [],
  'Evaluation tasks of the workdir, with commas between; all without it.',
)
_OVERWRITE = launch_flags.define_overwrite(
  'Move a file that has the name of --save aside, dated.'
)
launch_flags.define_allow_plugins()
flags.declare_key_flag('workdir')
flags.declare_key_flag('allow_plugins')


def _check():
  """Checks that flags go together."""
  launch_flags.refuse_config('none is needed, a workdir has its own')
  if _SAVE.value is None and _LOAD.value is None:
    launch_flags.fail('--save, --load: missing, one of the two')
  if _SAVE.value is not None and _LOAD.value is not None:
    launch_flags.fail('--save, --load: give one of the two')
  which = ('save', 'load')[_SAVE.value is None]
  only = {
    'save': ('method', 'seed', 'repetition', 'learning_rate', 'prefix_init')
    + ('overwrite',),
    'load': ('task',),
  }
  for mode, names in only.items():
    for name in names:
      if mode != which and flags.FLAGS[name].present:
        launch_flags.fail(f'--{name}: goes with --{mode}')
  needed = {'workdir': 'runs/demo', 'method': 'SoftPT'}
  for name, example in needed.items() if which == 'save' else ():
    if not flags.FLAGS[name].value:
      launch_flags.fail_without(name, example)
  if _TASK.value and not launch_flags.WORKDIR.value:
    launch_flags.fail('--workdir: missing, which has the tasks')


def _save():
  from bayes_prompting.adapters import record
  from bayes_prompting.adapters import sharing

  metadata = sharing.save(
    launch_flags.WORKDIR.value,
    _METHOD.value,
    _SAVE.value,
    _SEED.value,
    _REPETITION.value,
    _LEARNING_RATE.value,
    _PREFIX_INIT.value,
    _OVERWRITE.value,
  )
  print(record.text(metadata))
  print(f'file           {_SAVE.value}')


def _load():
  from bayes_prompting.adapters import record
  from bayes_prompting.adapters import sharing

  _, metadata = record.read(_LOAD.value)
  print(record.text(metadata))
  if not launch_flags.WORKDIR.value:
    return
  table = sharing.regrets(_LOAD.value, launch_flags.WORKDIR.value, _TASK.value)
  print(f'\n{table.to_string(index=False)}\n')
  known = table[table.stored.notnull()]
  if known.empty:
    print('The file has no regrets on these sequences to compare with.')
  elif (known.regret == known.stored).all():
    print(f'As where it was tuned, to the bit ({len(known)} regrets).')
  else:
    most = (known.regret - known.stored).abs().max()
    print(f'Differs from where it was tuned by {most:.2g} nats at most.')


def main(argv):
  del argv
  _check()
  # Imported late in both, so that --help and mistakes in flags need no JAX.
  _save() if _SAVE.value is not None else _load()


def start():
  launch_flags.run(main, required={}, resumes=False)


if __name__ == '__main__':
  start()
