"""What the site adds to the Markdown: generated parts, and links that work.

A comment in a page, such as `<!-- site: extensions torsos -->`, is where the
function of that name in `generated` puts what it returns. GitHub shows nothing
there.
"""

import pathlib
import re

from docutils import nodes
import generated
import jupyter_cache
import links
from sphinx.util import logging

from bayes_prompting.dynamics.playground import page as playground
from bayes_prompting.dynamics.playground import shipped


def _read(app, docname, content):
  page = pathlib.Path(app.env.doc2path(docname))
  if page.suffix != '.md':
    return
  text = links.rewrite(content[0], page.parent, page)

  def make(match):
    name, *arguments = match[1].split()
    made, folder = getattr(generated, name)(*arguments)
    return links.rewrite(made, folder, page)

  content[0] = re.sub(r'<!-- site: (.*?) -->', make, text)
  if content[0] != text:  # What it is made of may change without the page.
    app.env.note_reread()


def _describe_figures(app, doctree, docname):
  """Gives a figure that code drew the caption behind it as its description.

  Screen readers say it. A figure without one is a warning.
  """
  del app
  for image in doctree.findall(nodes.image):
    if image.get('alt'):
      continue
    at = image
    while at.parent is not None and not isinstance(at.parent, nodes.section):
      at = at.parent
    behind = at.next_node(siblings=True, descend=False)
    if isinstance(behind, nodes.paragraph) and isinstance(
      behind.next_node(), nodes.emphasis
    ):
      image['alt'] = behind.astext().replace('\n', ' ')
    else:
      logging.getLogger(__name__).warning(
        'a figure has no caption behind it', location=(docname, None)
      )


def _make_cache(app):
  """Makes the cache of executed pages: readers at once would each try to."""
  # One that exists is opened, and one that does not is made with its tables.
  _ = jupyter_cache.get_cache(app.env.mystnb_config.execution_cache_path).db


def _write_playground(app, exception):
  if exception is None:
    path = pathlib.Path(app.outdir) / 'play.html'
    playground.write(shipped.load_all(), path)


def setup(app):
  """Has Sphinx hand every page to `_read` before it is parsed.

  What is drawn in a page is described once it is there.

  The playground is a page of its own, beside those of the site.
  """
  # Behind myst-nb, which says where the cache is.
  app.connect('builder-inited', _make_cache, priority=900)
  app.connect('source-read', _read)
  app.connect('doctree-resolved', _describe_figures)
  app.connect('build-finished', _write_playground)
  return {'parallel_read_safe': True, 'parallel_write_safe': True}
