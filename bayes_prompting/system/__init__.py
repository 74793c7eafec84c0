"""Files, locks, signals, processes, devices and compiled programs."""
