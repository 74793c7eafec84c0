"""The prompts study: which hard prefixes are best, and for which predictor?"""
