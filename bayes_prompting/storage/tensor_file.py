"""Pytrees as one file that can be sent to somebody: arrays, and what they are.

The format is safetensors: a header in JSON, then the arrays. The header holds
one text of JSON, the record, which says what the arrays belong to. The record
begins with the SHA-256 of the whole file (computed with zeros in its place), so
that a file with any changed bit is refused. That tells of accidents, not of who
wrote the file.

A file may come from anybody. It is data: nothing in it is imported, unpickled
or run, and memory is allocated only in proportion to the size of the file. An
error says in one line what is wrong with it.
"""

import hashlib
import json
import math
import os
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import safetensors
from safetensors import numpy as safetensors_numpy

from bayes_prompting import checks
from bayes_prompting import errors
from bayes_prompting import trees
from bayes_prompting import types
from bayes_prompting.system import distributed
from bayes_prompting.system import files

SCHEMA_VERSION = 1

_KEY = 'bayes_prompting'  # Of our record among the header's metadata.
_MOST_HEADER = 2**24  # Bytes; ours have a few thousand.
_NO_DIGEST = b'0' * 64
# How the record begins, and how it does inside the header's JSON.
_BEGIN = '{"sha256": "'
_MARK = json.dumps(_BEGIN)[:-1].encode()
# The names that safetensors has for dtypes; its NumPy has no bfloat16.
_DTYPES = {
  'BOOL': np.bool_,
  'U8': np.uint8,
  'I8': np.int8,
  'U16': np.uint16,
  'I16': np.int16,
  'U32': np.uint32,
  'I32': np.int32,
  'U64': np.uint64,
  'I64': np.int64,
  'BF16': jnp.bfloat16,
  'F16': np.float16,
  'F32': np.float32,
  'F64': np.float64,
}


def save_arrays(
  path: str | os.PathLike[str], tree: types.PyTree, metadata: dict[str, Any]
) -> None:
  """Saves a pytree of arrays to one file, with what it belongs to.

  The same tree and metadata give the same bytes.

  Args:
    path: The file, whose folder exists; see `files.replacing`.
    tree: Arrays of bools, integers or floats, bfloat16 among them.
    metadata: Plain values, kept as JSON.

  Raises:
    UserError: If two leaves have the same path, if a leaf is no such array, if
      JSON cannot hold the metadata, or if the file cannot be written.
  """
  data = encode(tree, metadata)
  distributed.on_first(lambda: files.write_bytes(path, data))


def encode(tree: types.PyTree, metadata: dict[str, Any]) -> bytes:
  """Returns the bytes of a file; arguments and errors as for `save_arrays`."""
  arrays = trees.by_path(tree)
  if len(arrays) != len(jax.tree.leaves(tree)):
    raise errors.UserError('tree: two of its leaves have the same path')
  if '__metadata__' in arrays:
    raise errors.UserError("tree: a leaf cannot be called '__metadata__'")
  arrays = {path: _dense(path, leaf) for path, leaf in arrays.items()}
  record = {
    'sha256': _NO_DIGEST.decode(),
    'schema_version': SCHEMA_VERSION,
    'metadata': metadata,
  }
  try:
    text = json.dumps(record, allow_nan=False)
  except (TypeError, ValueError) as error:
    raise errors.UserError(
      f'metadata: must be plain values ({error})'
    ) from None
  data = safetensors_numpy.save(arrays, {_KEY: text})
  before, _, after = _around_digest(data)
  return before + hashlib.sha256(data).hexdigest().encode() + after


def _dense(path, leaf):
  """Returns a leaf as a contiguous array, little end first.

  safetensors takes the bytes from an array's first on, whatever its strides.
  """
  try:
    # Not `ascontiguousarray`, which makes a vector of a number.
    array = np.asarray(leaf, order='C')
  except TypeError as error:  # Keys of random numbers.
    raise errors.UserError(f'tree: {path!r}: {error}') from None
  if array.dtype.newbyteorder('=') not in map(np.dtype, _DTYPES.values()):
    raise errors.UserError(
      f'tree: {path!r} has dtype {array.dtype}, which a file cannot hold'
    )
  return array.astype(array.dtype.newbyteorder('<'), copy=False)


def _around_digest(data):
  """Returns the bytes before a file's digest, the digest, and those after it.

  Raises:
    UserError: If the header has not exactly one place for a digest.
  """
  header = data[: 8 + int.from_bytes(data[:8], 'little')]
  if header.count(_MARK) != 1:
    raise errors.UserError('has no SHA-256, or more than one')
  start = header.index(_MARK) + len(_MARK)
  end = start + len(_NO_DIGEST)
  return data[:start], data[start:end], data[end:]


def load_arrays(
  path: str | os.PathLike[str], template: types.PyTree | None = None
) -> tuple[types.PyTree, dict[str, Any]]:
  """Loads what `save_arrays` wrote, whoever sent it.

  Args:
    path: The file.
    template: Arrays or `jax.ShapeDtypeStruct`s of the same structure. Without
      one a dict of the arrays by their paths is returned.

  Returns:
    The tree, with arrays of NumPy's, and the metadata.

  Raises:
    UserError: If there is no such file, if it is none of ours, of another
      schema, changed or cut off, or if its paths, a shape or a dtype are
      others than the template's.
  """
  path = pathlib.Path(path).expanduser()
  arrays, metadata = distributed.on_first(lambda: _load(path))
  if template is None:
    return arrays, metadata
  return fill(path, arrays, template), metadata


def fill(
  path: str | os.PathLike[str],
  arrays: dict[str, np.ndarray],
  template: types.PyTree,
) -> types.PyTree:
  """Returns arrays by their paths in the structure of a template.

  Args:
    path: Of the file that they are from, for error messages.
    arrays: What `load_arrays` returns without a template.
    template: As there.

  Raises:
    UserError: As there.
  """
  trees.check_leaves(_place(path), trees.describe(arrays), template)
  return trees.replace(template, arrays)


def _place(path):
  return f'file: {os.fspath(path)!r}'


def short(value: object) -> str:
  """Returns the repr of what a file says, in one line that can be shown."""
  text = checks.show(value)
  return text if len(text) <= 80 else f'{text[:77]}...'


def _load(path):
  if not path.is_file():  # A pipe or a device may have no end.
    raise errors.UserError(f'{_place(path)}: there is none')
  try:
    return _decode(path.read_bytes())
  except OSError as error:
    raise files.refusal(path, error, 'file', 'read') from error
  except errors.UserError as error:
    raise errors.UserError(f'{_place(path)}: {error}') from None


def _decode(data):
  """Returns arrays by path, and the metadata, of the bytes of a file."""
  size = int.from_bytes(data[:8], 'little')
  if len(data) < 8 or size > len(data) - 8:
    raise errors.UserError('is no file of safetensors, or was cut off')
  if size > _MOST_HEADER:
    raise errors.UserError(
      f'its header has {size} bytes, {_MOST_HEADER} at most are read'
    )
  header = files.parse_json(data[8 : 8 + size], 'its header')
  texts = header.get('__metadata__')
  text = texts.get(_KEY) if isinstance(texts, dict) else None
  if not isinstance(text, str) or not text.startswith(_BEGIN):
    raise errors.UserError('is none of ours: its header has no record of them')
  before, digest, after = _around_digest(data)
  hashed = hashlib.sha256(before)
  hashed.update(_NO_DIGEST)
  hashed.update(after)
  if hashed.hexdigest().encode() != digest:
    raise errors.UserError('it was changed or cut off (its SHA-256 is another)')
  record = files.parse_json(text, 'its record')
  version = record.get('schema_version')
  if version != SCHEMA_VERSION or version is True:
    raise errors.UserError(
      f'has schema version {short(version)}, this package reads '
      f'{SCHEMA_VERSION}'
    )
  metadata = record.get('metadata')
  if not isinstance(metadata, dict):
    raise errors.UserError('its metadata is no mapping')
  return _arrays(data), metadata


def _arrays(data):
  """Returns the arrays of a file by path."""
  try:
    entries = safetensors.deserialize(data)
  except safetensors.SafetensorError as error:
    line = ' '.join(str(error).split())
    raise errors.UserError(f'its arrays cannot be read ({line})') from None
  arrays = {}
  for name, entry in entries:
    kind, shape = entry['dtype'], entry['shape']
    if kind not in _DTYPES:
      raise errors.UserError(f'{short(name)} has the unknown dtype {kind}')
    # An empty array may claim any sizes beside the zero.
    if math.prod(size or 1 for size in shape) > max(len(data), 1):
      raise errors.UserError(f'{short(name)} has an absurd shape')
    try:
      array = np.frombuffer(entry['data'], _DTYPES[kind]).reshape(shape)
    except ValueError as error:
      raise errors.UserError(f'{short(name)}: {error}') from None
    arrays[name] = array.astype(array.dtype.newbyteorder('='))
  return arrays


def digest(tree: types.PyTree) -> str:
  """Returns a SHA-256 of a pytree: paths, dtypes, shapes and every bit."""
  hashed = hashlib.sha256()
  leaves, descriptions = trees.by_path(tree), trees.describe(tree)
  for path in sorted(leaves):
    hashed.update(json.dumps([path, descriptions[path]]).encode())
    hashed.update(_dense(path, leaves[path]).tobytes())
  return hashed.hexdigest()
