"""Runs on the Windows side (`py frozen_clock.py ROUNDS FOLDER PROGRAM PROGRAM …`): from a program's start to its tray
icon, in turns; prints a JSON list of milliseconds for each program.

Qt makes a message window for a tray icon right before it hands the icon to the shell
(qtbase, qwindowssystemtrayicon.cpp): that window is looked for, since nothing tells where the shell draws.
"""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
import time
from pathlib import Path

WINDOW = "TrayIconMessageWindowClass"
PATIENCE_S = 60.0
LOOK_S = 0.005


def has_icon(pid: int) -> bool:
    """Whether a process has the window of a tray icon."""
    if sys.platform != "win32":
        raise OSError("there are such windows on Windows alone")
    user32, found = ctypes.windll.user32, []
    name = ctypes.create_unicode_buffer(128)
    owner = ctypes.c_ulong()

    def look(window: int, _: int) -> int:
        user32.GetWindowThreadProcessId(ctypes.c_void_p(window), ctypes.byref(owner))
        user32.GetClassNameW(ctypes.c_void_p(window), name, len(name))
        if owner.value == pid and WINDOW in name.value:
            found.append(window)
        return not found

    user32.EnumWindows(ctypes.WINFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)(look), None)
    return bool(found)


def icon_ms(command: list[str]) -> float:
    """One start; the program is killed as soon as its icon is there."""
    begin = time.perf_counter()
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as program:
        while not has_icon(program.pid):
            if time.perf_counter() - begin > PATIENCE_S or program.poll() is not None:
                program.kill()
                sys.exit(f"{command[0]} showed no icon (exit code {program.poll()})")
            time.sleep(LOOK_S)
        took = (time.perf_counter() - begin) * 1000
        program.kill()
    return took


def main() -> None:
    """Rounds in turns; the first of each program fills caches and does not count."""
    rounds, folder = int(sys.argv[1]), Path(sys.argv[2])
    programs = [json.loads(words) for words in sys.argv[3:]]
    times: list[list[float]] = [[] for _ in programs]
    for count in range(rounds + 1):
        for number, (program, found) in enumerate(zip(programs, times, strict=True)):
            # A folder for each start: nothing that a killed one left has a say.
            os.environ["WIN_PD_OVERRIDE_LOCAL_APPDATA"] = str(folder / f"{count}-{number}")
            took = icon_ms(program)
            if count:
                found.append(took)
    print(json.dumps(times))


if __name__ == "__main__":
    main()
