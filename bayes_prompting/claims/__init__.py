"""Claims: numbers with bounds, intervals and verdicts."""
