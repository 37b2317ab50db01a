"""Copies of Ollama's models: told like downloads, ended at any time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, cast

import pytest

from kotaro_bridge.domain.errors import ProblemError, problem
from kotaro_bridge.domain.model.download import RESTING, DownloadState, DownloadView
from kotaro_bridge.service.copies import Copies
from kotaro_bridge.service.model_shelf import Copied

WAIT_S = 10.0


class Shelf:
    """Copies in steps of a test's; `error` ends it."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.begun, self.go_on = threading.Event(), threading.Event()

    def import_ollama(
        self, name: str, target: str, folder: str, on_bytes: Callable[[int, int, str], None]
    ) -> tuple[Copied, ...]:
        on_bytes(1, 4, "m.gguf")
        self.begun.set()
        assert self.go_on.wait(WAIT_S)
        if self.error is not None:
            raise self.error
        on_bytes(4, 4, "m.gguf")
        return (Copied(f"{folder}/m.gguf", True),)


class Desk:
    def __init__(self) -> None:
        self.shelf = Shelf()
        self.seen: list[DownloadView] = []
        self.copies = Copies(cast(Any, self.shelf), self.seen.append)

    def rests(self) -> DownloadView:
        deadline = time.monotonic() + WAIT_S
        while self.copies.views()[0].state not in RESTING:
            assert time.monotonic() < deadline
            time.sleep(0.005)
        return self.copies.views()[0]


def test_a_copy_is_told_to_its_end_and_forgotten() -> None:
    desk = Desk()
    name = desk.copies.start("qwen3:8b", "wsl:")
    assert desk.shelf.begun.wait(WAIT_S)
    assert desk.copies.start("qwen3:8b", "wsl:") == name, "the same once more is the same copy"
    desk.copies.forget(name)
    assert desk.copies.views(), "one that is under way is not forgotten"
    desk.shelf.go_on.set()
    view = desk.rests()
    assert (view.state, view.bytes, view.folder) == (DownloadState.DONE, 4, "~/models/m.gguf")
    assert desk.seen[0].state is DownloadState.RUNNING
    desk.copies.forget(name)
    assert desk.copies.views() == ()


def test_a_copy_that_is_ended_stops_at_its_next_bytes() -> None:
    desk = Desk()
    name = desk.copies.start("qwen3:8b", "wsl:")
    assert desk.shelf.begun.wait(WAIT_S)
    desk.copies.end(name)
    desk.shelf.go_on.set()
    assert desk.rests().state is DownloadState.PAUSED


def _fails_with(error: Exception) -> str:
    desk = Desk()
    desk.shelf.error = error
    desk.shelf.go_on.set()
    desk.copies.start("qwen3:8b", "wsl:")
    view = desk.rests()
    assert view.state is DownloadState.FAILED
    assert view.problem is not None
    return view.problem.code


def test_what_goes_wrong_is_told() -> None:
    assert _fails_with(ProblemError(problem("models.copy_cut", path="x"))) == "models.copy_cut"


@pytest.mark.allow_log(r"^copy of qwen3", reason="the error is the test's")
def test_an_error_of_ours_is_told_too() -> None:
    assert _fails_with(ValueError("?")) == "run.internal"


def test_a_close_ends_all() -> None:
    desk = Desk()
    desk.copies.start("qwen3:8b", "wsl:")
    assert desk.shelf.begun.wait(WAIT_S)
    threading.Timer(0.05, desk.shelf.go_on.set).start()
    desk.copies.close()
    assert desk.copies.views()[0].state is DownloadState.PAUSED
