r"""Runs the study of architectures: the paper's questions, asked of any torso.

    bayes-prompting architectures                    # what has no row yet
    bayes-prompting architectures --judge_only       # from the rows alone
    bayes-prompting architectures --quick --workdir=runs/q --experiments='gru-*'

A torso of your own joins by its module, whose `make` takes `num_layers`:

    bayes-prompting architectures --torsos=my_lab.mine --experiments='my_lab*'

All else is as in the script `paper`: rows of evidence accumulate in
`networks.csv` in the folder `--results`, several processes share the work, and
what was computed is not computed again.
"""

from absl import flags

from bayes_prompting.settings import plans

from . import flags as launch_flags
from . import study

_TORSOS = flags.DEFINE_list(
  'torsos',
  [],
  'Modules of your own, with commas between, which are run beside the others.',
)
flags.adopt_module_key_flags(study)


def _plan():
  from bayes_prompting.configs import architectures

  for name in _TORSOS.value:
    parts = name.split('.')
    if (
      len(parts) < 2
      or not all(map(str.isidentifier, parts))
      or plans.torso_and_kind(name)[1]
    ):
      launch_flags.fail(
        '--torsos: must be modules of your own, such as my_lab.mine, whose '
        f'names do not end with _{" or _".join(plans.KINDS)}, got {name!r}; '
        f'there are without it {", ".join(architectures.TORSOS)}'
      )
  own = dict.fromkeys(_TORSOS.value)
  return architectures.plan((*architectures.TORSOS, *own)), ()


def _study():
  from bayes_prompting.studies.architectures import study as architectures

  return architectures.STUDY


def main(argv):
  del argv
  study.main(study.Script('architectures', _plan, _study))


def start():
  launch_flags.run(main, required={})


if __name__ == '__main__':
  start()
