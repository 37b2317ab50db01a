"""The installer's chain and its refusals. Needs a frozen folder (`dev.py build`, or KOTARO_FROZEN) and makensis.

What is there before and after each step goes into the folder that KOTARO_INSTALLER_LOG names.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.helpers.simulated import until
from tests.windows import lab
from tests.windows.installed import (
    APP_ID_KEY,
    FROZEN,
    LOG,
    ONLY_NEW,
    ONLY_OLD,
    PICTURES,
    PRODUCT,
    RUN_KEY,
    SHORTCUT,
    UNINSTALL_KEY,
    Installation,
    Setups,
    frozen_folder,
    make_setups,
)
from tests.windows.lab import Windows
from tests.windows.product import LLAMA, WindowsProduct
from tools.build_installer import Setup, compile_setup, makensis

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

START_S = 60.0
DESKTOP = "/desktop=shell,1280x800"
IN_USE, OLDER, TOO_OLD, NOT_WRITTEN, NOT_FORGOTTEN = 3, 4, 5, 2, 6
NOT_OURS = 8
NEW, OLD = ".kotaro-bridge-new", ".kotaro-bridge-old"
WHOLE = ["_internal", "kotaro-bridge.exe", "KotaroBridge.exe", "licenses", "uninstall.exe"]
HOLD = """
import pathlib, sys
with open(sys.argv[1], "rb"):
    print("held", flush=True)
    sys.stdin.read()
"""
HANG = """
import subprocess, sys
import psutil
child = subprocess.Popen([sys.argv[1], "--help"], stdout=subprocess.DEVNULL)
psutil.Process(child.pid).suspend()
print("hangs", flush=True)
sys.stdin.read()
child.kill()
child.wait()
"""


@pytest.fixture(scope="module")
def setups() -> Iterator[Setups]:
    """An installer and that of a newer version."""
    if (reason := lab.missing_reason()) is not None:
        pytest.skip(reason)
    if not frozen_folder().is_dir() or not PICTURES.is_dir():
        pytest.skip(f"no frozen folder: `dev.py build` makes it, or {FROZEN} names one")
    if makensis() is None:
        pytest.skip("no makensis")
    with lab.scratch("setups") as folder:
        yield make_setups(folder)


@pytest.fixture
def log(request: pytest.FixtureRequest, scratch: Path) -> Path:
    """The folder of this test's log."""
    folder = Path(os.environ.get(LOG) or scratch) / str(request.node.name)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def installation(windows_lab: Windows, scratch: Path, log: Path, setups: Setups) -> Iterator[Installation]:
    """Nothing installed yet, the user's files of the product in a folder of their own; nothing is left afterwards."""
    env = {"WIN_PD_OVERRIDE_LOCAL_APPDATA": windows_lab.path(scratch / "local")}
    made = Installation(windows_lab, env, log)
    made.clear()
    yield made
    if made.location:
        made.uninstall()


@pytest.fixture
def tray(installation: Installation) -> Iterator[Callable[[], None]]:
    """Starts the installed tray application on a desktop with a task bar, and waits until it answers."""

    desktops = []

    def start() -> None:
        command = installation.windows.argv("explorer", DESKTOP, f"{installation.location}\\KotaroBridge.exe")
        env, nothing = {**os.environ, **installation.env}, subprocess.DEVNULL
        desktops.append(subprocess.Popen(command, env=env, cwd=lab.ROOT, stdin=nothing, stdout=nothing, stderr=nothing))
        until(lambda: installation.owner({"verb": "status"}), what="the owner answers", deadline_s=START_S)

    yield start
    installation.windows.kill(*installation.windows.processes("KotaroBridge.exe"))
    installation.windows.kill(*installation.windows.processes(DESKTOP))
    for desktop in desktops:
        desktop.wait(START_S)


def test_the_chain(
    product: WindowsProduct, installation: Installation, setups: Setups, tray: Callable[[], None]
) -> None:
    """Install, start, a model, upgrade while it serves, remove: what each step leaves is known and named."""
    profile = product.builtin(LLAMA)
    installation.env = {**installation.env, **product.windows.env, **product.env}
    before = installation.inventory("before")

    assert installation.setup(setups.old, "/AUTOSTART=1") == 0
    first = installation.inventory("installed")
    installation.note("install", before, first)
    folder = installation.location
    assert folder.endswith(rf"AppData\Local\Programs\{PRODUCT}")
    assert sorted(installation.names(folder), key=str.lower) == sorted(WHOLE, key=str.lower)
    assert installation.values(RUN_KEY) == {"KotaroBridge": f'"{folder}\\KotaroBridge.exe"'}
    assert any(SHORTCUT in line for line in first)
    listed = installation.values(UNINSTALL_KEY) or {}
    assert listed["DisplayVersion"] == setups.old_version
    assert listed["QuietUninstallString"] == f'"{folder}\\uninstall.exe" /S'
    assert 50_000 < int(str(listed["EstimatedSize"])) < 160 * 1024
    assert (installation.values(APP_ID_KEY) or {})["DisplayName"] == PRODUCT
    assert installation.has(str((installation.values(APP_ID_KEY) or {})["IconUri"]))

    tray()
    assert installation.owner({"verb": "apply", "profile": profile, "word": "context=4096"})
    until(lambda: installation.state(profile) == "ready", what="the model serves", deadline_s=START_S)
    used = product.vram_used()
    pid = next(iter(installation.windows.processes("KotaroBridge.exe")))

    assert installation.setup(setups.new) == 0
    assert product.left() == []
    assert product.vram_used() < used
    until(lambda: installation.owner({"verb": "status"}), what="it is there again", deadline_s=START_S)
    assert pid not in installation.windows.processes("KotaroBridge.exe")
    assert installation.state(profile) in ("", "idle")
    second = installation.inventory("upgraded")
    installation.note("upgrade", first, second)
    assert (installation.values(UNINSTALL_KEY) or {})["DisplayVersion"] == setups.new_version
    assert installation.has(f"{folder}\\{ONLY_NEW}")
    assert not installation.has(f"{folder}\\{ONLY_OLD}")
    assert sorted(installation.names(folder), key=str.lower) == sorted(WHOLE, key=str.lower)
    assert installation.values(RUN_KEY) == {"KotaroBridge": f'"{folder}\\KotaroBridge.exe"'}
    assert (product.profiles / f"{profile}.toml").exists()

    installation.uninstall()  # while it runs
    after = installation.inventory("removed")
    installation.note("remove", second, after)
    assert after == before
    assert (product.profiles / f"{profile}.toml").exists()


def test_settings_go_if_wished(installation: Installation, setups: Setups, scratch: Path) -> None:
    before = installation.inventory("before")
    assert installation.setup(setups.old) == 0
    assert installation.console("settings", "set", "language=ja").code == 0
    assert any((scratch / "local").rglob("settings.toml"))
    installation.uninstall("/FORGET")
    assert not list((scratch / "local").rglob("*.toml"))
    assert installation.inventory("removed") == before


@pytest.mark.parametrize("own", [False, True])
def test_what_a_killed_session_installed_is_removed(
    installation: Installation, setups: Setups, scratch: Path, own: bool
) -> None:
    """In the usual folder, and in a scratch folder that has gone since."""
    before, place = installation.inventory("before"), scratch / "place"
    assert installation.setup(setups.old, *([f"/D={installation.windows.path(place)}"] if own else [])) == 0
    shutil.rmtree(place, ignore_errors=True)
    installation.clear()
    assert installation.inventory("cleared") == before


def test_the_same_again_changes_nothing(installation: Installation, setups: Setups) -> None:
    assert installation.setup(setups.old) == 0
    once = installation.inventory("once")
    assert installation.setup(setups.old) == 0
    assert installation.inventory("twice") == once


def test_an_older_version_needs_a_word(installation: Installation, setups: Setups) -> None:
    assert installation.setup(setups.new) == 0
    installed = installation.inventory("installed")
    assert installation.setup(setups.old) == OLDER
    assert installation.inventory("refused") == installed
    assert installation.setup(setups.old, "/DOWNGRADE") == 0
    assert (installation.values(UNINSTALL_KEY) or {})["DisplayVersion"] == setups.old_version
    assert not installation.has(f"{installation.location}\\{ONLY_NEW}")


def test_start_at_login_is_a_choice(installation: Installation, setups: Setups) -> None:
    assert installation.setup(setups.old) == 0
    assert "KotaroBridge" not in (installation.values(RUN_KEY) or {})
    assert installation.setup(setups.old, "/AUTOSTART=1") == 0
    assert "KotaroBridge" in (installation.values(RUN_KEY) or {})
    assert installation.setup(setups.old, "/AUTOSTART=0") == 0
    assert "KotaroBridge" not in (installation.values(RUN_KEY) or {})


@pytest.mark.parametrize("file", ["KotaroBridge.exe", "kotaro-bridge.exe"])
def test_a_file_in_use_changes_nothing(installation: Installation, setups: Setups, file: str) -> None:
    """Held by a program that lets others write but not rename, as an editor or a scanner does."""
    assert installation.setup(setups.old) == 0
    installed = installation.inventory("installed")
    with installation.windows.start("py", "-c", HOLD, f"{installation.location}\\{file}") as holder:
        assert holder.stdout is not None
        assert holder.stdin is not None
        assert holder.stdout.readline().strip() == b"held"
        assert installation.setup(setups.new) == IN_USE
        assert installation.inventory("upgrade-refused") == installed
        assert installation.uninstall_in_place() == IN_USE
        assert installation.inventory("removal-refused") == installed
        holder.stdin.close()
    assert installation.console("--version").code == 0
    assert installation.setup(setups.new) == 0


def test_a_program_that_hangs_is_not_torn_away(installation: Installation, setups: Setups) -> None:
    assert installation.setup(setups.old) == 0
    installed = installation.inventory("installed")
    with installation.windows.start("py", "-c", HANG, f"{installation.location}\\kotaro-bridge.exe") as hangs:
        assert hangs.stdout is not None
        assert hangs.stdin is not None
        assert hangs.stdout.readline().strip() == b"hangs"
        assert installation.setup(setups.new) == IN_USE
        assert installation.inventory("refused") == installed
        hangs.stdin.close()
    assert installation.setup(setups.new) == 0


def test_another_folder(installation: Installation, setups: Setups, scratch: Path) -> None:
    """With blanks and Japanese in its name, and with files of somebody else in it."""
    place = scratch / "虎太郎 の プログラム"
    place.mkdir()
    (place / "keep.txt").write_text("not ours", encoding="utf-8")
    before = installation.inventory("before")
    assert installation.setup(setups.old, f"/D={installation.windows.path(place)}") == 0
    assert installation.location == installation.windows.path(place / PRODUCT)
    assert installation.console("--version").code == 0
    assert installation.setup(setups.new) == 0
    assert installation.location == installation.windows.path(place / PRODUCT)
    installation.uninstall()
    assert [entry.name for entry in place.iterdir()] == ["keep.txt"]
    assert installation.inventory("removed") == before


def test_the_folder_of_another_program(installation: Installation, setups: Setups, scratch: Path) -> None:
    """It has an uninstaller, licences and libraries as we have, and folders that a person called old and new."""
    place = scratch / "theirs"
    for name in ("uninstall.exe", "licenses/MIT.txt", "_internal/their.dll", ".new/a.txt", ".old/b.txt"):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text("not ours", encoding="utf-8")
    theirs = sorted(path.relative_to(place).as_posix() for path in place.rglob("*"))
    assert installation.setup(setups.old, f"/D={installation.windows.path(place)}") == 0
    assert installation.location == installation.windows.path(place / PRODUCT)
    installation.uninstall()
    assert sorted(path.relative_to(place).as_posix() for path in place.rglob("*")) == theirs
    assert all(path.read_text(encoding="utf-8") == "not ours" for path in place.rglob("*") if path.is_file())


def test_a_copy_of_the_uninstaller_removes_nothing(installation: Installation, setups: Setups, scratch: Path) -> None:
    place, desktop = scratch / "place", scratch / "desktop"
    (desktop / "licenses").mkdir(parents=True)
    (desktop / "licenses" / "mine.txt").write_text("not ours", encoding="utf-8")
    assert installation.setup(setups.old, f"/D={installation.windows.path(place)}") == 0
    shutil.copy(place / "uninstall.exe", desktop)
    folder = installation.windows.path(desktop)
    assert installation.run(f"{folder}\\uninstall.exe", "/S", f"_?={folder}").code == NOT_OURS
    assert (desktop / "licenses" / "mine.txt").exists()
    assert installation.console("--version").code == 0


def test_a_move_leaves_nothing_behind(installation: Installation, setups: Setups, scratch: Path) -> None:
    assert installation.setup(setups.old) == 0
    first = installation.location
    assert installation.setup(setups.new, f"/D={installation.windows.path(scratch / 'second')}") == 0
    assert not installation.has(first)
    assert installation.console("--version").code == 0


def test_a_killed_setup_is_repaired(installation: Installation, setups: Setups, scratch: Path) -> None:
    """Killed while it waits for a program that hangs: the old program is whole. Killed while it renames, which is made
    by hand here: the next setup makes it whole.
    """
    place = scratch / "place"
    assert installation.setup(setups.old, f"/D={installation.windows.path(place)}") == 0
    with installation.windows.start("py", "-c", HANG, f"{installation.location}\\kotaro-bridge.exe") as hangs:
        assert hangs.stdout is not None
        assert hangs.stdout.readline().strip() == b"hangs"
        command, nothing = installation.windows.argv(installation.windows.path(setups.new), "/S"), subprocess.DEVNULL
        # No pipes: the desktop that Wine starts for it, if there is none, would keep them open.
        env = {**os.environ, **installation.env}
        setup = subprocess.Popen(command, env=env, cwd=lab.ROOT, stdin=nothing, stdout=nothing, stderr=nothing)
        until(lambda: (place / NEW / ONLY_NEW).exists(), what="it unpacks", deadline_s=START_S)
        installation.windows.kill(*installation.windows.processes(setups.new.name))
        setup.wait(START_S)
        assert hangs.stdin is not None
        hangs.stdin.close()
    assert (place / NEW).exists()
    assert installation.console("--version").code == 0

    (place / f"{OLD}77").mkdir()
    (place / "_internal").rename(place / f"{OLD}77" / "_internal")
    (place / "KotaroBridge.exe").rename(place / f"{OLD}77" / "KotaroBridge.exe")
    assert installation.setup(setups.new) == 0
    assert sorted(entry.name.lower() for entry in place.iterdir()) == sorted(name.lower() for name in WHOLE)
    assert installation.console("--version").code == 0


def test_a_full_disk_changes_nothing(installation: Installation, setups: Setups, scratch: Path) -> None:
    """No file may grow beyond 10 MB: writing ends as it does on a full disk."""
    place = scratch / "place"
    assert installation.setup(setups.old, f"/D={installation.windows.path(place)}") == 0
    installed = sorted(path.relative_to(place).as_posix() for path in place.rglob("*"))
    limited = ["sh", "-c", 'trap "" XFSZ; ulimit -f 10240; exec "$@"', "sh"]
    command = [*limited, *installation.windows.argv(installation.windows.path(setups.new), "/S")]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=START_S * 2)
    assert done.returncode == NOT_WRITTEN
    assert sorted(path.relative_to(place).as_posix() for path in place.rglob("*")) == installed
    assert installation.console("--version").code == 0


def test_an_old_windows_is_refused(installation: Installation, setups: Setups) -> None:
    """Wine says it is another version to a program of that name."""
    key = rf"HKCU\Software\Wine\AppDefaults\{setups.old.name}"
    installation.run("reg", "add", key, "/v", "Version", "/d", "win81", "/f")
    try:
        before = installation.inventory("before")
        assert installation.setup(setups.old) == TOO_OLD
        assert installation.inventory("refused") == before
    finally:
        installation.run("reg", "delete", key, "/f")


def test_no_forgetting_leaves_the_program(installation: Installation, setups: Setups, scratch: Path) -> None:
    """Settings that cannot be deleted: nothing is removed, so that it can be tried again."""
    assert installation.setup(setups.old) == 0
    assert installation.console("settings", "set", "language=ja").code == 0
    settings = next((scratch / "local").rglob("settings.toml"))
    with installation.windows.start("py", "-c", HOLD, installation.windows.path(settings)) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline().strip() == b"held"
        assert installation.uninstall_in_place("/FORGET") == NOT_FORGOTTEN
        assert installation.console("--version").code == 0
        assert holder.stdin is not None
        holder.stdin.close()


def test_the_setup_is_for_64_bits(setups: Setups) -> None:
    """A 32-bit Windows does not load it and says so by itself."""
    head = setups.old.read_bytes()[:1024]
    pe = int.from_bytes(head[0x3C:0x40], "little")
    assert head[pe : pe + 4] == b"PE\0\0"
    assert int.from_bytes(head[pe + 4 : pe + 6], "little") == 0x8664


def test_a_signing_command_gets_the_setup_and_the_uninstaller(
    setups: Setups, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signer, signed = scratch / "sign", scratch / "signed"
    signer.write_text(f'#!/bin/sh\necho "$@" >> {signed}\n', encoding="utf-8")
    signer.chmod(0o755)
    monkeypatch.setenv("KOTARO_SIGN", f"{signer} /please")
    tiny = scratch / "tiny"
    tiny.mkdir()
    (tiny / "KotaroBridge.exe").write_bytes(b"")
    compile_setup(Setup(tiny, PICTURES, scratch / "signed.exe", "1.2.3", plain=True))
    lines = signed.read_text(encoding="utf-8").splitlines()
    assert len(lines) == 2
    assert all(line.startswith("/please ") for line in lines)
    assert lines[1].endswith("signed.exe")
