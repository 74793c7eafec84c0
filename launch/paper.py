r"""Reproduces the paper: evidence network by network, a verdict on each claim.

    bayes-prompting paper                            # what has no row yet
    bayes-prompting paper --judge_only               # from the rows alone
    bayes-prompting paper --quick --workdir=runs/q   # minutes; all in small

In a checkout also `python -m launch.paper`. Every network that ends adds rows
to `networks.csv` in the folder `--results`. Claims, figures and the page are
made of these rows alone, whoever computed them:

    ... --seeds=0:10 --experiments='lstm-*' --methods=SoftPT,FullWT
    ... --merge=other/networks.csv

The first line runs a part of the plan (`configs/paper.py`), or more networks
than it has; the second adds the rows of another machine. What was computed is
not computed again. Work that is stopped goes on from its last checkpoint. The
same command in several processes shares the work: start one for each core or
device. The exit code is 1 if a network has failed.
"""

from absl import flags

from . import flags as launch_flags
from . import study

_DYNAMICS = flags.DEFINE_bool(
  'dynamics',
  False,
  'Also look into the first network of the main experiments, whose figures '
  'show what prompts do inside it.',
)
flags.adopt_module_key_flags(study)


def _plan():
  from bayes_prompting.configs import paper

  return paper.PLAN, paper.PLAN_LARGE


def _study():
  from bayes_prompting.studies.paper import reproduce

  return reproduce.STUDY


def _look_inside(chosen, workdir, into):
  from bayes_prompting.configs import paper
  from bayes_prompting.studies.paper import reproduce

  if _DYNAMICS.value:
    configs = {
      planned.name: planned.config(study.QUICK.value)
      for planned in chosen
      if planned.arguments in paper.MAIN and planned.repetitions == 1
    }
    reproduce.look_inside(configs, workdir, into)


def main(argv):
  del argv
  study.main(study.Script('paper', _plan, _study, _look_inside))


def start():
  launch_flags.run(main, required={})


if __name__ == '__main__':
  start()
