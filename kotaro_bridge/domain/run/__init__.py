"""A run: the gate before it, its states, what is measured while it serves, and what would help."""
