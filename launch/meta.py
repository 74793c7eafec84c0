r"""Runs the study of learned starts, and of networks without a prior.

    bayes-prompting meta                    # what has no row yet
    bayes-prompting meta --judge_only       # from the rows alone
    bayes-prompting meta --experiments='*-near*' --methods=SoftPT,MetaPT
    bayes-prompting meta --quick --workdir=runs/q --experiments='lstm-*'

All else is as in the script `paper`: rows of evidence accumulate in
`networks.csv` in the folder `--results`, several processes share the work, and
what was computed is not computed again.
"""

from absl import flags

from . import flags as launch_flags
from . import study

flags.adopt_module_key_flags(study)


def _plan():
  from bayes_prompting.configs import meta

  return meta.plan(), ()


def _study():
  from bayes_prompting.studies.meta import study as meta

  return meta.STUDY


def main(argv):
  del argv
  study.main(study.Script('meta', _plan, _study))


def start():
  launch_flags.run(main, required={})


if __name__ == '__main__':
  start()
