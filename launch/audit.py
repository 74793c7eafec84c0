"""Asks whether the networks of a run are Bayesian, and what was tuned on them.

    bayes-prompting audit --workdir=runs/demo

In a checkout also `python -m launch.audit`. The workdir is that of a finished
run. Nothing is trained. The answers are printed, with an interval and a test
for each check, and go to audit/ in the workdir: audit.json, audit.csv, and a
figure of each predictor. A report that is made later shows them. From Python:
`bp.audit(predictor, params)`, for any predictor.

    bayes-prompting audit --workdir=runs/demo --predictors=NoTuning,SoftPT \
        --tolerance=0.001
"""

from absl import flags

from . import flags as launch_flags

_METHODS = flags.DEFINE_list(
  'predictors',
  [],
  'Methods of the run, with commas between; the networks without a prompt '
  'without it.',
)
_PRIOR = flags.DEFINE_string(
  'prior',
  '',
  'Task of the run of which they might be exact Bayes; without it what they '
  'were made for: the pretraining task, or the target of what was tuned.',
)
_TASK = flags.DEFINE_string(
  'sequences_of',
  '',
  'Task of the run that sequences come from; the prior without it.',
)
_SEQUENCES = flags.DEFINE_integer(
  'num_sequences', 256, 'How many sequences are drawn.'
)
_LENGTH = flags.DEFINE_integer(
  'length',
  None,
  'Of sequences; the shorter one of pretraining and tuning without it.',
)
_TOLERANCE = flags.DEFINE_float(
  'tolerance',
  1e-5,
  'Nats a token that a check may miss before it fails: rounding, or 0.001 for '
  'all practical purposes.',
)
launch_flags.define_allow_plugins()
flags.declare_key_flag('workdir')
flags.declare_key_flag('allow_plugins')


def main(argv):
  del argv
  launch_flags.refuse_config('it reads what the run recorded')
  # Imported late, so that --help and mistakes in flags need no JAX.
  from bayes_prompting.dynamics.audit import runs

  folder = launch_flags.path(launch_flags.WORKDIR)
  audited = runs.audits(
    folder,
    _METHODS.value,
    _PRIOR.value,
    _TASK.value,
    _LENGTH.value,
    _SEQUENCES.value,
    _TOLERANCE.value,
  )
  print(runs.text(audited) + '\n')
  for path in runs.write(audited, folder):
    kind = 'Numbers' if path.suffix in ('.csv', '.json') else 'Figure'
    print(f'{kind:<8} {path}')


def start():
  launch_flags.run(main, required={'workdir': 'runs/demo'}, resumes=False)


if __name__ == '__main__':
  start()
