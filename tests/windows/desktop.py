"""The desktop of a Windows under Wine, used as a person uses it: mouse, keys, pictures. Wants an X display (variable
`KOTARO_WINLAB_DISPLAY`, the one that the lab's programs draw on), xdotool and ImageMagick's `import`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.helpers.simulated import until
from tests.windows.product import WindowsProduct

VARIABLE = "KOTARO_WINLAB_DISPLAY"
SIZE = "1280x800"
ICON = (1269, 790)
"""Where the first icon of the notification area is on a desktop of that size (Qt is told (0, 0) under Wine)."""
TITLE = "Kotaro Bridge"
TRIES, TRY_S, WINDOW_S, START_S = 5, 3.0, 15.0, 60.0


def missing_reason() -> str | None:
    """Why there is no desktop to click on; None where there is one."""
    if not os.environ.get(VARIABLE):
        return f"no desktop: {VARIABLE} does not name the X display of the Windows lab"
    absent = [tool for tool in ("xdotool", "import") if shutil.which(tool) is None]
    return f"no {' and no '.join(absent)}: nobody can click" if absent else None


class Desktop:
    """A desktop with one program in its tray.

    Args:
        product: the command line of the same user, which tells what the program does.
        display: an X display such as `:9`.

    Raises:
        AssertionError: the display does not answer.
    """

    def __init__(self, product: WindowsProduct, display: str) -> None:
        self.product = product
        self._env = {**os.environ, "DISPLAY": display}
        assert self._xdotool("getmouselocation"), f"the X display {display} does not answer"

    @contextmanager
    def program(self, argv: Sequence[str], failed: Path | None = None) -> Iterator[subprocess.Popen[bytes]]:
        """A program on the desktop, with its icon in the tray; all of the desktop is ended with the context.

        Args:
            failed: where a picture of the screen goes if something does not hold.
        """
        log = self.product.folder / "desktop.log"
        command = self.product.windows.argv("explorer", f"/desktop=shell,{SIZE}", *argv)
        env = {**self.product.env, **self.product.windows.env, "WINEQT_QPA_PLATFORM": "windows"}
        with log.open("wb") as out:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=env)
        with process:
            try:
                until(
                    lambda: (self.product.root / "control.key").exists(), what="the owner answers", deadline_s=START_S
                )
                yield process
            except AssertionError:
                if failed is not None:
                    self.picture(failed)
                raise
            finally:
                self.product.windows.kill(*self.pids())
                process.kill()

    def pids(self) -> list[int]:
        """Windows process ids of the tray application."""
        found = self.product.windows.processes("otaro").items()
        others = ("wsl.exe", "explorer", "inside.py")
        return [pid for pid, line in found if not any(word in line for word in others)]

    def picture(self, path: Path) -> None:
        """The whole screen."""
        path.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["import", "-window", "root", str(path)], env=self._env, check=True)

    def windows(self) -> set[str]:
        """Ids of our visible windows, menus among them."""
        return set(self._xdotool("search", "--onlyvisible", "--name", TITLE).split())

    def widest(self) -> int:
        """Pixels across our widest window."""
        told = (self._xdotool("getwindowgeometry", "--shell", window) for window in self.windows())
        return max((int(each.partition("WIDTH=")[2].split()[0]) for each in told if "WIDTH=" in each), default=0)

    def menu(self) -> None:
        """Right click on the icon, until the menu is there."""
        self._click(3)

    def dashboard(self) -> None:
        """Left click on the icon, until the window is there."""
        self._click(1)

    def keys(self, *names: str) -> None:
        """Press keys, one after another."""
        self._xdotool("key", "--delay", "60", *names)

    def choose(self, *names: str) -> None:
        """Press keys that close the menu, and wait until it is gone."""
        menu = self.windows()
        self.keys(*names)
        until(lambda: menu - self.windows(), what="the menu closes", deadline_s=WINDOW_S)

    def start_or_stop(self, profile: str) -> None:
        """Choose a profile in the menu."""
        listed = self.product.call("profiles", "list", "--json").json["profiles"]
        groups: dict[str, list[str]] = {}
        for each in listed:
            groups.setdefault(each["engine"], []).append(each["id"])
        self.menu()
        below = [each for group in groups.values() for each in group].index(profile) + 1
        self.choose(*["Down"] * below, "Return")

    def _click(self, button: int) -> None:
        before = self.windows()
        for last in (False,) * (TRIES - 1) + (True,):
            self._xdotool("mousemove", *map(str, ICON), "click", str(button))
            try:
                until(lambda: self.windows() - before, what="a window opens", deadline_s=TRY_S)
            except AssertionError:
                if last:
                    raise
            else:
                # Without a window manager the keys may stay with the task bar that was clicked.
                self._xdotool("windowfocus", "--sync", *(self.windows() - before))
                return

    def _xdotool(self, *words: str) -> str:
        done = subprocess.run(["xdotool", *words], env=self._env, capture_output=True, text=True, check=False)
        return done.stdout
