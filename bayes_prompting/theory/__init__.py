"""Exact answers that need no network."""
