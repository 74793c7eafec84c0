r"""Runs the study of all tuners: regret against what it costs.

    bayes-prompting frontier                    # what has no row yet
    bayes-prompting frontier --judge_only       # from the rows alone
    bayes-prompting frontier --methods=SoftPT,LoRAWT --experiments='lstm-*'
    bayes-prompting frontier --quick --workdir=runs/q --experiments='lstm-*'

A tuner of your own joins by its module, whose `make` has defaults for all that
it takes; my_lab.mine is the method `mine`:

    bayes-prompting frontier --tuners=my_lab.mine

All else is as in the script `paper`: rows of evidence accumulate in
`networks.csv` in the folder `--results`, several processes share the work, and
what was computed is not computed again.
"""

from absl import flags

from bayes_prompting import errors

from . import flags as launch_flags
from . import study

_TUNERS = flags.DEFINE_list(
  'tuners',
  [],
  'Modules of your own, with commas between, which are run beside the others.',
)
flags.adopt_module_key_flags(study)


def _plan():
  from bayes_prompting.configs import frontier

  try:
    return frontier.plan(tuple(_TUNERS.value)), ()
  except errors.UserError as error:
    launch_flags.fail(f'--{error}')


def _study():
  from bayes_prompting.studies.frontier import study as frontier

  return frontier.STUDY


def main(argv):
  del argv
  study.main(study.Script('frontier', _plan, _study))


def start():
  launch_flags.run(main, required={})


if __name__ == '__main__':
  start()
