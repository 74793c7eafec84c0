"""What a prompt does inside a network, and what it means."""
