"""Curves are on disk as they come; progress is shown on standard error."""

import json

import numpy as np
import pytest
from tensorboardX.proto import event_pb2

from bayes_prompting.storage import curves


def lines(folder, name):
  path = folder / f'{name}.jsonl'
  return [json.loads(line) for line in path.read_text().splitlines()]


def events(folder, name):
  """The scalars in the one TensorBoard file of a curve: (tag, step, value)."""
  (path,) = (folder / 'tensorboard' / name).glob('events.out.tfevents.*')
  raw, found, at = path.read_bytes(), [], 0
  while at < len(raw):
    # A record is its length (8 bytes), a checksum (4), data, a checksum (4).
    size = int.from_bytes(raw[at : at + 8], 'little')
    event = event_pb2.Event.FromString(raw[at + 12 : at + 12 + size])
    found += [
      (value.tag, event.step, value.simple_value)
      for value in event.summary.value
    ]
    at += 16 + size
  return found


def test_a_line_for_each_step(tmp_path):
  first = np.array([[3.0, 5.0], [2.0, 4.0], [1.5, 2.5]], np.float32)
  second = np.array([[0.5, 0.25]], np.float32)
  with curves.Curve(tmp_path, 'SoftPT-seed0') as curve:
    curve.append(1, first)
    curve.append(4, second)
  assert lines(tmp_path, 'SoftPT-seed0') == [
    {'step': 1, 'loss': [3.0, 5.0]},
    {'step': 2, 'loss': [2.0, 4.0]},
    {'step': 3, 'loss': [1.5, 2.5]},
    {'step': 4, 'loss': [0.5, 0.25]},
  ]


def test_tensorboard_gets_the_mean_over_repetitions(tmp_path):
  losses = np.array([[3.0, 5.0], [2.0, 4.0]], np.float32)
  with curves.Curve(tmp_path, 'SoftPT-seed0') as curve:
    curve.append(11, losses)
  wanted = [('loss', 11, 4.0), ('loss', 12, 3.0)]
  assert events(tmp_path, 'SoftPT-seed0') == wanted


def test_numbers_are_kept_to_six_digits(tmp_path):
  losses = np.array([[34.6573590, 1e-8 / 3, 123456.75]])
  with curves.Curve(tmp_path, 'a') as curve:
    curve.append(1, losses)
  (line,) = lines(tmp_path, 'a')
  np.testing.assert_allclose(line['loss'], losses[0], rtol=5e-6)


def test_a_curve_that_went_astray_can_be_read(tmp_path):
  with curves.Curve(tmp_path, 'a') as curve:
    curve.append(1, np.array([[np.nan, np.inf, 1.0]]))
  (line,) = lines(tmp_path, 'a')
  assert line['loss'] == [None, None, 1.0]  # As JSON knows numbers.
  assert events(tmp_path, 'a') == [('loss', 1, 1.0)]


def test_what_came_is_on_disk_before_the_end(tmp_path):
  curve = curves.Curve(tmp_path, 'a')
  for step in (1, 2, 3):
    curve.append(step, np.full((1, 2), step))
    assert [line['step'] for line in lines(tmp_path, 'a')] == list(
      range(1, step + 1)
    )
  curve.close()


def test_without_a_folder_nothing_is_written(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  with curves.Curve(None, 'a') as curve:
    curve.append(1, np.ones((3, 2)))
  assert list(tmp_path.iterdir()) == []


def test_a_restart_replaces_what_an_unfinished_run_left(tmp_path):
  unfinished = curves.Curve(tmp_path, 'a')
  unfinished.append(1, np.full((7, 1), 99.0))
  unfinished.close()
  # A file of TensorBoard is called after the second in which it was opened.
  (event_file,) = (tmp_path / 'tensorboard' / 'a').iterdir()
  event_file.rename(event_file.with_name('events.out.tfevents.1.earlier'))
  with curves.Curve(tmp_path, 'a') as curve:
    curve.append(1, np.array([[1.0], [0.5]]))
  assert lines(tmp_path, 'a') == [
    {'step': 1, 'loss': [1.0]},
    {'step': 2, 'loss': [0.5]},
  ]
  assert events(tmp_path, 'a') == [('loss', 1, 1.0), ('loss', 2, 0.5)]


def test_curves_beside_each_other_are_apart(tmp_path):
  folder = tmp_path / 'not' / 'made' / 'yet'
  names = ('Un+EmbedWT-seed0', 'EmbedWT-seed0', 'EmbedWT-seed1')
  for i, name in enumerate(names):
    with curves.Curve(folder, name) as curve:
      curve.append(1, np.full((1, 1), float(i)))
  for i, name in enumerate(names):
    assert lines(folder, name) == [{'step': 1, 'loss': [float(i)]}]
    assert events(folder, name) == [('loss', 1, float(i))]


@pytest.mark.parametrize('losses', [None, [[34.65735, np.nan]], [[np.inf]]])
def test_progress_is_shown_on_standard_error(capsys, monkeypatch, losses):
  for name in ('COLUMNS', 'LINES'):  # A narrow terminal cuts the loss off.
    monkeypatch.setenv(name, '120')
  loss = None if losses is None else np.array(losses)
  with curves.Progress('SoftPT-seed0', 10) as progress:
    progress(4, loss)
    progress(10, loss)
  shown = capsys.readouterr()
  assert shown.out == ''
  last = shown.err.split('\r')[-1]
  assert 'SoftPT-seed0' in last
  assert '10/10' in last
  assert ('loss 34.657' in last) == (losses == [[34.65735, np.nan]])
