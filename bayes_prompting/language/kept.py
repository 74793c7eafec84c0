"""Folders in which models that were converted are kept.

Such a folder has `config.json`, `model.safetensors` and `tokenizer.json`, as
models are published, and is whole or not there.
"""

from collections.abc import Mapping
import json
import os
import pathlib
import shutil
from typing import Any
import uuid

import numpy as np
import safetensors
from safetensors import numpy as safetensors_numpy

from bayes_prompting import checks
from bayes_prompting import errors
from bayes_prompting.system import files

# Ours in a config.json: what a folder was made from.
MADE_FROM = 'made_from'


def write(
  folder: pathlib.Path,
  config: Mapping[str, Any],
  weights: Mapping[str, np.ndarray],
  tokenizer: str,
  digest: str,
) -> None:
  """Writes a folder.

  Args:
    folder: It is made, and replaced if it is there.
    config: What config.json says.
    weights: float32, by name.
    tokenizer: What tokenizer.json holds.
    digest: Of what the model was made from, which the folder remembers.

  Raises:
    UserError: If it cannot be written, if a weight is no number, or if the
      token that texts begin with is none. Nothing is written then.
  """
  for name, array in weights.items():
    check_finite(name, array, 'the file')
  beginning(config, config['vocab_size'])
  files.make_folder(folder.parent, 'model')
  draft = folder.with_name(f'.{folder.name}.{uuid.uuid4().hex[:8]}')
  arrays = {name: np.ascontiguousarray(x) for name, x in weights.items()}
  try:
    draft.mkdir()
    safetensors_numpy.save_file(arrays, draft / 'model.safetensors')
    (draft / 'tokenizer.json').write_text(tokenizer, 'utf-8')
    text = json.dumps({**config, MADE_FROM: digest}, indent=2) + '\n'
    (draft / 'config.json').write_text(text, 'utf-8')
    if folder.exists():
      shutil.rmtree(folder)
    os.replace(draft, folder)
  # A full disk is the library's own error.
  except (OSError, safetensors.SafetensorError) as error:
    raise files.refusal(folder, error, 'model') from None
  finally:
    shutil.rmtree(draft, ignore_errors=True)


def check_finite(name: str, array: np.ndarray, where: str) -> None:
  """Checks that a weight has numbers alone; raises UserError if not."""
  if not np.isfinite(array).all():
    raise errors.UserError(
      f'model: weight {name!r} of {where} must be finite, and has NaN or '
      'infinity'
    )


def beginning(config: Mapping[str, Any], vocab_size: int) -> int | None:
  """Returns the token that texts begin with, if a config.json names one.

  Raises:
    UserError: If it is no token.
  """
  number = config.get('bos_token_id')
  if number is None:
    return None
  return int(checks.tokens('bos_token_id', [number], vocab_size)[0])
