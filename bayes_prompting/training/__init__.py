"""The one loop, the search beside it, and how both use the machine."""
