"""What numbers depend on, hashed: code, configuration, versions."""

from collections.abc import Sequence
import types as python_types
from typing import Any

from bayes_prompting import blocks
from bayes_prompting import fitting
from bayes_prompting import keys
from bayes_prompting import lab as lab_lib
from bayes_prompting import plain
from bayes_prompting import predictor
from bayes_prompting import registry
from bayes_prompting import regret
from bayes_prompting import searching
from bayes_prompting import sharding
from bayes_prompting import trees
from bayes_prompting import types
from bayes_prompting import updates
from bayes_prompting import workdir

# What every fit runs through.
_COMMON = (
  *(blocks, fitting, keys, predictor, regret, sharding),
  *(trees, types, updates),
)


def _code(
  lab: lab_lib.Lab, task: str, tuner: str, more: Sequence[Any] = ()
) -> str:
  """Returns the hash of all code that training on a task runs through."""
  modules: list[python_types.ModuleType] = [
    *_COMMON,
    *more,
    *registry.modules('task_priors', lab.config['tasks'][task]),
    registry.module('torsos', lab.config['network']['torso']['name']),
    registry.module('tuners', tuner),
  ]
  return registry.code(modules)


def _numerical():
  return workdir.provenance()['numerical']


def network_hash(lab: lab_lib.Lab, seed: int) -> str:
  """Returns the hash of everything that a pretrained network depends on."""
  task = lab.pretraining_task
  pretraining = dict(lab.config['pretraining'])
  del pretraining['num_seeds']
  return plain.fingerprint(
    {
      'code': _code(lab, task, 'weights'),
      'network': lab.config['network'],
      'task': lab.config['tasks'][task],
      'pretraining': pretraining,
      'seed': lab.config['seed'],
      'pretrain_seed': seed,
      # Of how it is computed, all that touches the rounding of a single run.
      'compute': {
        name: value
        for name, value in lab.config['compute'].items()
        if name != 'run_block'
      },
      'numerical': _numerical(),
    }
  )


def of_pretraining(lab: lab_lib.Lab, seed: int) -> dict[str, Any]:
  """Returns what meta-training under way belongs to."""
  return {
    'pretrain_seed': seed,
    'code': _code(lab, lab.pretraining_task, 'weights'),
    'config': plain.comparable(lab.config),
    'numerical': _numerical(),
  }


def of_tuning(
  lab: lab_lib.Lab, method: lab_lib.Method, seed: int
) -> dict[str, Any]:
  """Returns what tuning under way by a method on one network belongs to."""
  spec = lab.config['methods'][method.name]
  prior = lab.config['tasks'][spec.get('task', lab.pretraining_task)]
  # Exact Bayes runs through its own prior too.
  more = registry.modules('task_priors', prior) if method.is_bayes else []
  return {
    'method': method.name,
    'pretrain_seed': seed,
    'code': _code(lab, lab.target, spec['name'], [lab_lib, searching, *more]),
    'config': plain.comparable(lab.config),
    'numerical': _numerical(),
  }
