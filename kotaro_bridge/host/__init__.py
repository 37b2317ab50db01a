"""Adapters: everything that touches the machine. Imports `domain`, never `service` or `ui`."""
