"""The tray application as the command line opens it, with a model that is started as soon as telemetry runs.

`python -m tests.bench.app_with_model PROFILE`: the start is asked for where a click in the tray menu asks for it.
"""

from __future__ import annotations

import sys
import threading
import time

from kotaro_bridge import session
from kotaro_bridge.app import Product, open_windows
from tests.bench.home import SCENARIO


def _start_when_open(product: Product, profile_id: str) -> None:
    while product.telemetry.latest() is None:
        time.sleep(0.05)
    product.supervisor.start(profile_id)


def main() -> int:
    """The exit code of the application."""
    session.session.scenario = SCENARIO
    with session.product() as product:
        threading.Thread(target=_start_when_open, args=(product, sys.argv[1]), daemon=True).start()
        return open_windows(product)


if __name__ == "__main__":
    sys.exit(main())
