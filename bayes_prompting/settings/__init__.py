"""The configuration: its fields with the paper's values, and their checks.

Light on purpose: neither JAX nor Flax is imported here, so that a launch script
can answer `--help` at once.
"""

from bayes_prompting.settings.base import MATMUL_PRECISIONS
from bayes_prompting.settings.base import PREDICTORS
from bayes_prompting.settings.base import REFERENCES
from bayes_prompting.settings.base import SCHEDULES
from bayes_prompting.settings.base import SHARED
from bayes_prompting.settings.base import base_config
from bayes_prompting.settings.base import report_steps
from bayes_prompting.settings.base import spec
from bayes_prompting.settings.configuration import Configuration
from bayes_prompting.settings.configuration import is_reference
from bayes_prompting.settings.validation import validate

__all__ = [
  'Configuration',
  'MATMUL_PRECISIONS',
  'PREDICTORS',
  'REFERENCES',
  'SCHEDULES',
  'SHARED',
  'base_config',
  'is_reference',
  'report_steps',
  'spec',
  'validate',
]
