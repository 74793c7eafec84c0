"""Language models from files, as predictors of symbols written as text."""
