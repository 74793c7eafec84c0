"""Tasks whose sequences were recorded: what they need, and what they are of."""

import numpy as np
import pytest

import bayes_prompting as bp
from bayes_prompting import errors
from bayes_prompting.experiment import build
from bayes_prompting.experiment import fingerprint


@pytest.fixture(scope='module')
def path(tmp_path_factory):
  path = tmp_path_factory.mktemp('recorded') / 'mine.npy'
  np.save(path, np.random.default_rng(0).integers(0, 2, (60, 20)))
  return path


def configured(path, used='target', **kwargs):
  """A small configuration with a task of the sequences of a file."""
  config = bp.base_config()
  with config.unlocked():
    config.tasks.mine = bp.spec('sequences', path=str(path), depth=2, **kwargs)
  for section in (config.pretraining, config.tuning):
    section.num_steps, section.batch_size, section.length = 4, 4, 10
  config.tuning.methods = ('NoTuning', 'SoftPT')
  config.tuning.num_repetitions = 1
  config.tuning.prefix_length = 2
  config.evaluation.num_sequences, config.evaluation.length = 6, 12
  config.network.embedding_dim = config.network.torso.width = 4
  config.evaluation.tasks = ('mine',)
  if used == 'pretraining':
    config.pretraining.task = 'mine'
    config.evaluation.tasks = ('single_coin',)
  else:
    config.tuning.target = 'mine'
  return config


def test_another_file_is_another_identity(path, tmp_path):
  mine = tmp_path / 'mine.npy'
  mine.write_bytes(path.read_bytes())
  found = []
  for content in (path.read_bytes(), None):
    if content is None:  # The same name, and one token changed.
      tokens = np.load(mine)
      tokens[3, 3] = 1 - tokens[3, 3]
      np.save(mine, tokens)
    pretrained = build.build(configured(mine, 'pretraining')).config
    tuned = build.build(configured(mine)).config
    found.append(
      (
        fingerprint.network_hash(pretrained, 0),
        str(fingerprint.record(tuned)),
        fingerprint.measurement(tuned, 'SoftPT', 'mine'),
        fingerprint.sequences(tuned, 'mine', fingerprint.files(tuned)),
        build.build(configured(mine)).priors['mine'],
      )
    )
  for before, after in zip(*found, strict=True):
    assert before != after
  # A network that was never shown the file stays what it is.
  of_coins = configured(mine).copy_and_resolve_references()
  own = fingerprint.network_hash(build.build(of_coins).config, 0)
  mine.write_bytes(path.read_bytes())
  assert own == fingerprint.network_hash(build.build(of_coins).config, 0)


@pytest.mark.parametrize(
  'field, value, said',
  [
    ('tuning.length', 25, 'tasks.mine.path: none of the 48 .*tuning .* 25 tok'),
    ('evaluation.length', 21, 'tasks.mine.path: none of the 6 .*evaluation'),
    ('evaluation.num_sequences', 7, 'tasks.mine.path: .* has 6 windows of 12'),
    ('tasks.mine.path', '/no/file.npy', 'tasks.mine.path: cannot read'),
    ('tasks.mine.vocabulary', 3, 'tasks.mine: has a vocabulary of 3'),
    ('methods.CTW', bp.spec('none'), 'tuning.methods: CTW is what tasks.mine'),
    ('methods.Own', bp.spec('none', predictor='bayes', task='mine'),
     'methods.Own: tasks.mine was recorded, so that there is no exact Bayes'),
    ('evaluation.reorderings', ('mine',), None),
  ],
)  # fmt: skip
def test_what_is_wrong_with_it_is_one_line(path, tmp_path, field, value, said):
  config = configured(path)
  with config.unlocked():
    *sections, name = field.split('.')
    section = config
    for part in sections:
      section = section[part]
    section[name] = value
  config.evaluation.length = max(config.evaluation.length, config.tuning.length)
  if sections == ['methods']:
    config.tuning.methods = ('NoTuning', name)
  if said is None:
    build.build(config)
    return
  with pytest.raises(errors.UserError, match=said) as caught:
    bp.run(config, tmp_path / 'run')
  assert '\n' not in str(caught.value)
  assert not list(tmp_path.iterdir())  # Nothing half-written is kept.
