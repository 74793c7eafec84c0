"""What a task reads from a file is a part of what everything depends on."""

import importlib
import pathlib
import re
import sys

import pytest

import bayes_prompting as bp
from bayes_prompting import errors
from bayes_prompting import registry
from bayes_prompting.experiment import build
from bayes_prompting.experiment import fingerprint
from bayes_prompting.storage import workdir

# The document's own prior: a coin whose counts stand in a file.
DOCUMENT = pathlib.Path(__file__).parents[2] / 'docs' / 'howto' / 'own_prior.md'
(COIN,) = (
  block
  for block in re.findall(
    r'```python\n(.*?)```', DOCUMENT.read_text('utf-8'), re.DOTALL
  )
  if 'def reads(' in block
)
# And one that builds on it, without a spec inside.
TWICE = """
import bayes_prompting as bp


def make(path):
  return bp.task_prior('my_files.coin', path=path)
"""


@pytest.fixture
def counts(tmp_path, monkeypatch):
  """A file of counts, and modules that read it."""
  folder = tmp_path / 'my_files'
  folder.mkdir()
  (folder / '__init__.py').touch()
  (folder / 'coin.py').write_text(COIN)
  (folder / 'twice.py').write_text(TWICE)
  monkeypatch.syspath_prepend(tmp_path)
  importlib.invalidate_caches()
  path = tmp_path / 'counts.txt'
  path.write_text('1 3')
  with registry.plugins():
    yield path
  for name in [x for x in sys.modules if x.partition('.')[0] == 'my_files']:
    del sys.modules[name]


def lab_of(task, used='pretraining'):
  """A lab whose pretraining task, or target, or a task beside, is the given."""
  config = bp.base_config()
  with config.unlocked():
    config.tasks.counted = task
  config.tuning.methods = ('PreBayes',)
  if used == 'pretraining':
    config.pretraining.task = 'counted'
  if used == 'evaluation':
    config.evaluation.tasks += ('counted',)
  return build.build(config, allow_plugins=True)


def specs(path):
  own = bp.spec('my_files.coin', path=str(path))
  coins = {'name': 'dirichlet_categorical', 'concentration': (1, 1)}
  return {
    'itself': own,
    'built by another': bp.spec('my_files.twice', path=str(path)),
    'inside a spec': bp.spec('finite_pool', base=own, size=2),
    'inside two': bp.spec(
      'union',
      components={
        'coins': {'weight': 0.5, **coins},
        'pool': {
          'weight': 0.5,
          **bp.spec('finite_pool', base=own, size=2).to_dict(),
        },
      },
    ),
  }


@pytest.mark.parametrize('kind', list(specs('x')))
def test_another_content_is_another_network_and_another_prior(counts, kind):
  first = lab_of(specs(counts)[kind])
  again = lab_of(specs(counts)[kind])
  assert again.priors['counted'] is first.priors['counted']
  name = fingerprint.network_hash(first.config, 0)
  assert fingerprint.network_hash(again.config, 0) == name
  counts.write_text('3 1')
  changed = lab_of(specs(counts)[kind])
  assert changed.config == first.config
  assert changed.priors['counted'] is not first.priors['counted']
  assert fingerprint.network_hash(changed.config, 0) != name
  # Written again as it was, it is what it was.
  counts.write_text('1 3')
  assert fingerprint.network_hash(lab_of(specs(counts)[kind]).config, 0) == name


def test_a_task_that_reads_nothing_keeps_its_identity(counts):
  spec = bp.spec('dirichlet_categorical', concentration=(1, 2))
  lab = lab_of(spec)
  name = fingerprint.network_hash(lab.config, 0)
  assert fingerprint.files(lab.config) == {}
  counts.write_text('3 1')
  assert fingerprint.network_hash(lab_of(spec).config, 0) == name


@pytest.mark.parametrize('used', ['pretraining', 'evaluation'])
def test_a_folder_of_other_content_is_refused(counts, tmp_path, used):
  spec = bp.spec('my_files.coin', path=str(counts))
  lab = lab_of(spec, used)
  workdir.claim(tmp_path / 'run', fingerprint.record(lab.config))
  workdir.check(tmp_path / 'run', fingerprint.record(lab.config))
  counts.write_text('3 1')
  record = fingerprint.record(lab_of(spec, used).config)
  with pytest.raises(errors.UserError, match=r'counts\.txt') as caught:
    workdir.claim(tmp_path / 'run', record)
  assert 'tasks.counted' in str(caught.value)
  assert '\n' not in str(caught.value)


def test_a_run_has_the_identity_of_what_it_read(counts):
  lab = lab_of(bp.spec('my_files.coin', path=str(counts)))
  before = fingerprint.record(lab.config)
  counts.write_text('3 1')  # While it runs.
  assert fingerprint.record(lab.config) == before


def test_numbers_and_sequences_know_what_was_read(counts):
  spec = bp.spec('my_files.coin', path=str(counts))
  found = []
  for text in ('1 3', '3 1'):
    counts.write_text(text)
    config = lab_of(spec).config
    read = fingerprint.files(config)
    assert list(read) == ['counted']
    found.append(
      (
        fingerprint.measurement(config, 'SoftPT', 'single_coin'),
        fingerprint.sequences(config, 'counted', read),
        fingerprint.sequences(config, 'single_coin', read),
      )
    )
  measured, counted, coin = zip(*found, strict=True)
  assert measured[0] != measured[1]
  assert counted[0] != counted[1]
  assert coin[0] == coin[1]


def test_a_missing_file_is_one_line(counts):
  counts.unlink()
  with pytest.raises(errors.UserError, match=r'counts\.txt') as caught:
    lab_of(bp.spec('my_files.coin', path=str(counts)))
  assert str(caught.value).startswith('tasks.counted.path: cannot read')
