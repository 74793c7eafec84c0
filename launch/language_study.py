r"""Runs the study of a real language model beside a known optimum.

    bayes-prompting language-model --get=smollm2
    bayes-prompting language-model --get=textgenrnn
    bayes-prompting language-study          # what has no row yet
    bayes-prompting language-study --judge_only   # from the rows alone
    bayes-prompting language-study --experiments='coin*' --methods=SoftPT

All else is as in the script `paper`: rows of evidence accumulate in
`networks.csv` in the folder `--results`, several processes share the work, and
what was computed is not computed again. `--seeds` are tunings of one model.
"""

from absl import flags

from . import flags as launch_flags
from . import study

flags.adopt_module_key_flags(study)


def _plan():
  from bayes_prompting.configs import language_model

  return language_model.plan(), ()


def _study():
  from bayes_prompting.studies.language_study import study as language_study

  return language_study.STUDY


def main(argv):
  del argv
  study.main(study.Script('language_study', _plan, _study))


def start():
  launch_flags.run(main, required={})


if __name__ == '__main__':
  start()
