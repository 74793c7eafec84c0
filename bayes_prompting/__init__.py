"""A laboratory for prompting and in-context learning by meta-learning.

Importing this package is cheap and imports nothing else; take the modules you
need, e.g. `from bayes_prompting import experiment, settings`.
"""

__version__ = '0.1.0'
