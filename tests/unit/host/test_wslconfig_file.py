"""A .wslconfig on disk: replaced whole or not at all, whatever happens, with a backup."""

from __future__ import annotations

import os
import random
import stat
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from kotaro_bridge.domain.errors import ProblemError
from kotaro_bridge.domain.wsl.wslconfig_store import Snapshot
from kotaro_bridge.host.wslconfig_file import KEPT_BACKUPS, WslConfigFile
from tests.helpers.save_in_a_loop import NEW, OLD

ROOT = Path(__file__).parents[3]
KILLS = 200
SAVE_S = 0.1 if sys.platform == "win32" else 0.02
KILLED = 9 if sys.platform == "win32" else -9
NONE = Snapshot(None).fingerprint
posix = pytest.mark.skipif(sys.platform == "win32", reason="permissions and links of POSIX")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The file's place; its folder is there, the file is not."""
    folder = tmp_path / "home"
    folder.mkdir()
    return folder / ".wslconfig"


@pytest.fixture
def file(path: Path, tmp_path: Path) -> WslConfigFile:
    return WslConfigFile(path, tmp_path / "backups")


def refused(file: WslConfigFile, data: bytes = b"new") -> str:
    """The code that a save is refused with."""
    with pytest.raises(ProblemError) as caught:
        file.replace(data, file.read().fingerprint)
    assert caught.value.problem.params["path"] == file.name
    return caught.value.problem.code


def beside(path: Path) -> list[str]:
    """What is in the file's folder."""
    return sorted(each.name for each in path.parent.iterdir())


def test_a_file_is_made_and_replaced(file: WslConfigFile, path: Path) -> None:
    assert file.read() == Snapshot(None)
    assert file.replace(b"one\r\n", NONE) == Snapshot(b"one\r\n")
    assert file.backups() == ()
    assert file.replace(b"two", Snapshot(b"one\r\n").fingerprint) == Snapshot(b"two")
    assert (path.read_bytes(), beside(path)) == (b"two", [".wslconfig"])
    (backup,) = file.backups()
    assert (file.backup(backup.id), backup.size_bytes) == (b"one\r\n", 5)
    assert abs(backup.saved_at - datetime.now(UTC)) < timedelta(minutes=5)


def test_a_file_that_is_another_one_by_now_is_left_alone(file: WslConfigFile, path: Path) -> None:
    before = file.read()
    path.write_bytes(b"theirs")
    assert file.replace(b"mine", before.fingerprint) is None
    assert (path.read_bytes(), file.backups()) == (b"theirs", ())


def test_twenty_backups_are_kept(path: Path, tmp_path: Path) -> None:
    start = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)
    times = iter(start + timedelta(minutes=minute) for minute in range(100))
    file = WslConfigFile(path, tmp_path / "backups", now=lambda: next(times))
    for number in range(KEPT_BACKUPS + 5):
        file.replace(b"%d" % number, file.read().fingerprint)
    found = file.backups()
    assert len(found) == KEPT_BACKUPS
    assert [file.backup(backup.id) for backup in found[:2]] == [b"23", b"22"]
    assert found[0].saved_at - found[-1].saved_at == timedelta(minutes=KEPT_BACKUPS - 1)


def test_the_backup_just_made_stays_though_the_clock_went_back(path: Path, tmp_path: Path) -> None:
    times = iter(datetime(2026, 11, 21, tzinfo=UTC) - timedelta(days=day) for day in range(100))
    file = WslConfigFile(path, tmp_path / "backups", now=lambda: next(times))
    for number in range(KEPT_BACKUPS + 5):
        file.replace(b"%d" % number, file.read().fingerprint)
    kept = {file.backup(backup.id) for backup in file.backups()}
    assert len(kept) == KEPT_BACKUPS
    assert b"23" in kept


def test_the_same_content_is_kept_once(file: WslConfigFile, path: Path) -> None:
    """A save that fails again and again must not push the other backups out."""
    path.write_bytes(b"one")
    file.replace(b"two", file.read().fingerprint)
    path.write_bytes(b"one")
    file.replace(b"three", file.read().fingerprint)
    assert len(file.backups()) == 1


def test_backups_that_a_killed_save_left_over_go_with_the_next_one(path: Path, tmp_path: Path) -> None:
    """Killed behind its backup, a save lets no old one go; the next one may find its content kept already."""
    now = datetime(2026, 11, 21, tzinfo=UTC)
    times = iter(now + timedelta(minutes=minute) for minute in range(100))
    file = WslConfigFile(path, tmp_path / "backups", now=lambda: next(times))
    for number in range(KEPT_BACKUPS + 1):
        file.replace(b"%d" % number, file.read().fingerprint)
    newest = tmp_path / "backups" / next((tmp_path / "backups").iterdir()).name / file.backups()[0].id
    for day in (1, 2, 3):
        left = (now + timedelta(days=day)).strftime("%Y%m%dT%H%M%S%fZ")
        newest.with_name(left).write_bytes(b"%d" % KEPT_BACKUPS)
    assert len(file.backups()) == KEPT_BACKUPS + 3
    file.replace(b"next", file.read().fingerprint)
    assert len(file.backups()) == KEPT_BACKUPS


def test_each_file_has_its_own_backups(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(name.encode())
        one = WslConfigFile(tmp_path / name, tmp_path / "backups", name=name)
        one.replace(b"new", one.read().fingerprint)
        assert [one.backup(backup.id) for backup in one.backups()] == [name.encode()]
        assert one.name == name


@pytest.mark.parametrize("backup_id", ["20261121T090000000000Z", "../../.wslconfig", ""])
def test_a_backup_that_is_not_there(file: WslConfigFile, backup_id: str) -> None:
    with pytest.raises(ProblemError) as caught:
        file.backup(backup_id)
    assert caught.value.problem.code == "wslconfig.no_backup"


def test_a_folder_and_a_file_that_is_far_too_big(file: WslConfigFile, path: Path) -> None:
    path.mkdir()
    with pytest.raises(ProblemError) as caught:
        file.read()
    assert caught.value.problem.code == "wslconfig.not_a_file"
    path.rmdir()
    with path.open("wb") as big:
        big.truncate(17 << 20)
    with pytest.raises(ProblemError) as caught:
        file.read()
    assert caught.value.problem.code == "wslconfig.too_big"


@posix
def test_permissions_are_kept(file: WslConfigFile, path: Path) -> None:
    path.write_bytes(b"old")
    path.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(path, 1234, 1235)
    before = path.stat()
    file.replace(b"new", file.read().fingerprint)
    after = path.stat()
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)


@posix
def test_a_new_file_is_for_its_owner_alone(file: WslConfigFile, path: Path) -> None:
    file.replace(b"new", NONE)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@posix
@pytest.mark.parametrize("there", [True, False])
def test_a_link_is_followed_and_stays(file: WslConfigFile, path: Path, tmp_path: Path, there: bool) -> None:
    real = tmp_path / "dotfiles" / "wslconfig"
    real.parent.mkdir()
    if there:
        real.write_bytes(b"old")
    path.symlink_to(real)
    file.replace(b"new", file.read().fingerprint)
    assert (path.is_symlink(), real.read_bytes(), real.is_symlink()) == (True, b"new", False)
    assert (beside(path), beside(real)) == ([".wslconfig"], ["wslconfig"])


@posix
def test_links_that_lead_nowhere(file: WslConfigFile, path: Path, tmp_path: Path) -> None:
    path.symlink_to(tmp_path / "gone" / "wslconfig")
    assert refused(file) == "wslconfig.not_saved"
    path.unlink()
    path.symlink_to(path)
    with pytest.raises(ProblemError) as caught:
        file.read()
    assert caught.value.problem.code == "wslconfig.unreadable"


def test_a_second_name_is_not_left_behind(file: WslConfigFile, path: Path) -> None:
    path.write_bytes(b"old")
    (path.parent / "second").hardlink_to(path)
    assert refused(file) == "wslconfig.hard_links"
    assert (path.read_bytes(), file.backups()) == (b"old", ())


def test_a_read_only_file_is_left_alone(file: WslConfigFile, path: Path) -> None:
    """Its folder would allow the replacement, and root may do anything."""
    path.write_bytes(b"old")
    path.chmod(0o400)
    assert refused(file) == "wslconfig.read_only"
    assert (path.read_bytes(), beside(path)) == (b"old", [".wslconfig"])
    path.chmod(0o600)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a folder of Linux that nobody writes into")
def test_a_read_only_folder(tmp_path: Path) -> None:
    assert refused(WslConfigFile(Path("/sys/.wslconfig"), tmp_path / "backups")) == "wslconfig.read_only"


@posix
def test_something_else_than_a_file(file: WslConfigFile, path: Path) -> None:
    path.symlink_to("/dev/null")
    assert refused(file) == "wslconfig.not_a_file"
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(ProblemError, match="not_a_file"):
        file.read()


FULL_DISK = """
import resource, sys
from pathlib import Path
from kotaro_bridge.domain.errors import ProblemError
from kotaro_bridge.host.wslconfig_file import WslConfigFile
file = WslConfigFile(Path(sys.argv[1]), Path(sys.argv[2]))
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), -1))
try:
    file.replace(b"x" * 10_000, file.read().fingerprint)
except ProblemError as error:
    print(error.problem.code)
resource.setrlimit(resource.RLIMIT_FSIZE, (-1, -1))
"""


@posix
@pytest.mark.parametrize(("room", "backups"), [(5_000, 1), (0, 0)])
def test_a_full_disk_leaves_the_file_alone(path: Path, tmp_path: Path, room: int, backups: int) -> None:
    """A limit on the size of files cuts a write short as a full disk does: that of the file, and that of the backup."""
    path.write_bytes(b"old" * 1000)
    argv = [sys.executable, "-c", FULL_DISK, str(path), str(tmp_path / "backups"), str(room)]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.stderr) == ("wslconfig.disk_full", "")
    assert (path.read_bytes(), beside(path)) == (b"old" * 1000, [".wslconfig"])
    assert len(WslConfigFile(path, tmp_path / "backups").backups()) == backups


def test_a_name_that_is_far_too_long(tmp_path: Path) -> None:
    """Windows says of it that there is no such file."""
    file = WslConfigFile(tmp_path / ("long" * 100) / ".wslconfig", tmp_path / "backups")
    assert refused(file) == ("wslconfig.not_saved" if sys.platform == "win32" else "wslconfig.unreadable")


def test_what_cannot_be_removed_stops_no_save(path: Path, tmp_path: Path) -> None:
    """On Windows a program that looks at a backup, or at what a killed save left, keeps it from being removed. A folder
    of that name does so everywhere."""
    times = iter(datetime(2026, 11, 21, tzinfo=UTC) + timedelta(days=day) for day in range(100))
    file = WslConfigFile(path, tmp_path / "backups", now=lambda: next(times))
    left = path.with_name(".wslconfig.0123abcd.kotaro-bridge-tmp")
    left.mkdir()
    file.replace(b"first", NONE)
    file.replace(b"second", file.read().fingerprint)
    (folder,) = (tmp_path / "backups").iterdir()
    (folder / "20260101T000000000000Z").mkdir()
    for number in range(KEPT_BACKUPS + 1):
        assert file.replace(b"%d" % number, file.read().fingerprint) is not None
    assert (path.read_bytes(), left.is_dir()) == (b"%d" % KEPT_BACKUPS, True)


def test_what_killed_saves_left_goes_with_the_next_one(file: WslConfigFile, path: Path) -> None:
    left, other = path.with_name(".wslconfig.0123abcd.kotaro-bridge-tmp"), path.with_name(".wslconfig.bak")
    left.write_bytes(b"half")
    other.write_bytes(b"not ours")
    file.replace(b"new", NONE)
    assert beside(path) == [".wslconfig", ".wslconfig.bak"]


def test_an_instance_that_does_not_come_to_its_end(path: Path, tmp_path: Path) -> None:
    impatient = WslConfigFile(path, tmp_path / "backups", patience_s=0.05)
    seen: list[str] = []

    def meanwhile() -> datetime:
        seen.append(refused(impatient))
        return datetime.now(UTC)

    path.write_bytes(b"old")
    file = WslConfigFile(path, tmp_path / "backups", now=meanwhile)
    assert file.replace(b"new", file.read().fingerprint) is not None
    assert (seen, path.read_bytes()) == (["wslconfig.busy"], b"new")
    assert impatient.replace(b"newer", impatient.read().fingerprint) is not None


def test_instances_that_save_at_once_lose_nothing(path: Path, tmp_path: Path) -> None:
    """Eight threads count up in one file, each through a store of its own."""
    path.write_bytes(b"0")

    def count() -> None:
        own = WslConfigFile(path, tmp_path / "backups", patience_s=60)
        for _ in range(10):
            done = None
            while done is None:
                now = own.read()
                done = own.replace(b"%d" % (int(now.data or b"0") + 1), now.fingerprint)

    threads = [threading.Thread(target=count) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert path.read_bytes() == b"80"


def program(path: Path, backups: Path, *step: str) -> list[str]:
    """The program that saves `path` and is to be killed."""
    return [sys.executable, "-m", "tests.helpers.save_in_a_loop", str(path), str(backups), *step]


def assert_whole(path: Path, backups: Path, *contents: bytes) -> None:
    """The file and every backup are what somebody wrote."""
    assert path.read_bytes() in contents
    file = WslConfigFile(path, backups)
    assert all(file.backup(backup.id) in contents for backup in file.backups())


def test_a_save_that_is_killed_at_any_step_leaves_a_whole_file(path: Path, tmp_path: Path) -> None:
    outcomes = []
    for step in range(1, 100):
        backups = tmp_path / f"backups{step}"
        path.write_bytes(OLD)
        done = subprocess.run(program(path, backups, str(step)), cwd=ROOT, check=False)
        assert_whole(path, backups, OLD, NEW)
        if path.read_bytes() == NEW:
            file = WslConfigFile(path, backups)
            assert [file.backup(backup.id) for backup in file.backups()] == [OLD]
        outcomes.append((done.returncode, path.read_bytes() == NEW))
        if done.returncode == 0:
            break
    # Killed before the rename, then after it (there is nothing to do after it on Windows), then not at all.
    assert outcomes[0] == (KILLED, False)
    assert outcomes[-2:] == [(KILLED, sys.platform != "win32"), (0, True)]
    file = WslConfigFile(path, tmp_path / "backups")
    assert file.replace(b"next", file.read().fingerprint) is not None
    assert beside(path) == [".wslconfig"]


@pytest.mark.timeout(600)
def test_saves_that_are_killed_at_any_moment_leave_a_whole_file(path: Path, tmp_path: Path) -> None:
    """200 kills at random moments."""
    chance = random.Random(4)  # noqa: S311 - moments are no secret
    backups = tmp_path / "backups"
    path.write_bytes(OLD)
    half = 0
    with subprocess.Popen(
        program(path, backups), cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
    ) as forker:
        assert forker.stdin is not None
        assert forker.stdout is not None
        for _ in range(KILLS):
            forker.stdin.write(b"again\n")
            child = int(forker.stdout.readline())
            time.sleep(chance.uniform(0, SAVE_S))
            os.kill(child, 9)
            assert forker.stdout.readline().split() == [b"ended", b"%d" % KILLED]
            assert_whole(path, backups, OLD, NEW)
            half += len(beside(path)) > 1
        forker.stdin.close()
    assert half > 0  # some were killed while they wrote
    file = WslConfigFile(path, backups)
    assert file.replace(b"next", file.read().fingerprint) is not None
    assert beside(path) == [".wslconfig"]
    kept = [backup.id for backup in file.backups()]
    assert 1 <= len(kept) <= KEPT_BACKUPS
    (folder,) = backups.iterdir()
    assert sorted(each.name for each in folder.iterdir()) == [*reversed(kept), "lock"]
