"""Files, locks, signals, processes and compiled programs."""
