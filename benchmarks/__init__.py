"""What measures speed; see each module's docstring for its command."""
