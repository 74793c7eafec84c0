"""Numbers with bounds, intervals and verdicts."""
