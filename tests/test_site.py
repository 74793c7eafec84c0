"""What the documentation site is made of: its pages, and what is generated.

The site itself is built by `make docs`. Here is what needs no Sphinx.
"""

import importlib
import inspect
import pathlib
import re
import sys

import pytest

import bayes_prompting as bp
from bayes_prompting import registry

ROOT = pathlib.Path(__file__).parents[1]
DOCS = ROOT / 'docs'


@pytest.fixture(scope='module')
def site():
  """The site's own modules, by name."""
  sys.path.insert(0, str(DOCS / '_ext'))
  try:
    yield importlib.import_module
  finally:
    sys.path.remove(str(DOCS / '_ext'))


def contents(page):
  """Yields the pages that a page's `toctree` blocks list."""
  text = page.read_text('utf-8')
  for block in re.findall(r'```\{toctree\}\n(.*?)```', text, re.DOTALL):
    for line in block.splitlines():
      if line and not line.startswith(':'):
        found = sorted(page.parent.glob(f'{line}.md'))
        assert found or '*' in line, line
        yield from found


def test_every_page_is_in_the_contents():
  pages = {*DOCS.glob('*.md'), *DOCS.glob('[!_]*/*.md')}
  listed = [x for page in sorted(pages) for x in contents(page)]
  assert len(listed) == len(set(listed))
  assert set(listed) == pages - {DOCS / 'index.md'}


def test_what_a_page_has_made_is_a_function_of_the_site(site):
  generated = site('generated')
  calls = [
    call.split()
    for page in (*DOCS.glob('*.md'), *DOCS.glob('[!_]*/*.md'))
    for call in re.findall(r'<!-- site: (.*?) -->', page.read_text('utf-8'))
  ]
  assert len(calls) >= 9
  for name, *arguments in calls:
    text, folder = getattr(generated, name)(*arguments)
    assert text.strip() and folder.is_dir()
    for picture in re.findall(r'!\[[^\]]*\]\(((?!http)[^)]+)\)', text):
      assert (folder / picture).exists(), picture


@pytest.mark.parametrize('kind', ['task_priors', 'torsos', 'tuners'])
def test_the_reference_has_every_extension_and_argument(site, kind):
  text, _ = site('generated').extensions(kind)
  for name in registry.names(kind):
    section = text.partition(f'### `{name}`\n')[2].partition('\n### ')[0]
    make = importlib.import_module(f'bayes_prompting.{kind}.{name}').make
    for argument in inspect.signature(make).parameters:
      assert re.search(rf'^`{argument}`.*\n: \S', section, re.M), argument


def test_the_reference_has_every_public_name(site):
  text, _ = site('generated').public()
  names = re.findall(r'^### `(\w+)`$', text, re.M)
  assert sorted(names) == sorted(bp.__all__)


def test_docstrings_become_markdown(site):
  docstrings = site('docstrings')

  def call(width, depth=2):
    """Says a_b of <that>.

    A product of (a
    * b) and `a_b`, where

        s_t = a * s

    * one thing
      and more
    * another

    Args:
      width: E, at
        least 1.
      depth: D.

    Raises:
      UserError: If it is wrong.
    """

  assert docstrings.of(call.__doc__, call).split('\n\n') == [
    r'Says a\_b of \<that>.',
    r'A product of (a \* b) and `a_b`, where',
    '```text\ns_t = a * s\n```',
    '* one thing and more\n* another',
    '**Arguments**',
    '`width`\n: E, at least 1.',
    '`depth` = `2`\n: D.',
    '**Raises**',
    '`UserError`\n: If it is wrong.',
  ]
  assert docstrings.signature(call, 'f') == 'f(width, depth=2)'


def test_links_lead_to_pages_of_the_site(site, monkeypatch):
  links = site('links')
  text = (
    '[a](../files.md#b) [c](../../configs/paper.py) [d](#e) [f](https://g.h) '
    '[i](../../results/paper/README.md#j) ![k](../figures/l.png)'
  )
  page = DOCS / 'howto' / 'gpu.md'
  expected = (
    '[a](../files.md#b) {} [d](#e) [f](https://g.h) '
    '[i](../results.md#j) ![k](../figures/l.png)'
  )
  monkeypatch.setattr(links, 'REPOSITORY', None)
  assert links.rewrite(text, page.parent, page) == expected.format('c')
  assert links.colab('notebooks/demo.ipynb') == ''
  monkeypatch.setattr(links, 'REPOSITORY', 'https://github.com/a/b')
  there = '[c](https://github.com/a/b/blob/main/configs/paper.py)'
  assert links.rewrite(text, page.parent, page) == expected.format(there)
  assert '/github/a/b/blob/main/notebooks/demo.ipynb)' in links.colab(
    'notebooks/demo.ipynb'
  )


def test_every_study_tells_the_gallery_its_question_and_answer(site):
  generated = site('generated')
  pages = generated.studies().values()
  assert set(pages) >= set((DOCS / 'experiments').glob('*.md'))
  for page in pages:
    study = generated.read_study(page)
    assert study['question'] and study['answer'].endswith('.')
    assert study['command'].startswith('bayes-prompting ')


def test_a_figure_that_a_page_draws_has_a_caption_for_screen_readers():
  drawn = 0
  for page in (*DOCS.glob('*.md'), *DOCS.glob('[!_]*/*.md')):
    text = page.read_text('utf-8')
    for match in re.finditer(r'plt\.show\(\)\n```\n+(.)', text):
      assert match[1] == '*', page
      drawn += 1
  assert drawn >= 5
