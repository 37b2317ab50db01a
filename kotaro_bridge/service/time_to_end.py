"""The bound of an orderly end: whatever hangs in it does not keep the process.

Owns that bound, and the end of a process that does not keep it.
"""

from __future__ import annotations

import logging
import os
import threading

log = logging.getLogger(__name__)

END_S = 60.0
"""An orderly end stops the models in at most half of it."""


def end_in_time() -> threading.Timer:
    """End this process in `END_S`, unless what is returned is cancelled before: a thread that hangs in a driver would
    keep a program that nobody sees, and no other could become the owner. Engines that are left are ended by their
    guardians.
    """
    late = threading.Timer(END_S, _give_up)
    late.daemon = True
    late.start()
    return late


def _give_up() -> None:
    log.critical("the end hangs")
    os._exit(1)
