"""What blocks, asked from a window: it runs on a worker thread, and the answer comes back over the bridge."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

from kotaro_bridge.domain.errors import ProblemError
from kotaro_bridge.texts import Message
from kotaro_bridge.ui.bridge import Bridge
from kotaro_bridge.ui.desk import Desk

T = TypeVar("T")
log = logging.getLogger(__name__)


def in_background(
    desk: Desk, bridge: Bridge, call: Callable[[], T], show: Callable[[T], None], fail: Callable[[Message], None]
) -> None:
    """Return at once; `show` is called on the windows' thread or, after any error, `fail`: no window waits forever."""

    def work() -> None:
        try:
            answer = call()
        except ProblemError as error:
            message = desk.texts.message(error.problem)
            bridge.post(lambda: fail(message))
        except Exception as error:
            log.exception("work for a window failed")
            message = Message(desk.texts.text("ui.failed.what", error=repr(error)), desk.texts.text("ui.failed.do"))
            bridge.post(lambda: fail(message))
        else:
            bridge.post(lambda: show(answer))

    desk.submit(work)
