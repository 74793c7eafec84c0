"""The estimate of memory counts what is held, and refuses what cannot be."""

import jax
import jax.numpy as jnp
import pytest

from bayes_prompting import errors
from bayes_prompting import results
from bayes_prompting import settings
from bayes_prompting.experiment import build
from bayes_prompting.experiment import memory
from bayes_prompting.experiment import memory_parts
from bayes_prompting.experiment import sizes
from configs import data
from configs import diversity
from configs import novel
from configs import paper
from configs import prompts
from configs import quick
from configs import worlds

GIGA = 10**9


def vector(size):
  return jax.ShapeDtypeStruct((size,), jnp.float32)


# Bytes.


@pytest.mark.parametrize(
  'size, said',
  [(0, '0 B'), (999, '999 B'), (1000, '1 kB'), (7_500 * GIGA, '7.5 TB')],
)
def test_sizes_as_one_reads_them(size, said):
  assert sizes.show(size) == said


def test_arrays_are_counted_by_their_type():
  tree = {'a': vector(10), 'b': jnp.zeros((2, 3), jnp.int8)}
  assert sizes.of(tree) == 46
  assert sizes.of(jax.random.split(jax.random.key(0), 3)) == 24
  assert sizes.of({}) == 0


def test_what_is_not_used_any_more_is_not_held():
  def chain(x):
    return jnp.cos(jnp.sin(jnp.exp(x)))

  # Two at a time, one is read and one written.
  assert sizes.held(chain, vector(100)) == 800


def test_what_is_used_later_is_held():
  def both(x):
    y, z = jnp.exp(x), jnp.sin(x)
    return y + z

  assert sizes.held(both, vector(100)) == 1200


def test_a_loop_holds_what_it_stacks_and_one_step():
  def loop(x):
    return jax.lax.scan(lambda c, _: (c, jnp.exp(c)), x, length=50)[1]

  found = sizes.held(loop, vector(100))
  assert 50 * 400 <= found <= 50 * 400 + 4 * 400


def test_a_program_inside_of_a_program_is_looked_into():
  inner = jax.jit(lambda x: jnp.sum(jnp.exp(x)[:, None] * jnp.ones((1, 1000))))
  assert sizes.held(lambda x: inner(x) + 1, vector(100)) >= 400_000


@pytest.mark.parametrize('power', [1, 2])
def test_longer_sequences_are_told_from_shorter_ones(power):
  seen = []

  def of_length(length):
    seen.append(length)
    return 3 * length**power

  assert sizes.at_length(of_length, 10**6) == 3 * 10 ** (6 * power)
  assert max(seen) < 1000


def test_there_is_some_memory():
  assert sizes.machine()['host'] > 0


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
    'method': [*settings.REFERENCES, *lab.methods],
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
    'pretraining_step': (),
    'tuning_step': range(7),
    'candidate': (),
  }
  made = results.Builder(coords).build({})
  parts = memory_parts.by_arithmetic(lab)
  counted = sum(part.size for part in parts if part.name == 'the results')
  assert counted == made.nbytes - sum(x.nbytes for x in made.coords.values())


def test_phases_do_not_add_up_but_what_stays_does():
  part = memory_parts.Part
  parts = [
    part('a', (), 1),
    part('b', (), 10, 'tuning'),
    part('c', (), 100, 'tuning/X'),
    part('d', (), 200, 'tuning/Y'),
    part('e', (), 150, 'evaluation'),
  ]
  assert memory.peak(parts) == 211
  assert memory.peak(parts[:1]) == 1


def test_a_device_and_its_host_are_two():
  config = small()
  lab = build.build(config)
  memory.check(lab, {'host': GIGA, 'device': GIGA})
  with pytest.raises(errors.UserError, match='this machine has 1 MB'):
    memory.check(lab, {'host': 10**6, 'device': GIGA})
  with pytest.raises(errors.UserError, match='the device has 1 MB'):
    memory.check(lab, {'host': GIGA, 'device': 10**6})
  memory.check(lab, {})  # Nothing is known.


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
