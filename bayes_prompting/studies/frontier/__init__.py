"""Every way to adapt, on one scale: regret against what it costs."""
