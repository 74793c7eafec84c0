"""A finished run is shown again, and nothing of it is made again."""

import json
import subprocess
import sys

import pytest

from bayes_prompting.experiment import memory
from bayes_prompting.experiment import run as run_lib
from bayes_prompting.reporting import figures
from bayes_prompting.results import summary
from tests.experiment import test_run

DRAWS = True  # A file in the place of each figure.


def draw(dataset, folder):
  folder.mkdir(exist_ok=True)
  (folder / 'losses.png').write_bytes(b'a picture')
  return [folder / 'losses.png']


def fail(*unused, **kwargs):
  raise ZeroDivisionError('a fault of ours')


@pytest.fixture(scope='module')
def config():
  return test_run.tiny(
    **{'pretraining.num_steps': 0, 'tuning.methods': ('PreBayes',)}
  )


@pytest.fixture(scope='module')
def finished(config, tmp_path_factory):
  """A finished run without a network, and what it returned."""
  path = tmp_path_factory.mktemp('again') / 'run'
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(figures, 'make_all', draw)
    return path, run_lib.run(config, path)


def test_nothing_is_made_again(config, finished, monkeypatch):
  path, dataset = finished
  for owner, name in (
    (figures, 'make_all'),
    (summary, 'summarize'),
    (memory, 'check'),  # Nothing will be held but the results.
    (run_lib, 'evaluate'),
  ):
    monkeypatch.setattr(owner, name, fail)
  before = {x: x.stat().st_mtime_ns for x in path.rglob('*') if x.is_file()}
  before.pop(path / '.lock', None)
  assert run_lib.run(config, path).identical(dataset)
  after = {x: x.stat().st_mtime_ns for x in path.rglob('*') if x.is_file()}
  assert {x: after[x] for x in before} == before
  assert set(after) - set(before) <= {path / '.lock'}


@pytest.mark.parametrize(
  'change',
  [
    lambda path: (path / 'summary.csv').unlink(),
    lambda path: (path / 'summary.csv').write_text('cut o'),
    lambda path: (path / 'figures' / 'losses.png').unlink(),
    lambda path: (path / 'figures' / 'made_from.json').write_text('{"a'),
    lambda path: (path / 'figures' / 'made_from.json').write_text('{}'),
  ],
)
def test_what_is_gone_or_changed_is_made_again(
  config, finished, monkeypatch, change
):
  path, _ = finished
  text = (path / 'summary.csv').read_text()
  change(path)
  monkeypatch.setattr(figures, 'make_all', draw)
  run_lib.run(config, path)
  assert (path / 'summary.csv').read_text() == text
  assert (path / 'figures' / 'losses.png').read_bytes() == b'a picture'


def test_figures_of_other_results_are_made_again(
  config, finished, monkeypatch, capsys
):
  path, dataset = finished
  note = path / 'figures' / 'made_from.json'
  made_from = json.loads(note.read_text())
  note.write_text(json.dumps(made_from | {'results': '0' * 64}))
  monkeypatch.setattr(figures, 'make_all', fail)
  for _ in range(2):  # What failed is tried again.
    assert run_lib.run(config, path).identical(dataset)
    (line,) = capsys.readouterr().err.splitlines()
    assert line == (
      'warning: figures: not made (ZeroDivisionError: a fault of ours); what '
      'was computed stands'
    )
  monkeypatch.setattr(figures, 'make_all', draw)
  run_lib.run(config, path)
  assert json.loads(note.read_text()) == made_from


def test_what_takes_long_is_not_even_imported(finished):
  path, _ = finished
  code = (
    'import json, sys\n'
    'import bayes_prompting as bp\n'
    'from bayes_prompting.settings import plain\n'
    f'record = json.load(open({str(path / "config.json")!r}))\n'
    f'bp.run(plain.to_config(record["config"]), {str(path)!r})\n'
    'heavy = ("matplotlib", "orbax.checkpoint", "tensorboardX", "plotly")\n'
    'print([name for name in heavy if name in sys.modules])\n'
  )
  done = subprocess.run(
    [sys.executable, '-c', code], capture_output=True, text=True, check=True
  )
  said, imported = done.stdout.splitlines()
  assert said.startswith('Finished already')
  assert imported == '[]'
