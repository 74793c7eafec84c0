"""One tuned prompt or weight update as a file that somebody else can use."""
