"""Starts learned over many targets, and networks without a prior."""
