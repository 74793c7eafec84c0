"""Tokenizers of language models, by the library `tokenizers`."""

from collections.abc import Callable, Mapping, Sequence
import os
from typing import Any

from bayes_prompting import checks
from bayes_prompting import errors
from bayes_prompting.language import extra
from bayes_prompting.system import files

# What is cut off before pairs are merged, by GGUF's name: whether each digit is
# a token of its own. Bytes are told apart after that, in all of them.
_SINGLE_DIGITS = {'smollm': True, 'gpt-2': False, 'gpt2': False}
_BROKEN = '\ufffd'  # What stands for bytes that are no character.
_CONTROL = 3  # The type, in GGUF, of a token that no text is made of.


def from_gguf(fields: Callable[[str], Any]) -> str:
  """Returns a tokenizer, as a tokenizer.json holds it.

  Args:
    fields: (name) -> a value of a GGUF file.

  Raises:
    UserError: If it is of a kind that cannot be made.
  """
  tokenizers = extra.library('tokenizers')
  kind = fields('tokenizer.ggml.model'), fields('tokenizer.ggml.pre')
  if kind[0] != 'gpt2' or kind[1] not in _SINGLE_DIGITS:
    raise errors.UserError(
      f'model: has a tokenizer {checks.show(kind[0])} with '
      f"{checks.show(kind[1])}; only 'gpt2' can be made, with one of "
      f'{", ".join(_SINGLE_DIGITS)}'
    )
  texts = fields('tokenizer.ggml.tokens')
  merges = [
    tuple(pair.split(' ', 1)) for pair in fields('tokenizer.ggml.merges')
  ]
  vocabulary = {text: number for number, text in enumerate(texts)}
  try:
    pairs = tokenizers.models.BPE(vocabulary, merges)
  except Exception as error:  # The library raises nothing narrower.
    raise errors.UserError(
      f'model: its tokens and merges make no tokenizer ({files.why(error)})'
    ) from None
  made = tokenizers.Tokenizer(pairs)
  steps = [tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)]
  if _SINGLE_DIGITS[kind[1]]:
    steps.insert(0, tokenizers.pre_tokenizers.Digits(individual_digits=True))
  made.pre_tokenizer = tokenizers.pre_tokenizers.Sequence(steps)
  made.decoder = tokenizers.decoders.ByteLevel()
  types = fields('tokenizer.ggml.token_type')
  if len(types) != len(texts):
    raise errors.UserError(
      f"model: has {len(types)} numbers in 'tokenizer.ggml.token_type', and "
      f'{len(texts)} tokens'
    )
  made.add_special_tokens(
    [text for text, x in zip(texts, types, strict=True) if x == _CONTROL]
  )
  return made.to_str()


def of_characters(numbers: Mapping[str, int], special: Sequence[str]) -> str:
  """Returns a tokenizer of characters, as a tokenizer.json holds it.

  Args:
    numbers: By character, and by special token.
    special: Tokens that stand for no text.
  """
  tokenizers = extra.library('tokenizers')
  # Without pairs to merge every character is a token.
  made = tokenizers.Tokenizer(tokenizers.models.BPE(dict(numbers), []))
  made.decoder = tokenizers.decoders.Fuse()
  made.add_special_tokens(list(special))
  return made.to_str()


def _without(characters):
  text = ''.join(dict.fromkeys(characters))
  return errors.UserError(f'model: has no tokens for {checks.show(text)}')


class Tokenizer:
  """Text as numbers, and back.

  Attributes:
    vocab_size: How many tokens it knows.
  """

  def __init__(self, path: str | os.PathLike[str]):
    """Reads a tokenizer.json.

    Args:
      path: The file.

    Raises:
      UserError: If it cannot be read, or holds something else.
    """
    tokenizers = extra.library('tokenizers')
    text = files.read_text(path, 'model')
    try:
      self._made = tokenizers.Tokenizer.from_str(text)
    except Exception as error:  # The library raises nothing narrower.
      raise errors.UserError(
        f'model: {str(path)!r} holds no tokenizer ({files.why(error)})'
      ) from None
    self.vocab_size = self._made.get_vocab_size()

  def encode(self, text: str) -> tuple[int, ...]:
    """Returns the tokens of a text, in which special ones may be named.

    Raises:
      UserError: If it has characters that the model has no tokens for, which
        the library would leave out.
    """
    # Half of a pair of surrogates is a character for Python, and no text.
    lost = [x for x in text if '\ud800' <= x <= '\udfff']
    if lost:
      raise _without(lost)
    encoded = self._made.encode(text, add_special_tokens=False)
    numbers = tuple(encoded.ids)
    kept = {i for first, end in encoded.offsets for i in range(first, end)}
    lost = [x for i, x in enumerate(text) if i not in kept]
    # Of a character of several bytes one may have no token.
    if not lost and _BROKEN in self.decode(numbers) and _BROKEN not in text:
      lost = [x for x in text if _BROKEN in self._again(x)]
    if lost:
      raise _without(lost)
    return numbers

  def _again(self, text):
    return self.decode(self._made.encode(text, add_special_tokens=False).ids)

  def decode(self, numbers: Sequence[int]) -> str:
    """Returns the text of tokens, special ones among them."""
    return self._made.decode(list(numbers), skip_special_tokens=False)

  def one(self, field: str, text: str) -> int:
    """Returns the token that a text is.

    Args:
      field: What has the text.
      text: Such as ' H'.

    Raises:
      UserError: If it is no single token.
    """
    numbers = self.encode(text)
    if len(numbers) != 1:
      parts = [self.decode((x,)) for x in numbers]
      raise errors.UserError(
        f'{field}: {checks.show(text)} must be one token, and is '
        f'{len(numbers)}: {checks.show(parts)}'
      )
    return numbers[0]
