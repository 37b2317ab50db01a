"""Adapters: everything that touches the machine. Imports `domain`, never `service` or `ui`."""

import sys

# httpx brings rich and pygments for a command line of its own (6 MiB, measured) and does without where that cannot be
# imported, which None in `sys.modules` says (Python reference, "The import system").
sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]
