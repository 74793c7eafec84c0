"""What cannot be printed, or drawn, ends nothing."""

import errno
import io
import os
import sys

import pytest

from bayes_prompting import errors
from bayes_prompting.storage import curves
from bayes_prompting.system import console
from launch import flags as launch_flags


class Full(io.StringIO):
  """A log on a disk without room."""

  def write(self, text):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class Gone(io.StringIO):
  """A pipe that nobody reads."""

  def write(self, text):
    raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))


def closed():
  stream = io.StringIO()
  stream.close()
  return stream


@pytest.mark.parametrize(
  'stream', [Full(), Gone(), closed(), None], ids=('full', 'gone', 'closed', '')
)
def test_what_is_said_is_said_if_it_can_be(monkeypatch, stream):
  monkeypatch.setattr(sys, 'stdout', stream)
  monkeypatch.setattr(sys, 'stderr', stream)
  console.say('a line')
  console.warn('a warning')
  with console.optional('figures'):
    raise ZeroDivisionError
  if not isinstance(stream, Gone):
    with curves.Progress('a bar', 3) as bar:
      bar(3)


def test_an_old_locale_shows_what_it_can(monkeypatch):
  raw = io.BytesIO()
  monkeypatch.setattr(sys, 'stdout', io.TextIOWrapper(raw, encoding='ascii'))
  console.say('Finished: /tmp/é')
  assert raw.getvalue() == b'Finished: /tmp/\\xe9\n'


def test_a_failure_of_what_is_optional_is_one_line(capsys):
  with console.optional('figures'):
    raise ZeroDivisionError('a\nfault')
  with console.optional('figures'):
    raise errors.UserError('figures: cannot write')
  first, second = capsys.readouterr().err.splitlines()
  assert first.startswith(
    'warning: figures: not made (ZeroDivisionError: a fault)'
  )
  assert second.startswith('warning: figures: cannot write; what was computed')
  with pytest.raises(KeyboardInterrupt), console.optional('figures'):
    raise KeyboardInterrupt


def test_a_script_whose_output_is_lost_has_done_its_work(monkeypatch, capsys):
  monkeypatch.setattr(sys, 'stdout', Full())
  done = []
  with launch_flags.quiet_when_closed():
    print('a table')
    done.append(True)
  assert done
  said = capsys.readouterr().err
  assert said.startswith('warning: standard output was not written')
  assert len(said.splitlines()) == 1
