"""Figures and the report page, made of results files alone."""
