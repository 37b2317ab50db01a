"""The tray application as a plain start opens it, with a model that is started as soon as telemetry runs.

`python -m tests.bench.app_with_model PROFILE`: the start is asked for where a click in the tray menu asks for it.
"""

from __future__ import annotations

import sys
import threading
import time

from kotaro_bridge.app import last_words
from kotaro_bridge.ui.first_icon import show_first_icon

SCENARIO = "rtx4070-12gb"


def main() -> int:
    """The exit code of the application."""
    return last_words.begin().guard(_run)


def _run() -> int:
    """As `__main__` does it: the icon before the rest is loaded."""
    show_first_icon(SCENARIO)
    last_words.begin_log()
    from kotaro_bridge.app import session
    from kotaro_bridge.app.product import open_windows

    session.session.scenario = SCENARIO
    with session.product() as product:

        def start_when_open() -> None:
            while product.telemetry.latest() is None:
                time.sleep(0.05)
            product.supervisor.start(sys.argv[1])

        threading.Thread(target=start_when_open, daemon=True).start()
        return open_windows(product)


if __name__ == "__main__":
    sys.exit(main())
