"""A language model: weights, tokens, and what it predicts of symbols.

A kind of model is a module with `VERSION` and `MAGIC` of its files, `beside`
and `convert`, if files are converted, and `read_config` for what is kept.
"""

from collections.abc import Sequence
import dataclasses
import functools
import hashlib
import os
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import safetensors

from bayes_prompting import checks
from bayes_prompting import errors
from bayes_prompting import types
from bayes_prompting.language import cache
from bayes_prompting.language import gguf_file
from bayes_prompting.language import kept
from bayes_prompting.language import llama
from bayes_prompting.language import symbols as symbols_lib
from bayes_prompting.language import textgenrnn
from bayes_prompting.language import tokens
from bayes_prompting.system import files
from bayes_prompting.system import locks

# By what a file is called in the cache, and what its config.json says.
_FORMATS = {'gguf': gguf_file, 'textgenrnn': textgenrnn}
_CONFIGS = {'textgenrnn': textgenrnn.read_config}
_DTYPES = 'F64', 'F32', 'F16', 'BF16'  # In safetensors' words.


@dataclasses.dataclass(frozen=True, eq=False)
class LanguageModel:
  """A language model, from a folder of files.

  Attributes:
    folder: With `config.json`, `*.safetensors` and `tokenizer.json`.
    architecture: What it is like.
    tokenizer: Text as tokens, and back.
    beginning: The token that texts begin with, where no context is given; None
      if the model has none.
  """

  folder: pathlib.Path
  architecture: symbols_lib.Architecture
  tokenizer: tokens.Tokenizer
  beginning: int | None

  @functools.cached_property
  def params(self) -> types.Params:
    """Its weights in float32, read when they are first asked for.

    Raises:
      UserError: If a file of weights is missing, damaged, or of other shapes.
    """
    with jax.ensure_compile_time_eval():  # It may be first asked for in jit.
      return _params(self.folder, self.architecture)

  def predictor(
    self,
    symbols: Sequence[str] | None = None,
    separator: str = '',
    context: str = '',
  ) -> types.Predictor:
    """Returns it as a predictor of symbols, whose params are `params`.

    Args:
      symbols: V texts, each one token of the model, such as (' H', ' T'). None:
        its own tokens are the symbols.
      separator: What follows every symbol, such as a comma.
      context: What stands before everything else, such as an instruction; ''
        for the token that texts of this model begin with, which stands before
        no other context unless it is named there. Every prompt comes behind it.

    Raises:
      UserError: If a symbol is no single token, or two are the same, or if
        nothing stands before the first symbol.
    """
    return symbols_lib.predictor(
      self.architecture,
      self.written(symbols, separator, context),
      self._load,
    )

  def outside(
    self,
    state: types.State,
    sequences: Sequence[Sequence[int]] | types.Array,
    symbols: Sequence[str],
    separator: str = '',
    context: str = '',
    params: types.Params | None = None,
  ) -> types.Array:
    """Returns the log mass [B, N] that it gives to what is no symbol.

    Args:
      state: Where it starts, from the predictor of the same symbols.
      sequences: int [B, N], symbols.
      symbols: As of `predictor`.
      separator: As of `predictor`.
      context: As of `predictor`.
      params: Tuned weights; None for its own.

    Raises:
      UserError: As of `predictor`, or if the tokens are not of the vocabulary.
    """
    written = self.written(symbols, separator, context)
    params = self.params if params is None else params
    return symbols_lib.outside(
      self.architecture, written, params, state, sequences
    )

  @functools.cached_property
  def _load(self):
    return lambda: self.params

  def written(
    self, symbols: Sequence[str] | None, separator: str, context: str
  ) -> symbols_lib.Written:
    """Returns how symbols are written, in tokens; see `predictor`."""
    numbers = None
    if symbols is not None:
      symbols = checks.strings('symbols', symbols)
      numbers = tuple(self.tokenizer.one('symbols', x) for x in symbols)
      if len(set(numbers)) != len(numbers):  # As where case does not count.
        raise errors.UserError(
          f'symbols: must be different tokens, got {checks.show(symbols)}, '
          f'which are {checks.show(numbers)}'
        )
    for field, text in (('separator', separator), ('context', context)):
      if not isinstance(text, str):
        raise errors.UserError(
          f'{field}: must be text, got {checks.show(text)}'
        )
    before = self.tokenizer.encode(context)
    if not context and self.beginning is not None:
      before = (self.beginning,)
    return symbols_lib.Written(
      numbers,
      self.tokenizer.encode(separator),
      self.architecture.padding + before,
    )


@functools.lru_cache(maxsize=4)
def _model(folder, digest):
  """Reads a folder once, as long as its files are the same."""
  del digest
  path = folder / 'config.json'
  config = files.read_json(path, 'model')
  read_config = _CONFIGS.get(str(config.get('model_type')), llama.read_config)
  architecture = read_config(config, repr(str(path)))
  tokenizer = tokens.Tokenizer(folder / 'tokenizer.json')
  if tokenizer.vocab_size > architecture.vocab_size:
    raise errors.UserError(
      f'model: {str(folder)!r} has {tokenizer.vocab_size} tokens in '
      f'tokenizer.json, and {architecture.vocab_size} in config.json'
    )
  beginning = kept.beginning(config, architecture.vocab_size)
  return LanguageModel(folder, architecture, tokenizer, beginning)


def load(path: str | os.PathLike[str]) -> LanguageModel:
  """Loads a language model.

  Args:
    path: `smollm2` or `textgenrnn`, which must have been fetched
      (`bayes-prompting language-model --get`); a GGUF file of Llama's kind, or
      textgenrnn's `NAME_weights.hdf5` with `NAME_vocab.json` beside it, which
      is converted once and kept in the user's cache folder; or a folder as
      models of Llama's kind are published, with `config.json`,
      `*.safetensors` and `tokenizer.json`.

  Raises:
    UserError: If it is not there, not whole, or of another kind.
  """
  if isinstance(path, str) and path in cache.PACKAGES:
    path = cache.fetched(path)
  path = checks.path('model', path)
  if path.is_dir():
    folder = path
  elif path.is_file():
    folder = _converted(path)
  else:
    raise errors.UserError(
      f'model: {str(path)!r} is not there; it must be a GGUF file, '
      "textgenrnn's NAME_weights.hdf5, a folder with config.json, or one of "
      f'{", ".join(cache.PACKAGES)}'
    )
  return _model(folder, digest_of(folder))


def _converted(path):
  """Returns the folder of a file, which is made of it once."""
  name = _format(path)
  form = _FORMATS[name]
  digests = [files.digest(x) for x in form.beside(path)]
  digest = digests[0]
  if len(digests) > 1:
    digest = hashlib.sha256(' '.join(digests).encode()).hexdigest()
  folder = cache.folder() / f'{name}-{digest[:16]}-{form.VERSION}'
  made = folder / 'config.json'
  if made.is_file():
    return folder
  files.make_folder(cache.folder(), 'model')
  with locks.lock(cache.folder(), wait=True):
    if not made.is_file():  # Another process was faster.
      form.convert(path, folder, f'{digest}-{form.VERSION}')
  return folder


def _format(path):
  """Returns the format that a file's first bytes tell of."""
  try:
    with open(path, 'rb') as file:
      start = file.read(8)
  except OSError as error:
    raise files.refusal(path, error, 'model', 'read') from None
  for name, form in _FORMATS.items():
    if start.startswith(form.MAGIC):
      return name
  raise errors.UserError(
    f'model: {str(path)!r} is no GGUF file, and no HDF5 file of textgenrnn'
  )


def digest_of(folder: pathlib.Path) -> str:
  """Returns a digest of a model's files.

  Of a folder that was made of a file, and is kept, it is the file's.

  Raises:
    UserError: If there is no config.json.
  """
  config = files.read_json(folder / 'config.json', 'model')
  if kept.MADE_FROM in config and folder.parent == cache.folder():
    return str(config[kept.MADE_FROM])
  return _combined(
    tuple((str(x), x.stat().st_mtime_ns) for x in _files(folder))
  )


@functools.lru_cache(maxsize=8)
def _combined(stamps):
  """Returns the digests of files together; stamps tell when to look again."""
  return ' '.join(files.digest(path) for path, _ in stamps)


def _files(folder):
  return sorted(
    x
    for x in folder.iterdir()
    if x.suffix == '.safetensors' or x.name in ('config.json', 'tokenizer.json')
  )


def _params(folder, architecture):
  """Reads weights, of whatever float type, as float32."""
  arrays = {}
  for path in sorted(folder.glob('*.safetensors')):
    try:
      with safetensors.safe_open(path, 'flax') as file:
        for name in file.keys():  # noqa: SIM118 (it is no dictionary)
          kind = file.get_slice(name).get_dtype()
          if kind not in _DTYPES:
            raise errors.UserError(
              f'model: {str(folder)!r}: weight {name!r} is of the kind {kind}; '
              f'it must be one of {", ".join(_DTYPES)}'
            )
          if name in arrays:
            raise errors.UserError(
              f'model: {str(folder)!r} has the weight {name!r} in two files'
            )
          arrays[name] = np.asarray(file.get_tensor(name), np.float32)
    except (OSError, safetensors.SafetensorError) as error:
      raise errors.UserError(
        f'model: cannot read {str(path)!r} ({files.why(error)})'
      ) from None
  shapes = architecture.shapes()
  for name, shape in shapes.items():
    if name not in arrays:
      raise errors.UserError(
        f'model: {str(folder)!r} lacks the weight {name!r}'
      )
    if arrays[name].shape != shape:
      raise errors.UserError(
        f'model: {str(folder)!r}: weight {name!r} must have shape '
        f'{list(shape)}, got {list(arrays[name].shape)}'
      )
    kept.check_finite(name, arrays[name], repr(str(folder)))
  return jax.tree.map(jnp.asarray, architecture.params(arrays.__getitem__))
