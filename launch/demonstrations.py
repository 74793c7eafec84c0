r"""Runs the study of demonstrations: shown before, beside prompts and weights.

    bayes-prompting demonstrations                    # what has no row yet
    bayes-prompting demonstrations --judge_only       # from the rows alone
    bayes-prompting demonstrations --experiments='lstm-policy-*'
    bayes-prompting demonstrations --quick --workdir=runs/q --experiments='*-n8'

All else is as in the script `paper`: rows of evidence accumulate in
`networks.csv` in the folder `--results`, several processes share the work, and
what was computed is not computed again.
"""

from absl import flags

from . import flags as launch_flags
from . import study

flags.adopt_module_key_flags(study)


def _plan():
  from bayes_prompting.configs import demonstrations

  return demonstrations.plan(), ()


def _study():
  from bayes_prompting.studies.demonstrations import study as demonstrations

  return demonstrations.STUDY


def main(argv):
  del argv
  study.main(study.Script('demonstrations', _plan, _study))


def start():
  launch_flags.run(main, required={})


if __name__ == '__main__':
  start()
