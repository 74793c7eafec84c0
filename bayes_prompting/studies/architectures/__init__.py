"""Whether what is true of LSTMs and Transformers is true of other torsos."""
