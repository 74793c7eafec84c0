"""What `test_sharding` runs in a process that has eight devices.

    python -m tests.training.eight_devices OUTCOMES

The number of devices must be set before JAX starts, so the tests' own process
will not do. Writes a JSON file of checks by name: '' or what went wrong.
"""

import json
import pathlib
import sys
import traceback

import jax
from jax.sharding import PartitionSpec
import numpy as np
import pytest

from bayes_prompting import errors
from bayes_prompting import predictors
from bayes_prompting.experiment import evaluation
from bayes_prompting.experiment import run
from bayes_prompting.storage import resume
from bayes_prompting.training import fit as fit_lib
from bayes_prompting.training import mesh as mesh_lib
from bayes_prompting.training import search
from tests import testing
from tests.experiment import test_run

KEY = jax.random.key(5)
RUNS = 8
# One object, for which everything is compiled once.
PREFIX = testing.tuner('prefix', length=2)
SETTINGS = fit_lib.Settings(num_steps=5, batch_size=8, length=3, chunk_size=2)


def fit(torso, tuner, shape, runs=RUNS, settings=SETTINGS, **kwargs):
  predictor, params = testing.network(torso)
  return fit_lib.fit(
    KEY,
    fit_lib.Problem(predictor, tuner, testing.two_coins(), settings),
    params,
    fit_lib.runs(runs, 0.05),
    mesh=mesh_lib.make_mesh(shape),
    **kwargs,
  )


def programs():
  return fit_lib._run_chunk_donating._cache_size()


def predictions(torso, tuner, tunables):
  """Log probabilities of all runs: weights may drift where nothing depends."""
  predictor, params = testing.network(torso)
  tokens = testing.all_sequences(2, 3)
  tunables = jax.tree.map(np.asarray, tunables)

  def one(tunable):
    return predictor.predict(*tuner.bind(predictor, params, tunable), tokens)

  return jax.jit(jax.vmap(one))(tunables)


def assert_fits_agree(torso, tuner, shapes):
  alone, alone_losses = fit(torso, tuner, (1, 1))
  expected = predictions(torso, tuner, alone.tunable)
  for shape in shapes:
    before = programs()
    state, losses = fit(torso, tuner, shape)
    assert programs() == before + 1  # For all chunks.
    np.testing.assert_allclose(losses, alone_losses, rtol=1e-5)
    found = predictions(torso, tuner, state.tunable)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    for leaf in jax.tree.leaves(state.carry[:2]):
      assert len(leaf.addressable_shards) == 8
      assert leaf.addressable_shards[0].data.shape[0] == RUNS // shape[0]


def check_an_lstm_on_meshes_of_one_axis():
  assert_fits_agree('lstm', PREFIX, [(8, 1), (1, 8)])


def check_a_transformer_on_a_mesh_of_both():
  assert_fits_agree('transformer', PREFIX, [(2, 4)])


def check_starts_are_the_same_bit_for_bit():
  alone, _ = fit('linear', PREFIX, (1, 1), stop=0)
  split, _ = fit('linear', PREFIX, (4, 2), stop=0)
  testing.assert_trees_identical(split.tunable, alone.tunable)
  assert split.tunable.sharding.spec == PartitionSpec('repetition')


def check_resumed_is_uninterrupted_from_a_mesh_or_from_files():
  whole, whole_losses = fit('linear', PREFIX, (2, 4))
  for off_the_mesh in (False, True):
    state, first = fit('linear', PREFIX, (2, 4), stop=3)
    if off_the_mesh:
      carry = jax.tree.map(np.asarray, state.carry)
      state = fit_lib.FitState(carry, state.step)
    resumed, second = fit('linear', PREFIX, (2, 4), state=state)
    testing.assert_trees_identical(resumed.tunable, whole.tunable)
    np.testing.assert_array_equal(np.concatenate([first, second]), whole_losses)


def check_what_is_resumed_gives_its_buffers():
  state, _ = fit('linear', PREFIX, (2, 4), stop=1)
  fit('linear', PREFIX, (2, 4), state=state)
  assert state.tunable.is_deleted()


def check_evaluation_of_any_number_of_sequences():
  predictor, params = testing.network('linear')
  keys = jax.random.split(jax.random.key(3), 3)
  tunables = jax.vmap(lambda k: PREFIX.init(k, predictor, params))(keys)
  for count in (3, 24):
    found = []
    for shape in ((1, 1), (1, 8)):
      mesh = mesh_lib.make_mesh(shape)
      key = jax.random.key(5)  # Anew: a key is used once.
      task = evaluation.make_task(key, testing.two_coins(), count, 5, mesh)
      found.append(
        evaluation.evaluate(
          predictor, params, PREFIX, tunables, task, (2, 5), block=2, mesh=mesh
        )
      )
    for alone, split in zip(*found, strict=True):
      np.testing.assert_allclose(split, alone, atol=2e-5)


def check_search_on_any_number_of_draws():
  for predictor, params in (
    testing.network('linear'),
    (predictors.bayesian(testing.random_coins()), {}),
  ):
    alone, split = (
      search.search(
        KEY,
        fit_lib.Problem(
          predictor,
          testing.tuner('hard_prefix', length=2),
          testing.single_coin(),
          fit_lib.Settings(0, 1, 5, sequence_block=2),
        ),
        params,
        3,
        num_draws=21,
        candidate_block=3,
        mesh=mesh_lib.make_mesh(shape),
      )
      for shape in ((1, 1), (1, 8))
    )
    np.testing.assert_allclose(split.losses, alone.losses, rtol=1e-5)
    np.testing.assert_array_equal(split.tunable, alone.tunable)


def check_meshes_are_chosen_from_the_configuration():
  def shape(runs, batch, repetition=0, data=0):
    compute = {'repetition_devices': repetition, 'data_devices': data}
    return tuple(mesh_lib.for_fit(compute, runs, batch).shape.values())

  assert shape(10, 256) == (2, 4)
  assert shape(1, 256) == (1, 8)
  assert shape(10, 256, repetition=5) == (5, 1)
  none = {'repetition_devices': 1, 'data_devices': 1}
  assert mesh_lib.for_fit(none, 8, 8) is None
  assert mesh_lib.for_rows(none) is None
  some = {'repetition_devices': 2, 'data_devices': 3}
  assert mesh_lib.for_rows(some).size == 6


def check_a_whole_experiment():
  overrides = {
    'tuning.methods': ('PreBayesPT', 'NoTuning', 'SoftPT'),
    'evaluation.tasks': ('single_coin',),
    'evaluation.num_sequences': 12,
  }
  split = run.run(test_run.tiny(**overrides))
  overrides |= {'compute.repetition_devices': 1, 'compute.data_devices': 1}
  alone = run.run(test_run.tiny(**overrides))
  testing.assert_results_agree(split, alone)


def check_a_checkpoint_goes_on_on_a_mesh(folder):
  config = test_run.tiny(**{'tuning.methods': ('SoftPT',)})
  lab, workdir = run.open_run(config, folder / 'run')
  (first,) = run.meta_train(lab, workdir)
  (again,) = run.meta_train(lab, workdir, require=True)
  testing.assert_trees_identical(first, again)
  first = run.tune(lab, [again], workdir)
  again = run.tune(lab, [again], workdir, require=True)
  testing.assert_trees_identical(first, again)


def check_training_under_way_goes_on_on_a_mesh(folder):
  config = test_run.tiny(
    **{
      'tuning.methods': ('PreBayesPT', 'SoftPT'),
      'evaluation.tasks': ('single_coin',),
      'checkpoints.every': 1,
    }
  )
  expected = run.run(config)
  keep, calls = resume.Keeper.keep, []

  def stopped(keeper, step, tree):
    keep(keeper, step, tree)
    calls.append(step)
    if len(calls) in (2, 4):  # In pretraining, and in tuning.
      raise StopIteration

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(resume.Keeper, 'keep', stopped)
    for _ in range(2):
      with pytest.raises(StopIteration):
        run.run(config, folder / 'apart' / 'stopped')
  assert run.run(config, folder / 'apart' / 'stopped').identical(expected)


def check_a_mesh_that_does_not_divide_is_refused():
  for kwargs, shape in (({'runs': 3}, (2, 4)), ({}, (1, 3))):
    try:
      fit('lstm', PREFIX, shape, **kwargs)
    except errors.UserError as error:
      assert 'must divide' in str(error)
    else:
      raise AssertionError(f'{kwargs} on {shape}')


CHECKS = {
  name.removeprefix('check_'): check
  for name, check in list(globals().items())
  if name.startswith('check_')
}


def main(path):
  assert jax.device_count() == 8
  outcomes = {}
  for name, check in CHECKS.items():
    arguments = check.__code__.co_varnames[: check.__code__.co_argcount]
    try:
      check(*[path.parent for _ in arguments])
      outcomes[name] = ''
    except Exception:
      outcomes[name] = traceback.format_exc()
  path.write_text(json.dumps(outcomes))


if __name__ == '__main__':
  main(pathlib.Path(sys.argv[1]))
