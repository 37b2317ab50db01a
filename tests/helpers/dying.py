"""A process of ours that ends as it is told: `python -m tests.helpers.dying FOLDER HOW`, to see what is left of it.

It installs the crash handler, notes a run, and says "up" before it dies.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import sys
import threading
import time
from pathlib import Path

from kotaro_bridge.domain.redaction import Identity, Redactor
from kotaro_bridge.host.app_log import AppLog, install
from kotaro_bridge.host.crash_report import Crashes

SECRET = "hf_AbCdEfGhIjKlMnOpQrStUv"  # noqa: S105


def crashes_in(folder: Path) -> Crashes:
    """The handler, with a log beside it."""
    clean = Redactor(Identity(("yamada",))).text
    log = AppLog(folder / "app", clean)
    install(log)
    return Crashes(folder / "crashes", lambda: "Kotaro Bridge 9.9", clean, log.tail)


def main(folder: Path, how: str) -> int:
    """Die."""
    if "windowed" in how:
        sys.stdout = sys.stderr = None
    crashes = crashes_in(folder)
    crashes.install()
    logging.getLogger("kotaro_bridge.dying").info("with %s at home in /home/yamada", SECRET)
    if "idle" not in how:
        crashes.note_runs(["qwen: loading"])
        crashes.note_runs(["qwen: ready"])
    (folder / "up").touch()
    if how.startswith("access"):
        faulthandler._read_null()  # type: ignore[attr-defined]
    elif how.startswith("abort"):
        os.abort()
    elif how.startswith("raise"):
        raise RuntimeError(f"lost {SECRET}")
    elif how.startswith("thread"):
        thread = threading.Thread(target=lambda: 1 / 0, name="telemetry")
        thread.start()
        thread.join()
    elif how.startswith("unraisable"):
        Unraisable()
    elif how.startswith("exit"):
        os._exit(3)
    elif how.startswith("sleep"):
        time.sleep(60)
    elif how.startswith("qt"):
        crashes.qt_message("a warning")
        crashes.qt_message("no platform plugin", fatal=True)
        os._exit(3)
    crashes.close()
    return 0


class Unraisable:
    """Fails where nobody can catch it."""

    def __del__(self) -> None:
        raise ValueError(f"in a finalizer, {SECRET}")


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2]))
