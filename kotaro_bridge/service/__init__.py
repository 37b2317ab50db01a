"""Use cases over the ports of `domain.ports`. Imports `domain`, never `host` or `ui`."""
