"""Docstrings of this package as Markdown.

They are plain text in Google's style: paragraphs, lists, formulas that are
indented, and sections such as `Args:`.
"""

from collections.abc import Callable, Iterable
import inspect
import re
from typing import Any

_SECTIONS = {
  'Args': 'Arguments',
  'Attributes': 'Attributes',
  'Returns': 'Returns',
  'Yields': 'Yields',
  'Raises': 'Raises',
}


def prose(text: str) -> str:
  """Returns the Markdown of a text without sections."""
  return '\n\n'.join(_block(block) for block in _blocks(text))


def sections(text: str) -> dict[str, str]:
  """Returns what comes before the sections, as '', and each section."""
  name, parts = '', {'': []}
  for line in inspect.cleandoc(text).splitlines():
    title = re.fullmatch(r'(\w+):', line)
    if title and title[1] in _SECTIONS:
      name = title[1]
      parts[name] = []
    else:
      parts[name].append(line)
  return {
    name: inspect.cleandoc('\n'.join(['', *lines]))
    if name
    else '\n'.join(lines)
    for name, lines in parts.items()
  }


def entries(section: str) -> list[tuple[str, str]]:
  """Returns (name, text) of each entry of a section such as `Args`."""
  found: list[tuple[str, list[str]]] = []
  for line in section.splitlines():
    entry = re.match(r'([\w*.,` ]+?):(?: |$)(.*)', line)
    if entry and not line.startswith(' '):
      found.append((entry[1], [entry[2]]))
    elif found:
      found[-1][1].append(line)
  return [
    (name, first + '\n' + inspect.cleandoc('\n'.join(['', *rest])))
    for name, (first, *rest) in found
  ]


def of(text: str | None, call: Callable[..., Any] | None = None) -> str:
  """Returns the Markdown of a docstring.

  Args:
    text: The docstring.
    call: What it is of, which says the defaults of arguments.
  """
  parts = sections(text or '')
  body = parts.pop('')
  defaults = _defaults(call) if call else {}
  lines = [prose(body)] if body.strip() else []
  for name, section in parts.items():
    listed = (
      entries(section) if name in ('Args', 'Attributes', 'Raises') else []
    )
    if listed:
      terms = (
        (f'`{term}`{defaults.get(term, "")}', meaning)
        for term, meaning in listed
      )
      lines += [f'**{_SECTIONS[name]}**', definitions(terms)]
    elif section.strip():
      lines += [f'**{_SECTIONS[name]}**', prose(section)]
  return '\n\n'.join(lines)


def definitions(terms: Iterable[tuple[str, str]]) -> str:
  """Returns a list of terms with their meanings, which are docstrings' text."""
  return '\n\n'.join(
    f'{term}\n: ' + prose(meaning).replace('\n', '\n  ')
    for term, meaning in terms
  )


def signature(call: Callable[..., Any], name: str) -> str:
  """Returns how something is called: names and defaults."""
  bare = []
  try:
    parameters = inspect.signature(call).parameters.values()
  except ValueError:
    return name
  for parameter in parameters:
    parameter = parameter.replace(annotation=inspect.Parameter.empty)
    if parameter.kind is parameter.POSITIONAL_ONLY:
      parameter = parameter.replace(kind=parameter.POSITIONAL_OR_KEYWORD)
    bare.append(parameter)
  text = name + str(inspect.Signature(bare))
  if len(text) <= 72:
    return text
  arguments = re.sub(r'^\(|\)$', '', str(inspect.Signature(bare)))
  pieces = [str(parameter) for parameter in bare]
  if '*, ' in arguments:
    first = next(p for p in bare if p.kind is p.KEYWORD_ONLY)
    if not any(p.kind is p.VAR_POSITIONAL for p in bare):
      pieces.insert(bare.index(first), '*')
  return f'{name}(\n' + ''.join(f'  {piece},\n' for piece in pieces) + ')'


def _defaults(call):
  """Returns what is shown behind the name of each argument with a default."""
  try:
    parameters = inspect.signature(call).parameters
  except (TypeError, ValueError):
    return {}
  return {
    name: f' = `{parameter.default!r}`'
    for name, parameter in parameters.items()
    if parameter.default is not parameter.empty
    and type(parameter.default) in (bool, int, float, str, tuple, type(None))
  }


def _blocks(text):
  return [x for x in re.split(r'\n\s*\n', text.strip('\n')) if x.strip()]


def _block(block):
  lines = block.splitlines()
  if all(line.startswith('    ') for line in lines):
    code = inspect.cleandoc('\n'.join(['', *lines]))
    language = 'python' if re.search(r'^import |bp\.', code) else 'text'
    return f'```{language}\n{code}\n```'
  if lines[0].startswith('* '):
    items = re.split(r'\n\* ', block[2:])
    return '\n'.join('* ' + _inline(item) for item in items)
  return _inline(block)


def _inline(text):
  """Returns a paragraph in one line, with nothing that Markdown takes amiss."""
  pieces = re.split(r'(`[^`]*`)', ' '.join(text.split()))
  return ''.join(
    piece if piece.startswith('`') else _plain(piece) for piece in pieces
  )


def _plain(text):
  text = re.sub(r'([\\*_<\[\]#|$~])', r'\\\1', text)
  address = r'[arXiv \1](https://arxiv.org/abs/\1)'
  return re.sub(r'\barXiv (\d{4}\.\d{5})\b', address, text)
