"""One entry for work on Kotaro Bridge: `python3 dev.py VERB`, with nothing but Python 3.11 or newer on the machine.

Owns the verbs and how they end (exit code, one sentence on failure); the work itself is in `tools/`, in the standard
library only.
"""

from __future__ import annotations

import sys

if sys.version_info < (3, 11):  # noqa: UP036 - this sentence is for those who start it with an older Python
    sys.exit(
        f"Kotaro Bridge needs Python 3.11 or newer and this is {sys.version_info[0]}.{sys.version_info[1]}: "
        "install a newer one and start dev.py with it, for example `python3.12 dev.py`."
    )

import argparse

from tools import build, environment, llama_server, routes, verbs
from tools.console import Stop, say

VERBS = {
    "setup": (environment.setup_verb, "make .venv/ with kotaro-bridge and everything it needs"),
    "demo": (verbs.demo, "set up and open the tray application on the simulated PC"),
    "test": (verbs.test, "set up, then lint, types, all tests and coverage (arguments go to pytest)"),
    "lint": (verbs.lint, "ruff and mypy"),
    "bench": (verbs.bench, "measure speed and size (arguments go to the bench)"),
    "build": (build.verb, "make wheel, frozen folder, installer and zip, as far as this machine can"),
    "screenshots": (verbs.screenshots, "the tour in every theme, language and scale, as pictures in build/screenshots"),
    "llama-server": (llama_server.verb, "build the real llama-server once, print where it is"),
    "routes": (routes.verb, "write the table of the ways off the GPU into the README files"),
    "lock": (environment.lock, "write the requirements*.lock files anew (arguments go to `uv pip compile`)"),
}


def main() -> int:
    """Run one verb; everything after it belongs to the verb. Returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="dev.py",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="\n".join(f"  {name:13} {words}" for name, (_, words) in VERBS.items()),
    )
    parser.add_argument("verb", choices=VERBS)
    verb = parser.parse_args(sys.argv[1:2]).verb
    try:
        return VERBS[verb][0](sys.argv[2:])
    except Stop as stop:
        say(f"dev.py {verb}: {stop}")
        return 1
    except KeyboardInterrupt:
        say(f"dev.py {verb}: interrupted.")
        return 130


if __name__ == "__main__":
    sys.exit(main())
