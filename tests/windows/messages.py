"""Run inside Windows: the windows over a fake desk, with messages of Windows sent to them by hand. Prints JSON.

Arguments: what is sent (`power`, `end`, `unsaved`, `scheme`).
"""

from __future__ import annotations

import ctypes
import json
import sys
import threading
import time
from collections.abc import Callable
from ctypes import wintypes
from typing import Any

from kotaro_bridge.domain.run.run_state import Phase
from kotaro_bridge.ui import win_events as win
from kotaro_bridge.ui.application import run_application
from kotaro_bridge.ui.shell import Shell
from tests.ui.fake_desk import Q14, FakeWorld

WM_SETTINGCHANGE = 0x001A
LIGHT = r"Software\Microsoft\Windows\CurrentVersion\Themes\Personalize"
SLOW_STOP_S = 0.7
DEADLINE_S = 10.0


def windows_of_this_process() -> list[int]:
    """Handles of all top-level windows, hidden ones too, as Windows sends an end of session to them."""
    user32, found = ctypes.windll.user32, []  # type: ignore[attr-defined]
    own = ctypes.windll.kernel32.GetCurrentProcessId()  # type: ignore[attr-defined]

    @ctypes.WINFUNCTYPE(wintypes.BOOL, wintypes.HWND, wintypes.LPARAM)  # type: ignore[attr-defined,untyped-decorator]
    def note(hwnd: int, _: int) -> bool:
        owner = wintypes.DWORD()
        user32.GetWindowThreadProcessId(hwnd, ctypes.byref(owner))
        if owner.value == own:
            found.append(hwnd)
        return True

    user32.EnumWindows(note, 0)
    return found


def send(hwnd: int, message: int, wparam: int = 0, lparam: int = 0) -> int:
    """Send a message from another thread and wait for the answer, as Windows does."""
    sender = ctypes.windll.user32.SendMessageW  # type: ignore[attr-defined]
    sender.argtypes = (wintypes.HWND, wintypes.UINT, ctypes.c_size_t, ctypes.c_ssize_t)
    sender.restype = ctypes.c_ssize_t
    answer: int = sender(hwnd, message, wparam, lparam)
    return answer


def until(holds: Callable[[], bool]) -> bool:
    """Whether it came to hold in time."""
    deadline = time.monotonic() + DEADLINE_S
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.02)
    return holds()


def power(world: FakeWorld, _shells: list[Shell]) -> dict[str, Any]:
    for event in (win.PBT_APMSUSPEND, win.PBT_APMRESUMEAUTOMATIC, win.PBT_APMRESUMESUSPEND):
        for hwnd in windows_of_this_process():
            send(hwnd, win.WM_POWERBROADCAST, event)
    return {"told": world.telemetry.power}


def end(world: FakeWorld, _shells: list[Shell]) -> dict[str, Any]:
    world.supervisor.move(Q14.id, Phase.READY)
    hwnds = windows_of_this_process()
    may = [send(hwnd, win.WM_QUERYENDSESSION, 0, 1) for hwnd in hwnds]
    before = str(world.supervisor.view(Q14.id).phase)
    for hwnd in hwnds:
        send(hwnd, win.WM_ENDSESSION, 1, 1)
    return {"may": min(may), "before": before, "after": str(world.supervisor.view(Q14.id).phase)}


def unsaved(_world: FakeWorld, shells: list[Shell]) -> dict[str, Any]:
    shell = shells[0]

    def edit() -> None:
        shell.open_settings()
        assert shell.settings is not None
        shell.settings.edit.form.edited.emit("wsl2.memory", "12GB")

    shell.bridge.post(edit)
    edited = until(lambda: shell.settings is not None and shell.settings.isVisible())
    hwnds = windows_of_this_process()
    may = [send(hwnd, win.WM_QUERYENDSESSION) for hwnd in hwnds]
    asked = until(lambda: shell.settings is not None and shell.settings.asked)
    for hwnd in hwnds:
        send(hwnd, win.WM_ENDSESSION, 0)
    forced = min(send(hwnd, win.WM_QUERYENDSESSION, 0, win.ENDSESSION_CRITICAL) for hwnd in hwnds)
    shell.bridge.post(shell.settings._discard_and_close)  # type: ignore[union-attr]
    return {"edited": edited, "may": min(may), "asked": asked, "forced": forced}


def scheme(_world: FakeWorld, shells: list[Shell]) -> dict[str, Any]:
    import winreg

    seen = []
    with winreg.CreateKey(winreg.HKEY_CURRENT_USER, LIGHT) as key:  # type: ignore[attr-defined]
        for light in (0, 1):
            winreg.SetValueEx(key, "AppsUseLightTheme", 0, winreg.REG_DWORD, light)  # type: ignore[attr-defined]
            words = ctypes.create_unicode_buffer("ImmersiveColorSet")
            for hwnd in windows_of_this_process():
                send(hwnd, WM_SETTINGCHANGE, 0, ctypes.addressof(words))
            seen.append(until(lambda light=light: shells[0]._theme.tokens.dark is not bool(light)))  # type: ignore[misc]
    return {"followed": seen}


def main(what: str) -> int:
    """Print what came of it and the exit code of the program."""
    world, shells, out = FakeWorld(), [], {}
    world.telemetry.fill(5)

    def stop(profile_id: str) -> None:
        def slowly() -> None:
            time.sleep(SLOW_STOP_S)
            world.supervisor.move(profile_id, Phase.STOPPED)

        world.submit(slowly)

    world.supervisor.on_stop = stop

    def on_ready(show: Callable[[], bool], quit_: Callable[[], None]) -> None:
        shells.append(show.__self__)  # type: ignore[attr-defined]

        def work() -> None:
            if not until(lambda: bool(windows_of_this_process())):
                out["error"] = "no window: has this Windows a screen?"
            else:
                out.update(globals()[what](world, shells))
            if what != "end" or "error" in out:  # there the session's end ends it
                quit_()

        threading.Thread(target=work, daemon=True).start()

    code = run_application(world.desk, on_ready=on_ready)
    print(json.dumps({**out, "code": code}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
