"""What the benchmarks count of networks, and how they compare results."""

import numpy as np
import pytest

from bayes_prompting import results
from benchmarks import comparison
from benchmarks import suites

E, V, N, B = 8, 2, 30, 3


@pytest.fixture(scope='module')
def bench():
  def make(torso, **more):
    sizes = {'network__embedding_dim': E, 'pretraining__batch_size': B}
    sizes |= {'pretraining__length': N, 'tuning__batch_size': B}
    sizes['tuning__length'] = N
    if torso == 'lstm':
      sizes['network__torso__width'] = E
    if torso not in suites.PAPER:
      sizes = {'pretraining__batch_size': B, 'pretraining__length': N}
      sizes |= {'tuning__batch_size': B, 'tuning__length': N}
    return suites.Bench.make(torso, 2, 0.01, **sizes, **more)

  return make


@pytest.mark.parametrize(
  ('torso', 'weights'), [('lstm', 8 * E * E), ('transformer', 12 * E * E)]
)
def test_a_network_is_two_operations_a_weight_and_token(bench, torso, weights):
  built = bench(torso)
  # The beginning of sequence is processed once, the last token is never fed.
  fed = N
  attention = 4 * E * (N - 1) * N if torso == 'transformer' else 0
  if torso == 'transformer':
    attention += 4 * E
  embedding = 2 * V * E
  one = fed * (2 * weights + embedding) + attention + N * 2 * E * V
  assert built.predict_operations(1, N) == one


@pytest.mark.parametrize('torso', ['lstm', 'transformer'])
def test_tuners_count_what_they_need(bench, torso):
  built = bench(torso)
  tuners = {name: m.tuner for name, m in built.lab.methods.items()}

  def operations(name):
    return built.fit_operations(built.lab.tuning, tuners[name])

  forward = built.predict_operations(B, N)
  # Weights of the unembedding alone: forward, and theirs.
  unembedding = B * N * 2 * E * V
  saved = (B - 1) * built.predict_operations(1, 1)
  assert operations('UnembedWT') <= forward + unembedding
  assert operations('UnembedWT') >= forward + unembedding - saved
  assert operations('FullWT') <= 3 * forward
  assert operations('UnembedWT') < operations('SoftPT') < operations('FullWT')


def test_a_row_is_measured(bench):
  built = bench('lstm')
  (fast, slow) = suites.train(built)
  assert fast.operations == slow.operations > 0
  assert fast.ratio == pytest.approx(slow.seconds / fast.seconds)
  assert fast.share > 0 and fast.memory_share > 0


def test_a_search_that_proposes_is_measured(bench):
  built = bench('lstm', tuning__max_candidates=40, tuning__search_draws=8)
  plan = built.lab.methods['HardPT'].search
  row = suites._search(built)
  assert f'search, {plan.cost} on 8' in row.name
  assert row.operations == built.predict_operations(plan.cost * 8, N)


@pytest.mark.parametrize(
  'torso', [x for x in suites.TORSOS if x not in suites.PAPER]
)
def test_other_torsos_are_counted(bench, torso):
  built = bench(torso)
  forward = built.predict_operations(B, N)
  update = built.fit_operations(built.lab.tuning, suites.everything())
  assert forward < update < 4 * forward


def made_up(values):
  """Results of one method: regrets [runs, sequences] at step 5."""
  values = np.asarray(values, np.float32)
  names = ['tuner', 'pretrain_seed', 'repetition', 'eval_task', 'reference']
  names += ['estimator', 'report_step', 'sequence']
  labels = [['A'], [0], range(len(values)), ['coin'], ['oracle'], ['paired']]
  builder = results.Builder(
    {
      **dict(zip(names, [*labels, [5], range(values.shape[1])], strict=True)),
      'learning_rate': [0.1],
      'prefix_init': ['zeros'],
      'step': [1],
      'pretraining_step': [],
      'tuning_step': [],
      'candidate': [],
    }
  )
  dataset = builder.build({'target': 'coin'})
  dataset['sequence_regret'][:] = values.reshape(
    [
      len(values) if d == 'repetition' else dataset.sizes[d]
      for d in dataset.sequence_regret.dims
    ]
  )
  dataset['judged'][:] = 1
  return dataset


def test_regrets_are_compared_sequence_by_sequence():
  one = np.array([[1.0, 5.0, 3.0, 9.0], [2.0, 6.0, 4.0, 8.0]])
  noise = np.array([[0.1, -0.1, 0.1, -0.1], [0.1, -0.1, 0.1, -0.1]])
  (same,) = comparison.compare(made_up(one), made_up(one))
  assert same['difference'] == same['standard_errors'] == 0
  (near,) = comparison.compare(made_up(one + noise), made_up(one))
  assert abs(near['standard_errors']) < 1e-3
  # Far below the spread of the sequences, and yet no noise.
  (biased,) = comparison.compare(made_up(one + 0.25), made_up(one))
  assert biased['difference'] == pytest.approx(0.25)
  assert biased['standard_errors'] > 1e3
