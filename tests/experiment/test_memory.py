"""The estimate of memory counts what is held, and refuses what cannot be."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bayes_prompting import errors
from bayes_prompting import predictors
from bayes_prompting import registry
from bayes_prompting import results
from bayes_prompting import settings
from bayes_prompting.experiment import build
from bayes_prompting.experiment import evaluation
from bayes_prompting.experiment import memory
from bayes_prompting.training import fit
from configs import data
from configs import diversity
from configs import novel
from configs import paper
from configs import prompts
from configs import quick
from configs import worlds

GIGA = 10**9


@pytest.mark.parametrize(
  'size, said',
  [(0, '0 B'), (999, '999 B'), (1000, '1 kB'), (7_500 * GIGA, '7.5 TB')],
)
def test_sizes_as_one_reads_them(size, said):
  assert memory.show(size) == said


# What there is.


def test_there_is_some_memory():
  assert memory.free()['host'] > 0


def system(root, group, files):
  """Makes a machine with 8 GiB free, where this process is in a group."""
  files = {
    'proc/meminfo': 'MemTotal: 9 kB\nMemAvailable:    8388608 kB\n',
    'proc/self/cgroup': group,
    **files,
  }
  for name, text in files.items():
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(f'{text}\n')
  return memory.free(root)['host'] / 2**30


V1 = '5:devices:/\n4:cpu,memory:/jobs/mine\n1:name=systemd:/x:y\n0::/'
V2 = '0::/jobs/mine'
GROUPS = {
  'none': ('', {}, 8),
  'version 2, without a limit': (V2, {'jobs/mine': ('max', 0)}, 8),
  'version 2, its own': (V2, {'jobs/mine': (4, 1), '': ('max', 0)}, 3),
  'version 2, above it': (V2, {'jobs/mine': ('max', 1), 'jobs': (6, 1)}, 5),
  'version 2, in a container': (V2, {'': (4, 1)}, 3),
  'version 2, another': (V2, {'jobs/yours': (4, 1)}, 8),
  'version 2, all caches': (V2, {'jobs/mine': (4, 4)}, 2),
  'version 1, its own': (V1, {'jobs/mine': (4, 1)}, 3),
  'version 1, above it': (V1, {'jobs/mine': (2**33, 1), 'jobs': (6, 1)}, 5),
  'version 1, in a container': (V1, {'': (4, 1)}, 3),
  'version 1, another': (V1, {'yours': (4, 1)}, 8),
}


@pytest.mark.parametrize('name', GROUPS)
def test_the_least_limit_of_all_groups_around_this_process_holds(
  name, tmp_path
):
  line, limits, free = GROUPS[name]
  top, names = 'sys/fs/cgroup', ('memory.max', 'memory.current')
  if line == V1:
    top, names = (
      f'{top}/memory',
      ('memory.limit_in_bytes', 'memory.usage_in_bytes'),
    )
  files = {
    f'{top}/{group}/{file}': x if x == 'max' else x * 2**30
    for group, values in limits.items()
    for file, x in zip(names, values, strict=True)
  }
  assert system(tmp_path, line, files) == free


# Runs.


def small():
  config = settings.base_config()
  config.network.embedding_dim = 4
  config.network.torso = settings.spec('linear', width=3)
  config.tuning.methods = ('NoTuning', 'FullWT')
  return config


def test_the_results_are_counted_as_they_are_made():
  config = small()
  config.evaluation.num_sequences, config.evaluation.length = 30, 60
  config.tuning.num_steps, config.tuning.num_repetitions = 7, 3
  lab = build.build(config)
  coords = {
    'tuner': [*settings.REFERENCES, *lab.methods],
    'pretrain_seed': range(1),
    'learning_rate': lab.learning_rates,
    'prefix_init': lab.prefix_inits,
    'repetition': range(3),
    'eval_task': config.evaluation.tasks,
    'reference': range(2),
    'estimator': range(3),
    'step': range(60),
    'report_step': lab.report_steps,
    'sequence': range(30),
    'pretraining_step': range(config.pretraining.num_steps),
    'tuning_step': range(7),
    'candidate': (),
  }
  made = results.Builder(coords).build({})
  parts = memory.parts(lab)
  counted = sum(part.size for part in parts if part.name == 'the results')
  assert counted == made.nbytes - sum(x.nbytes for x in made.coords.values())


def test_phases_do_not_add_up_but_what_stays_does():
  part = memory.Part
  parts = [
    part('a', (), 1),
    part('b', (), 10, 'tuning'),
    part('c', (), 100, 'tuning/X'),
    part('d', (), 200, 'tuning/Y'),
    part('e', (), 150, 'evaluation'),
  ]
  assert [x.name for x in memory.at_peak(parts)] == ['a', 'b', 'd']
  assert memory.at_peak(parts[:1]) == parts[:1]


def test_a_device_and_its_host_are_two():
  config = small()
  lab = build.build(config)
  memory.check(lab, {'host': GIGA, 'device': GIGA})
  with pytest.raises(errors.UserError, match='this machine has 1 MB'):
    memory.check(lab, {'host': 10**6, 'device': GIGA})
  with pytest.raises(errors.UserError, match='the device has 1 MB'):
    memory.check(lab, {'host': GIGA, 'device': 10**6})
  memory.check(lab, {})  # Nothing is known.


def test_logits_and_scores_count_whatever_has_no_weight_or_state_of_its_own():
  # The embedding makes the logits, and two heads of keys four heads of scores.
  full, sharing = (
    registry.make('torsos', 'test', {'name': 'transformer', **kwargs})
    for kwargs in ({}, {'num_kv_heads': 2})
  )

  def of_position(torso, **kwargs):
    return memory._of_position(predictors.network(torso, 3, 8, **kwargs))

  outputs, widest, _, scores = of_position(full)
  assert scores == 2 * 4  # Of four heads, and their exponentials.
  assert of_position(sharing)[-1] == scores
  assert of_position(full, tied_unembedding=True)[:2] == (outputs, widest)


def test_the_line_says_field_sizes_and_what_there_is():
  config = small()
  config.evaluation.num_sequences = 10**7
  with pytest.raises(errors.UserError) as caught:
    memory.check(build.build(config), {'host': 24 * GIGA})
  said = str(caught.value)
  assert said.startswith('evaluation.num_sequences: 10000000 takes about ')
  assert ' GB for ' in said
  assert 'this machine has 24 GB free' in said
  assert '\n' not in said


# Programs.


def network(name, size):
  """Builds a run whose sizes grow with one number."""
  config = settings.base_config()
  config.network.embedding_dim = size
  config.network.torso = {
    'lstm': settings.spec('lstm', width=size),
    'transformer': settings.spec('transformer', num_heads=2),
  }[name]
  config.compute.sequence_block = 4 * size
  config.pretraining.batch_size = config.evaluation.num_sequences = 4 * size
  config.pretraining.length = config.tuning.length = 2 * size
  config.evaluation.length = 2 * size
  config.evaluation.tasks = ('single_coin',)
  config.tuning.methods = ('NoTuning',)
  return build.build(config)


def bytes_of(lowered):
  """Returns what the compiler says that a program takes."""
  found = lowered.compile().memory_analysis()
  return (
    found.argument_size_in_bytes
    + found.output_size_in_bytes
    + found.temp_size_in_bytes
    - found.alias_size_in_bytes
  )


class _Lowered(Exception):
  """Carries the program out of a fit before it runs."""


def chunk(lab):
  """Lowers updates of meta-training, as a fit would run them."""
  program = fit._run_chunk_donating

  def lower(*args, **kwargs):
    raise _Lowered(program.lower(*args, **kwargs))

  tuner = registry.make(
    'tuners', 'pretraining', {'name': 'weights', 'start': 'random'}
  )
  prior = lab.priors[lab.pretraining_task]
  problem = fit.Problem(lab.network, tuner, prior, lab.pretraining)
  shapes = build.network_shapes(lab)
  params = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes)
  with pytest.MonkeyPatch.context() as patch, pytest.raises(_Lowered) as caught:
    patch.setattr(fit, '_run_chunk_donating', lower)
    fit.fit(lab.root, problem, params, fit.runs(1, 1e-3))
  return caught.value.args[0]


def judged(lab):
  """Lowers the evaluation of the network as it is."""
  section, method = lab.config['evaluation'], lab.methods['NoTuning']
  num, length = section['num_sequences'], section['length']

  def evaluate(params, task):
    return evaluation.evaluate(
      lab.network, params, method.tuner, {}, task, lab.report_steps, num
    )

  def task():
    log_probs = jnp.zeros((num, length, lab.network.vocab_size))
    tokens = jnp.zeros((num, length), jnp.int32)
    regrets = jnp.zeros((num, length))
    return evaluation.Task(tokens, log_probs, log_probs, regrets)

  shapes = build.network_shapes(lab), jax.eval_shape(task)
  return jax.jit(evaluate).lower(*shapes)


PROGRAMS = {'pretraining': chunk, 'evaluation': judged}


@pytest.mark.parametrize('phase', PROGRAMS)
@pytest.mark.parametrize('torso', ['lstm', 'transformer'])
def test_the_estimate_is_within_a_factor_of_three_of_the_compilers(
  torso, phase
):
  estimates, measured = [], []
  for size in (16, 32):
    lab = network(torso, size)
    parts = [
      part
      for part in memory.parts(lab)
      if part.place == 'device' and part.phase in ('', phase)
    ]
    estimates.append(sum(part.size for part in parts))
    measured.append(bytes_of(PROGRAMS[phase](lab)))
  for estimate, real in zip(estimates, measured, strict=True):
    assert real / 3 < estimate < 3 * real
  assert estimates[0] < estimates[1]


CONFIGS = {
  'quick': quick.get_config,
  **{
    f'paper {name}': (lambda name=name: paper.get_config(name))
    for name in ('lstm_large,single_coin', 'transformer_large,single_coin')
  },
  **{
    f'worlds {name}': (lambda name=name: worlds.get_config(f'{name},lstm'))
    for name in ('switching', 'finite_pool')
  },
  'novel': novel.get_config,
  'prompts': prompts.get_config,
  'data': data.get_config,
  'diversity': lambda: diversity.get_config('1024,transformer'),
}


@pytest.mark.parametrize('name', CONFIGS)
def test_our_own_configurations_need_a_tenth_of_a_small_machine(name):
  estimate = memory.estimate(build.build(CONFIGS[name]()))
  assert 10**6 < estimate < 2.4 * GIGA
