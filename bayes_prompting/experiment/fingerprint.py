"""What numbers depend on: configuration, versions, numerics, and files.

Nothing here looks at the package's source: a module that computes numbers has
a version of them, `NUMERICS` (see `registry.numerics`). A file that a task
reads counts by its content (see `registry.reads`). What an argument follows
counts by its value.
"""

from collections.abc import Mapping
import types as python_types
from typing import Any

from bayes_prompting import predictors
from bayes_prompting import registry
from bayes_prompting import settings
from bayes_prompting.experiment import evaluation
from bayes_prompting.experiment import exactly
from bayes_prompting.experiment import reorderings
from bayes_prompting.experiment import tuning
from bayes_prompting.language import model
from bayes_prompting.language import symbols
from bayes_prompting.settings import plain
from bayes_prompting.storage import workdir
from bayes_prompting.system import provenance
from bayes_prompting.training import fit
from bayes_prompting.training import search

# What every fit runs through, and what else a whole run does; what they import
# counts too.
_FIT = (fit, predictors, tuning)
_RUN = (*_FIT, evaluation, search)
# What a run of exact Bayes goes through as well. No number of a network does.
_BAYES = (exactly,)
# What is measured on some tasks besides.
_ORDERS = (reorderings,)


def _priors(
  config: Mapping[str, Any], task: str
) -> list[python_types.ModuleType]:
  return registry.modules('task_priors', config['tasks'][task])


def _torso(config: Mapping[str, Any]) -> list[python_types.ModuleType]:
  if config['network']['language_model'] is not None:
    return [symbols, registry.module('torsos', 'transformer')]
  return registry.modules('torsos', config['network']['torso'])


def _tuners(config: Mapping[str, Any], method: str) -> list[dict[str, Any]]:
  """Returns the specs of a method's tuners, as they are built."""
  spec = dict(config['methods'][method])
  if spec.pop('predictor', 'network') == 'bayes':
    spec.pop('task', None)
  return plain.each_init(spec)


def _files_of(config, tasks):
  """Returns the digests of the files that some tasks read, by file."""
  digests = {}
  for name in tasks:
    digests |= registry.reads('task_priors', config['tasks'][name])
  return digests


def files(config: Mapping[str, Any]) -> dict[str, dict[str, str]]:
  """Returns the digests of the files that tasks read, by task and file.

  Tasks that read none are left out.
  """
  config = plain.resolved(config)
  by_task = {
    name: registry.reads('task_priors', spec)
    for name, spec in config['tasks'].items()
  }
  return {name: digests for name, digests in by_task.items() if digests}


def network_hash(config: Mapping[str, Any], seed: int) -> str:
  """Returns the hash of everything that a pretrained network depends on.

  Args:
    config: Plain values.
    seed: The pretraining seed.
  """
  config = plain.resolved(config)
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
      'network': _network(config),
      'task': config['tasks'][task],
      'pretraining': pretraining,
      'seed': config['seed'],
      'pretrain_seed': seed,
      # Of how it is computed, all that touches the rounding of a single run.
      'compute': {
        name: value
        for name, value in config['compute'].items()
        # How many devices there are is said beside a network, and no part of
        # what it is: one machine's networks are used on another.
        if name not in ('run_block', 'cpu_devices')
      },
      'numerics': registry.numerics(modules),
      'numerical': provenance.provenance()['numerical'],
      **_if_any(
        registry.reads('task_priors', config['tasks'][task])
        | registry.reads('torsos', config['network']['torso'])
      ),
    }
  )


def _if_any(digests):
  return {'files': digests} if digests else {}


def _network(config):
  """Returns the fields of a network that count.

  An option that is off does not, so that one can be added without losing the
  networks there are. A language model counts by its files' content.
  """
  network = config['network'].items()
  off = False, None
  counts = {k: v for k, v in network if not any(v is x for x in off)}
  if 'language_model' in counts:
    loaded = model.load(counts['language_model']['name'])
    counts['language_model'] |= {'name': model.digest_of(loaded.folder)}
  return counts


def numerics(config: Mapping[str, Any]) -> dict[str, int | str]:
  """Returns the versions of all numerics that a run goes through, by module.

  Files that are read on the way stand there with their digests.

  Args:
    config: Plain values.
  """
  config = plain.resolved(config)
  methods = [config['methods'][x] for x in config['tuning']['methods']]
  tuners = {
    f'methods.{name}': spec
    for name in config['tuning']['methods']
    for spec in _tuners(config, name)
  }
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
  is_bayes = any(x.get('predictor') == 'bayes' for x in methods)
  reordered = {*config['evaluation']['reorderings']}
  modules = [
    *_RUN,
    *(_BAYES if is_bayes else ()),
    *(_ORDERS if reordered & {*config['evaluation']['tasks']} else ()),
    *_torso(config),
    *(x for task in sorted(tasks) for x in _priors(config, task)),
    *(x for spec in tuners.values() for x in registry.modules('tuners', spec)),
    registry.module('tuners', 'weights'),
  ]
  read = {
    **{
      f'tasks.{name}': registry.reads('task_priors', config['tasks'][name])
      for name in tasks
    },
    'network.torso': registry.reads('torsos', config['network']['torso']),
    **{field: registry.reads('tuners', spec) for field, spec in tuners.items()},
  }
  versions = registry.numerics(modules) | {
    f'{field}: {name}': digest
    for field, digests in read.items()
    for name, digest in digests.items()
  }
  return dict(sorted(versions.items()))


def run_numerics(config: Mapping[str, Any]) -> dict[str, int | str]:
  """Returns what a run's folder records: `numerics`, and those of references.

  Args:
    config: Plain values.
  """
  # The references of every run are exact Bayes, whichever its methods are.
  return registry.numerics(_BAYES) | numerics(config)


def record(config: Mapping[str, Any]) -> dict[str, Any]:
  """Returns what a run's `config.json` says, and what work under way is of.

  Args:
    config: Plain values.
  """
  return workdir.record(config, run_numerics(config))


def measurement(config: Mapping[str, Any], method: str, task: str) -> str:
  """Returns a hash of what one number of one network depends on.

  It is all of the configuration that changes how a method does on a task: not
  how many networks or repetitions there are, nor what else is run.

  Args:
    config: Plain values.
    method: The name of one of its methods.
    task: The name of one of its tasks.
  """
  config = plain.resolved(config)
  # What methods follow counts where a method has it.
  counts = ('num_repetitions', 'methods', *settings.SHARED)
  tuning = {k: v for k, v in config['tuning'].items() if k not in counts}
  if not tuning['early_stopping']['patience']:
    del tuning['early_stopping']  # An option that is off does not count.
  names = config['pretraining']['task'], config['tuning']['target'], task
  return plain.fingerprint(
    {
      'seed': config['seed'],
      'network': _network(config),
      'pretraining': config['pretraining'] | {'num_seeds': None},
      'tuning': tuning,
      'method': config['methods'][method],
      'tasks': [config['tasks'][name] for name in names],
      'evaluation': _sequences_of(config),
      **_if_any(_files_of(config, names)),
    }
  )[:8]


def _sequences_of(config):
  """Returns what of the evaluation says which sequences there are."""
  # These say which numbers there are, and change none.
  said = ('report_steps', 'reorderings')
  evaluation = {k: v for k, v in config['evaluation'].items() if k not in said}
  return evaluation | {'tasks': None}


def sequences(
  config: Mapping[str, Any],
  task: str,
  read: Mapping[str, Mapping[str, str]],
) -> str:
  """Returns a hash of what the sequences of an evaluation task depend on.

  Args:
    config: Plain values.
    task: The name of one of its tasks.
    read: What `files` returned where they were drawn.
  """
  config = plain.resolved(config)
  return plain.fingerprint(
    {
      'seed': config['seed'],
      'name': task,
      'task': config['tasks'][task],
      'evaluation': _sequences_of(config),
      **_if_any(read.get(task)),
    }
  )
