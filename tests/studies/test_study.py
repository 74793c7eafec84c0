"""A study is judged, drawn and written about by rows of one version."""

from bayes_prompting.claims import judge
from bayes_prompting.results import evidence
from bayes_prompting.studies import study
from tests.claims import test_judge


def test_what_was_computed_otherwise_does_not_count(tmp_path):
  before = test_judge.soft((9.0, 8.0, 7.0), date='2026-01-01')
  now = test_judge.soft((0.1, 0.2), settings='b', date='2026-02-01')
  evidence.append(tmp_path, [*before, *now])
  drawn = []
  mine = study.Study(
    command='bayes-prompting mine',
    title='Mine',
    about='All of it',
    judge=lambda table: judge.judge([test_judge.claim()], table),
    draw=lambda *args: drawn.append(args),
  )
  (judged,) = study.write(mine, tmp_path, {}, 'At other settings.')
  assert judged.values.tolist() == [0.1, 0.2]
  ((folder, table, (shown,), configs),) = drawn
  assert folder == tmp_path / 'figures' and folder.is_dir()
  assert {*table.settings} == {'b'} and len(table) == 2
  assert (shown, configs) == (judged, {})
  said = (tmp_path / 'report.html').read_text()
  assert 'All of it: 2 pretraining seeds, 2 numbers. At other' in said
  assert '3 numbers of other settings or versions' in said
