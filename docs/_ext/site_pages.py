"""What the site adds to the Markdown: generated parts, and links that work.

A comment in a page, such as `<!-- site: extensions torsos -->`, is where the
function of that name in `generated` puts what it returns. GitHub shows nothing
there.
"""

import pathlib
import re

import generated
import jupyter_cache
import links

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

  The playground is a page of its own, beside those of the site.
  """
  # Behind myst-nb, which says where the cache is.
  app.connect('builder-inited', _make_cache, priority=900)
  app.connect('source-read', _read)
  app.connect('build-finished', _write_playground)
  return {'parallel_read_safe': True, 'parallel_write_safe': True}
