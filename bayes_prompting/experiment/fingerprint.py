"""What numbers depend on: configuration, versions, and modules' numerics.

Nothing here looks at the package's source: a module that computes numbers has
a version of them, `NUMERICS` (see `registry.numerics`).
"""

from collections.abc import Mapping
import types as python_types
from typing import Any

from bayes_prompting import predictors
from bayes_prompting import registry
from bayes_prompting import settings
from bayes_prompting.experiment import evaluation
from bayes_prompting.experiment import tuning
from bayes_prompting.settings import plain
from bayes_prompting.storage import workdir
from bayes_prompting.system import provenance
from bayes_prompting.training import fit
from bayes_prompting.training import search

# What every fit runs through, and what else a whole run does; what they import
# counts too.
_FIT = (fit, predictors, tuning)
_RUN = (*_FIT, evaluation, search)


def _priors(
  config: Mapping[str, Any], task: str
) -> list[python_types.ModuleType]:
  return registry.modules('task_priors', config['tasks'][task])


def _torso(config: Mapping[str, Any]) -> list[python_types.ModuleType]:
  return registry.modules('torsos', config['network']['torso'])


def network_hash(config: Mapping[str, Any], seed: int) -> str:
  """Returns the hash of everything that a pretrained network depends on.

  Args:
    config: Plain values.
    seed: The pretraining seed.
  """
  task = config['pretraining']['task']
  pretraining = dict(config['pretraining'])
  del pretraining['num_seeds']
  modules = [
    *_FIT,
    *_priors(config, task),
    *_torso(config),
    registry.module('tuners', 'weights'),
  ]
  return plain.fingerprint(
    {
      'network': config['network'],
      'task': config['tasks'][task],
      'pretraining': pretraining,
      'seed': config['seed'],
      'pretrain_seed': seed,
      # Of how it is computed, all that touches the rounding of a single run.
      'compute': {
        name: value
        for name, value in config['compute'].items()
        if name != 'run_block'
      },
      'numerics': registry.numerics(modules),
      'numerical': provenance.provenance()['numerical'],
    }
  )


def numerics(config: Mapping[str, Any]) -> dict[str, int | str]:
  """Returns the versions of all numerics that a run goes through, by module.

  Args:
    config: Plain values.
  """
  methods = [config['methods'][x] for x in config['tuning']['methods']]
  tasks = {
    config['pretraining']['task'],
    config['tuning']['target'],
    *config['evaluation']['tasks'],
    *(
      x['task']
      for x in methods
      if x.get('predictor') == 'bayes' and 'task' in x
    ),
  }
  modules = [
    *_RUN,
    *_torso(config),
    *(x for task in sorted(tasks) for x in _priors(config, task)),
    *(x for spec in methods for x in registry.modules('tuners', spec)),
    registry.module('tuners', 'weights'),
  ]
  return dict(sorted(registry.numerics(modules).items()))


def record(config: Mapping[str, Any]) -> dict[str, Any]:
  """Returns what a run's `config.json` says, and what work under way is of.

  Args:
    config: Plain values.
  """
  return workdir.record(config, numerics(config))


def measurement(config: Mapping[str, Any], method: str, task: str) -> str:
  """Returns a hash of what one number of one network depends on.

  It is all of the configuration that changes how a method does on a task: not
  how many networks or repetitions there are, nor what else is run.

  Args:
    config: Plain values.
    method: The name of one of its methods.
    task: The name of one of its tasks.
  """
  counts = ('num_repetitions', 'methods', *settings.SHARED.values())
  tuning = {k: v for k, v in config['tuning'].items() if k not in counts}
  names = config['pretraining']['task'], config['tuning']['target'], task
  return plain.fingerprint(
    {
      'seed': config['seed'],
      'network': config['network'],
      'pretraining': config['pretraining'] | {'num_seeds': None},
      'tuning': tuning,
      'method': config['methods'][method],
      'tasks': [config['tasks'][name] for name in names],
      'evaluation': config['evaluation'] | {'tasks': None},
    }
  )[:8]


def networks(config: Mapping[str, Any], method: str) -> str:
  """Returns a hash of what a method's networks depend on, '' if it has none.

  Args:
    config: Plain values.
    method: The name of a method.
  """
  spec = config['methods'].get(method)
  if spec is None or spec.get('predictor', 'network') == 'bayes':
    return ''
  pretraining = config['pretraining'] | {'num_seeds': None}
  return plain.fingerprint(
    {
      'seed': config['seed'],
      'network': config['network'],
      'task': config['tasks'][pretraining['task']],
      'pretraining': pretraining,
    }
  )


def sequences(config: Mapping[str, Any], task: str) -> str:
  """Returns a hash of what the sequences of an evaluation task depend on.

  Args:
    config: Plain values.
    task: The name of one of its tasks.
  """
  return plain.fingerprint(
    {
      'seed': config['seed'],
      'name': task,
      'task': config['tasks'][task],
      'evaluation': config['evaluation'] | {'tasks': None},
    }
  )
