"""Reads a GGUF file of Llama's kind, and keeps it as models are published.

The format is ggml's (github.com/ggml-org/ggml, docs/gguf.md); the library
`gguf` reads and dequantises it. What is kept is a folder, see `kept`, which
`model.load` reads.
"""

from collections.abc import Iterator
import pathlib
from typing import Any

import numpy as np

from bayes_prompting import checks
from bayes_prompting import errors
from bayes_prompting.language import extra
from bayes_prompting.language import kept
from bayes_prompting.language import llama
from bayes_prompting.language import tokens
from bayes_prompting.system import files

# Of what is kept of a file: raise it when other weights, or another tokenizer,
# are made of the same file. Results depend on it.
VERSION = 1
MAGIC = b'GGUF'

# Published names of a block's weights, by those of GGUF behind `blk.N.`.
_OF_BLOCK = {
  'attn_q': 'self_attn.q_proj',
  'attn_k': 'self_attn.k_proj',
  'attn_v': 'self_attn.v_proj',
  'attn_output': 'self_attn.o_proj',
  'ffn_gate': 'mlp.gate_proj',
  'ffn_up': 'mlp.up_proj',
  'ffn_down': 'mlp.down_proj',
  'attn_norm': 'input_layernorm',
  'ffn_norm': 'post_attention_layernorm',
}
_FIELDS = {
  'num_hidden_layers': 'llama.block_count',
  'hidden_size': 'llama.embedding_length',
  'num_attention_heads': 'llama.attention.head_count',
  'num_key_value_heads': 'llama.attention.head_count_kv',
  'intermediate_size': 'llama.feed_forward_length',
  'rms_norm_eps': 'llama.attention.layer_norm_rms_epsilon',
  'rope_theta': 'llama.rope.freq_base',
}
# What other models may have, and these may not: the value that means without.
_WITHOUT = {'llama.rope.scaling.type': 'none', 'llama.expert_count': 0}
_TABLE, _LAST_NORM = 'token_embd.weight', 'output_norm.weight'
_UNEMBEDDING = 'output.weight'


def beside(path: pathlib.Path) -> tuple[pathlib.Path, ...]:
  """Returns the files that a file is read with: itself."""
  return (path,)


def convert(path: pathlib.Path, folder: pathlib.Path, digest: str) -> None:
  """Writes a GGUF file's model to a folder, which is whole or not there.

  Args:
    path: The file.
    folder: It is made, and replaced if it is there.
    digest: Of the file, which the folder remembers.

  Raises:
    UserError: If it is no whole GGUF file of Llama's kind, or if the folder
      cannot be written.
  """
  reader = _open(path)
  fields = _Fields(reader, path)
  stored = {tensor.name: tensor for tensor in reader.tensors}
  config = _config(fields, stored, path)
  architecture = llama.read_config(config, repr(str(path)))
  weights = dict(_weights(stored, path, architecture))
  kept.write(folder, config, weights, tokens.from_gguf(fields), digest)


def _open(path):
  """Opens a file; the library's errors for what is none are of many kinds."""
  gguf = extra.library('gguf')
  try:
    return gguf.GGUFReader(path)
  except OSError as error:
    raise files.refusal(path, error, 'model', 'read') from None
  except (ValueError, IndexError, KeyError, TypeError, OverflowError) as error:
    raise errors.UserError(
      f'model: {str(path)!r} is no GGUF file, or is cut off '
      f'({files.why(error)})'
    ) from None


class _Fields:
  """What a file says beside its tensors, by name."""

  def __init__(self, reader, path):
    self._reader, self._path = reader, path

  def __call__(self, name: str) -> Any:
    """Returns a value; raises UserError if it is not there."""
    field = self._reader.get_field(name)
    if field is None:
      raise errors.UserError(
        f'model: {str(self._path)!r} has no {name!r}, which a model of '
        "Llama's kind must have"
      )
    return field.contents()

  def get(self, name: str, default: Any) -> Any:
    """Returns a value, or a default if it is not there."""
    field = self._reader.get_field(name)
    return default if field is None else field.contents()


def _config(fields, stored, path):
  kind = fields('general.architecture')
  if kind != 'llama':
    raise errors.UserError(
      f'model: {str(path)!r} is of the architecture {checks.show(kind)}; only '
      "'llama' can be read"
    )
  for name, without in _WITHOUT.items():
    value = fields.get(name, without)
    if value != without:
      raise errors.UserError(
        f'model: {str(path)!r} has {name}={checks.show(value)}; only models of '
        f"Llama's kind can be read, with {without!r}"
      )
  values = {name: fields(theirs) for name, theirs in _FIELDS.items()}
  # float32 in the file, and meant as the decimal that it is nearest to.
  for name in ('rms_norm_eps', 'rope_theta'):
    values[name] = float(str(np.float32(values[name])))
  return {
    'model_type': 'llama',
    'hidden_act': 'silu',
    'bos_token_id': fields('tokenizer.ggml.bos_token_id'),
    'vocab_size': len(fields('tokenizer.ggml.tokens')),
    'tie_word_embeddings': _UNEMBEDDING not in stored,
    # It is refused if heads are not as wide.
    'head_dim': fields.get('llama.rope.dimension_count', None),
    **values,
  }


def _weights(stored, path, architecture) -> Iterator[tuple[str, np.ndarray]]:
  """Yields published names and float32 arrays."""
  gguf = extra.library('gguf')
  names = {
    llama.EMBEDDING: _TABLE,
    llama.OUTPUT_NORM: _LAST_NORM,
    llama.UNEMBEDDING: _UNEMBEDDING,
  }
  for layer in range(architecture.num_layers):
    for theirs, published in _OF_BLOCK.items():
      name = f'model.layers.{layer}.{published}.weight'
      names[name] = f'blk.{layer}.{theirs}.weight'
  wanted = {names[name] for name in architecture.shapes()}
  others = [name for name in stored if name not in wanted]
  if others:
    raise errors.UserError(
      f'model: {str(path)!r} has the tensor {others[0]!r}, which no model of '
      "Llama's kind has"
    )
  heads = {
    'q_proj': architecture.num_heads,
    'k_proj': architecture.num_kv_heads,
  }
  for name, shape in architecture.shapes().items():
    tensor = stored.get(names[name])
    if tensor is None:
      raise errors.UserError(
        f'model: {str(path)!r} lacks the tensor {names[name]!r}'
      )
    try:
      array = gguf.dequantize(tensor.data, tensor.tensor_type)
    except (NotImplementedError, ValueError) as error:
      raise errors.UserError(
        f'model: {str(path)!r}: tensor {names[name]!r} is of the kind '
        f'{tensor.tensor_type.name}, which cannot be read ({files.why(error)})'
      ) from None
    if array.shape != shape:
      raise errors.UserError(
        f'model: {str(path)!r}: tensor {names[name]!r} must have shape '
        f'{list(shape)}, got {list(array.shape)}'
      )
    of_heads = heads.get(name.split('.')[-2])
    array = np.asarray(array, np.float32, order='C')
    yield name, array if of_heads is None else _in_halves(array, of_heads)


def _in_halves(matrix, num_heads):
  """Orders rows as rotary embeddings of published weights pair them.

  GGUF has the pairs of a head's channels side by side, 2 i and 2 i + 1; there
  they are i and i + D / 2.
  """
  rows, columns = matrix.shape
  pairs = matrix.reshape(num_heads, rows // num_heads // 2, 2, columns)
  return np.ascontiguousarray(pairs.swapaxes(1, 2).reshape(rows, columns))
