"""The paper from nothing to rows, claims, figures, and again from the rows."""

import pathlib
import shutil

import pandas as pd
import pytest

from bayes_prompting import errors
from bayes_prompting import settings
from bayes_prompting.claims import judge
from bayes_prompting.experiment import by_network
from bayes_prompting.results import evidence
from bayes_prompting.studies import study
from bayes_prompting.studies.paper import promptability
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
  config.tuning.prefix_length = 2
  config.evaluation.num_sequences = 16
  for section in (config.pretraining, config.tuning):
    section.batch_size = 4
  return config


CONFIGS = {name: tiny(name) for name in NAMES}


@pytest.fixture(scope='module')
def made(tmp_path_factory):
  folder = tmp_path_factory.mktemp('paper')
  units = [by_network.Unit(x, seed, METHODS) for seed in (0, 1) for x in NAMES]
  assert not by_network.collect(CONFIGS, units, folder, folder / 'out')
  return folder / 'out', study.write(reproduce.STUDY, folder / 'out', CONFIGS)


def test_everything_is_made(made):
  folder, judged = made
  for name in (
    'claims.md',
    'figures/overview.png',
    'figures/promptability.png',
  ):
    assert (folder / name).stat().st_size > 100
  # A network is trained once, whatever is done with it.
  assert len(list((folder.parent / 'networks').iterdir())) == 2
  table = pd.read_csv(folder / 'claims.csv', keep_default_na=False)
  assert table.verdict.tolist() == [x.verdict for x in judged]
  ran = {x.claim.name: x for x in judged if x.ran}
  assert {'is_bayes', 'soft_reaches', 'hard_prefixes_harm_bayes'} <= set(ran)
  # Three updates teach nothing.
  reaches = ran['soft_reaches']
  assert reaches.estimate.value > 0.05 and reaches.verdict != judge.HOLDS
  assert reaches.seeds.tolist() == [0, 1]


def test_rows_alone_give_all_of_it_again(made, tmp_path):
  folder, _ = made
  shutil.copy(folder / evidence.NAME, tmp_path)
  study.write(reproduce.STUDY, tmp_path, CONFIGS)
  for name in ('claims.csv', 'claims.md', 'report.html'):
    assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()


def test_a_notebook_draws_from_the_rows(made):
  folder, _ = made
  rows, _ = evidence.current(evidence.read(folder))
  unknown = {'transformer-single_coin': CONFIGS['lstm-single_coin']}
  runs = reproduce.runs_of(rows, CONFIGS | unknown)
  assert set(runs) == set(NAMES)
  assert runs[NAMES[0]].config is CONFIGS[NAMES[0]]
  assert set(runs[NAMES[0]].lost.tuning) >= set(METHODS)
  panels = promptability.panels(runs)
  assert set(panels) == {'single coin', 'two-coin mixture'}
  assert set(panels['single coin'].networks) == {'LSTM SoftPT'}


def test_one_more_network_changes_intervals_and_nothing_else(made, tmp_path):
  folder, judged = made
  table = evidence.read(folder)
  more = table[table.pretrain_seed == 0].assign(pretrain_seed=7)
  shutil.copy(folder / evidence.NAME, tmp_path)
  evidence.append(tmp_path, more)
  again = study.write(reproduce.STUDY, tmp_path, CONFIGS)
  for before, after in zip(judged, again, strict=True):
    assert before.claim == after.claim
    if len(before.seeds):
      assert after.seeds.tolist() == [*before.seeds, 7]
      assert after.values[:-1].tolist() == before.values.tolist()


def test_without_a_row_nothing_is_written(tmp_path):
  with pytest.raises(errors.UserError, match='no row'):
    study.write(reproduce.STUDY, tmp_path, CONFIGS)
  assert not any(tmp_path.iterdir())


def test_rows_that_are_kept_count_today():
  # Whoever adds a field to the configuration, or raises a version, must not
  # lose hours of networks without a word.
  folder = pathlib.Path(__file__).parents[2] / 'results' / 'paper'
  table = evidence.read(folder)
  assert len(table)
  plan = {}
  for planned in (*paper.PLAN, *paper.PLAN_LARGE):
    plan.setdefault(planned.name, planned)
  stale = {}
  rows = table[table.pretrain_seed.notna()]
  keys = ['experiment', 'tuner', 'task', 'settings', 'numerics']
  for row in rows[keys].drop_duplicates().itertuples(index=False):
    values = plan[row.experiment].config().to_dict()
    today = by_network.identity(values, row.tuner, row.task)
    if today != (row.settings, row.numerics):
      stale[tuple(row)] = today
  assert not stale
