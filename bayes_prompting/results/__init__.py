"""The results of a run: the dataset, which runs count, the best settings.

The names below come from `results.dataset`, whose docstring says what a results
file holds.
"""

from bayes_prompting.results.dataset import SCHEMA_VERSION
from bayes_prompting.results.dataset import VARIABLES
from bayes_prompting.results.dataset import Builder
from bayes_prompting.results.dataset import exact
from bayes_prompting.results.dataset import is_present
from bayes_prompting.results.dataset import load
from bayes_prompting.results.dataset import put_exact
from bayes_prompting.results.dataset import read
from bayes_prompting.results.dataset import save
from bayes_prompting.results.dataset import select
from bayes_prompting.results.dataset import sequence_regret

__all__ = [
  'Builder',
  'SCHEMA_VERSION',
  'VARIABLES',
  'exact',
  'is_present',
  'load',
  'put_exact',
  'read',
  'save',
  'select',
  'sequence_regret',
]
