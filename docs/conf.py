"""The documentation site; `make docs` builds it.

The pages are the Markdown files of this folder, which GitHub shows as well.
`_ext` adds what is generated, and has links lead to where the site has a page.
"""

import os
import pathlib
import sys

_DOCS = pathlib.Path(__file__).parent
sys.path[:0] = [str(_DOCS / '_ext'), str(_DOCS.parent)]
# Pages are executed in a folder of their own, and import this clone.
os.environ['PYTHONPATH'] = str(_DOCS.parent)
os.environ.setdefault('JAX_PLATFORMS', 'cpu')

import links  # noqa: E402

import bayes_prompting  # noqa: E402

project = 'bayes_prompting'
author = copyright = 'The bayes_prompting authors'
version = release = bayes_prompting.__version__

extensions = [
  'myst_nb',
  'sphinx_copybutton',
  'sphinx_design',
  'site_pages',
]
exclude_patterns = ['_build', '_ext', '**/.ipynb_checkpoints']
smartquotes = False

# Anchors of titles are those of GitHub.
myst_heading_anchors = 4
myst_enable_extensions = ['colon_fence', 'deflist']
nb_execution_mode = 'cache'
nb_execution_in_temp = True
# Seconds for a cell: compiling takes long where others work, too.
nb_execution_timeout = 900
nb_merge_streams = True
# Bars and logs of a kernel go there; what is printed stays.
nb_output_stderr = 'remove'
copybutton_exclude = '.linenos, .gp, .go'

html_theme = 'sphinx_book_theme'
html_title = 'bayes_prompting'
html_static_path = ['_static']
html_css_files = ['site.css']
html_show_sourcelink = html_copy_source = False
html_show_copyright = False
html_theme_options = {
  'show_navbar_depth': 1,
  'show_toc_level': 2,
  'use_download_button': False,
  'home_page_in_toc': False,
  # Where this clone is from, if it is known.
  **(
    {
      'repository_url': links.REPOSITORY,
      'path_to_docs': 'docs',
      'use_repository_button': True,
    }
    if links.REPOSITORY
    else {}
  ),
}
