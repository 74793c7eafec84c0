"""Presets, one file an experiment: `--config=NAME` or `--config=NAME:ARGUMENT`.

Each file has a function `get_config`, which returns a whole configuration. Copy
one and change it, and give its path: `--config=mine.py`.
"""
