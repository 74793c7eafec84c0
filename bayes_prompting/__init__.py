"""A laboratory for prompting and in-context learning by meta-learning.

    import bayes_prompting as bp

    config = bp.base_config()  # The paper's settings.
    config.tuning.methods = ('NoTuning', 'HardPT', 'SoftPT', 'FullWT')
    dataset = bp.run(config, 'runs/mine')
    print(bp.table(dataset))

Experiments: `base_config` and `spec` make a configuration, `run` meta-trains,
tunes and evaluates, `load_results` reads what a run left. `table`, `compare`,
`select` and `best_settings` say what it found; `loss_curves`, `regret_curves`
and `regret_bars` draw it.

Parts: `task_prior`, `torso` and `tuner` build an extension by its name,
`network` a predictor around a torso, `bayesian` the exact one of a task prior,
`language_model` one from files.

Tuned prompts and weights: `load_predictor` loads one as it ran, `save_adapter`
and `load_adapter` share it as a file. `next_token` says what a predictor
expects after a history, and `generate` samples on from it.

Is it Bayesian? `audit` asks of any predictor, also one of your own, and
`audit_figure` draws the answers.

Answers without a network: `promptability`, `optimal_hard_prefix` and
`expected_regret`.

What a user can cause raises `UserError`, with one line that says what is
allowed. Importing this package is cheap: JAX is imported at the first use of
what needs it. Everything else, by its folder: `from bayes_prompting.dynamics
import study`.
"""

import importlib
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
  from flax import linen as nn

  from bayes_prompting.adapters.sharing import load as load_adapter
  from bayes_prompting.adapters.sharing import save as save_adapter
  from bayes_prompting.dynamics.audit.figures import figure as audit_figure
  from bayes_prompting.dynamics.audit.question import audit
  from bayes_prompting.errors import UserError
  from bayes_prompting.experiment.loading import load_predictor
  from bayes_prompting.experiment.run import run
  from bayes_prompting.language.model import load as language_model
  from bayes_prompting.predictors import bayesian
  from bayes_prompting.predictors import generate
  from bayes_prompting.predictors import network
  from bayes_prompting.predictors import next_token
  from bayes_prompting.reporting.figures import losses as loss_curves
  from bayes_prompting.reporting.figures import regret_bars
  from bayes_prompting.reporting.figures import regret_curves
  from bayes_prompting.results.dataset import load as load_results
  from bayes_prompting.results.dataset import select
  from bayes_prompting.results.difference import compare
  from bayes_prompting.results.selection import choose as best_settings
  from bayes_prompting.results.summary import table
  from bayes_prompting.settings.base import base_config
  from bayes_prompting.settings.base import spec
  from bayes_prompting.theory.expectation import expected_regret
  from bayes_prompting.theory.hard_prefixes import optimal_hard_prefix
  from bayes_prompting.theory.promptability import promptability
  from bayes_prompting.types import Episode
  from bayes_prompting.types import Predictor
  from bayes_prompting.types import TaskPrior
  from bayes_prompting.types import Tuner

__version__ = '0.2.0'

# Where each name is; it is imported when it is first asked for.
_PLACES = {
  'Episode': 'types.Episode',
  'Predictor': 'types.Predictor',
  'TaskPrior': 'types.TaskPrior',
  'Tuner': 'types.Tuner',
  'UserError': 'errors.UserError',
  'audit': 'dynamics.audit.question.audit',
  'audit_figure': 'dynamics.audit.figures.figure',
  'base_config': 'settings.base.base_config',
  'bayesian': 'predictors.bayesian',
  'best_settings': 'results.selection.choose',
  'compare': 'results.difference.compare',
  'expected_regret': 'theory.expectation.expected_regret',
  'generate': 'predictors.generate',
  'language_model': 'language.model.load',
  'load_adapter': 'adapters.sharing.load',
  'load_predictor': 'experiment.loading.load_predictor',
  'load_results': 'results.dataset.load',
  'loss_curves': 'reporting.figures.losses',
  'network': 'predictors.network',
  'next_token': 'predictors.next_token',
  'optimal_hard_prefix': 'theory.hard_prefixes.optimal_hard_prefix',
  'promptability': 'theory.promptability.promptability',
  'regret_bars': 'reporting.figures.regret_bars',
  'regret_curves': 'reporting.figures.regret_curves',
  'run': 'experiment.run.run',
  'save_adapter': 'adapters.sharing.save',
  'select': 'results.dataset.select',
  'spec': 'settings.base.spec',
  'table': 'results.summary.table',
}

__all__ = [
  'Episode',
  'Predictor',
  'TaskPrior',
  'Tuner',
  'UserError',
  'audit',
  'audit_figure',
  'base_config',
  'bayesian',
  'best_settings',
  'compare',
  'expected_regret',
  'generate',
  'language_model',
  'load_adapter',
  'load_predictor',
  'load_results',
  'loss_curves',
  'network',
  'next_token',
  'optimal_hard_prefix',
  'promptability',
  'regret_bars',
  'regret_curves',
  'run',
  'save_adapter',
  'select',
  'spec',
  'table',
  'task_prior',
  'torso',
  'tuner',
]

# `launch/` and `configs/` lie inside an installed package, and beside this
# folder in a checkout.
if not os.path.isdir(os.path.join(__path__[0], 'launch')):
  __path__.append(os.path.dirname(__path__[0]))

if not TYPE_CHECKING:  # Where it would have every name known.

  def __getattr__(name: str) -> Any:
    if name not in _PLACES:
      raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    module, _, attribute = f'{__name__}.{_PLACES[name]}'.rpartition('.')
    value = getattr(importlib.import_module(module), attribute)
    globals()[name] = value  # The next time it is simply there.
    return value


def __dir__() -> list[str]:
  return [*__all__, '__version__']


def task_prior(name: str, **kwargs: Any) -> 'TaskPrior':
  """Builds a task prior: sources, with their exact posterior predictive.

  For example `task_prior('dirichlet_categorical', concentration=(1, 1))`.

  Args:
    name: A module of `bayes_prompting.task_priors`, or the dotted path of your
      own (`my_lab.priors.bursty`), which is imported.
    **kwargs: Arguments of its `make`, plain values and sequences.

  Raises:
    UserError: If the name or an argument is unknown, an argument is missing, or
      `make` refuses its value.
  """
  return _make('task_prior', name, kwargs)


def torso(name: str, **kwargs: Any) -> 'nn.Module':
  """Builds a torso: what a network has between its embeddings.

  For example `torso('lstm', width=8)`; `network` makes a predictor of it.

  Args:
    name: A module of `bayes_prompting.torsos`, or the dotted path of your own,
      which is imported.
    **kwargs: Arguments of its `make`, plain values and sequences.

  Raises:
    UserError: See `task_prior`.
  """
  return _make('torso', name, kwargs)


def tuner(name: str, **kwargs: Any) -> 'Tuner':
  """Builds a tuner: a way to adapt a predictor by a prompt or by weights.

  For example `tuner('prefix', form='soft', length=6)`.

  Args:
    name: A module of `bayes_prompting.tuners`, or the dotted path of your own,
      which is imported.
    **kwargs: Arguments of its `make`, plain values and sequences.

  Raises:
    UserError: See `task_prior`.
  """
  return _make('tuner', name, kwargs)


def _make(kind, name, kwargs):
  """Builds an extension; an error names what was called, and its argument."""
  from bayes_prompting import registry
  from bayes_prompting.system import devices

  # A person wrote this call, not a file; it may be the first to need a device.
  with registry.plugins(), devices.named():
    return registry.make(f'{kind}s', kind, {'name': name, **kwargs})
