"""Experiments in one folder, from nothing to claims, figures and the report."""

import json
import shutil

import pandas as pd
import pytest

from bayes_prompting import errors
from bayes_prompting import settings
from bayes_prompting.claims import judge
from bayes_prompting.claims import tables
from bayes_prompting.experiment import run as run_lib
from bayes_prompting.results import runs as runs_lib
from bayes_prompting.studies.paper import reproduce
from configs import paper

NAMES = ('lstm-single_coin', 'lstm-two_coin_mixture')
METHODS = ('NoTuning', 'SoftPT')


def tiny(name):
  config = paper.get_config(f'{name.replace("-", ",")},quick')
  config.network.embedding_dim = 4
  with config.unlocked():  # Compiling a recurrence takes longest of all.
    config.network.torso = settings.spec('linear', width=4)
  config.pretraining.num_steps = config.tuning.num_steps = 3
  config.pretraining.num_seeds = 2
  config.tuning.prefix_length = 2
  config.tuning.methods = METHODS
  config.pretraining.length = 6
  config.tuning.length = 5
  config.evaluation.length = 8
  config.evaluation.num_sequences = 16
  for section in (config.pretraining, config.tuning):
    section.batch_size = 4
  return config


@pytest.fixture(scope='module')
def finished(tmp_path_factory):
  folder = tmp_path_factory.mktemp('paper')
  configs = {x: tiny(x) for x in NAMES}
  table, failed = reproduce.run(configs, folder, inside=NAMES[:1])
  assert not failed
  return folder, table


def test_everything_is_made(finished):
  folder, table = finished
  assert tuple(runs_lib.runs(folder)) == NAMES
  for name in ('report.html', 'claims.md', 'figures/overview.png'):
    assert (folder / name).stat().st_size > 100
  for name in NAMES:
    inside = (folder / name / 'dynamics.nc').exists()
    assert inside == (name == NAMES[0])
  assert len(list((folder / 'networks').iterdir())) == 2  # Shared.
  again = pd.read_csv(folder / 'claims.csv', keep_default_na=False)
  assert again.verdict.tolist() == table.verdict.tolist()


def test_what_can_be_judged_is(finished):
  _, table = finished
  ran = table[table.verdict != judge.NOT_RUN]
  assert set(ran.network) == {'lstm', 'exact Bayes'}
  assert {'soft_reaches', 'hard_prefixes_harm_bayes'} <= {*ran.name}
  # Three updates teach nothing.
  reaches = ran.set_index('name').loc['soft_reaches']
  assert reaches.value > 0.05 and reaches.verdict != judge.HOLDS
  assert ran[['value', 'low', 'high']].notna().to_numpy().all()
  text = tables.text(table)
  assert f'{len(table) - len(ran)} not run' in text


def test_the_summary_is_that_of_all_runs(finished):
  folder, _ = finished
  joined = pd.read_csv(folder / 'summary.csv')
  assert list(dict.fromkeys(joined.run)) == list(NAMES)
  for name in NAMES:
    alone = pd.read_csv(folder / name / 'summary.csv')
    part = joined[joined.run == name].drop(columns='run')
    pd.testing.assert_frame_equal(part.reset_index(drop=True), alone)


def test_what_is_small_is_exported(finished, tmp_path):
  folder, _ = finished
  runs_lib.export(folder, tmp_path / 'out')
  files = {
    str(path.relative_to(tmp_path / 'out'))
    for path in (tmp_path / 'out').rglob('*.*')
  }
  assert files >= {
    'claims.csv',
    'claims.md',
    'figures/overview.png',
    'runs.json',
    'summary.csv',
  }
  runs = json.loads((tmp_path / 'out/runs.json').read_text())
  assert [*runs] == list(NAMES)
  assert runs[NAMES[0]]['networks'] == 2
  joined = pd.read_csv(folder / 'summary.csv')
  exported = pd.read_csv(tmp_path / 'out/summary.csv')
  assert len(exported) == len(joined) / 3  # Two of six estimates.


def test_what_is_finished_is_not_run_again(finished, monkeypatch):
  folder, table = finished
  monkeypatch.delattr(run_lib, 'meta_train')
  again, failed = reproduce.run({x: tiny(x) for x in NAMES}, folder)
  assert not failed
  pd.testing.assert_frame_equal(again, table)


def test_a_failure_does_not_stop_the_others(tmp_path, monkeypatch, capsys):
  ran = []

  def run(config, workdir):
    ran.append(workdir.name)
    if len(ran) == 1:
      raise RuntimeError('out of memory')
    raise errors.UserError('checkpoint: is damaged')

  monkeypatch.setattr(run_lib, 'run', run)
  table, failed = reproduce.run({x: tiny(x) for x in NAMES}, tmp_path)
  assert ran == failed == list(NAMES)
  assert set(table.verdict) == {judge.NOT_RUN}
  told = capsys.readouterr().err
  assert 'out of memory' in told
  assert f'error: {NAMES[1]}: checkpoint: is damaged' in told
  assert not (tmp_path / 'report.html').exists()


def test_another_size_is_refused_before_anything_is_written(
  finished, monkeypatch
):
  folder, _ = finished
  monkeypatch.delattr(run_lib, 'run')
  before = sorted(folder.iterdir())
  # The new one first, and then the one that is there.
  configs = {'transformer-single_coin': tiny(NAMES[0]), **_sized(3)}
  with pytest.raises(errors.UserError, match='num_seeds: 2 and 3'):
    reproduce.run(configs, folder)
  with pytest.raises(errors.UserError, match='quick'):
    reproduce.run(_sized(2), folder, common={'quick': True})
  assert sorted(folder.iterdir()) == before


def _sized(num_seeds):
  configs = {x: tiny(x) for x in NAMES}
  for config in configs.values():
    config.pretraining.num_seeds = num_seeds
  return configs


def test_a_run_that_was_moved_aside_is_none(finished, tmp_path):
  folder, _ = finished
  shutil.copytree(folder / NAMES[0], tmp_path / NAMES[0])
  aside = tmp_path / f'{NAMES[0]}.2026-11-21-101500-123456'
  shutil.copytree(folder / NAMES[0], aside)
  assert [*runs_lib.runs(tmp_path)] == [NAMES[0]]


def test_one_process_runs_many_experiments(tmp_path, monkeypatch):
  monkeypatch.setattr(reproduce.distributed, 'alone', lambda: False)
  with pytest.raises(errors.UserError, match='single process'):
    reproduce.run(_sized(2), tmp_path / 'new')
  assert not (tmp_path / 'new').exists()
