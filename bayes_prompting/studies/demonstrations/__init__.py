"""Demonstrations before what is scored: alone, with prompts, with weights."""
