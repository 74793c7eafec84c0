"""What methods cost, against counts by hand."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bayes_prompting.experiment import build
from bayes_prompting.experiment import cost
from bayes_prompting.experiment import recorder
from tests.experiment import test_run

E, D, V, B, N, K = 3, 5, 2, 7, 6, 4
METHODS = ('PreBayes', 'NoTuning', 'RandomPF', 'HardPT', 'SoftPT')
METHODS += ('UnembedWT', 'FullWT')
# Positions whose activations are computed: the beginning of sequence once, and
# of each sequence all tokens but the last, which predicts nothing.
FED = 1 + B * (N - 1)


@pytest.fixture(scope='module')
def lab():
  config = test_run.tiny(**{'tuning.methods': METHODS})
  config.network.embedding_dim = E
  config.network.torso.width = D
  config.tuning.batch_size, config.tuning.length = B, N
  config.tuning.prefix_length, config.tuning.search_draws = K, 9
  config.pretraining.length = config.evaluation.length = N
  return build.build(config)


def of(lab, name):
  return cost.of_method(lab, lab.methods[name])


def forward(sequences=B, fed=FED):
  return fed * (V * E + E * D) + sequences * N * D * V


def test_an_update_of_a_linear_network(lab):
  # The loss, and of the last layer what its inputs make of its outputs.
  unembed = of(lab, 'UnembedWT')
  assert unembed.multiply_adds == forward() + B * N * D * V
  assert unembed.tuned_numbers == D * V + V
  # Each layer once more for its weights, and once to pass the gradient on,
  # which nobody asks of the tokens.
  full = of(lab, 'FullWT')
  by_hand = FED * (2 * V * E + 3 * E * D) + 3 * B * N * D * V
  assert full.multiply_adds == by_hand
  assert full.tuned_numbers == V * E + E + (E + 1) * D + (D + 1) * V
  assert {unembed.updates, full.updates} == {lab.tuning.num_steps}


def test_what_is_not_trained_has_no_updates(lab):
  assert of(lab, 'NoTuning') == (0, 0, 0.0)
  assert of(lab, 'RandomPF') == (K, 0, 0.0)
  assert of(lab, 'SoftPT').tuned_numbers == K * E
  assert np.isnan(of(lab, 'PreBayes').multiply_adds)


def test_a_search_scores_candidates(lab):
  search = of(lab, 'HardPT')
  assert (search.tuned_numbers, search.updates) == (K, V**K)
  # A prefix replaces the output of the beginning of sequence: of this torso,
  # which remembers nothing, its last row.
  least = forward(9, 9 * (N - 1))
  assert least < search.multiply_adds <= least + (K + 1) * (V + D) * E


def test_a_loop_without_a_known_end_is_not_counted(lab):
  def read(context, tokens):
    def halve(logits):
      return logits / 2

    logits = jnp.zeros((*tokens.shape, V)) + context
    return jax.lax.while_loop(lambda x: x.sum() > 9, halve, logits)

  endless = dataclasses.replace(
    lab.network, prepare=lambda params, state, length: 1.0, read=read
  )
  tuner = lab.methods['HardPT'].tuner
  assert np.isnan(cost._operations(endless, tuner, B, N))


def test_seconds_are_those_of_the_usual_chunk(monkeypatch):
  config = {'checkpoints': {'every': 0, 'keep': 1}}
  times = iter([5.0, 6.0, 7.0, 9.0, 9.5])
  record = recorder.Recorder('it', 40, config, None)
  monkeypatch.setattr(recorder.time, 'perf_counter', lambda: next(times))
  with record:
    record._bar, record._curves = (lambda *args: None), ()
    assert np.isnan(record.seconds)
    for done in (10, 20, 30, 40, 45):
      record.report(done, np.zeros((5, 1), np.float32))
  # A tenth of a second, twice; a fifth; and a tenth.
  assert record.seconds == pytest.approx(0.1)
