"""Metadata and dependencies of bayes_prompting.

The ranges below say what the code is meant to work with; constraints.txt pins
the versions that the tests run with.
"""

import pathlib
import re
import sys

import setuptools

_ROOT = pathlib.Path(__file__).resolve().parent

# These folders of a checkout lie inside the package once it is installed: no
# package called `launch` or `configs` comes to stand beside those of others. An
# editable install does without: the package looks beside itself, too. It then
# is one line in a .pth file, by which the package is found even from a folder
# that holds a clone of the same name.
_INSIDE = {
  'bayes_prompting.configs': 'configs',
  'bayes_prompting.launch': 'launch',
}
if 'editable_wheel' in sys.argv:
  _INSIDE = {}

# One range for jax and for its accelerator extras. 0.10.2 is the last one made
# for Python 3.11, and the first that loads kept programs on a CPU without lines
# of errors that are none.
_JAX_RANGE = '>=0.10.2,<0.13'


def _read_version() -> str:
  """Reads `__version__` from the source; importing it would need the deps."""
  source = (_ROOT / 'bayes_prompting' / '__init__.py').read_text('utf-8')
  match = re.search(
    r"""^__version__\s*=\s*['"]([^'"]+)['"]""", source, re.MULTILINE
  )
  if match is None:
    raise RuntimeError('No __version__ in bayes_prompting/__init__.py.')
  return match.group(1)


def _read_long_description() -> str:
  readme = _ROOT / 'README.md'
  return readme.read_text('utf-8') if readme.exists() else ''


_LANGUAGE_MODEL = ('gguf>=0.17,<1', 'h5py>=3.11,<4', 'tokenizers>=0.21,<1')


setuptools.setup(
  name='bayes_prompting',
  version=_read_version(),
  description=(
    'Prompt tuning seen as Bayesian inference: meta-trained sequence models, '
    'tuners, and their regret against exact posterior predictives.'
  ),
  long_description=_read_long_description(),
  long_description_content_type='text/markdown',
  author='The bayes_prompting authors',
  license_expression='Apache-2.0',
  license_files=['LICENSE'],
  python_requires='>=3.11',
  package_dir={'': '.', **_INSIDE},
  packages=setuptools.find_packages(
    include=['bayes_prompting', 'bayes_prompting.*']
  )
  + list(_INSIDE),
  package_data={
    'bayes_prompting': ['py.typed'],
    'bayes_prompting.dynamics.playground': [
      'networks/*',
      'page/*',
      'page/torsos/*',
    ],
    'bayes_prompting.reporting': ['templates/*'],
  },
  entry_points={
    'console_scripts': ['bayes-prompting = bayes_prompting.launch.main:main']
  },
  install_requires=[
    'absl-py>=2.3.1',
    'chex>=0.1.91,<0.2',
    'etils[epath]>=1.12',
    # The first that asks JAX 0.10 for nothing deprecated.
    'flax>=0.12.7,<0.13',
    'h5netcdf[h5py]>=1.8',
    'jinja2>=3.1',
    f'jax{_JAX_RANGE}',
    'matplotlib>=3.10',
    'ml_collections>=1.0',
    'numpy>=2.0,<3',
    'optax>=0.2.6,<0.3',
    'orbax-checkpoint>=0.12,<0.13',
    'pandas>=2.2.3,<4',
    'pillow>=11',
    'plotly>=6.1,<8',
    'safetensors>=0.5,<1',
    'scipy>=1.14,<2',
    'tensorboardX>=2.6.2.2',
    'tqdm>=4.66',
    # The first that makes the bytes of a file in memory.
    'xarray>=2025.9',
  ],
  extras_require={
    'cuda': [f'jax[cuda13]{_JAX_RANGE}'],
    # The documentation site, `make docs`.
    'docs': [
      'ipykernel>=6.29',
      'myst-nb>=1.4,<2',
      # 9.0 is the last for Python 3.11.
      'sphinx>=9,<10',
      'sphinx-book-theme>=1.4,<2',
      'sphinx-copybutton>=0.5.2,<1',
      'sphinx-design>=0.8,<1',
    ],
    # Data of an example: the weather of Seattle.
    'examples': ['vega-datasets>=0.9,<1'],
    # Language models from files.
    'language-model': [*_LANGUAGE_MODEL],
    # Sweeps on a cluster: `bayes-prompting sweep --cluster=slurm`.
    'slurm': ['submitit>=1.5.4,<2'],
    'tpu': [f'jax[tpu]{_JAX_RANGE}'],
    'notebooks': [
      'ipykernel>=6.29',
      'jupyterlab>=4.2,<5',
      'nbclient>=0.10',
    ],
    'dev': [
      *_LANGUAGE_MODEL,
      'hypothesis>=6.100',
      'ipykernel>=6.29',
      'nbclient>=0.10',
      'nbformat>=5.10',
      'pytest>=8.3,<10',
      'pytest-cov>=6.0',
      'pytest-xdist>=3.7',
      'ruff>=0.15',
      'selenium>=4.20,<5',
      # A test builds the wheel without a network.
      'setuptools>=77',
    ],
  },
  classifiers=[
    'Development Status :: 4 - Beta',
    'Intended Audience :: Science/Research',
    'Programming Language :: Python :: 3',
    'Programming Language :: Python :: 3.11',
    'Programming Language :: Python :: 3.12',
    'Programming Language :: Python :: 3.13',
    'Topic :: Scientific/Engineering :: Artificial Intelligence',
  ],
)
