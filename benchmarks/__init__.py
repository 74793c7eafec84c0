"""Measures of speed; `python -m benchmarks.run --help`."""
