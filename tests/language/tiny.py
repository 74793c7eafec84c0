"""A language model of two small blocks: as a file, and in NumPy."""

from typing import NamedTuple

import gguf
import numpy as np
import tokenizers

WIDTH, HEADS, KV_HEADS, MLP, LAYERS = 16, 4, 2, 24, 2
BASE, EPSILON = 1e5, 1e-5


class Sizes(NamedTuple):
  """What `forward` has to know beside the weights."""

  layers: int
  heads: int
  kv_heads: int
  base: float
  epsilon: float


SMALL = Sizes(LAYERS, HEADS, KV_HEADS, BASE, EPSILON)
SIZE = WIDTH // HEADS
# All bytes, as byte-level tokenizers write them; then pairs that merge.
BYTES = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
MERGES = (('Ġ', 'H'), ('Ġ', 'T'), ('a', 'b'))
TOKENS = [
  '<|end|>',
  '<|begin|>',
  *BYTES,
  *(first + second for first, second in MERGES),
]
BEGIN = 1

# Shapes [out, in], by GGUF's names.
OF_BLOCK = {
  'attn_q': (WIDTH, WIDTH),
  'attn_k': (KV_HEADS * SIZE, WIDTH),
  'attn_v': (KV_HEADS * SIZE, WIDTH),
  'attn_output': (WIDTH, WIDTH),
  'ffn_gate': (MLP, WIDTH),
  'ffn_up': (MLP, WIDTH),
  'ffn_down': (WIDTH, MLP),
  'attn_norm': (WIDTH,),
  'ffn_norm': (WIDTH,),
}


def weights(seed=0):
  """Draws weights, by GGUF's names."""
  rng = np.random.default_rng(seed)

  def draw(shape):
    if len(shape) == 1:
      return rng.uniform(0.5, 1.5, shape).astype(np.float32)
    return (rng.normal(size=shape) * shape[-1] ** -0.5).astype(np.float32)

  drawn = {
    f'blk.{i}.{name}.weight': draw(shape)
    for i in range(LAYERS)
    for name, shape in OF_BLOCK.items()
  }
  drawn['token_embd.weight'] = draw((len(TOKENS), WIDTH))
  drawn['output_norm.weight'] = draw((WIDTH,))
  return drawn


def write(path, tensors, without=(), **fields):
  """Writes a GGUF file.

  Args:
    path: The file.
    tensors: By name.
    without: Names of fields that are left out.
    **fields: `architecture`, or other fields of `_FIELDS`, with other values.
  """
  writer = gguf.GGUFWriter(path, fields.pop('architecture', 'llama'))
  values = {
    'add_block_count': LAYERS,
    'add_embedding_length': WIDTH,
    'add_head_count': HEADS,
    'add_head_count_kv': KV_HEADS,
    'add_feed_forward_length': MLP,
    'add_layer_norm_rms_eps': EPSILON,
    'add_rope_freq_base': BASE,
    'add_tokenizer_model': 'gpt2',
    'add_tokenizer_pre': 'smollm',
    'add_token_list': TOKENS,
    'add_token_types': [3, 3] + [1] * (len(TOKENS) - 2),
    'add_token_merges': [' '.join(pair) for pair in MERGES],
    'add_bos_token_id': BEGIN,
  } | fields
  for name, value in values.items():
    if name not in without:
      getattr(writer, name)(value)
  for name, tensor in tensors.items():
    writer.add_tensor(name, tensor)
  writer.write_header_to_file()
  writer.write_kv_data_to_file()
  writer.write_tensors_to_file()
  writer.close()
  return path


def _norm(x, scale, epsilon):
  return x / np.sqrt((x * x).mean(-1, keepdims=True) + epsilon) * scale


def _turn(x, base):
  """Turns channels 2 i and 2 i + 1 of each head [N, H, D] together."""
  size = x.shape[-1]
  angles = np.arange(len(x))[:, None] * base ** (-np.arange(0, size, 2) / size)
  turned = (x[..., ::2] + 1j * x[..., 1::2]) * np.exp(1j * angles)[:, None]
  return np.stack([turned.real, turned.imag], -1).reshape(x.shape)


def forward(tensors, numbers, sizes=SMALL):
  """Returns log probabilities [N, V] after each of N tokens, in float64.

  Llama as its paper and GGUF's names have it, one head and one position at a
  time.

  Args:
    tensors: By GGUF's names, dequantised, [out, in].
    numbers: Tokens.
    sizes: Of the model.
  """

  def weight(name):
    return np.asarray(tensors[f'{name}.weight'], np.float64)

  table = weight('token_embd')
  x = table[list(numbers)]
  for i in range(sizes.layers):
    w = {name: weight(f'blk.{i}.{name}') for name in OF_BLOCK}
    y = _norm(x, w['attn_norm'], sizes.epsilon)
    size = len(w['attn_q']) // sizes.heads
    query = (y @ w['attn_q'].T).reshape(-1, sizes.heads, size)
    key = (y @ w['attn_k'].T).reshape(-1, sizes.kv_heads, size)
    query, key = _turn(query, sizes.base), _turn(key, sizes.base)
    value = (y @ w['attn_v'].T).reshape(-1, sizes.kv_heads, size)
    attended = np.zeros_like(query)
    for n in range(len(x)):
      for head in range(sizes.heads):
        shared = head // (sizes.heads // sizes.kv_heads)
        scores = key[: n + 1, shared] @ query[n, head] / np.sqrt(size)
        mass = np.exp(scores - scores.max())
        attended[n, head] = mass / mass.sum() @ value[: n + 1, shared]
    x = x + attended.reshape(len(x), -1) @ w['attn_output'].T
    y = _norm(x, w['ffn_norm'], sizes.epsilon)
    gate = y @ w['ffn_gate'].T
    x = x + (gate / (1 + np.exp(-gate)) * (y @ w['ffn_up'].T)) @ w['ffn_down'].T
  x = _norm(x, weight('output_norm'), sizes.epsilon)
  untied = 'output.weight' in tensors
  logits = x @ (weight('output') if untied else table).T
  logits -= logits.max(-1, keepdims=True)
  return logits - np.log(np.exp(logits).sum(-1, keepdims=True))
