"""Settings and updates for window tests: kept in memory, moved by the test."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from kotaro_bridge.domain.errors import Problem, ProblemError
from kotaro_bridge.domain.settings import LoginStart, OpenedSettings, Settings, SettingValue
from kotaro_bridge.domain.update import UpdateState, UpdateView
from kotaro_bridge.service.bus import Bus


class FakeSettings:
    """`opened` and `login` are what is read; `error` is raised by the next change."""

    def __init__(self) -> None:
        self.opened = OpenedSettings(Settings())
        self.login = LoginStart(False)
        self.error: Problem | None = None

    def read(self) -> OpenedSettings:
        return self.opened

    def change(self, changes: Mapping[str, SettingValue]) -> Settings:
        self._fail()
        self.opened = replace(self.opened, settings=replace(self.opened.settings, **changes))  # type: ignore[arg-type]
        return self.opened.settings

    def at_login(self) -> LoginStart:
        return self.login

    def set_at_login(self, enabled: bool) -> None:
        self._fail()
        self.login = LoginStart(enabled)

    def _fail(self) -> None:
        if self.error is not None:
            raise ProblemError(self.error)


class FakeDiagnostics:
    """Writes one byte, or fails as it is told."""

    def __init__(self) -> None:
        self.error: Problem | None = None

    def write(self, path: Path) -> Path:
        if self.error is not None:
            raise ProblemError(self.error)
        path.write_bytes(b"z")
        return path


class FakeUpdates:
    """`asked` is what was clicked; `show` publishes what the test wants seen."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self.view = UpdateView(UpdateState.IDLE, "0.1.0", has_feed=True)
        self.asked: list[str] = []

    def show(self, view: UpdateView) -> None:
        self.view = view
        self._bus.publish(view)

    def state(self) -> UpdateView:
        return self.view

    def check(self) -> None:
        self.asked.append("check")

    def download(self) -> None:
        self.asked.append("download")

    def cancel(self) -> None:
        self.asked.append("cancel")

    def install(self) -> None:
        self.asked.append("install")
