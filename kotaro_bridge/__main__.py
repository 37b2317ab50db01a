"""`python -m kotaro_bridge` and the `kotaro-bridge` program."""

from __future__ import annotations

import sys

from kotaro_bridge.cli import run_command_line


def main() -> int:
    """Run the command line; returns the exit code."""
    return run_command_line(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
