"""A device that is not there is one line, wherever JAX notices."""

import os
import pathlib
import subprocess
import sys

import jax
import pytest

import bayes_prompting as bp
from bayes_prompting import errors
from bayes_prompting.system import devices
from tests.experiment import test_run

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture
def without_device(monkeypatch):
  """What JAX raises for JAX_PLATFORMS=cuda where there is no such device."""

  def fail(*unused):
    raise AssertionError

  monkeypatch.setattr(jax, 'devices', fail)
  before = jax.config.jax_platforms
  jax.config.update('jax_platforms', 'cuda')
  yield
  jax.config.update('jax_platforms', before)


def test_an_error_without_text_has_a_reason(without_device):
  with pytest.raises(
    errors.UserError,
    match="JAX_PLATFORMS: 'cuda' cannot be used here .*no such device.*=cpu",
  ) as caught:
    devices.check()
  assert '\n' not in str(caught.value)


def test_what_is_called_from_python_says_so(without_device, monkeypatch):
  with pytest.raises(errors.UserError, match="^JAX_PLATFORMS: 'cuda'"):
    bp.run(test_run.tiny())
  from bayes_prompting.task_priors import dirichlet_categorical

  def make():
    jax.devices()

  monkeypatch.setattr(dirichlet_categorical, 'make', make)
  with pytest.raises(errors.UserError, match="^JAX_PLATFORMS: 'cuda'"):
    bp.task_prior('dirichlet_categorical')


def test_other_errors_stay_what_they_are():
  with pytest.raises(ZeroDivisionError), devices.named():
    raise ZeroDivisionError
  with pytest.raises(errors.UserError, match='mine'), devices.named():
    raise errors.UserError('mine')


@pytest.mark.parametrize(
  ('variable', 'value', 'said'),
  [
    ('JAX_PLATFORMS', 'gpuu', "JAX_PLATFORMS: 'gpuu' cannot be used here ("),
    ('JAX_ENABLE_X64', 'maybe', "'JAX_ENABLE_X64'"),
  ],
)
def test_a_script_ends_with_one_line(tmp_path, variable, value, said):
  done = subprocess.run(
    [
      *(sys.executable, '-m', 'launch.experiment', '--config=quick'),
      f'--workdir={tmp_path}/run',
    ],
    cwd=ROOT,
    env={**os.environ, variable: value},
    capture_output=True,
    text=True,
  )
  assert done.returncode == 2
  (line,) = done.stderr.splitlines()
  assert line.startswith('error: ') and said in line
  assert not list(tmp_path.iterdir())
