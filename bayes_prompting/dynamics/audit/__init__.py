"""Is it Bayesian? Checks of any predictor, each with an interval and a test.

`readers` ask a predictor of any kind, `measure` takes numbers of many
sequences, `verdicts` judges them, `figures` draws them, and `runs` audits what
a finished run has left.
"""
