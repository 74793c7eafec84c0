"""Libraries that only language models need: the extra `language-model`."""

import importlib
import types

from bayes_prompting import errors


def library(name: str) -> types.ModuleType:
  """Imports one of them.

  Raises:
    UserError: If it is not installed.
  """
  try:
    return importlib.import_module(name)
  except ImportError:
    raise errors.UserError(
      f'model: needs the library {name!r}; '
      "pip install 'bayes_prompting[language-model]'"
    ) from None
