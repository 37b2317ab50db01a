"""What `dev.py` does, verb by verb. Standard library only; not part of the product."""
