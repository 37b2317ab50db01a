"""Installers made of a frozen folder, and an installation that they make: what is there, before and after each step."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.helpers.simulated import until
from tests.windows.inside import SCRATCH
from tests.windows.lab import HERE, ROOT, Ended, Windows
from tools.build_installer import Setup, compile_setup

FROZEN = "KOTARO_FROZEN"
LOG = "KOTARO_INSTALLER_LOG"
UNINSTALL_KEY = r"Software\Microsoft\Windows\CurrentVersion\Uninstall\KotaroBridge"
APP_ID_KEY = r"Software\Classes\AppUserModelId\KotaroBridge.KotaroBridge"
RUN_KEY = r"Software\Microsoft\Windows\CurrentVersion\Run"
PRODUCT = "Kotaro Bridge"
SHORTCUT = rf"AppData\Roaming\Microsoft\Windows\Start Menu\Programs\{PRODUCT}.lnk"
COMMENT = "made by a test"
"""In the version information of the tests' installers and uninstallers."""
PICTURES = ROOT / "build" / "freeze"
ONLY_OLD, ONLY_NEW = "_internal/only-in-the-old.txt", "_internal/only-in-the-new.txt"
SETUP_S, ANSWER_S = 240.0, 20.0
_VALUE = """
import json, sys, winreg
try:
    with winreg.OpenKey(winreg.HKEY_CURRENT_USER, sys.argv[1]) as key:
        found = {n: v for n, v, _ in (winreg.EnumValue(key, i) for i in range(winreg.QueryInfoKey(key)[1]))}
except FileNotFoundError:
    found = None
print(json.dumps(found))
"""
_ASK_OWNER = """
import json, sys
from kotaro_bridge.host.control import ask
from kotaro_bridge.host.paths import Paths
print(json.dumps(ask(Paths.of_user().state, json.loads(sys.argv[1]))))
"""
_SAYS = """
import pathlib, sys
file = pathlib.Path(sys.argv[1])
print(file.exists() and sys.argv[2].encode("utf-16-le") in file.read_bytes())
"""
_FORGET = """
import contextlib, os, pathlib, sys, winreg
shortcut, *keys = sys.argv[1:]
pathlib.Path(os.environ["USERPROFILE"], shortcut).unlink(missing_ok=True)
for key in keys:
    with contextlib.suppress(FileNotFoundError):
        winreg.DeleteKey(winreg.HKEY_CURRENT_USER, key)
"""
_LINE = "import subprocess, sys; sys.exit(subprocess.call(sys.argv[1]))"


@dataclass(frozen=True, slots=True)
class Setups:
    """Installers of the same program: one, and a newer one with a file less and a file more.

    Args:
        old, new: the installers; old_version, new_version: what they say they are.
    """

    old: Path
    new: Path
    old_version: str
    new_version: str


def frozen_folder() -> Path:
    """The frozen folder under test: the one that a variable names, or the one that dev.py build made."""
    return Path(os.environ.get(FROZEN) or ROOT / "build" / "frozen" / PRODUCT)


def make_setups(folder: Path) -> Setups:
    """Both installers, not compressed."""
    frozen = frozen_folder()
    about = json.loads((frozen / "_internal/kotaro_bridge/resources/build.json").read_text(encoding="utf-8"))
    major, minor, patch = map(int, about["version"].split("."))
    versions = (about["version"], f"{major}.{minor}.{patch + 1}")
    made = []
    for version, own_file in zip(versions, (ONLY_OLD, ONLY_NEW), strict=True):
        copy = folder / version
        shutil.copytree(frozen, copy, copy_function=os.link)
        (copy / own_file).write_text(version, encoding="utf-8")
        output = folder / f"setup-{version}.exe"
        compile_setup(Setup(copy, PICTURES, output, version, COMMENT, plain=True))
        shutil.rmtree(copy)
        made.append(output)
    return Setups(made[0], made[1], *versions)


class Installation:
    """The product of one Windows user, installed by an installer.

    Args:
        env: variables of everything that is started; log: folder for what is there before and after each step.
    """

    def __init__(self, windows: Windows, env: Mapping[str, str], log: Path) -> None:
        self.windows = windows
        self.env = dict(env)
        self._log = log
        self._steps: list[str] = []

    def setup(self, installer: Path, *arguments: str) -> int:
        """Run an installer silently; its exit code."""
        return self._line(f'"{self.windows.path(installer)}"', "/S", *arguments)

    def clear(self) -> None:
        """Remove what a session left that was ended hard, or a program that ran without being installed.

        Raises:
            AssertionError: somebody else has installed the product.
        """
        folder = self.location
        if self.windows.python(_SAYS, f"{folder}\\uninstall.exe", COMMENT).strip() == "True":
            self.uninstall()
        elif folder and not SCRATCH.search(folder):
            raise AssertionError(f"{PRODUCT} is in {folder}: the tests would remove it. Uninstall it first.")
        self.windows.python(_FORGET, SHORTCUT, UNINSTALL_KEY, APP_ID_KEY)

    def uninstall(self, *arguments: str, waits: bool = True) -> None:
        """Run the uninstaller as Windows' settings do: it goes on in a copy of itself, which nobody can wait for."""
        folder = self.location
        assert self.run(f"{folder}\\uninstall.exe", "/S", *arguments).code == 0
        if waits:
            until(lambda: self.location == "", what="the uninstaller ends", deadline_s=60.0)
            until(lambda: not self.has(folder), what=f"{folder} goes", deadline_s=20.0)

    def uninstall_in_place(self, *arguments: str) -> int:
        """Run the uninstaller itself and not a copy, which tells its exit code."""
        folder = self.location
        return self._line(f'"{folder}\\uninstall.exe"', "/S", *arguments, f"_?={folder}")

    def _line(self, *words: str) -> int:
        """Run a command line as it stands: NSIS wants `/D=` and `_?=` last and without quotes, blanks or not."""
        command = self.windows.argv("py", "-c", _LINE, " ".join(words))
        env, nothing = {**os.environ, **self.windows.env, **self.env}, subprocess.DEVNULL
        # No pipes: a program that the installer starts again would keep them open.
        return subprocess.run(
            command, env=env, cwd=ROOT, stdin=nothing, stdout=nothing, stderr=nothing, timeout=SETUP_S, check=False
        ).returncode

    def run(self, program: str, *arguments: str) -> Ended:
        """Run a program to its end."""
        return self.windows.run(program, *arguments, env=self.env, timeout_s=SETUP_S)

    def console(self, *arguments: str) -> Ended:
        """The installed command line."""
        return self.run(f"{self.location}\\kotaro-bridge.exe", *arguments)

    def owner(self, request: Mapping[str, str]) -> dict[str, Any] | None:
        """What the tray application answers; None where there is none."""
        try:
            words = ("py", "-c", _ASK_OWNER, json.dumps(request))
            told = self.windows.run(*words, env=self.env, timeout_s=ANSWER_S).text
        except subprocess.TimeoutExpired:
            return None
        answer: dict[str, Any] | None = json.loads(told or "null")
        return answer

    def state(self, profile: str) -> str:
        """The state of a run of the tray application; "" where there is none."""
        runs = (self.owner({"verb": "status"}) or {"runs": []})["runs"]
        return str(next((run["state"] for run in runs if run["profile"] == profile), ""))

    @property
    def location(self) -> str:
        """The folder that the registry names; "" where nothing is installed."""
        return str((self.values(UNINSTALL_KEY) or {}).get("InstallLocation", ""))

    def values(self, key: str) -> dict[str, object] | None:
        """The values of a key of this user; None where there is no such key."""
        found: dict[str, object] | None = json.loads(self.windows.python(_VALUE, key))
        return found

    def names(self, folder: str) -> list[str]:
        """What is in a folder of that Windows."""
        code = "import os, sys; print(*sorted(os.listdir(sys.argv[1]), key=str.lower), sep='\\n')"
        return self.windows.python(code, folder).splitlines()

    def has(self, path: str) -> bool:
        """Whether that Windows has such a file or folder."""
        return self.windows.python("import os, sys; print(os.path.exists(sys.argv[1]))", path).strip() == "True"

    def inventory(self, step: str) -> set[str]:
        """Everything of this user now; also a file of the log."""
        listed = self.run("py", self.windows.path(HERE / "inventory.py"))
        assert listed.code == 0, listed.err.decode("utf-8", "replace")
        lines = listed.text.splitlines()
        self._steps.append(step)
        (self._log / f"{len(self._steps)}-{step}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
        return set(lines)

    def note(self, step: str, before: set[str], after: set[str]) -> None:
        """Add to the log's summary what a step changed; files of the program itself as a number."""
        gone, come = sorted(before - after), sorted(after - before)
        with (self._log / "summary.txt").open("a", encoding="utf-8") as file:
            file.write(f"== {step}: {len(come)} more, {len(gone)} less\n")
            for mark, lines in (("-", gone), ("+", come)):
                inner = [line for line in lines if "\\_internal\\" in line or "\\licenses\\" in line]
                file.writelines(f"{mark} {line}\n" for line in lines if line not in inner)
                if inner:
                    file.write(f"{mark} ({len(inner)} files and folders inside the program)\n")
