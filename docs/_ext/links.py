"""Where links of the Markdown lead to on the site.

On GitHub every relative link leads to a file of the repository. The site has
pages of the files in `docs/` alone. What stands elsewhere is shown by a page of
`SHOWN`, or is on GitHub, if it is known where this clone is from.
"""

import os
import pathlib
import re
import subprocess

ROOT = pathlib.Path(__file__).parents[2]
DOCS = ROOT / 'docs'

# Files outside of docs/ that a page of the site shows.
SHOWN = {
  'CONTRIBUTING.md': 'contributing.md',
  'README.md': 'index.md',
  'notebooks/README.md': 'notebooks.md',
  'results/paper/README.md': 'results.md',
}


def _repository() -> str | None:
  """Returns the address of the repository on GitHub, if it is there."""
  name = os.environ.get('GITHUB_REPOSITORY')
  if name:
    return f'https://github.com/{name}'
  try:
    remote = subprocess.run(
      ['git', 'remote', 'get-url', 'origin'],
      cwd=ROOT,
      capture_output=True,
      text=True,
      check=False,
    ).stdout.strip()
  except OSError:
    return None
  there = re.search(r'github\.com[:/]([\w.-]+/[\w.-]+?)(?:\.git)?$', remote)
  return f'https://github.com/{there[1]}' if there else None


REPOSITORY = _repository()


def rewrite(text: str, folder: pathlib.Path, page: pathlib.Path) -> str:
  """Returns Markdown whose links work on the site.

  Args:
    text: The Markdown.
    folder: What its relative links start from.
    page: The file of docs/ that shows it.
  """

  def link(match):
    mark, words, address = match.groups()
    file, hash_, anchor = address.partition('#')
    if not file or re.match(r'[a-z]+:', file):
      return match[0]
    path = (folder / file).resolve()
    inside = path.relative_to(ROOT).as_posix()
    if inside in SHOWN:
      path = DOCS / SHOWN[inside]
    if path.is_relative_to(DOCS) and path.suffix == '.md' or mark:
      there = os.path.relpath(path, page.parent)
      return f'{mark}[{words}]({pathlib.Path(there).as_posix()}{hash_}{anchor})'
    if REPOSITORY:
      kind = 'tree' if path.is_dir() else 'blob'
      return f'[{words}]({REPOSITORY}/{kind}/main/{inside})'
    return words

  return re.sub(r'(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^()\s]+)\)', link, text)


def source(path: str) -> str:
  """Returns Markdown that names a file of the repository."""
  name = f'`{path}`'
  return f'[{name}]({REPOSITORY}/blob/main/{path})' if REPOSITORY else name


def colab(path: str) -> str:
  """Returns the badge that opens a notebook in Colab, if it is on GitHub."""
  if not REPOSITORY:
    return ''
  name = REPOSITORY.removeprefix('https://github.com/')
  colab = 'https://colab.research.google.com'
  return (
    f'[![Open in Colab]({colab}/assets/colab-badge.svg)]'
    f'({colab}/github/{name}/blob/main/{path})'
  )
