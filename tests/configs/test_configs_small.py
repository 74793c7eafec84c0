"""The configurations of small experiments, `novel` and `prompts`."""

import itertools

import numpy as np
import pytest

from bayes_prompting import errors
from bayes_prompting import settings
from bayes_prompting.dynamics.playground import shipped
from bayes_prompting.experiment import build
from bayes_prompting.experiment import run
from bayes_prompting.settings import plain
from configs import novel
from configs import paper
from configs import playground
from configs import prompts

EVERY = [
  *itertools.product([novel], novel.CASES, paper.TORSOS),
  *itertools.product([prompts], prompts.WORLDS, paper.TORSOS),
]


def tiny(config):
  """Makes a configuration one of seconds."""
  config.network.embedding_dim = 4
  if config.network.torso.name == 'lstm':
    with config.unlocked():  # Compiling a recurrence takes longest of all.
      config.network.torso = settings.spec('linear', width=4)
  config.pretraining.num_steps = config.tuning.num_steps = 2
  config.pretraining.length = config.evaluation.length = 8
  config.tuning.length = 5
  config.tuning.prefix_length = 2
  config.tuning.search_draws = 16
  config.evaluation.num_sequences = 64
  return config


@pytest.mark.parametrize('module, case, network', EVERY)
def test_every_configuration_can_be_built(module, case, network):
  config = module.get_config(f'{case},{network}')
  built = build.build(config)
  assert tuple(built.methods) == config.tuning.methods
  assert (built.target, built.pretraining_task) == ('target', 'world')
  assert built.report_steps == (50, 100)
  assert built.num_seeds == 3
  small = module.get_config(f'{case},{network},quick')
  settings.validate(small)
  assert small.tasks == config.tasks
  assert small.tuning.methods == config.tuning.methods
  assert small.pretraining.num_steps < config.pretraining.num_steps


@pytest.mark.parametrize('module, case', [(novel, 'coin'), (prompts, 'coins')])
def test_a_bad_argument_is_refused(module, case):
  for arguments, hint in (
    ('chian,lstm', "'chian'"),
    (case, 'NETWORK is missing'),
    (f'{case},lstn', "'lstn'"),
    (f'{case},lstm,quik', "'quik'"),
    (f'{case},lstm,', "''"),
  ):
    with pytest.raises(errors.UserError, match=hint):
      module.get_config(arguments)


def test_an_override_does_not_reach_the_next_configuration():
  before = plain.of(novel.get_config())
  config = novel.get_config()
  config.network.torso.width = 3
  config.tasks.world.concentration = (2.0, 2.0)
  assert plain.of(novel.get_config()) == before


def test_experiments_share_their_networks():
  one = novel.get_config('chain,lstm')
  other = prompts.get_config('coins,lstm')
  for section in ('network', 'pretraining'):
    assert one[section] == other[section]
  assert one.tasks.world == other.tasks.world


@pytest.mark.slow
def test_the_unknown_chain_runs():
  config = tiny(novel.get_config('chain,transformer,quick'))
  config.tuning.methods = ('StatePT', 'FullWT')
  dataset = run.run(config)
  regret = dataset.cumulative_regret.sel(
    eval_task='target', reference='bayes', estimator='exact', step=5
  )
  found = regret.sel(tuner=['StatePT', 'FullWT'])
  assert np.isfinite(found).all()


def test_the_networks_of_the_playground_are_those_of_its_preset():
  networks = shipped.load_all()
  made = {(x.torso, x.task, a.target) for x in networks for a in x.adapted}
  for arguments in playground.PLAN:
    config = playground.get_config(arguments)
    settings.validate(config)
    task, target = config.pretraining.task, config.tuning.target
    assert (config.network.torso.name, task, target) in made
  assert len(made) == len(playground.PLAN)
  for arguments, hint in (('lstm,coin', "'coin'"), ('dice', 'TARGET')):
    with pytest.raises(errors.UserError, match=hint):
      playground.get_config(arguments)
