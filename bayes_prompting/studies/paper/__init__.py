"""The claims, figures and runs of Genewein et al., arXiv 2505.17010."""
