"""The paper (Genewein et al., arXiv 2505.17010): claims, figures and runs."""
