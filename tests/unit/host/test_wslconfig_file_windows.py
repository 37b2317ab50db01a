"""A .wslconfig on a Windows disk: files that other programs hold open, access lists, marks, and names in any case."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import pytest

from kotaro_bridge.domain.errors import ProblemError
from kotaro_bridge.domain.wsl.wslconfig_store import Snapshot
from kotaro_bridge.host.wslconfig_file import WslConfigFile

if sys.platform != "win32":
    pytest.skip("access lists and share modes are Windows'", allow_module_level=True)

import ntsecuritycon
import win32api
import win32con
import win32security

from tests.helpers.held_file import FORBIDS_ANYTHING, FORBIDS_TO_REPLACE, held

MOMENT_S = 0.3
OLD = b"old"
DACL = win32security.DACL_SECURITY_INFORMATION


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file that is there."""
    (tmp_path / "home").mkdir()
    path = tmp_path / "home" / ".wslconfig"
    path.write_bytes(OLD)
    return path


@pytest.fixture
def file(path: Path, tmp_path: Path) -> WslConfigFile:
    return WslConfigFile(path, tmp_path / "backups")


def access_list(path: Path) -> str:
    """The access list in the words of Windows."""
    there = win32security.GetFileSecurity(str(path), DACL)
    return win32security.ConvertSecurityDescriptorToStringSecurityDescriptor(there, 1, DACL)


def allow_me(path: Path, access: int) -> None:
    """Let this user alone have the file, for `access`."""
    token = win32security.OpenProcessToken(win32api.GetCurrentProcess(), win32con.TOKEN_QUERY)
    me, _ = win32security.GetTokenInformation(token, win32security.TokenUser)
    wanted = win32security.ACL()
    wanted.AddAccessAllowedAce(win32security.ACL_REVISION, access, me)
    descriptor = win32security.SECURITY_DESCRIPTOR()
    descriptor.SetSecurityDescriptorDacl(1, wanted, 0)
    win32security.SetFileSecurity(str(path), DACL, descriptor)


@pytest.mark.parametrize("share", [FORBIDS_TO_REPLACE, FORBIDS_ANYTHING])
def test_a_file_that_is_held_for_a_moment_is_waited_for(file: WslConfigFile, path: Path, share: int) -> None:
    before = file.read().fingerprint
    with held(path, share) as let_go:
        soon = threading.Timer(MOMENT_S, let_go)
        soon.start()
        assert file.replace(b"new", before) == Snapshot(b"new")
        soon.join()
    assert path.read_bytes() == b"new"


def test_reading_waits_for_a_file_that_is_held_for_a_moment(file: WslConfigFile, path: Path) -> None:
    with held(path, FORBIDS_ANYTHING) as let_go:
        soon = threading.Timer(MOMENT_S, let_go)
        soon.start()
        assert file.read() == Snapshot(OLD)
        soon.join()


@pytest.mark.parametrize(
    ("share", "code"), [(FORBIDS_TO_REPLACE, "wslconfig.held"), (FORBIDS_ANYTHING, "wslconfig.unreadable")]
)
def test_a_file_that_stays_held_is_left_alone(file: WslConfigFile, path: Path, share: int, code: str) -> None:
    before = file.read().fingerprint
    with held(path, share), pytest.raises(ProblemError) as caught:
        file.replace(b"new", before)
    assert caught.value.problem.code == code
    assert (path.read_bytes(), [each.name for each in path.parent.iterdir()]) == (OLD, [".wslconfig"])


def test_the_access_list_is_kept(file: WslConfigFile, path: Path) -> None:
    inherited = access_list(path)
    allow_me(path, ntsecuritycon.FILE_ALL_ACCESS)
    own = access_list(path)
    assert own != inherited
    file.replace(b"new", file.read().fingerprint)
    assert (path.read_bytes(), access_list(path)) == (b"new", own)


def test_an_access_list_that_forbids_to_write_is_obeyed(file: WslConfigFile, path: Path) -> None:
    """Its folder would allow the replacement, and the read-only mark is not set."""
    allow_me(path, ntsecuritycon.FILE_GENERIC_READ)
    with pytest.raises(ProblemError) as caught:
        file.replace(b"new", file.read().fingerprint)
    assert caught.value.problem.code == "wslconfig.read_only"
    assert path.read_bytes() == OLD
    allow_me(path, ntsecuritycon.FILE_ALL_ACCESS)


def test_a_hidden_file_stays_hidden(file: WslConfigFile, path: Path) -> None:
    win32api.SetFileAttributes(str(path), win32con.FILE_ATTRIBUTE_HIDDEN)
    file.replace(b"new", file.read().fingerprint)
    assert win32api.GetFileAttributes(str(path)) & win32con.FILE_ATTRIBUTE_HIDDEN


def test_a_name_in_other_letters_has_the_same_backups(tmp_path: Path) -> None:
    """Also before the file is there: one lock for all spellings."""
    one = WslConfigFile(tmp_path / ".wslconfig", tmp_path / "backups")
    one.replace(b"first", Snapshot(None).fingerprint)
    one.replace(b"second", one.read().fingerprint)
    (tmp_path / ".wslconfig").unlink()
    other = WslConfigFile(tmp_path / ".WSLCONFIG", tmp_path / "backups")
    assert [other.backup(backup.id) for backup in other.backups()] == [b"first"]


def test_the_name_of_a_user(tmp_path: Path) -> None:
    """With a full-width space."""
    folder = tmp_path / "山田　太郎"
    folder.mkdir()
    file = WslConfigFile(folder / ".wslconfig", tmp_path / "backups")
    file.replace(b"first", Snapshot(None).fingerprint)
    file.replace(b"second", file.read().fingerprint)
    assert ((folder / ".wslconfig").read_bytes(), len(file.backups())) == (b"second", 1)


def test_a_name_that_is_no_text(tmp_path: Path) -> None:
    """NTFS takes half of a letter that has two."""
    assert WslConfigFile(tmp_path / "half \ud800" / ".wslconfig", tmp_path / "backups").read() == Snapshot(None)
