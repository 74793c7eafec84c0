"""Language models of Llama's kind: what they are like, and their weights.

Touvron et al., arXiv 2302.13971; heads of keys and values that queries share,
Ainslie et al., arXiv 2305.13245. Such a model is the torso `transformer` with
options, between an embedding and an unembedding of many tokens.
"""

from collections.abc import Callable, Mapping
import dataclasses
from typing import Any

from flax import linen as nn
import numpy as np

from bayes_prompting import checks
from bayes_prompting import errors
from bayes_prompting import types
from bayes_prompting.torsos import transformer

# Names of weights as published safetensors have them (Hugging Face's
# Transformers), each with the layer and the weight that it is here. A matrix is
# [out, in] there, and [in, out] here.
EMBEDDING = 'model.embed_tokens.weight'
UNEMBEDDING = 'lm_head.weight'
OUTPUT_NORM = 'model.norm.weight'
_MATRICES = {
  'self_attn.q_proj': 'query',
  'self_attn.k_proj': 'key',
  'self_attn.v_proj': 'value',
  'self_attn.o_proj': 'attention_output',
  'mlp.gate_proj': 'mlp_gate',
  'mlp.up_proj': 'mlp_in',
  'mlp.down_proj': 'mlp_out',
}
_NORMS = {
  'input_layernorm': 'attention_norm',
  'post_attention_layernorm': 'mlp_norm',
}


@dataclasses.dataclass(frozen=True)
class Architecture:
  """What a model of Llama's kind is like.

  Attributes:
    vocab_size: Tokens.
    num_layers: Blocks.
    width: E.
    num_heads: Of queries.
    num_kv_heads: Of keys and values.
    mlp_dim: Width of the MLP's hidden layer.
    rope_base: See `torsos.transformer.make`.
    norm_epsilon: As above.
    tied_unembedding: Whether the unembedding is the embedding, transposed.
  """

  vocab_size: int
  num_layers: int
  width: int
  num_heads: int
  num_kv_heads: int
  mlp_dim: int
  rope_base: float
  norm_epsilon: float
  tied_unembedding: bool

  padding = ()

  def torso(self) -> nn.Module:
    """Returns the blocks, whose activations are computed twice.

    Raises:
      UserError: If the numbers do not fit together.
    """
    return transformer.make(
      num_layers=self.num_layers,
      num_heads=self.num_heads,
      num_kv_heads=self.num_kv_heads,
      positions='rope',
      rope_base=self.rope_base,
      norm='rms',
      norm_epsilon=self.norm_epsilon,
      query_key_norm=False,
      output_norm='last',
      mlp='swiglu',
      mlp_dim=self.mlp_dim,
      recompute=True,
    )

  def shapes(self) -> dict[str, tuple[int, ...]]:
    """Returns the shape of each published weight, by its name."""
    kv_width = self.width // self.num_heads * self.num_kv_heads
    of_block = {
      'self_attn.q_proj': (self.width, self.width),
      'self_attn.k_proj': (kv_width, self.width),
      'self_attn.v_proj': (kv_width, self.width),
      'self_attn.o_proj': (self.width, self.width),
      'mlp.gate_proj': (self.mlp_dim, self.width),
      'mlp.up_proj': (self.mlp_dim, self.width),
      'mlp.down_proj': (self.width, self.mlp_dim),
      **dict.fromkeys(_NORMS, (self.width,)),
    }
    table = self.vocab_size, self.width
    every = {EMBEDDING: table, OUTPUT_NORM: (self.width,)}
    if not self.tied_unembedding:
      every[UNEMBEDDING] = table
    for layer in range(self.num_layers):
      for name, shape in of_block.items():
        every[f'model.layers.{layer}.{name}.weight'] = shape
    return every

  def params(self, weight: Callable[[str], np.ndarray]) -> types.Params:
    """Returns weights by the names that they have here.

    Args:
      weight: (published name) -> float32 array.

    Returns:
      `embedding`, `torso` and, unless it is tied, `unembedding`.
    """
    torso = {}
    for layer in range(self.num_layers):
      prefix = f'model.layers.{layer}'
      torso[f'layer_{layer}'] = {
        **{
          ours: {'kernel': weight(f'{prefix}.{theirs}.weight').T}
          for theirs, ours in _MATRICES.items()
        },
        **{
          ours: {'scale': weight(f'{prefix}.{theirs}.weight')}
          for theirs, ours in _NORMS.items()
        },
      }
    last = torso[f'layer_{self.num_layers - 1}']
    last['output_norm'] = {'scale': weight(OUTPUT_NORM)}
    every = {'embedding': {'kernel': weight(EMBEDDING)}, 'torso': torso}
    if not self.tied_unembedding:
      every['unembedding'] = {'kernel': weight(UNEMBEDDING).T}
    return every


# Its fields, by their names in a published config.json.
_FIELDS = {
  'vocab_size': ('vocab_size', int),
  'num_hidden_layers': ('num_layers', int),
  'hidden_size': ('width', int),
  'num_attention_heads': ('num_heads', int),
  'num_key_value_heads': ('num_kv_heads', int),
  'intermediate_size': ('mlp_dim', int),
  'rope_theta': ('rope_base', float),
  'rms_norm_eps': ('norm_epsilon', float),
  'tie_word_embeddings': ('tied_unembedding', bool),
}
# What is so where a file does not say it, as Transformers has it.
_DEFAULTS = {'rope_theta': 1e4, 'tie_word_embeddings': False}
# What other models may have, and these may not: the value that means without.
_WITHOUT = {
  'attention_bias': (False, None),
  'mlp_bias': (False, None),
  'rope_scaling': (None,),
  'hidden_act': ('silu', None),
  'model_type': ('llama', None),
}


def read_config(values: Mapping[str, Any], where: str) -> Architecture:
  """Returns what a published config.json describes.

  Args:
    values: What it holds.
    where: The file, for errors.

  Raises:
    UserError: If it is of another kind, or says too little.
  """
  for name, allowed in _WITHOUT.items():
    if values.get(name) not in allowed:
      raise errors.UserError(
        f'model: {where} has {name}={checks.show(values[name])}; only models '
        f"of Llama's kind can be read, with {allowed[0]!r}"
      )
  values = {**_DEFAULTS, **_rope(values, where), **values}
  # Without heads of their own, keys and values have those of queries.
  if values.get('num_key_value_heads') is None:
    values['num_key_value_heads'] = values.get('num_attention_heads')
  fields = {}
  for name, (field, kind) in _FIELDS.items():
    value = values.get(name)
    is_number = isinstance(value, (int, float)) and value == kind(value)
    if not is_number or (kind is int and value < 1):
      raise errors.UserError(
        f'model: {where} must have a number {name!r}, got {checks.show(value)}'
      )
    fields[field] = kind(value)
  architecture = Architecture(**fields)
  size = architecture.width // architecture.num_heads
  if values.get('head_dim') not in (None, size):
    raise errors.UserError(
      f'model: {where} has heads of {values["head_dim"]} channels; they must '
      f'have hidden_size / num_attention_heads, {size}'
    )
  try:
    architecture.torso().empty_state(architecture.width)
  except errors.UserError as error:
    raise errors.UserError(f'model: {where}: {error}') from None
  return architecture


def _rope(values, where):
  """Returns the base of rotary embeddings, where Transformers 5 writes it."""
  rope = values.get('rope_parameters')
  if rope is None:
    return {}
  kinds = (None, 'default')
  if not isinstance(rope, Mapping) or rope.get('rope_type') not in kinds:
    raise errors.UserError(
      f'model: {where} has rope_parameters={checks.show(rope)}; only models '
      "of Llama's kind can be read, with rope_type='default'"
    )
  return {name: rope[name] for name in ('rope_theta',) if name in rope}


def to_config(architecture: Architecture) -> dict[str, Any]:
  """Returns what a published config.json of the same model would say."""
  values = {
    name: getattr(architecture, field) for name, (field, _) in _FIELDS.items()
  }
  return {'model_type': 'llama', 'hidden_act': 'silu', **values}
